#!/usr/bin/perl

# Counters and events when workers come and go and Redis is away: each request
# is counted once, and its event is written at least once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::System qw(suspend wait_for);

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');
$s->provider;
$s->nginx(daemon => 1, workers => 2, level => 'notice',
    redis => "unix:$s->{dir}/redis/redis.sock max_stale=60s",
    server => 'location = /status { hoody_ai_status; }');


sub status {
    my $text = $s->ask('GET', '/status')->{body};

    return { map { /^(\S+) (\S+)\z/ ? ($1 => $2) : () } split /\n/, $text };
}

sub total {
    return status()->{'hoody_ai_responses_total{status="200"}'} // 0;
}

# A caller has its answer a moment before the request is counted.
sub counted {
    my ($n, $name) = @_;

    wait_for { total() >= $n };
    is(total(), $n, $name);
}

# The eids of events of a type, each with how often it was written.
sub eids {
    my ($type) = @_;
    my %eids;

    for my $entry (@{ $s->cmd('XRANGE', $s->rkey('events'), '-', '+') }) {
        my %field = @{ $entry->[1] };

        $eids{ $field{eid} }++ if $field{type} eq $type;
    }

    return \%eids;
}

sub requests {
    my ($n) = @_;

    $s->chat_ask for 1 .. $n;
}


requests(50);
counted(50, 'each request is counted');
ok(wait_for(sub { keys %{ eids('request') } == 50 }), 'and written');


# A new generation goes on with the counters.

kill 'HUP', $s->master;
requests(50);
counted(100, 'counters survive a reload');
ok(wait_for(sub { keys %{ eids('request') } == 100 }),
    'the events of the old workers are written');
is(scalar(grep { $_ > 1 } values %{ eids('request') }), 0, 'once each');


# Redis is stopped while requests come; the workers that queued their events
# are killed, so that others have to write them.

$s->cmd('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
ok(wait_for(sub { $s->chat_ask->{status} == 200 }), 'up again');
counted(101, 'one more is counted');

my $before = total();

suspend($s->pid('redis'));
requests(60);
counted($before + 60, 'requests go on without Redis');
cmp_ok(status()->{hoody_ai_events_pending_bytes}, '>', 60 * 300,
    'their events wait');

my @workers = $s->workers;

kill 'KILL', @workers;
ok(wait_for(sub {
    my %old = map { $_ => 1 } @workers;
    my @new = grep { !$old{$_} } $s->workers;

    return @new == 2;
}), 'new workers');

kill 'CONT', $s->pid('redis');
ok(wait_for(sub { keys %{ eids('request') } >= total() }, 20),
    'the events of dead workers are written');
is(scalar(keys %{ eids('request') }), total(), 'no more and no less');
counted($before + 60, 'counters survive dead workers');


# What Redis refuses for good is dropped and counted, not sent forever.

$s->cmd('DEL', $s->rkey('events'));
$s->cmd('SET', $s->rkey('events'), 'not a stream');
requests(5);
ok(wait_for(sub {
    (status()->{'hoody_ai_events_dropped_total{reason="refused"}'} // 0) >= 5
}), 'refused events are counted');
$s->cmd('DEL', $s->rkey('events'));
requests(3);
ok(wait_for(sub { keys %{ eids('request') } == 3 }), 'and later ones written');


# A graceful end loses nothing that Redis can take.

requests(7);
kill 'QUIT', $s->master;
ok(wait_for(sub { keys %{ eids('request') } == 10 }),
    'the last events are written');
ok(wait_for(sub { !-e "$s->{dir}/nginx.pid" }), 'nginx ended');
$s->{daemon} = 0;

$s->finish(alerts => qr/exited on signal 9/);
