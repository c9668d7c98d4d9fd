package HoodyAI::FastCGI;

# Speaks FastCGI as nginx does, or as nobody should: a client for the rule
# engine.
#
#     my $fcgi = HoodyAI::FastCGI->new(to => '/path/to/socket');
#
#     my $answer = $fcgi->ask('plan');
#     my $answer = $fcgi->ask('body', body => '{...}', HOODY_TAGS => 'prod');
#
# An answer has status, headers (names in lower case), body, json, and epoch
# where it says one; it is undef when the connection ended or the time was
# over, and error() says which.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use Socket qw(SHUT_WR);
use Time::HiRes qw(time);

use constant {
    BEGIN_REQUEST => 1,
    ABORT_REQUEST => 2,
    END_REQUEST => 3,
    PARAMS => 4,
    STDIN_DATA => 5,
    STDOUT_DATA => 6,
    STDERR_DATA => 7,
    GET_VALUES => 9,
    GET_VALUES_RESULT => 10,
};


# Options: to (a path, or host:port), timeout (10 seconds), keep => 0: the
# engine is asked to close after each answer.
sub new {
    my ($class, %option) = @_;

    my $to = $option{to};
    my $socket = $to =~ m{^/} ? IO::Socket::UNIX->new(Peer => $to)
        : IO::Socket::INET->new(PeerAddr => $to);

    $socket or return;
    $socket->blocking(0);

    return bless {
        socket => $socket,
        keep => $option{keep} // 1,
        timeout => $option{timeout} // 10,
        received => '',
        error => '',
    }, $class;
}


sub error { $_[0]{error} }


sub close {
    my ($self) = @_;

    CORE::close delete $self->{socket} if $self->{socket};
}


sub record {
    my ($self, $type, $content, %option) = @_;

    my $padding = $option{padding} // -length($content) % 8;

    return pack('CCnnCx', $option{version} // 1, $type, $option{id} // 1,
            $option{length} // length $content, $padding)
        . $content . "\0" x $padding;
}


# Records of one stream, its end included.
sub stream {
    my ($self, $type, $content, %option) = @_;

    my $size = $option{size} // 32768;

    return join '', map({ $self->record($type, $_) }
                        unpack "(a$size)*", $content),
        $self->record($type, '');
}


sub pair {
    my ($self, $name, $value) = @_;

    return join '', map({ my $n = length;
                          $n < 128 ? chr $n : pack 'N', $n | 0x80000000 }
                        $name, $value),
        $name, $value;
}


# What nginx sends along, changed by the arguments; undef leaves one out.
sub parameters {
    my ($self, %change) = @_;

    my %p = (
        REQUEST_METHOD => 'POST',
        QUERY_STRING => '',
        SERVER_PROTOCOL => 'HTTP/1.1',
        CONTENT_TYPE => 'application/json',
        CONTENT_LENGTH => 0,
        HOODY_CONTAINER => 'dev-env',
        HOODY_CONTAINER_ID => '507f1f77bcf86cd799439011',
        HOODY_TAGS => 'prod eu',
        HOODY_API => 'openai.chat',
        HOODY_BODY => 'json',
        HOODY_MODEL => 'gpt-4o',
        HOODY_REQUEST_ID => '0123456789abcdef0123456789abcdef',
        %change,
    );

    return join '', map { $self->pair($_, $p{$_}) }
        grep { defined $p{$_} } sort keys %p;
}


# The bytes of a whole question.
sub question {
    my ($self, $ask, %option) = @_;

    my $body = delete $option{body} // '';
    my $keep = delete $option{keep} // $self->{keep};
    my $size = delete $option{size};
    my %default = (HOODY_ASK => $ask, CONTENT_LENGTH => length $body);

    return $self->record(BEGIN_REQUEST, pack('nCx5', 1, $keep ? 1 : 0))
        . $self->stream(PARAMS, $self->parameters(%default, %option))
        . $self->stream(STDIN_DATA, $body, size => $size);
}


# False when it could not be sent in time.
sub send {
    my ($self, $data) = @_;

    my $select = IO::Select->new($self->{socket});
    my $end = time + $self->{timeout};
    my $sent = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($sent < length $data) {
        my $left = $end - time;

        if ($left <= 0 || !$select->can_write($left)) {
            $self->{error} = 'time is over';
            return 0;
        }

        my $n = syswrite $self->{socket}, $data, length($data) - $sent, $sent;

        if (defined $n) {
            $sent += $n;

        } elsif (!$!{EAGAIN}) {
            $self->{error} = "write: $!";
            return 0;
        }
    }

    return 1;
}


sub shut { shutdown $_[0]{socket}, SHUT_WR }


# The next record: [type, id, content], or undef.
sub next_record {
    my ($self, $timeout) = @_;

    my $select = IO::Select->new($self->{socket});
    my $end = time + ($timeout // $self->{timeout});

    while (1) {
        if (length $self->{received} >= 8) {
            my ($version, $type, $id, $length, $padding) =
                unpack 'CCnnC', $self->{received};

            if (length $self->{received} >= 8 + $length + $padding) {
                my $record = substr $self->{received}, 0,
                    8 + $length + $padding, '';

                return [$type, $id, substr $record, 8, $length];
            }
        }

        my $left = $end - time;

        if ($left <= 0 || !$select->can_read($left)) {
            $self->{error} = 'time is over';
            return;
        }

        my $n = sysread $self->{socket}, $self->{received}, 262144,
            length $self->{received};

        if (!defined $n) {
            next if $!{EAGAIN};
            $self->{error} = "read: $!";
            return;
        }

        if ($n == 0) {
            $self->{error} = 'closed';
            return;
        }
    }
}


sub answer {
    my ($self, $timeout) = @_;

    my ($out, $err) = ('', '');
    my $end = time + ($timeout // $self->{timeout});

    while (1) {
        my $record = $self->next_record($end - time) or return;
        my ($type, $id, $content) = @$record;

        if ($type == STDOUT_DATA) {
            $out .= $content;

        } elsif ($type == STDERR_DATA) {
            $err .= $content;

        } elsif ($type == END_REQUEST) {
            my ($app, $protocol) = unpack 'NC', $content;

            return $self->_parse($out, $err, $app, $protocol);
        }
    }
}


sub _parse {
    my ($self, $out, $err, $app, $protocol) = @_;

    my ($head, $body) = split /\r\n\r\n/, $out, 2;
    my %headers;

    for my $line (split /\r\n/, $head // '') {
        my ($name, $value) = split /: */, $line, 2;
        $headers{lc $name} = $value;
    }

    my ($status) = ($headers{status} // '') =~ /^(\d{3})/;
    my $json = eval { decode_json($body) };

    return {
        status => $status,
        headers => \%headers,
        body => $body,
        json => $json,
        epoch => $headers{'x-hoody-epoch'} // (ref $json eq 'HASH'
            ? $json->{epoch} : undef),
        stderr => $err,
        app => $app,
        protocol => $protocol,
    };
}


# Sends a question and reads its answer.
sub ask {
    my ($self, $ask, %option) = @_;

    $self->send($self->question($ask, %option)) or return;

    return $self->answer;
}


# Has the other side closed the connection, or does so within that time?
sub closed {
    my ($self, $timeout) = @_;

    1 while $self->next_record($timeout // 5);

    return $self->{error} ne 'time is over';
}


# The body that comes of a splice answer.
sub spliced {
    my ($self, $body, $edits) = @_;

    my ($result, $at) = ('', 0);

    while (length $edits) {
        $edits =~ s/\A(0|[1-9]\d*) (0|[1-9]\d*) (0|[1-9]\d*)\n// or return;
        my ($offset, $delete, $length) = ($1, $2, $3);

        return if $offset < $at || $offset + $delete > length $body
            || $length > length $edits;

        $result .= substr($body, $at, $offset - $at)
            . substr $edits, 0, $length, '';
        $at = $offset + $delete;
    }

    return $result . substr $body, $at;
}


1;
