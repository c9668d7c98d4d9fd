#!/usr/bin/perl

# hoody-ai registry load, migrate and check: each thing that does not fit
# together is made on purpose, found, and put right where it is beyond doubt,
# also by a repair that is killed half-way and begun again.
#
# asan: no, the command runs once for each of many faults

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use POSIX qw(_exit WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Registry;
use HoodyAI::System;

my $s = HoodyAI::System->new;
my $r = HoodyAI::Registry->new($s);
my ($a, $b) = map { $_ x 24 } qw(a b);


sub key { $s->rkey($_[0]) }


# What a check finds: "kind subject", sorted; ! behind what stays.
sub found {
    my (@options) = @_;

    my ($status, $out, $err) = $r->command('check', '-o', 'json', @options);
    my $report = eval { decode_json($out) };

    return "status $status: $err" if !$report;

    my @list = map { "$_->{kind} $_->{subject}"
        . ($_->{repairable} ? '' : '!') } @{$report->{findings}};

    push @list, "status $status" if $status != (@list ? 1 : 0);
    push @list, "found $report->{found}" if $report->{found} != @list;

    return join ', ', sort @list;
}


# Makes it, finds it, puts it right, and finds no more.
sub repairs {
    my ($name, $wanted, @commands) = @_;

    $s->cmd(@$_) for @commands;
    is(found(), $wanted, "$name: found");
    is(found('--repair'), $wanted, 'put right');
    is(found(), '', 'and gone');
}


# Finds it, and leaves it as it is.
sub tells {
    my ($name, $wanted, $undo, @commands) = @_;

    $s->cmd(@$_) for @commands;

    my $before = $r->everything;

    is(found(), $wanted, "$name: found");
    is(found('--repair'), $wanted, 'told, not touched');
    is_deeply($r->everything, $before, 'all is as it was');
    $s->cmd(@$_) for @$undo;
    is(found(), '', 'and gone');
}


$s->redis;


# Without the functions, without a registry

{
    my ($status, $out, $err) = $r->command('check');

    is($status, 2, 'no functions: 2');
    like($err, qr/registry load/, 'with what to do');
    is($out, '', 'and nothing else');

    is_deeply([($r->command('load'))[0, 1]], [0, "loaded\n"], 'load');
    is_deeply([($r->command('load'))[0, 1]], [0, "is loaded already\n"],
        'and again');

    is(found(), 'old_layout schema!', 'an empty registry has the first layout');
    is_deeply([($r->command('migrate'))[0, 1]],
        [0, "layout 2 now, 0 containers\n"], 'migrate');
    is_deeply([($r->command('migrate'))[0, 1]], [0, "layout 2 already\n"],
        'and again');
    is(found(), '', 'clean');

    for my $case (['--nothing'], ['-o', 'xml'], ['--redis', 'nowhere:x'],
                  ['--redis', 'unix:/nowhere'], ['--server', '{x}'])
    {
        ($status, $out, $err) = $r->command('check', @$case);
        is("$status$out", 2, "check @$case: 2");
        like($err, qr/\S/, 'with a message');
    }
}


# One by one

$r->call('create', 'a', id => $a, number => 1, '@enabled' => 1,
    addresses => '10.0.0.1 10.1.0.0/16 2001:db8::/64');
$r->call('create', 'b', id => $b, number => 2, addresses => '10.0.0.2');
is(found(), '', 'what the functions write is clean');

repairs('not in the list', 'not_listed a', ['SREM', key('containers'), 'a']);
repairs('in the list only', 'listed_without_hash x',
    ['SADD', key('containers'), 'x']);
repairs('in the gate only', 'enabled_without_hash x',
    ['SADD', key('ai:enabled'), 'x']);
repairs('in both', 'enabled_without_hash x, listed_without_hash x',
    ['SADD', key('ai:enabled'), 'x'], ['SADD', key('containers'), 'x']);
repairs('names that are none', 'bad_name , bad_name a b, bad_name a/b',
    ['SADD', key('ai:enabled'), 'a b', ''],
    ['SADD', key('containers'), 'a/b']);
repairs('no version', 'no_version a', ['HDEL', key('container:a'), 'version']);
repairs('a version that is none', 'no_version a',
    ['HSET', key('container:a'), 'version', '0x1']);
repairs('a version of tomorrow', 'version_counter a',
    ['HSET', key('container:a'), 'version', '99999999999998']);
repairs('no counter', 'version_counter a, version_counter b',
    ['DEL', key('index:version')]);
repairs('a plain write of an address', 'index_drift a',
    ['HSET', key('container:a'), 'addresses', '10.0.0.3']);
repairs('of a status', 'index_drift a',
    ['HSET', key('container:a'), 'status', 'stopped']);
repairs('and back', 'index_drift a',
    ['HDEL', key('container:a'), 'status']);
repairs('of a number', 'index_drift a',
    ['HSET', key('container:a'), 'number', '3']);
repairs('the index has lost one', 'index_drift b',
    ['ZREM', key('index:owners'), '40a000002/032 b']);
repairs('the index has lost all', 'index_drift a, index_drift b',
    ['DEL', key('index:owners')]);
repairs('the other half of it', 'index_drift a, index_drift b',
    ['DEL', key('index:claims')]);
repairs('both', 'index_drift a, index_drift b',
    ['DEL', key('index:claims'), key('index:owners')]);
repairs('the index has one more', 'stale_index a',
    ['ZADD', key('index:owners'), 0, '40a000009/032 a']);
repairs('a prefix more', 'stale_index a',
    ['ZADD', key('index:owners'), 0, 'p40a000000/024 a']);
repairs('of nobody', 'stale_index x',
    ['ZADD', key('index:owners'), 0, '40a000009/032 x']);
repairs('the other half has', 'stale_index x',
    ['HSET', key('index:claims'), 'x', 'n5 40a000009/032']);
repairs('members that are none', 'bad_name , bad_name 4 x y, bad_name nothing',
    ['ZADD', key('index:owners'), 0, 'nothing', 0, '', 0, '4 x y']);
repairs('an entry that is none', 'bad_name x y',
    ['HSET', key('index:claims'), 'x y', 'z']);
repairs('a deleted hash', join(', ', 'enabled_without_hash a',
    'listed_without_hash a', 'stale_index a'), ['DEL', key('container:a')]);
repairs('a renamed one', join(', ', 'index_drift c', 'listed_without_hash b',
    'not_listed c', 'stale_index b'),
    ['RENAME', key('container:b'), key('container:c')]);
repairs('a counter of nobody', 'leftover_source x',
    ['SET', key('index:source:x'), 5]);
cmp_ok($s->cmd('TTL', key('index:source:x')), '>', 600000, 'it ends in a week');
repairs('a counter of another type', 'bad_source c',
    ['SADD', key('index:source:c'), 5]);

for my $part (qw(owners claims)) {
    repairs("index:$part of another type", 'index_type ' . key("index:$part"),
        ['DEL', key("index:$part")], ['SET', key("index:$part"), 1]);
}

# here the functions can look at containers only after the repair
$s->cmd('DEL', key('index:version'));
$s->cmd('LPUSH', key('index:version'), 1);
is(found(), 'index_type ' . key('index:version'),
    'index:version of another type: found');
is(found('--repair'), 'index_type ' . key('index:version')
    . ', version_counter c', 'put right');
is(found(), '', 'and gone');

$r->call('create', 'a', id => $a, number => 1,
    addresses => '10.0.0.1 10.1.0.0/16');

is(join(' ', @{$s->cmd('SMEMBERS', key('ai:enabled'))}), '',
    'nothing of it has opened the gate');

my @by_hand = (
    ['an address that is none', 'bad_field a!', 'addresses',
        '10.0.0.1 10.0.0.300'],
    ['a number that is none', 'bad_field a!', 'number', '01'],
    ['an id that is none', 'bad_field a!', 'id', 'x'],
    ['an unknown status', 'bad_field a!', 'status', 'up'],
    ['a bad cgroup', 'bad_field a!', 'cgroup', '../x'],
    ['tags beyond their ceiling', 'bad_field a!', 'tags', 'x' x 8193],
    ['a bad limit', 'bad_field a!', 'limit_rpm', 'many'],
    ['an address twice', 'duplicate_address c!', 'addresses', '10.0.0.2'],
    ['an address in a prefix', 'duplicate_address c!', 'addresses',
        '10.0.0.0/24'],
    ['a number twice', 'duplicate_number c!', 'number', 2],
    ['an id twice', 'duplicate_id c!', 'id', $b],
);

for my $case (@by_hand) {
    my ($name, $wanted, $field, $value) = @$case;
    my $was = $s->cmd('HGET', key('container:a'), $field);

    $s->cmd('HSET', key('container:a'), $field, $value);

    # the index is what may be put right
    found('--repair');
    is(found('--repair'), $wanted, "$name: found, by hand");
    is($s->cmd('HGET', key('container:a'), $field), $value, 'not touched');
    $s->cmd(defined $was ? ('HSET', key('container:a'), $field, $was)
                         : ('HDEL', key('container:a'), $field));
    found('--repair');
    is(found(), '', 'and gone');
}

tells('foreign keys', join(', ', map { "foreign_key $_!" } key('container:'),
        key('container:a b'), key('index:source:'), key('other')),
    [['DEL', map { key($_) } 'other', 'container:', 'container:a b',
        'index:source:']],
    ['SET', key('other'), 1], ['SET', key('container:'), 1],
    ['SET', key('container:a b'), 1], ['SET', key('index:source:'), 1]);
tells('a container that is no hash', 'wrong_type x!',
    [['DEL', key('container:x')]], ['SET', key('container:x'), 1]);

for my $name (qw(containers ai:enabled)) {
    $s->cmd('RENAME', key($name), 'kept') if $s->cmd('EXISTS', key($name));
    tells("$name of another type", 'wrong_type ' . key($name) . '!',
        [['DEL', key($name)], $s->cmd('EXISTS', 'kept')
            ? ['RENAME', 'kept', key($name)] : ['PING']],
        ['SET', key($name), 1]);
}

for my $key (qw(rules events:dead generation)) {
    tells("$key of another type", 'wrong_type ' . key($key) . '!',
        [['DEL', key($key)]], ['LPUSH', key($key), 1]);
}

# what other programs keep there is nobody's business
$s->cmd('SET', key($_), 1) for qw(limit:x usage:a:2026-01-01 generation
    rules:epoch);
$s->cmd('SET', 'hoody:{syz}:container:x', 1);
$s->cmd('SET', 'hoody:{sys}', 1);
is(found(), '', 'limits, usage, another host: nothing');


# Text for people

$s->cmd('SADD', key('ai:enabled'), "x\e[31m");

{
    my ($status, $out) = $r->command('check');

    is($status, 1, 'found: 1');
    like($out, qr/^bad_name: x\?\[31m: .*\n2 containers, 1 found, 0 rep/,
        'a line each, no control characters');
    ($status, $out) = $r->command('check', '--repair');
    is($status, 1, 'put right: 1');
    like($out, qr/\(repaired\)\n2 containers, 1 found, 1 repaired\n\z/,
        'and said so');
}


# Layouts

{
    $s->cmd('SET', key('schema'), 3);

    for my $command (['check'], ['check', '--repair'], ['migrate']) {
        my ($status, $out, $err) = $r->command(@$command);

        is("$status$out", 2, "a newer layout, @$command: 2");
        like($err, qr/newer/, 'with a message');
    }

    $s->cmd('SET', key('schema'), 'x');
    is(($r->command('migrate'))[0], 2, 'a layout that is no number: 2');
    $s->cmd('SET', key('schema'), 2);

    # newer functions stay
    my $code = (grep { /^#!lua/ } 
        @{$s->cmd('FUNCTION', 'LIST', 'WITHCODE')->[0]})[0];
    $code =~ s/^local VERSION = \K\d+/99/m;
    $s->cmd('FUNCTION', 'LOAD', 'REPLACE', $code);

    for my $command (qw(load check migrate)) {
        my ($status, $out, $err) = $r->command($command);

        is("$status$out", 2, "newer functions, $command: 2");
        like($err, qr/newer functions/, 'with a message');
    }

    # older or other ones are replaced
    $code =~ s/^local VERSION = \K\d+/0/m;
    $s->cmd('FUNCTION', 'LOAD', 'REPLACE', $code);
    is(($r->command('check'))[0], 2, 'older functions: not for a check');
    is_deeply([($r->command('load'))[0, 1]], [0, "loaded\n"], 'load');
}


# Many: plain writers made them, then migrations and repairs are killed

my $many = 600;

# Whatever writes here, each container is as it was, and none is enabled.
sub truth {
    my %all;

    for my $i (1 .. $many) {
        my %hash = @{$s->cmd('HGETALL', key("container:m$i"))};

        delete @hash{qw(version updated_at)};
        $all{$i} = join ' ', map { "$_=$hash{$_}" } sort keys %hash;
    }

    return { %all, enabled => join ' ',
        sort @{$s->cmd('SMEMBERS', key('ai:enabled'))} };
}


# Starts the command and kills it after a while, again and again, until it
# ends by itself.  How often it was killed.
sub kill_often {
    my (@command) = @_;

    my $killed = 0;
    my $wait = 0.01;

    while (1) {
        my $pid = $r->start(@command);

        if ($killed < 12) {
            sleep $wait;
            $wait += 0.005 + rand 0.01;
            kill 'KILL', $pid;
        }

        waitpid $pid, 0;
        last if !($? & 127);
        $killed++;
    }

    return $killed;
}

sub plain {
    $s->cmd('FLUSHALL');

    for my $i (1 .. $many) {
        $s->cmd('HSET', key("container:m$i"), id => sprintf('%024x', $i),
            number => $i, status => 'running',
            addresses => '10.0.' . ($i >> 8) . '.' . ($i & 255));
        $s->cmd('SADD', key('containers'), "m$i");
        $s->cmd('SADD', key('ai:enabled'), "m$i") if $i % 2;
    }
}

{
    plain();

    my $before = truth();

    cmp_ok(kill_often('migrate'), '>', 0, 'migrate, killed half-way');
    is($s->cmd('GET', key('schema')), 2, 'the one that ends has done it');
    is_deeply(truth(), $before, 'all containers are as they were');
    is(found(), '', 'and the check is clean');

    # a mess
    for my $i (1 .. $many) {
        my @mess = (['SREM', key('containers'), "m$i"],
            ['HDEL', key('container:m' . $i), 'version'],
            ['HDEL', key('index:claims'), "m$i"],
            ['SADD', key('ai:enabled'), "ghost$i"],
            ['SADD', key('containers'), "ghost$i"],
            ['ZADD', key('index:owners'), 0, sprintf '40b%06x/032 m%d', $i,
                $i]);

        $s->cmd(@{$mess[$i % @mess]});
    }

    $before = truth();
    $before->{enabled} = join ' ', grep { !/ghost/ } split / /,
        $before->{enabled};
    cmp_ok(kill_often('check', '--repair'), '>', 0, 'repair, killed half-way');
    is_deeply(truth(), $before,
        'all are as they were, nobody is enabled who was not');
    is(found(), '', 'and the check is clean');
}


# While others write through the functions, nothing is found

{
    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        delete $s->{redis_connection};

        for (my $i = 0;; $i++) {
            my ($name, $other) = ('w' . $i % 50, 'x' . $i % 50);

            $r->call('create', $name, id => sprintf('f%023x', $i),
                number => 100000 + $i, '@enabled' => 1,
                addresses => "10.200.0.1 10.201.0.0/16");
            $r->rename($name, $other);
            $r->call('set_addresses', $other, addresses => '10.200.0.2');
            $r->call('delete', $other);
        }
    }

    my @findings = grep { length } map { found(@$_) } ([]) x 3,
        (['--repair']) x 3;

    kill 'KILL', $pid;
    waitpid $pid, 0;

    is_deeply(\@findings, [], 'six checks next to a busy writer find nothing');
    is($? & 127, 9, 'which wrote until the end');
    is(found(), '', 'killed as well: clean');
}

$s->finish;
