# Answers go out as they come, whatever the directives about buffers say.

use lib 't/lib';
use JSON::PP ();
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

our $port;

# Writes what the URI /v1/models/<name> stands for, a piece every 100 ms.
my $sse = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
my $big = 'b' x 70000;
my %answers = (
    events => [ "${sse}Connection: close\r\n\r\n",
        map { "data: $_\n\n" } 1 .. 5 ],
    chunks => [ "${sse}Transfer-Encoding: chunked\r\n\r\n",
        (map { "9\r\ndata: $_\n\n\r\n" } 1 .. 5), "0\r\n\r\n" ],
    split => [ "${sse}Connection: close\r\n\r\n",
        'data: a', "b\n", "\n", "data: c\n\nda", "ta: d\n", "\ndata: e" ],
    crlf => [ "${sse}Connection: close\r\n\r\n",
        "data: a\r\n\r", "\ndata: b\r\n", "\r\ndata: c\r\r" ],
    comment => [ "${sse}Connection: close\r\n\r\n",
        ": ping\n", ": pi", "ng\n\n", "data: x\n\n" ],
    slow => [ "${sse}Connection: close\r\n\r\n",
        "data: begun", ('.') x 16, "\n\n" ],
    large => [ "${sse}Connection: close\r\n\r\n",
        "data: $big", "more\n\n", "data: x\n\n" ],
    plain => [ "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        . "Content-Length: 15\r\n\r\n", '[1,2,', '3,4,5,', '6,7]' ],
    text => [ "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        . "Connection: close\r\n\r\n", 'one', 'two', 'three' ],
    head => [ "${sse}Connection: close\r\n\r\n", '', '', '', "data: x\n\n" ],
    accel => [ "${sse}X-Accel-Buffering: yes\r\nX-Accel-Limit-Rate: 1\r\n"
        . "X-Accel-Redirect: /other\r\nX-Accel-Expires: 60\r\n"
        . "X-Accel-Charset: koi8-r\r\nConnection: close\r\n\r\n",
        map { "data: $_\n\n" } 1 .. 3 ],
);

$port = start_server(sub {
    my ($s) = @_;
    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread($s, $request, 65536, length $request) or return;
    }

    my ($name) = $request =~ m{^GET /v1/models/(\w+)} or return;
    my $first = 1;

    setsockopt($s, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1);

    for my $piece (@{ $answers{$name} }) {
        select(undef, undef, undef, 0.1) if !$first;
        $first = 0;

        for (my $at = 0; $at < length $piece; ) {
            $at += syswrite($s, $piece, length($piece) - $at, $at) // return;
        }
    }
});

sub ask {
    my ($name, $version) = @_;

    $version //= '1.1';

    return exchange(raw => "GET /v1/models/$name HTTP/$version\r\nHost: x\r\n"
        . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n");
}

# the body that had come by then, chunk sizes left out
sub until_time {
    my ($got, $time) = @_;
    my %part = (raw => join('', map { $_->[1] }
        grep { $_->[0] < $time } @{ $got->{pieces} }), headers => [],
        body => '');

    HoodyAI::parse_answer(\%part);
    return $part{body} // '';
}

# when the body was as long as this
sub time_of {
    my ($got, $regex) = @_;

    for my $piece (@{ $got->{pieces} }) {
        return $piece->[0]
            if until_time($got, $piece->[0] + 0.00001) =~ $regex;
    }

    return 1e9;
}

# How long before the second one the first one came.
sub before {
    my ($got, $first, $second) = @_;

    return time_of($got, $second) - time_of($got, $first);
}

# Asks until the answer came in the times it should have.  A stall of the
# machine makes one piece of two and does not come each time; a gateway that
# keeps something back does.
sub ask_until {
    my ($holds, @what) = @_;
    my $got;

    for (1 .. 5) {
        $got = ask(@what);
        last if $holds->($got);
    }

    return $got;
}

sub to_server {
    my ($more) = @_;

    return HoodyAI::config($more)
        =~ s{http://provider}{http://127.0.0.1:$port}gr;
}

# Each event no later than the pause before the next one.
sub flows {
    my ($block, $name, @version) = @_;
    my $gap = sub {
        my ($got, $n) = @_;

        return before($got, qr/data: $n\n\n/, qr/data: @{[$n + 1]}\n\n/);
    };
    my $got = ask_until(sub { !grep { $gap->($_[0], $_) <= 0.03 } 1 .. 4 },
        $name, @version);

    is($got->{body}, join('', map { "data: $_\n\n" } 1 .. 5),
        $block->name . " - $name, all of it");

    for (1 .. 4) {
        cmp_ok($gap->($got, $_), '>', 0.03,
            $block->name . " - $name, event $_ was not kept for the next");
    }
}

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: event by event
--- config eval
main::to_server()
--- check
main::flows($block, 'events');
main::flows($block, 'chunks');



=== TEST 2: whatever is said about buffers
--- http_config
proxy_buffering on; proxy_buffers 8 64k; proxy_buffer_size 64k;
proxy_busy_buffers_size 128k; postpone_output 100000; tcp_nopush on;
proxy_max_temp_file_size 100m; limit_rate 0;
--- config eval
main::to_server('proxy_buffering on; output_buffers 4 64k;')
--- check
main::flows($block, 'events');
main::flows($block, 'chunks');



=== TEST 3: to an HTTP/1.0 client
--- config eval
main::to_server()
--- check
main::flows($block, 'events', '1.0');
main::flows($block, 'chunks', '1.0');
unlike(main::ask('chunks', '1.0')->{raw}, qr/Transfer-Encoding/i,
    $block->name . ' - not chunked');



=== TEST 4: an event goes out when its end is there
--- config eval
main::to_server()
--- check
my $got = main::ask('split');

is($got->{body}, "data: ab\n\ndata: c\n\ndata: d\n\ndata: e",
    $block->name . ' - all of it');

for my $piece (@{ $got->{pieces} }) {
    my $body = main::until_time($got, $piece->[0] + 0.00001);

    next if $body eq $got->{body};
    like($body, qr/^(?:|.*\n\n)\z/s, $block->name . ' - whole events');
}



=== TEST 5: ends of line of every kind
--- config eval
main::to_server()
--- check
my $gap = sub { main::before($_[0], qr/data: a/, qr/data: b/) };
my $got = main::ask_until(sub { $gap->(@_) > 0.03 }, 'crlf');

is($got->{body}, "data: a\r\n\r\ndata: b\r\n\r\ndata: c\r\r",
    $block->name . ' - all of it');
cmp_ok($gap->($got), '>', 0.03, $block->name . ' - a before b');



=== TEST 6: comments keep a connection alive, so they pass
--- config eval
main::to_server()
--- check
my $gap = sub { main::before($_[0], qr/: ping\n/, qr/data: x/) };
my $got = main::ask_until(sub { $gap->(@_) > 0.15 }, 'comment');

is($got->{body}, ": ping\n: ping\n\ndata: x\n\n",
    $block->name . ' - all of it');
cmp_ok($gap->($got), '>', 0.15, $block->name . ' - the first at once');



=== TEST 7: an event whose end does not come is held for a second
--- config eval
main::to_server()
--- check
my $gap = sub { main::before($_[0], qr/begun/, qr/\n\n/) };
my $got = main::ask_until(sub { $gap->(@_) > 0.1 }, 'slow');

is($got->{body}, 'data: begun' . '.' x 16 . "\n\n",
    $block->name . ' - all of it');
cmp_ok($gap->($got), '>', 0.1, $block->name . ' - it begins before it ends');
cmp_ok(main::time_of($got, qr/begun/), '>', 0.9,
    $block->name . ' - and not at once');



=== TEST 8: an event larger than the hold
--- config eval
main::to_server()
--- check
my $gap = sub { main::before($_[0], qr/b{1000}/, qr/more/) };
my $got = main::ask_until(sub { $gap->(@_) > 0.03 }, 'large');

is(length($got->{body}), 70000 + 6 + 6 + 9, $block->name . ' - all of it');
cmp_ok($gap->($got), '>', 0.03, $block->name . ' - it begins');



=== TEST 9: what is no stream of events passes as it comes
--- config eval
main::to_server()
--- check
for (['plain', '[1,2,3,4,5,6,7]', qr/1,2/, qr/4,5/],
    ['text', 'onetwothree', qr/one/, qr/two/])
{
    my ($name, $body, @parts) = @$_;
    my $gap = sub { main::before($_[0], @parts) };
    my $got = main::ask_until(sub { $gap->(@_) > 0.03 }, $name);

    is($got->{body}, $body, $block->name . " - $name");
    cmp_ok($gap->($got), '>', 0.03, $block->name . ' - as it comes');
}



=== TEST 10: the head goes out before the first event
--- config eval
main::to_server()
--- check
my $gap = sub {
    main::time_of($_[0], qr/data: x/) - $_[0]{pieces}[0][0];
};
my $got = main::ask_until(sub { $gap->(@_) > 0.1 }, 'head');

cmp_ok($gap->($got), '>', 0.1, $block->name . ' - at once');
like($got->{pieces}[0][1], qr{^HTTP/1.1 200}, $block->name . ' - with 200');
cmp_ok(main::time_of($got, qr/data: x/), '>', 0.25,
    $block->name . ' - the event later');



=== TEST 11: a provider does not steer this server
--- config eval
main::to_server('charset utf-8; source_charset utf-8;')
. 'location /other { internal; return 200 other; }'
--- check
my $gap = sub { main::before($_[0], qr/data: 1/, qr/data: 2/) };
my $got = main::ask_until(sub { $gap->(@_) > 0.03 }, 'accel');

is($got->{body}, join('', map { "data: $_\n\n" } 1 .. 3),
    $block->name . ' - the body is the provider\'s');
cmp_ok($gap->($got), '>', 0.03, $block->name . ' - unbuffered');
cmp_ok($got->{pieces}[-1][0], '<', 9, $block->name . ' - at full speed');
unlike($got->{raw}, qr/koi8|x-accel/i, $block->name . ' - nothing is left');



=== TEST 12: the sample provider, chat and messages
--- cases
200 | body={"model":"m","stream":true} | answer~text/event-stream.*data: \[DONE\]\n\n
200 | body={"model":"m","stream":true} | X-Sample-Chunks: 50 | X-Sample-Split: 11 | X-Sample-Split-Delay: 0 | answer~data: \[DONE\]
200 | POST /v1/responses | body={"model":"m","stream":true,"input":"x"} | answer~response.completed
200 | POST /anthropic/v1/messages | body={"model":"m","stream":true} | answer~event: message_stop
200 | POST /v1/chat/completions HTTP/1.0 | body={"model":"m","stream":true} | answer~\[DONE\]



=== TEST 13: the bytes of a stream are the provider's
--- check
my $request = sub {
    return "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        . "Authorization: Bearer $_[0]\r\nConnection: close\r\n"
        . "X-Sample-Chunks: $_[1]\r\nX-Sample-Size: 100000\r\n"
        . "Content-Length: 28\r\n\r\n" . '{"model":"m", "stream":true}';
};

for my $chunks (1, 7, 300) {
    my ($direct, $through) = (
        exchange(raw => $request->($ENV{TEST_NGINX_OPENAI_KEY}, $chunks),
            to => "127.0.0.1:$ENV{TEST_NGINX_PROVIDER_PORT}"),
        exchange(raw => $request->('container-dev-env', $chunks)));

    s/"id":"[^"]*"|"created":\d+|"obfuscation":"[^"]*"//g
        for $direct->{body}, $through->{body};

    is($through->{body}, $direct->{body}, $block->name . " - $chunks");
    ok($through->{complete}, $block->name . " - $chunks, to the end");
}



=== TEST 14: a provider that breaks off is not made to look complete
--- check
for my $headers ('X-Sample-Abort: 2', 'X-Sample-Abort: 2,reset') {
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: x\r\nx-api-key: container-dev-env\r\n$headers\r\n"
        . "X-Sample-Chunks: 9\r\nX-Sample-Delay: 20\r\nConnection: close\r\n"
        . "Content-Length: 27\r\n\r\n" . '{"model":"m","stream":true}');

    is($got->{status}, 200, $block->name . " - $headers");
    ok(!$got->{complete}, $block->name . ' - no proper end');
    unlike($got->{body}, qr/\[DONE\]/, $block->name . ' - nothing made up');
}



=== TEST 15: the provider's connection ends when the caller hangs up
--- check
my $stats = sub {
    my $got = exchange(to => "127.0.0.1:$ENV{TEST_NGINX_PROVIDER_PORT}",
        raw => "GET /_sample/stats HTTP/1.1\r\nHost: x\r\n"
            . "Connection: close\r\n\r\n");

    return JSON::PP::decode_json($got->{body});
};
my $before = $stats->()->{client_aborts};

exchange(until => qr/data: /, raw => "POST /v1/chat/completions HTTP/1.1\r\n"
    . "Host: x\r\nx-api-key: container-dev-env\r\nX-Sample-Chunks: 1000\r\n"
    . "X-Sample-Delay: 50\r\nContent-Length: 27\r\n\r\n"
    . '{"model":"m","stream":true}');
exchange(until => at_provider(), raw => "POST /v1/chat/completions HTTP/1.1"
    . "\r\nHost: x\r\nx-api-key: container-dev-env\r\n"
    . "X-Sample-First-Delay: 5000\r\nContent-Length: 13\r\n\r\n"
    . '{"model":"m"}');

HoodyAI::wait_until(sub { $stats->()->{client_aborts} >= $before + 2 });

is($stats->()->{client_aborts}, $before + 2,
    $block->name . ' - in the answer and before it');
is($stats->()->{active_streams}, 0, $block->name . ' - none runs on');
provider_requests();



=== TEST 16: a running stream ends with an event when access is taken away
--- check
my $server = $block->hoody_server;
my %ends = ('/v1/chat/completions' => qr/data: (\{"error".*\})\n\n\z/,
    '/anthropic/v1/messages' => qr/event: error\ndata: (\{.*\})\n\n\z/);

for my $uri (sort keys %ends) {
    for my $command ("SREM hoody:{$server}:ai:enabled dev-env",
        "DEL hoody:{$server}:container:dev-env",
        "HSET hoody:{$server}:container:dev-env addresses 127.0.0.9")
    {
        HoodyAI::commands($block->redis, $server);

        my $got = exchange(raw => "POST $uri HTTP/1.1\r\nHost: x\r\n"
            . "x-api-key: container-dev-env\r\nX-Sample-Chunks: 1000\r\n"
            . "X-Sample-Delay: 20\r\nConnection: close\r\n"
            . "Content-Length: 27\r\n\r\n" . '{"model":"m","stream":true}',
            at => qr/data: /, then => sub { redis($command) });

        is($got->{status}, 200, $block->name . " - $command");
        ok($got->{complete}, $block->name . ' - a proper end');
        like($got->{body}, $ends{$uri}, $block->name . ' - a typed event');
        like($got->{body}, qr/Access was taken away/, $block->name . ' - why');
        cmp_ok($got->{pieces}[-1][0], '<', 4, $block->name . ' - soon');
    }
}

HoodyAI::commands($block->redis, $server);
provider_requests();



=== TEST 17: a caller that waits for the head gets 403
--- check
my $server = $block->hoody_server;
my $pid = later(at_provider(), "SREM hoody:{$server}:ai:enabled dev-env");
my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
    . "Host: x\r\nx-api-key: container-dev-env\r\nConnection: close\r\n"
    . "X-Sample-First-Delay: 5000\r\nContent-Length: 13\r\n\r\n"
    . '{"model":"m"}');

waitpid($pid, 0);
is($got->{status}, 403, $block->name);
is(HoodyAI::error_code($got), 'access_revoked', $block->name . ' - code');
cmp_ok($got->{pieces}[-1][0], '<', 4, $block->name . ' - soon');
provider_requests();
