package HoodyAI::Control;

# The control API of a HoodyAI::System: hoody-ai-control, and the server of
# nginx before it, as conf/hoody_ai_control.conf has it.
#
#     my $c = HoodyAI::Control->new($s, args => ['--runtime', ...]);
#     $s->nginx(http => sub { $s->default_http . $c->server });
#
#     my $answer = $c->call('GET', '/containers?limit=5');
#     my $answer = $c->call('POST', "/projects/$project/containers",
#         json => { name => 'dev-env' }, token => $token);
#     $answer->{status}, $answer->{json}{data}, ...
#
# Without token => it is the uid of the test that counts (root's).
# token => '' sends none from TCP, where no uid is known.

use strict;
use warnings;

use HoodyAI::System qw(slurp spew wait_for free_port);


sub program {
    my ($s, $name) = @_;

    return ($ENV{HAI_PROGRAMS} // $s->root . '/build') . "/$name";
}


# Options: args => [...]; redis => what --redis says; tokens => 0 for no file;
# wait => 0
sub new {
    my ($class, $s, %option) = @_;

    my $folder = "$s->{dir}/control";

    mkdir $folder;

    my $self = bless {
        s => $s,
        fcgi => "$folder/fcgi.sock",
        socket => "$folder/http.sock",
        file => "$s->{secrets}/tokens.json",
        audit => "$folder/audit.log",
        port => free_port(),
        redis => $option{redis} // "unix:$s->{redis_socket}",
        args => $option{args} // [],
        option => \%option,
    }, $class;

    $self->token('read') if !-e $self->{file};
    $self->start(%option);

    return $self;
}


sub command {
    my ($self) = @_;

    return [program($self->{s}, 'hoody-ai-control'), '--socket', $self->{fcgi},
        '--socket-mode', '0666', '--redis', $self->{redis}, '--server',
        $self->{s}{server}, '--tokens', $self->{file}, '--audit-log',
        $self->{audit}, @{$self->{args}}];
}


sub start {
    my ($self, %option) = @_;

    $self->{s}->spawn('control', $self->command);

    return if exists $option{wait} && !$option{wait};

    wait_for { -S $self->{fcgi} && $self->log =~ /ready/ }
        or die "hoody-ai-control does not start:\n" . $self->log;
}


sub stop { $_[0]{s}->stop('control', @_[1 .. $#_]) }

sub pid { $_[0]{s}->pid('control') }

sub log { slurp("$_[0]{s}{dir}/control.out.log") }


# The file of tokens.
sub tokens { slurp($_[0]{file}) }


# What conf/hoody_ai_control.conf has, with the paths of this test.
sub server {
    my ($self) = @_;

    my $root = $self->{s}->root;
    my $text = slurp("$root/conf/hoody_ai_control.conf");

    $text =~ s{listen unix:\S+;}{listen unix:$self->{socket};
        listen 127.0.0.1:$self->{port};} or die;
    $text =~ s{hoody-ai/hoody_ai_control_params}
        {$root/conf/hoody_ai_control_params} or die;
    $text =~ s{unix:/run/hoody-ai/control\.fcgi}{unix:$self->{fcgi}} or die;

    return $text;
}


# A new token with these scopes.
sub token {
    my ($self, @words) = @_;

    my $program = program($self->{s}, 'hoody-ai');
    my @scopes = map { /^--/ ? $_ : ('--scope', $_) } @words;
    my $token = `$program tokens create @scopes --tokens $self->{file}`;

    chomp $token;
    $token =~ /^hdy_[\w-]{43}\z/ or die "no token: $token\n";

    return $token;
}


# path: below /api/v1
sub call {
    my ($self, $method, $path, %option) = @_;

    my $token = delete $option{token};
    my @headers = @{ delete $option{headers} // [] };

    push @headers, 'Authorization', "Bearer $token"
        if defined $token && length $token;

    my $answer = $self->{s}->ask($method, "/api/v1$path", %option,
        headers => \@headers, timeout => 60,
        to => defined $token ? "127.0.0.1:$self->{port}"
                             : "unix:$self->{socket}");

    $answer->{json} //= eval { JSON::PP::decode_json($answer->{body}) };

    return $answer;
}

1;
