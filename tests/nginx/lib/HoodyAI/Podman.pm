package HoodyAI::Podman;

# Real containers for a test in a network of its own (HoodyAI::Net->enter with
# pids => 1): podman with runc, a store of its own, and an image that holds
# nothing but tests/nginx/agent/agent.c.
#
#     my $podman = HoodyAI::Podman->new($s, 'what is tested');
#     $podman->network(qw(--subnet ... name));
#     $podman->run(qw(run -d ...));               # its output, or undef
#     my $socket = $podman->service;              # its API
#     $podman->agent($id, 'unix', $sock, 'name'); # what the agent says in there
#
# Skips the file, by name, where podman cannot run a container.  With
# root => folder that is where images and containers are, and stay; there is no
# agent then.

use strict;
use warnings;

use Test::More;

use HoodyAI::System qw(run_folder slurp spew wait_for);


sub new {
    my ($class, $s, $what, %option) = @_;

    my $w = $s->dir;
    # what is kept knows its folder for the time of a run: always the same one
    my $store = $option{root} ? '/run/hai-podman' : run_folder('podman');
    my $self = bless { s => $s, store => $store, log => "$w/podman.log",
        owner => $$, process => 'podman' }, $class;

    # What podman and runc keep outside of their root: addresses that are in
    # use, locks, states.  Mounts are this test's own.
    for my $folder (qw(/run/containers /run/libpod /run/runc /dev/shm),
        $option{root} ? $store : ())
    {
        system('mkdir', '-p', $folder) == 0
            && system('mount', '-t', 'tmpfs', '-o', 'mode=1777', 'none',
                $folder) == 0 or die "$folder cannot be hidden\n";
    }

    spew("$store/containers.conf", <<'END');
[containers]
default_capabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID",
    "SETUID"]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
base_hosts_file = "none"
[engine]
runtime = "runc"
events_logger = "file"
cgroup_manager = "cgroupfs"
END

    $ENV{CONTAINERS_CONF} = "$store/containers.conf";

    # short: there are sockets in it
    $self->{command} = ['podman', '--root', $option{root} // "$store/root",
        '--runroot', "$store/run", '--network-config-dir', "$store/nets"];

    return $self if $option{root};

    $self->agent_image;

    my $command = join ' ', @{$self->{command}};

    system("tar -C $w/image -c . | $command import --change 'ENTRYPOINT "
        . "[\"/agent\"]' --change 'CMD [\"sleep\"]' - localhost/agent:1 "
        . ">>$self->{log} 2>&1");

    if (!defined $self->run(qw(run --rm localhost/agent:1 nothing))
        && $self->messages !~ /usage/ && ($? >> 8) != 2)
    {
        $self->give_up($what,
            'podman with runc does not run a container here');
    }

    return $self;
}


sub give_up {
    my ($self, $what, $why) = @_;
    my $s = $self->{s};

    diag("NOT TESTED: $what: $why:\n" . substr($self->messages, -600));
    $s->stop($self->{process});
    $self->end;
    $s->remove;
    plan skip_all => $why;
}


# A folder with what an image is made of.
sub agent_image {
    my ($self) = @_;
    my $w = $self->{s}->dir;

    mkdir "$w/image";
    system('cc', '-static', '-O2', '-o', "$w/image/agent",
        $self->{s}->root . '/tests/nginx/agent/agent.c') == 0
        or BAIL_OUT('the agent');

    return "$w/image";
}


# The process that serves the API.
sub pid { $_[0]{s}->pid($_[0]{process}) }

sub runc { 'runc' }


sub messages { -e $_[0]{log} ? slurp($_[0]{log}) : '' }


sub run {
    my ($self, @words) = @_;

    open(my $out, '-|', 'sh', '-c', 'exec "$@" 2>>"$0"', $self->{log},
        @{$self->{command}}, @words) or die "podman: $!\n";
    local $/;
    my $text = <$out> // '';
    close $out;
    $text =~ s{\n\z}{};

    return $? == 0 ? $text : undef;
}


# A network that leads nowhere.  Without names: to take a container off one
# that has them, podman 5 wants a package more.
sub network {
    my ($self, @words) = @_;

    return $self->run(qw(network create --internal), $self->no_names, @words);
}


sub no_names { '--disable-dns' }


# The API, which Docker's clients know, on a unix socket.
sub service {
    my ($self) = @_;
    my $socket = "$self->{store}/api.sock";

    unlink $socket;
    $self->{s}->spawn('podman', ['/usr/bin/env', @{$self->{command}}, 'system',
        'service', '--time=0', "unix://$socket"]);
    wait_for { -S $socket } or die 'podman does not serve: ' . $self->messages;

    return $socket;
}


sub stop_service { $_[0]{s}->stop($_[0]{process}, 'KILL') }


# The runtime itself starts it, as "podman exec" has it do, which takes three
# times as long.
sub agent {
    my ($self, $id, @words) = @_;

    open(my $out, '-|', $self->runc, 'exec', $id, '/agent', @words)
        or die "runc: $!\n";
    local $/;
    my $text = <$out> // '';
    $text =~ s{\n\z}{};

    return close $out ? $text : 'nothing';
}


sub end {
    my ($self) = @_;
    my $store = delete $self->{store};

    return if $self->{owner} != $$ || !defined $store || !-d $store;

    system("@{$self->{command}} rm -af -t0 >/dev/null 2>&1");
    system('umount', '-l', $_) for reverse slurp('/proc/mounts')
        =~ /^\S+ (\Q$store\E\S*) /mg;
    system('rm', '-rf', $store);
}


sub DESTROY {
    my ($self) = @_;

    local ($?, $!, $@);
    $self->end;
}

1;
