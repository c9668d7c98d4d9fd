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

    for (1 .. 60) {
        @found = grep { $_->{type} eq $type }
            map { +{ @{ $_->[1] } } } @{ redis("XRANGE $key - +") };
        last if @found >= $n;
        select(undef, undef, undef, 0.05);
    }

    return @found;
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

for (1 .. 40) {
    my @e = main::events($_[0], 'denied', 1);

    $count = 0;
    $count += $_->{count} for @e;
    last if $count == 3;
    select(undef, undef, undef, 0.05);
}

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
