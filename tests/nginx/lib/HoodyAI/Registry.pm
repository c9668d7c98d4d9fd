package HoodyAI::Registry;

# The functions of redis-schema/hoody_ai.lua, for tests.
#
#     my $r = HoodyAI::Registry->new($s);      # a HoodyAI::System with Redis
#
#     $r->load;
#     $r->call('create', 'dev-env', id => $id, addresses => '127.0.0.1');
#     $r->refusal('enable', 'nobody');         # 'NOTFOUND nobody'
#     $r->rename('dev-env', 'other');
#
# and the command "hoody-ai registry" on the same Redis:
#
#     my ($status, $out, $err) = $r->command('check', '--repair');

use strict;
use warnings;

use POSIX qw(_exit);

use HoodyAI::System qw(slurp);


sub new {
    my ($class, $s) = @_;

    return bless { s => $s }, $class;
}


# Loads them and says that the layout is the current one.
sub load {
    my ($self) = @_;

    my $s = $self->{s};

    $s->cmd('FUNCTION', 'LOAD', 'REPLACE',
        slurp($s->root . '/redis-schema/hoody_ai.lua'));
    $self->schema('empty', 2);
}


sub schema {
    my ($self, $from, $to) = @_;

    my $s = $self->{s};

    return $s->cmd('FCALL', 'hoody_ai_set_schema', 5, (map { $s->rkey($_) }
        qw(schema containers ai:enabled index:owners index:claims)),
        $from, $to);
}


sub keys_of {
    my ($self, $name) = @_;

    return map { $self->{s}->rkey($_) } "container:$name",
        qw(containers ai:enabled events schema index:owners index:claims
           index:version), "index:source:$name";
}


# The reply, or a death of "redis error: ...".
sub call {
    my ($self, $op, $name, @args) = @_;

    return $self->{s}->cmd('FCALL', "hoody_ai_$op", 9, $self->keys_of($name),
        @args);
}


sub rename {
    my ($self, $name, $new, @args) = @_;

    my $s = $self->{s};

    return $s->cmd('FCALL', 'hoody_ai_rename', 11, $self->keys_of($name),
        $s->rkey("container:$new"), $s->rkey("index:source:$new"), @args);
}


# What a call is refused with; '' where it is not.
sub refusal {
    my ($self, @call) = @_;

    return '' if eval { $self->call(@call) };
    return $@ =~ /^redis error: (.*)/ ? $1 : $@;
}


# The fields of a container, and whether it is enabled.
sub get {
    my ($self, $name) = @_;

    my @flat = @{$self->call('get', $name)} or return undef;
    my ($enabled, $version, %field) = @flat;

    return { %field, enabled => $enabled };
}


# All that is in Redis, to compare.
sub everything {
    my ($self) = @_;

    my $s = $self->{s};
    my ($cursor, %all) = (0);

    do {
        my $page = $s->cmd('SCAN', $cursor, 'COUNT', 1000);

        $cursor = $page->[0];
        $all{$_} = $s->cmd('DUMP', $_) . ' ' . ($s->cmd('PTTL', $_) < 0)
            for @{$page->[1]};
    } while ($cursor);

    return \%all;
}


# Entries of the stream of events, oldest first.
sub events {
    my ($self) = @_;

    my $s = $self->{s};

    return map { +{ @{$_->[1]} } }
        @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')};
}


# Starts the command; its output goes to files.  The process id.
sub start {
    my ($self, @args) = @_;

    my $s = $self->{s};
    my $program = $s->program('hoody-ai');
    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$s->{dir}/command.out" or _exit(126);
        open STDERR, '>', "$s->{dir}/command.err" or _exit(126);
        exec $program, 'registry', $args[0],
            '--redis', "unix:$s->{redis_socket}", '--server', $s->{server},
            @args[1 .. $#args] or _exit(127);
    }

    return $pid;
}


# Its exit status, what it wrote, and what it complained about.
sub command {
    my ($self, @args) = @_;

    my $s = $self->{s};
    my $pid = $self->start(@args);

    waitpid $pid, 0;

    return ($? & 127 ? -1 : $? >> 8, slurp("$s->{dir}/command.out"),
        slurp("$s->{dir}/command.err"));
}


1;
