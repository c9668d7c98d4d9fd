#!/usr/bin/perl

# What is written in one transaction is believed in one: hash and gate of a
# container, the hashes of two.  Invalidations and answers of Redis come over
# two connections, and nothing says which of them is there first: here a relay
# holds the invalidations back, or the answers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(wait_for spew);

my $late = 0.04; # seconds that invalidations take, or answers
my $rounds = 10; # more of them where few came in time

my $s = HoodyAI::System->new;
my ($gate, $key) = ($s->rkey('ai:enabled'), $s->rkey('container:dev-env'));
my $between = "$s->{dir}/between";
my ($round, $begun, %seen, %now) = (0, 0);

# Both ways between the gateway and Redis; what Redis says to who has
# subscribed arrives later, or what it answers.  Where the file $between is,
# the container comes here and is disabled when a load has read the sets, and
# no hash yet.
sub relay {
    my ($from, $late_feed, $late_data) = @_;
    my $to = IO::Socket::UNIX->new(Peer => $s->{redis_socket}) or return;
    my $select = IO::Select->new($from, $to);
    my ($feed, $load, @held);

    delete $s->{redis_connection};

    while (1) {
        my $wait = @held ? $held[0][0] - time : undef;

        for my $socket ($select->can_read(
            defined $wait && $wait < 0 ? 0 : $wait))
        {
            sysread($socket, my $bytes, 65536) or return;

            if ($socket == $from) {
                $feed = 1 if $bytes =~ /SUBSCRIBE/;
                $load = 1 if $bytes =~ /SMEMBERS/;
                syswrite $to, $bytes;
                next;
            }
            if ($load && $bytes =~ /dev-env/ && unlink $between) {
                $s->cmd('MULTI');
                $s->cmd('HSET', $key, addresses => '127.0.0.1');
                $s->cmd('SREM', $gate, 'dev-env');
                $s->cmd('EXEC');
            }
            push @held, [time + ($feed ? $late_feed : $late_data), $bytes];
        }
        while (@held && $held[0][0] <= time) {
            syswrite $from, (shift @held)->[1];
        }
    }
}

# What is answered within so many seconds, and until it is this, counted.
sub statuses {
    my ($seconds, $last, $ask) = @_;
    my ($begin, $status, %seen) = (time, 0);

    while (time < $begin + $seconds
        || $status != $last && time < $begin + 10)
    {
        $status = $ask ? $ask->() : $s->chat_status;
        $seen{$status}++;
    }
    note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);

    return %seen;
}

$s->redis;
$s->provider;
$s->nginx(redis => $s->fake('relay', sub { relay($_[0], $late, 0) },
    raw => 1));
$s->container('dev-env', addresses => '127.0.0.1');
ok((wait_for { $s->chat_status == 200 } 10), 'it is let in where both say so');

while ($round < $rounds
    || $begun < $rounds / 2 && $round < 5 * $rounds)
{
    $round++;

    # from here, but not enabled
    $s->cmd('SREM', $gate, 'dev-env');
    $s->cmd('HSET', $key, addresses => '127.0.0.1');
    wait_for { $s->chat_status == 403 } 10 or die "round $round did not begin\n";
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

    %now = statuses(2 * $late, 401);
    $seen{$_} += $now{$_} for keys %now;
    $begun++ if $now{403};
    $now{401} or die "round $round did not end\n";
}

ok(!$seen{200}, 'nobody is let in by an old hash and a new gate');
cmp_ok($begun, '>=', $rounds / 2, 'it was disabled, and then elsewhere');


# A load: enabled elsewhere when it reads the sets, here and disabled when it
# reads the hash.

%seen = ();

for my $round (1 .. 3) {
    $s->cmd('HSET', $key, addresses => '127.0.0.9');
    $s->enable('dev-env');
    wait_for { $s->chat_status == 401 } 10 or die "load $round did not begin\n";
    sleep 3 * $late;

    spew($between, '');
    $s->cmd('SET', $s->rkey('generation'), "load $round");

    for (my $end = time + 10; -e $between && time < $end; ) {
        $seen{ $s->chat_status }++;
    }
    ok(!-e $between, 'changed in the middle of a load');

    %now = statuses(4 * $late, 403);
    $seen{$_} += $now{$_} for keys %now;
    is($s->chat_status, 403, 'and is disabled in the end');
}

ok(!$seen{200}, 'nobody is let in by an old gate and a new hash');


# What two claim is nobody's, also while it goes from one of them to a third:
# the hash without it is not believed before the hash with it.  One of the two
# is being read at that moment, or is written once more while both are read.

my $other = HoodyAI::System->new;
my ($second, $third) = map { $s->rkey("container:$_") } qw(second third);
my $written = 0;
my %write = (
    rename => sub { $s->cmd('RENAME', $second, $third) },
    second => sub { $s->cmd('HSET', $second, tags => ++$written) },
    third => sub { $s->cmd('HSET', $third, tags => ++$written) },
);

$other->{provider} = $s->{provider};
$other->nginx(redis => $s->fake('slow', sub { relay($_[0], 0, $late) },
    raw => 1));

for ([$s, qw(second rename)], [$s, qw(third rename)], [$s, qw(rename third)],
    [$other, qw(second rename)], [$other, qw(third rename)],
    [$other, qw(rename third)], [$other, qw(third rename third)])
{
    my ($gateway, @order) = @$_;
    my $ask = sub { $gateway->chat_status(token => '7') };
    my $what = ($gateway == $s ? 'news are late' : 'answers are late')
        . ": @order";

    %seen = ();

    for my $round (1 .. 2) {
        $s->cmd('DEL', $second, $third);
        $s->container('dev-env', addresses => '127.0.0.1', number => 7);
        $s->container('third', addresses => '127.0.0.8');
        wait_for { $ask->() == 200 } 10
            or die "$what: round $round did not begin\n";

        $s->container('second', addresses => '127.0.0.9', number => 7);
        wait_for { $ask->() == 401 } 10
            or die "$what: round $round: it is not known that two have it\n";
        sleep 4 * $late;

        for my $write (@order) {
            $write{$write}->();
            sleep $late / 4;
        }

        %now = statuses(6 * $late, 401, $ask);
        $seen{$_} += $now{$_} for keys %now;
    }

    ok(!$seen{200}, "$what: the number of two is nobody's");
    ok($seen{401}, 'asked meanwhile, and refused');
}

$other->finish(more => 1);
$s->finish;
