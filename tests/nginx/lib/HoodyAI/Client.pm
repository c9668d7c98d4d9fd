package HoodyAI::Client;

# An HTTP/1.1 client that shows what came when: one connection, bytes sent as
# they are given, a body read piece by piece.  Every wait has an end.

use strict;
use warnings;

use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Handle;
use IO::Select;
use IO::Socket::IP;
use IO::Socket::UNIX;
use JSON::PP;
use Socket qw(SOL_SOCKET SO_LINGER SO_RCVBUF IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);


# to => "host:port", "[v6]:port" or "unix:path"; local => address to come from;
# rcvbuf => bytes; timeout => seconds of each wait; tls => arguments for
# IO::Socket::SSL
sub new {
    my ($class, %option) = @_;

    my $self = bless {
        timeout => 10,
        %option,
        in => '',
    }, $class;

    $self->{socket} = $self->_connect;
    $self->{socket}->blocking(0);

    return $self;
}


sub _connect {
    my ($self) = @_;
    my $to = $self->{to};

    if ($to =~ /^unix:(.*)/) {
        return IO::Socket::UNIX->new(Peer => $1) || die "$to: $!\n";
    }

    my ($host, $port) = $to =~ /^\[?(.*?)\]?:(\d+)\z/
        or die "bad address $to\n";

    my $socket = IO::Socket::IP->new(
        PeerHost => $host,
        PeerPort => $port,
        Timeout => $self->{timeout},
        $self->{local} ? (LocalHost => $self->{local}) : (),
        $self->{rcvbuf}
            ? (Sockopts => [[SOL_SOCKET, SO_RCVBUF, $self->{rcvbuf}]]) : (),
    ) || die "$to: $@\n";

    $socket->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);

    if ($self->{tls}) {
        require IO::Socket::SSL;
        IO::Socket::SSL->start_SSL($socket, %{$self->{tls}})
            || die "$to: TLS: $IO::Socket::SSL::SSL_ERROR\n";
    }

    return $socket;
}


# One request and its whole answer, over a connection of its own unless
# called on an object.
sub ask {
    my ($class, $to, $method, $uri, %option) = @_;

    my $client = $class->new(to => $to,
        map { exists $option{$_} ? ($_ => $option{$_}) : () }
            qw(local timeout rcvbuf tls));

    $client->request($method, $uri, %option);

    return $client->answer;
}


# headers => [name, value, ...]; body => bytes (Content-Length follows unless
# headers have one, or length => 0); token => container name
sub request {
    my ($self, $method, $uri, %option) = @_;

    $self->{method} = $method;
    $self->send(build($method, $uri, %option));

    return $self;
}


sub build {
    my ($method, $uri, %option) = @_;

    my @headers = @{$option{headers} || []};
    my %has = map { lc $headers[2 * $_] => 1 } 0 .. @headers / 2 - 1;
    my $body = $option{json} ? encode_json($option{json})
                             : $option{body};

    my $text = "$method $uri HTTP/1.1\r\n";

    $text .= "Host: gateway\r\n" if !$has{host};
    $text .= "Authorization: Bearer container-$option{token}\r\n"
        if defined $option{token};

    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value\r\n";
    }

    if (defined $body) {
        $text .= "Content-Type: application/json\r\n" if !$has{'content-type'};
        $text .= 'Content-Length: ' . length($body) . "\r\n"
            if !$has{'content-length'} && !$has{'transfer-encoding'};
    }

    return "$text\r\n" . ($body // '');
}


# All bytes, or until the deadline or a broken connection; says how many.
sub send {
    my ($self, $bytes, $timeout) = @_;

    my $end = time + ($timeout || $self->{timeout});
    my $sent = 0;

    local $SIG{PIPE} = 'IGNORE';

    while ($sent < length $bytes) {
        my $n = $self->{socket}->syswrite($bytes,
            length($bytes) - $sent > 65536 ? 65536 : length($bytes) - $sent,
            $sent);

        if (defined $n) {
            $sent += $n;
            next;
        }

        last if !$!{EAGAIN} && !$!{EINTR};

        my $left = $end - time;
        last if $left <= 0;
        IO::Select->new($self->{socket})->can_write($left);
    }

    return $sent;
}


# More bytes into the buffer: how many; 0 at the end (also a reset), undef
# when the time is over.
sub fill {
    my ($self, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    return 0 if $self->{eof};

    while (1) {
        my $n = $self->{socket}->sysread($self->{in}, 65536,
            length $self->{in});

        if (!defined $n && ($!{EAGAIN} || $!{EINTR})) {
            my $left = $end - time;
            return undef if $left <= 0;
            IO::Select->new($self->{socket})->can_read($left);
            next;
        }

        if (!$n) {
            $self->{reset} = 1 if !defined $n;
            $self->{eof} = 1;
            return 0;
        }

        return $n;
    }
}


# Status and headers of the next final answer; undef when there is none.
sub head {
    my ($self, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    while (1) {
        if ($self->{in} =~ s/\A(.*?\r\n)\r\n//s) {
            my ($first, @lines) = split /\r\n/, $1;
            my ($status) = $first =~ m{^HTTP/1\.[01] (\d{3})} or return undef;

            next if $status < 200 && $status != 101;

            my (%headers, @pairs);
            for (@lines) {
                my ($name, $value) = /^([^:]+):\s*(.*)/ or next;
                push @pairs, [lc $name, $value];
                $headers{lc $name} = exists $headers{lc $name}
                    ? "$headers{lc $name}, $value" : $value;
            }

            $self->{head} = {
                status => $status,
                line => $first,
                headers => \%headers,
                pairs => \@pairs,
            };

            my $te = $headers{'transfer-encoding'};

            $self->{left} = ($self->{method} // '') eq 'HEAD'
                || $status == 204 || $status == 304 ? 0
                : $te && $te eq 'chunked' ? 'chunked'
                : $headers{'content-length'} // 'close';
            $self->{chunk} = 0;
            delete $self->{complete};

            return $self->{head};
        }

        my $left = $end - time;
        return undef if $left <= 0;
        return undef if !$self->fill($left) && $self->{in} !~ /\r\n\r\n/;
    }
}


# The next piece of the body, as large as it came; '' when the time is over,
# undef at the end.  "complete" is set when the end was a proper one.
sub piece {
    my ($self, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    while (1) {
        return undef if $self->{complete};

        if ($self->{left} eq 'chunked') {
            my $piece = $self->_chunks;

            return $piece if length $piece;
            return undef if $self->{complete};

        } elsif ($self->{left} eq 'close') {
            if (length $self->{in}) {
                return substr $self->{in}, 0, length $self->{in}, '';
            }

        } else {
            if ($self->{left} == 0) {
                $self->{complete} = 1;
                return undef;
            }

            if (length $self->{in}) {
                my $piece = substr $self->{in}, 0, $self->{left}, '';
                $self->{left} -= length $piece;
                return $piece;
            }
        }

        if ($self->{eof}) {
            $self->{complete} = 1
                if $self->{left} eq 'close' && !$self->{reset};
            return undef;
        }

        my $left = $end - time;
        return '' if $left <= 0 || !defined $self->fill($left);
    }
}


sub _chunks {
    my ($self) = @_;
    my $out = '';

    while (1) {
        if ($self->{chunk}) {
            last if !length $self->{in};
            my $piece = substr $self->{in}, 0, $self->{chunk}, '';
            $self->{chunk} -= length $piece;
            $out .= $piece;
            $self->{crlf} = 1 if !$self->{chunk};
            next;
        }

        if ($self->{crlf}) {
            last if length $self->{in} < 2;
            die "bad chunk\n" if substr($self->{in}, 0, 2, '') ne "\r\n";
            $self->{crlf} = 0;
        }

        if ($self->{in} =~ /\A0+\r\n/) {
            last if $self->{in} !~ s/\A0+\r\n((?:[^\r\n]+\r\n)*)\r\n//;
            $self->{trailer} = $1;
            $self->{complete} = 1;
            last;
        }

        last if $self->{in} !~ s/\A([0-9a-fA-F]+)(?:;[^\r\n]*)?\r\n//;
        $self->{chunk} = hex $1;
    }

    return $out;
}


# The rest of the body.
sub rest {
    my ($self, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});
    my $body = '';

    while (1) {
        my $left = $end - time;
        last if $left <= 0;

        my $piece = $self->piece($left);
        last if !defined $piece;
        $body .= $piece;
    }

    return $body;
}


# Body bytes until they match, or the end.
sub until {
    my ($self, $pattern, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});
    my $body = '';

    while ($body !~ $pattern) {
        my $left = $end - time;
        last if $left <= 0;

        my $piece = $self->piece($left);
        last if !defined $piece;
        $body .= $piece;
    }

    return $body;
}


# Head, body and how it ended, as one hash; status 0 without an answer.
sub answer {
    my ($self, $timeout) = @_;

    my $head = $self->head($timeout)
        or return { status => 0, headers => {}, pairs => [], body => '',
                    json => undef, complete => 0 };
    my $body = $self->rest($timeout);

    return {
        %$head,
        body => $body,
        json => scalar eval { decode_json($body) },
        complete => $self->{complete} || 0,
        trailer => $self->{trailer},
    };
}


sub eof {
    my ($self, $timeout) = @_;

    my $end = time + ($timeout // $self->{timeout});

    while (!$self->{eof}) {
        my $left = $end - time;
        last if $left <= 0;
        $self->fill($left);
    }

    return $self->{eof} ? 1 : 0;
}


# Bytes of what was sent that the server has not read yet, of a connection that
# it has not accepted too.  Over IPv4, with both ends in this network namespace.
sub unread {
    my ($self) = @_;
    my $port = sprintf '%04X', $self->{socket}->sockport;
    my $sum = 0;

    open(my $in, '<', '/proc/net/tcp') or die "/proc/net/tcp: $!\n";

    while (my $line = <$in>) {
        my (undef, $local, $remote, undef, $queues) = split ' ', $line;
        my ($send, $receive) = map { hex } split /:/, $queues =~ s/^tx.*/0:0/r;

        $sum += $receive if $remote =~ /:$port\z/;
        $sum += $send if $local =~ /:$port\z/;
    }

    return $sum;
}


sub shut {
    my ($self) = @_;

    shutdown $self->{socket}, 1;
}


sub close {
    my ($self) = @_;

    close $self->{socket};
    $self->{eof} = 1;
}


sub reset {
    my ($self) = @_;

    $self->{socket}->setsockopt(SOL_SOCKET, SO_LINGER, pack('ii', 1, 0))
        or setsockopt($self->{socket}, SOL_SOCKET, SO_LINGER,
                      pack('ii', 1, 0));
    $self->close;
}


1;
