#!/usr/bin/perl

# Attacks that a review found to work once: each is done again here.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Pace;
use HoodyAI::System qw(free_port chat slurp wait_for);

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');
$s->provider;

my $junk = $s->fake('junk', sub {
    my ($socket) = @_;
    print $socket "NOTHTTP garbage\r\n\r\nhello";
});

my $h2c = free_port();

$s->nginx(level => 'info', server => "
    listen 127.0.0.1:$h2c http2;

    location /junk/v1/ {
        hoody_ai on;
        hoody_ai_credential openai;
        proxy_pass http://$junk/v1/;
    }");


# A provider's answer that is not HTTP must not turn ours into HTTP/0.9.

{
    my $c = $s->client;
    $c->request('POST', '/junk/v1/chat/completions', token => 'dev-env',
                body => chat());

    my $answer = $c->answer;

    is($answer->{status}, 502, 'junk from the provider: a status line');
    like($answer->{body}, qr/"code":"provider_unavailable"/, 'and a type');
}


# The framing of a chunked body is not kept: six bytes on the wire for each.

{
    my $n = 4_000_000;
    my $before = $s->rss;
    my $body = chat(pad => 'x' x $n);
    my $c = $s->client(timeout => 30);

    $c->send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
             . "Authorization: Bearer container-dev-env\r\n"
             . "Transfer-Encoding: chunked\r\n\r\n");

    # the last bytes wait until the memory has been looked at
    my $tail = substr $body, -10, 10, '';

    $c->send(join '', map { "1\r\n$_\r\n" } $1 =~ /./gs)
        while $body =~ /\G(.{1,20000})/gs;

    sleep 0.3;
    my $grown = $s->rss - $before;

    SKIP: {
        skip 'a sanitizer keeps what was freed', 1
            if slurp($s->nginx_binary) =~ /__asan_init/;

        cmp_ok($grown, '<', 3 * $n / 1024,
               "a body in single bytes: $grown KB");
    }

    $c->send(sprintf("%x\r\n%s\r\n0\r\n\r\n", length $tail, $tail));
    is($c->answer->{status}, 200, 'and it arrives');
}


# A stream that was cut keeps its last event when the registry changes again.

{
    my $c = $s->stream(rcvbuf => 4096,
        headers => ['X-Sample-Size', 4_000_000, 'X-Sample-Chunk-Size', 4096]);

    is($c->head->{status}, 200, 'a stream whose reader waits');
    sleep 0.3;

    $s->disable('dev-env');
    sleep 0.2;
    $s->enable('dev-env');
    $s->disable('dev-env');
    sleep 0.2;

    my $text = $c->rest // q{};
    $text = substr $text, -200 if length $text > 200;

    like($text, qr/"code":"access_revoked"\}\}\n\n\z/,
         'its last event comes, whatever changed after the cut');
    ok($c->{complete}, 'and a proper end of the body');

    $s->enable('dev-env');
}


# HTTP/2: a caller that cannot be answered (its window is 0) and whose access
# ends while it sends goes on sending.  None of it may reach a file.

sub frame {
    my ($type, $flags, $stream, $payload) = @_;

    return substr(pack('N', length $payload), 1)
        . pack('CCN', $type, $flags, $stream) . $payload;
}

sub literal {
    my ($name, $value) = @_;

    return "\0" . chr(length $name) . $name . chr(length $value) . $value;
}

{
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$h2c")
        or die "h2c: $!\n";

    $SIG{PIPE} = 'IGNORE';

    my $head = literal(':method', 'POST')
        . literal(':path', '/v1/chat/completions')
        . literal(':scheme', 'http') . literal(':authority', 'x')
        . literal('authorization', 'Bearer container-dev-env');

    my $send = sub {
        my ($bytes) = @_;

        # what the server says has to be read, or it stops reading
        $socket->blocking(0);
        1 while sysread $socket, my $dropped, 65536;
        $socket->blocking(1);

        return defined syswrite $socket, $bytes;
    };

    $send->("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            . frame(4, 0, 0, pack('nN', 4, 0))
            . frame(1, 4, 1, $head)
            . frame(0, 0, 1, '{"model":"gpt-4o","pad":"'));
    sleep 0.2;

    $s->disable('dev-env');
    sleep 0.2;

    my ($files, $sent) = (0, 0);
    my ($worker) = $s->workers;

    for (1 .. 400) {
        $send->(frame(0, 0, 1, 'x' x 16000)) or last;
        $sent++;

        next if $_ % 50;
        $files += grep { (readlink // '') =~ /client_body/ }
            glob "/proc/$worker/fd/*";
    }

    cmp_ok($sent, '>', 0, "$sent frames after the revocation");
    is($files, 0, 'no file holds any of it');

    close $socket;
    $s->enable('dev-env');
    is($s->chat_ask->{status}, 200, 'the worker serves on');
}

# Who sends one request behind the other without waiting for answers has no more
# of the worker than others: these are answered meanwhile, and an access that
# ends, ends.  (nginx goes on with a connection for as long as it has bytes.)

sub flood {
    my ($request) = @_;
    my $pid = fork // die "fork: $!\n";

    return $pid if $pid;

    my $all = IO::Select->new;
    my %left;

    while (1) {
        # nginx closes a connection after 1,000 requests
        while ($all->count < 32) {
            my $socket = IO::Socket::INET->new(PeerAddr => $s->address)
                or next;
            $socket->blocking(0);
            $all->add($socket);
            $left{$socket} = $request x 1000;
        }

        my ($read, $write) = IO::Select->select($all, $all);

        for my $socket (@$read) {
            next if sysread $socket, my $answers, 1_000_000;
            $all->remove($socket);
        }

        for my $socket (grep { length $left{$_} } @$write) {
            my $n = syswrite $socket, $left{$socket};
            substr $left{$socket}, 0, $n // 0, q{};
        }
    }

}

sub head {
    my ($line, @fields) = @_;
    return join("\r\n", "$line HTTP/1.1", 'Host: x', @fields) . "\r\n\r\n";
}

for my $case (
    [ 'unknown tokens', head('GET /v1/models',
        'Authorization: Bearer container-nobody') ],
    [ 'bodies that are refused', head('POST /v1/chat/completions',
        'Authorization: Bearer container-dev-env', 'Content-Length: 2')
        . '[]' ],
    [ 'a location that is not ours', head('GET /nothing-here') ],
) {
    my ($name, $request) = @$case;

    my $pid = flood($request);
    sleep 0.3;

    my $median = at_best(3, 0.25 * slow, sub {
        my @times;
        my $others = 0;

        for (1 .. 15) {
            my $begin = time;
            $others++ if $s->chat_ask(timeout => 20)->{status} != 200;
            push @times, time - $begin;
        }

        is($others, 0, "$name one behind the other: others are answered");

        return (sort { $a <=> $b } @times)[7];
    });

    cmp_ok($median, '<', 0.25 * slow, sprintf '%s: in %.0f ms', $name,
        $median * 1000);

    my $took = at_best(3, 0.5 * slow, sub {
        my $stream = $s->stream(timeout => 20,
            headers => ['X-Sample-Chunks', 100_000, 'X-Sample-Delay', 10]);
        is($stream->head->{status}, 200, "$name: a stream runs");

        my $begin = time;

        $s->disable('dev-env');
        $stream->rest;
        my $cut = time - $begin;

        $s->enable('dev-env');
        wait_for { $s->chat_ask->{status} == 200 };

        return $cut;
    });

    cmp_ok($took, '<', 0.5 * slow, sprintf '%s: access ends in %.0f ms', $name,
        $took * 1000);

    kill 'KILL', $pid;
    waitpid $pid, 0;
}


$s->finish;
