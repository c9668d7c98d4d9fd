package FakeEngine;

# A rule engine for tests: a FastCGI responder in Perl whose answers are
# written down by the test, broken ones too.
#
#   my $port = start_engine(sub { my ($question) = @_; ... });
#
# The sub is called with each question: {ask, body, params => {...}, n (how
# many there were on this connection), socket}.  It returns a string of
# FastCGI records, see answer() and record(), which is then sent; "" sends
# nothing; undef closes the connection.  Every connection has a process of its
# own, and is kept for as long as the server wants it.
#
#   questions()      what was asked since the last call, the oldest first:
#                    {ask, params, sha256, size, connection}
#   asked($n)        for later(): $n (1) questions have come since the call
#   answer(%o)       a complete answer: status, type, headers, body, piece
#                    (bytes in one record), pad, length (instead of the real
#                    one; "" for none)
#   plan($json), edits([offset, delete, text], ...), refusal($status, $json)
#   record($type, $content, $pad)

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IO::Socket::IP;
use JSON::PP ();
use POSIX ();
use Test::More ();

use HoodyAI ();

use base 'Exporter';

our @EXPORT = qw(answer asked edits plan questions record refusal start_engine
    wire);

my $seen = ($ENV{TMPDIR} // '/tmp') . "/questions-$$";
my @engines;
my $parent = $$;

sub record {
    my ($type, $content, $pad) = @_;

    $pad //= 0;
    return pack('CCnnCC', 1, $type, 1, length($content), $pad, 0) . $content
        . "\0" x $pad;
}

sub answer {
    my (%o) = @_;
    my $body = $o{body} // '';
    my $length = $o{length} // length($body);
    my $text = 'Status: ' . ($o{status} // 200) . "\r\n"
        . (defined $o{type} ? "Content-Type: $o{type}\r\n" : '')
        . join('', map { "$_\r\n" } @{ $o{headers} // [] })
        . (length $length ? "Content-Length: $length\r\n" : '')
        . "\r\n$body";
    my $piece = $o{piece} // 60000;

    return join('', map { record(6, $_, $o{pad}) } unpack("(a$piece)*", $text))
        . record(6, '') . record(3, pack('NC4', 0, 0, 0, 0, 0));
}

sub plan {
    my ($json, %o) = @_;

    return answer(type => 'application/vnd.hoody.plan+json', body => $json,
        %o);
}

sub wire {
    return join('', map { "$_->[0] $_->[1] " . length($_->[2]) . "\n$_->[2]" }
        @_);
}

sub edits {
    return answer(type => 'application/vnd.hoody.splice', body => wire(@_));
}

sub refusal {
    my ($status, $json) = @_;

    return answer(status => $status, type => 'application/json',
        body => $json);
}

sub take {
    my ($s, $n) = @_;
    my $text = '';

    while (length $text < $n) {
        sysread($s, $text, $n - length $text, length $text) or return;
    }

    return $text;
}

sub pair_length {
    my ($text) = @_;
    my $n = ord $$text;

    if ($n < 128) {
        substr($$text, 0, 1, '');
        return $n;
    }

    $n = unpack('N', $$text) & 0x7fffffff;
    substr($$text, 0, 4, '');
    return $n;
}

sub params_of {
    my ($text) = @_;
    my %params;

    while (length $text) {
        my $n = pair_length(\$text);
        my $len = pair_length(\$text);
        my $name = substr($text, 0, $n, '');

        $params{$name} = substr($text, 0, $len, '');
    }

    return \%params;
}

sub question {
    my ($s) = @_;
    my ($params, $body, $keep) = ('', '', 0);

    while (defined(my $head = take($s, 8))) {
        my (undef, $type, undef, $len, $pad) = unpack('CCnnCC', $head);
        my $content = take($s, $len) // return;

        take($s, $pad) // return if $pad;

        if ($type == 1) {
            $keep = ord(substr($content, 2, 1)) & 1;
        } elsif ($type == 4) {
            $params .= $content;
        } elsif ($type == 5) {
            return { params => params_of($params), body => $body,
                keep => $keep } if $len == 0;
            $body .= $content;
        } else {
            return;
        }
    }

    return;
}

sub note {
    my ($q) = @_;
    my $line = JSON::PP::encode_json({ ask => $q->{ask},
        params => $q->{params}, sha256 => sha256_hex($q->{body}),
        size => length $q->{body}, connection => $$ });

    open(my $out, '>>', $seen) or die "$seen: $!\n";
    syswrite($out, "$line\n");
}

sub serve {
    my ($s, $sub) = @_;
    my $n = 0;

    while (my $q = question($s)) {
        @$q{qw(ask n socket)} = ($q->{params}{HOODY_ASK} // '', ++$n, $s);
        note($q);

        my $bytes = $sub->($q) // last;

        for (my $at = 0; $at < length $bytes; ) {
            $at += syswrite($s, $bytes, length($bytes) - $at, $at) // return;
        }

        last if !$q->{keep};
    }
}

sub start_engine {
    my ($sub) = @_;
    my $listen = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0,
        Listen => 64) or die "listen: $!\n";
    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        $Test::Nginx::Util::InSubprocess = 1;
        Test::More->builder->no_ending(1);
        $SIG{PIPE} = 'IGNORE';
        $SIG{CHLD} = 'IGNORE';
        $SIG{TERM} = 'DEFAULT';
        setpgrp;

        for (;;) {
            my $s = $listen->accept // next;

            if ((fork() // die "fork: $!\n") == 0) {
                close $listen;
                $SIG{CHLD} = 'DEFAULT';
                serve($s, $sub);
                POSIX::_exit(0);
            }
        }
    }

    push @engines, $pid;
    return $listen->sockport;
}

sub asked {
    my ($n) = @_;
    my $count = sub {
        open(my $in, '<', $seen) or return 0;
        return scalar(() = <$in>);
    };
    my $enough = $count->() + ($n // 1);

    return sub { $count->() >= $enough };
}

sub questions {
    my @lines;

    if (open(my $in, '<', $seen)) {
        @lines = <$in>;
        unlink $seen;
    }

    return map { JSON::PP::decode_json($_) } @lines;
}

# the processes of its connections are in its group
END {
    if ($$ == $parent) {
        local $?;

        for my $pid (@engines) {
            kill 'TERM', -$pid;
            waitpid($pid, 0);
        }
    }
}

1;
