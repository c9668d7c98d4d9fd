#!/usr/bin/perl

# hoody-ai-control as a server: peers that stall hold no thread for long, and
# calls of nobody do not push out what the audit has.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::FastCGI;
use HoodyAI::Pace;
use HoodyAI::System qw(slurp spew wait_for);

my $s = HoodyAI::System->new;
my $threads = 4;

$s->redis;
$s->provider;

my $c = HoodyAI::Control->new($s, args => ['--threads', $threads]);

$s->nginx(http => sub { $s->default_http . $c->server });

my $project = 'a' x 24;
my %list = (REQUEST_METHOD => 'GET', REQUEST_URI => '/api/v1/containers',
    HOODY_PEER_UID => 0);
my %create = (%list, REQUEST_METHOD => 'POST',
    REQUEST_URI => "/api/v1/projects/$project/containers");

sub peer { HoodyAI::FastCGI->new(to => $c->{fcgi}, timeout => 30) }

# Of others, while all threads are held: less than the time-out of one read,
# which is 5 seconds.
sub answers {
    my ($name) = @_;
    my $began = time;
    my $answer = $c->call('GET', '/containers');
    my $took = time - $began;

    ok($answer->{status} == 200 && $took < 4 * slow, $name)
        or diag(sprintf '%.3f s, status %s', $took, $answer->{status});
}

# Closed, the last of them within that time.
sub closed {
    my ($seconds, @peers) = @_;
    my $end = time + $seconds * slow;
    my $n = 0;

    for my $peer (@peers) {
        my $left = $end - time;

        $n++ if $peer->closed($left > 0 ? $left : 0);
    }

    return $n;
}


# Kept connections, and bodies that nobody asked for

{
    my $peer = peer();
    my %seen;

    for (1 .. 100) {
        $seen{($peer->ask('', %list) // {})->{status} // 'none'}++;
    }

    is_deeply(\%seen, { 200 => 100 }, 'a hundred calls, one connection');
    is($peer->ask('', %list, body => 'x' x 3_000_000)->{status}, 413,
        'more than is taken');
    is($peer->ask('', %list)->{status}, 200, 'is passed over');
    is($peer->ask('', %list, body => 'x' x 5000, CONTENT_LENGTH => 0)
        ->{status}, 200, 'more than it says');
    is($peer->ask('', %list)->{status}, 200, 'too');
    is($peer->ask('', %create, body => '{}', CONTENT_LENGTH => 100)->{status},
        400, 'less than it says');

    $peer->send($peer->question('', %list, body => 'x' x 12_000_000,
        CONTENT_LENGTH => 0));
    ok(closed(10, $peer), 'one without an end is not');
}


# Peers that stall

my $call = peer()->question('', %create,
    body => '{"name":"never-' . 'x' x 200 . '"}');
my $body = index $call, 'never-';

for my $case (['the first record', 4], ['the parameters', 60],
    ['the body', $body + 20])
{
    my ($name, $length) = @$case;
    my @stuck = map { peer() } 1 .. $threads;

    $_->send(substr $call, 0, $length) for @stuck;
    sleep 0.1;
    answers("in the middle of $name: others are answered");
    is(closed(8, @stuck), $threads, 'and they are closed');
}

# those who do not read their answers, which are long
for my $n (1 .. 60) {
    $c->call('POST', "/projects/$project/containers",
        json => { name => sprintf('long-%02d', $n), comment => 'x' x 16000 });
}

my @deaf = map { peer() } 1 .. $threads;

$_->send($_->question('', %list, QUERY_STRING => 'limit=100')) for @deaf;
sleep 0.1;
answers('who does not read: others are answered');

# when there is a thread for others they have longer: one byte at a time,
# and half a call, while the rest goes on
my $alone = peer();
my $trickle = "$s->{dir}/trickle";
my $child = fork // die "fork: $!\n";

$alone->send(substr $call, 0, $body + 20);

if ($child == 0) {
    my $peer = peer();
    my $began = time;

    for my $byte (split //, $call) {
        last if !$peer->send($byte) || $peer->closed(0.2);
    }

    spew($trickle, time - $began);
    _exit(0);
}


# Calls of nobody

sub entries {
    return map { decode_json($_->[1][1]) }
        @{ $s->cmd('XRANGE', $s->rkey('audit'), '-', '+') };
}

sub refused { grep { $_->{action} eq 'call.refused' } @_ }

sub sum {
    my $n = 0;

    $n += $_->{count} for @_;

    return $n;
}

{
    my $peer = peer();
    my $began = time;
    my %seen;

    $seen{$peer->ask('', %list, HOODY_PEER_UID => 12345)->{status}}++
        for 1 .. 1000;
    $seen{$peer->ask('', %create, HOODY_PEER_UID => '',
        REMOTE_ADDR => "192.0.2.$_", HTTP_AUTHORIZATION => 'x')->{status}}++
        for 1 .. 200;

    my $seconds = time - $began;

    is_deeply(\%seen, { 401 => 1200 }, '1200 calls of nobody');
    ok(wait_for(sub { sum(refused(entries())) == 1200 }),
        'each is counted');

    my @all = refused(entries());
    my @user = grep { $_->{who} eq 'uid:12345' } @all;
    my ($address) = grep { $_->{who} =~ /^address:192\.0\.2\.\d+\z/ } @all;

    cmp_ok(scalar @all, '<=', 16 * (1 + int $seconds + 1),
        'in few entries: ' . @all);
    cmp_ok(scalar @user, '<=', $seconds + 2, 'of one caller one a second');
    is(sum(@user), 1000, 'which say how many');
    is($user[0]{detail}, 'Authentication token is missing', 'and why');
    is($user[0]{status}, 401, 'and what they got');
    is($address && $address->{detail}, 'Invalid token', 'by address');
    cmp_ok(sum(grep { $_->{who} eq 'others' } @all), '>=', 100,
        'many sources are one');
    is(scalar(grep { $_->{action} eq 'container.create' } entries()), 60,
        'what was done before is there');
    is(sum(refused(map { decode_json($_) } split /\n/, slurp($c->{audit}))),
        1200, 'the file says the same');
    is(scalar(grep { $_->{action} eq 'call.refused' }
        @{ $c->call('GET', '/audit', token => $c->token("read:$project"))
        ->{json}{data}{entries} }), 0, 'a project does not see it');
    cmp_ok(scalar(grep { $_->{action} eq 'call.refused' }
        @{ $c->call('GET', '/audit')->{json}{data}{entries} }), '>', 0,
        'who may see all does');
}

# who is known, and may not: each by itself
{
    my $token = $c->token('read');

    for (1 .. 5) {
        is($c->call('POST', "/projects/$project/containers",
            json => { name => 'no-1' }, token => $token)->{status}, 403,
            'refused to a caller who is known');
    }

    is(scalar(grep { $_->{status} && $_->{status} == 403 } entries()), 5,
        'five entries');
}

# what became of the slow ones

is(closed(8, $alone), 1, 'half a call ends');
is(scalar(grep { !$_->answer } @deaf), $threads,
    'who does not read has only a part');
ok(wait_for(sub { -s $trickle }, 30), 'one byte at a time is cut off');
waitpid $child, 0;
cmp_ok(slurp($trickle), '<', 14 * slow, 'in time');
cmp_ok(slurp($trickle), '>', 8, 'and not before');
is($c->call('GET', '/containers?name=never')->{json}{data}{pagination}{total},
    0, 'no half call was believed');

{
    my @stuck = map { peer() } 1 .. $threads;

    $_->send(substr $call, 0, 60) for @stuck;
    sleep 0.1;

    my $began = time;

    is($c->stop, 0, 'they do not keep it from its end');
    cmp_ok(time - $began, '<', 10 * slow, 'for long');
    $c->start;
}


# counted until the end, and over nginx
is($c->call('GET', '/containers', token => 'x')->{status}, 401, 'one more');
is($c->stop, 0, 'it ends');
is((grep { $_->{who} eq 'address:127.0.0.1' } refused(entries()))[-1]{count},
    1, 'and has written it down');
$c->start;
$c->contract_ok;

is($c->stop, 0, 'it ends');
$s->finish;
