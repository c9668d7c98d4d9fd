#!/usr/bin/perl

# Real containers (podman with runc, lxc) at a unix socket that is mounted
# into all of them, and at an address of a bridge: who is believed.  Last,
# process ids that are used again.
#
# The host is a namespace of networks and of processes.  The containers' image
# holds nothing but tests/nginx/agent/agent.c.
#
# asan: no, it is about the kernel and containers

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::System qw(chat free_port slurp spew suspend wait_for);

HoodyAI::Net->enter('identity of real containers', qw(podman runc nft nsenter
    cc), { pids => 1 });

my $s = HoodyAI::System->new;
my $root = $s->root;
my $w = $s->dir;
my $command = $s->program('hoody-ai');

my $podman = HoodyAI::Podman->new($s, 'identity of real containers');
my $store = $podman->{store};

sub podman { $podman->run(@_) }

mkdir "$w/gw";
$podman->network(qw(--subnet 10.97.0.0/24 --gateway 10.97.0.1 --ipv6
    --subnet fd97::/64 --gateway fd97::1 gwt));

my %box;

sub start {
    my ($name, @options) = @_;

    my $n = 11 + keys %box;
    my @net = grep({ $_ eq '--network' } @options) ? () : ('--network', 'gwt',
        '--ip', "10.97.0.$n", '--ip6', "fd97::$n", '--mac-address',
        "02:00:00:97:00:$n");
    my $id = podman('run', '-d', '--name', $name, @net, '-v', "$w/gw:/gw",
        @options, 'localhost/agent:1');

    defined $id or die 'podman: ' . substr($podman->messages, -600);

    my $pid = podman('inspect', '-f', '{{.State.Pid}}', $name);
    my ($cgroup) = slurp("/proc/$pid/cgroup") =~ /^0::(.*)$/m;
    my $link = @net ? `nsenter -t $pid -n ip -o link show eth0 2>/dev/null` : '';
    my ($index) = $link =~ /eth0\@if(\d+)/;
    my ($port) = $index ? `ip -o link 2>/dev/null` =~ /^$index: ([\w.-]+)/m : undef;

    $box{$name} = { id => $id, pid => $pid, cgroup => $cgroup,
        @net ? (v4 => "10.97.0.$n", v6 => "fd97::$n", port => $port,
            mac => "02:00:00:97:00:$n") : () };
}

# What the agent says in there.
sub agent {
    my ($name, @words) = @_;

    return $podman->agent($box{$name}{id}, @words);
}

start('a');
start('b');

# where the host forwards packets, containers are made so, and would hand on
# to their owner the answers that they have stolen
start('raw', '--cap-add', 'NET_RAW', '--sysctl', 'net.ipv4.ip_forward=0');
start('onhost', '--network', 'host');
start('strong', '--privileged', '--cgroupns', 'private');
start('named');

like($box{a}{cgroup}, qr{/libpod-$box{a}{id}\z}, 'a container has a cgroup');


# The gateway

my $port = free_port();

$s->redis;
$s->provider;

# one of them is known by the name of its cgroup only
my $bare = $box{named}{cgroup} =~ s{.*/}{}r;

for my $name (sort keys %box) {
    my $box = $box{$name};

    $s->container($name, cgroup => $name eq 'named' ? $bare
        : $box->{cgroup}, $box->{v4} ? (addresses =>
        "$box->{v4} $box->{v6}", mac => $box->{mac}, host_interface =>
            $box->{port}) : ());
}

$s->nginx(workers => 2, level => 'info', server => "listen 10.97.0.1:$port;
    listen unix:$w/gw/ai.sock;");


# Over the socket

my $sock = '/gw/ai.sock';

is(agent('a', 'unix', $sock, 'a'), 200, 'its own token');
is(agent('b', 'unix', $sock, 'b'), 200, 'and a neighbour its own');
is(agent('b', 'unix', $sock, 'a'), 401, 'a token that was copied');
is(agent('raw', 'unix', $sock, 'a'), 401, 'also with raw sockets');
is(agent('raw', 'unix', $sock, 'raw'), 200, 'which has its own');
is(agent('onhost', 'unix', $sock, 'a'), 401, 'also on the host\'s network');
is(agent('onhost', 'unix', $sock, 'onhost'), 200,
    'whose cgroup is as good as any');
is(agent('named', 'unix', $sock, 'named'), 200, 'a cgroup by its name');
is(agent('a', 'unix', $sock, 'named'), 401, 'which others do not have');
is(agent('a', 'unix', $sock, 'nobody'), 401, 'a token of nobody');
is($s->chat_ask(to => "unix:$w/gw/ai.sock", token => 'a')->{status}, 401,
    'the host itself is no container');

# root of its own cgroup, under any name that it likes
is(agent('strong', 'fake', 'own', $sock, 'strong'), 200,
    'a cgroup below its own is its own');
is(agent('strong', 'fake', $bare, $sock, 'named'), 401,
    'one with a neighbour\'s name is not the neighbour\'s');
is(agent('strong', 'fake', $box{a}{cgroup} =~ s{.*/}{}r, $sock, 'a'), 401,
    'nor has it its path');


# A connection in other hands

for my $case (['b', 'a', 'a', 401], ['b', 'a', 'b', 200],
    ['a', 'b', 'a', 200], ['a', 'b', 'b', 401])
{
    my ($from, $to, $token, $expect) = @$case;
    my $at = "/gw/give-$from$to$token";
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        agent($from, 'give', $sock, $at);
        _exit(0);
    }

    wait_for { -S "$w$at" };
    sleep 0.05;
    is(agent($to, 'take', $at, $token), $expect,
        "a connection of $from in $to with the token of $token");
    waitpid $pid, 0;
}


# Over the address

my $to = "10.97.0.1 $port";
my ($gateway_mac) = `ip link show podman1` =~ /link.ether (\S+)/;

is(agent('a', 'tcp', split(/ /, $to), 'a'), 200, 'by address: its own token');
is(agent('b', 'tcp', split(/ /, $to), 'a'), 401, 'a token that was copied');
is(agent('onhost', 'tcp', split(/ /, $to), 'a'), 401,
    'from the host\'s network');
is(agent('onhost', 'tcp', split(/ /, $to), 'onhost'), 401,
    'where nobody has an address of its own');
is(agent('onhost', 'tcp', '127.0.0.1', $s->{port}, 'onhost'), 401,
    'nor at the loopback');

my $sink = IO::Socket::INET->new(LocalAddr => '10.97.0.1', Proto => 'udp',
    Type => 2) or die "sink: $!\n";

# Does a datagram come that seems to be from there?  One of its own follows.
sub spoofed {
    my ($name, $from) = @_;
    my $seen = 0;

    for my $source ($from, $box{$name}{v4}) {
        is(agent($name, 'spoof', $source, '10.97.0.1', $sink->sockport),
            'sent', "$name sends as $source");
    }

    while (IO::Select->new($sink)->can_read(5)) {
        my $peer = $sink->recv(my $text, 100) // last;

        return $seen if $sink->peerhost eq $box{$name}{v4};
        $seen++;
    }

    return 'nothing of its own';
}

isnt(agent('b', 'spoof', $box{a}{v4}, '10.97.0.1', $sink->sockport), 'sent',
    'who may not use raw sockets cannot');

sub steal {
    my ($name, $victim) = @_;

    system('ip', 'neigh', 'replace', $box{$victim}{v4}, 'lladdr',
        $box{$victim}{mac}, 'dev', 'podman1', 'nud', 'stale');

    return agent($name, 'steal', $box{$victim}{v4}, '10.97.0.1', $gateway_mac,
        $port, $victim);
}

is(spoofed('raw', $box{a}{v4}), 1, 'without rules a neighbour\'s address '
    . 'arrives');
is(steal('raw', 'a'), 200, 'and raw sockets are enough for its access');

is(system($command, 'firewall', 'apply', '--server', $s->{server}, '--redis',
    "unix:$s->{redis_socket}"), 0, 'the firewall');

is(spoofed('raw', $box{a}{v4}), 0, 'with rules it does not arrive');
is(steal('raw', 'a'), 0, 'and there is no access');
is(steal('raw', 'b'), 0, 'to anybody\'s');

for my $name (qw(a b raw)) {
    is(agent($name, 'tcp', split(/ /, $to), $name), 200,
        "$name goes on as before");
}


# Another runtime

SKIP: {
    my $name = 'lx' . ($store =~ s{.*\.}{}r);

    if (grep({ -x "$_/lxc-start" } split /:/, $ENV{PATH}) == 0) {
        diag('NOT TESTED: lxc: there is no lxc-start here');
        skip 'no lxc', 4;
    }

    system('mkdir', '-p', "$store/lxc/$name/root/gw",
        map { "$store/lxc/$name/root/$_" } qw(proc sys dev));
    system('cp', "$w/image/agent", "$store/lxc/$name/root/agent");
    spew("$store/lxc/$name/config", <<"END");
lxc.uts.name = box
lxc.rootfs.path = dir:$store/lxc/$name/root
lxc.init.cmd = /agent sleep
lxc.apparmor.profile = unconfined
lxc.net.0.type = empty
lxc.mount.entry = $w/gw gw none bind 0 0
END

    if (system("lxc-start -P $store/lxc -n $name -d >>$w/lxc.txt 2>&1") != 0
        || system("lxc-wait -P $store/lxc -n $name -s RUNNING -t 5") != 0)
    {
        diag("NOT TESTED: lxc does not start a container here:\n"
            . slurp("$w/lxc.txt"));
        skip 'lxc does not run', 4;
    }

    my $in = sub {
        my $said = `lxc-attach -P $store/lxc -n $name -- /agent unix $sock $_[0] 2>&1`;
        chomp $said;
        return $said;
    };

    $s->container('lx', cgroup => "lxc.payload.$name");
    sleep 0.02;
    is($in->('lx'), 200, 'lxc: its own token');
    is($in->('a'), 401, 'lxc: a token that was copied');
    is(agent('a', 'unix', $sock, 'lx'), 401, 'lxc: whose token was copied');

    system("lxc-stop -k -P $store/lxc -n $name");
    ok(!-d glob("/sys/fs/cgroup/{unified/,}lxc.payload.$name")
        || wait_for(sub { `lxc-info -P $store/lxc -n $name -s` =~ /STOPPED/ }),
        'lxc: ended');
}


# Removed and made anew: another id, another cgroup

{
    my $old = $box{b}{cgroup};

    podman('rm', '-f', '-t0', 'b');
    start('b2');
    is(agent('b2', 'unix', $sock, 'b'), 401,
        'a successor has not the access of the one before');
    $s->cmd('HSET', $s->rkey('container:b'), 'cgroup', $box{b2}{cgroup});
    sleep 0.02;
    is(agent('b2', 'unix', $sock, 'b'), 200, 'before it is registered');
}


# Process ids that are used again.  A thief connects, asks with the victim's
# token and ends; a process of the victim gets its number before the gateway
# looks.  Namespaces of processes have a limit of their own since Linux 6.14.

my ($tree) = slurp('/proc/mounts') =~ /^\S+ (\S+) cgroup2 /m;
my $group = "hai-pids-" . int(rand 1e9);
my @groups;

END {
    my $code = $?;

    rmdir $_ for reverse @groups;
    $? = $code;
}

sub poke {
    my ($file, $text) = @_;

    open(my $out, '>', $file) or die "$file: $!\n";
    syswrite($out, $text) // die "$file: $!\n";
}

sub group_of {
    my ($name) = @_;

    open(my $procs, '>', "$tree/$group/$name/cgroup.procs") or _exit(9);
    syswrite($procs, "0\n") or _exit(9);
    close $procs;
}

SKIP: {
    my ($major, $minor) = (POSIX::uname())[2] =~ /^(\d+)\.(\d+)/;

    if ($major < 6 || $major == 6 && $minor < 14) {
        diag('NOT TESTED: reused process ids: this kernel has one limit of '
            . 'them for all');
        skip 'no pid_max of its own', 6;
    }

    skip 'no cgroup2 is mounted', 6
        if !$tree || !mkdir "$tree/$group";

    push @groups, "$tree/$group";
    for my $name (qw(victim thief)) {
        mkdir "$tree/$group/$name" or die "cgroup: $!\n";
        push @groups, "$tree/$group/$name";
    }

    $s->container($_, cgroup => "/$group/$_") for qw(victim thief);
    sleep 0.05;

    my @workers = $s->workers;
    my $highest = 0;

    for (glob '/proc/[0-9]*') {
        my ($pid) = m{(\d+)\z};
        $highest = $pid if $pid > $highest;
    }

    # 301 is the lowest that the kernel takes
    my $limit = $highest + 30 < 330 ? 330 : $highest + 30;
    my $before = slurp('/proc/sys/kernel/pid_max');
    poke('/proc/sys/kernel/pid_max', "$limit\n");

    # A process of a group connects, and is gone.
    my $connect = sub {
        my ($name, $token, $ends) = @_;

        socket(my $socket, 1, 1, 0) or die "socket: $!\n";
        pipe my $go, my $end;
        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            close $end;
            group_of($name);
            connect($socket, Socket::pack_sockaddr_un("$w/gw/ai.sock"))
                or _exit(8);
            syswrite($socket, HoodyAI::Client::build('POST',
                '/v1/chat/completions', token => $token, body => chat(),
                headers => [Connection => 'close'])) or _exit(7);
            sysread $go, my $byte, 1 if !$ends;
            _exit(0);
        }

        close $go;
        if (!$ends) {
            wait_for { getpeername $socket } or die "not connected\n";
        } else {
            waitpid $pid, 0;
            die "a client failed: $?\n" if $?;
        }

        return ($socket, $pid, $end);
    };
    my $status = sub {
        my ($socket) = @_;
        my $text = '';

        while (IO::Select->new($socket)->can_read(10)) {
            sysread $socket, $text, 65536, length $text or last;
        }

        return $text =~ m{^HTTP/1.1 (\d+)} ? $1 : 'nothing';
    };

    {
        my ($socket, $pid, $end) = $connect->('victim', 'victim', 0);

        is($status->($socket), 200, 'the victim asks for itself');
        close $end;
        waitpid $pid, 0;
        ($socket, $pid, $end) = $connect->('thief', 'victim', 0);
        is($status->($socket), 401, 'the thief with its token');
        close $end;
        waitpid $pid, 0;
    }

    # The gateway stands still meanwhile.  @keep are processes of the victim.
    my ($reused, %got) = (0);

    for (1 .. 12) {
        my (@keep, $hit);

        suspend(@workers);
        my ($socket, $pid) = $connect->('thief', 'victim', 1);

        for (1 .. 2 * $limit) {
            poke('/proc/sys/kernel/ns_last_pid', $pid - 1);
            my $next = fork // last;

            if ($next == 0) {
                group_of('victim');
                sleep 30;
                _exit(0);
            }

            if ($next == $pid) {
                $hit = $next;
                last;
            }

            kill 'KILL', $next;
            waitpid $next, 0;
        }

        if ($hit) {
            wait_for { slurp("/proc/$hit/cgroup") =~ m{/victim$}m };
            $reused++;
        }

        kill 'CONT', @workers;
        $got{$status->($socket)}++;

        if ($hit) {
            kill 'KILL', $hit;
            waitpid $hit, 0;
        }
    }

    cmp_ok($reused, '>=', 10, 'the victim had the number of the thief');
    is(join(' ', sort keys %got), 401, 'which was of no use to the thief');

    # And without order: processes of the victim come and go, clients of the
    # thief live as shortly as can be, and numbers go round.
    my $run = sub {
        my ($name, $log, @words) = @_;
        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            group_of($name);
            open(STDOUT, '>', "$w/$log") or _exit(6);
            exec "$w/image/agent", @words or _exit(5);
        }

        return $pid;
    };
    my @pids = ((map { $run->('victim', "spin.$_", 'spin', 3) } 1 .. 2),
        $run->('thief', 'bomb', 'bomb', "$w/gw/ai.sock", 'victim', 3));

    waitpid $_, 0 for @pids;

    my %victim = map { $_ => 1 } map { split } slurp("$w/spin.1"),
        slurp("$w/spin.2");
    my (%storm, $both);

    for (split /\n/, slurp("$w/bomb")) {
        my ($pid, $status) = split;

        $storm{$status}++;
        $both++ if $victim{$pid};
    }

    is(join(' ', sort keys %storm), 401, 'a storm of short clients: '
        . 'nobody got in') or diag(explain(\%storm));
    cmp_ok($both // 0, '>', 50, 'with numbers that the victim had, too')
        or diag(explain(\%storm));
    poke('/proc/sys/kernel/pid_max', $before);
}

$s->finish;
