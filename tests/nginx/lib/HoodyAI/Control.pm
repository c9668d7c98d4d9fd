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
#
# Every call is held against fcgi-backend/control/openapi.json at the end:
#
#     $c->contract_ok;            # all => 1: and every operation was called

use strict;
use warnings;

use IO::Socket::UNIX;
use IPC::Open2;
use JSON::PP;
use Test::More;

use HoodyAI::System qw(slurp spew wait_for free_port);


# Options: args => [...]; redis => what --redis says; tokens => 0 for no file;
# wait => 0; name => where there are several of them
sub new {
    my ($class, $s, %option) = @_;

    my $name = $option{name} // 'control';
    my $folder = "$s->{dir}/$name";

    mkdir $folder;

    my $self = bless {
        s => $s,
        name => $name,
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

    return [$self->{s}->program('hoody-ai-control'), '--socket', $self->{fcgi},
        '--socket-mode', '0666', '--redis', $self->{redis}, '--server',
        $self->{s}{server}, '--tokens', $self->{file}, '--audit-log',
        $self->{audit}, @{$self->{args}}];
}


sub start {
    my ($self, %option) = @_;
    my $was = $self->ready;

    $self->{s}->spawn($self->{name}, $self->command);

    return if exists $option{wait} && !$option{wait};

    # the log goes on
    wait_for { $self->ready > $was }
        or die "hoody-ai-control does not start:\n" . $self->log;
}


# How often it was.
sub ready { scalar(() = $_[0]->log =~ /: ready$/mg) }


sub stop { $_[0]{s}->stop($_[0]{name}, @_[1 .. $#_]) }

sub pid { $_[0]{s}->pid($_[0]{name}) }

sub log { slurp("$_[0]{s}{dir}/$_[0]{name}.out.log") }


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

    my $program = $self->{s}->program('hoody-ai');
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

    $answer->{json} //= eval { decode_json($answer->{body}) };
    $self->record($method, $path, $answer, $option{json});

    return $answer;
}


# A call that is not waited for: the socket, where its answer comes.
sub begin {
    my ($self, $method, $path, $data) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $self->{socket})
        or die "$self->{socket}: $!\n";
    my $body = $data ? encode_json($data) : '';

    print $socket "$method /api/v1$path HTTP/1.1\r\nHost: a\r\n"
        . "Connection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    $socket->flush;

    return $socket;
}


sub openapi {
    my ($self) = @_;

    return $self->{openapi} //= decode_json(slurp($self->{s}->root
        . '/fcgi-backend/control/openapi.json'));
}


# The path of the file that this one is meant by; undef: none.
sub template {
    my ($self, $path) = @_;

    $path =~ s{\?.*}{};
    $path =~ s{/\z}{};

    # a word before a name: .../start is an operation, not a snapshot
    for my $known (sort { ($a =~ tr/{//) <=> ($b =~ tr/{//) }
        keys %{$self->openapi->{paths}})
    {
        my $pattern = join '', map { /^\{/ ? '[^/]+' : quotemeta }
            split /(\{\w+\})/, $known;

        return $known if "/api/v1$path" =~ /\A$pattern\z/;
    }

    return undef;
}


sub record {
    my ($self, $method, $path, $answer, $sent) = @_;
    my $template = $self->template($path);

    return if !defined $template || $method eq 'HEAD'
        || !$self->openapi->{paths}{$template}{lc $method};

    push @{$self->{calls}}, encode_json({ method => $method,
        path => $template, status => 0 + ($answer->{status} // 0),
        body => $answer->{json}, sent => $sent, deep => $self->{deep} // 0 });
}


sub contract_ok {
    my ($self, %option) = @_;

    # newer versions of jsonschema would like another way to find references
    my $pid = open2(my $out, my $in, qw(python3 -W ignore::DeprecationWarning),
        $self->{s}->root . '/tests/nginx/contract.py',
        $self->{s}->root . '/fcgi-backend/control/openapi.json');

    print $in "$_\n" for @{$self->{calls}};
    close $in;

    my @said = <$out>;

    waitpid $pid, 0;
    chomp @said;
    is($?, 0, 'the contract can be checked');

    my $seen = pop @said // '';
    my @wrong = grep { $option{all} || !/was never called/ } @said;

    like($seen, qr/^seen \d+ of/, "the contract: $seen");
    is(scalar @wrong, 0, 'answers are what openapi.json says')
        or diag join "\n", @wrong[0 .. ($#wrong < 20 ? $#wrong : 20)];
}

1;
