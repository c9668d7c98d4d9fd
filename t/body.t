# The request's body: whole in memory, checked, and sent on byte by byte as it
# came.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

our $edges = join "\n", map {
    my $size = $_;

    map { "200 | body=json:$_" } $size - 1, $size, $size + 1
} map { $_ * 1024 } 1, 4, 8, 16, 32, 64, 80, 128, 192, 256, 512, 1024;

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: every size around a buffer's end, with Content-Length
--- cases eval
$main::edges . "\n200 | body=json:3000000\n"



=== TEST 2: the same, chunked, in chunks of several sizes
--- cases eval
join "\n", map { ("$_ | chunked=1500", "$_ | chunked=70000") }
    split /\n/, $main::edges



=== TEST 3: small bodies in small chunks
--- cases
200 | body=json:100 | chunked=1
200 | body=json:1000 | chunked=1
200 | body=json:5000 | chunked=3
200 | body={} | chunked=1
200 | body={}



=== TEST 4: the same with small buffers
--- config eval
HoodyAI::config('client_body_buffer_size 1k; client_body_in_file_only on;
    client_body_in_single_buffer on; proxy_request_buffering on;')
--- cases eval
$main::edges . "\n" . join "\n",
    map { "$_ | chunked=5000" } split /\n/, $main::edges



=== TEST 5: the same unbuffered
--- config eval
HoodyAI::config('proxy_request_buffering off; client_body_buffer_size 4k;')
--- cases eval
$main::edges . "\n" . join "\n",
    map { "$_ | chunked=5000" } split /\n/, $main::edges



=== TEST 6: a large header in the same buffer as the body's beginning
--- cases eval
join "\n", map { "200 | X-Fill: " . 'x' x $_ . " | body=json:2000" }
    1 .. 3, 400, 800, 900, 950, 1000, 1024, 3000, 7000



=== TEST 7: 32 MB, and what the provider made of it
--- timeout: 30s
--- cases
200 | body=json:33554432
200 | body=json:33554432 | chunked=1000000
413 | body=json:33554433 | code=body_too_large
413 | body=json:33554433 | chunked=1000000 | code=body_too_large



=== TEST 8: hoody_ai_max_body, to the byte, instead of client_max_body_size
--- config eval
HoodyAI::config('hoody_ai_max_body 5000; client_max_body_size 100;')
--- cases
200 | body=json:4999
200 | body=json:5000
413 | body=json:5001 | code=body_too_large
200 | body=json:5000 | chunked=100
413 | body=json:5001 | chunked=100 | code=body_too_large
413 | body=json:5001 | chunked=5001 | code=body_too_large
413 | body=json:500000 | chunked=1000 | code=body_too_large
413 | Content-Length: 99999999999 | body={} | code=body_too_large
400 | Content-Length: 99999999999999999999999 | body={} | id=any
401 | body=json:5001 | x-api-key: container-nobody
404 | POST /v1/none | body=json:5001



=== TEST 9: too large in a location of a larger server limit
--- http_config
client_max_body_size 10;
hoody_ai_max_body 2000;
--- config eval
HoodyAI::config() . 'location /more/ {
    hoody_ai on;
    hoody_ai_credential openai;
    hoody_ai_max_body 3000;
    proxy_pass http://provider/v1/;
}'
--- cases
200 | body=json:2000
413 | body=json:2001 | code=body_too_large
200 | POST /more/chat/completions | body=json:3000 | got=POST /v1/chat/completions
413 | POST /more/chat/completions | body=json:3001 | code=body_too_large



=== TEST 10: no limit
--- config eval
HoodyAI::config('hoody_ai_max_body 0;')
--- cases
200 | body=json:2000000
200 | body=json:2000000 | chunked=100000



=== TEST 11: a container's share of the memory for bodies
--- http_config
hoody_ai_body_memory 1m;
--- cases
200 | body=json:262000
429 | body=json:263000 | code=rate_limited | answer~Retry-After
429 | body=json:263000 | chunked=10000 | code=rate_limited
200 | body=json:262000
200 | body=json:262000
200 | body=json:262000
200 | body=json:262000
200 | body=json:262000



=== TEST 12: an empty body is no prompt
--- cases
400 | body= | code=invalid_body
400 | body= | chunked=1 | code=invalid_body
400 | Content-Length: 0 | body= | code=invalid_body
400 | body=\x20 | code=invalid_body
400 | body=\r\n\t | code=invalid_body
400 | POST /anthropic/v1/messages | body= | code=invalid_request_error



=== TEST 13: one JSON object and nothing else
--- cases
200 | body={}
200 | body=\x20\t\r\n{"model":"m"}\x20\r\n
400 | body=[] | code=invalid_body
400 | body=[{"model":"m"}] | code=invalid_body
400 | body="model" | code=invalid_body
400 | body=1 | code=invalid_body
400 | body=null | code=invalid_body
400 | body=true | code=invalid_body
400 | body={}{} | code=invalid_body
400 | body={} x | code=invalid_body
400 | body={"model":"m"}, | code=invalid_body
400 | body={"model":"m"}\x00 | code=invalid_body
400 | body={"model":"m" | code=invalid_body
400 | body={"model":"m | code=invalid_body
400 | body={"model":"m",} | code=invalid_body
400 | body={,} | code=invalid_body
400 | body={"model"} | code=invalid_body
400 | body={model:"m"} | code=invalid_body
400 | body={'model':'m'} | code=invalid_body
400 | body={"model":"m"/**/} | code=invalid_body
400 | body={"model":"m"}//x | code=invalid_body
400 | body={"n":01} | code=invalid_body
400 | body={"n":+1} | code=invalid_body
400 | body={"n":.5} | code=invalid_body
400 | body={"n":1.} | code=invalid_body
400 | body={"n":NaN} | code=invalid_body
400 | body={"n":Infinity} | code=invalid_body
400 | body={"n":0x10} | code=invalid_body
400 | body={"n":True} | code=invalid_body
400 | body={"n":undefined} | code=invalid_body
400 | body={"a":"\\x41"} | code=invalid_body
400 | body={"a":"\\u12"} | code=invalid_body
400 | body={"a":"\x01"} | code=invalid_body
400 | body={"a":"\n"} | code=invalid_body
400 | body=model=m&x=y | code=invalid_body
200 | body={"n":-0.5e+10,"m":[1,2,[]],"o":{"p":null},"q":true}



=== TEST 14: UTF-8, without a mark in front
--- cases
200 | body={"a":"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xed\x9f\xbf \xee\x80\x80"}
200 | body={"\xc3\xa4":1,"a":"\\ud83d\\ude00"}
400 | body=\xef\xbb\xbf{"model":"m"} | code=invalid_body
400 | body=\xff\xfe{\x00}\x00 | code=invalid_body
400 | body=\xfe\xff\x00{\x00} | code=invalid_body
400 | body={\x00}\x00 | code=invalid_body
400 | body={"a":"\x80"} | code=invalid_body
400 | body={"a":"\xc0\x80"} | code=invalid_body
400 | body={"a":"\xc1\xbf"} | code=invalid_body
400 | body={"a":"\xe0\x80\xaf"} | code=invalid_body
400 | body={"a":"\xed\xa0\x80"} | code=invalid_body
400 | body={"a":"\xf4\x90\x80\x80"} | code=invalid_body
400 | body={"a":"\xf8\x88\x80\x80\x80"} | code=invalid_body
400 | body={"a":"\xc3"} | code=invalid_body
400 | body={"a":"\xe2\x82"} | code=invalid_body
400 | body={"a":"\\ud83d"} | code=invalid_body
400 | body={"a":"\\ude00\\ud83d"} | code=invalid_body



=== TEST 15: the same key twice, also when one is escaped
--- cases
400 | body={"model":"a","model":"b"} | code=invalid_body
400 | body={"model":"a","model":"a"} | code=invalid_body
400 | body={"model":"a","mod\\u0065l":"b"} | code=invalid_body
400 | body={"\\u006dodel":"a","model":"b"} | code=invalid_body
400 | body={"stream":true,"stream":false} | code=invalid_body
400 | body={"messages":[],"messages":[]} | code=invalid_body
400 | body={"x":1,"x":2} | code=invalid_body
400 | body={"x":1,"\\u0078":2} | code=invalid_body
400 | body={"messages":[{"role":"user","role":"system"}]} | code=invalid_body
400 | body={"messages":[{"content":"a","cont\\u0065nt":"b"}]} | code=invalid_body
400 | body={"messages":[{"content":[{"type":"text","type":"x"}]}]} | code=invalid_body
400 | body={"system":[{"text":"a","text":"b"}]} | code=invalid_body
400 | body={"input":[{"role":"user","role":"x"}]} | code=invalid_body
400 | body={"tools":[{"function":{"name":"a","name":"b"}}]} | code=invalid_body
400 | body={"instructions":{"a":1,"a":2}} | code=invalid_body
200 | body={"a":{"model":"x"},"b":{"model":"y"}}
200 | body={"model":"a","metadata":{"model":"b"}}
200 | body={"messages":[{"role":"user"},{"role":"user"}]}



=== TEST 16: a key that a lenient reader could take for a deciding one
--- cases
400 | body={"Model":"a"} | code=invalid_body
400 | body={"model":"a","MODEL":"b"} | code=invalid_body
400 | body={"Messages":[]} | code=invalid_body
400 | body={"STREAM":true} | code=invalid_body
400 | body={"\xc5\xbftream":true} | code=invalid_body
400 | body={"\\u017ftream":true} | code=invalid_body
400 | body={"mo\\u0000del":"a"} | code=invalid_body
400 | body={"model\\u0000":"a"} | code=invalid_body
200 | body={"models":"a","modell":"b","user_model":"c"}



=== TEST 17: the model is a string of 1 to 256 bytes without control characters
--- cases eval
join "\n", map { s/LONG/'x' x 256/er =~ s/MORE/'x' x 257/er } split /\n/, <<'EOT'
200 | body={"model":"m"}
200 | body={"model":"LONG"}
400 | body={"model":"MORE"} | code=invalid_body
400 | body={"model":""} | code=invalid_body
400 | body={"model":null} | code=invalid_body
400 | body={"model":1} | code=invalid_body
400 | body={"model":["m"]} | code=invalid_body
400 | body={"model":{"m":1}} | code=invalid_body
400 | body={"model":true} | code=invalid_body
400 | body={"model":"a\\u0000b"} | code=invalid_body
400 | body={"model":"a\\nb"} | code=invalid_body
400 | body={"model":"a\\u001fb"} | code=invalid_body
400 | body={"model":"a\\u007fb"} | code=invalid_body
200 | body={"model":"\\u0061"}
EOT



=== TEST 18: nested 128 deep, not 129
--- cases eval
sub nest {
    my ($n) = @_;

    # the object itself is the first level
    return '{"a":' . '[' x ($n - 1) . ']' x ($n - 1) . '}';
}
join "\n", '200 | body=' . nest(127), '200 | body=' . nest(128),
    '400 | code=invalid_body | body=' . nest(129),
    '400 | code=invalid_body | body=' . nest(100000),
    '400 | code=invalid_body | body=' . '{"a":' x 200000



=== TEST 19: many keys, long strings
--- cases eval
join "\n",
    '200 | body={' . join(',', map { "\"k$_\":$_" } 1 .. 20000) . '}',
    '400 | code=invalid_body | body={'
        . join(',', map { "\"k$_\":$_" } 1 .. 20000, 7) . '}',
    '200 | body={"' . 'k' x 300000 . '":"' . 'v' x 300000 . '"}'



=== TEST 20: an encoded body is refused, whatever is in it
--- cases
415 | Content-Encoding: gzip | code=unsupported_encoding
415 | Content-Encoding: deflate | code=unsupported_encoding
415 | Content-Encoding: br | code=unsupported_encoding
415 | Content-Encoding: zstd | code=unsupported_encoding
415 | Content-Encoding: identity, gzip | code=unsupported_encoding
415 | Content-Encoding: identity | Content-Encoding: gzip | code=unsupported_encoding
415 | Content-Encoding: | code=unsupported_encoding
415 | content-encoding: GZIP | code=unsupported_encoding
415 | POST /v1/audio/transcriptions | Content-Encoding: gzip | Content-Type: multipart/form-data; boundary=x | code=unsupported_encoding
200 | Content-Encoding: identity
200 | Content-Encoding: Identity



=== TEST 21: a form passes unread where a form is expected
--- cases
200 | POST /v1/audio/transcriptions | Content-Type: multipart/form-data; boundary=x | body=--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\x00\xff\xfe{{\r\n--x--\r\n
200 | POST /v1/audio/transcriptions | Content-Type: Multipart/Form-Data; boundary=x | body=--x--\r\n
200 | POST /v1/images/edits | Content-Type: multipart/form-data; boundary=x | body=bytes:200000
200 | POST /v1/images/edits | Content-Type: multipart/form-data; boundary=x | body=bytes:200000 | chunked=7000
400 | POST /v1/chat/completions | Content-Type: multipart/form-data; boundary=x | body=--x--\r\n | code=invalid_body
400 | POST /v1/embeddings | Content-Type: multipart/form-data; boundary=x | body=--x--\r\n | code=invalid_body
400 | POST /v1/audio/transcriptions | Content-Type: multipart/form-dataX | body=--x--\r\n | code=invalid_body
400 | POST /v1/audio/speech | Content-Type: text/plain | body=hello | code=invalid_body
400 | POST /v1/audio/speech | Content-Type: application/octet-stream | body=\x00\x01 | code=invalid_body
200 | POST /v1/audio/speech | Content-Type: text/plain | body={"model":"m","input":"x","voice":"v"}



=== TEST 22: the type that a caller claims does not change the check
--- cases
200 | Content-Type: text/plain | body={"model":"m"}
200 | Content-Type: application/json; charset=utf-8 | body={"model":"m"}
400 | Content-Type: application/x-www-form-urlencoded | body=model=m | code=invalid_body
400 | Content-Type: text/plain | body={"model":"a","model":"b"} | code=invalid_body



=== TEST 23: a route without a body takes none
--- cases
200 | GET /v1/models
200 | GET /v1/models | Content-Length: 0
400 | GET /v1/models | body={} | code=invalid_body
400 | GET /v1/models | body=x | chunked=1 | code=invalid_body
400 | GET /v1/models/gpt-4o | body={"model":"m"} | code=invalid_body
400 | GET /v1/models | body=json:100000 | code=invalid_body



=== TEST 24: lengths that contradict each other never pass
--- cases
400 | Transfer-Encoding: chunked | Content-Length: 2 | body={} | id=any
400|501 | Transfer-Encoding: identity | body={} | id=any
400|501 | Transfer-Encoding: gzip, chunked | body={} | id=any
400 | Content-Length: 2 | Content-Length: 3 | body={} | id=any
400 | Content-Length: -1 | body={} | id=any
400 | Content-Length: 2x | body={} | id=any
400|501 | Transfer-Encoding: chunked | Transfer-Encoding: chunked | body={} | id=any



=== TEST 25: broken chunks
--- cases
400 | raw=POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: container-dev-env\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n | code=invalid_body
400 | raw=POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: container-dev-env\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n | code=invalid_body
413|400 | raw=POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: container-dev-env\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n



=== TEST 26: chunk extensions and trailers are not passed on
--- raw_request eval
"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
. "x-api-key: container-dev-env\r\nTransfer-Encoding: chunked\r\n\r\n"
. "2;ext=1\r\n{}\r\n0\r\nx-trailer: 1\r\nAuthorization: Bearer sk-x\r\n\r\n"
--- provider
POST /v1/chat/completions
!transfer-encoding
!x-trailer
content-length: 2
authorization: Bearer {key:openai}
body {}



=== TEST 27: a chunked body goes on with a length
--- request eval
["POST /v1/chat/completions\n7\r\n{\"model\r\n6\r\n\":\"m\"}\r\n0\r\n\r\n"]
--- more_headers
Authorization: Bearer container-dev-env
Transfer-Encoding: chunked
--- provider
POST /v1/chat/completions
!transfer-encoding
content-length: 13
body {"model":"m"}



=== TEST 28: a connection serves on after bodies of both framings
--- pipelined_requests eval
["POST /v1/chat/completions\n{\"model\":\"a\"}",
 "POST /v1/chat/completions\n2\r\n{}\r\n0\r\n\r\n",
 "GET /v1/models",
 "POST /v1/chat/completions\n" . HoodyAI::body_of('json:100000'),
 "GET /v1/models"]
--- more_headers eval
my $own = "Authorization: Bearer container-dev-env\n";
[$own, $own . "Transfer-Encoding: chunked\n", $own, $own, $own]
--- error_code eval
[200, 200, 200, 200, 200]
--- provider
POST /v1/chat/completions
body {"model":"a"}
POST /v1/chat/completions
body {}
GET /v1/models
POST /v1/chat/completions
content-length: 100000
GET /v1/models



=== TEST 29: Expect: 100-continue
--- check
my $body = HoodyAI::body_of('json:50000');
my $head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    . "Connection: close\r\nExpect: 100-continue\r\nContent-Length: 50000\r\n";

my $got = exchange(raw => [
    $head . "x-api-key: container-dev-env\r\n\r\n", $body ], delay => 0.2);

like($got->{raw}, qr{^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK},
    $block->name . ' - the caller is asked for the body');

my ($request) = provider_requests();

is($request->{body_length}, 50000, $block->name . ' - all of it arrives');
is($request->{headers}{expect}, undef, $block->name . ' - without Expect');

$got = exchange(raw => $head . "x-api-key: container-nobody\r\n\r\n");
is($got->{status}, 401, $block->name . ' - not of a stranger');

$got = exchange(raw => $head . "x-api-key: container-dev-env\r\n"
    . "Content-Encoding: gzip\r\n\r\n");
is($got->{status}, 415, $block->name . ' - nor when it would be refused');
is(scalar(provider_requests()), 0, $block->name . ' - nothing was sent');



=== TEST 30: a slow body
--- check
my $body = HoodyAI::body_of('json:3000');
my @parts = unpack('(a500)*', $body);

for my $framing ('length', 'chunked') {
    my $head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n"
        . ($framing eq 'length' ? "Content-Length: 3000\r\n\r\n"
                                : "Transfer-Encoding: chunked\r\n\r\n");
    my @sent = $framing eq 'length' ? @parts
        : ((map { ("1f4\r\n" . substr($_, 0, 17), substr($_, 17) . "\r\n") }
            @parts), "0\r\n\r\n");
    my $got = exchange(raw => [ $head, @sent ], delay => 0.02);
    my ($request) = provider_requests();

    is($got->{status}, 200, $block->name . " - $framing");
    is($request->{body}, $body, $block->name . " - $framing, the bytes");
}



=== TEST 31: a body that never ends reaches nobody
--- config eval
HoodyAI::config('client_body_timeout 300ms;')
--- check
my $begin = Time::HiRes::time();
my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    . "x-api-key: container-dev-env\r\nContent-Length: 100\r\n\r\n"
    . '{"model":"m"');
my $took = Time::HiRes::time() - $begin;

ok($got->{closed} && $took > 0.29 && $took < 2,
    $block->name . ' - the connection is closed in time');
ok(!defined $got->{status} || $got->{status} == 408,
    $block->name . ' - no answer of a provider');
is(scalar(provider_requests()), 0, $block->name . ' - nothing was sent');
is(join(', ', HoodyAI::run_case(HoodyAI::parse_case('200', {}))), '',
    $block->name . ' - the next request is served');



=== TEST 32: what the provider keeps is refused by reference, too
--- cases
400 | POST /v1/responses | body={"model":"m","input":"x","previous_response_id":"resp_1"} | code=invalid_body
400 | POST /v1/responses | body={"model":"m","input":"x","previous_response_id":null} | code=invalid_body
400 | POST /v1/responses | body={"model":"m","input":"x","conversation":"conv_1"} | code=invalid_body
400 | POST /v1/responses | body={"model":"m","input":"x","conversation":{"id":"conv_1"}} | code=invalid_body
400 | POST /v1/responses | body={"model":"m","prompt":{"id":"pmpt_1"}} | code=invalid_body
400 | POST /v1/responses | body={"model":"m","input":[{"content":[{"type":"input_file","file_id":"file-1"}]}]} | code=invalid_body
400 | POST /v1/chat/completions | body={"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]} | code=invalid_body
400 | POST /v1/chat/completions | body={"model":"m","x":{"file\\u005fid":"file-1"}} | code=invalid_body
400 | POST /anthropic/v1/messages | body={"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]} | code=invalid_request_error
200 | POST /v1/completions | body={"model":"m","prompt":"conversation previous_response_id file_id"}
200 | POST /v1/chat/completions | body={"model":"m","messages":[{"role":"user","content":"\\"file_id\\":1"}]}



=== TEST 33: and allowed where the location says so
--- config eval
HoodyAI::config('hoody_ai_stored on;')
--- cases
200 | POST /v1/responses | body={"model":"m","input":"x","previous_response_id":"resp_1"}
200 | POST /v1/responses | body={"model":"m","input":"x","conversation":"conv_1"}
200 | POST /v1/responses | body={"model":"m","input":"x","prompt":{"id":"pmpt_1"}}
200 | POST /v1/chat/completions | body={"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}



=== TEST 34: an empty POST cancels, where there is no prompt
--- config eval
HoodyAI::config('hoody_ai_stored on;')
--- cases
200|404 | POST /v1/responses/resp_1/cancel | body= | got=POST /v1/responses/resp_1/cancel
200|404 | POST /v1/batches/batch_1/cancel | Content-Length: 0 | body= | got=POST /v1/batches/batch_1/cancel
400 | POST /v1/responses | body= | code=invalid_body
400 | POST /v1/batches/batch_1/cancel | body=x | code=invalid_body



=== TEST 35: a large body is scanned in turns
--- timeout: 20s
--- cases eval
join "\n", map { "200 | body=json:$_" } 262143, 262144, 262145, 524288, 600001,
    8000000
