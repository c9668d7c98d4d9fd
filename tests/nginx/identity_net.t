#!/usr/bin/perl

# Hosts with the right to send any frame try to take a neighbour's address.
# Each way is shown to do damage first, then once more with the rules that
# "hoody-ai firewall" makes of the registry; and an address that moves.
#
# asan: no, it is about the kernel and nftables

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::IP;
use Socket qw(AF_INET6 inet_ntop);
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Net qw(ip_udp ip_icmp6 arp frame mac_bytes);
use HoodyAI::System qw(wait_for free_port chat);

HoodyAI::Net->enter('spoofed addresses and the firewall', 'nft');

my $command = HoodyAI::System->program('hoody-ai');

# Two registered containers and one that the registry does not know on a
# bridge; a registered one on a link of its own; another bridge.
my $net = HoodyAI::Net->new;

$net->bridge('br0', '10.77.0.1/24', 'fd77::1/64');
$net->bridge('br1', '10.78.0.1/24', 'fd78::1/64');

my $one = $net->host('one', bridge => 'br0', v4 => '10.77.0.11/24',
    v6 => 'fd77::11/64');
my $two = $net->host('two', bridge => 'br0', v4 => '10.77.0.12/24',
    v6 => 'fd77::12/64');
my $stray = $net->host('stray', bridge => 'br0', v4 => '10.77.0.13/24',
    v6 => 'fd77::13/64');
my $routed = $net->host('routed', v4 => '10.79.0.2/24', v6 => 'fd79::2/64');
my $far = $net->host('far', bridge => 'br1', v4 => '10.78.0.2/24',
    v6 => 'fd78::2/64');

$net->ip('addr', 'add', '10.79.0.1/24', 'dev', 'veth-routed');
$net->ip('addr', 'add', 'fd79::1/64', 'dev', 'veth-routed', 'nodad');

for my $host ($routed, $far) {
    my ($v4, $v6) = map { $_ eq $routed ? ('10.79.0.1', 'fd79::1')
                                        : ('10.78.0.1', 'fd78::1') } $host;

    $host->ip('route', 'add', 'default', 'via', $v4);
    $host->ip('-6', 'route', 'add', 'default', 'via', $v6);
}

my ($gateway_mac) = `ip link show br0 2>/dev/null` =~ /link.ether (\S+)/;

my $s = HoodyAI::System->new;
my $port = free_port();

$s->redis;

for my $host ($one, $two, $routed) {
    $s->container($host->{name}, addresses => "$host->{v4} $host->{v6}",
        mac => $host->{mac}, host_interface => $host->{port});
}

# what it may not do does not depend on its being known
$s->container('far', addresses => "$far->{v4} $far->{v6}");
$s->provider;
$s->nginx(workers => 2, server => "listen 10.77.0.1:$port;
    listen [fd77::1]:$port;", level => 'info');

my $v4 = "10.77.0.1:$port";
my $v6 = "[fd77::1]:$port";


# The status that a host gets with a token; 0 when nobody answers.
sub status {
    my ($host, $to, $token, %option) = @_;

    return $host->run(sub {
        my $answer = eval { HoodyAI::Client->ask($to, 'POST',
            '/v1/chat/completions', token => $token, body => chat(),
            timeout => 5, %option) };

        return $answer && $answer->{status} || 0;
    });
}


# A socket of the host for datagrams: who do they seem to come from?
my $sink = IO::Socket::IP->new(LocalHost => '::', V6Only => 0, Type => 2,
    Proto => 'udp', LocalPort => 0) or die "sink: $@\n";
my $sink_port = $sink->sockport;
my $serial = 0;

# how long a damage may take to be seen: an attack that works is waited for
my $patience = 3;

# The texts of all datagrams up to the last one, which an honest frame
# behind the others brings.
sub sunk {
    my ($last) = @_;
    my (@texts, $end);

    $end = time + 5;

    while (time < $end) {
        next if !IO::Select->new($sink)->can_read(0.5);
        my $from = $sink->recv(my $text, 2000);

        push @texts, $text;
        return @texts if $text eq $last;
    }

    die "the honest datagram did not come\n";
}


# Sends frames and then an honest one: were there any of the first?
sub arrives {
    my ($host, @frames) = @_;
    my $last = 'honest ' . ++$serial;

    $host->send(@frames, frame($host->{gateway} // $gateway_mac, $host->{mac},
        ip_udp($host->{v4}, $host->{to} // '10.77.0.1', $sink_port, $last)));

    return scalar grep { /spoofed/ } sunk($last);
}


# A datagram that says it is from there.
sub datagram {
    my ($host, $from, %option) = @_;

    return frame($host->{gateway} // $gateway_mac,
        $option{mac} // $host->{mac}, ip_udp($from, $from =~ /:/
            ? $host->{to6} // 'fd77::1' : $host->{to} // '10.77.0.1',
            $sink_port, 'spoofed'));
}

($far->{gateway}) = `ip link show br1 2>/dev/null` =~ /link.ether (\S+)/;
($routed->{gateway}) = `ip link show veth-routed 2>/dev/null` =~ /link.ether (\S+)/;


# The tables of neighbours as they are without an attack.
sub reset_neighbours {
    my $gateway = join '', map { "neigh replace $_ lladdr $gateway_mac dev "
        . "eth0 nud stale\n" } '10.77.0.1', 'fd77::1';

    $net->batch(join '', map { my $host = $_; map {
        "neigh replace $host->{$_} lladdr $host->{mac} dev br0 nud stale\n" }
            qw(v4 v6) } $one, $two);
    $_->batch($gateway) for $one, $two;
}


# Does the table of a host say something else than it should, after frames?
sub poisoned {
    my ($who, $address, $right, $from, @frames) = @_;

    reset_neighbours();

    # the bridge knows where it is
    arrives($who) if $who;

    my $now = sub {
        my $command = $who ? "ip -n $who->{space}" : 'ip';
        my $device = $who ? 'eth0' : 'br0';
        my ($mac) = `$command neigh show $address dev $device`
            =~ /lladdr (\S+)/;

        return ($mac // '') ne $right;
    };

    die "the table is wrong before\n" if $now->();
    arrives($from, @frames);

    # two queues lead to two hosts: a little time for the other one
    return wait_for { $now->() } $patience;
}


# Does the bridge think that a MAC is elsewhere?  Its owner may say a word in
# between, so there is more than one attempt.
sub moved {
    my ($mac, $right, $from, @frames) = @_;

    for (1 .. 3) {
        arrives($_) for $one, $two, $stray;
        arrives($from, @frames);
        return 1 if `bridge fdb show br br0` !~ /^\Q$mac\E dev \Q$right\E /m;
    }

    return 0;
}


# A frame with tags of VLAN 0, which Linux takes off where they are met
sub tagged {
    my ($frame, $n) = @_;

    return substr($frame, 0, 12) . pack('nn', 0x8100, 0x2000) x ($n // 1)
        . substr $frame, 12;
}

sub option { pack('CC', $_[0], 1) . mac_bytes($_[1]) }

my $everybody = '33:33:00:00:00:01';
my $broadcast = 'ff:ff:ff:ff:ff:ff';
my $override = 0x20000000;

# fe80:: as Linux makes it of a MAC
sub link_local {
    my @b = unpack 'C6', mac_bytes($_[0]);

    return inet_ntop(AF_INET6, pack('n4C8', 0xfe80, 0, 0, 0, $b[0] ^ 2,
        @b[1, 2], 0xff, 0xfe, @b[3 .. 5]));
}

# an IPv6 packet with a hop-by-hop header that says nothing
sub behind_options {
    my ($type, $packet) = @_;
    my ($head, $length, $next, $rest) = unpack 'a4nCa*', $packet;

    return $type, pack('a4nCa33', $head, $length + 8, 0, $rest)
        . pack('CCCCN', $next, 0, 1, 4, 0) . substr $packet, 40;
}

sub advert {
    my ($from, $source, $target, $to, $mac, %option) = @_;

    return frame($to, $option{mac} // $from->{mac}, ip_icmp6($source,
        $option{to} // 'ff02::1', 136, $override, $target, option(2, $mac)));
}

# Takes the whole of somebody's place: the address on its own interface, and
# everybody is told.  The status that the victim's token gets.
sub take4 {
    my ($thief, $victim) = @_;

    reset_neighbours();
    $thief->ip('addr', 'add', "$victim->{v4}/24", 'dev', 'eth0');
    $thief->send(frame($broadcast, $thief->{mac}, arp(1, $thief->{mac},
        $victim->{v4}, '00:00:00:00:00:00', $victim->{v4})));
    my $got = status($thief, $v4, $victim->{name}, local => $victim->{v4},
        timeout => 1);
    $thief->ip('addr', 'del', "$victim->{v4}/24", 'dev', 'eth0');

    return $got == 200;
}

sub take6 {
    my ($thief, $victim) = @_;

    reset_neighbours();
    $thief->ip('addr', 'add', "$victim->{v6}/64", 'dev', 'eth0', 'nodad');
    $thief->send(advert($thief, $victim->{v6}, $victim->{v6}, $everybody,
        $thief->{mac}));
    my $got = status($thief, $v6, $victim->{name}, local => $victim->{v6},
        timeout => 1);
    $thief->ip('addr', 'del', "$victim->{v6}/64", 'dev', 'eth0');

    return $got == 200;
}

# Instead of its own: address and MAC are the victim's, who is silent.
sub become {
    my ($thief, $victim) = @_;

    reset_neighbours();
    $thief->ip('addr', 'del', "$thief->{v4}/24", 'dev', 'eth0');
    $thief->ip('link', 'set', 'eth0', 'address', $victim->{mac});
    $thief->ip('addr', 'add', "$victim->{v4}/24", 'dev', 'eth0');
    my $got = status($thief, $v4, $victim->{name}, timeout => 1);
    $thief->ip('addr', 'del', "$victim->{v4}/24", 'dev', 'eth0');
    $thief->ip('link', 'set', 'eth0', 'address', $thief->{mac});
    $thief->ip('addr', 'add', "$thief->{v4}/24", 'dev', 'eth0');

    return $got == 200;
}

# The kernel builds the packet: a socket may be bound to any address.
sub transparent {
    my ($host, $from, $family, $level, $name) = @_;

    reset_neighbours();
    my $said = $host->run(sub {
        my $socket = IO::Socket::IP->new(Type => 2, Proto => 'udp',
            Family => $family, LocalHost => $from, Sockopts =>
                [[$level, $name, 1]]) or die "$@\n";

        $socket->send('spoofed', 0, Socket::pack_sockaddr_in($sink_port,
            Socket::inet_aton('10.77.0.1'))) or die "$!\n" if $family == 2;
        $socket->send('spoofed', 0, Socket::pack_sockaddr_in6($sink_port,
            Socket::inet_pton(10, 'fd77::1'))) or die "$!\n" if $family == 10;
        return 'sent';
    });

    $said eq 'sent' or die "transparent: $said\n";

    return arrives($host);
}


my $ll_two = link_local($two->{mac});

# name, a sub that says whether damage was done; the thief is "two" unless it
# is said
my @attacks = (
    ['a neighbour\'s IPv4 address as a second one, with its token',
     sub { take4($two, $one) }],
    ['a neighbour\'s IPv6 address as a second one, with its token',
     sub { take6($two, $one) }],
    ['a neighbour\'s MAC and address instead of its own',
     sub { become($two, $one) }],
    ['an unknown host takes the IPv4 address',
     sub { take4($stray, $one) }],
    ['an unknown host takes the IPv6 address',
     sub { take6($stray, $one) }],
    ['an unknown host takes MAC and address',
     sub { become($stray, $one) }],

    ['IP_TRANSPARENT', sub { transparent($two, $one->{v4}, 2, 0, 19) }],
    ['IPV6_TRANSPARENT', sub { transparent($two, $one->{v6}, 10, 41, 75) }],

    ['a frame from a neighbour\'s IPv4 address',
     sub { arrives($two, datagram($two, $one->{v4})) }],
    ['and from its MAC',
     sub { arrives($two, datagram($two, $one->{v4}, mac => $one->{mac})) }],
    ['its own address from a neighbour\'s MAC',
     sub { arrives($two, datagram($two, $two->{v4}, mac => $one->{mac})) }],
    ['a frame from a neighbour\'s IPv6 address',
     sub { arrives($two, datagram($two, $one->{v6})) }],
    ['and from its MAC',
     sub { arrives($two, datagram($two, $one->{v6}, mac => $one->{mac})) }],
    ['from a neighbour\'s link-local address',
     sub { arrives($two, datagram($two, link_local($one->{mac}))) }],
    ['from an address of nobody',
     sub { arrives($two, datagram($two, '10.77.0.99')) }],
    ['from an address outside of the bridge',
     sub { arrives($two, datagram($two, '192.0.2.1')) }],
    ['from an address of another bridge\'s container',
     sub { arrives($two, datagram($two, $routed->{v4})) }],
    ['an unknown host: a frame from a neighbour\'s IPv4 address',
     sub { arrives($stray, datagram($stray, $one->{v4})) }],
    ['an unknown host: from its IPv6 address',
     sub { arrives($stray, datagram($stray, $one->{v6})) }],
    ['another bridge: from the IPv4 address of a container here',
     sub { arrives($far, datagram($far, $one->{v4})) }],
    ['another bridge: from its IPv6 address',
     sub { arrives($far, datagram($far, $one->{v6})) }],
    ['a link of its own: from the IPv4 address of a container here',
     sub { arrives($routed, datagram($routed, $one->{v4})) }],
    ['a link of its own: from its IPv6 address',
     sub { arrives($routed, datagram($routed, $one->{v6})) }],
    ['a link of its own: from another MAC',
     sub { arrives($routed, datagram($routed, $routed->{v4},
         mac => '02:00:00:99:99:99')) }],

    ['ARP tells the host that a neighbour is here',
     sub { poisoned(undef, $one->{v4}, $one->{mac}, $two, frame($broadcast,
         $two->{mac}, arp(1, $two->{mac}, $one->{v4}, '00:00:00:00:00:00',
             $one->{v4}))) }],
    ['and with the host\'s address in the question',
     sub { poisoned(undef, $one->{v4}, $one->{mac}, $two, frame($gateway_mac,
         $two->{mac}, arp(1, $two->{mac}, $one->{v4}, '00:00:00:00:00:00',
             '10.77.0.1'))) }],
    ['ARP tells a neighbour that the gateway is here',
     sub { poisoned($one, '10.77.0.1', $gateway_mac, $two, frame($one->{mac},
         $two->{mac}, arp(1, $two->{mac}, '10.77.0.1', '00:00:00:00:00:00',
             '10.77.0.1'))) }],
    ['an unknown host tells the host by ARP',
     sub { poisoned(undef, $one->{v4}, $one->{mac}, $stray, frame($broadcast,
         $stray->{mac}, arp(1, $stray->{mac}, $one->{v4},
             '00:00:00:00:00:00', $one->{v4}))) }],

    ['an advertisement tells the host that a neighbour is here',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, advert($two,
         $one->{v6}, $one->{v6}, $everybody, $two->{mac})) }],
    ['the same from its own address',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, advert($two,
         $two->{v6}, $one->{v6}, $everybody, $two->{mac})) }],
    ['the same from its link-local address',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, advert($two,
         $ll_two, $one->{v6}, $everybody, $two->{mac})) }],
    ['to the host alone',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, advert($two,
         $two->{v6}, $one->{v6}, $gateway_mac, $two->{mac},
         to => 'fd77::1')) }],
    ['a question from a neighbour\'s address',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, frame($gateway_mac,
         $two->{mac}, ip_icmp6($one->{v6}, 'fd77::1', 135, 0, 'fd77::1',
             option(1, $two->{mac})))) }],
    ['an advertisement tells a neighbour that the gateway is here',
     sub { poisoned($one, 'fd77::1', $gateway_mac, $two, advert($two,
         $ll_two, 'fd77::1', $one->{mac}, $two->{mac},
         to => $one->{v6})) }],
    ['a question from the gateway\'s address',
     sub { poisoned($one, 'fd77::1', $gateway_mac, $two, frame($one->{mac},
         $two->{mac}, ip_icmp6('fd77::1', $one->{v6}, 135, 0, $one->{v6},
             option(1, $two->{mac})))) }],
    ['an unknown host tells the host by an advertisement',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $stray, advert($stray,
         $stray->{v6}, $one->{v6}, $everybody, $stray->{mac})) }],

    ['a tag of VLAN 0: a frame from a neighbour\'s IPv4 address',
     sub { arrives($two, tagged(datagram($two, $one->{v4}))) }],
    ['two tags: from its IPv6 address',
     sub { arrives($two, tagged(datagram($two, $one->{v6}), 2)) }],
    ['a tag: ARP tells the host that a neighbour is here',
     sub { poisoned(undef, $one->{v4}, $one->{mac}, $two, tagged(frame(
         $broadcast, $two->{mac}, arp(1, $two->{mac}, $one->{v4},
             '00:00:00:00:00:00', $one->{v4})))) }],
    ['a tag: an advertisement from its own address does',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, tagged(advert($two,
         $two->{v6}, $one->{v6}, $everybody, $two->{mac}))) }],
    ['an unknown host, a tag: from a neighbour\'s IPv4 address',
     sub { arrives($stray, tagged(datagram($stray, $one->{v4}))) }],
    ['an unknown host, two tags: from its IPv4 address',
     sub { arrives($stray, tagged(datagram($stray, $one->{v4}), 2)) }],
    ['an unknown host, a tag: from its IPv6 address',
     sub { arrives($stray, tagged(datagram($stray, $one->{v6}))) }],
    ['an unknown host, a tag: ARP tells the host',
     sub { poisoned(undef, $one->{v4}, $one->{mac}, $stray, tagged(frame(
         $broadcast, $stray->{mac}, arp(1, $stray->{mac}, $one->{v4},
             '00:00:00:00:00:00', $one->{v4})))) }],
    ['an unknown host, a tag: an advertisement from its own address',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $stray, tagged(advert(
         $stray, $stray->{v6}, $one->{v6}, $everybody, $stray->{mac}))) }],
    ['a link of its own, a tag: from a container\'s IPv4 address',
     sub { arrives($routed, tagged(datagram($routed, $one->{v4}))) }],
    ['an advertisement behind a header of options',
     sub { poisoned(undef, $one->{v6}, $one->{mac}, $two, frame($everybody,
         $two->{mac}, behind_options(ip_icmp6($two->{v6}, 'ff02::1', 136,
             $override, $one->{v6}, option(2, $two->{mac}))))) }],

    ['the bridge learns a neighbour\'s MAC here',
     sub { moved($one->{mac}, $one->{port}, $two, frame($broadcast,
         $one->{mac}, 0x88b5, 'x' x 46)) }],
    ['an unknown host: the bridge learns a neighbour\'s MAC',
     sub { moved($one->{mac}, $one->{port}, $stray, frame($broadcast,
         $one->{mac}, 0x88b5, 'x' x 46)) }],
);

# whoever is behind a neighbour's address is asked for it: a router
my $router = ['a router of its own making',
    sub {
        $one->ip('-6', 'route', 'flush', 'proto', 'ra');
        $two->send(frame($everybody, $two->{mac}, ip_icmp6($ll_two,
            'ff02::1', 134, 64 << 24 | 1800, undef, pack('NN', 0, 0)
                . option(1, $two->{mac}))));
        arrives($two);
        return wait_for {
            `ip -n $one->{space} -6 route` =~ /\Q$ll_two\E/ } $patience;
    }];

push @attacks, $router;


# Nobody listens there, and says so.
sub reaches {
    my ($address) = @_;

    IO::Socket::IP->new(PeerHost => $address, PeerPort => 9, Timeout => 2)
        and die "somebody listens at $address\n";

    return $!{ECONNREFUSED} ? 1 : 0;
}


# What must work with and without rules
sub honest {
    my ($when) = @_;

    for my $host ($one, $two) {
        for my $to ($v4, $v6) {
            is(status($host, $to, $host->{name}), 200,
                "$when: $host->{name} at $to");
        }
    }

    is(status($routed, $_, 'routed'), 200, "$when: a link of its own, $_")
        for $v4, $v6;
    is(status($far, $_, 'far'), 200, "$when: without an interface, $_")
        for $v4, $v6;
    is(status($two, $v4, 'one'), 401, "$when: a token that was copied");

    # neighbours find each other, and the host finds them
    $one->ip('neigh', 'flush', 'dev', 'eth0');
    $net->ip('neigh', 'flush', 'dev', 'br0');

    for my $v (qw(v4 v6)) {
        ok($one->run(sub { reaches($two->{$v}) }),
            "$when: one reaches two by $v");
        ok(reaches($two->{$v}), "$when: the host reaches two by $v");
    }

    return if $when ne 'with rules';

    # duplicate address detection finds nobody, and ends
    $two->ip('addr', 'flush', 'dev', 'eth0', 'scope', 'global');
    $two->ip('addr', 'add', "$two->{v4}/24", 'dev', 'eth0');
    $two->ip('addr', 'add', "$two->{v6}/64", 'dev', 'eth0');
    ok(wait_for(sub { `ip -n $two->{space} -6 addr show dev eth0`
        !~ /tentative/ }, 5), "$when: an address can be made");
    is(status($two, $v6, 'two', local => $two->{v6}), 200,
        "$when: and serves");
}

# the sets of the kernel for link-local addresses are there by then
wait_for { my $all = join '', map { `ip -n $_->{space} -6 addr` } $one, $two,
    $stray; $all !~ /tentative/ } 5;

honest('without rules');

for my $attack (@attacks) {
    ok(eval { $attack->[1]->() }, "without rules it works: $attack->[0]")
        or diag($@);
}

reset_neighbours();
$one->ip('-6', 'route', 'flush', 'proto', 'ra');

is(system($command, 'firewall', 'apply', '--server', $s->{server}, '--redis',
    "unix:$s->{redis_socket}"), 0, 'the firewall');

honest('with rules');
$patience = 0.1;

for my $attack (@attacks) {
    my $done = eval { $attack->[1]->() ? 1 : 0 };

    is($done, 0, "with rules it is refused: $attack->[0]")
        or diag($@);
}

honest('after the attacks');


# An address that moves to another container and back, while both tokens come
# from there all the time, over connections that stay open.

my $address = '127.0.9.1';

# how a move is written, each one as others may do it
my %order = (
    'taken, then given' => sub {
        my ($from, $to) = @_;
        $s->cmd('HDEL', $from, 'addresses');
        $s->cmd('HSET', $to, 'addresses', $address);
    },
    'given, then taken' => sub {
        my ($from, $to) = @_;
        $s->cmd('HSET', $to, 'addresses', $address);
        $s->cmd('HDEL', $from, 'addresses');
    },
    'in one MULTI' => sub {
        my ($from, $to) = @_;
        $s->cmd('MULTI');
        $s->cmd('HSET', $to, 'addresses', $address);
        $s->cmd('HDEL', $from, 'addresses');
        $s->cmd('EXEC');
    },
);

$s->container('left', addresses => $address);
$s->container('right');


# Asks with both tokens in turn until the file is there; a line for each
# request: connection, token, start, end, status.
sub ask_in_turn {
    my ($n, $stop, $log) = @_;

    my $client = HoodyAI::Client->new(to => $s->address, local => $address,
        timeout => 10);

    open(my $out, '>', $log) or die "$log: $!\n";

    while (!-e $stop) {
        for my $token (qw(left right)) {
            my $start = time;

            $client->request('POST', '/v1/chat/completions', token => $token,
                body => chat());
            my $status = $client->answer->{status};
            printf $out "%d %s %.6f %.6f %d\n", $n, $token, $start, time,
                $status;
        }
    }

    close $out;
}


# One owner after the other.  Every admission must have an owner; how long
# after the write the last wrong one began, for nine moves in ten and for all.
sub race {
    my ($order, $rounds) = @_;
    my ($stop, @pids, @moves, %log, @late);
    my @owner = ('left', 'right');

    $stop = "$s->{dir}/stop";
    unlink $stop;

    for my $n (1 .. 3) {
        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            my $done = eval { ask_in_turn($n, $stop, "$s->{dir}/turn.$n"); 1 };
            _exit($done ? 0 : 1);
        }
        push @pids, $pid;
    }

    for (1 .. $rounds) {
        sleep 0.02 + rand 0.03;
        my $start = time;
        $order{$order}->(map { $s->rkey("container:$_") } @owner);
        push @moves, { to => $owner[1], start => $start, end => time };
        @owner = reverse @owner;
    }

    sleep 0.05;
    open(my $touch, '>', $stop) or die "$stop: $!\n";
    close $touch;
    waitpid($_, 0) == $_ && $? == 0 or die "a client died\n" for @pids;

    # whose is it between two moves, and was it anybody's at this time?
    my @wrong;

    for my $n (1 .. 3) {
        my %last;

        open(my $in, '<', "$s->{dir}/turn.$n") or die "turn: $!\n";

        while (<$in>) {
            my (undef, $token, $start, $end, $status) = split;

            next if $status != 200;
            $log{$token}++;

            # on one connection, so in one worker: once the other one was
            # served, this one must have been given the address again
            my ($other) = grep { $_ ne $token } @owner;
            my $seen = $last{$other};

            if ($seen && !grep { $_->{to} eq $token && $_->{end} >= $seen->[0]
                                 && $_->{start} <= $end } @moves)
            {
                push @wrong, $_;
            }

            $last{$token} = [$start, $end];

            # the last move that was over when this request began
            my ($move) = grep { $_->{end} <= $start } reverse @moves;

            next if !$move || $move->{to} eq $token
                || grep { $_->{start} <= $end && $_->{start} > $move->{start} }
                    @moves;
            $move->{late} = $start - $move->{end}
                if ($move->{late} // 0) < $start - $move->{end};
        }
    }

    @late = sort { $a <=> $b } map { $_->{late} // 0 } @moves;

    is(join('', @wrong), '', "$order: nobody is served with the old token "
        . 'behind the new one');
    cmp_ok($log{$_} // 0, '>', $rounds, "$order: $_ was served") for @owner;

    return ($late[int 0.9 * @late], $late[-1]);
}

# the contract's 10 ms for nearly all: a busy machine may be late once, and a
# whole time
for my $order (sort keys %order) {
    my ($most, $last);

    for (1 .. 3) {
        ($most, $last) = race($order, 30);
        last if $most < 0.01 && $last < 0.25;
    }

    cmp_ok($most, '<', 0.01,
        "$order: within 10 ms of the write the old one is refused");
    cmp_ok($last, '<', 0.25, "$order: always soon");
}


$s->finish;
