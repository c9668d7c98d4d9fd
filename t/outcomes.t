# Each row of the table of outcomes that the module itself answers: status,
# code, shape, headers.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

# The whole answer without what differs from one to the next.
sub bare {
    my ($got) = @_;
    my $raw = $got->{raw};

    $raw =~ s/^Date: .*\r\n//m;
    $raw =~ s/(X-Request-Id: )[0-9a-f]{32}/$1#/;
    $raw =~ s/(Request-Id: )[0-9a-f]{32}/$1#/;
    $raw =~ s/("request_id":")[0-9a-f]{32}/$1#/;

    return $raw;
}

# Asks the same with each list of headers and compares the answers.
sub identical {
    my ($block, $line, @lists) = @_;
    my %seen;

    for my $list (@lists) {
        my $got = exchange(raw => join("\r\n", "$line HTTP/1.1", 'Host: x',
            @$list, 'Connection: close', 'Content-Type: application/json',
            'Content-Length: 2', '', '{}'));

        push @{ $seen{bare($got)} }, join('; ', @$list);
    }

    is(scalar(keys %seen), 1, $block->name . ' - all answers are the same')
        or diag(explain(\%seen));
}

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: 401 in the shape of OpenAI
--- request
GET /v1/models
--- error_code: 401
--- response_headers
Content-Type: application/json
WWW-Authenticate:
Retry-After:
Request-Id:
--- response_body chomp
{"error":{"message":"The request does not come from a container that this token belongs to.","type":"authentication_error","param":null,"code":"invalid_identity"}}
--- provider



=== TEST 2: 401 in the shape of Anthropic
--- request
POST /anthropic/v1/messages
{}
--- more_headers
x-api-key: container-nobody
--- error_code: 401
--- response_headers
Content-Type: application/json
--- response_headers_like
Request-Id: [0-9a-f]{32}
--- response_body_like chomp
^\{"type":"error","error":\{"type":"authentication_error","message":"The request does not come from a container that this token belongs to\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 3: the request id of an error is the same everywhere
--- check
my $got = exchange(raw => "POST /anthropic/v1/messages HTTP/1.1\r\nHost: x\r\n"
    . "Connection: close\r\n\r\n");
my %id = map { lc $_->[0] => $_->[1] } @{ $got->{headers} };
my ($body) = $got->{body} =~ /"request_id":"([0-9a-f]+)"/;

is($body, $id{'x-request-id'}, 'body and x-request-id');
is($body, $id{'request-id'}, 'body and request-id');



=== TEST 4: every 401 is the same, whatever the reason
--- redis
HSET hoody:{t}:container:dev-env number 7 addresses 127.0.0.2
HSET hoody:{t}:container:stopped addresses 127.0.0.1 status stopped
HSET hoody:{t}:container:off addresses 127.0.0.3
HSET hoody:{t}:container:shared addresses 127.0.0.4 number 9
HSET hoody:{t}:container:double addresses 127.0.0.4 number 9
HSET hoody:{t}:container:nowhere number 11
SADD hoody:{t}:containers dev-env stopped off shared double nowhere
SADD hoody:{t}:ai:enabled dev-env stopped shared double nowhere ghost
--- check
my @reasons = map { [$_] } map { ("Authorization: Bearer $_", "x-api-key: $_") }
    qw(container-dev-env container-7 container-stopped container-off
       container-shared container-9 container-nowhere container-11
       container-ghost container-nobody container- sk-123 container-%20);

push @reasons, [], ['Authorization: Basic eDp5'], ['Authorization:'],
    ['Authorization: Bearer container-dev-env', 'x-api-key: container-off'],
    ['x-api-key: container-dev-env', 'x-api-key: container-dev-env'],
    ['X-Forwarded-For: 127.0.0.2', 'x-api-key: container-dev-env'];

identical($block, 'POST /v1/chat/completions', @reasons);
identical($block, 'POST /anthropic/v1/messages', @reasons);
identical($block, 'GET /v1/nothing/here', @reasons);



=== TEST 5: a 401 says nothing about the route or the body
--- check
my @answers = map {
    bare(exchange(raw => "$_ HTTP/1.1\r\nHost: x\r\n"
        . "x-api-key: container-nobody\r\nConnection: close\r\n\r\n"))
} 'GET /v1/models', 'GET /v1/none', 'DELETE /v1/files/x', 'GET /v1/',
  'POST /v1/chat/completions';
my %seen = map { $_ => 1 } @answers;

is(scalar(keys %seen), 1, 'one answer for every route');



=== TEST 6: 403 ai_disabled
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 403
--- response_body chomp
{"error":{"message":"AI access is not enabled for this container.","type":"permission_error","param":null,"code":"ai_disabled"}}
--- provider



=== TEST 7: 403 in the shape of Anthropic
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
--- request
POST /anthropic/v1/messages/count_tokens
{}
--- more_headers
x-api-key: container-dev-env
--- error_code: 403
--- response_body_like chomp
^\{"type":"error","error":\{"type":"permission_error","message":"AI access is not enabled for this container\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 8: who may not use AI learns nothing about routes and bodies
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
--- cases
403 | GET /v1/none | code=ai_disabled
403 | DELETE /v1/chat/completions | code=ai_disabled
403 | POST /v1/chat/completions | body={ | code=ai_disabled
403 | POST /v1/chat/completions | Content-Encoding: gzip | code=ai_disabled
401 | POST /v1/chat/completions | Content-Encoding: gzip | from=127.0.0.2



=== TEST 9: 404 unknown_route
--- request
GET /v1/chat/completion
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 404
--- response_body chomp
{"error":{"message":"This route or method is not available through the gateway.","type":"invalid_request_error","param":null,"code":"unknown_route"}}
--- provider



=== TEST 10: 404 in the shape of Anthropic
--- request
GET /anthropic/v1/messages
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 404
--- response_body_like chomp
^\{"type":"error","error":\{"type":"not_found_error","message":"This route or method is not available through the gateway\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 11: 400 invalid_body
--- request
POST /v1/chat/completions
{"model":"gpt-4o",}
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 400
--- response_body chomp
{"error":{"message":"The request body is not one unambiguous JSON object.","type":"invalid_request_error","param":null,"code":"invalid_body"}}
--- provider



=== TEST 12: 400 in the shape of Anthropic
--- request
POST /anthropic/v1/messages
[]
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 400
--- response_body_like chomp
^\{"type":"error","error":\{"type":"invalid_request_error","message":"The request body is not one unambiguous JSON object\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 13: 413 body_too_large
--- config eval
HoodyAI::config('hoody_ai_max_body 100;')
--- request eval
"POST /v1/chat/completions\n" . HoodyAI::body_of('json:101')
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 413
--- response_body chomp
{"error":{"message":"The request body is too large.","type":"invalid_request_error","param":null,"code":"body_too_large"}}
--- provider



=== TEST 14: 413 in the shape of Anthropic
--- config eval
HoodyAI::config('hoody_ai_max_body 100;')
--- request eval
"POST /anthropic/v1/messages\n" . HoodyAI::body_of('json:101')
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 413
--- response_body_like chomp
^\{"type":"error","error":\{"type":"request_too_large","message":"The request body is too large\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 15: 415 unsupported_encoding
--- request
POST /v1/chat/completions
{}
--- more_headers
Authorization: Bearer container-dev-env
Content-Encoding: gzip
--- error_code: 415
--- response_body chomp
{"error":{"message":"The request body must not be encoded.","type":"invalid_request_error","param":null,"code":"unsupported_encoding"}}
--- provider



=== TEST 16: 415 in the shape of Anthropic
--- request
POST /anthropic/v1/messages
{}
--- more_headers
Authorization: Bearer container-dev-env
Content-Encoding: br
--- error_code: 415
--- response_body_like chomp
^\{"type":"error","error":\{"type":"invalid_request_error","message":"The request body must not be encoded\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 17: 503 when there is no Redis, after the declared time
--- redis_conf: 127.0.0.1:$TEST_NGINX_RAND_PORT_9
--- config eval
HoodyAI::config('hoody_ai_wait 300ms;')
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 503
--- response_headers_like
Retry-After: \d+
Content-Type: application/json
x-request-id: [0-9a-f]{32}
--- response_body chomp
{"error":{"message":"The gateway cannot check access at the moment. Try again shortly.","type":"api_error","param":null,"code":"registry_unavailable"}}
--- provider
--- check
my $begin = Time::HiRes::time();
my $got = exchange(raw => "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
    . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n");
my $took = Time::HiRes::time() - $begin;

is($got->{status}, 503, $block->name . ' - again');
cmp_ok($took, '>=', 0.25, $block->name . ' - it waits');
cmp_ok($took, '<', 2, $block->name . ' - no longer than it may');



=== TEST 18: 503 in the shape of Anthropic
--- redis_conf: 127.0.0.1:$TEST_NGINX_RAND_PORT_9
--- config eval
HoodyAI::config('hoody_ai_wait 10ms;')
--- request
POST /anthropic/v1/messages
{}
--- more_headers
x-api-key: container-dev-env
--- error_code: 503
--- response_headers_like
Retry-After: \d+
--- response_body_like chomp
^\{"type":"error","error":\{"type":"api_error","message":"The gateway cannot check access at the moment\. Try again shortly\."\},"request_id":"[0-9a-f]{32}"\}$
--- provider



=== TEST 19: no Redis: what could be anybody is a 503, a bad token a 401
--- redis_conf: 127.0.0.1:$TEST_NGINX_RAND_PORT_9
--- config eval
HoodyAI::config('hoody_ai_wait 0;')
--- cases
503 | code=registry_unavailable | answer~Retry-After: \d
503 | GET /v1/none | code=registry_unavailable
503 | Authorization: Bearer container-nobody | code=registry_unavailable
401 | Authorization: Bearer container- | code=invalid_identity
401 | anonymous | code=invalid_identity



=== TEST 20: 502 when nobody listens at the provider's port
--- config eval
my $conf = HoodyAI::config();
$conf =~ s{http://provider}{http://127.0.0.1:\$TEST_NGINX_RAND_PORT_9}g;
$conf
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 502
--- response_body chomp
{"error":{"message":"The provider cannot be reached.","type":"api_error","param":null,"code":"provider_unavailable"}}
--- cases
502 | code=provider_unavailable
502 | POST /anthropic/v1/messages | code=api_error | answer~request_id



=== TEST 21: 502 when the provider closes without an answer
--- cases
502 | X-Sample-Abort: -1 | code=provider_unavailable | got=POST /v1/chat/completions
502 | X-Sample-Abort: -1,reset | code=provider_unavailable | got=POST /v1/chat/completions



=== TEST 22: 504 when the provider does not answer in time
--- config eval
HoodyAI::config('proxy_read_timeout 200ms;')
--- cases
504 | X-Sample-Stall: -1 | code=provider_timeout | answer~"type":"timeout_error" | got=POST /v1/chat/completions
504 | POST /anthropic/v1/messages | X-Sample-Stall: -1 | code=timeout_error | got=POST /anthropic/v1/messages



=== TEST 23: a provider's own error passes unchanged
--- cases
400 | X-Sample-Status: 400 | answer~"error" | got=POST /v1/chat/completions
401 | X-Sample-Status: 401 | answer~"error" | got=POST /v1/chat/completions
404 | X-Sample-Status: 404 | got=POST /v1/chat/completions
413 | X-Sample-Status: 413 | got=POST /v1/chat/completions
429 | X-Sample-Status: 429 | answer~(?i)retry-after: | got=POST /v1/chat/completions
500 | X-Sample-Status: 500 | got=POST /v1/chat/completions
502 | X-Sample-Status: 502 | got=POST /v1/chat/completions
503 | X-Sample-Status: 503 | got=POST /v1/chat/completions
504 | X-Sample-Status: 504 | got=POST /v1/chat/completions
529 | POST /anthropic/v1/messages | X-Sample-Status: 529 | answer~overloaded_error | got=POST /anthropic/v1/messages



=== TEST 24: and its bytes with it
--- check
for my $status (400, 401, 403, 404, 429, 500, 503) {
    my $request = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        . "Authorization: Bearer %s\r\nConnection: close\r\n"
        . "X-Sample-Status: $status\r\nContent-Length: 13\r\n\r\n"
        . '{"model":"m"}';
    my $direct = exchange(to => "127.0.0.1:$ENV{TEST_NGINX_PROVIDER_PORT}",
        raw => sprintf($request, $ENV{TEST_NGINX_OPENAI_KEY}));
    my $through = exchange(raw => sprintf($request, 'container-dev-env'));

    s/req_\w+/req/g for $direct->{body}, $through->{body};
    is($through->{body}, $direct->{body}, $block->name . " - $status");
}



=== TEST 25: x-request-id is the gateway's, the provider's has another name
--- cases
200 | answer~(?i)\r\nx-provider-request-id: req_\w+\r\n
200 | x-request-id: mine | answer~(?i)\r\nx-provider-request-id: req_\w+\r\n
200 | POST /anthropic/v1/messages | answer~(?i)\r\nx-provider-request-id: req_\w+\r\n
429 | X-Sample-Status: 429 | answer~(?i)\r\nx-provider-request-id: req_ | got=POST /v1/chat/completions
200 | X-Sample-Header: X-Request-ID: second | answer~(?i)\r\nx-provider-request-id: second\r\n



=== TEST 26: the administrator's error pages do not replace typed errors
--- http_config
error_page 400 401 403 404 413 415 500 502 503 504 /oops.html;
--- config eval
HoodyAI::config('hoody_ai_max_body 1000; proxy_read_timeout 1s;
    proxy_intercept_errors on; error_page 404 =200 /oops.html;
    error_page 429 /oops.html;')
. 'location = /oops.html { return 200 "oops"; }'
--- cases
401 | anonymous | code=invalid_identity
404 | GET /v1/none | code=unknown_route
400 | body={ | code=invalid_body
413 | body=json:1001 | code=body_too_large
413 | body=json:1001 | chunked=100 | code=body_too_large
415 | Content-Encoding: gzip | code=unsupported_encoding
502 | X-Sample-Abort: -1 | code=provider_unavailable | got=POST /v1/chat/completions
504 | X-Sample-Stall: -1 | code=provider_timeout | got=POST /v1/chat/completions
429 | X-Sample-Status: 429 | answer~"error" | got=POST /v1/chat/completions
404 | X-Sample-Status: 404 | answer~"error" | got=POST /v1/chat/completions



=== TEST 27: nor do they when Redis is away
--- redis_conf: 127.0.0.1:$TEST_NGINX_RAND_PORT_9
--- http_config
error_page 503 /oops.html;
--- config eval
HoodyAI::config('hoody_ai_wait 0;')
. 'location = /oops.html { return 200 "oops"; }'
--- cases
503 | code=registry_unavailable



=== TEST 28: HEAD is a method that no route has
--- cases
404 | HEAD /v1/models
401 | HEAD /v1/models | anonymous
404 | HEAD /v1/chat/completions



=== TEST 29: HEAD gets the headers of the error and no body
--- request
HEAD /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 404
--- response_headers_like
Content-Type: application/json
x-request-id: [0-9a-f]{32}
--- response_body



=== TEST 30: a connection serves on after refusals
--- pipelined_requests eval
["GET /v1/models", "GET /v1/none", "GET /v1/models", "GET /v1/models",
 "POST /v1/completions\n{}", "GET /v1/models", "POST /v1/completions\n{"]
--- more_headers eval
my $own = "Authorization: Bearer container-dev-env\n";
my $no = "x-api-key: container-nobody\n";
[$own, $own, $no, "X-None: 1\n", $no, $own, $own]
--- error_code eval
[200, 404, 401, 401, 401, 200, 400]
--- response_body_like eval
['"data"', 'unknown_route', 'invalid_identity', 'invalid_identity',
 'invalid_identity', '"data"', 'invalid_body']
--- provider
GET /v1/models
GET /v1/models



=== TEST 31: a refused body is not read as the next request
--- cases eval
my $inner = "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    . "Authorization: Bearer container-dev-env\r\n\r\n";
my $length = length $inner;

$inner =~ s/\r\n/\\r\\n/g;

CORE::join "\n", map {
    "40[01]|415 | raw=POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\n"
        . "$_\\r\\nContent-Length: $length\\r\\n\\r\\n$inner"
        . ' | answer~^(?!.*HTTP/1.1 200) | got=nothing'
} 'x-api-key: container-nobody',
  'Authorization: Bearer container-dev-env\r\nContent-Encoding: x',
  'Authorization: Bearer container-dev-env'



=== TEST 32: errors are never compressed
--- http_config
gzip on; gzip_types application/json; gzip_min_length 1;
gzip_http_version 1.0; gzip_proxied any;
--- cases
401 | anonymous | Accept-Encoding: gzip | code=invalid_identity
404 | GET /v1/none | Accept-Encoding: gzip | code=unknown_route



=== TEST 33: answers are not compressed either
--- http_config
gzip on; gzip_types application/json text/event-stream; gzip_min_length 1;
gzip_http_version 1.0; gzip_proxied any;
--- cases
200 | Accept-Encoding: gzip | answer~^(?!.*\r\nContent-Encoding:)
200 | Accept-Encoding: gzip | body={"model":"m","stream":true} | answer~^(?!.*\r\nContent-Encoding:)



=== TEST 34: other locations are as they were
--- config eval
HoodyAI::config() . 'location /plain/ { proxy_pass http://provider/v1/; }
location = /page { return 404; }'
--- cases
404 | GET /page | id=none | answer~<html>
401 | GET /plain/models | answer~"error" | got=GET /v1/models | id=any



=== TEST 35: the reason is logged, for the administrator, once a second
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.2
HSET hoody:{t}:container:stopped addresses 127.0.0.1 status stopped
HSET hoody:{t}:container:off addresses 127.0.0.3
HSET hoody:{t}:container:one number 9 addresses 127.0.0.4
HSET hoody:{t}:container:two number 9 addresses 127.0.0.4
--- check
my %reasons = (
    '' => [ 'no_credential', '' ],
    'container-' => [ 'bad_credential', '' ],
    'container-nobody' => [ 'no_container', 'nobody' ],
    'container-dev-env' => [ 'wrong_source', 'dev-env' ],
    'container-stopped' => [ 'not_running', 'stopped' ],
    'container-9' => [ 'shared_number', '9' ],
);
my $begin = time;

for (1 .. 10) {
    exchange(raw => "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
        . (length $_ ? "x-api-key: $_\r\n" : '')
        . "Connection: close\r\n\r\n") for sort keys %reasons;
}

open(my $in, '<', server_root() . '/logs/error.log') or die $!;
my @lines = grep { /hoody_ai: refused/ } <$in>;
my $seconds = 2 * (time - $begin + 2);

for (sort keys %reasons) {
    my ($reason, $claim) = @{ $reasons{$_} };
    my @found = grep { /\[info\].*refused: $reason, claim "$claim"/ } @lines;

    cmp_ok(scalar(@found), '>=', 1, $block->name . " - $reason is logged");
    cmp_ok(scalar(@found), '<=', $seconds, $block->name . " - not too often");
}
