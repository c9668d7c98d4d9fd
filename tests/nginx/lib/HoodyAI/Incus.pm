package HoodyAI::Incus;

# A real Incus for a test in a network of its own (HoodyAI::Net->enter with
# pids => 1): its daemon with a folder, a bridge and a storage of its own, and
# an image that holds nothing but tests/nginx/agent/agent.c.
#
#     my $incus = HoodyAI::Incus->new($s, 'what is tested');
#     $incus->run(qw(launch agent i1));           # its output, or undef
#     $incus->address('i1', '10.92.0.11');        # no DHCP in that image
#     $incus->agent('i1', 'tcp', ...);            # what the agent says in there
#     $incus->socket                              # its API
#
# Skips the file, by name, where Incus cannot run a container.

use strict;
use warnings;

use Test::More;

use HoodyAI::System qw(run_folder slurp spew wait_for);


sub new {
    my ($class, $s, $what) = @_;

    my $w = $s->dir;
    my $dir = run_folder('incus');
    my $self = bless { s => $s, dir => $dir, log => "$w/incus.log",
        owner => $$ }, $class;

    $ENV{INCUS_DIR} = $dir;
    $ENV{INCUS_CONF} = "$dir/client";
    $ENV{PATH} = "/usr/libexec/incus:$ENV{PATH}";

    my ($daemon) = grep { -x } '/usr/libexec/incus/incusd', '/usr/sbin/incusd';

    return $self->give_up($what, 'there is no incusd here') if !$daemon;

    # the daemon wants the host's leases and sockets for itself
    system('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none', $dir) == 0
        or die "no folder for Incus\n";

    # /sys as this network sees it, with the host's cgroups
    system("mkdir $dir/cgroup && mount --rbind /sys/fs/cgroup $dir/cgroup"
        . ' && mount -t sysfs none /sys'
        . " && mount --rbind $dir/cgroup /sys/fs/cgroup") == 0
        or die "no /sys for Incus\n";

    $s->spawn('incusd', [$daemon, '--group', 'root', '--logfile',
        "$w/incusd.log"]);
    wait_for { defined $self->run(qw(admin waitready --timeout=1)) } 30
        or return $self->give_up($what, 'incusd does not start');

    spew("$dir/preseed", <<'END');
storage_pools:
- name: default
  driver: dir
networks:
- name: incgw0
  type: bridge
  config:
    ipv4.address: 10.92.0.1/24
    ipv4.nat: "false"
    ipv4.dhcp: "false"
    ipv6.address: none
profiles:
- name: default
  config:
    raw.lxc: |-
      lxc.init.cmd = /agent sleep
  devices:
    root: { path: /, pool: default, type: disk }
    eth0: { name: eth0, network: incgw0, type: nic }
END

    defined $self->run('sh', "incus admin init --preseed <$dir/preseed")
        or return $self->give_up($what, 'Incus cannot be set up');

    mkdir "$dir/$_" for qw(image image/rootfs), map { "image/rootfs/$_" }
        qw(proc sys dev tmp run etc sbin);
    system('cc', '-static', '-O2', '-o', "$dir/image/rootfs/agent",
        $s->root . '/tests/nginx/agent/agent.c') == 0 or BAIL_OUT('the agent');
    spew("$dir/image/metadata.yaml", "architecture: x86_64\n"
        . "creation_date: 1700000000\nproperties:\n  description: agent\n");

    if (!defined $self->run('sh', "tar -C $dir/image -cf $dir/image.tar ."
            . " && incus image import $dir/image.tar --alias agent")
        || !defined $self->run(qw(launch agent probe))
        || ($self->agent('probe', 'nothing') // '') ne 'usage')
    {
        return $self->give_up($what, 'Incus does not run a container here');
    }

    $self->run(qw(delete -f probe));

    return $self;
}


sub give_up {
    my ($self, $what, $why) = @_;

    diag("NOT TESTED: $what: $why:\n" . substr($self->messages, -600));
    $self->end;
    $self->{s}->remove;
    plan skip_all => $why;
}


sub messages { -e $_[0]{log} ? slurp($_[0]{log}) : '' }

sub socket { "$_[0]{dir}/unix.socket" }


sub _out {
    my ($self, @words) = @_;

    open(my $out, '-|', 'sh', '-c', 'exec timeout 60 "$@" 2>>"$0" </dev/null',
        $self->{log}, @words) or die "incus: $!\n";
    local $/;
    my $text = <$out> // '';
    close $out;
    $text =~ s{\n\z}{};

    return $text;
}


# A command of incus; 'sh' and a line for the shell.
sub run {
    my ($self, @words) = @_;
    my $text = $self->_out($words[0] eq 'sh' ? ('sh', '-c', $words[1])
        : ('incus', @words));

    return $? == 0 ? $text : undef;
}


sub pid {
    my ($self, $name) = @_;

    return ($self->run('info', $name) // '') =~ /^PID: (\d+)/m ? $1 : undef;
}


# Gives the container an address, from outside.
sub address {
    my ($self, $name, $address) = @_;
    my $pid = $self->pid($name) or die "$name does not run\n";

    system("nsenter -t $pid -n ip addr add $address/24 dev eth0 && "
        . "nsenter -t $pid -n ip link set eth0 up") == 0
        or die "$name gets no address\n";
}


sub agent {
    my ($self, $name, @words) = @_;

    return $self->_out('incus', 'exec', $name, '--', '/agent', @words);
}


sub end {
    my ($self) = @_;
    my $dir = delete $self->{dir};

    return if $self->{owner} != $$ || !defined $dir || !-d $dir;

    for my $name (split /\n/, $self->run(qw(list -f csv -c n)) // '') {
        $self->run('delete', '-f', $name);
    }

    $self->run(qw(admin shutdown -f --timeout 20));
    $self->{s}->stop('incusd', 'KILL') if $self->{s}->pid('incusd');
    system('umount', '-l', $_) for reverse slurp('/proc/mounts')
        =~ /^\S+ (\Q$dir\E\S*) /mg;
    system('rm', '-rf', $dir);
}


sub DESTROY {
    my ($self) = @_;

    local ($?, $!, $@);
    $self->end;
}

1;
