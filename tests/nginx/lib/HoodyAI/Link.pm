package HoodyAI::Link;

# A cable between two network namespaces that can be made slow, lossy or dead:
# a tun device on each side, and a process that carries the packets.
#
#     HoodyAI::Link::private();          # this program has a network of its own
#     my $link = HoodyAI::Link->new($s);
#
#     $s->redis(under => [$link->far], args => ['--bind', '0.0.0.0']);
#     ...  Redis is at $link->address
#     $link->set(delay => 2);            # seconds, from far to near
#     $link->set(loss => 0.3);           # both ways
#     $link->set(dead => 1);             # nothing passes
#     $link->set(deaf => 40001);         # nothing from far to this port
#
# The kernel's own netem does the same, where it is there.

use strict;
use warnings;

use Fcntl qw(O_RDWR);
use IO::Handle;
use IO::Select;
use POSIX qw(_exit);
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

use HoodyAI::System qw(slurp wait_for);

my $TUNSETIFF = 0x400454ca;
my $IFF_TUN = 1;
my $IFF_NO_PI = 0x1000;


# Starts the program again in a network namespace of its own, with "lo" up;
# false where that is not allowed.
sub private {
    if (!$ENV{HAI_PRIVATE}) {
        return 0 if $> != 0 || !-w '/dev/net/tun'
            || system('unshare -n true 2>/dev/null') != 0;

        $ENV{HAI_PRIVATE} = 1;
        exec 'unshare', '-n', $^X, $0, @ARGV;
    }

    return system('ip', 'link', 'set', 'lo', 'up') == 0;
}


sub new {
    my ($class, $s, %option) = @_;

    my $n = $option{n} // 1;
    my $self = bless { net => "198.18.$n" }, $class;

    # the far side lives as long as this process
    my $holder = $s->spawn("far$n", ['/usr/bin/unshare', '-n', '/bin/sh', '-c',
        'sleep 3600 & trap "kill $!; exit 0" TERM; wait']);

    wait_for {
        readlink("/proc/$holder/ns/net") ne readlink("/proc/$$/ns/net")
            && slurp("/proc/$holder/comm") =~ /^sh/
    } or die "no namespace\n";

    my ($near, $far) = map { _tun($_) } "near$n", "far$n";

    _run('ip', 'link', 'set', "far$n", 'netns', $holder);
    _run('ip', 'addr', 'add', "$self->{net}.1/24", 'dev', "near$n");
    _run('ip', 'link', 'set', "near$n", 'up');

    $self->{far} = ['nsenter', '-t', $holder, '-n'];
    _run(@{$self->{far}}, 'ip', 'link', 'set', 'lo', 'up');
    _run(@{$self->{far}}, 'ip', 'addr', 'add', "$self->{net}.2/24", 'dev',
        "far$n");
    _run(@{$self->{far}}, 'ip', 'link', 'set', "far$n", 'up');

    socketpair($self->{control}, my $control, AF_UNIX, SOCK_STREAM, PF_UNSPEC)
        or die "socketpair: $!\n";
    $self->{control}->autoflush(1);

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open(STDOUT, '>', '/dev/null');
        open(STDERR, '>', "$s->{dir}/link$n.out.log");
        close $self->{control};
        $SIG{TERM} = sub { _exit(0) };
        eval { _carry($near, $far, $control) };
        print STDERR $@;
        _exit(1);
    }

    $s->{running}{"link$n"} = { pid => $pid };
    push @{$s->{order}}, "link$n";

    return $self;
}


sub far { @{$_[0]{far}} }
sub address { "$_[0]{net}.2" }


sub _run { system(@_) == 0 or die "@_ failed\n" }


sub _tun {
    my ($name) = @_;

    sysopen(my $tun, '/dev/net/tun', O_RDWR) or die "/dev/net/tun: $!\n";
    ioctl($tun, $TUNSETIFF, pack('a16 s x22', $name, $IFF_TUN | $IFF_NO_PI))
        or die "tun: $!\n";

    return $tun;
}


# What is not named is as on a good cable.
sub set {
    my ($self, %how) = @_;

    my $control = $self->{control};

    print $control join(' ', %how), "\n";
    <$control> // die "the link is gone\n";
}


sub _now { clock_gettime(CLOCK_MONOTONIC) }


sub _carry {
    my ($near, $far, $control) = @_;

    my $select = IO::Select->new($near, $far, $control);
    my (%how, @held);

    $control->autoflush(1);

    while (1) {
        my $left = @held ? $held[0][0] - _now() : 60;

        if ($left <= 0) {
            syswrite $near, (shift @held)->[1];
            next;
        }

        for my $from ($select->can_read($left)) {
            if ($from == $control) {
                my $line = <$control> // return;
                %how = split ' ', $line;
                print $control "done\n";
                next;
            }

            sysread $from, my $packet, 65536 or return;

            next if $how{dead} || ($how{loss} && rand() < $how{loss});

            if ($from == $near) {
                syswrite $far, $packet;
                next;
            }

            next if $how{deaf} && _to_port($packet) == $how{deaf};

            if ($how{delay}) {
                push @held, [_now() + $how{delay}, $packet];

            } else {
                syswrite $near, $packet;
            }
        }
    }
}


# The port that a TCP packet over IPv4 goes to.
sub _to_port {
    my ($packet) = @_;

    my ($first, $protocol) = unpack 'C x8 C', $packet;

    return 0 if $first >> 4 != 4 || $protocol != 6;

    return unpack 'n', substr $packet, ($first & 15) * 4 + 2, 2;
}


1;
