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
    front => sub { edits([0, 0, ' ']) },
    end => sub { edits([length $_[0]{body}, 0, "\n"]) },
    empty => sub { edits() },
    two => sub { edits([1, 0, '"a":1,'], [1, 0, '"b":2,'],
        [length($_[0]{body}) - 1, 0, ',"c":3']) },
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
        body => "0 0 2000000\n" . ' ' x 2000000) },
    manyunknown => sub { answer(type => 'application/vnd.hoody.splice',
        body => "0 0 2000000\n" . ' ' x 2000000, length => '') },
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
    slow => sub { slowly($_[0], edits([1, 0, '"a":1,']), 0.01) },
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

    return HoodyAI::config('hoody_ai_rules /rules ' . ($parameters // '')
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
200 | body={} | sent={"a":1,} | got=nothing
--- check
my @q = main::questions();
is(scalar(@q), 31, 'a plan and a body each');



=== TEST 2: answers that cannot be used
--- cases eval
CORE::join "\n", map { "503 | body={\"model\":\"$_\",\"m\":[]} | code=rules_unavailable"
    . " | answer~Retry-After: 1" } qw(range beyond overlap unsorted zeros sign
    huge short trail cutrecord binary breaks nojson array nothing text notype
    planned many manyunknown longer created redirect accel missing broken
    loading status garbage close half header noend never toolate other
    shorter notjson noreason longreason bad)
--- timeout: 20s



=== TEST 3: they do not pass, or do when that is wanted
--- config eval
main::rules_config('on_error=pass timeout=500ms')
--- cases eval
CORE::join "\n", map { "200 | body={\"model\":\"$_\",\"m\":[]}" }
    qw(range beyond overlap unsorted binary breaks nojson array nothing text
    notype many longer created accel broken loading status garbage close half
    header noend never toolate notjson)
--- timeout: 20s
--- error_log
goes on without rules: rules_answer



=== TEST 4: a rule that refuses is not passed over
--- config eval
main::rules_config('on_error=pass')
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
