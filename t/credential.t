# The provider's key: which one, to whom, and the caller's never.
#
# asan: no, tests/unit/test_identity.c and raw.t run the same code

use lib 't/lib';
use JSON::PP qw(decode_json);
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

our $folder = secret_folder();
our ($tls_port, $tls_other, $closing_port);

fixture_key('tls');
fixture_key('second');
fixture_key('azure');

# a CA that is trusted, a certificate of it, and one that nobody signed
sub openssl {
    system("openssl @_ >/dev/null 2>&1") == 0 or die "openssl @_ failed\n";
}

openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca"
    . " -keyout $folder/ca.pem.key -out $folder/ca.pem");
openssl("req -newkey rsa:2048 -nodes -subj /CN=provider.test"
    . " -addext subjectAltName=DNS:provider.test"
    . " -keyout $folder/tls.pem.key -out $folder/tls.csr");
openssl("x509 -req -days 2 -in $folder/tls.csr -CA $folder/ca.pem"
    . " -CAkey $folder/ca.pem.key -CAcreateserial -copy_extensions copy"
    . " -out $folder/tls.pem");
openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=provider.test"
    . " -addext subjectAltName=DNS:provider.test"
    . " -keyout $folder/self.pem.key -out $folder/self.pem");

$tls_port = start_provider('--tls-cert', "$folder/tls.pem",
    '--tls-key', "$folder/tls.pem.key");
$tls_other = start_provider('--tls-cert', "$folder/self.pem",
    '--tls-key', "$folder/self.pem.key");

# reads a request and says nothing
$closing_port = start_server(sub {
    my ($s) = @_;

    sysread($s, my $request, 65536);
});

# the TLS providers are asked by a client that does not verify
sub tls_requests {
    my ($port) = @_;
    my $text = `curl -sk https://127.0.0.1:$port/_sample/requests`;
    my $list = decode_json($text);

    system("curl -sk -X DELETE https://127.0.0.1:$port/_sample/requests"
        . ' >/dev/null');

    return @{ $list->{requests} };
}

sub tls_config {
    my ($port, $name, $more, $credential) = @_;

    $credential //= 'openai';

    return <<"EOC";
        location /v1/ {
            hoody_ai on;
            hoody_ai_credential $credential;
            proxy_pass https://127.0.0.1:$port;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_name $name;
            proxy_ssl_server_name on;
            $more
        }
EOC
}

sub verified {
    return "proxy_ssl_verify on; proxy_ssl_trusted_certificate $folder/ca.pem;";
}

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: Authorization: Bearer is the default
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
!x-api-key



=== TEST 2: another header, the key alone
--- request
POST /anthropic/v1/messages
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /anthropic/v1/messages
x-api-key: {key:anthropic}
!authorization



=== TEST 3: header= and scheme= in all combinations
--- http_config eval
"hoody_ai_secret s1 $main::folder/second.key scheme=Token;
hoody_ai_secret s2 $main::folder/second.key header=api-key;
hoody_ai_secret s3 $main::folder/second.key header=X-Key scheme=Key;
hoody_ai_secret s4 $main::folder/second.key header=authorization;
hoody_ai_secret s5 $main::folder/second.key scheme=;
hoody_ai_secret s6 $main::folder/second.key scheme=Key header=X-Key;"
--- config eval
CORE::join '', map { my $n = $_; HoodyAI::config() =~ s{/anthropic/v1/.*}{}sr
    =~ s{location\s*\z}{}r =~ s{location /v1/}{location /$n/v1/}r
    =~ s{credential openai}{credential s$n}r } 1 .. 6
--- check
my @want = (undef, [ 'authorization', 'Token ' ], [ 'api-key', '' ],
    [ 'x-key', 'Key ' ], [ 'authorization', 'Bearer ' ],
    [ 'authorization', '' ], [ 'x-key', 'Key ' ]);
my %keys = HoodyAI::fixture_keys();

for my $i (1 .. 6) {
    exchange(raw => "GET /$i/v1/models HTTP/1.1\r\nHost: x\r\n"
        . "Authorization: Bearer container-dev-env\r\n"
        . "x-key: mine\r\napi-key: mine\r\nConnection: close\r\n\r\n");

    my ($request) = provider_requests();
    my ($name, $before) = @{ $want[$i] };

    is($request->{headers}{$name}, $before . $keys{second},
        $block->name . " - secret $i");

    for (grep { $_ ne $name } qw(authorization api-key x-api-key)) {
        is($request->{headers}{$_}, undef, $block->name . " - $i, no $_");
    }
}



=== TEST 4: no credential configured: none is sent
--- config eval
HoodyAI::config() =~ s/hoody_ai_credential \w+;//gr
--- cases
401 | POST /v1/chat/completions | got=POST /v1/chat/completions
401 | POST /anthropic/v1/messages | got=POST /anthropic/v1/messages
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 401
--- provider
GET /v1/models
!authorization
!x-api-key



=== TEST 5: the caller's credentials never arrive, however they are written
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
authorization: Bearer container-dev-env
X-Api-Key: container-dev-env
API-KEY: sk-mine
X-Goog-Api-Key: mine
Cookie: session=1
cookie: more=2
Proxy-Authorization: Basic eDp5
OpenAI-Organization: org-other
OpenAI-Project: proj-other
Accept-Encoding: gzip, br
X-Other: stays
Accept: application/json
User-Agent: test/1
Content-Type: application/json
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
!x-api-key
!api-key
!x-goog-api-key
!cookie
!proxy-authorization
!openai-organization
!openai-project
!accept-encoding
!keep-alive
x-other: stays
accept: application/json
user-agent: test/1
content-type: application/json



=== TEST 6: nor on the other API
--- request
POST /anthropic/v1/messages
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
x-api-key: container-dev-env
api-key: sk-mine
anthropic-beta: tools-2024-04-04
anthropic-version: 2023-06-01
--- provider
POST /anthropic/v1/messages
x-api-key: {key:anthropic}
!authorization
!api-key
anthropic-beta: tools-2024-04-04
anthropic-version: 2023-06-01



=== TEST 7: a header with an underscore is no way around
--- http_config
underscores_in_headers on;
ignore_invalid_headers off;
--- cases
200 | x_api_key: sk-mine | got=POST /v1/chat/completions
200 | Authorization_: Bearer sk-mine | got=POST /v1/chat/completions
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- provider
GET /v1/models
authorization: Bearer {key:openai}



=== TEST 8: what the administrator sets under these names is replaced
--- config eval
HoodyAI::config('proxy_set_header Authorization "Bearer sk-admin";
    proxy_set_header X-Api-Key sk-admin; proxy_set_header Cookie a=b;
    proxy_set_header api-key sk-admin; proxy_set_header X-Set yes;')
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- provider
GET /v1/models
authorization: Bearer {key:openai}
x-set: yes
!x-api-key
!cookie
!api-key



=== TEST 9: nor do the caller's headers come back by way of a variable
--- config eval
HoodyAI::config('proxy_set_header Authorization $http_authorization;
    proxy_set_header X-Key $http_x_api_key;')
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- provider
GET /v1/models
authorization: Bearer {key:openai}



=== TEST 10: choice by a variable: a map of the model
--- http_config
map $hoody_ai_model $credential {
    volatile;
    ~^gpt-    openai;
    ~^claude- anthropic;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $credential;
    proxy_pass http://provider;
}
--- request eval
["POST /v1/chat/completions\n{\"model\":\"gpt-4o\"}",
 "POST /v1/messages\n{\"messages\":[],\"model\":\"claude-x\"}",
 "POST /v1/chat/completions\n{\"model\":\"llama\"}",
 "POST /v1/chat/completions\n{}",
 "POST /v1/chat/completions\n{\"model\":\"\\u0067pt-4\"}"]
--- more_headers
Authorization: Bearer container-dev-env
--- error_code eval
[200, 200, 404, 404, 200]
--- response_body_like eval
['chat.completion', 'message',
 '^\{"error":\{"message":"No provider is configured for this model\.","type":"invalid_request_error","param":null,"code":"unknown_route"\}\}$',
 'unknown_route', 'chat.completion']
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
!x-api-key
POST /v1/messages
x-api-key: {key:anthropic}
!authorization
POST /v1/chat/completions
authorization: Bearer {key:openai}



=== TEST 11: the map was asked too early, by set and by a header
--- http_config
map $hoody_ai_model $credential {
    volatile;
    default   "";
    ~^gpt-    openai;
    ~^claude- anthropic;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $credential;
    set $early "$credential$hoody_ai_model";
    add_header X-Early "[$early]";
    proxy_pass http://provider;
}
--- request
POST /v1/chat/completions
{"model":"gpt-4o"}
--- more_headers
Authorization: Bearer container-dev-env
--- response_headers
X-Early: []
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}



=== TEST 12: the same without volatile
--- http_config
map $hoody_ai_model $credential {
    default   anthropic;
    ~^gpt-    openai;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $credential;
    set $early "$credential";
    proxy_pass http://provider;
}
--- request
POST /v1/chat/completions
{"model":"gpt-4o"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
!x-api-key



=== TEST 13: a map of a map, of the container, with text around it
--- http_config
map $hoody_ai_model $vendor {
    volatile;
    ~^gpt-    open;
    ~^claude- anthrop;
}
map $hoody_ai_container $suffix {
    volatile;
    dev-env ic;
    default ai;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $vendor$suffix;
    proxy_pass http://provider;
}
--- cases
404 | body={"model":"gpt-4o"} | code=unknown_route
200 | POST /v1/messages | body={"model":"claude-1"}
--- request
POST /v1/messages
{"model":"claude-1"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /v1/messages
x-api-key: {key:anthropic}



=== TEST 14: a caller does not choose the key through a header
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $http_x_provider;
    proxy_pass http://provider;
}
--- cases
404 | X-Provider: nobody | code=unknown_route
404 | code=unknown_route
404 | X-Provider: OpenAI | code=unknown_route
200 | X-Provider: openai



=== TEST 15: routes without a body have no model
--- http_config
map $hoody_ai_model $credential {
    volatile;
    default   openai;
    ~^claude- anthropic;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $credential;
    proxy_pass http://provider;
}
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- provider
GET /v1/models
authorization: Bearer {key:openai}



=== TEST 16: hoody_ai_model_prefix strip
--- config eval
HoodyAI::config('hoody_ai_model_prefix strip;')
--- check
my @bodies = (
    '{"model":"openai/gpt-4o","n":1}' => '{"model":"gpt-4o","n":1}',
    '{"n":1, "model" : "a/b/c" ,"x":"openai/gpt-4o"}'
        => '{"n":1, "model" : "b/c" ,"x":"openai/gpt-4o"}',
    '{"model":"gpt-4o"}' => '{"model":"gpt-4o"}',
    '{"model":"openai\/gpt-4o","n":2}' => '{"model":"gpt-4o","n":2}',
    '{"model":"\u006fpenai/gpt-4o","n":3}' => '{"model":"gpt-4o","n":3}',
    '{"model":"x/\"q\\\\","n":4}' => '{"model":"\"q\\\\","n":4}',
    '{"model":"openai/\u00e4\u20ac"}' => qq({"model":"\xc3\xa4\xe2\x82\xac"}),
    '{"model":"/gpt-4o"}' => '{"model":"/gpt-4o"}',
    '{"model":"gpt-4o/"}' => '{"model":"gpt-4o/"}',
    '{"model":"/"}' => '{"model":"/"}',
    '{"model":"a/b"}' => '{"model":"b"}',
    '{"a":{"model":"x/y"},"model":"v/w"}' => '{"a":{"model":"x/y"},"model":"w"}',
    ' {"model":"v/w"} ' => ' {"model":"w"} ',
    (map { '{"f":"' . 'f' x $_ . '","model":"openai/m","g":"' . 'g' x 70000
        . '"}' => '{"f":"' . 'f' x $_ . '","model":"m","g":"' . 'g' x 70000
        . '"}' } 65510 .. 65536),
    (map { '{"f":"' . 'f' x $_ . '","model":"openai\/m","g":"' . 'g' x 70000
        . '"}' => '{"f":"' . 'f' x $_ . '","model":"m","g":"' . 'g' x 70000
        . '"}' } 65510 .. 65536),
);

while (my ($sent, $want) = splice(@bodies, 0, 2)) {
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: x\r\nx-api-key: container-dev-env\r\nConnection: close\r\n"
        . 'Content-Length: ' . length($sent) . "\r\n\r\n$sent");
    my ($request) = provider_requests();
    my $name = $block->name . ' - ' . substr($sent, 0, 60);

    is($got->{status}, 200, $name);
    is($request->{body_sha256}, Digest::SHA::sha256_hex($want),
        "$name, the bytes")
        or diag($request->{body});
    is($request->{headers}{'content-length'}, length($want), "$name, length");
}



=== TEST 17: strip and chunked; the variable keeps the prefix
--- http_config
map $hoody_ai_model $credential {
    volatile;
    ~^openai/    openai;
    ~^anthropic/ anthropic;
}
--- config
location /v1/ {
    hoody_ai on;
    hoody_ai_credential $credential;
    hoody_ai_model_prefix strip;
    add_header X-Model $hoody_ai_model;
    proxy_pass http://provider;
}
--- request eval
["POST /v1/messages\n11\r\n{\"model\":\"anthrop\r\na\r\nic/claude\"\r\n1\r\n}\r\n0\r\n\r\n"]
--- more_headers
Authorization: Bearer container-dev-env
Transfer-Encoding: chunked
--- response_headers
X-Model: anthropic/claude
--- provider
POST /v1/messages
x-api-key: {key:anthropic}
body {"model":"claude"}
content-length: 18



=== TEST 18: keep is the default
--- request
POST /v1/chat/completions
{"model":"openai/gpt-4o"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /v1/chat/completions
body {"model":"openai/gpt-4o"}



=== TEST 19: a retry carries the key and the body again
--- http_config eval
"upstream broken {
    server 127.0.0.1:$main::closing_port max_fails=0;
    server 127.0.0.1:$ENV{TEST_NGINX_PROVIDER_PORT} backup;
    keepalive 2;
}"
--- config eval
HoodyAI::config('proxy_next_upstream error timeout non_idempotent;')
    =~ s{http://provider}{http://broken}gr
--- cases
200
200 | body=json:100000
200 | body=json:300000 | chunked=10000
200 | GET /v1/models
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
content-length: 13
body {"model":"m"}



=== TEST 20: a retry after an answer with an error, on kept connections
--- http_config
upstream twice {
    server 127.0.0.1:$TEST_NGINX_PROVIDER_PORT max_fails=0;
    server 127.0.0.1:$TEST_NGINX_PROVIDER_PORT max_fails=0;
    keepalive 2;
}
--- config eval
HoodyAI::config('proxy_next_upstream error http_500 non_idempotent;')
    =~ s{http://provider}{http://twice}gr
--- request eval
[map { "POST /v1/chat/completions\n{\"model\":\"$_\"}" } 'a', 'b']
--- more_headers
Authorization: Bearer container-dev-env
X-Sample-Status: 500
--- error_code eval
[500, 500]
--- response_body_like eval
['error', 'error']
--- check
my @requests = provider_requests();
my %keys = HoodyAI::fixture_keys();

cmp_ok(scalar(@requests), '>=', 4, $block->name . ' - each was sent twice');
is(scalar(grep { $_->{headers}{authorization} ne "Bearer $keys{openai}" }
    @requests), 0, $block->name . ' - with the key, once');



=== TEST 21: two keys over the kept connections of one upstream
--- config eval
HoodyAI::config()
--- check
my %keys = HoodyAI::fixture_keys();

for (1 .. 10) {
    for my $uri ('/v1/models', '/anthropic/v1/models') {
        exchange(raw => "GET $uri HTTP/1.1\r\nHost: x\r\n"
            . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n");
    }
}

my @requests = provider_requests();

is(scalar(@requests), 20, $block->name . ' - all arrived');
is(scalar(grep {
    my $h = $_->{headers};

    $_->{uri} eq '/v1/models'
        ? ($h->{authorization} // '') ne "Bearer $keys{openai}"
            || exists $h->{'x-api-key'}
        : ($h->{'x-api-key'} // '') ne $keys{anthropic}
            || exists $h->{authorization}
} @requests), 0, $block->name . ' - each with its own key');



=== TEST 22: verified TLS carries the key
--- config eval
main::tls_config($main::tls_port, 'provider.test', main::verified())
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
--- check
my @requests = main::tls_requests($main::tls_port);
my %keys = HoodyAI::fixture_keys();

is(scalar(@requests), 1, $block->name . ' - it arrived');
is($requests[0]{headers}{authorization}, "Bearer $keys{openai}",
    $block->name . ' - with the key');
is($requests[0]{body}, '{"model":"m"}', $block->name . ' - and the body');



=== TEST 23: TLS that is not verified does not, and nothing is sent
--- config eval
main::tls_config($main::tls_port, 'provider.test', '')
--- cases
502 | code=provider_unavailable
--- error_log
hoody_ai: the key is not sent to
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 502
--- check
is(scalar(main::tls_requests($main::tls_port)), 0,
    $block->name . ' - nothing arrived');



=== TEST 24: a wrong name
--- config eval
main::tls_config($main::tls_port, 'other.test', main::verified())
--- cases
502 | code=provider_unavailable
--- check
is(scalar(main::tls_requests($main::tls_port)), 0,
    $block->name . ' - nothing arrived');



=== TEST 25: a certificate that nobody trusts
--- config eval
main::tls_config($main::tls_other, 'provider.test', main::verified())
--- cases
502 | code=provider_unavailable
--- check
is(scalar(main::tls_requests($main::tls_other)), 0,
    $block->name . ' - nothing arrived');



=== TEST 26: insecure
--- config eval
main::tls_config($main::tls_other, 'provider.test', '', 'openai insecure')
--- cases
200 | got=nothing
--- check
my @requests = main::tls_requests($main::tls_other);
my %keys = HoodyAI::fixture_keys();

is(scalar(@requests), 1, $block->name . ' - it arrived');
is($requests[0]{headers}{authorization}, "Bearer $keys{openai}",
    $block->name . ' - with the key');



=== TEST 27: a connection kept by a location that does not verify
The second location would take it out of the pool.
--- http_config eval
"upstream tls { server 127.0.0.1:$main::tls_port; keepalive 4; }"
--- config eval
main::tls_config(1, 'other.test', '') =~ s{location /v1/}{location /plain/}r
    =~ s{hoody_ai on.*?proxy_pass \S+;}{proxy_pass https://tls/v1/;}sr
. main::tls_config(1, 'provider.test', main::verified())
    =~ s{https://127.0.0.1:1;}{https://tls;}r
. main::tls_config(1, 'provider.test', '', 'openai')
    =~ s{https://127.0.0.1:1;}{https://tls;}r
    =~ s{location /v1/}{location /unverified/v1/}r
--- check
my %keys = HoodyAI::fixture_keys();
my $get = sub {
    return exchange(raw => "GET $_[0] HTTP/1.1\r\nHost: x\r\n"
        . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n")
        ->{status};
};

for (1 .. 3) {
    $get->('/plain/models');
    is($get->('/v1/models'), 200, $block->name . ' - verified');
    is($get->('/unverified/v1/models'), 502, $block->name . ' - unverified');
}

my @requests = main::tls_requests($main::tls_port);
my @with = grep { ($_->{headers}{authorization} // '') =~ /\Q$keys{openai}/ }
    @requests;

is(scalar(@with), 3, $block->name . ' - the key went out three times');
is(scalar(grep { $_->{uri} =~ /unverified/ } @requests), 0,
    $block->name . ' - never unverified');



=== TEST 28: plain text to another host
A host of this machine that is not a loopback address.
--- config eval
my ($address) = `ip -4 -o addr show scope global 2>/dev/null`
    =~ /inet (\d+\.\d+\.\d+\.\d+)/;
$address //= '192.0.2.1';
HoodyAI::config('proxy_connect_timeout 300ms;')
    =~ s{http://provider}{http://$address:\$TEST_NGINX_RAND_PORT_1}gr
. "}\n server { listen $address:\$TEST_NGINX_RAND_PORT_1;
    access_log \$TEST_NGINX_SERVER_ROOT/logs/other.log;
    location / { return 200; }"
--- check
my $got = exchange(raw => "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
    . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n");

is($got->{status}, 502, $block->name . ' - refused');
ok(!-s server_root() . '/logs/other.log', $block->name . ' - nothing arrived');



=== TEST 29: an upstream that is resolved at run time gets no key
--- config eval
HoodyAI::config() =~ s{http://provider}{http://127.0.0.1:\$port}gr
    =~ s{hoody_ai on;}{hoody_ai on; set \$port \$TEST_NGINX_PROVIDER_PORT;}gr
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 502
--- check
is(scalar(grep { exists $_->{headers}{authorization} } provider_requests()),
    0, $block->name . ' - no key');



=== TEST 30: a variable that names an upstream block is as good as the name
--- config eval
HoodyAI::config() =~ s{http://provider}{http://\$up\$uri}gr
    =~ s{hoody_ai on;}{hoody_ai on; set \$up provider;}gr
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- provider
GET /v1/models
authorization: Bearer {key:openai}



=== TEST 31: a body of the administrator's making is refused
--- config eval
HoodyAI::config('proxy_set_body "{}";')
--- cases
502 | code=provider_unavailable



=== TEST 32: answers are not cached
--- http_config
proxy_cache_path $TEST_NGINX_SERVER_ROOT/html/cache keys_zone=c:1m;
--- config eval
HoodyAI::config('proxy_cache c;')
--- must_die
--- error_log
"proxy_cache" in location "/v1/" would keep answers, which "hoody_ai" forbids



=== TEST 33: also when that is inherited
--- http_config
proxy_cache_path $TEST_NGINX_SERVER_ROOT/html/cache keys_zone=c:1m;
proxy_cache c;
--- must_die
--- error_log
would keep answers, which "hoody_ai" forbids



=== TEST 34: or named by a variable
--- http_config
proxy_cache_path $TEST_NGINX_SERVER_ROOT/html/cache keys_zone=c:1m;
--- config eval
HoodyAI::config('set $zone c; proxy_cache $zone; proxy_cache_valid any 1h;')
--- must_die
--- error_log
would keep answers, which "hoody_ai" forbids



=== TEST 35: proxy_cache off is no cache
--- http_config
proxy_cache_path $TEST_NGINX_SERVER_ROOT/html/cache keys_zone=c:1m;
proxy_cache c;
--- config eval
HoodyAI::config('proxy_cache off;')
--- cases
200 | GET /v1/models



=== TEST 36: answers are not stored
--- config eval
HoodyAI::config('proxy_store on;')
--- must_die
--- error_log
"proxy_store" in location "/v1/" would keep answers, which "hoody_ai" forbids



=== TEST 37: nor under a name made of variables
--- config eval
HoodyAI::config('proxy_store $document_root$uri;')
--- must_die
--- error_log
"proxy_store" in location "/v1/" would keep answers, which "hoody_ai" forbids



=== TEST 38: satisfy any
--- config eval
HoodyAI::config('satisfy any; allow all;')
--- must_die
--- error_log
"satisfy any" in location "/v1/" would let requests around "hoody_ai"



=== TEST 39: satisfy any from above
--- http_config
satisfy any;
--- must_die
--- error_log
would let requests around "hoody_ai"



=== TEST 40: proxy_ignore_client_abort
--- config eval
HoodyAI::config('proxy_ignore_client_abort on;')
--- must_die
--- error_log
"proxy_ignore_client_abort on" in location "/v1/"



=== TEST 41: an exact location
--- config
location = /v1/models { hoody_ai on; proxy_pass http://provider; }
--- must_die
--- error_log
"hoody_ai on" in location "/v1/models": it needs a plain prefix location



=== TEST 42: a regex location
--- config
location ~ ^/v1/ { hoody_ai on; proxy_pass http://provider; }
--- must_die
--- error_log
it needs a plain prefix location



=== TEST 43: a named location
--- config
location @ai { hoody_ai on; proxy_pass http://provider; }
--- must_die
--- error_log
it needs a plain prefix location



=== TEST 44: an internal location
--- config
location /v1/ { internal; hoody_ai on; proxy_pass http://provider; }
--- must_die
--- error_log
it needs a plain prefix location



=== TEST 45: a nested exact location
--- config eval
HoodyAI::config() . 'location /x/v1/ { hoody_ai on; proxy_pass http://provider;
    location = /x/v1/models { hoody_ai on; proxy_pass http://provider; } }'
--- must_die
--- error_log
it needs a plain prefix location



=== TEST 46: inherited into such locations it is off
--- http_config
hoody_ai on;
hoody_ai_credential openai;
--- config
location /v1/ { proxy_pass http://provider; }
location = /exact { return 200 exact; }
location ~ ^/regex { return 200 regex; }
location /named { error_page 404 = @named; return 404; }
location @named { return 200 named; }
location /off { hoody_ai off; return 200 off; }
--- cases
200 | GET /v1/models
401 | GET /v1/models | anonymous
200 | GET /exact | anonymous | id=none | answer~exact | got=nothing
200 | GET /regex | anonymous | id=none | answer~regex | got=nothing
200 | GET /off | anonymous | id=none | answer~off | got=nothing



=== TEST 47: an unknown secret
--- config eval
HoodyAI::config() =~ s/credential openai/credential nobody/r
--- must_die
--- error_log
"hoody_ai_credential" in location "/v1/" names the unknown secret "nobody"



=== TEST 48: a secret twice
--- http_config eval
"hoody_ai_secret openai $main::folder/second.key;"
--- must_die
--- error_log
duplicate secret "openai"



=== TEST 49: parameters that make no sense
--- http_config eval
"hoody_ai_secret x $main::folder/second.key header=;"
--- must_die
--- error_log
invalid parameter "header="



=== TEST 50: a header name that would break the header
--- http_config eval
qq{hoody_ai_secret x $main::folder/second.key "header=A: b";}
--- must_die
--- error_log
invalid character in "A: b"



=== TEST 51: a scheme that would break the header
--- http_config eval
qq{hoody_ai_secret x $main::folder/second.key "scheme=Bearer x";}
--- must_die
--- error_log
invalid character in "Bearer x"



=== TEST 52: an unknown parameter of the credential
--- config eval
HoodyAI::config() =~ s/credential openai/credential openai unsafe/r
--- must_die
--- error_log
invalid parameter "unsafe"



=== TEST 53: a subrequest of another location does not carry the key out
--- config eval
HoodyAI::config('auth_request /auth; proxy_set_header X-From ai;')
. 'location = /auth { proxy_pass http://provider/v1/models; proxy_set_header X-From auth; proxy_pass_request_body off; }'
--- check
my $got = exchange(raw => "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
    . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n");
my %keys = HoodyAI::fixture_keys();
my @leaks = grep { ($_->{headers}{'x-from'} // '') eq 'auth'
    && join(' ', values %{ $_->{headers} }) =~ /\Q$keys{openai}/ }
    provider_requests();

is(scalar(@leaks), 0, $block->name . ' - no key in the subrequest');
