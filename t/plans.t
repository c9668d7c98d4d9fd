# Kept plans: how long one is used, what drops it, and how many there can be.
# The engine is a script, the registry a real Redis.

use lib 't/lib';
use JSON::PP ();
use Test::Nginx::Socket 'no_plan';
use HoodyAI;
use FakeEngine;

our $port;

# what the engine does now, for all its processes; the test writes it
my $state = "$ENV{TMPDIR}/state-$$";

sub engine {
    my (%o) = @_;

    open(my $out, '>', "$state.new") or die "$state: $!\n";
    print $out JSON::PP::encode_json({ epoch => 'e1', edits => [], %o });
    close $out;
    rename("$state.new", $state) or die "$state: $!\n";
    questions();
}

engine();

$port = start_engine(sub {
    my ($q) = @_;

    open(my $in, '<', $state) or return undef;
    my $now = JSON::PP::decode_json(do { local $/; <$in> });

    return undef if $now->{dead} || $now->{hush} && $q->{ask} eq 'body';
    select(undef, undef, undef, $now->{pause}) if $now->{pause};

    return answer(status => 204, headers => $now->{none}
            ? ["X-Hoody-Epoch: $now->{none}"] : []) if exists $now->{none};
    if ($q->{ask} eq 'body') {
        my $headers = defined $now->{found}
            ? ["X-Hoody-Body: $now->{found}"] : [];
        return answer(type => 'application/vnd.hoody.splice',
            headers => $headers, body => wire(map {
                [@$_[0, 1], $_->[2] x ($now->{times} // 1)]
            } @{ $now->{splice} })) if $now->{splice};
        return refusal(400, '{"error":{"code":"invalid_body"}}')
            if $now->{invalid};
        return answer(status => 204, headers => $headers);
    }

    return plan($now->{raw}) if defined $now->{raw};
    return plan(JSON::PP::encode_json({ epoch => $now->{epoch},
        edits => $now->{edits} }));
});

our @append = ({ op => 'append', target => 'system', text => 'Be "kind".' });

sub plans_config {
    my ($parameters, $more) = @_;

    return HoodyAI::config('hoody_ai_rules /rules ' . ($parameters // 'timeout=5s')
        . ';' . ($more // '')) . <<"EOC";
        location = /rules {
            internal;
            include $ENV{HAI_ROOT}/conf/hoody_ai_rules_params;
            fastcgi_pass engine;
            fastcgi_keep_conn on;
            fastcgi_next_upstream error non_idempotent;
        }

        location = /status {
            hoody_ai_status;
        }
EOC
}

add_block_preprocessor(sub {
    my ($block) = @_;

    $block->set_value('redis', <<'EOR') if !defined $block->redis;
HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 number 7 addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
SET hoody:{t}:rules:epoch e1
EOR
    $block->set_value('config', plans_config()) if !defined $block->config;
    $block->set_value('http_config', ($block->http_config // '') . "
        upstream engine { server 127.0.0.1:$port max_fails=0; keepalive 2; }");
});

# asks once: the status, and the body that the provider got
sub ask {
    my (%o) = @_;
    my $model = $o{model} // 'm';
    my $body = $o{body} // qq({"model":"$model","messages":[]});
    my $got = exchange(raw => 'POST ' . ($o{uri} // '/v1/chat/completions')
        . " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        . "x-api-key: container-dev-env\r\nContent-Length: " . length($body)
        . "\r\n\r\n$body");
    my ($request) = provider_requests();

    return ($got->{status}, $request ? $request->{body} : undef, $got);
}

# a command, and the worker has seen it: see commands() in HoodyAI.pm
sub tell {
    my ($block, $command) = @_;
    my $server = $block->hoody_server;

    $command =~ s/\{t\}/{$server}/g;
    HoodyAI::redis($command);
    HoodyAI::redis('PING');
}

sub metrics {
    my $json = exchange(raw => "GET /status?format=json HTTP/1.0\r\n\r\n");

    return JSON::PP::decode_json($json->{body});
}

run_tests();

END {
    unlink $state if defined $state;
}

__DATA__

=== TEST 1: a plan is asked for once
--- check
main::engine(edits => \@main::append);

my $want = '{"model":"m","messages":[{"role":"system",'
    . '"content":"Be \"kind\"."}]}';

for (1 .. 3) {
    my ($status, $body) = main::ask();

    is($status, 200, 'sent');
    is($body, $want, 'changed by the worker');
}

is(scalar(questions()), 1, 'one question');

# what the engine says meanwhile does not count, nor whether it lives
main::engine(dead => 1);
is((main::ask())[1], $want, 'kept without an engine');
is((main::ask(model => 'other'))[0], 503, 'another model needs one');
is((main::ask(uri => '/v1/responses'))[0], 503, 'another API, too');



=== TEST 2: what drops it
--- check
my $n = 0;

for my $command ('SET hoody:{t}:rules:epoch e1', 'HSET hoody:{t}:rules x {}',
    'HSET hoody:{t}:container:dev-env tags new', 'DEL hoody:{t}:rules',
    'SET hoody:{t}:generation g' . time())
{
    my @model = (model => "m" . ++$n);

    main::engine(edits => \@main::append);
    like((main::ask(@model))[1], qr/kind/, 'a plan');
    main::engine(edits => []);
    main::tell($block, $command);

    my $end = Time::HiRes::time() + 5;
    my ($status, $body);

    do {
        ($status, $body) = main::ask(@model);
        is($status, 200, 'sent');
    } while ($body =~ /kind/ && $command =~ /generation/
        && Time::HiRes::time() < $end);

    unlike($body, qr/kind/, "$command: asked again");
    cmp_ok(scalar(questions()), '>=', 1, "$command: there was a question");
    is((main::ask(@model))[0], 200, 'sent');
    is(scalar(questions()), 0, 'kept again');
}



=== TEST 3: the entry of another container does not
--- redis
HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 addresses 127.0.0.1
HSET hoody:{t}:container:dev-two addresses 127.0.0.2 tags a
SADD hoody:{t}:containers dev-env dev-two
SADD hoody:{t}:ai:enabled dev-env dev-two
SET hoody:{t}:rules:epoch e1
--- check
main::engine(edits => \@main::append);
main::ask();
questions();
main::tell($block, 'HSET hoody:{t}:container:dev-two tags b');
main::ask();
is(scalar(questions()), 0, 'kept');



=== TEST 4: an epoch that is not the registry's
--- config eval
main::plans_config('timeout=400ms')
--- check
main::engine(epoch => 'e2');

my $begin = Time::HiRes::time();

is((main::ask())[0], 503, 'refused');

my $spent = Time::HiRes::time() - $begin;
my $n = questions();

cmp_ok($spent, '>', 0.3, 'not at once');
cmp_ok($spent, '<', 3, 'but in time');
cmp_ok($n, '>=', 3, 'asked again and again');
cmp_ok($n, '<=', 12, 'with longer and longer pauses');
--- error_log
refused: rules_epoch



=== TEST 5: the registry comes after the engine, and the engine after it
--- config eval
main::plans_config('timeout=10s')
--- check
main::engine(epoch => 'e2');

my $pid = later(asked(2), 'SET hoody:{' . $block->hoody_server
    . '}:rules:epoch e2');

is((main::ask())[0], 200, 'waited for it');
waitpid($pid, 0);
questions();
is((main::ask())[0], 200, 'sent');
is(scalar(questions()), 0, 'kept');

main::engine(epoch => 'e2', edits => \@main::append);
main::tell($block, 'SET hoody:{t}:rules:epoch e3');

my $asked = asked(2);

$pid = fork();

if ($pid == 0) {
    HoodyAI::wait_until($asked);
    main::engine(epoch => 'e3');
    POSIX::_exit(0);
}

my ($status, $body) = main::ask();

waitpid($pid, 0);
is($status, 200, 'waited for the engine');
unlike($body, qr/kind/, 'nothing of the old plan');



=== TEST 6: a caller that gives up between two questions, and access that ends
--- config eval
main::plans_config('timeout=8s')
--- check
main::engine(epoch => 'e2');

my $request = "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
    . "x-api-key: container-dev-env\r\nContent-Length: 13\r\n\r\n"
    . '{"model":"m"}';
my $open = sub { main::metrics()->{requests_open} };

# after 0.7 s the pauses are longer than what the caller waits for
exchange(raw => $request, timeout => 0.8) for 1, 2;

HoodyAI::wait_until(sub { !$open->() });

is($open->(), 0, 'nobody is left');

my $pid = later(asked(6), 'SREM hoody:{' . $block->hoody_server
    . '}:ai:enabled dev-env');
my $begin = Time::HiRes::time();
my $got = exchange(raw => $request, until => qr/"code":"[^"]*"/);

waitpid($pid, 0);
is($got->{status}, 403, 'refused');
like($got->{body}, qr/access_revoked/, 'for that reason');
cmp_ok(Time::HiRes::time() - $begin, '<', 4, 'at once');



=== TEST 7: no epoch in the registry
--- redis
HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
--- config eval
main::plans_config('timeout=1s')
--- check
main::engine();
is((main::ask())[0], 503, 'refused');
main::tell($block, 'SET hoody:{t}:rules:epoch e1');
is((main::ask())[0], 200, 'there it is');
main::tell($block, 'SET hoody:{t}:rules:epoch ' . 'e' x 129);
is((main::ask())[0], 503, 'none that could be one');
main::tell($block, 'DEL hoody:{t}:rules:epoch');
main::tell($block, 'SADD hoody:{t}:rules:epoch e1');
is((main::ask())[0], 503, 'a set is none');
main::tell($block, 'DEL hoody:{t}:rules:epoch');
main::tell($block, 'SET hoody:{t}:rules:epoch e1');
is((main::ask())[0], 200, 'as before');



=== TEST 8: 204 to a plan
--- config eval
main::plans_config('timeout=1s')
--- check
main::engine(none => 'e1');
is((main::ask())[1], '{"model":"m","messages":[]}', 'nothing is changed');
is((main::ask())[0], 200, 'sent');
is(scalar(questions()), 1, 'kept');
main::engine(none => 'e0');
is((main::ask(model => 'n'))[0], 503, 'of another epoch');

for my $epoch (undef, 'a"b', 'e' x 200) {
    main::engine(none => $epoch);
    is((main::ask(model => 'n'))[0], 503, 'no epoch');
    is(scalar(questions()), 1, 'asked once');
}



=== TEST 9: plans that cannot be used
--- config eval
main::plans_config('timeout=1s')
--- check
for my $raw ('', '{', '[]', '{}', '{"epoch":"e1"}',
    '{"epoch":"e1","edits":{}}', '{"epoch":"e1","edits":[{}]}',
    '{"epoch":"e1","edits":[{"op":"jump","target":"system","text":""}]}',
    '{"epoch":"e1","edits":[{"op":"set","target":"messages","value":1}]}',
    '{"epoch":"e1","ask":"me"}', '{"epoch":"e1","edits":[],"epoch":"e1"}',
    '{"epoch":"e1","edits":[]}x')
{
    main::engine(raw => $raw);
    is((main::ask())[0], 503, "refused: $raw");
    is(scalar(questions()), 1, 'asked once');
}

# a number is an epoch
main::tell($block, 'SET hoody:{t}:rules:epoch 17');
main::engine(raw => '{"epoch":17,"edits":[]}');
is((main::ask())[0], 200, 'a number');



=== TEST 10: changes of what cannot be looked into
--- config eval
main::plans_config('timeout=1s', 'hoody_ai_stored on;')
--- check
my $files = sub {
    return exchange(raw => "GET /v1/files HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n\r\n");
};

main::engine(edits => \@main::append);
is($files->()->{status}, 503, 'not by a plan');
main::engine(raw => '{"epoch":"e1","ask":"body"}');
is($files->()->{status}, 503, 'and there is no body');
main::engine();
isnt($files->()->{status}, 503, 'nothing to change');
questions();
isnt($files->()->{status}, 503, 'again');
is(scalar(questions()), 0, 'kept');
provider_requests();



=== TEST 11: a plan that sets the model, and the prefix that goes
--- config eval
main::plans_config(undef, 'hoody_ai_model_prefix strip;
    add_header X-Model $hoody_ai_model always;')
--- check
main::engine(edits => [ @main::append,
    { op => 'set', target => 'model', value => 'x/new' },
    { op => 'set', target => 'max_tokens', max => 10, fallback => 5 } ]);

for (1, 2) {
    my ($status, $body, $got) = main::ask(model => 'openai/gpt-4o');

    is($status, 200, 'sent');
    is($body, '{"max_tokens":5,"model":"new","messages":[{"role":"system",'
        . '"content":"Be \"kind\"."}]}', 'all of it');
    like($got->{raw}, qr{X-Model: x/new\r}, 'the model after the rules');
}

main::engine(edits => \@main::append);

for my $model ('x/gpt-4o', 'xopen\u0061i/gpt-4o', 'gpt-4o') {
    my ($status, $body) = main::ask(model => $model);

    is($body, '{"model":"gpt-4o","messages":[{"role":"system",'
        . '"content":"Be \"kind\"."}]}', "with a prefix: $model");
}



=== TEST 12: a body with no place for it
--- check
main::engine(edits => \@main::append);

my ($status, undef, $got) = main::ask(body => '{"model":"m","messages":{}}');

is($status, 400, 'refused');
like($got->{body}, qr/"code":"invalid_body"/, 'invalid_body');
is((main::ask())[0], 200, 'another one has one');
is(scalar(questions()), 1, 'by the same plan');



=== TEST 13: large and chunked bodies, edited by the worker
--- check
main::engine(edits => \@main::append);

for my $size (100, 65535, 65536, 65537, 262143 .. 262145, 3000000) {
    my $body = body_of("json:$size");
    my $want = $body =~ s/"messages":\[/"messages":[{"role":"system","content":"Be \\"kind\\"."},/r;

    for my $chunk (0, 1000, 262144) {
        exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
            . "Connection: close\r\nx-api-key: container-dev-env\r\n"
            . ($chunk ? "Transfer-Encoding: chunked\r\n\r\n" . join('', map {
                sprintf("%x\r\n%s\r\n", length, $_) }
                unpack("(a$chunk)*", $body)) . "0\r\n\r\n"
            : "Content-Length: $size\r\n\r\n$body"));

        my ($request) = provider_requests();

        is($request->{body_sha256}, Digest::SHA::sha256_hex($want),
            "$size bytes, chunks of $chunk");
    }
}

is(scalar(questions()), 1, 'one question');



=== TEST 14: 3,000 models that somebody made up
--- http_config
hoody_ai_zone plans-many:8m;
--- config eval
main::plans_config(undef, 'keepalive_requests 30000;')
--- timeout: 60s
--- log_level: warn
--- check
main::engine(edits => [ { op => 'append', target => 'system',
    text => 'x' x 400 } ]);

my $n = 0;

for my $part (1 .. 15) {
    my $text = '';

    for my $i (1 .. 200) {
        my $body = '{"model":"made-up-' . ++$n . '","messages":[]}';

        $text .= "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
            . ($i == 200 ? "Connection: close\r\n" : '')
            . "x-api-key: container-dev-env\r\nContent-Length: "
            . length($body) . "\r\n\r\n$body";
    }

    my $got = exchange(raw => $text, timeout => 30);

    is(scalar(() = $got->{raw} =~ m{HTTP/1.1 200 OK\r\n}g), 200, "part $part");
    provider_requests();
}

my $m = main::metrics();

is($m->{workers}[0]{plans}, 64, 'not more than its share');
cmp_ok($m->{workers}[0]{plans_memory_bytes}, '<', 100000, 'little memory');
is($m->{rules}{plans_dropped}, 3000 - 64, 'the others went');

# the last ones are there
questions();
main::ask(model => 'made-up-3000');
is(scalar(questions()), 0, 'the last one is kept');
main::ask(model => 'made-up-1');
is(scalar(questions()), 1, 'the first one is not');



=== TEST 15: large plans
--- http_config
hoody_ai_zone plans-large:8m;
--- check
main::engine(edits => [ { op => 'append', target => 'system',
    text => 'x' x 500000 } ]);

for my $i (1 .. 12) {
    my $body = "{\"model\":\"m$i\",\"messages\":[]}";
    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\n"
        . "Host: h\r\nConnection: close\r\nx-api-key: container-dev-env\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body");

    is($got->{status}, 200, 'sent');
}

provider_requests();

my $m = main::metrics();

cmp_ok($m->{workers}[0]{plans_memory_bytes}, '<=', 4 * 1024 * 1024,
    'the ceiling');
cmp_ok($m->{workers}[0]{plans}, '>=', 6, 'as many as fit');



=== TEST 16: Redis is lost: kept plans go on until max_stale
--- redis_conf eval
"unix:$ENV{TEST_NGINX_REDIS_SOCKET} max_stale=1s"
--- check
main::engine(edits => \@main::append);
like((main::ask())[1], qr/kind/, 'a plan');
main::engine(dead => 1);

# the connections are killed: they come back, and the plans with them do not
HoodyAI::redis('CLIENT KILL TYPE pubsub');
HoodyAI::redis('PING');

my $end = Time::HiRes::time() + 5;
my $status;

do {
    ($status) = main::ask();
} while ($status == 200 && Time::HiRes::time() < $end);

is($status, 503, 'a reload drops them');
main::engine(edits => \@main::append);
like((main::ask())[1], qr/kind/, 'asked again');



=== TEST 17: bodies that are asked about whatever their model
--- check
my $any = '{"epoch":"e1","ask":"body","models":"any"}';
my $body = '{"model":"m2","messages":[]}';

main::engine(raw => $any);
is((main::ask(model => 'm1'))[1], '{"model":"m1","messages":[]}', 'sent');
is(join(' ', map { $_->{ask} } questions()), 'plan body', 'both questions');

# the engine sees the next one first, whatever its model
is((main::ask(body => $body))[1], $body, 'another model');

my ($q, @more) = questions();

is($q->{ask}, 'body', 'the body at once');
is($q->{params}{HOODY_MODEL}, '', 'its model is not known yet');
is($q->{size}, length $body, 'the whole of it');
is(scalar(@more), 0, 'and no other question');

# what the engine lets pass is looked at all the same
for my $bad ('{"model":"m","messages":[],"messages":[1]}', '{"model":"m"} x',
    '{"model":"m","Messages":[]}', '[]', '{"model":""}')
{
    my ($status, $sent, $got) = main::ask(body => $bad);

    is($status, 400, "$bad: refused");
    like($got->{body}, qr/"invalid_body"/, 'as what it is');
    is($sent, undef, 'not sent');
}

# edits are of the bytes that were shown, and what becomes of them is scanned
main::engine(raw => $any, splice => [[1, 0, '"a":1,']]);
is((main::ask(body => $body))[1], '{"a":1,"model":"m2","messages":[]}',
    'edits');

main::engine(raw => $any, splice => [[1, 0, '"model":"x",']]);

my ($status, $sent, $got) = main::ask(body => $body);

is($status, 503, 'edits that make a key occur twice');
like($got->{body}, qr/"rules_unavailable"/, 'are the fault of the rules');
is($sent, undef, 'not sent');

main::engine(raw => $any, invalid => 1);
is((main::ask(body => 'x'))[0], 400, 'the engine finds it invalid');

# large ones, in slices
main::engine(raw => $any, splice => [[1, 0, '"a":1,']]);

my $large = '{"model":"m3","user":"' . 'x' x 700_000 . '"}';

is((main::ask(body => $large))[0], 200, 'a large body');

# other rules: the model counts again
main::engine(epoch => 'e2', edits => \@main::append);
main::tell($block, 'SET hoody:{t}:rules:epoch e2');
like((main::ask(body => $body))[1], qr/kind/, 'another epoch: a plan');
is((questions())[0]{ask}, 'plan', 'asked for');

# the engine is gone
main::tell($block, 'SET hoody:{t}:rules:epoch e1');
main::engine(raw => $any);
is((main::ask(body => $body))[0], 200, 'back');
main::engine(raw => $any, hush => 1);
is((main::ask(body => $body))[0], 503, 'no answer to a body');



=== TEST 18: the same with on_error=pass
--- config eval: main::plans_config('on_error=pass timeout=5s')
--- check
my $any = '{"epoch":"e1","ask":"body","models":"any"}';
my $body = '{"model":"m2","messages":[]}';

main::engine(raw => $any);
main::ask();
main::engine(raw => $any, hush => 1);
is((main::ask(body => $body))[1], $body, 'goes on as it came');
is((main::ask(body => '{"model":"m","model":"n"}'))[0], 400,
    'and is looked at');
main::engine(raw => $any, splice => [[1, 0, '"model":"x",']]);
is((main::ask(body => $body))[1], $body, 'edits that cannot be used');



=== TEST 19: what the engine's scan has found is not looked for again
--- config eval: main::plans_config('timeout=5s', ' hoody_ai_model_prefix strip;')
--- check
my $any = '{"epoch":"e1","ask":"body","models":"any"}';
my $body = '{"model":"o/m2","messages":[]}';
my $size = length $body;

main::engine(raw => $any);
main::ask();

main::engine(raw => $any, found => "$size 9 15 -- o/m2");
is((main::ask(body => $body))[1], '{"model":"m2","messages":[]}',
    'the model lies where the engine says');

main::engine(raw => $any, found => "$size 9 15 -r o/m2");

my ($status, $sent, $got) = main::ask(body => $body);

is($status, 400, 'an object that the provider keeps');
is($sent, undef, 'not sent');

# the engine's word counts: this one is taken as it is
my $twice = '{"model":"o/m2","model":"x"}';

main::engine(raw => $any, found => length($twice) . ' 9 15 -- o/m2');
is((main::ask(body => $twice))[0], 200, 'not looked at');

# whatever is not exactly such a line is none
for my $line ($size - 1 . ' 9 15 -- o/m2', $size + 1 . ' 9 15 -- o/m2',
    length($twice) . ' 9 99 -- o/m2', length($twice) . ' 9 15 o/m2',
    length($twice) . ' 15 9 -- o/m2', length($twice) . ' 9 15 --', '', '-',
    length($twice) . ' 9 15 -- ' . 'm' x 300)
{
    main::engine(raw => $any, found => $line);
    is((main::ask(body => $twice))[0], 400, "\"$line\": looked at");
}

# beside edits it says that they leave what was found as it is
main::engine(raw => $any, found => "$size 9 15 -- o/m2",
    splice => [[1, 0, '"n":1,'], [$size - 2, 0, '7']]);
is((main::ask(body => $body))[1], '{"n":1,"model":"m2","messages":[7]}',
    'edits, and the model at its place');
main::engine(raw => $any, found => "$size 9 15 -r o/m2",
    splice => [[1, 0, '"n":1,']]);
is((main::ask(body => $body))[0], 400, 'an object that the provider keeps');

# the engine's word counts there too
my $second = [[1, 0, '"model":"x",']];

main::engine(raw => $any, found => "$size 9 15 -- o/m2", splice => $second);
is((main::ask(body => $body))[0], 200, 'not looked at');

for my $line (undef, $size + 12 . ' 21 27 -- o/m2', '', "$size 9 15 o/m2") {
    main::engine(raw => $any, found => $line, splice => $second);
    is((main::ask(body => $body))[0], 503, 'looked at: ' . ($line // 'none'));
}

# edits of the model itself: it is not what was found any more
main::engine(raw => $any, found => "$size 9 15 -- o/m2",
    splice => [[9, 6, '"a/m3"']]);
is((main::ask(body => $body))[1], '{"model":"m3","messages":[]}',
    'another model is found by a scan');



=== TEST 20: where the worker has scanned first, its own findings count
--- check
my $ask = '{"epoch":"e1","ask":"body"}';
my $body = '{"model":"m","messages":[]}';

main::engine(raw => $ask, found => length($body) . ' 9 12 -- x');
is((main::ask(body => $body))[0], 200, 'sent');
is((main::ask(body => '{"model":"m","model":"n"}'))[0], 400, 'scanned');

# of edits the engine has to say that they leave them as they are
my $size = length $body;
my $second = [[1, 0, '"model":"x",']];

main::engine(raw => $ask, splice => $second);
is((main::ask(body => $body))[0], 503, 'edits are scanned');
main::engine(raw => $ask, found => "$size 9 12 -- m", splice => $second);
is((main::ask(body => $body))[0], 200, 'those are not');
main::engine(raw => $ask, found => "$size 9 11 -r x", splice => [[1, 0, ' ']]);
is((main::ask(body => $body))[1], '{ "model":"m","messages":[]}',
    'nor is a reference found that is not there');



=== TEST 21: edits of a body may be as long as those of a plan
--- check
my $body = '{"model":"m","messages":[]}';

for my $found (undef, length($body) . ' 9 12 -- m') {
    main::engine(raw => '{"epoch":"e1","ask":"body"}', found => $found,
        splice => [[1, 0, ' ']], times => 3_000_000);

    my $got = exchange(raw => "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n"
        . "Connection: close\r\nx-api-key: container-dev-env\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body");
    my ($request) = provider_requests();

    is($got->{status}, 200, 'sent');
    is($request->{body_sha256}, Digest::SHA::sha256_hex('{' . ' ' x 3_000_000
        . substr($body, 1)), 'with all of them');
}



=== TEST 22: what is only taken away, beside what is added
--- check
main::engine(edits => [ @main::append,
    { op => 'set', target => 'temperature', remove => JSON::PP::true } ]);

for (1, 2) {
    my ($status, $body) = main::ask(
        body => '{"model":"m","temperature":1,"messages":[]}');

    is($status, 200, 'sent');
    is($body, '{"model":"m","messages":[{"role":"system",'
        . '"content":"Be \"kind\"."}]}', 'without the field');
}
