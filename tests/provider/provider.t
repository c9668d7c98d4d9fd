#!/usr/bin/perl

# The sample provider: what the other suites rely on.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time sleep);

my $binary = $ENV{HAI_SAMPLE_PROVIDER}
    // dirname(__FILE__) . '/../../build/hoody-ai-sample-provider';

plan(skip_all => "no $binary") unless -x $binary;

my $dir = tempdir(CLEANUP => 1);
my @pids;

sub start {
    my @args = @_;
    my ($out, $in);

    pipe($out, $in) or die "pipe: $!";
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open(STDOUT, '>&', $in) or die;
        open(STDERR, '>>', "$dir/stderr") or die;
        exec($binary, @args) or die "exec: $!";
    }
    close($in);
    push @pids, $pid;
    my $line = <$out> // die "no answer from $binary";
    $line =~ /^listening on (\S+)$/ or die "unexpected: $line";
    return ($1, $pid);
}

sub stop {
    my ($pid) = @_;

    kill('TERM', $pid);
    waitpid($pid, 0);
    @pids = grep { $_ != $pid } @pids;
    return $?;
}

END {
    local $?;
    stop($_) for @pids;
}

my ($addr, $server) = start('--listen', '127.0.0.1:0', '--key', 'sk-sample',
                            '--log', "$dir/log", '--log-body');

sub connect_to {
    my ($to) = @_;

    return IO::Socket::INET->new(PeerAddr => $to // $addr, Timeout => 5)
        // die "connect: $!";
}

# Reads until the peer closes or nothing came for so long.
sub slurp {
    my ($s, $timeout) = @_;
    my $all = '';

    while (IO::Select->new($s)->can_read($timeout // 30)) {
        my $n = sysread($s, my $buf, 65536);
        last unless $n;
        $all .= $buf;
    }
    return $all;
}

sub request {
    my ($method, $uri, $body, @headers) = @_;

    return join("\r\n", "$method $uri HTTP/1.1", 'Host: sample',
                (grep { /^Authorization:/ } @headers)
                    ? () : 'Authorization: Bearer sk-sample',
                @headers, 'Content-Length: ' . length($body), '', $body);
}

# One request on a connection of its own: (status, head, body).
sub ask {
    my ($method, $uri, $body, @headers) = @_;
    my $s = connect_to();

    print $s request($method, $uri, $body, @headers, 'Connection: close');
    my ($head, $rest) = split(/\r\n\r\n/, slurp($s), 2);
    my ($status) = ($head // '') =~ m{^HTTP/1\.1 (\d+)};
    if (($head // '') =~ /^transfer-encoding: chunked/mi) {
        $rest = dechunk($rest);
    }
    return ($status, $head, $rest);
}

# Returns the body; undef when it did not end as a chunked body must.
sub dechunk {
    my ($in) = @_;
    my $out = '';

    while ($in =~ s/^([0-9a-f]+)\r\n//i) {
        my $n = hex($1);
        return $out if $n == 0;
        return undef if length($in) < $n + 2;
        $out .= substr($in, 0, $n);
        substr($in, 0, $n + 2) = '';
    }
    return undef;
}

sub stats {
    my (undef, undef, $body) = ask('GET', '/_sample/stats', '');

    return decode_json($body);
}

sub eventually {
    my ($test, $name) = @_;
    my $end = time() + 5;

    while (time() < $end) {
        return pass($name) if $test->();
        sleep(0.01);
    }
    return fail($name);
}

my $chat = '{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}';
my $stream = '{"model":"gpt-4o","stream" : true,"messages":[]}';
my $uri = '/v1/chat/completions';
my ($status, $head, $body);

# plain answers

($status, $head, $body) = ask('POST', $uri, $chat);
is($status, 200, 'chat');
like($head, qr/^x-request-id: req_\w+/m, 'request id');
is(decode_json($body)->{model}, 'gpt-4o', 'model');
is(decode_json($body)->{choices}[0]{finish_reason}, 'stop', 'finish reason');
like($head, qr/^content-length: @{[length $body]}\r?$/m, 'content length');

for my $prefix ('', '/v1', '/openai/v1', '/a/v1/b/v1') {
    ($status) = ask('POST', "$prefix/chat/completions", $chat);
    is($status, 200, "prefix \"$prefix\"");
}

($status, $head, $body) = ask('POST', '/v1/messages', $chat);
is(decode_json($body)->{type}, 'message', 'messages');
like($head, qr/^request-id: req_/m, 'anthropic request id');

# keys

($status, undef, $body) = ask('POST', $uri, $chat, 'Authorization: Bearer x');
is($status, 401, 'wrong key');
is(decode_json($body)->{error}{code}, 'invalid_api_key', 'openai error');

($status, undef, $body) = ask('POST', '/v1/messages', $chat,
                              'Authorization: none', 'x-api-key: x');
is($status, 401, 'wrong anthropic key');
is(decode_json($body)->{error}{type}, 'authentication_error',
   'anthropic error');

($status) = ask('POST', '/v1/messages', $chat, 'Authorization: none',
                'X-Api-Key: sk-sample');
is($status, 200, 'anthropic key');

# errors

($status, undef, $body) = ask('POST', $uri, '{"model":');
is($status, 400, 'broken JSON');
($status) = ask('GET', $uri, '');
is($status, 405, 'wrong method');
($status) = ask('GET', '/v1/nothing', '');
is($status, 404, 'unknown route');
($status, $head) = ask('POST', $uri, $chat, 'X-Sample-Status: 429');
is($status, 429, 'status');
like($head, qr/^retry-after: \d/m, 'retry-after');
($status, undef, $body) = ask('POST', $uri, $chat, 'X-Sample-Delay: soon');
is($status, 400, 'bad control value');
like($body, qr/X-Sample-Delay/, 'it is named');
($status) = ask('POST', $uri, $chat, 'X-Sample-Nothing: 1');
is($status, 400, 'unknown control header');

# streams

(undef, $head, $body) = ask('POST', $uri, $stream, 'X-Sample-Chunks: 5');
like($head, qr{^content-type: text/event-stream}m, 'event stream');
my @events = grep { /"content":"[^"]/ } split(/\n\n/, $body);
is(scalar(@events), 5, 'chunks');
like($body, qr/data: \[DONE\]\n\n\z/, 'done');

(undef, undef, $body) = ask('POST', '/v1/messages', $stream,
                            'X-Sample-Chunks: 3', 'X-Sample-Usage: 7,9,2');
is_deeply([$body =~ /^event: (\w+)/mg],
          [qw(message_start content_block_start ping content_block_delta
              content_block_delta content_block_delta content_block_stop
              message_delta message_stop)], 'anthropic events');
like($body, qr/"input_tokens":7.*"cache_read_input_tokens":2/, 'usage in');
like($body, qr/message_delta.*"usage":\{"output_tokens":9\}/, 'usage out');

(undef, undef, $body) = ask('POST', '/v1/responses', $stream,
                            'X-Sample-Size: 100000');
my ($full) = $body =~ /output_text\.done".*"text":"([^"]*)"/;
is(length($full), 100000, 'responses: the whole text at the end');
is(join('', $body =~ /"delta":"([^"]*)"/g), $full, 'and in the deltas');

my $began = time();
ask('POST', $uri, $stream, 'X-Sample-Chunks: 5', 'X-Sample-Delay: 50',
    'X-Sample-First-Delay: 100');
cmp_ok(time() - $began, '>=', 0.29, 'delays');

(undef, undef, $body) = ask('POST', $uri, $stream, 'X-Sample-Chunks: 3',
                            'X-Sample-Clock: 1');
is(scalar(() = $body =~ /"content":"\@\d+\@/g), 3, 'clock');

# echo and the wire

for my $split (0, 1, 3) {
    (undef, $head, $body) = ask('POST', $uri, $stream, 'X-Sample-Echo: key',
                                "X-Sample-Split: $split",
                                'X-Sample-Split-Head: 1',
                                'X-Sample-Split-Delay: 0');
    like($head, qr/^x-echo-key: sk-sample/m, "key in the head, split $split");
    like($body, qr/"content":"[^"]*sk-sample/, "and in one event");
}

my $odd = qq({"model":"m","x":"\\u00e4\\n\xc3\xa4\xff\\"stream\\":true"});
(undef, undef, $body) = ask('POST', $uri, $odd, 'X-Sample-Echo: body');
(my $fixed = $odd) =~ s/\xff/\xef\xbf\xbd/;
my $said = decode_json($body)->{choices}[0]{message}{content};
utf8::encode($said);
is($said, $fixed, 'body');

(undef, $head, $body) = ask('POST', $uri, $chat, 'X-Sample-Length: 0',
                            'X-Sample-Trailer: 1');
like($head, qr/^trailer: x-sample-trailer/m, 'trailer');
ok(defined $body && decode_json($body), 'chunked');

(undef, $head) = ask('POST', $uri, $chat, 'X-Sample-Encoding: gzip',
                     'X-Sample-Header: Set-Cookie: a=b');
like($head, qr/^content-encoding: gzip/m, 'encoding');
like($head, qr/^Set-Cookie: a=b/m, 'header');

my $s = connect_to();
print $s join('', map { request('POST', $uri, $chat) } 1 .. 20),
    request('POST', $uri, $chat, 'Connection: close');
is(scalar(() = slurp($s) =~ m{HTTP/1\.1 200}g), 21, 'pipelining');

$s = connect_to();
print $s "POST $uri HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-sample\r\n"
    . "X-Sample-Echo: body\r\nTransfer-Encoding: chunked\r\n"
    . "Connection: close\r\n\r\n";
for my $piece ('4;x=y', "\r\n", '{"a"', "\r", "\n", "00003\r\n:1}", "\r\n0",
               "\r\nX-T: 1\r\n", "\r\n")
{
    syswrite($s, $piece);
    sleep(0.005);
}
like(slurp($s), qr/\{\\"a\\":1\}/, 'chunked request');

$s = connect_to();
print $s "POST $uri HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-sample\r\n"
    . 'Content-Length: ' . length($chat) . "\r\nExpect: 100-continue\r\n"
    . "Connection: close\r\n\r\n";
sysread($s, my $continue, 1024);
like($continue, qr{^HTTP/1\.1 100 }, '100-continue');
print $s $chat;
like(slurp($s), qr{^HTTP/1\.1 200 }, 'and the answer');

$s = connect_to();
print $s "POST $uri HTTP/1.0\r\nAuthorization: Bearer sk-sample\r\n"
    . 'Content-Length: ' . length($stream) . "\r\n\r\n$stream";
my $old = slurp($s);
unlike($old, qr/chunked/, 'HTTP/1.0 without chunks');
like($old, qr/\[DONE\]\n\n\z/, 'ended by the connection');

my $big = '{"model":"m","input":"' . ('x' x 20_000_000) . '"}';
($status, undef, $body) = ask('POST', '/v1/responses', $big);
is($status, 200, 'big body');

$s = connect_to();
print $s "POST $uri HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n";
like(slurp($s), qr{^HTTP/1\.1 413 }, 'body too big');

$s = connect_to();
print $s "GET / HTTP/1.1\r\n" . ("X: " . 'y' x 1000 . "\r\n") x 80;
like(slurp($s), qr{^HTTP/1\.1 431 }, 'head too big');

$s = connect_to();
print $s "nonsense\r\n\r\n";
like(slurp($s), qr{^HTTP/1\.1 400 }, 'no HTTP');

# tools

my $tools = '"tools":[{"type":"function","function":{"name":"look",'
    . '"parameters":{"type":"object","properties":{"at":{"type":"string"}},'
    . '"required":["at"]}}}]';
(undef, undef, $body) = ask('POST', $uri,
    qq({"model":"m",$tools,"messages":[{"role":"user","content":"look!"}]}));
my $call = decode_json($body)->{choices}[0]{message}{tool_calls}[0];
is($call->{function}{name}, 'look', 'tool');
is_deeply(decode_json($call->{function}{arguments}), {at => 'sample'},
          'arguments');
(undef, undef, $body) = ask('POST', $uri,
    qq({"model":"m",$tools,"messages":[{"role":"user","content":"hi"}]}));
is(decode_json($body)->{choices}[0]{finish_reason}, 'stop', 'not asked for');
(undef, undef, $body) = ask('POST', '/v1/messages', $chat,
                            'X-Sample-Tool: any');
is(decode_json($body)->{content}[0]{name}, 'any', 'tool by control');

# ends that are none

(undef, undef, $body) = ask('POST', $uri, $stream, 'X-Sample-Abort: 2');
is($body, undef, 'aborted stream has no end');
$s = connect_to();
print $s request('POST', $uri, $stream, 'X-Sample-Abort: -1');
is(slurp($s), '', 'aborted before the head');

$s = connect_to();
print $s request('POST', $uri, $stream, 'X-Sample-Stall: 2');
my $part = '';
my $pieces = qr/"content":"[^"]/;
while ((() = $part =~ /$pieces/g) < 2) {
    IO::Select->new($s)->can_read(30) or last;
    sysread($s, $part, 65536, length($part)) or last;
}
$part .= slurp($s, 0.3);
is(scalar(() = $part =~ /$pieces/g), 2, 'stalled');
is(stats()->{active_streams}, 1, 'active stream');
my $aborts = stats()->{client_aborts};
close($s);
eventually(sub { stats()->{client_aborts} == $aborts + 1 }, 'client abort');
eventually(sub { stats()->{active_streams} == 0 }, 'no active stream');

$s = connect_to();
print $s request('POST', $uri, $chat, 'X-Sample-First-Delay: 60000');
sleep(0.1);
close($s);
eventually(sub { stats()->{client_aborts} == $aborts + 2 },
           'client abort before the answer');

# back-pressure: who does not read does not make the sample grow

sub memory {
    open(my $f, '<', "/proc/$server/status") or die;
    return (grep { s/^VmRSS:\s+(\d+) kB\n/$1/ } <$f>)[0];
}

my $before = memory();
$s = connect_to();
print $s request('POST', $uri, $stream, 'X-Sample-Size: 4000000000',
                 'X-Sample-Chunk-Size: 1000000');
sleep(0.5);
cmp_ok(memory() - $before, '<', 32768, 'slow reader, little memory');
close($s);
eventually(sub { stats()->{active_streams} == 0 }, 'it is gone');

# what is remembered

ask('DELETE', '/_sample/requests', '');
ask('POST', "$uri?a=b", $chat, 'X-Twice: 1', 'x-twice: 2');
(undef, undef, $body) = ask('GET', '/_sample/requests', '');
my $seen = decode_json($body)->{requests};
is(scalar(@$seen), 1, 'one request');
is($seen->[0]{uri}, "$uri?a=b", 'uri');
is($seen->[0]{headers}{'x-twice'}, '1, 2', 'headers');
is($seen->[0]{body}, $chat, 'body kept');
is($seen->[0]{body_length}, length($chat), 'body length');
like($seen->[0]{body_sha256}, qr/^[0-9a-f]{64}$/, 'digest');

open(my $log, '<', "$dir/log") or die "log: $!";
my @lines = <$log>;
is(decode_json($lines[0])->{body}, $chat, 'log');

is(stop($server), 0, 'clean end');

# other listeners

($addr, $server) = start('--listen', "unix:$dir/s", '--threads', '2',
                         '--quiet');
is($addr, "unix:$dir/s", 'unix socket');
$s = IO::Socket::UNIX->new(Peer => "$dir/s") // die "connect: $!";
print $s request('POST', $uri, $chat, 'Connection: close');
like(slurp($s), qr{^HTTP/1\.1 200 }, 'answer over it');
stop($server);
ok(!-e "$dir/s", 'removed at the end');

($addr, $server) = start('--listen', '127.0.0.1:0', '--threads', '2');
($status) = ask('POST', $uri, $chat, 'Authorization: none');
is($status, 200, 'two threads, any key');
stop($server);

SKIP: {
    my @pem = ("$dir/cert.pem", "$dir/key.pem");

    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
           . " -nodes -days 1 -subj /CN=localhost -keyout $pem[1]"
           . " -out $pem[0] 2>/dev/null") == 0
        or skip('no openssl command', 2);
    ($addr, $server) = start('--listen', '127.0.0.1:0', '--tls-cert', $pem[0],
                             '--tls-key', $pem[1]);
    open(my $req, '>', "$dir/req") or die;
    print $req request('POST', $uri, $stream, 'X-Sample-Size: 300000',
                       'X-Sample-Split: 5000', 'X-Sample-Split-Delay: 0',
                       'Connection: close');
    close($req);
    my $got = `openssl s_client -quiet -alpn http/1.1 -connect $addr \\
               -ign_eof < $dir/req 2>/dev/null`;
    like($got, qr{^HTTP/1\.1 200 }, 'TLS');
    is(length(join('', $got =~ /"content":"([^"]*)"/g) =~ s/\r\n.*?\r\n//gr),
       300000, 'all of it') or diag(length $got);
    stop($server);
}

# options

for my $bad ([], ['--listen', 'nonsense'], ['--nothing'],
             ['--listen', '127.0.0.1:0', '--threads', '0'],
             ['--listen', '127.0.0.1:0', '--tls-cert', 'x'])
{
    my $exit = system("$binary @$bad >/dev/null 2>$dir/err") >> 8;
    is($exit, 2, "refused: @$bad");
    ok(-s "$dir/err", 'with a message');
}
is(system("$binary --help >/dev/null"), 0, 'help');
like(`$binary --version`, qr/^hoody-ai-sample-provider \d/, 'version');

done_testing();
