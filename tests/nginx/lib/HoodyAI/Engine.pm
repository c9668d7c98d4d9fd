package HoodyAI::Engine;

# The rule engine of a HoodyAI::System.
#
#     my $engine = HoodyAI::Engine->new($s, rules => [{ id => ... }, ...]);
#
#     $engine->rules({ id => ... });             # another file
#     my $fcgi = $engine->connect;
#     my $answer = $engine->ask('plan', ...);    # over a connection of its own
#
# Options: name ("engine"), rules, args => [...] (further arguments), socket,
# redis (what --redis says), wait => 0: not until it answers questions; and
# those of HoodyAI::System::spawn().

use strict;
use warnings;

use JSON::PP;
use Time::HiRes qw(time);

use HoodyAI::FastCGI;
use HoodyAI::System qw(slurp spew wait_for);


sub new {
    my ($class, $s, %option) = @_;

    my $name = delete $option{name} // 'engine';
    my $folder = "$s->{dir}/$name";

    mkdir $folder;

    my $self = bless {
        s => $s,
        name => $name,
        file => "$folder/hoody.json",
        socket => $option{socket} // "$folder/rules.sock",
        redis => $option{redis} // "unix:$s->{redis_socket}",
        args => $option{args} // [],
    }, $class;

    $self->rules(@{$option{rules}}) if $option{rules};
    $self->start(%option);

    return $self;
}


sub command {
    my ($self) = @_;

    return [$self->{s}->program('hoody-ai-rules'), '--socket', $self->{socket},
        '--redis', $self->{redis}, '--server', $self->{s}{server},
        -e $self->{file} ? ('--rules', $self->{file}) : (), @{$self->{args}}];
}


sub start {
    my ($self, %option) = @_;

    $self->{s}->spawn($self->{name}, $option{command} // $self->command,
        map { exists $option{$_} ? ($_ => $option{$_}) : () }
        qw(stdout before));

    return if exists $option{wait} && !$option{wait};

    wait_for { my $status = $self->status; $status && $status->{epoch} }
        or die "the engine does not answer:\n" . $self->log;
}


sub stop { $_[0]{s}->stop($_[0]{name}, @_[1 .. $#_]) }

sub pid { $_[0]{s}->pid($_[0]{name}) }

sub log { slurp("$_[0]{s}{dir}/$_[0]{name}.out.log") }


# Writes the rules as an editor does: another file takes the name.
sub rules {
    my ($self, @rules) = @_;

    $self->text(encode_json({ rules => \@rules }));
}


sub text {
    my ($self, $text) = @_;

    spew("$self->{file}.new", $text);
    rename "$self->{file}.new", $self->{file} or die "$self->{file}: $!\n";
}


sub connect {
    my ($self, %option) = @_;

    return HoodyAI::FastCGI->new(to => $self->{socket}, %option);
}


sub ask {
    my ($self, @question) = @_;

    my $fcgi = $self->connect(keep => 0) or return;
    my $answer = $fcgi->ask(@question);

    $fcgi->close;

    return $answer;
}


sub status {
    my ($self) = @_;

    my $answer = $self->ask('status') or return;

    return $answer->{json};
}


# Milliseconds until the condition holds for the status; undef: it never does.
sub until_status {
    my ($self, $condition, $timeout) = @_;

    my $began = time;

    wait_for {
        my $status = $self->status or return 0;
        local $_ = $status;
        $condition->();
    } $timeout or return;

    return 1000 * (time - $began);
}


1;
