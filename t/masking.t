# A provider that says the key aloud: masked in all that goes out, whatever the
# pieces it comes in, and never in a log.

# valgrind: yes

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

our $key = $ENV{TEST_NGINX_OPENAI_KEY};
our $stars = '*' x length $key;
our $port;

# What the server says, by the name in the URI: <K> is the key, <P> its
# beginning without the last byte, <A> the other provider's
my $ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
my %answers = (
    length => [ $ok . "Content-Length: %L\r\n\r\n",
        '{"a":"before <K> after"}' ],
    close => [ $ok . "Connection: close\r\n\r\n", 'before <K> after' ],
    plain => [ "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        . "Content-Length: %L\r\n\r\n", '<K>' ],
    error => [ "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n"
        . "Content-Length: %L\r\n\r\n", '{"error":"incorrect key <K> given"}' ],
    many => [ $ok . "Content-Length: %L\r\n\r\n",
        '<K><K>-<K>' . 'x' x 3000 . '<K>s<K>' ],
    overlap => [ $ok . "Content-Length: %L\r\n\r\n",
        '<P><P><P><P><K><P><P><K><K>' ],
    other => [ $ok . "Content-Length: %L\r\n\r\n", '<A> and <K> and <A>' ],
    almost => [ $ok . "Content-Length: %L\r\n\r\n", '<P> and <P>' ],
    sse => [ "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n",
        join('', map { "data: {\"n\":$_,\"k\":\"<K>\"}\n\n" } 1 .. 5)
        . "data: [DONE]\n\n" ],
    sse_close => [ "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        . "Connection: close\r\n\r\n",
        "event: x\ndata: <K>\n\n:<K>\n\nid: <K>\ndata: <K>" ],
    chunked => [ $ok . "Transfer-Encoding: chunked\r\n\r\n", '["<K>","<K>"]' ],
    header => [ $ok . "X-Echo: <K>\r\nX-More: a <K> b\r\n"
        . "Content-Length: %L\r\n\r\n",
        '{}' ],
    name => [ $ok . "<K>: 1\r\nContent-Length: %L\r\n\r\n", '{}' ],
    cookie => [ $ok . "Set-Cookie: k=<K>; Path=/\r\nContent-Length: %L\r\n\r\n",
        '{}' ],
    type => [ "HTTP/1.1 200 OK\r\nContent-Type: text/<K>\r\n"
        . "Content-Length: %L\r\n\r\n", '{}' ],
    location => [ "HTTP/1.1 302 Found\r\nLocation: http://x/<K>\r\n"
        . "Content-Length: %L\r\n\r\n", '<K>' ],
    id => [ $ok . "X-Request-Id: <K>\r\nContent-Length: %L\r\n\r\n", '{}' ],
    status => [ "HTTP/1.1 200 <K>\r\nContent-Length: %L\r\n\r\n", '{}' ],
    early => [ "HTTP/1.1 103 <K>\r\nLink: <K>\r\n\r\n" . $ok
        . "Content-Length: %L\r\n\r\n", '{}' ],
    invalid => [ $ok . "<K>\x01 broken\r\nX\x00<K>: 1\r\n"
        . "Content-Length: %L\r\n\r\n",
        '{}' ],
    nocolon => [ $ok . "<K> and no colon\r\nContent-Length: %L\r\n\r\n", '{}' ],
    nohttp => [ "<K>\r\n\r\n", '<K>' ],
    badstatus => [ "HTTP/1.1 <K>\r\n\r\n", '<K>' ],
    badlength => [ $ok . "Content-Length: <K>\r\n\r\n", '<K>' ],
    toobig => [ $ok . "X-Big: " . '<K>' x 2000 . "\r\n\r\n", '{}' ],
    accel => [ $ok . "X-Accel-Redirect: /<K>\r\nX-Accel-Charset: <K>\r\n"
        . "X-Accel-Limit-Rate: <K>\r\nX-Accel-Expires: <K>\r\n"
        . "Content-Length: %L\r\n\r\n", '{}' ],
    gzip => [ $ok . "Content-Encoding: gzip\r\nContent-Length: %L\r\n\r\n",
        '<K>' ],
    unknown => [ $ok . "Content-Encoding: <K>\r\nContent-Length: %L\r\n\r\n",
        '<K>' ],
    identity => [ $ok . "Content-Encoding: identity\r\n"
        . "Content-Length: %L\r\n\r\n", '{"a":"<K>"}' ],
    badchunk => [ $ok . "Transfer-Encoding: chunked\r\n\r\n<K>\r\n", '' ],
    short => [ $ok . "Content-Length: 5000\r\n\r\n", '<K> and no more' ],
    trailer => [ $ok . "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n",
        '{}', "X-T: <K>\r\n<K>: 1\r\n" ],
);

sub spell {
    my ($text) = @_;
    my %words = (K => $key, P => substr($key, 0, -1),
        A => $ENV{TEST_NGINX_ANTHROPIC_KEY});

    $text =~ s/<([KPA])>/$words{$1}/g;

    return $text;
}

# What it says to the URI /v1/models/<answer>.<bytes per write>
sub answer_to {
    my ($name, $n) = @_;
    my ($head, $body, $trailer) = map { spell($_) } @{ $answers{$name} };
    my $length = length $body;

    $head =~ s/%L/$length/;

    if ($head =~ /Transfer-Encoding/) {
        my $size = $n || 10000;

        $body = join('', map { sprintf("%x\r\n%s\r\n", length, $_) }
            unpack("(a$size)*", $body)) . "0\r\n" . ($trailer // '') . "\r\n"
            if $length;
    }

    return ($head, $body);
}

$port = start_server(sub {
    my ($s) = @_;
    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread($s, $request, 65536, length $request) or return;
    }

    my ($name, $n) = $request =~ m{^GET /v1/models/(\w+)\.(\d+)} or return;
    my ($head, $body) = answer_to($name, $n);

    setsockopt($s, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1);

    for my $piece ($n ? unpack("(a$n)*", $head . $body) : $head . $body) {
        syswrite($s, $piece) or last;
        select(undef, undef, undef, 0.0002) if $n;
    }
});

sub ask {
    my ($name, $n) = @_;

    return exchange(raw => 'GET /v1/models/' . $name . '.' . ($n // 0)
        . " HTTP/1.1\r\nHost: x\r\nx-api-key: container-dev-env\r\n"
        . "Connection: close\r\n\r\n");
}

sub masked {
    my ($name, $test, @sizes) = @_;
    my $want = spell($answers{$name}[1]);

    $want =~ s/\Q$_\E/'*' x length/ge
        for $key, $ENV{TEST_NGINX_ANTHROPIC_KEY};

    for my $n (@sizes) {
        my $got = ask($name, $n);

        is($got->{body}, $want, "$test - $name, $n bytes at a time");
        unlike($got->{raw}, qr/\Q$key/, "$test - $name, $n, no key");
    }
}

# every place where a key can be cut, and some around it
our @sizes = (0, 1 .. 8, length($key) - 1 .. length($key) + 1, 64, 100, 1000);

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: in bodies of every framing, over every split
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
for my $name (qw(length close plain error chunked other identity)) {
    main::masked($name, $block->name, @main::sizes);
}



=== TEST 2: every offset of the key in the write
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
main::masked('chunked', $block->name, 9 .. length($main::key));
main::masked('length', $block->name, 9 .. length($main::key));



=== TEST 3: several, one after the other, and one that only begins
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
main::masked($_, $block->name, 0, 3, 7, 20, length($main::key), 1000)
    for qw(many overlap almost);



=== TEST 4: in event streams
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
main::masked($_, $block->name, @main::sizes, 9 .. 20) for qw(sse sse_close);



=== TEST 5: in headers, over every split
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
my $stars = $main::stars;
my %want = (
    header => qr/^X-Echo: \Q$stars\E\r\nX-More: a \Q$stars\E b\r$/m,
    cookie => qr/^Set-Cookie: k=\Q$stars\E; Path=\/\r$/m,
    type => qr/^Content-Type: text\/\Q$stars\E\r$/m,
    location => qr/^Location: http:\/\/x\/\Q$stars\E\r$/m,
    id => qr/^X-Provider-Request-Id: \Q$stars\E\r$/m,
    status => qr/^HTTP\/1.1 200 /,
);

for my $name (sort keys %want) {
    for my $n (0, 1, 2, 5, 17, length($main::key), 100) {
        my $got = main::ask($name, $n);

        like($got->{raw}, $want{$name}, $block->name . " - $name, $n");
        unlike($got->{raw}, qr/\Q$main::key/, $block->name . " - $name, no key");
    }
}



=== TEST 6: where a header must not be, and in what nginx complains about
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- timeout: 60s
--- check
for my $name (qw(name early invalid nocolon nohttp badstatus badlength toobig
    accel trailer badchunk short))
{
    for my $n (0, 1, 7, 100) {
        next if $name eq 'toobig' && $n == 1;

        my $got = main::ask($name, $n);

        unlike($got->{raw}, qr/\Q$main::key/, $block->name . " - $name, $n");
    }
}



=== TEST 7: an encoded answer could hide a key
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- check
for my $name (qw(gzip unknown)) {
    for my $n (0, 1) {
        my $got = main::ask($name, $n);

        is($got->{status}, 502, $block->name . " - $name, $n");
        is(HoodyAI::error_code($got), 'provider_unavailable',
            $block->name . " - $name, $n, code");
        unlike($got->{raw}, qr/\Q$main::key/, $block->name . " - $name, no key");
    }
}



=== TEST 8: another protocol than the one that was asked for
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:$main::port}gr
--- check
is(main::ask('early')->{status}, 502, $block->name);



=== TEST 9: the sample provider's echo
--- cases
200 | X-Sample-Echo: key | answer~\*{30}
200 | X-Sample-Echo: key | body={"model":"m","stream":true} | answer~\*{30}
200 | X-Sample-Echo: key | body={"model":"m","stream":true} | X-Sample-Chunks: 5 | X-Sample-Split: 7 | X-Sample-Split-Delay: 0 | answer~\*{30}
200 | X-Sample-Echo: key | X-Sample-Split: 3 | X-Sample-Split-Delay: 0 | X-Sample-Split-Head: 1 | answer~\*{30}
200 | X-Sample-Echo: key | X-Sample-Trailer: 1 | answer~\*{30}
200 | X-Sample-Echo: headers | answer~\*{30}
200 | POST /anthropic/v1/messages | X-Sample-Echo: key | answer~\*{30}
200 | POST /anthropic/v1/messages | X-Sample-Echo: key | body={"model":"m","stream":true} | answer~\*{30}
401 | X-Sample-Status: 401 | X-Sample-Echo: key | got=POST /v1/chat/completions
502 | X-Sample-Encoding: gzip | code=provider_unavailable | got=POST /v1/chat/completions
502 | X-Sample-Encoding: br | code=provider_unavailable | got=POST /v1/chat/completions
502 | X-Sample-Early-Hints: 1 | code=provider_unavailable | got=POST /v1/chat/completions



=== TEST 10: what the caller says is not masked where it is not a key
--- cases
200 | X-Sample-Echo: body | body={"model":"sk-hai-fixture-openai-"} | answer~sk-hai-fixture-openai-
200 | X-Sample-Echo: body | body={"model":"****"} | answer~\*\*\*\*
