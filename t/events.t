# What is written to the stream of events, and counted for it.

# valgrind: yes

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

no_shuffle();
run_tests();


# The events of a block once there are so many of a type, as hashes.
sub events {
    my ($block, $type, $n) = @_;
    my $key = 'hoody:{' . $block->hoody_server . '}:events';
    my @found;

    HoodyAI::wait_until(sub {
        @found = grep { $_->{type} eq $type }
            map { +{ @{ $_->[1] } } } @{ redis("XRANGE $key - +") };
        return @found >= $n;
    });

    return @found;
}

# A chat request that is written as the block needs it.
sub ask {
    my ($headers, %more) = @_;
    my $body = '{"model":"gpt-4o","stream":true,"messages":[]}';

    return exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        . "x-api-key: container-dev-env\r\n$headers\r\nConnection: close\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body", %more);
}

# Pairs of status and reason of the block's errors, in their order; $n of them
# have to come.  The request after them shows that no more did.
sub errors {
    my ($block, $n) = @_;
    my @found = events($block, 'session.error', $n);

    return join(' ', map { "$_->{status}:$_->{reason}" } @found);
}

sub status {
    return exchange(raw => "GET /status HTTP/1.1\r\nHost: t\r\n"
        . "Connection: close\r\n\r\n")->{body};
}

__DATA__

=== TEST 1: an answer with usage
--- cases
200 | X-Sample-Usage: 11,7,3
--- check
my ($e) = main::events($_[0], 'request', 1);

Test::More::is($e->{container}, 'dev-env', 'container');
Test::More::is($e->{container_id}, '0123456789abcdef01234567', 'id');
Test::More::is($e->{model}, 'gpt-4o', 'model');
Test::More::is($e->{status}, 200, 'status');
Test::More::is($e->{reason}, 'ok', 'reason');
Test::More::is(join(',', @$e{qw(input_tokens output_tokens cached_tokens)}),
    '11,7,3', 'tokens');
Test::More::is($e->{usage}, 'reported', 'usage');
Test::More::is($e->{bytes_in}, 62, 'bytes in');
Test::More::cmp_ok($e->{bytes_out}, '>', 100, 'bytes out');
Test::More::like($e->{eid}, qr/^[0-9a-f]{16}-[0-9a-f]{10}\z/, 'eid');
Test::More::like($e->{request_id}, qr/^[0-9a-f]{32}\z/, 'request id');
Test::More::like($e->{provider_request_id}, qr/\S/, 'provider request id');



=== TEST 2: refusals before admission are aggregated
--- cases
401 | Authorization: Bearer container-nobody
401 | Authorization: Bearer container-nobody
401 | Authorization: Bearer container-nobody
--- check
my $count = 0;

my $block = $_[0];

HoodyAI::wait_until(sub {
    $count = 0;
    $count += $_->{count} for main::events($block, 'denied', 1);
    return $count >= 3;
});

my ($e) = main::events($_[0], 'denied', 1);

Test::More::is($count, 3, 'all of them');
Test::More::is($e->{reason}, 'no_container', 'reason');
Test::More::is($e->{source}, '127.0.0.1', 'source');
Test::More::is($e->{status}, 401, 'status');
Test::More::ok(!exists $e->{container}, 'a claim is not a container');
Test::More::is(scalar(main::events($_[0], 'request', 0)), 0, 'no request');



=== TEST 3: a refused body is the container's request
--- cases
400 | body={bad
--- check
my ($e) = main::events($_[0], 'request', 1);

Test::More::is($e->{reason}, 'invalid_body', 'reason');
Test::More::is($e->{status}, 400, 'status');
Test::More::is($e->{usage}, 'none', 'usage');
Test::More::is($e->{bytes_in}, 4, 'bytes in');
Test::More::ok(!exists $e->{input_tokens}, 'no tokens');



=== TEST 4: a refused container is named
--- redis
HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 number 7 addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
--- cases
403 | code=ai_disabled
--- check
my ($e) = main::events($_[0], 'denied', 1);

Test::More::is($e->{reason}, 'ai_disabled', 'reason');
Test::More::is($e->{container}, 'dev-env', 'container');



=== TEST 5: no content
--- cases
200 | body={"model":"gpt-4o","messages":[{"role":"user","content":"hush-hush"}]}
--- check
my ($e) = main::events($_[0], 'request', 1);

Test::More::unlike(join("\n", %$e), qr/hush/, 'nothing of the prompt');



=== TEST 6: the counters agree
--- config eval
HoodyAI::config() . 'location = /status { hoody_ai_status; }'
--- cases
200 | X-Sample-Usage: 11,7,3
200 | X-Sample-Usage: 5,1
404 | POST /v1/nothing
--- check
my $status = main::status();

Test::More::like($status, qr/^hoody_ai_input_tokens_total\{container="dev-env",model="gpt-4o"\} 16$/m, 'tokens');
Test::More::like($status, qr/^hoody_ai_requests_total\{container="dev-env",model="gpt-4o",status="2xx"\} 2$/m, 'requests');
Test::More::like($status, qr/^hoody_ai_refused_total\{reason="unknown_route"\} 1$/m, 'refused');
Test::More::like($status, qr/^hoody_ai_streams_open 0$/m, 'no stream');



=== TEST 7: a caller cannot make labels of models that no provider accepted
--- config eval
HoodyAI::config() . 'location = /status { hoody_ai_status; }'
--- cases
404 | X-Sample-Status: 404 | body={"model":"made-up","messages":[]} | got=POST /v1/chat/completions
--- check
my $status = main::status();

Test::More::unlike($status, qr/made-up/, 'no label');
Test::More::like($status, qr/^hoody_ai_requests_total\{container="dev-env",model="other",status="4xx"\} 1$/m, 'counted as other');



=== TEST 8: the tools that an answer calls
--- cases
200 | X-Sample-Tool: get_weather
200 | X-Sample-Tool: get_weather | body={"model":"m","stream":true,"messages":[]}
200 | POST /v1/responses | X-Sample-Tool: get_weather | body={"model":"m","input":"x"}
200 | POST /v1/responses | X-Sample-Tool: get_weather | body={"model":"m","input":"x","stream":true}
200 | POST /anthropic/v1/messages | X-Sample-Tool: get_weather | body={"model":"m","messages":[]}
200 | POST /anthropic/v1/messages | X-Sample-Tool: get_weather | body={"model":"m","messages":[],"stream":true}
200 | X-Sample-Tool: get_weather | X-Sample-Split: 7 | body={"model":"m","stream":true,"messages":[]}
200 | X-Sample-Tool: get_weather | X-Sample-Split: 11
200 | X-Sample-Text: {"tool_calls":[{"function":{"name":"get_weather"}}]}
200 | body={"model":"m","stream":true,"messages":[]}
--- check
my @found = main::events($_[0], 'request', 10);

Test::More::is(scalar(@found), 10, 'one each');

for my $e (@found[0 .. 7]) {
    Test::More::is("$e->{api}: $e->{tools} $e->{tool_calls}",
        "$e->{api}: get_weather 1", 'name and number');
    Test::More::is($e->{reason}, 'ok', 'reason');
}

for my $e (@found[8, 9]) {
    Test::More::ok(!exists $e->{tools} && !exists $e->{tool_calls},
        'none where none is called');
}

Test::More::is(scalar(main::events($_[0], 'session.error', 0)), 0,
    'no errors');



=== TEST 9: names of tools that are none
--- cases
200 | X-Sample-Tool: get weather
200 | X-Sample-Tool: sk-hai-t-none
--- check
my @e = main::events($_[0], 'request', 2);

Test::More::ok(!exists $e[0]{tools}, 'left out');
Test::More::is($e[0]{tool_calls}, 1, 'but counted');
Test::More::is($e[1]{tools}, 'sk-hai-t-none', 'what looks like a key is none');



=== TEST 10: the fields of an error
--- cases
429 | X-Sample-Status: 429 | got=POST /v1/chat/completions
--- check
my ($request) = main::events($_[0], 'request', 1);
my ($e) = main::events($_[0], 'session.error', 1);

Test::More::is(join(' ', sort keys %$e), 'api container container_id depth eid'
    . ' model provider reason request_id status ts type', 'fields');
Test::More::is($e->{$_}, $request->{$_}, $_)
    for qw(api container container_id model provider request_id status);
Test::More::is($e->{reason}, 'provider_error', 'reason');
Test::More::is($e->{status}, 429, 'status');
Test::More::is($e->{depth}, 1, 'depth');
Test::More::isnt($e->{eid}, $request->{eid}, 'an id of its own');
Test::More::is($request->{reason}, 'ok', 'passed on as it was');



=== TEST 11: errors of the provider
--- config eval
HoodyAI::config('proxy_read_timeout 1s;')
--- cases
400 | X-Sample-Status: 400 | got=POST /v1/chat/completions
529 | POST /anthropic/v1/messages | X-Sample-Status: 529 | got=POST /anthropic/v1/messages
502 | X-Sample-Abort: -1 | code=provider_unavailable | got=POST /v1/chat/completions
504 | X-Sample-Stall: -1 | code=provider_timeout | got=POST /v1/chat/completions
502 | X-Sample-Encoding: gzip | code=provider_unavailable | got=POST /v1/chat/completions
200 | X-Sample-Stream-Error: 1 | X-Sample-Chunks: 3 | body={"model":"m","stream":true,"messages":[]}
200 | POST /anthropic/v1/messages | X-Sample-Stream-Error: 1 | X-Sample-Chunks: 3 | body={"model":"m","stream":true,"messages":[]}
200 | POST /v1/responses | X-Sample-Stream-Error: 1 | X-Sample-Chunks: 3 | body={"model":"m","stream":true,"input":"x"}
200
--- check
my @requests = main::events($_[0], 'request', 9);

Test::More::is(main::errors($_[0], 8), '400:provider_error 529:provider_error'
    . ' 502:provider_unavailable 504:provider_timeout 502:unusable_answer'
    . ' 200:provider_error 200:provider_error 200:provider_error', 'errors');
Test::More::is(join(' ', map { $_->{reason} } @requests), 'ok ok'
    . ' provider_unavailable provider_timeout unusable_answer'
    . ' provider_error provider_error provider_error ok', 'requests');



=== TEST 12: who broke off, caller or provider
--- config eval
HoodyAI::config('proxy_read_timeout 1s;')
--- check
main::ask($_) for "X-Sample-Chunks: 9\r\nX-Sample-Abort: 2",
    "X-Sample-Chunks: 9\r\nX-Sample-Abort: 2,reset",
    "X-Sample-Chunks: 9\r\nX-Sample-Stall: 2",
    "X-Sample-Chunks: 9\r\nX-Sample-Abort: 2\r\nX-Sample-Close: 1";
main::events($_[0], 'request', 4);

# the caller: in the answer, before it, and before the request's end
main::ask("X-Sample-Chunks: 1000\r\nX-Sample-Delay: 20", until => qr/data: /);
main::events($_[0], 'request', 5);
main::ask('X-Sample-First-Delay: 5000', until => main::at_provider());
main::events($_[0], 'request', 6);
main::exchange(timeout => 0.2, raw => "POST /v1/chat/completions HTTP/1.1\r\n"
    . "Host: x\r\nx-api-key: container-dev-env\r\nContent-Length: 9\r\n\r\n{");
my @requests = main::events($_[0], 'request', 7);

Test::More::is(join(' ', map { $_->{reason} } @requests),
    join(' ', ('provider_aborted') x 4, ('aborted') x 3), 'requests');
Test::More::is(main::errors($_[0], 4),
    join(' ', ('200:provider_aborted') x 4), 'errors');
main::provider_requests();



=== TEST 13: a caller that hangs up on an error has seen one
--- check
main::ask("X-Sample-Chunks: 1000\r\nX-Sample-Stream-Error: 1\r\n"
    . 'X-Sample-Split: 40', until => qr/"error"/);

my ($request) = main::events($_[0], 'request', 1);

Test::More::is($request->{reason}, 'provider_error', 'request');
Test::More::is(main::errors($_[0], 1), '200:provider_error', 'error');
main::provider_requests();



=== TEST 14: framing that is wrong is the provider's doing
--- config eval
my $port = HoodyAI::start_server(sub {
    my ($s) = @_;
    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread($s, $request, 65536, length $request) or return;
    }

    syswrite($s, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\nnonsense\r\n");
    sysread($s, $request, 1);
});

"location /v1/ { hoody_ai on; hoody_ai_credential openai;
    proxy_http_version 1.1; proxy_pass http://127.0.0.1:$port; }"
--- check
main::ask('X-Test: 1');

my ($request) = main::events($_[0], 'request', 1);

Test::More::is($request->{reason}, 'provider_aborted', 'request');
Test::More::is(main::errors($_[0], 1), '200:provider_aborted', 'error');



=== TEST 15: refusals behind admission, not before
--- config eval
HoodyAI::config('hoody_ai_max_body 1000;')
--- cases
401 | anonymous | code=invalid_identity
404 | GET /v1/none | code=unknown_route
400 | body={bad | code=invalid_body
413 | body=json:1001 | code=body_too_large
415 | Content-Encoding: gzip | code=unsupported_encoding
--- check
Test::More::is(main::errors($_[0], 3), '400:invalid_body 413:body_too_large'
    . ' 415:unsupported_encoding', 'errors');
Test::More::is(join(' ', map { $_->{depth} }
    main::events($_[0], 'session.error', 3)), '1 1 1', 'no rule did it');



=== TEST 16: access is taken away
--- check
my $server = $_[0]->hoody_server;
my $disable = "SREM hoody:{$server}:ai:enabled dev-env";
my $enable = sub {
    HoodyAI::commands("SADD hoody:{t}:ai:enabled dev-env", $server);
};

$enable->();
main::ask("X-Sample-Chunks: 1000\r\nX-Sample-Delay: 20", at => qr/data: /,
    then => sub { HoodyAI::redis($disable) });
$enable->();

my $pid = main::later(main::at_provider(), $disable);

main::ask('X-Sample-First-Delay: 5000');
waitpid($pid, 0);

Test::More::is(main::errors($_[0], 2),
    '200:access_revoked 403:access_revoked', 'errors');
main::provider_requests();



=== TEST 17: a tool that is named like the key
--- config eval
my $port = HoodyAI::start_server(sub {
    my ($s) = @_;
    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread($s, $request, 65536, length $request) or return;
    }

    my ($key) = $request =~ /^Authorization: Bearer (\S+)/mi or return;
    my $body = '{"content":[{"type":"tool_use","name":"a"},{"type":"text",'
        . '"text":"' . 'x' x 100000 . '"},{"type":"tool_use",'
        . "\"name\":\"$key\"}]}";

    syswrite($s, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    sysread($s, $request, 1);
});

"location /v1/ { hoody_ai on; hoody_ai_credential openai;
    proxy_http_version 1.1; proxy_pass http://127.0.0.1:$port; }"
--- check
main::ask('X-Test: 1');

my ($e) = main::events($_[0], 'request', 1);
my $key = $ENV{TEST_NGINX_OPENAI_KEY};

Test::More::is($e->{tool_calls}, 2, 'counted');
Test::More::like($e->{tools}, qr/^a \S+\z/, 'named');
Test::More::unlike(join(' ', %$e), qr/\Q$key\E/, 'but not in clear');
