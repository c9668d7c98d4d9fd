package HoodyAI::Net;

# Hosts on bridges, in a network of the test's own, and frames as an attacker
# makes them.
#
#     HoodyAI::Net->enter;             # first: starts the test again in there
#     my $net = HoodyAI::Net->new;
#     $net->bridge('br0', '10.77.0.1/24', 'fd77::1/64');
#     my $one = $net->host('one', bridge => 'br0', v4 => ..., v6 => ...);
#     my $text = $one->run(sub { ... return 'text' });   # in its namespace
#
# What the test starts is in the same network: nothing of it can be seen by,
# or collide with, anything else on the machine.

use strict;
use warnings;

use Exporter qw(import);
use POSIX qw(_exit uname);
use Socket qw(inet_pton AF_INET AF_INET6);
use Test::More;

our @EXPORT_OK = qw(ip_udp ip_icmp6 arp frame mac_bytes);

my $setns = (uname())[4] eq 'aarch64' ? 268 : 308;


# The test again, in a network namespace of its own; skips the file where
# there can be none.  Arguments: what is not tested then, and which programs
# it takes beside ip.  With pids => 1 processes are in a namespace too, which
# ends with the test, whatever is in it.
sub enter {
    my ($class, $what, @needs) = @_;
    my %option = ref $needs[-1] ? %{pop @needs} : ();

    return system('ip', 'link', 'set', 'lo', 'up') == 0
        || die "no loopback\n" if $ENV{HAI_OWN_NET};

    $class->needs($what, @needs);

    $ENV{PATH} .= ':/usr/sbin:/sbin';
    $ENV{HAI_OWN_NET} = 1;

    # the first process of a namespace takes the orphans
    my $init = 'my $pid = fork // die; exec @ARGV if $pid == 0;'
        . 'while ((my $one = wait) > 0) { next if $one != $pid;'
        . 'exit($? >> 8 || ($? & 127 ? 128 + ($? & 127) : 0)) } exit 1';

    exec 'unshare', '-n', $option{pids} ? ('-p', '-f', '--mount-proc',
        '--kill-child', $^X, '-e', $init, '--') : (), $^X, $0, @ARGV
        or die "unshare: $!\n";
}


# Skips the file where one of the programs is missing, or namespaces are.
sub needs {
    my ($class, $what, @needs) = @_;

    for my $program ('ip', 'unshare', @needs) {
        next if grep { -x "$_/$program" } split(/:/, $ENV{PATH}),
            '/usr/sbin', '/sbin';
        $class->skip_file($what, "there is no $program here");
    }

    $class->skip_file($what, 'network namespaces need root') if $> != 0;
    $class->skip_file($what, 'network namespaces cannot be made here')
        if system('unshare -n true 2>/dev/null') != 0;
}


sub skip_file {
    my ($class, $what, $why) = @_;

    diag("NOT TESTED: $what: $why");
    plan skip_all => $why;
}


sub new {
    my ($class) = @_;

    return bless { owner => $$, spaces => [], ports => 0 }, $class;
}


sub ip {
    my ($self, @words) = @_;

    system('ip', @words) == 0 or die "ip @words failed\n";
}


# Many commands of ip, one a line.
sub batch {
    my ($self, $commands, @options) = @_;

    open(my $in, '|-', 'ip', @options, '-batch', '-') or die "ip: $!\n";
    print $in $commands;
    close $in or die "ip -batch failed:\n$commands";
}


sub bridge {
    my ($self, $name, @addresses) = @_;

    $self->ip('link', 'add', $name, 'type', 'bridge');
    $self->ip('addr', 'add', $_, 'dev', $name, /:/ ? 'nodad' : ())
        for @addresses;
    $self->ip('link', 'set', $name, 'up');
}


# A namespace with an interface eth0.  Options: bridge; v4, v6, with a prefix
# length; via4, via6 (the host's side of a link without a bridge); mac.
sub host {
    my ($self, $name, %option) = @_;

    my $n = ++$self->{ports};
    my $host = bless {
        net => $self,
        name => $name,
        space => "hai$$-$name",
        port => "veth-$name",
        mac => $option{mac} // sprintf('02:00:00:77:00:%02x', $n),
    }, 'HoodyAI::Net::Host';
    my $space = $host->{space};

    $self->ip('netns', 'add', $space);
    push @{$self->{spaces}}, $space;
    $self->ip('link', 'add', $host->{port}, 'type', 'veth', 'peer', 'name',
        'eth0', 'netns', $space);
    $self->ip('link', 'set', $host->{port}, 'master', $option{bridge})
        if $option{bridge};
    $self->ip('link', 'set', $host->{port}, 'up');
    $self->ip('-n', $space, 'link', 'set', 'lo', 'up');
    $self->ip('-n', $space, 'link', 'set', 'eth0', 'address', $host->{mac});
    $self->ip('-n', $space, 'link', 'set', 'eth0', 'up');

    for my $v (qw(v4 v6)) {
        my $address = $option{$v} or next;

        $self->ip('-n', $space, 'addr', 'add', $address, 'dev', 'eth0',
            $v eq 'v6' ? 'nodad' : ());
        ($host->{$v}) = $address =~ m{^([^/]+)};
    }

    return $host;
}


# What happens in a namespace: a process enters it and runs the sub, whose
# value comes back as text.
sub in_space {
    my ($space, $sub) = @_;

    pipe my $in, my $out or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        close $in;
        open(my $file, '<', "/run/netns/$space") or _exit(126);
        syscall($setns, fileno $file, 0x40000000) == 0 or _exit(126);

        my $text = eval { $sub->() };

        syswrite $out, defined $text ? $text : "died: $@";
        _exit(0);
    }

    close $out;
    local $/;
    my $text = <$in> // '';
    waitpid $pid, 0;
    die "no way into $space\n" if $? >> 8 == 126;

    return $text;
}


sub DESTROY {
    my ($self) = @_;

    return if $self->{owner} != $$;
    local $?;
    system('ip', 'netns', 'del', $_) for @{$self->{spaces}};
    $self->{spaces} = [];
}


# Frames

sub mac_bytes { pack 'H12', $_[0] =~ s/://gr }

sub frame { mac_bytes($_[0]) . mac_bytes($_[1]) . pack('n', $_[2]) . $_[3] }

sub _sum {
    my ($data) = @_;
    my $sum = 0;

    $data .= "\0" if length($data) % 2;
    $sum += $_ for unpack 'n*', $data;
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;

    return ~$sum & 0xffff;
}


# (EtherType, packet) of a datagram; of IPv6 where the addresses are.
sub ip_udp {
    my ($from, $to, $port, $text) = @_;

    my $length = 8 + length $text;

    if ($to !~ /:/) {
        my $addresses = inet_pton(AF_INET, $from) . inet_pton(AF_INET, $to);
        my @head = (0x45, 0, 20 + $length, 1, 0, 64, 17);
        my $sum = _sum(pack('CCnnnCCn', @head, 0) . $addresses);

        return 0x0800, pack('CCnnnCCn', @head, $sum) . $addresses
            . pack('nnnn', 40000, $port, $length, 0) . $text;
    }

    return _ip6($from, $to, 17, 64, sub {
        pack('nnnn', 40000, $port, $length, $_[0]) . $text });
}


sub _ip6 {
    my ($from, $to, $next, $hops, $build) = @_;

    my $addresses = inet_pton(AF_INET6, $from) . inet_pton(AF_INET6, $to);
    my $plain = $build->(0);
    my $sum = _sum($addresses . pack('NN', length $plain, $next) . $plain);

    return 0x86dd, pack('NnCC', 0x60000000, length $plain, $next, $hops)
        . $addresses . $build->($sum || 0xffff);
}


# An ICMPv6 message of this type: flags, target, and options as bytes.
sub ip_icmp6 {
    my ($from, $to, $type, $flags, $target, $options) = @_;

    return _ip6($from, $to, 58, 255, sub {
        pack('CCnN', $type, 0, $_[0], $flags)
            . (defined $target ? inet_pton(AF_INET6, $target) : '')
            . ($options // '') });
}


# operation 1 asks, 2 answers
sub arp {
    my ($operation, $mac, $from, $to_mac, $to) = @_;

    return 0x0806, pack('nnCCn', 1, 0x0800, 6, 4, $operation)
        . mac_bytes($mac) . inet_pton(AF_INET, $from) . mac_bytes($to_mac)
        . inet_pton(AF_INET, $to);
}


package HoodyAI::Net::Host;

use strict;
use warnings;

sub run { HoodyAI::Net::in_space($_[0]{space}, $_[1]) }

sub batch { $_[0]{net}->batch($_[1], '-n', $_[0]{space}) }

sub ip { $_[0]{net}->ip('-n', $_[0]{space}, @_[1 .. $#_]) }


# Puts frames on its wire, one after the other.
sub send {
    my ($self, @frames) = @_;

    my $said = $self->run(sub {
        my $index = HoodyAI::Net::_index('eth0');

        socket(my $socket, 17, 3, 0) or die "AF_PACKET: $!\n";

        for my $frame (@frames) {
            CORE::send($socket, $frame, 0,
                pack('SnlSCCa8', 17, 0, $index, 0, 0, 6, '')) or die "$!\n";
        }

        return 'sent';
    });

    $said eq 'sent' or die "$self->{name}: $said\n";
}


package HoodyAI::Net;

# of an interface in the namespace of this process
sub _index {
    my ($name) = @_;

    socket(my $socket, AF_INET, 2, 0) or die "socket: $!\n";
    my $request = pack 'a16x24', $name;
    ioctl($socket, 0x8933, $request) or die "$name: $!\n";

    return unpack 'x16 l', $request;
}


1;
