package HoodyAI::Docker;

# The same as HoodyAI::Podman with a Docker Engine of its own: dockerd with a
# private containerd, in the network that the test has made for itself.  Skips
# the file, by name, where dockerd is missing or does not run a container.

use strict;
use warnings;

use parent -norequire, 'HoodyAI::Podman';

use Test::More;

use HoodyAI::Podman;
use HoodyAI::System qw(run_folder wait_for);


sub new {
    my ($class, $s, $what) = @_;

    my $w = $s->dir;
    my $store = run_folder('docker');
    my $self = bless { s => $s, store => $store, log => "$w/docker.log",
        owner => $$, process => 'dockerd' }, $class;

    $self->{command} = ['docker', '--host', "unix://$store/api.sock"];

    return $self->give_up($what, 'there is no dockerd here')
        if grep { !-x "/usr/sbin/$_" && !-x "/usr/bin/$_" }
            qw(dockerd containerd docker iptables);

    # what it keeps outside of its folders is this test's own
    for my $folder ($store, '/run/containerd', '/var/lib/containerd') {
        system('mkdir', '-p', $folder) == 0
            && system('mount', '-t', 'tmpfs', '-o', 'mode=755', 'none',
                $folder) == 0 or die "$folder cannot be hidden\n";
    }

    eval { $self->service } or return $self->give_up($what,
        'dockerd does not start');

    my $image = $self->agent_image;

    system("tar -C $image -c . | @{$self->{command}} import --change 'ENTRYPOINT "
        . "[\"/agent\"]' --change 'CMD [\"sleep\"]' - localhost/agent:1 "
        . ">>$self->{log} 2>&1");

    return $self->give_up($what, 'dockerd does not run a container here')
        if !defined $self->run(qw(run --rm --network none localhost/agent:1
            nothing)) && ($? >> 8) != 2;

    return $self;
}


# Containers go on without the daemon, as podman's do without its API.
sub service {
    my ($self) = @_;
    my $store = $self->{store};

    return "$store/api.sock" if $self->pid;

    $self->{s}->spawn('dockerd', ['dockerd', '--data-root', "$store/data",
        '--exec-root', "$store/exec", '--pidfile', "$store/pid", '--host',
        "unix://$store/api.sock", '--bip', '10.94.0.1/24', '--storage-driver',
        'vfs', '--oom-score-adjust', 0, '--live-restore']);
    wait_for { defined $self->run('version') } 30
        or die "dockerd does not serve\n";

    return "$store/api.sock";
}


# "rm" of podman's takes a time to stop in.
sub run {
    my ($self, $verb, @words) = @_;

    @words = grep { $_ ne '-t0' } @words if $verb eq 'rm';

    return $self->SUPER::run($verb, @words);
}


sub no_names { () }


sub runc {
    my ($self) = @_;

    return ('runc', '--root', "$self->{store}/exec/runtime-runc/moby");
}


sub end {
    my ($self) = @_;
    my $store = $self->{store};

    return if $self->{owner} != $$ || !defined $store || !-d $store;

    $self->SUPER::end;
}

1;
