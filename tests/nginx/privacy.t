#!/usr/bin/perl

# No byte of a prompt or an answer goes to a disk, a log or Redis, whatever
# becomes of the request.  Random words are in both; finish() searches for them
# in every file: logs at levels info and debug, the access log of conf/, the
# dump of Redis, the folders for bodies.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Engine;
use HoodyAI::System qw(wait_for chat slurp);

my $s = HoodyAI::System->new;
my @words = map { sprintf 'w%08x%08x', rand 2 ** 32, rand 2 ** 32 } 1 .. 2;
my ($prompt, $answer) = @words;

$s->private(@words);
$s->redis;
$s->container('dev-env', addresses => '127.0.0.1', tags => 'prod');


# Rules look into each body of the one API, and have a plan for the other.
# What they say in logs is an operator's text, never what it is about.

my $guard = 'Never delete anything.';
my @logged = map { { id => "log-$_", trigger => { event => $_,
                         models => ['openai-*'] },
                     action => { type => 'log',
                         content => "$_ {{container.name}} {{model}}" } } }
    qw(chat.message tool.execute.after tool.execute.before session.error);
my $engine = HoodyAI::Engine->new($s, rules => [@logged,
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } },
    { id => 'cap', trigger => { event => 'chat.params' },
      action => { type => 'set', field => 'max_tokens', max => 100 } },
    { id => 'stop', trigger => { event => 'chat.message',
                                 models => ['*-stop'] },
      action => { type => 'message', content => 'Not today.' },
      blocking => JSON::PP::true },
]);

chmod 0777, $engine->{socket};

my $audit = "$s->{dir}/audit.jsonl";

$s->spawn('events', [$s->program('hoody-ai-events'),
    '--redis', "unix:$s->{redis_socket}", '--server', $s->{server},
    '--rules', $engine->{file}, '--audit-log', $audit]);


# Answers with the word, in the form and to the end that the model names: a
# debug log of nginx shows the headers by which a sample provider is told.
# What it got goes back as a digest would: only whether the prompt was there.

my %end = (
    openai => "data: [DONE]\n\n",
    anthropic => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

sub event {
    my ($api) = @_;

    return $api eq 'openai'
        ? "data: {\"choices\":[{\"delta\":{\"content\":\"$answer\","
            . "\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\","
            . "\"function\":{\"name\":\"read\",\"arguments\":\"$answer\"}}]}}],"
            . "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n"
        : "event: content_block_delta\n"
            . "data: {\"type\":\"content_block_delta\",\"delta\":{"
            . "\"type\":\"text_delta\",\"text\":\"$answer\"}}\n\n";
}

my $fake = $s->fake('fake', sub {
    my ($socket, $request) = @_;
    my ($model) = $request =~ /"model":"([\w-]+)"/;
    my ($api, $form) = $model =~ /^(\w+)-(\w+)/;
    my $got = index($request, $prompt) >= 0 ? 'yes' : 'no';
    my $ruled = index($request, $guard) >= 0 ? 'yes' : 'no';
    my $head = "Connection: close\r\nx-got-prompt: $got\r\n"
        . "x-got-rule: $ruled\r\n";

    if ($form =~ /^stream|^cut|^endless|^broken/) {
        syswrite $socket, "HTTP/1.1 200 OK\r\n${head}"
            . "Content-Type: text/event-stream\r\n"
            . ($form eq 'broken' ? "Transfer-Encoding: chunked\r\n" : '')
            . "\r\n";

        if ($form eq 'broken') {
            # no size of a chunk
            syswrite $socket, event($api);
            return;
        }

        for (1 .. $form eq 'endless' ? 500 : 5) {
            syswrite $socket, event($api) or return;
            sleep 0.02;
        }

        syswrite $socket, $form eq 'cut'
            ? substr event($api), 0, -6 : $end{$api};
        return;
    }

    my $status = $form eq 'error' ? '400 Bad Request' : '200 OK';
    my $body = "{\"usage\":{\"input_tokens\":3,\"output_tokens\":5},"
        . "\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"c2\",\"type\":"
        . "\"function\",\"function\":{\"name\":\"read\","
        . "\"arguments\":\"$answer\"}}]}}],"
        . "\"text\":\"$answer\",\"more\":\""
        . ($form eq 'large' ? "$answer " x 100_000 : '') . '"}';
    my $length = length($body) + ($form eq 'short' ? 10
        : $form eq 'long' ? -10 : 0);

    $head .= "Content-Length: $length\r\nContent-Type: application/json\r\n";
    syswrite $socket, "HTTP/1.1 $status\r\n$head\r\n";

    for (my $sent = 0; $sent < length $body; ) {
        $sent += syswrite($socket, $body, 65536, $sent) // return;
    }
});

$s->nginx(
    main => "error_log $s->{dir}/info.log info;",
    http => 'include ' . $s->root . "/conf/hoody_ai_log.conf;\n"
        . $s->default_http(location => 'hoody_ai_rules /rules timeout=5s;',
        server => "
        location = /rules {
            internal;
            log_subrequest on;
            include " . $s->root . "/conf/hoody_ai_rules_params;
            fastcgi_pass unix:$engine->{socket};
        }
        access_log $s->{dir}/access.log all;
        access_log $s->{dir}/snippet.log hoody_ai;
        client_body_buffer_size 1k;
        client_body_timeout 1s;
        proxy_buffers 8 4k;
        proxy_buffer_size 4k;") =~ s/%%PROVIDER%%/$fake/r);

my $asked = 0;

sub body {
    my ($model, %more) = @_;

    return chat(model => $model,
        messages => [{ role => 'user', content => $prompt },
            $model =~ /^openai/ ? (
                { role => 'assistant', tool_calls => [{ id => 'c0',
                    type => 'function', function => { name => 'write',
                        arguments => $prompt } }] },
                { role => 'tool', tool_call_id => 'c0', content => $prompt },
            ) : ()], %more);
}

sub client {
    my ($uri, $body, @headers) = @_;
    my $client = $s->client;

    $client->request('POST', $uri, token => 'dev-env', body => $body,
        headers => ['anthropic-version', '2023-06-01', @headers]);
    $asked++;

    return $client;
}


my @stream = (stream => JSON::PP::true);

for (['openai', '/v1/chat/completions'],
     ['anthropic', '/anthropic/v1/messages'])
{
    my ($api, $uri) = @$_;

    for my $form (qw(plain error large short long)) {
        my $got = client($uri, body("$api-$form"))->answer;

        is($got->{status}, $form eq 'error' ? 400 : 200, "$api, $form");
        is($got->{headers}{'x-got-prompt'}, 'yes', "$api, $form: the prompt");
        is($got->{headers}{'x-got-rule'}, 'yes', "$api, $form: the rule");
        like($got->{body}, qr/$answer/, "$api, $form: the answer");
    }

    for my $form (qw(stream cut)) {
        my $got = client($uri, body("$api-$form", @stream))->answer;

        is($got->{headers}{'x-got-prompt'}, 'yes', "$api, $form: the prompt");
        is($got->{headers}{'x-got-rule'}, 'yes', "$api, $form: the rule");
        like($got->{body}, qr/$answer/, "$api, $form: the answer");
    }

    client($uri, body("$api-broken", @stream))->answer;

    # a rule says no; no place for a rule, to the engine and to a kept plan
    is(client($uri, body("$api-stop"))->answer->{status}, 403,
        "$api, refused by a rule");
    is(client($uri, chat(model => "$api-plain", messages => $prompt,
        system => { text => $prompt }))->answer->{status}, 400, "$api, no place for a rule");

    my $large = client($uri, body("$api-plain",
        filler => "$prompt " x 100_000))->answer;
    is($large->{status}, 200, "$api, a large body");

    # refused: not JSON, two models, what names stored things, too deep
    for my $bad ("{\"model\":\"m\",$prompt", "$prompt",
        "{\"model\":\"m\",\"model\":\"m\",\"messages\":\"$prompt\"}",
        "{\"model\":\"m\",\"file_id\":\"$prompt\"}",
        '{"model":"m","x":' . '[' x 5000 . "\"$prompt\"" . ']' x 5000 . '}')
    {
        is(client($uri, $bad)->answer->{status}, 400,
            "$api, refused: " . substr $bad =~ s/$prompt/.../gr, 0, 30);
    }

    is(client($uri, body('m'), 'Content-Encoding', 'gzip')->answer->{status},
        415, "$api, refused unread");

    # the caller hangs up, in the body and in the stream
    my $half = client($uri, body("$api-plain"), 'Content-Length', 9000);
    sleep 0.1;
    $half->reset;

    my $slow = client($uri, body("$api-plain"), 'Content-Length', 9000);
    ok($slow->eof(5), "$api, a body that never ends");

    my $gone = client($uri, body("$api-endless", @stream));
    $gone->head;
    like($gone->until(qr/$answer/), qr/$answer/, "$api, hung up in a stream");
    $gone->reset;

    # and access is taken away
    my $cut = client($uri, body("$api-endless", @stream));
    $cut->head;
    $cut->until(qr/$answer/);
    $s->disable('dev-env');
    like($cut->rest, qr/permission_error/, "$api, revoked in a stream");
    is(client($uri, body("$api-plain"))->answer->{status}, 403,
        "$api, without access");
    $s->enable('dev-env');
    ok(wait_for(sub {
        client($uri, body("$api-plain"))->answer->{status} == 200
    }), "$api, with access again");
}


# What is searched has been written.

my $lines;

ok(wait_for(sub {
    $lines = () = slurp("$s->{dir}/snippet.log") =~ /"container":"dev-env"/g;
    return $lines >= $asked;
}), "the snippet's access log has every request") or diag("$lines of $asked");
ok(wait_for(sub { $s->cmd('XLEN', $s->rkey('events')) >= $asked }),
    'so has the stream of events');
ok(wait_for(sub {
    my $text = slurp($audit);
    !grep { $text !~ /$_->{trigger}{event} dev-env openai-/ } @logged;
}), 'the audit log tells of everything that rules log') or diag(slurp($audit));
cmp_ok(-s "$s->{dir}/$_.out.log", '>', 0, "so was the log of the $_")
    for qw(engine events);
like(slurp("$s->{dir}/info.log"), qr/\[(?:info|warn|error)\]/,
    'a log at level info was written');
like($s->log, qr/\[debug\].*http upstream/, 'and one at level debug');

$s->finish;
