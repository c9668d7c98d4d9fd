# Rules: what the engine is asked, and what follows from its answers, above all
# from broken ones.  The engine is a script: the model says what it answers.

use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Test::Nginx::Socket 'no_plan';
use HoodyAI;
use FakeEngine;

our $port;
our $ask = '{"epoch":"e1","ask":"body"}';

# Offset 1 is behind the brace.
my %body = (
    none => sub { answer(status => 204) },
    edit => sub { edits([1, 0, '"a":1,']) },
    current => sub { answer(type => 'application/vnd.hoody.splice',
        headers => ['X-Hoody-Epoch: e1'], body => wire([1, 0, '"a":1,'])) },
    front => sub { edits([0, 0, ' ']) },
    end => sub { edits([length $_[0]{body}, 0, "\n"]) },
    empty => sub { edits() },
    two => sub { edits([1, 0, '"a":1,'], [1, 0, '"b":2,'],
        [length($_[0]{body}) - 1, 0, ',"c":3']) },
    cuts => sub { edits(cuts($_[0]{body})) },
    drop => sub { edits([1, 15, '"model":"x/other",']) },
    all => sub { edits([0, length $_[0]{body}, '{}']) },
    stream => sub { edits([1, 0, '"stream":true,']) },
    stored => sub { edits([1, 0, '"previous_response_id":"r",']) },
    model => sub { answer(type => 'application/json',
        body => '{"model":"y/other","x":1}') },
    json => sub { answer(type => 'application/json; charset=utf-8',
        body => '{"model":"j","new":[1,2]}') },
    upper => sub { answer(type => 'APPLICATION/JSON', body => '{"x":1}') },
    pieces => sub { answer(type => 'application/json', piece => 1,
        body => '{"model":"j","new":[1,2]}', pad => 3) },
    nolength => sub { answer(type => 'application/json', length => '',
        body => '{"x":"' . 'y' x 50000 . '"}') },

    # no answer that can be used
    stale => sub { answer(type => 'application/vnd.hoody.splice',
        headers => ['X-Hoody-Epoch: e0'], body => wire([1, 0, '"a":1,'])) },
    stalenone => sub { answer(status => 204,
        headers => ['X-Hoody-Epoch: e0']) },
    range => sub { edits([1000000, 0, 'x']) },
    beyond => sub { edits([length($_[0]{body}) - 1, 2, '']) },
    overlap => sub { edits([1, 10, ''], [5, 1, '']) },
    unsorted => sub { edits([1, 0, ' '], [0, 0, ' ']) },
    zeros => sub { answer(type => 'application/vnd.hoody.splice',
        body => "013 0 1\n ") },
    sign => sub { answer(type => 'application/vnd.hoody.splice',
        body => "+13 0 1\n ") },
    huge => sub { answer(type => 'application/vnd.hoody.splice',
        body => "99999999999999999999999 0 1\n ") },
    short => sub { answer(type => 'application/vnd.hoody.splice',
        body => "13 0 5\n ") },
    trail => sub { answer(type => 'application/vnd.hoody.splice',
        body => "13 0 1\n x") },
    cutrecord => sub { answer(type => 'application/vnd.hoody.splice',
        body => '13 0') },
    binary => sub { answer(type => 'application/vnd.hoody.splice',
        body => join('', map { chr } 0 .. 255)) },
    breaks => sub { edits([1, 0, '"model":"twice",']) },
    nojson => sub { edits([0, 1, '']) },
    array => sub { answer(type => 'application/json', body => '[1]') },
    nothing => sub { answer(type => 'application/json', body => '') },
    text => sub { answer(type => 'text/plain', body => '{}') },
    notype => sub { answer(body => '{}') },
    planned => sub { plan($ask) },
    many => sub { answer(type => 'application/vnd.hoody.splice',
        body => "0 0 9000000\n" . ' ' x 9000000) },
    manyunknown => sub { answer(type => 'application/vnd.hoody.splice',
        body => "0 0 9000000\n" . ' ' x 9000000, length => '') },
    big => sub { answer(type => 'application/json',
        body => '{"x":"' . 'y' x 300000 . '"}') },
    bigbad => sub { answer(type => 'application/json',
        body => '{"x":"' . 'y' x 600000 . '"},') },
    large => sub { answer(type => 'application/json',
        body => '{"x":"' . 'y' x 40000 . '"}') },
    longer => sub { answer(type => 'application/json', length => 2000,
        body => '{"model":"j"}') },
    shorter => sub { answer(type => 'application/json', length => 5,
        body => '{"model":"j"}') },
    created => sub { answer(status => 201, type => 'application/json',
        body => '{}') },
    redirect => sub { answer(status => 302, headers => ['Location: /x']) },
    accel => sub { answer(type => 'text/plain', body => 'x',
        headers => ['X-Accel-Redirect: /v1/models']) },
    missing => sub { answer(status => 404, type => 'application/json',
        body => '{"error":{"message":"no"}}') },
    broken => sub { answer(status => 500, type => 'application/json',
        body => '{}') },
    loading => sub { answer(status => 503, type => 'application/json',
        body => '{}') },
    status => sub { answer(status => 'abc') },
    garbage => sub { 'HTTP/1.1 200 OK' . "\r\n\r\n" . 'x' x 500 },
    close => sub { undef },
    half => sub { half($_[0], edits([1, 0, '"a":1,'])) },
    header => sub { half($_[0], answer(status => 204), 20) },
    noend => sub { unended($_[0]) },
    never => sub { sleep 5; undef },
    slow => sub { slowly($_[0], edits([1, 0, '"a":1,']), 0.002) },
    toolate => sub { slowly($_[0], edits([1, 0, '"a":1,']), 0.2) },
    other => sub { record(6, "Status: 200\r\n\r\n{}") . record(9, 'x') },
    stderr => sub { record(7, 'oops') . edits([1, 0, '"a":1,']) },

    # refusals
    blocked => sub { refusal(403,
        '{"error":{"type":"x","message":"Not \"that\", \u00e9\\\\.\n"}}') },
    spaced => sub { refusal(403, ' { "a" : [ "error", {"error":1} ] , '
        . '"error" : { "b":"}", "message" : "really not" } } ') },
    plain => sub { refusal(403, '{"why":"because"}') },
    notext => sub { refusal(403, '{"error":{"message":7}}') },
    notjson => sub { refusal(403, 'no') },
    noreason => sub { refusal(403, '') },
    longreason => sub { refusal(403, '{"error":{"message":"'
        . 'x' x 70000 . '"}}') },
    shape => sub { refusal(400, '{"error":{"code":"invalid_body"}}') },
    bad => sub { refusal(400, '{"error":{"code":"other"}}') },
);

# Edits in the string "m" of a body, as its "seed" says: what is kept, taken
# away and added has the lengths around which pieces are copied or not.
sub cuts {
    my ($body) = @_;
    my ($x) = $body =~ /"seed":(\d+)/;
    my $at = index($body, '"m":"') + 5;
    my $end = length($body) - 2;
    my $one = sub {
        $x = ($x * 1103515245 + 12345) & 0x7fffffff;
        return $_[($x >> 8) % @_];
    };
    my @edits;

    for my $letter ('A' .. 'Z') {
        $at += $one->(0, 1, 500, 1023 .. 1025, 4096);
        my $taken = $one->(0, 0, 1, 700, 1500);
        my $added = $one->(0, 1, 60, 1023 .. 1025, 3000);

        last if $at + $taken > $end;
        push @edits, [$at, $taken, $letter x $added] if $taken || $added;
        $at += $taken;
    }

    return @edits;
}

sub half {
    my ($q, $bytes, $n) = @_;

    syswrite($q->{socket}, substr($bytes, 0, $n // length($bytes) - 20));
    return undef;
}

sub unended {
    my ($q) = @_;

    syswrite($q->{socket}, record(6, "Status: 200\r\nContent-Type: "
        . "application/vnd.hoody.splice\r\n\r\n13 0 1\n ") . record(6, ''));
    return undef;
}

sub slowly {
    my ($q, $bytes, $pause) = @_;

    for (split //, $bytes) {
        syswrite($q->{socket}, $_) // return;
        select(undef, undef, undef, $pause);
    }

    return '';
}

$port = start_engine(sub {
    my ($q) = @_;
    my ($name) = $q->{params}{HOODY_MODEL} =~ m{([^/]*)\z};

    if ($q->{ask} eq 'plan') {
        return refusal(403, '{"error":{"message":"not in a form"}}')
            if $q->{params}{HOODY_BODY} eq 'opaque';
        return plan($ask);
    }

    return ($body{$name} // $body{edit})->($q);
});

our $redis = <<'EOR';
HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 number 7 addresses 127.0.0.1 tags "prod eu"
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
SET hoody:{t}:rules:epoch e1
EOR

sub rules_config {
    my ($parameters, $more) = @_;

    return HoodyAI::config('hoody_ai_rules /rules ' . ($parameters // 'timeout=2s')
        . ';' . ($more // '')) . <<"EOC";
        location = /rules {
            internal;
            include $ENV{HAI_ROOT}/conf/hoody_ai_rules_params;
            fastcgi_pass engine;
            fastcgi_keep_conn on;
            fastcgi_next_upstream error non_idempotent;
        }
EOC
}

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('redis', $redis) if !defined $block->redis;
    $block->set_value('config', rules_config()) if !defined $block->config;
    $block->set_value('http_config', ($block->http_config // '') . "
        upstream engine { server 127.0.0.1:$port max_fails=0; keepalive 2; }");
});

# a body of just n bytes, and what becomes of it
sub sized {
    my ($n, $more) = @_;
    my $body = body_of("json:$n");

    return "200 | body=json:$n" . ($more // '') . " | sent={\"a\":1,"
        . substr($body, 1);
}

# the parameters of the last question but one, the plan, and of the last
sub last_questions {
    my @all = questions();

    return map { my $q = $_; +{ %{ $q->{params} }, size => $q->{size},
        sha256 => $q->{sha256}, connection => $q->{connection} } } @all;
}

run_tests();

__DATA__

=== TEST 1: answers to a body
--- cases
200 | body={"model":"none","m":[]}
200 | body={"model":"edit","m":[]} | sent={"a":1,"model":"edit","m":[]}
200 | body={"model":"current","m":[]} | sent={"a":1,"model":"current","m":[]}
200 | body={"model":"front","m":[]} | sent=\x20{"model":"front","m":[]}
200 | body={"model":"end","m":[]} | sent={"model":"end","m":[]}\n
200 | body={"model":"empty","m":[]}
200 | body={"model":"two","m":[]} | sent={"a":1,"b":2,"model":"two","m":[],"c":3}
200 | body={"model":"drop","m":[]} | sent={"model":"x/other","m":[]}
200 | body={"model":"all","m":[]} | sent={}
200 | body={"model":"json","m":[]} | sent={"model":"j","new":[1,2]}
200 | body={"model":"upper","m":[]} | sent={"x":1}
200 | body={"model":"pieces","m":[]} | sent={"model":"j","new":[1,2]}
200 | body={"model":"slow"} | chunked=3 | sent={"a":1,"model":"slow"}
200 | body={"model":"stderr"} | sent={"a":1,"model":"stderr"}
200 | body={"model":"stream","m":[]} | sent={"stream":true,"model":"stream","m":[]} | answer~text/event-stream
400 | body={"model":"stored"} | code=invalid_body



=== TEST 2: answers that cannot be used
--- cases eval
CORE::join "\n", map { "503 | body={\"model\":\"$_\",\"m\":[]} | code=rules_unavailable"
    . " | answer~Retry-After: 1" } qw(stale stalenone range beyond overlap unsorted zeros sign
    huge short trail cutrecord binary breaks nojson array nothing text notype
    planned many manyunknown bigbad longer created redirect accel missing broken
    loading status garbage close half header noend never toolate other
    shorter notjson noreason longreason bad)
--- timeout: 20s



=== TEST 3: they do not pass, or do when that is wanted
--- config eval
main::rules_config('on_error=pass timeout=500ms')
--- cases eval
CORE::join "\n", map { "200 | body={\"model\":\"$_\",\"m\":[]}" }
    qw(range beyond overlap unsorted binary breaks nojson bigbad array nothing text
    notype many longer created accel broken loading status garbage close half
    header noend never toolate notjson)
--- timeout: 20s
--- error_log
goes on without rules: rules_answer



=== TEST 4: a rule that refuses is not passed over
--- config eval
main::rules_config('on_error=pass timeout=2s')
--- cases
403 | body={"model":"blocked"} | code=blocked_by_rule
400 | body={"model":"shape"} | code=invalid_body



=== TEST 5: refusals
--- cases
403 | body={"model":"blocked"} | code=blocked_by_rule | answer~"message":"Not \\"that\\", \\u00e9\\\\\.\\n","type":"permission_error"
403 | POST /anthropic/v1/messages | x-api-key: container-dev-env | body={"model":"blocked"} | code=permission_error | answer~"error":\{"type":"permission_error","message":"Not
403 | body={"model":"spaced"} | code=blocked_by_rule | answer~"message":"really not"
403 | body={"model":"plain"} | answer~\r\n\r\n\{"why":"because"\}
403 | body={"model":"notext"} | answer~\{"error":\{"message":7\}\}
400 | body={"model":"shape"} | code=invalid_body



=== TEST 6: what the engine is asked
--- config eval
main::rules_config(undef, 'client_body_buffer_size 1k;')
--- check
my $key = (HoodyAI::fixture_keys())[1];
my $body = '{"messages":[],"model":"openai/m","x":"' . 'y' x 300000 . '"}';

questions();
for my $how ('Content-Length: ' . length($body) . "\r\n\r\n$body",
    "Transfer-Encoding: chunked\r\n\r\n" . join('', map {
        sprintf("%x\r\n%s\r\n", length, $_) } unpack('(a7777)*', $body))
    . "0\r\n\r\n")
{
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: h\r\nConnection: close\r\nCookie: crumb\r\n"
        . "Authorization: Bearer container-dev-env\r\nX-Secret: crumb\r\n"
        . "Content-Type: application/json\r\nUser-Agent: crumb\r\n$how");
    my @q = main::last_questions();

    is($got->{status}, 200, 'asked and sent');
    is(scalar(@q), 2, 'two questions');

    my %plan = (HOODY_ASK => 'plan', HOODY_CONTAINER => 'dev-env',
        HOODY_CONTAINER_ID => '0123456789abcdef01234567',
        HOODY_TAGS => 'prod eu', HOODY_API => 'openai.chat',
        HOODY_BODY => 'json', HOODY_MODEL => 'openai/m',
        HOODY_REQUEST_ID => (map { $_->[1] } grep { $_->[0] eq 'X-Request-Id' }
            @{ $got->{headers} })[0],
        GATEWAY_INTERFACE => 'CGI/1.1', REQUEST_METHOD => 'POST',
        SERVER_PROTOCOL => 'HTTP/1.1', SCRIPT_NAME => '/rules',
        SERVER_SOFTWARE => $q[0]{SERVER_SOFTWARE}, QUERY_STRING => '',
        CONTENT_TYPE => 'application/json', CONTENT_LENGTH => 0, size => 0,
        sha256 => Digest::SHA::sha256_hex(''),
        connection => $q[0]{connection});

    is_deeply($q[0], \%plan, 'the plan is asked for') or diag(explain($q[0]));
    is_deeply($q[1], { %plan, HOODY_ASK => 'body', size => length $body,
        CONTENT_LENGTH => length $body,
        sha256 => Digest::SHA::sha256_hex($body) }, 'the body is shown')
        or diag(explain($q[1]));

    # the plan is kept
    exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n$how");
    is(scalar(main::last_questions()), 1, 'the plan is kept');
    provider_requests();
    HoodyAI::redis('SET hoody:{' . $block->hoody_server . '}:rules:epoch e1');
}



=== TEST 7: sizes around the borders of buffers
--- config eval
main::rules_config(undef, 'client_body_buffer_size 64k;')
--- cases eval
CORE::join "\n", map { main::sized($_) } 100, map { ($_ - 1, $_, $_ + 1) }
    1024, 4096, 32768, 65528, 65535, 65536, 98304, 131072, 262144, 524288,
    3000000



=== TEST 8: chunked, sizes around the borders
--- cases eval
CORE::join "\n", (map { main::sized(300, " | chunked=$_") } 1 .. 3, 100),
    map { my $c = $_; map { main::sized($_, " | chunked=$c") }
        65535 .. 65537, 262143 .. 262145, 700000 } 4096, 65536, 300000



=== TEST 9: large bodies replaced, memory bounded
--- http_config
hoody_ai_body_memory 1m;
--- cases eval
CORE::join "\n", map { main::sized(100000),
    '429 | body={"model":"big"} | code=rate_limited' } 1 .. 3



=== TEST 10: and another one fits
--- http_config
hoody_ai_body_memory 1m;
--- cases
200 | body={"model":"large"} | got=POST /v1/chat/completions



=== TEST 11: hoody_ai_max_body bounds a replacement
--- config eval
main::rules_config(undef, 'hoody_ai_max_body 20000;')
--- cases
503 | body={"model":"large"} | code=rules_unavailable
200 | body={"model":"json"} | sent={"model":"j","new":[1,2]}



=== TEST 12: the model after the rules counts, without its prefix it goes out
--- config eval
main::rules_config(undef, 'hoody_ai_model_prefix strip;
    add_header X-Model $hoody_ai_model always;')
--- cases
200 | body={"model":"drop","m":[]} | sent={"model":"other","m":[]} | answer~X-Model: x/other
200 | body={"model":"model"} | sent={"model":"other","x":1} | answer~X-Model: y/other
200 | body={"model":"a/b/none","m":[]} | sent={"model":"b/none","m":[]} | answer~X-Model: a/b/none
200 | body={"model":"x/edit","m":[]} | sent={"a":1,"model":"edit","m":[]} | answer~X-Model: x/edit



=== TEST 13: the credential is chosen after the rules
--- http_config
map $hoody_ai_model $chosen {
    volatile;
    default nothing;
    ~^x/ openai;
}
--- config eval
main::rules_config(undef, '') =~ s/hoody_ai_credential openai/hoody_ai_credential \$chosen/r
--- cases
200 | body={"model":"drop","m":[]} | sent={"model":"x/other","m":[]}
404 | body={"model":"none","m":[]} | code=unknown_route



=== TEST 14: how rules see each route
--- config eval
main::rules_config(undef, 'hoody_ai_stored on;')
--- check
my @cases = (
    [ 'GET /v1/models', '', 200 ],
    [ 'GET /v1/models/gpt-4o', '', 200 ],
    [ 'GET /v1/chat/completions', '', 200 ],
    [ 'DELETE /v1/responses/r1', '', 200 ],
    [ 'POST /v1/responses/r1/cancel', '', 200 ],
    [ 'POST /v1/responses/r1/cancel', '{"model":"none"}', 403, 'opaque',
      'openai.responses' ],
    [ 'GET /v1/files', '', 403, 'opaque', 'openai.files' ],
    [ 'DELETE /v1/files/f', '', 403, 'opaque', 'openai.files' ],
    [ 'POST /v1/files', '', 403, 'opaque', 'openai.files' ],
    [ 'POST /v1/files', 'form', 403, 'opaque', 'openai.files' ],
    [ 'POST /v1/batches', '{"model":"none"}', 403, 'opaque',
      'openai.batches' ],
    [ 'POST /v1/images/generations', '{"model":"none"}', 200, 'json',
      'openai.images' ],
    [ 'POST /v1/images/edits', 'form', 403, 'opaque', 'openai.images' ],
    [ 'POST /v1/audio/speech', '{"model":"none"}', 200, 'json',
      'openai.audio' ],
    [ 'POST /v1/audio/transcriptions', 'form', 403, 'opaque',
      'openai.audio' ],
    [ 'POST /v1/embeddings', '{"model":"none"}', 200, 'json',
      'openai.embeddings' ],
    [ 'POST /v1/moderations', '{"model":"none"}', 200, 'json',
      'openai.moderations' ],
    [ 'POST /v1/completions', '{"model":"none"}', 200, 'json',
      'openai.completions' ],
    [ 'POST /v1/responses', '{"model":"none"}', 200, 'json',
      'openai.responses' ],
    [ 'POST /v1/responses', '{"model":"none","prompt":{"id":"p"}}', 403,
      'opaque', 'openai.responses' ],
    [ 'POST /v1/responses', '{"model":"a/none","prompt":"p"}', 200, 'json',
      'openai.responses' ],
    [ 'POST /anthropic/v1/messages', '{"model":"none"}', 200, 'json',
      'anthropic.messages' ],
    [ 'POST /anthropic/v1/messages/count_tokens', '{"model":"a/none"}', 200,
      'json', 'anthropic.messages' ],
    [ 'GET /anthropic/v1/messages/batches', '', 403, 'opaque',
      'anthropic.batches' ],
);

questions();

for my $case (@cases) {
    my ($line, $body, $status, $kind, $api) = @$case;
    my $type = 'application/json';

    if ($body eq 'form') {
        $type = 'multipart/form-data; boundary=b';
        $body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n"
            . "x\r\n--b--\r\n";
    }

    my $got = exchange(raw => "$line HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n"
        . "Content-Type: $type\r\nContent-Length: " . length($body)
        . "\r\n\r\n$body");
    my @q = main::last_questions();

    is($got->{status} == 403 ? 403 : 200, $status, "$line: $status")
        or diag($got->{raw});
    like($got->{raw}, qr/not in a form/, "$line: the rule's words")
        if $status == 403;

    if ($kind) {
        is($q[0]{HOODY_BODY}, $kind, "$line: $kind");
        is($q[0]{HOODY_API}, $api, "$line: $api");
        is($q[0]{HOODY_ASK}, 'plan', "$line: a plan");
        is(scalar(@q), $kind eq 'json' ? 2 : 1, "$line: questions");
    } else {
        is(scalar(@q), 0, "$line: nothing is asked");
    }
}

provider_requests();



=== TEST 15: one byte a packet, from the caller and from the engine
--- check
my $body = '{"model":"slow"}';
my $got = exchange(raw => [ map { $_ } split //,
    "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
    . "x-api-key: container-dev-env\r\nContent-Length: " . length($body)
    . "\r\n\r\n$body" ], delay => 0.001);

is($got->{status}, 200, 'sent');
is((provider_requests())[-1]{body}, '{"a":1,"model":"slow"}', 'edited');



=== TEST 16: pieces of all lengths
--- config eval
main::rules_config(undef, 'client_body_buffer_size 4k;')
--- check
for my $seed (1 .. 100) {
    my $body = "{\"model\":\"cuts\",\"seed\":$seed,\"m\":\""
        . substr(join('', 'a' .. 'z') x 800, 0, $seed * 200) . '"}';
    my $want = $body;

    substr($want, $_->[0], $_->[1]) = $_->[2] for reverse main::cuts($body);

    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n"
        . ($seed % 2
           ? 'Content-Length: ' . length($body) . "\r\n\r\n$body"
           : "Transfer-Encoding: chunked\r\n\r\n" . join('', map
                { sprintf "%x\r\n%s\r\n", length, $_ }
                unpack "(a$seed)*", $body) . "0\r\n\r\n"));

    is($got->{status}, 200, "seed $seed");
    is((provider_requests())[-1]{body}, $want, "edited $seed");
}



=== TEST 17: the time-out is that of the whole question
--- config eval
main::rules_config('timeout=300ms')
--- check
for my $model (qw(never toolate)) {
    my $body = "{\"model\":\"$model\"}";
    my $begin = Time::HiRes::time();
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: h\r\nConnection: close\r\nx-api-key: container-dev-env\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body");
    my $spent = Time::HiRes::time() - $begin;

    is($got->{status}, 503, "$model: refused");
    cmp_ok($spent, '>', 0.25, "$model: not before");
    cmp_ok($spent, '<', 3, "$model: not long after");
}
--- error_log
refused: rules_timeout



=== TEST 18: no engine
--- http_config
upstream nobody { server 127.0.0.1:1 max_fails=0; }
--- config eval
main::rules_config() =~ s/fastcgi_pass engine/fastcgi_pass nobody/r
--- cases
503 | body={"model":"none"} | code=rules_unavailable
503 | POST /anthropic/v1/messages | x-api-key: container-dev-env | body={"model":"none"} | code=api_error
200 | GET /v1/models
--- error_log
refused: rules_unavailable



=== TEST 19: no engine, and none is needed
--- http_config
upstream nobody { server 127.0.0.1:1 max_fails=0; }
--- config eval
main::rules_config('on_error=pass') =~ s/fastcgi_pass engine/fastcgi_pass nobody/r
--- cases
200 | body={"model":"none"}
200 | POST /anthropic/v1/messages | x-api-key: container-dev-env | body={"model":"none"}
--- error_log
goes on without rules: rules_unavailable



=== TEST 20: rules are off in one location, and where they are not asked for
--- http_config
hoody_ai_rules /rules;
--- config eval
main::rules_config() =~ s/hoody_ai_rules \/rules [^;]*;/hoody_ai_rules off;/r
--- cases
200 | body={"model":"blocked"}
403 | POST /anthropic/v1/messages | x-api-key: container-dev-env | body={"model":"blocked"} | code=permission_error



=== TEST 21: a caller that gives up
--- config eval
main::rules_config('timeout=5s')
--- check
for my $model (qw(never toolate)) {
    for (1 .. 3) {
        my $body = "{\"model\":\"$model\"}";
        my $asked = asked();

        # who is refused before, on a busy machine, does not leave the engine
        for (1 .. 3) {
            my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
                . "Host: h\r\nx-api-key: container-dev-env\r\n"
                . 'Content-Length: ' . length($body) . "\r\n\r\n$body",
                until => $asked);

            last if $asked->();
            diag("$model: not asked: " . ($got->{error} // $got->{raw}));
        }
    }
}

my $log = '';

HoodyAI::wait_until(sub {
    open(my $in, '<', HoodyAI::server_root() . '/logs/error.log');
    local $/;
    $log = <$in>;
    return 6 <= (() = $log =~ /prematurely closed connection, so upstream/g);
});

is(scalar(() = $log =~ /prematurely closed connection, so upstream/g), 6,
    'the engine is left at once');

my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
    . "Connection: close\r\nx-api-key: container-dev-env\r\n"
    . "Content-Length: 16\r\n\r\n{\"model\":\"none\"}");

is($got->{status}, 200, 'and it goes on');
provider_requests();



=== TEST 22: access ends while the engine is asked
--- config eval
main::rules_config('timeout=5s')
--- check
my $t = 'hoody:{' . $block->hoody_server . '}';

for my $change ([ "SREM $t:ai:enabled dev-env", "SADD $t:ai:enabled dev-env" ],
    [ "HSET $t:container:dev-env status stopped",
      "HSET $t:container:dev-env status running" ])
{
    my $pid = later(asked(), $change->[0]);
    my $begin = Time::HiRes::time();
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: h\r\nx-api-key: container-dev-env\r\nContent-Length: 17\r\n"
        . "\r\n{\"model\":\"never\"}", until => qr/"code":"[^"]*"/);

    waitpid($pid, 0);
    is($got->{status}, 403, 'refused');
    like($got->{body}, qr/access_revoked/, 'for that reason');
    cmp_ok(Time::HiRes::time() - $begin, '<', 4, 'at once');
    HoodyAI::redis($change->[1]);
    HoodyAI::redis('PING');
    select(undef, undef, undef, 0.05);
}



=== TEST 23: kept connections, and one that the engine has closed
--- check
my $ask = sub {
    my ($model) = @_;
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: h\r\nConnection: close\r\nx-api-key: container-dev-env\r\n"
        . "Content-Length: " . (13 + length $model)
        . "\r\n\r\n{\"model\":\"$model\"} ");

    return $got->{status};
};

questions();
is($ask->('none'), 200, 'asked') for 1 .. 5;
is($ask->('blocked'), 403, 'refused');
is($ask->('stderr'), 200, 'edited');

my %connections = map { $_->{connection} => 1 } main::last_questions();

is(scalar(keys %connections), 1, 'one connection for all of it');

# each process has one connection; it is gone when nginx uses it next
kill 'KILL', keys %connections;
is($ask->('none'), 200, 'asked on another one');
provider_requests();



=== TEST 24: what is counted
--- http_config
hoody_ai_zone rules-count:8m;
--- config eval
main::rules_config('on_error=pass timeout=2s') . 'location = /status { hoody_ai_status; }'
--- check
my $t = 'hoody:{' . $block->hoody_server . '}';

for my $model (qw(none edit json blocked shape garbage range)) {
    my $body = "{\"model\":\"$model\"}";

    exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body") for 1, 2;
}

provider_requests();

my $text = exchange(raw => "GET /status HTTP/1.0\r\n\r\n")->{body};
my %n = $text =~ /^hoody_ai_(rules_\S+) (\S+)$/mg;

is($n{qq(rules_questions_total{ask="plan",outcome="plan"})}, 7, 'plans');
is($n{qq(rules_questions_total{ask="body",outcome="unchanged"})}, 2, 'none');
is($n{qq(rules_questions_total{ask="body",outcome="changed"})}, 4, 'changed');
is($n{qq(rules_questions_total{ask="body",outcome="blocked"})}, 2, 'blocked');
is($n{qq(rules_questions_total{ask="body",outcome="invalid_body"})}, 2,
    'invalid');
is($n{qq(rules_questions_total{ask="body",outcome="unavailable"})}, 2,
    'unavailable');
is($n{qq(rules_questions_total{ask="body",outcome="unusable"})}, 2,
    'unusable');
is($n{rules_passed_total}, 4, 'passed');
is($n{rules_plans_used_total}, 7, 'kept plans');
is($n{qq(rules_plans{worker="0"})}, 7, 'kept');
is($n{rules_question_seconds_count}, 21, 'time');

my $json = JSON::PP::decode_json(
    exchange(raw => "GET /status?format=json HTTP/1.0\r\n\r\n")->{body});

is($json->{rules}{questions}{body}{changed}, 4, 'the same in JSON');
is($json->{workers}[0]{plans}, 7, 'kept, in JSON');



=== TEST 25: configurations that cannot be right: no such location
--- config eval
main::rules_config() =~ s/location = \/rules/location = \/elsewhere/r
--- must_die
--- error_log
"hoody_ai_rules" names "/rules"



=== TEST 26: not internal
--- config eval
main::rules_config() =~ s/internal;//r
--- must_die
--- error_log
"hoody_ai_rules" names "/rules"



=== TEST 27: no fastcgi_pass
--- config eval
main::rules_config() =~ s/fastcgi_pass engine/proxy_pass http:\/\/engine/r
--- must_die
--- error_log
"hoody_ai_rules" names "/rules"



=== TEST 28: no such parameter
--- config eval
main::rules_config('on_error=maybe')
--- must_die
--- error_log
invalid parameter "on_error=maybe"



=== TEST 29: no time at all
--- config eval
main::rules_config('timeout=0')
--- must_die
--- error_log
invalid parameter "timeout=0"



=== TEST 30: off with a parameter
--- config eval
main::rules_config() =~ s/hoody_ai_rules \/rules [^;]*;/hoody_ai_rules off timeout=1s;/r
--- must_die
--- error_log
takes no parameters



=== TEST 31: no path
--- config eval
main::rules_config() =~ s/hoody_ai_rules \/rules [^;]*;/hoody_ai_rules rules;/r
--- must_die
--- error_log
needs a URI that begins with a slash



=== TEST 32: answers are not kept
--- http_config
fastcgi_cache_path html/c keys_zone=c:1m;
--- config eval
main::rules_config() =~ s/fastcgi_keep_conn on;/fastcgi_cache c;/r
--- must_die
--- error_log
"fastcgi_cache" in location "/rules"



=== TEST 33: settings of the internal location that must not count
--- config eval
main::rules_config() =~ s/fastcgi_keep_conn on;/fastcgi_keep_conn on;
    fastcgi_pass_request_headers on; fastcgi_buffering off;
    fastcgi_request_buffering off; fastcgi_intercept_errors on;
    fastcgi_pass_request_body off; client_max_body_size 1k;
    error_page 403 \/other; fastcgi_buffers 4 1k; fastcgi_buffer_size 1k;
    fastcgi_max_temp_file_size 1m; fastcgi_ignore_client_abort on;/r
--- cases eval
CORE::join "\n", '403 | body={"model":"blocked"} | code=blocked_by_rule',
    '200 | body={"model":"pieces"} | X-Crumb: 1 | sent={"model":"j","new":[1,2]}',
    '503 | body={"model":"accel"} | code=rules_unavailable',
    '503 | body={"model":"many"} | code=rules_unavailable',
    main::sized(2000000)
--- check
is(scalar(grep { exists $_->{HTTP_X_CRUMB} || exists $_->{HTTP_HOST} }
    main::last_questions()), 0, 'no header of the caller');



=== TEST 34: HTTP/2
--- http_config eval
"server { listen 127.0.0.1:\$TEST_NGINX_RAND_PORT_1 http2;\n"
    . main::rules_config('timeout=2s') . '}'
--- check
my $to = '127.0.0.1:' . $Test::Nginx::Util::RandPorts->{TEST_NGINX_RAND_PORT_1};
my $file = "$ENV{TMPDIR}/body-$$";
my $curl = sub {
    my ($body, @more) = @_;

    open(my $out, '>', $file) or die "$file: $!\n";
    print $out $body;
    close $out;

    open(my $in, '-|', 'curl', '-s', '--http2-prior-knowledge', '--max-time',
        5, '-w', '%{http_code}', '-H', 'x-api-key: container-dev-env', '-H',
        'Content-Type: application/json', '--data-binary', "\@$file", @more,
        "http://$to/v1/chat/completions") or die "curl: $!\n";

    local $/;
    return <$in>;
};

for my $size (100, 16383 .. 16385, 65535 .. 65537, 262143 .. 262145, 1000000)
{
    my $body = body_of("json:$size");

    like($curl->($body), qr/200\z/, "$size bytes");
    is((provider_requests())[-1]{body_sha256}, Digest::SHA::sha256_hex(
        '{"a":1,' . substr($body, 1)), "$size bytes, edited");
}

like($curl->('{"model":"json"}'), qr/200\z/, 'replaced');
is((provider_requests())[-1]{body}, '{"model":"j","new":[1,2]}', 'by JSON');
like($curl->('{"model":"blocked"}'), qr/blocked_by_rule.*403\z/s, 'refused');
like($curl->('{"model":"garbage"}'), qr/rules_unavailable.*503\z/s, 'broken');
like($curl->('{"model":"never"}'), qr/rules_unavailable.*503\z/s, 'too late');
is($curl->('{"model":"never"}', '--max-time', 0.2), '000', 'given up');

my $t = 'hoody:{' . $block->hoody_server . '}';
my $pid = later(asked(), "SREM $t:ai:enabled dev-env");

like($curl->('{"model":"never"}'), qr/access_revoked.*403\z/s, 'revoked');
waitpid($pid, 0);
unlink $file;
