#!/usr/bin/perl

# Bytes that no client library sends.  Whatever comes, the provider sees
# nothing but the requests that were checked, with the gateway's key.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(wait_for chat slurp);

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider(keys => []);

$s->nginx(server => 'client_body_timeout 1s; client_header_timeout 2s;
    lingering_timeout 200ms;');
$s->chat_ask;

my $body = chat();
my $length = length $body;
my $uri = '/v1/chat/completions';
my $auth = "Host: gateway\r\nAuthorization: Bearer container-dev-env\r\n";
my $plain = "POST $uri HTTP/1.1\r\n${auth}Content-Length: $length\r\n\r\n$body";


# All bytes that come back until the connection is quiet, which counts only once
# the statuses are those that are wanted.
sub raw {
    my ($bytes, $wanted) = @_;

    my $client = $s->client;
    my $end = time + 10;

    $client->send($bytes);

    if (defined $wanted && '' !~ $wanted) {
        while (statuses($client->{in}) !~ $wanted && time < $end) {
            defined $client->fill($end - time) && !$client->{eof} or last;
        }

    } else {
        $client->fill(1.5);
    }

    # an answer in the making is waited for
    1 while $client->fill(0.06);
    $s->capture($client->{in});
    $client->close;

    return $client->{in};
}


sub statuses { return join ' ', $_[0] =~ m{HTTP/1\.1 (\d{3}) }g }


# The invariant of this file; says how many requests arrived.
sub seen {
    my ($name, @bodies) = @_;

    my @requests = $provider->requests;
    my @bad;

    for my $request (@requests) {
        my $headers = $request->{headers};
        my @auth = grep { lc $_->[0] eq 'authorization' }
            @{$request->{raw_headers}};

        push @bad, 'uri ' . $request->{uri}
            if $request->{uri} !~ m{^\Q$uri\E(?:\?\S*)?\z};
        push @bad, 'method ' . $request->{method}
            if $request->{method} ne 'POST';
        push @bad, 'key' if @auth != 1
            || $auth[0][1] ne 'Bearer ' . $s->key('openai');
        push @bad, "body $request->{body}"
            if !grep { $_ eq $request->{body} } @bodies, $body;
        push @bad, "header $_"
            for grep { defined $headers->{$_} } 'upgrade', 'te',
                'transfer-encoding', 'expect', 'x-api-key', 'api-key',
                'cookie', 'proxy-authorization', 'keep-alive', 'x-folded';
        push @bad, 'container token' if grep { $_->[1] =~ /container-dev-env/ }
            @{$request->{raw_headers}};
    }

    is(join(', ', @bad), '', "$name: the provider sees what was checked");
    $provider->forget;

    return scalar @requests;
}


# [name, bytes, statuses, how many the provider sees]; undef: either is fine
sub check {
    my ($name, $bytes, $status, $count, @bodies) = @_;

    my $wanted = defined $status ? qr/\A(?:$status)\z/ : undef;
    my $got = statuses(raw($bytes, $wanted));
    my $number = seen($name, @bodies);

    like($got, $wanted, "$name: status") if defined $status;
    is($number, $count, "$name: requests at the provider")
        if defined $count;
}


sub post {
    my ($headers, $content) = @_;

    return "POST $uri HTTP/1.1\r\n$auth$headers\r\n" . ($content // $body);
}


sub target {
    my ($target, $method) = @_;

    return ($method // 'POST') . " $target HTTP/1.1\r\n${auth}"
        . "Content-Length: $length\r\nConnection: close\r\n\r\n$body";
}

my $cl = "Content-Length: $length\r\n";
my $chunk = sprintf "%x\r\n%s\r\n0\r\n\r\n", $length, $body;
my $inner = "POST /v1/files HTTP/1.1\r\n${auth}Content-Length: 2\r\n\r\n{}";

$provider->forget;
check('as it should be', $plain, '200', 1);


# Where a body ends

check('CL and TE', post("${cl}Transfer-Encoding: chunked\r\n", $chunk),
    '400', 0);
check('TE and CL', post("Transfer-Encoding: chunked\r\n$cl", $chunk), '400', 0);
check('CL.TE smuggling', post('Content-Length: ' . (5 + length $inner)
    . "\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n$inner"), '400', 0);
check('two lengths', post("${cl}Content-Length: 2\r\n"), '400', 0);
check('one length twice', post("$cl$cl"), '400', 0);
check("length \"$_\"", post("Content-Length: $_\r\n"), '400|413', 0)
    for "+$length", "-$length", "$length, $length", "0x10", "${length}a",
        '99999999999999999999', '9223372036854775807', '';
check("TE \"$_\"", post("Transfer-Encoding: $_\r\n", $chunk), '400|501', 0)
    for 'identity', 'chunked, identity', 'xchunked', 'gzip, chunked',
        'chunked, chunked', "\x0bchunked", 'chunked;q=1', '';
check('two TEs', post("Transfer-Encoding: chunked\r\n" x 2, $chunk), '400', 0);
check('TE with a blank before the colon',
    post("Transfer-Encoding : chunked\r\n", $chunk), undef, 0);
check('TE with an underscore', post("Transfer_Encoding: chunked\r\n$cl"),
    '200', 1);
check('chunked', post("Transfer-Encoding: chunked\r\n", $chunk), '200', 1);
check('CHUNKED', post("transfer-encoding: CHUNKED\r\n", $chunk), '200', 1);
check('chunk extensions', post("Transfer-Encoding: chunked\r\n",
    sprintf "%x;a=b;c=\"d\"\r\n%s\r\n0;x\r\n\r\n", $length, $body), '200', 1);
check('a trailer', post("Transfer-Encoding: chunked\r\nTrailer: x-api-key\r\n",
    sprintf "%x\r\n%s\r\n0\r\nx-api-key: container-other\r\n\r\n", $length,
    $body), '200', 1);
check("chunk size \"$_\"", post("Transfer-Encoding: chunked\r\n",
    "$_\r\n$body\r\n0\r\n\r\n"), '400|413', 0)
    for 'g', '-1', '0x10', 'ffffffffffffffffff', '7fffffffffffffff', ' 10';
check('a chunk that is longer than it says', post(
    "Transfer-Encoding: chunked\r\n", "2\r\n$body\r\n0\r\n\r\n"), '400', 0);
check('no body at all', "POST $uri HTTP/1.1\r\n$auth\r\n", '400', 0);
check('no length', post('', $body), '400 400|400', 0);
check('a body that is longer than its length', $plain . "garbage\r\n\r\n",
    '200(?: 400)?', 1);
check('a request inside of a body', post('Content-Length: '
    . length($inner) . "\r\n", $inner), '400', 0);
check('GET with a body', "GET /v1/files HTTP/1.1\r\n$auth$cl\r\n$body",
    '404|403|400', 0);


# Header lines

check('folded lines', post("X-Folded: a\r\n b\r\n\tc\r\n$cl"), undef, undef);
check('a folded credential', "POST $uri HTTP/1.1\r\nHost: gateway\r\n"
    . "Authorization: Bearer\r\n container-dev-env\r\n$cl\r\n$body",
    '400|401', 0);
check('a folded length', post("Content-Length:\r\n $length\r\n"), '400.*', 0);
check('LF alone', $plain =~ s/\r\n/\n/gr, '200', 1);
check('CR alone', $plain =~ s/\r\n/\r/gr, '400|', 0);
check('NUL in a value', post("X-A: a\0b\r\n$cl"), '400', 0);
check('NUL in a name', post("X\0A: a\r\n$cl"), undef, undef);
check('NUL in the credential', "POST $uri HTTP/1.1\r\nHost: gateway\r\n"
    . "Authorization: Bearer container-dev-env\0x\r\n$cl\r\n$body",
    '400|401', 0);
check('a blank before the colon', "POST $uri HTTP/1.1\r\nHost: gateway\r\n"
    . "Authorization : Bearer container-dev-env\r\n$cl\r\n$body",
    '400|401', 0);
check('no colon', post("nonsense\r\n$cl"), undef, undef);
check('a second credential, the same',
    post("Authorization: Bearer container-dev-env\r\n$cl"), undef, undef);
check('a second credential, another',
    post("Authorization: Bearer container-other\r\n$cl"), '400|401', 0);
check('another x-api-key', post("x-api-key: container-other\r\n$cl"), '401', 0);
check('the same x-api-key', post("X-API-KEY: container-dev-env\r\n$cl"),
    '200', 1);
check('other credentials', post("api-key: x\r\nx-goog-api-key: y\r\n"
    . "Cookie: a=b\r\nProxy-Authorization: Basic eDp5\r\n$cl"), '200', 1);
check('Connection names our header', post("Connection: authorization\r\n$cl"),
    '200', 1);
check('a forwarded address', "POST $uri HTTP/1.1\r\nHost: gateway\r\n"
    . "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"
    . "Forwarded: for=127.0.0.1\r\n"
    . "Authorization: Bearer container-other\r\n$cl\r\n$body", '401', 0);
check('a huge header', post('X-A: ' . 'a' x 60000 . "\r\n$cl"),
    '400|431|414', 0);
check('many headers', post("X-A: a\r\n" x 5000 . $cl), undef, undef);
check('a huge line', "POST $uri?" . 'a' x 60000 . " HTTP/1.1\r\n$auth\r\n",
    '414|400', 0);
check('two hosts', post("Host: other\r\n$cl"), '400', 0);
check('no host', "POST $uri HTTP/1.1\r\nAuthorization: Bearer "
    . "container-dev-env\r\n$cl\r\n$body", '400', 0);
check('an odd host', $plain =~ s/gateway/..\/a b/r, '400', 0);
check('Upgrade', post("Connection: Upgrade\r\nUpgrade: websocket\r\n"
    . "Sec-WebSocket-Key: eDp5\r\n$cl"), '200', 1);
check('h2c', post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    . "HTTP2-Settings: AAMAAABk\r\n$cl"), '200', 1);
check('the preface of HTTP/2', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", undef, 0);
check('gzip', post("Content-Encoding: gzip\r\n$cl"), '415', 0);


# Request lines

check('absolute form', "POST http://other:99$uri HTTP/1.1\r\n$auth$cl\r\n"
    . $body, '200', 1);
check('absolute form, another route',
    "POST http://other/v1/files HTTP/1.1\r\n$auth$cl\r\n$body",
    '403|404|400', 0);
check('a query', target("$uri?a=/v1/files&b=%2e%2e"), '200', 1);
check("target \"$_\"", target($_), '200|40\d', undef)
    for '/v1/chat/./completions', '/v1//chat///completions',
        '/v1/chat/x/../completions', '/v1/chat/%63ompletions',
        '/v1/files/../chat/completions', '/x/../v1/chat/completions',
        '/v1/chat%2Fcompletions', "$uri#x", "$uri?x#y", "$uri;x",
        "$uri/", "$uri%20", "$uri%0d%0aX:%20y";
check('the folder without its slash', target('/v1'), '301', 0);
check("target \"$_\"", target($_), '40\d', 0)
    for '/v1/files', '/v1/chat/completions/../../files', '/v1/../v1/files',
        '/v1/%2e%2e/_sample/requests', '/v1/..%2f_sample/requests',
        '/v1/../../_sample/requests', '/v1/..;/files', '/V1/chat/completions',
        '/v1/Chat/Completions', "$uri%00", "$uri%3fx",
        '/v1/', '*', '//v1/_sample', '/v1/chat\\completions',
        "$uri/..%5cfiles", '/v1/%252e%252e/files', '/v1/files%2f',
        '/v1/chat/completions/%2e%2e/%2e%2e/files', '/_sample/requests';
check("method $_", target($uri, $_), '4\d\d', 0)
    for qw(TRACE CONNECT PUT DELETE PATCH OPTIONS GET FOO PRI);
check('a small method', target($uri, 'post'), '400|404|405', 0);
check('CONNECT with an authority', "CONNECT api.test:443 HTTP/1.1\r\n$auth\r\n",
    '40\d', 0);
check('HTTP/0.9', "GET /v1/models\r\n", undef, 0);
check('HTTP/1.0', "POST $uri HTTP/1.0\r\n$auth$cl\r\n$body", '200', 1);
check('HTTP/1.2', $plain =~ s{HTTP/1.1}{HTTP/1.2}r, undef, undef);
check('HTTP/2.0', $plain =~ s{HTTP/1.1}{HTTP/2.0}r, '400|505', 0);
check('no version', $plain =~ s{ HTTP/1.1}{}r, undef, 0);
check('blanks', $plain =~ s{ HTTP/1.1}{   HTTP/1.1}r, undef, undef);
check('a tab', $plain =~ s{POST }{POST\t}r, '400', 0);
check('empty lines before', "\r\n\r\n$plain", undef, undef);
check('TLS', "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", undef, 0);
check('noise', join('', map { chr((7 * $_ * $_ + 13) % 256) } 1 .. 3000),
    undef, 0);


# Time

{
    my $client = $s->client;

    $client->send($_) for split //, $plain;
    is($client->answer->{status}, 200, 'one byte per packet');
    is(seen('one byte per packet'), 1, 'arrives once');

    $client = $s->client;
    $client->send($_) for split //, post("Transfer-Encoding: chunked\r\n",
        join '', map({ sprintf "1\r\n%s\r\n", $_ } split //, $body),
            "0\r\n\r\n");
    is($client->answer->{status}, 200, 'one byte per chunk and packet');
    is(seen('one byte per chunk'), 1, 'arrives once');
}

{
    my $client = $s->client;

    $client->send(substr $plain, 0, -20);
    is($client->fill(0.2), undef, 'a body is waited for');
    is(seen('not before it is whole'), 0, 'the provider sees nothing of it');
    $client->send(substr $plain, -20);
    is($client->answer->{status}, 200, 'then it is served');
    is(seen('a slow body'), 1, 'once');
}

{
    my $client = $s->client;

    $client->send(substr $plain, 0, -20);
    my $answer = $client->answer;

    like($answer->{status}, qr/^(?:408|400|0)\z/, 'a body that never ends');
    is(seen('a body that never ends'), 0, 'the provider sees nothing');

    $client = $s->client;
    $client->send(substr $plain, 0, -20);
    $client->close;
    sleep 0.1;
    is(seen('a hang-up in the body'), 0, 'a hang-up in the body');
}

{
    my $client = $s->client;

    $client->send("POST $uri HTTP/1.1\r\n${auth}Expect: 100-continue\r\n"
        . "$cl\r\n");
    $client->fill;
    like($client->{in}, qr{^HTTP/1.1 100 }, '100 Continue');
    $client->send($body);
    is($client->answer->{status}, 200, 'then the answer');
    is(seen('Expect'), 1, 'Expect');
}


# Pipelining

{
    my $other = chat(user => 'second');
    my $second = "POST $uri HTTP/1.1\r\n${auth}X-Sample-Text: two\r\n"
        . 'Content-Length: ' . length($other) . "\r\n\r\n$other";
    my $wrong = $plain =~ s/container-dev-env/container-nobody/r;

    my $out = raw($plain . $second . $plain, qr/\A200 200 200\z/);

    is(statuses($out), '200 200 200', 'three in one packet');
    is(seen('three', $other), 3, 'each of them once');
    like($out, qr/200 OK.*200 OK.*"two".*200 OK/s, 'in their order');

    like(statuses(raw($plain . $wrong . $second, qr/\A200 401 200\z/)),
        qr/\A200 401(?: 200)?\z/, 'one of them refused');
    like(seen('one refused', $other), qr/^[12]\z/, 'the others are served');

    like(statuses(raw($wrong . $wrong . $plain, qr/\A401 401 200\z/)),
        qr/\A401(?: 401(?: 200)?)?\z/, 'two refused');
    seen('two refused');

    my $stream = chat(stream => JSON::PP::true);

    is(statuses(raw("POST $uri HTTP/1.1\r\n${auth}Content-Length: "
        . length($stream) . "\r\nX-Sample-Delay: 20\r\n"
        . "X-Sample-Chunks: 5\r\n\r\n$stream$plain", qr/\A200 200\z/)),
        '200 200', 'one behind a stream');
    is(seen('one behind a stream', $stream), 2, 'both arrive');
}

# more than begin in one turn of the event loop: the order stays

{
    my $bad = "GET /v1/models HTTP/1.1\r\nHost: gateway\r\n"
        . "Authorization: Bearer container-nobody\r\n\r\n";
    my $many = join ' ', (401) x 300;

    check('one among many that are refused', $bad x 300 . $plain . $bad x 300,
        "$many 200 $many", 1);
}

is($s->chat_ask->{status}, 200, 'and it still works');
$s->finish;
