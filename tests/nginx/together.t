#!/usr/bin/perl

# Hash and gate of a container, written in one transaction, are believed in
# one.  Invalidations and answers of Redis come over two connections, and
# nothing says which of them is there first: here a relay holds the
# invalidations back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(wait_for chat);

my $late = 0.04;   # seconds that invalidations take
my $rounds = 10;

my $s = HoodyAI::System->new;
my ($gate, $key) = ($s->rkey('ai:enabled'), $s->rkey('container:dev-env'));
my ($client, %seen);

# Both ways between the gateway and Redis; what Redis says to who has
# subscribed arrives later.
sub relay {
    my ($from) = @_;
    my $to = IO::Socket::UNIX->new(Peer => $s->{redis_socket}) or return;
    my $select = IO::Select->new($from, $to);
    my ($feed, @held);

    while (1) {
        my $wait = @held ? $held[0][0] - time : undef;

        for my $socket ($select->can_read(
            defined $wait && $wait < 0 ? 0 : $wait))
        {
            sysread($socket, my $bytes, 65536) or return;

            if ($socket == $from) {
                $feed = 1 if $bytes =~ /SUBSCRIBE/;
                syswrite $to, $bytes;
            } else {
                push @held, [time + ($feed ? $late : 0), $bytes];
            }
        }
        while (@held && $held[0][0] <= time) {
            syswrite $from, (shift @held)->[1];
        }
    }
}

sub ask {
    $client = $s->client if !$client || $client->{eof};
    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat());

    my $answer = $client->answer;

    $client = undef if !$answer->{complete}
        || ($answer->{headers}{connection} // '') eq 'close';

    return $answer->{status} // 0;
}

$s->redis;
$s->provider;
$s->nginx(redis => $s->fake('relay', \&relay, raw => 1));
$s->container('dev-env', addresses => '127.0.0.1');
ok((wait_for { ask() == 200 } 10), 'it is let in where both say so');

for my $round (1 .. $rounds) {

    # from here, but not enabled
    $s->cmd('SREM', $gate, 'dev-env');
    $s->cmd('HSET', $key, addresses => '127.0.0.1');
    wait_for { ask() == 403 } 10 or die "round $round did not begin\n";
    sleep 3 * $late;

    # the gateway hears of this, and asks for the gate at the next request
    $s->cmd('SADD', $gate, 'other');
    sleep $late / 2;

    # enabled, but from elsewhere: it hears of that later
    $s->cmd('MULTI');
    $s->cmd('HSET', $key, addresses => '127.0.0.9');
    $s->cmd('SADD', $gate, 'dev-env');
    $s->cmd('EXEC');
    $s->cmd('SREM', $gate, 'other');

    for (my $end = time + 2 * $late; time < $end; ) {
        $seen{ask()}++;
    }
}

note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
ok(!$seen{200}, 'nobody is let in by an old hash and a new gate');
cmp_ok($seen{403} // 0, '>', $rounds, 'it was disabled');
cmp_ok($seen{401} // 0, '>', $rounds, 'and then elsewhere');

$s->finish;
