#!/usr/bin/perl

# Between a reconnect and the end of the load the gateway goes by what it knew
# before.  What is read meanwhile must not be put together with that: neither
# the old nor the new registry lets this container in, only half of each would.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(time);

use HoodyAI::System qw(wait_for slurp);

my $many = 20000;

my $s = HoodyAI::System->new;
my ($redis, $loads, %seen);
my ($all, $ended) = (($many + 1) . ' containers', 0);
my ($list, $gate, $key) = map { $s->rkey($_) }
    'containers', 'ai:enabled', 'container:dev-env';

sub send_all { print {$redis} map { "$_\r\n" } @_ }

sub take { defined $redis->getline or die "Redis hung up\n" for 1 .. $_[0] }

$s->redis;
$s->provider;
$s->nginx(level => 'info');

$redis = IO::Socket::UNIX->new(Peer => $s->{redis_socket}) or die "Redis: $!\n";
$redis->autoflush;

for my $i (1 .. $many) {
    send_all("HSET " . $s->rkey("container:c$i") . ' status running addresses '
        . join('.', 127, 3, $i >> 8, $i & 255), "SADD $list c$i");
    take(2);
}

for my $round (1 .. 5) {

    # the old registry: from here, but not enabled
    send_all("SREM $gate dev-env", "SADD $list dev-env",
        "HSET $key status running addresses 127.0.0.1");
    take(3);
    wait_for { $s->chat_status == 403 } 10 or die "round $round did not begin\n";

    # the new one: enabled, but from elsewhere
    send_all('CLIENT KILL TYPE pubsub', 'CLIENT KILL TYPE normal', 'MULTI',
        "HSET $key addresses 127.0.0.9", "SADD $gate dev-env", 'EXEC');
    take(8);

    for (my $end = time + 60; time < $end; ) {
        send_all("SADD $gate c1", "SREM $gate c1");
        take(2);

        $seen{ $s->chat_status }++;

        $loads = () = slurp("$s->{dir}/error.log") =~ /$all loaded/g;
        last if $loads == $round;
    }

    $ended++ if $s->chat_status == 401;
}

note(join ', ', map { "$_: $seen{$_}" } sort keys %seen);
ok(!$seen{200}, 'nobody is let in by half of the old and half of the new');
cmp_ok($seen{401} // 0, '>', 5, 'it was asked while they loaded');
is($loads, 5, 'the load ends, whatever is written meanwhile');
is($ended, 5, 'and the new registry is in force in the end');

$s->finish;
