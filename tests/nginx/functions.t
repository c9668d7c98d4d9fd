#!/usr/bin/perl

# The Redis Functions that write the registry: what each one does and refuses,
# that it does all or nothing, also next to others and with less rights, and
# that a gateway sees each call as one step.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(shuffle);
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Registry;
use HoodyAI::Schema;
use HoodyAI::System qw(chat slurp spew wait_for);

my $s = HoodyAI::System->new;
my $r = HoodyAI::Registry->new($s);
my ($a, $b, $c) = map { $_ x 24 } qw(a b c);


# What is in a set or is the value of a key.
sub members { join ' ', sort @{$s->cmd('SMEMBERS', $s->rkey($_[0]))} }
sub owners { join ', ', @{$s->cmd('ZRANGE', $s->rkey('index:owners'), 0, -1)} }


# A call that must succeed, and what it says.
sub does {
    my ($name, $wanted, @call) = @_;

    my $reply = eval { $call[0] eq 'rename' ? $r->rename(@call[1 .. $#call])
                                            : $r->call(@call) };
    my ($state, $changed) = $reply ? @$reply[0, 2] : ($@, 0);

    $state = 'unchanged' if $state eq 'ok' && !$changed;
    is($state, $wanted, $name);

    return $reply ? $reply->[1] : 0;
}


$s->redis;
$s->cmd('FUNCTION', 'LOAD', slurp($s->root . '/redis-schema/hoody_ai.lua'));

like($r->refusal('create', 'a', id => $a), qr/^SCHEMA 1\b/,
    'nothing is written to a registry of another layout');

# what takes access away works before it is migrated as well
$s->container('old');
does('older layout: disable', 'ok', 'disable', 'old');
is(members('ai:enabled'), '', 'AI is off');
like($r->refusal('enable', 'old'), qr/^SCHEMA 1\b/, 'and not on');
does('older layout: delete', 'ok', 'delete', 'old');
$s->cmd('SET', $s->rkey('schema'), 3);
like($r->refusal('delete', 'old'), qr/^SCHEMA 3\b/, 'a newer one: nothing');
$s->cmd('FLUSHALL');

is_deeply($r->schema('empty', 2), ['ok', 2, 1], 'an empty one is made');
is_deeply($r->schema('empty', 2), ['ok', 2, 0], 'once');
is_deeply($s->cmd('FCALL_RO', 'hoody_ai_version', 0), [2, 2],
    'they say what they are');


# Life of a container

my $version = does('create', 'ok', 'create', 'dev-env', id => $a,
    number => 7, addresses => '127.0.0.1 2001:db8::/64', cgroup => '/a/b',
    tags => 'prod eu', mac => '00:16:3e:aa:bb:cc', host_interface => 'veth0',
    project_id => $b, limit_rpm => 60, budget_usd_month => '12.5',
    comment => "two\nlines", '@now' => 1700000000000);

is_deeply($r->get('dev-env'), {
    id => $a, number => 7, addresses => '127.0.0.1 2001:db8::/64',
    cgroup => '/a/b', tags => 'prod eu', mac => '00:16:3e:aa:bb:cc',
    host_interface => 'veth0', project_id => $b, limit_rpm => 60,
    budget_usd_month => '12.5', comment => "two\nlines", status => 'running',
    created_at => 1700000000000, updated_at => 1700000000000,
    version => $version, enabled => 0,
}, 'what it says is there');

is(members('containers'), 'dev-env', 'it is in the list');
is(members('ai:enabled'), '', 'and not in the gate');

my $last = $version;
my $next = does('enable', 'ok', 'enable', 'dev-env',
    '@now' => 1700000000000);

cmp_ok($next, '>', $last, 'each change raises the version');
is(members('ai:enabled'), 'dev-env', 'the gate is open');
is($r->get('dev-env')->{updated_at}, 1700000000001,
    'updated_at rises where the clock does not');
is(does('enable again', 'unchanged', 'enable', 'dev-env'), $next,
    'and has the version that it had');

does('update', 'ok', 'update', 'dev-env', tags => 'test', comment => '',
    number => '');

my $now = $r->get('dev-env');

is($now->{tags}, 'test', 'a field is changed');
ok(!exists $now->{comment}, 'an empty one is gone');
is($now->{cgroup}, '/a/b', 'the others stay');
cmp_ok($now->{updated_at}, '>', time * 1000 - 60000, 'at the time of Redis');
does('the same again', 'unchanged', 'update', 'dev-env', tags => 'test',
    comment => '');
does('AI off with an update', 'ok', 'update', 'dev-env', '@enabled' => 0);
is(members('ai:enabled'), '', 'the gate is closed');
does('AI on', 'ok', 'update', 'dev-env', '@enabled' => 1, tags => 'both');

does('set_addresses', 'ok', 'set_addresses', 'dev-env',
    addresses => '10.1.2.3');
is(owners(), "40a010203/032 dev-env, i$a dev-env", 'the index follows');

does('rename', 'ok', 'rename', 'dev-env', 'other');
is($r->get('dev-env'), undef, 'nothing of the old name');
is($r->get('other')->{tags}, 'both', 'all under the new one');
is(members('containers') . members('ai:enabled'), 'otherother',
    'in list and gate');
is(owners(), "40a010203/032 other, i$a other", 'and index');
does('rename to itself', 'unchanged', 'rename', 'other', 'other');

# with other fields it is one step and one event
$s->cmd('DEL', $s->rkey('events'));
does('rename with fields', 'ok', 'rename', 'other', 'third', tags => 'new',
    addresses => '10.1.2.4', '@enabled' => 0);
is($r->get('other'), undef, 'nothing of the old name');
is(join(' ', @{$r->get('third')}{qw(tags addresses enabled)}),
    'new 10.1.2.4 0', 'the fields are the new ones');
is(members('containers') . members('ai:enabled'), 'third', 'in no gate');
is(owners(), "40a010204/032 third, i$a third", 'the index has the new address');
is(join(' ', map { "$_->{op} $_->{from} $_->{container}" } $r->events),
    'rename other third', 'one event');
does('rename that takes away', 'ok', 'rename', 'third', 'other', tags => '',
    addresses => '10.1.2.3', '@enabled' => 1);
is($r->get('other')->{tags}, undef, 'a field is gone');
is(members('ai:enabled'), 'other', 'in the gate');

{
    my $before = $r->everything;

    does('one that has its address', 'ok', 'create', 'x', id => $b,
        addresses => '10.1.2.9');
    eval { $r->rename('other', 'third', addresses => '10.1.2.9',
        '@enabled' => 0) };
    like($@, qr/error: TAKEN addresses 10\.1\.2\.9 x/, 'refused as a whole');
    eval { $r->rename('other', 'third', number => '01') };
    like($@, qr/error: INVALID number/, 'so is a bad value');
    eval { $r->rename('other', 'third', id => '') };
    like($@, qr/error: INVALID id/, 'and to have no id');
    eval { $r->rename('other', 'other', '@enabled' => 0) };
    like($@, qr/error: INVALID \@enabled/, 'nor without another name');
    does('it goes', 'ok', 'delete', 'x');

    my $after = $r->everything;

    delete @$_{map { $s->rkey($_) } qw(events index:version index:source:x)}
        for $before, $after;
    is_deeply($after, $before, 'nothing was changed');
}

does('stopped', 'ok', 'update', 'other', status => 'stopped');
is(owners(), "i$a other", 'what does not run claims no address');
does('disable', 'ok', 'disable', 'other');
does('disable again', 'unchanged', 'disable', 'other');
does('delete', 'ok', 'delete', 'other');
does('delete again', 'unchanged', 'delete', 'other');
does('disable what is not there', 'unchanged', 'disable', 'other');

is_deeply([sort keys %{$r->everything}], [map { $s->rkey($_) }
    qw(events index:version schema)], 'nothing of it is left');

# a place in the gate that was left opens nothing
$s->cmd('SADD', $s->rkey('ai:enabled'), 'dev-env');
does('create over a leftover', 'ok', 'create', 'dev-env', id => $a);
is(members('ai:enabled'), '', 'AI is off');
$s->cmd('SADD', $s->rkey('ai:enabled'), 'x');
does('rename over one', 'ok', 'rename', 'dev-env', 'x');
is(members('ai:enabled'), '', 'AI is off');
$s->cmd('SADD', $s->rkey('ai:enabled'), 'gone');
does('disable of one', 'ok', 'disable', 'gone');
$s->cmd('SADD', $s->rkey('ai:enabled'), 'gone');
does('delete of one', 'ok', 'delete', 'gone');
is(members('ai:enabled'), '', 'it is closed');
does('cleared', 'ok', 'delete', 'x');


# Events

{
    $s->cmd('DEL', $s->rkey('events'));
    $r->call('create', 'e', id => $a, '@enabled' => 1);
    $r->call('update', 'e', tags => 'secret-tag');
    $r->call('update', 'e', tags => 'secret-tag');
    $r->call('set_addresses', 'e', addresses => '10.0.0.1');
    $r->call('disable', 'e');
    $r->call('enable', 'e');
    $r->rename('e', 'f');

    my $version = $r->get('f')->{version};
    my @all;

    $r->call('delete', 'f');
    @all = $r->events;

    is(join(' ', map { $_->{op} } @all),
        'create update set_addresses disable enable rename delete',
        'one event for each change');
    is_deeply([grep { $_->{type} ne 'registry' || $_->{container_id} ne $a
        || $_->{reason} ne $_->{op} || $_->{ts} !~ /^\d{13}\z/ } @all], [],
        'with its fields');
    is_deeply([map { "$_->{container}" } @all[0, 5, 6]], [qw(e f f)],
        'and the name');
    is($all[5]{from}, 'e', 'the old one too');
    is($all[5]{version}, $version, 'and the version');
    is(scalar(keys %{{ map { $_->{eid} => 1 } @all }}), scalar @all,
        'each eid once');
    unlike(join(' ', map { %$_ } @all), qr/secret-tag/, 'no content');
}


# Refusals.  Whatever is refused has changed nothing.

does('a', 'ok', 'create', 'a', id => $a, number => 1,
    addresses => '10.0.0.0/24 2001:db8:1::/48 192.0.2.1');
does('b', 'ok', 'create', 'b', id => $b, status => 'stopped',
    addresses => '10.0.0.7');

my $long = 'x' x 101;
my $before = $r->everything;

for my $case (
    ['INVALID name', 'create', 'a b', id => $c],
    ['INVALID name', 'create', '', id => $c],
    ['INVALID name', 'create', $long, id => $c],
    ['INVALID name', 'create', "c\n", id => $c],
    ['INVALID id is', 'create', 'c'],
    ['INVALID id a new', 'create', 'c', id => ''],
    (map { ['INVALID id 24', 'create', 'c', id => $_] }
        'c' x 23, 'c' x 25, 'C' x 24, 'g' x 24, ('c' x 23) . "\n"),
    (map { ['INVALID number', 'update', 'a', number => $_] }
        '01', '-1', '1a', ' 1', "1\n", '1' x 101),
    (map { ['INVALID addresses', 'set_addresses', 'a', addresses => $_] }
        '10.0.0.1/0', '10.0.0.1/33', '10.0.0.1/24', '10.0.0.0/024', '10.0.0',
        '10.0.0.256', '10.0.0.01', '10.0.0.1.1', '1', '10.0.0.1/', '/8', 'x',
        '10.0.0.1,10.0.0.2', "10.0.0.1\t10.0.0.2", "10.0.0.1\0", '::/0',
        '2001:db8::/129', '2001:db8::1/64', ':::', '1::2::3', '12345::',
        '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7::8', ':1',
        '1:', '::g', '::1.2.3', '1.2.3.4::', '::ffff:10.0.0.0/95',
        '::ffff:10.0.0.1/120', 'fe80::1%eth0', '[::1]',
        join(' ', map { "10.9.$_.1" } 0 .. 255, 0),
        '10.9.0.1' . ' ' x 16384),
    (map { ['INVALID cgroup', 'update', 'a', cgroup => $_] }
        'a/b', '/', '/a/', '/a//b', '/a/../b', '.', '..', "a\nb",
        '/' . 'a' x 4096),
    (map { ['INVALID tags', 'update', 'a', tags => $_] }
        'x' x 8193, "a\tb", "a\0b", "a\x7f"),
    (map { ['INVALID status', 'update', 'a', status => $_] }
        'Running', 'up', 'running '),
    (map { ['INVALID mac', 'update', 'a', mac => $_] }
        '00:16:3e:aa:bb', '00-16-3e-aa-bb-cc', '00:16:3e:aa:bb:cc:dd'),
    (map { ['INVALID host_interface', 'update', 'a', host_interface => $_] }
        'x' x 16, 'a/b', '..', "a\tb"),
    (map { ['INVALID limit_rpm', 'update', 'a', limit_rpm => $_] }
        '-1', 'x', '1e3', '1' x 19),
    ['INVALID project_id', 'update', 'a', project_id => 'a b'],
    ['INVALID created_at', 'create', 'c', id => $c, created_at => 'today'],
    ['INVALID comment', 'update', 'a', comment => 'x' x 1048577],
    ['INVALID version', 'update', 'a', version => 1],
    ['INVALID updated_at', 'update', 'a', updated_at => 1],
    ['INVALID name', 'update', 'a', name => 'x'],
    ['INVALID Upper', 'update', 'a', Upper => 1],
    ['INVALID x', 'update', 'a', 'x' x 65, 1],
    ['INVALID id cannot', 'update', 'a', id => ''],
    ['INVALID tags there', 'update', 'a', tags => 'x', tags => 'y'],
    ['INVALID arguments', 'update', 'a', 'tags'],
    ['INVALID tags not', 'enable', 'a', tags => 'x'],
    ['INVALID tags not', 'delete', 'a', tags => 'x'],
    ['INVALID tags not', 'set_addresses', 'a', tags => 'x',
        addresses => ''],
    ['INVALID addresses is', 'set_addresses', 'a'],
    ['INVALID @other', 'update', 'a', '@other' => 1],
    ['INVALID @enabled', 'set_addresses', 'a', addresses => '',
        '@enabled' => 1],
    ['INVALID @enabled', 'update', 'a', '@enabled' => 'yes'],
    ['INVALID @now', 'update', 'a', '@now' => '-1'],
    ['INVALID @now', 'update', 'a', '@now' => '1' x 16],
    ['INVALID @if_version', 'update', 'a', '@if_version' => 'x'],
    ['INVALID @source_version', 'update', 'a',
        '@source_version' => '1' x 21],
    ['INVALID fields', 'create', 'c', id => $c, map { ("f$_", 1) } 0 .. 256],
    ['NOTFOUND c', 'update', 'c', tags => 'x'],
    ['NOTFOUND c', 'enable', 'c'],
    ['NOTFOUND c', 'set_addresses', 'c', addresses => ''],
    ['EXISTS a', 'create', 'a', id => $c],
    ['CONFLICT 0', 'create', 'c', id => $c, '@if_version' => 1],
    (map { ["CONFLICT \\d", $_, 'a', '@if_version' => 1] }
        qw(update enable disable delete)),
    ['TAKEN id a+ a', 'create', 'c', id => $a],
    ['TAKEN number 1 a', 'create', 'c', id => $c, number => 1],
    ['TAKEN number 1 a', 'update', 'b', number => 1],
    (map { ["TAKEN addresses \Q$_\E a\\z", 'create', 'c', id => $c,
            addresses => "198.51.100.1 $_"] }
        '192.0.2.1', '10.0.0.0', '10.0.0.255', '10.0.0.0/24', '10.0.0.0/8',
        '10.0.0.128/25', '192.0.0.0/16'),
    ['TAKEN addresses 10.0.0.9 a', 'create', 'c', id => $c,
        addresses => '::ffff:10.0.0.9'],
    ['TAKEN addresses 2001:db8:1:0:0:0:0:5 a', 'create', 'c', id => $c,
        addresses => '2001:DB8:1::5'],
    ['TAKEN addresses 2001:db8:0:0:0:0:0:0/33 a', 'create', 'c', id => $c,
        addresses => '2001:db8::/33'],
    ['TAKEN addresses 10.0.0.7 a', 'update', 'b', status => 'running'],
) {
    my ($wanted, @call) = @$case;
    my $refusal = $r->refusal(@call);
    my $shown = join ' ', map { length > 40 ? substr($_, 0, 40) . '...' : $_ }
        @call;

    $shown =~ s/[^ -~]/?/g;

    # a missing field and an empty value are told in the words of either
    $wanted = 'INVALID id' if $wanted eq 'INVALID id is';
    like($refusal, qr/^$wanted/, "refused: $shown");
}

for my $new ('', 'a b', $long) {
    eval { $r->rename('a', $new) };
    like($@, qr/error: INVALID new_name/, 'rename: a bad name');
}

eval { $r->rename('a', 'b') };
like($@, qr/error: EXISTS b/, 'rename: a name that is taken');
eval { $r->rename('c', 'd') };
like($@, qr/error: NOTFOUND c/, 'rename: nobody');
eval { $r->rename('a', 'd', '@if_version' => 3) };
like($@, qr/error: CONFLICT/, 'rename: another version');

# keys that are not of one container of one host
my @keys = $r->keys_of('a');

for my $i (0 .. $#keys) {
    my @other = @keys;

    $other[$i] =~ s/sys/other/;
    eval { $s->cmd('FCALL', 'hoody_ai_delete', 9, @other) };
    like($@, qr/error: INVALID keys/, 'another host\'s key: ' . ($i + 1));
}

eval { $s->cmd('FCALL', 'hoody_ai_delete', 8, @keys[0 .. 7]) };
like($@, qr/error: INVALID keys/, 'a key is missing');

is_deeply($r->everything, $before, 'nothing of all that changed anything');

# what is an address: as in tests/unit/test_identity.c
for my $case (
    ['1:2:3:4:5:6:7:8', '600010002000300040005000600070008/128'],
    ['::', '6' . '0' x 32 . '/128'],
    ['1::', '60001' . '0' x 28 . '/128'],
    ['::1.2.3.4', '6' . '0' x 24 . '01020304/128'],
    ['1:2:3:4:5:6:1.2.3.4', '600010002000300040005000601020304/128'],
    ['1:2:3:4:5:6:7::', '600010002000300040005000600070000/128'],
    ['::ffff:1.2.3.4', '401020304/032'],
    ['::ffff:1.2.3.0/120', '401020300/024'],
    ['::FFFF:0:0/96', '6' . '0' x 20 . 'ffff00000000/096'],
    ['128.0.0.0/1', '480000000/001'],
    ['0.0.0.0', '400000000/032'],
) {
    my ($text, $claim) = @$case;

    $r->call('set_addresses', 'a', addresses => $text);
    like(owners(), qr{\A\Q$claim\E a,}, "an address: $text");
}

# prefixes in prefixes, of one and of another one
$r->call('set_addresses', 'a', addresses => '');
does('one in the other, all of one', 'ok', 'set_addresses', 'a',
    addresses => '10.0.0.0/8 10.1.0.0/16 10.1.1.1 10.1.1.0/24');
does('next to them', 'ok', 'set_addresses', 'b', addresses => '11.0.0.0/8');
does('it runs', 'ok', 'update', 'b', status => 'running');
like($r->refusal('set_addresses', 'b', addresses => '10.200.0.1'),
    qr/^TAKEN addresses 10.200.0.1 a/, 'behind narrower ones');
like($r->refusal('set_addresses', 'b', addresses => '8.0.0.0/6'),
    qr{^TAKEN addresses 8.0.0.0/6 a}, 'around them');
does('256 of them', 'ok', 'set_addresses', 'a',
    addresses => join ' ', map { "172.16.$_.0/24" } 0 .. 255);
like($r->refusal('set_addresses', 'b', addresses => '172.16.0.0/12'),
    qr/^TAKEN/, 'around 256');
does('all let go', 'ok', 'set_addresses', 'a', addresses => '');
does('and taken', 'ok', 'set_addresses', 'b', addresses => '172.16.0.0/12');

# a plain writer's drift does not stop what has to do with no claim
$s->cmd('HSET', $s->rkey('container:a'), addresses => '172.16.0.1');
does('a change of tags', 'ok', 'update', 'a', tags => 'x');
does('and off', 'ok', 'update', 'a', status => 'stopped');

# nothing half-way: one key is of a wrong type, whichever it is
@keys = ($r->keys_of('a'), $s->rkey('container:new'),
    $s->rkey('index:source:new'));

for my $i (0 .. 10) {
    my $type = $s->cmd('TYPE', $keys[$i]);
    my $kept = $type eq 'none' ? undef : $s->cmd('DUMP', $keys[$i]);

    $s->cmd('DEL', $keys[$i]);
    $s->cmd('LPUSH', $keys[$i], 'x');

    my $before = $r->everything;
    my @calls = ([\&HoodyAI::Registry::rename, 'a', 'new'], map {
        [\&HoodyAI::Registry::call, @$_] } ['update', 'a', tags => $i],
        ['enable', 'a'], ['delete', 'a'], ['create', 'new-too', id => $c]);

    # the last keys are of rename alone, and the first is not of "new-too"
    @calls = $calls[0] if $i > 8;
    pop @calls if $i == 0 || $i == 8;
    is(scalar(grep { eval { $_->[0]->($r, @$_[1 .. $#$_]) }
        || $@ !~ /^redis error: (?:WRONGKEY|NOTFOUND)/ } @calls), 0,
        "a list in place of $keys[$i]: refused");
    is_deeply($r->everything, $before, 'nothing has changed');

    $s->cmd('DEL', $keys[$i]);
    $s->cmd('RESTORE', $keys[$i], 0, $kept) if defined $kept;
}

# a full memory takes no access away from who takes access away
does('on', 'ok', 'enable', 'b');
$s->cmd('CONFIG', 'SET', 'maxmemory', 1);
like($r->refusal('create', 'c', id => $c), qr/^OOM/, 'no memory: no create');
does('disable', 'ok', 'disable', 'b');
does('delete', 'ok', 'delete', 'b');
$s->cmd('CONFIG', 'SET', 'maxmemory', 0);


# Versions

{
    $r->call('delete', $_) for qw(a v);

    my $version = $r->call('create', 'v', id => $a, tags => 1)->[1];
    my $other = does('over the expected version', 'ok', 'update', 'v',
        tags => 2, '@if_version' => $version);

    is($r->refusal('update', 'v', tags => 3, '@if_version' => $version),
        "CONFLICT $other", 'not over another one, which it tells');

    # made anew it is never of a version that it had
    $r->call('delete', 'v');
    $r->call('create', 'v', id => $a);
    like($r->refusal('update', 'v', tags => 3, '@if_version' => $other),
        qr/^CONFLICT/, 'nor over what came after a deletion');

    # also where the counter is lost, and what a plain writer wrote
    my $had = $r->get('v')->{version};

    $s->cmd('DEL', $s->rkey('index:version'));
    cmp_ok($r->call('update', 'v', tags => 4)->[1], '>', $had,
        'the counter is lost: higher all the same');
    $s->cmd('SET', $s->rkey('index:version'), 5);
    cmp_ok($r->call('update', 'v', tags => 5)->[1], '>', $had,
        'it is behind: higher all the same');
    $s->cmd('HDEL', $s->rkey('container:v'), 'version');
    cmp_ok($r->call('update', 'v', tags => 6)->[1], '>', $had,
        'the hash has none: higher than all before');

    # a source's own counter
    my $update = sub {
        my ($name, $wanted, $source, @more) = @_;

        does($name, $wanted, 'update', 'v', '@source_version' => $source,
            @more);
    };

    $update->('a source writes', 'ok', 10, tags => 'ten');
    $update->('an older write of it', 'ignored', 9, tags => 'nine');
    $update->('the same again', 'unchanged', 10, tags => 'ten');
    $update->('nothing new is remembered', 'unchanged', 20, tags => 'ten');
    $update->('so this is older', 'ignored', 15, tags => 'fifteen');
    $update->('digits, not text', 'ok', '18446744073709551615', tags => 'max');
    $update->('nearly as high', 'ignored', '18446744073709551614',
        tags => 'less');
    is($r->get('v')->{tags}, 'max', 'the newest one stays');
    does('others write as well', 'ok', 'update', 'v', tags => 'hand');
    does('older enable', 'ignored', 'enable', 'v', '@source_version' => 1);
    does('older delete', 'ignored', 'delete', 'v', '@source_version' => 1);

    # nothing comes back
    $s->cmd('DEL', $s->rkey('index:source:v'));
    does('delete at 30', 'ok', 'delete', 'v', '@source_version' => 30);
    does('create of before', 'ignored', 'create', 'v', id => $a,
        '@source_version' => 29);
    does('of the same moment', 'ignored', 'create', 'v', id => $a,
        '@source_version' => 30);
    does('update of before', 'ignored', 'update', 'v', tags => 'x',
        '@source_version' => 29);
    is($r->get('v'), undef, 'it is gone');
    cmp_ok($s->cmd('TTL', $s->rkey('index:source:v')), '>', 600000,
        'for a week it is known');
    does('delete of what never was', 'unchanged', 'delete', 'never',
        '@source_version' => 5);
    does('its creation comes late', 'ignored', 'create', 'never', id => $a,
        '@source_version' => 4);
    does('created later', 'ok', 'create', 'v', id => $a,
        '@source_version' => 31);
    is($s->cmd('TTL', $s->rkey('index:source:v')), -1, 'and for good again');

    does('renamed', 'ok', 'rename', 'v', 'w', '@source_version' => 40);
    does('old news of the old name', 'ignored', 'create', 'v', id => $c,
        '@source_version' => 39);
    does('and of the new one', 'ignored', 'update', 'w', tags => 'old',
        '@source_version' => 39);
    does('the new name has gone since', 'unchanged', 'delete', 'z',
        '@source_version' => 50);
    does('late news of a rename', 'ignored', 'rename', 'w', 'z',
        '@source_version' => 45);
    does('the end', 'ok', 'delete', 'w');
}


# Writers side by side

# Processes that each do something with a connection of their own; true when
# all of them succeed.
sub together {
    my ($n, $run) = @_;

    my @pids = map {
        my $i = $_;
        my $pid = fork // die "fork: $!\n";

        if (!$pid) {
            delete $s->{redis_connection};
            _exit(eval { $run->($i); 1 } ? 0 : 1);
        }

        $pid;
    } 1 .. $n;

    return !grep { waitpid($_, 0); $? } @pids;
}

{
    $r->call('create', 'n', id => $a, count => 0);

    ok(together(4, sub {
        for (1 .. 50) {
            my $now;

            do {
                $now = $r->get('n');
            } until eval { $r->call('update', 'n', count => $now->{count} + 1,
                '@if_version' => $now->{version}) };

            die $@ if $@ && $@ !~ /CONFLICT/;
        }
    }), 'four writers that expect a version');
    is($r->get('n')->{count}, 200, 'no write of 200 is lost');

    ok(together(4, sub {
        my ($i) = @_;

        srand($i);

        for my $source (shuffle map { $_ * 4 + $i } 1 .. 100) {
            $r->call('update', 'n', tags => "t$source", count => $source,
                '@source_version' => $source);
        }
    }), 'four that write in any order');

    my $now = $r->get('n');

    is("$now->{tags} $now->{count}", 't404 404', 'the newest one stays');

    # one address, many who want it
    ok(together(4, sub {
        my ($i) = @_;

        for my $round (1 .. 50) {
            my $made = eval { $r->call('create', "n$i", id => "$i" x 24,
                number => 99, addresses => '10.9.9.0/24') };

            die $@ if $@ && $@ !~ /TAKEN/;
            next if !$made;

            my @owners = grep { m{^40a090900/024} } split /, /, owners();

            die "@owners" if "@owners" ne "40a090900/024 n$i";
            $r->call('delete', "n$i");
        }
    }), 'four that want one address: one at a time has it');
    $r->call('delete', 'n');
    is(owners(), '', 'the index is as empty as the registry');
}


# Gateways see each change as one step

{
    my $provider = $s->provider;

    $s->nginx(redis => "unix:$s->{redis_socket} max_stale=5s", workers => 2);

    my $status = sub {
        my ($token, $local) = @_;

        return $s->chat_ask(token => $token,
            local => $local // '127.0.0.1')->{status};
    };

    $r->call('create', 'one', id => $a, addresses => '127.0.0.1',
        '@enabled' => 1);
    ok(wait_for(sub { $status->('one') == 200 }), 'created: it is served');

    my $wrong = 0;

    for my $i (1 .. 10) {
        my ($from, $to) = $i % 2 ? ('one', 'two') : ('two', 'one');

        $r->rename($from, $to);

        # how soon is a matter of registry.t; from then on it stays so
        $wrong++ if !wait_for(sub { $status->($to) == 200 });
        $wrong += grep { $status->($from) != 401 || $status->($to) != 200 }
            1 .. 5;
    }

    is($wrong, 0, 'ten renames: the new name instead of the old one');

    # the old name made anew, elsewhere and without AI: never admitted
    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        my $end = time + 4;
        my $bad = 0;

        delete $s->{redis_connection};

        while (time < $end) {
            # nobody there has AI on at this address
            $bad++ if $status->('two', '127.0.0.2') == 200;
            $bad++ if $status->('one', '127.0.0.2') == 200;
        }

        _exit($bad ? 1 : 0);
    }

    while (waitpid($pid, POSIX::WNOHANG()) == 0) {
        $r->rename('one', 'two');
        $r->call('create', 'one', id => $b, addresses => '127.0.0.2');
        $r->call('set_addresses', 'one', addresses => '127.0.0.3 127.0.0.2');
        $r->call('delete', 'one');
        $r->rename('two', 'one');
        sleep 0.01;
    }

    is($?, 0, 'a name that is used again is never admitted by mistake');

    # an address goes from one to the other
    $r->call('create', 'peer', id => $b, addresses => '127.0.0.2',
        '@enabled' => 1);
    $wrong = 0;

    for my $i (1 .. 10) {
        my ($from, $to) = $i % 2 ? ('one', 'peer') : ('peer', 'one');

        $r->call('set_addresses', $from, addresses => '127.0.0.9');
        $r->call('set_addresses', $to, addresses => '127.0.0.1');

        $wrong++ if !wait_for(sub { $status->($to) == 200 });
        $wrong += grep { $status->($from) != 401 } 1 .. 3;
        $r->call('set_addresses', $from, addresses => '127.0.0.2');
    }

    is($wrong, 0, 'ten times an address moves: who has it is served');
    $r->call('delete', $_) for qw(one peer);
    ok(wait_for(sub { $status->('one') == 401 }), 'deleted');
}

$s->finish(more => 1);


# Rights: scripts run with those of their caller

{
    $s = HoodyAI::System->new;
    $r = HoodyAI::Registry->new($s);

    my $password = 'hai-functions-'
        . join '', map { sprintf '%x', rand 16 } 1 .. 20;
    my $hash = sha256_hex($password);
    my $acl = HoodyAI::Schema::acl($s, $password);
    my $file = "$s->{dir}/redis.acl";

    # may call the functions, and lacks one right that they need
    my %lacks = (
        no_xadd => '-xadd', no_hset => '-hset', no_zadd => '-zadd',
        no_zrem => '-zrem', no_srem => '-srem', no_del => '-del',
        no_hdel => '-hdel', no_set => '-set', no_expire => '-expire',
        no_index => 'resetkeys %R~hoody:{sys}:* ~hoody:{sys}:container:* '
            . '~hoody:{sys}:containers ~hoody:{sys}:ai:enabled '
            . '~hoody:{sys}:events',
    );

    $acl .= "user $_ on #$hash allkeys allchannels allcommands $lacks{$_}\n"
        for sort keys %lacks;
    spew($file, $acl, 0600);

    my $be = sub {
        delete $s->{redis_connection};
        $s->{redis_user} = [$_[0], $password];
    };

    $s->redis(args => ['--aclfile', $file], user => ['admin', $password]);
    $be->('control');
    $r->load;
    does('control: create', 'ok', 'create', 'dev-env', id => $a, number => 1,
        addresses => '127.0.0.1 10.0.0.0/8', '@enabled' => 1,
        '@source_version' => 1);
    does('control: update', 'ok', 'update', 'dev-env', tags => 'a',
        number => '');
    does('control: set_addresses', 'ok', 'set_addresses', 'dev-env',
        addresses => '127.0.0.1');
    does('control: disable', 'ok', 'disable', 'dev-env');
    does('control: enable', 'ok', 'enable', 'dev-env');
    does('control: rename', 'ok', 'rename', 'dev-env', 'other');
    does('control: rename back', 'ok', 'rename', 'other', 'dev-env');
    ok($r->get('dev-env'), 'control: get');

    $be->('gateway');
    like($r->refusal('disable', 'dev-env'), qr/^NOPERM/,
        'gateway: no function');

    my $before;

    $be->('admin');
    $before = $r->everything;

    for my $user (sort keys %lacks) {
        $be->($user);

        for my $call (['update', 'dev-env', tags => $user],
                      ['create', 'new', id => $b], ['delete', 'dev-env'])
        {
            like($r->refusal(@$call), qr/NOPERM|permission/i,
                "$user: no $call->[0]");
        }
    }

    $be->('admin');
    is_deeply($r->everything, $before, 'and nothing is done half-way');

    $be->('control');
    does('control: delete', 'ok', 'delete', 'dev-env');

    $be->('admin');
    $s->finish;
}
