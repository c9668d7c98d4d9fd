#!/usr/bin/perl

# Streams: what comes when, back-pressure, hang-ups, cuts.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;
use Time::HiRes qw(CLOCK_MONOTONIC clock_gettime sleep time);

use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp suspend wait_for);

HoodyAI::System::many_files();

my $s = HoodyAI::System->new;
my $sanitized = slurp($s->nginx_binary) =~ /__asan_init/;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider;

# what the fake provider says, by the name of the model: pieces and pauses
my %script = (
    lf => ["data: 1\n\n", 0.3, "data: 2\n\n", 0.3, "data: [DONE]\n\n"],
    crlf => ["data: 1\r\n\r\n", 0.3, "data: 2\r\n\r\n", 0.3,
        "data: [DONE]\r\n\r\n"],
    cr => ["data: 1\r\r", 0.3, "data: 2\r\r", 0.3, "data: [DONE]\r\r"],
    comment => [": 1\n", 0.3, ": 2\n", 0.3, "data: [DONE]\n\n"],
    bytes => [map { ($_, 0.001) } split //, ": hi\r\n\r\nevent: x\r\n"
        . "data: {\"a\":\"\x{c3}\x{a4}\"}\r\n\r\ndata: 2\n\ndata: 3\r\r"
        . "id: 7\nretry: 10\n\ndata: [DONE]\n\n"],
    tail => ["data: 1\n\ndata: half", 3, " whole\n\ndata: [DONE]\n\n"],
    end => ["data: 1\n\ndata: no end"],
    endless => ["data: 1\n\ndata: half", 60],
    large => ['data: ' . 'x' x 200_000 . "\n\n", 'data: ' . 'y' x 100_000,
        0.2, 'y' x 100_000 . "\n\ndata: [DONE]\n\n"],
);

my $fake = $s->fake('fake', sub {
    my ($socket, $request) = @_;
    my ($name) = $request =~ /"model":"(\w+)"/;

    syswrite $socket, "HTTP/1.1 200 OK\r\nConnection: close\r\n"
        . "Content-Type: text/event-stream\r\n\r\n";

    for my $step (@{$script{$name}}) {
        if ($step =~ /^[\d.]+\z/ && $name ne 'bytes'
            || $step =~ /^0\.001\z/)
        {
            sleep $step;
            next;
        }

        my $sent = 0;
        while ($sent < length $step) {
            my $n = syswrite $socket, $step, length($step) - $sent, $sent;
            return if !defined $n;
            $sent += $n;
        }
    }
});

# reads the body when it is told to
my $lazy = $s->fake('lazy', sub {
    my ($socket) = @_;

    setsockopt($socket, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 65536);
    sleep 1.5;

    my $text = HoodyAI::System::_request($socket);
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my $answer = '{"sha":"' . sha256_hex($body) . '"}';

    syswrite $socket, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($answer) . "\r\n\r\n$answer";
}, raw => 1);

$s->nginx(level => 'info', server => join '', map {
    "location /$_->[0]/v1/ {
        hoody_ai on;
        hoody_ai_credential openai;
        proxy_pass http://$_->[1]/v1/;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
    }\n"
} ['fake', $fake], ['lazy', $lazy]);

$s->chat_ask;


sub fake {
    my ($name, %option) = @_;

    my $client = $s->client(%option);
    $client->request('POST', '/fake/v1/chat/completions', token => 'dev-env',
        body => chat(model => $name, stream => JSON::PP::true));

    return $client;
}


sub text {
    my ($name) = @_;

    return join '', grep { !/^[\d.]+\z/ || $name eq 'bytes' && $_ ne '0.001' }
        @{$script{$name}};
}


sub aborts { $provider->stats->{client_aborts} }


# The provider has one request more than before, which it does not answer.
sub arrived {
    my ($before) = @_;

    return wait_for { $provider->stats->{requests} > $before }
        || die "the request did not arrive\n";
}


# Time

# shorter than the pause: not with the next chunk
cmp_ok(at_best(5, 0.04, sub {
    my $client = $s->stream(headers => ['X-Sample-Clock', 1,
        'X-Sample-Chunks', 8, 'X-Sample-Delay', 50]);
    my ($worst, $seen) = (0, 0);

    $client->head;

    while (defined(my $piece = $client->piece)) {
        my $now = clock_gettime(CLOCK_MONOTONIC);

        while ($piece =~ /\@(\d+)\@/g) {
            my $late = $now - $1 / 1e9;
            $worst = $late if $late > $worst;
            $seen++;
        }
    }

    is($seen, 8, 'each chunk came');

    return $worst;
}), '<', 0.04, 'each chunk came at once');

# how much of the pause the head did not come before its end
cmp_ok(at_best(3, 0.2, sub {
    my $client = $s->stream(headers => ['X-Sample-Header-Delay', 500]);

    $client->head;
    my $head = time;
    my $first = $client->piece // '';
    my $late = 0.5 - (time - $head);

    like($first . $client->rest, qr/\[DONE\]/, 'the rest after the head');

    return $late;
}), '<', 0.2, 'the head comes before the first byte');

{
    my $client = $s->client;
    my ($pieces, $body) = (0, '');

    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(), headers => ['X-Sample-Size', 4000,
            'X-Sample-Chunks', 4, 'X-Sample-Delay', 100]);
    $client->head;

    while (defined(my $piece = $client->piece)) {
        $body .= $piece;
        $pieces++;
    }

    cmp_ok($pieces, '>=', 4, 'plain JSON is passed on as it comes');
    like($body, qr/^\{.*\}\s*\z/s, 'and is whole');
}


# Events

# Three events: of each of the two pauses, how much an event did not come before
# its end; one that is held comes with the next one.
for my $name (qw(lf crlf cr comment)) {
    cmp_ok(at_best(3, 0.15, sub {
        my $client = fake($name);
        my ($body, @at) = ('');

        $client->head;

        while (defined(my $piece = $client->piece)) {
            push @at, time if length $piece;
            $body .= $piece;
        }

        my @gaps = sort { $b <=> $a } map { $at[$_] - $at[$_ - 1] } 1 .. $#at;

        is($body, text($name), "$name: every byte");
        ok($client->{complete}, "$name: a proper end");

        return 0.3 - ($gaps[1] // 0);
    }), '<', 0.15, "$name: each event in its time");
}

is(fake('bytes')->answer->{body}, text('bytes'), 'one byte per packet');

{
    my $answer = fake('large')->answer;

    is(length $answer->{body}, length text('large'), 'events of 200 KB');
    ok($answer->{body} eq text('large'), 'without a change');
}

for my $split (1, 7) {
    my @bodies = map {
        HoodyAI::Client->ask($_, 'POST', '/v1/chat/completions',
            headers => [Authorization => $_ eq $s->address
                ? 'Bearer container-dev-env' : 'Bearer ' . $s->key('openai'),
                'X-Sample-Split', $split, 'X-Sample-Split-Delay', 0,
                'X-Sample-Chunks', 3, 'X-Sample-Text', 'a b c'],
            body => chat(stream => JSON::PP::true))->{body}
    } $s->address, $provider->address;

    s/"id":"[^"]*"|"created":\d+//g for @bodies;
    is($bodies[0], $bodies[1], "written $split bytes at a time");
}

{
    my $start = time;
    my $client = fake('tail');

    $client->head;
    is($client->until(qr/\n\n/), "data: 1\n\n", 'an event without its end');
    is($client->until(qr/half/), 'data: half', 'is held');
    my $passed = time;
    cmp_ok($passed - $start, '>', 0.7, 'for a while');
    my $rest = $client->until(qr/ whole/);

    # the pause of three seconds, less the one for which it is held
    cmp_ok(time - $passed, '>', 1, 'and passed after a second');
    is($rest . $client->rest, " whole\n\ndata: [DONE]\n\n",
        'the rest follows');
}

is(fake('end')->answer->{body}, text('end'), 'a tail at the end is passed');


# Cuts

sub cut {
    my ($client) = @_;

    my $start = time;
    $s->disable('dev-env');
    my $body = $client->rest(10);
    my $took = time - $start;

    $s->enable('dev-env');
    wait_for { $s->chat_ask->{status} == 200 };

    return ($body, $took);
}

for (['openai', '/v1/chat/completions',
      qr/\A(?:data: \{"id.*?\n\n)*data: (\{"error".*\})\n\n\z/s],
     ['anthropic', '/anthropic/v1/messages',
      qr/\A(?:event:[ ](?!error)\w+\ndata:[ ].*?\n\n)*
         event:[ ]error\ndata:[ ](.*)\n\n\z/xs])
{
    my ($name, $uri, $shape) = @$_;

    cmp_ok(at_best(5, 0.1 * slow, sub {
        my $before = aborts();
        my $client = $s->client;

        $client->request('POST', $uri, token => 'dev-env',
            body => chat(stream => JSON::PP::true),
            headers => ['X-Sample-Chunks', 10000, 'X-Sample-Delay', 5]);
        $client->head;

        my $first = $client->until(qr/\n\n.*\n\n.*\n\n/s);
        my ($body, $took) = cut($client);

        ok($client->{complete}, "$name: the body has its end");
        unlike($body, qr/DONE|message_stop/, "$name: but no [DONE]");
        like("$first$body", $shape, "$name: events, and a last one")
            or diag(substr $body, -600);

        my ($event) = "$first$body" =~ $shape;
        my $error = eval { JSON::PP::decode_json($event // '')->{error} } || {};

        is($error->{type}, 'permission_error', "$name: of its type");
        is($error->{code}, $name eq 'openai' ? 'access_revoked' : undef,
            "$name: and code");
        ok(wait_for(sub { aborts() > $before }),
            "$name: and the provider is hung up on");

        return $took;
    }), '<', 0.1 * slow, "$name: revoked, cut within 100 ms");
}

{
    my $client = fake('endless');

    $client->head;
    is($client->until(qr/\n\n/), "data: 1\n\n", 'an event without its end');

    my ($body) = cut($client);

    like($body, qr/\Adata: \{"error".*access_revoked.*\n\n\z/s,
        'what was held is not passed at a cut');
}

{
    my $client = fake('endless');

    $client->head;
    $client->until(qr/half/);

    my ($body) = cut($client);

    is($body, '', 'cut inside of an event: nothing more');
    ok(!$client->{complete}, 'and no proper end');
}

cmp_ok(at_best(5, 0.1 * slow, sub {
    my $before = aborts();
    my $requests = $provider->stats->{requests};
    my $client = $s->client;

    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(), headers => ['X-Sample-Stall', -1]);
    arrived($requests);

    my $start = time;
    $s->disable('dev-env');
    my $answer = $client->answer;
    my $took = time - $start;

    is($answer->{status}, 403, 'revoked while it waits: a 403');
    is($answer->{json}{error}{code}, 'access_revoked', 'of its code');
    ok(wait_for(sub { aborts() > $before }), 'the provider is hung up on');

    ok(!$client->{eof}, 'the connection stays');
    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat());
    is($client->answer->{status}, 403, 'and serves on');
    $s->enable('dev-env');
    wait_for { $s->chat_ask->{status} == 200 };

    return $took;
}), '<', 0.1 * slow, 'revoked while it waits: within 100 ms');

{
    my $before = aborts();
    my $client = $s->client;

    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(), headers => ['X-Sample-Size', 1_000_000,
            'X-Sample-Chunks', 1000, 'X-Sample-Delay', 10]);
    $client->head;
    $client->piece;

    my ($body) = cut($client);

    ok(!$client->{complete}, 'plain JSON is cut off');
    unlike($body, qr/access_revoked/, 'without an event');
    ok(wait_for(sub { aborts() > $before }), 'the provider is hung up on');
}


# Hang-ups

for (['before the head', 0, 'close', 'X-Sample-Stall', -1],
     ['in the stream', 1, 'close', 'X-Sample-Chunks', 1000,
      'X-Sample-Delay', 20],
     ['with a reset', 1, 'reset', 'X-Sample-Chunks', 1000,
      'X-Sample-Delay', 20],
     ['in a silent stream', 1, 'close', 'X-Sample-Stall', 2])
{
    my ($name, $answered, $how, @headers) = @$_;

    cmp_ok(at_best(5, 0.15 * slow, sub {
        my $before = aborts();
        my $requests = $provider->stats->{requests};
        my $client = $s->stream(headers => \@headers);

        if ($answered) {
            $client->head;
            $client->piece;

        } else {
            arrived($requests);
        }

        my $start = time;
        $client->$how;
        ok(wait_for(sub { aborts() == $before + 1 }), "hang-up $name");

        return time - $start;
    }), '<', 0.15 * slow, "$name: the provider knows at once");
}


# Back-pressure

SKIP: {
    skip 'memory is not measured with sanitizers', 4 if $sanitized;

    my $before = $s->rss;
    my $client = $s->stream(rcvbuf => 65536, headers => [
        'X-Sample-Size', 200_000_000, 'X-Sample-Chunk-Size', 16384]);

    $client->head;
    sleep 0.7;
    cmp_ok($s->rss - $before, '<', 4096, 'a reader that waits: 4 MB at most');

    my ($size, $worst) = (0, 0);

    while (defined(my $piece = $client->piece)) {
        last if !length $piece;
        $size += length $piece;

        if ($size % 101 == 0) {
            my $now = $s->rss;
            $worst = $now if $now > $worst;
        }
    }

    ok($client->{complete}, 'and reads 200 MB to the end');
    cmp_ok($size, '>', 200_000_000, 'all of them');
    cmp_ok($worst - $before, '<', 4096, 'in 4 MB');
}

{
    my $before = $s->rss;
    my $body = chat(filler => 'x' x 31_000_000);
    my $client = $s->client(timeout => 30);

    $client->request('POST', '/lazy/v1/chat/completions',
        token => 'dev-env', body => $body);

    my $start = time;
    is($s->chat_ask->{status}, 200, 'a body of 31 MB that nobody reads yet');
    cmp_ok(time - $start, '<', 1, 'is in nobody\'s way');

    my $rss = $s->rss;

    SKIP: {
        skip 'memory is not measured with sanitizers', 1 if $sanitized;
        cmp_ok($rss - $before, '<', 40_000, 'it lies in memory once');
    }

    is($client->answer->{json}{sha}, sha256_hex($body), 'and arrives intact');
}

# A worker that stands still finds the end of a large body and a small request
# together when it goes on, the body first.  The error log has them in the order
# in which they were judged.
{
    my $body = '{"model":"m","messages":["' . 'x' x 30_000_000
        . '"],"model":"m"}';
    my $log = "$s->{dir}/error.log";
    my $large = $s->client(timeout => 30);
    my $small = $s->client;
    my ($worker) = $s->workers;

    # the worker knows this connection
    $small->request('GET', '/v1/models', token => 'nobody');
    is($small->answer->{status}, 401, 'a connection');

    my $text = HoodyAI::Client::build('POST', '/v1/chat/completions',
        token => 'dev-env', body => $body);

    $large->send(substr $text, 0, -1);
    ok(wait_for(sub { !$large->unread }), 'all but the end is read');

    my $from = -s $log;

    suspend($worker);
    $large->send('}');
    $small->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => '{');
    kill 'CONT', $worker;

    is($large->answer->{json}{error}{code}, 'invalid_body',
        'a body of 30 MB is read to its end');
    is($small->answer->{status}, 400, 'a small request at the same time');

    my @judged = substr(slurp($log), $from) =~ /body refused at byte (\d+)/g;

    ok(@judged == 2 && $judged[0] < 10 && $judged[1] > 30_000_000,
        'is not kept waiting by the large one') or diag("@judged");
}


# Numbers

{
    my $n = 2000;
    my ($start, $all, @clients);

    # the first one must not end before the last one has begun, which takes a
    # busy machine longer
    for my $delay (1500, 6000) {
        $_->close for @clients;
        wait_for { !$provider->stats->{active_streams} } 30;

        $start = time;
        @clients = map {
            $s->stream(timeout => 60, headers => ['X-Sample-Chunks', 4,
                'X-Sample-Delay', $delay, 'X-Sample-Text', "stream number $_"])
        } 1 .. $n;

        my $opened = time - $start;

        $all = wait_for { $provider->stats->{active_streams} == $n }
            $start + 4 * $delay / 1000 - time;
        note(sprintf 'opened in %.1f s, together after %.1f s', $opened,
            time - $start);
        last if $all;
    }

    ok($all, "$n streams at the same time")
        or diag($provider->stats->{active_streams});

    my ($good, $complete) = (0, 0);

    for my $i (1 .. $n) {
        my $client = $clients[$i - 1];

        $client->head(60) or next;

        my $text = join '', $client->rest(60) =~ /"content":"([^"]*)"/g;

        $good++ if $text eq "stream number $i";
        $complete++ if $client->{complete};
        $client->close;
    }

    is($good, $n, 'each got its own answer');
    is($complete, $n, 'to the end');
    note(sprintf '%d streams in %.1f s', $n, time - $start);
}

{
    my @clients = map {
        my $client = $s->stream(timeout => 20, headers => [
            'X-Sample-Chunks', 10000, 'X-Sample-Delay', 200]);
        $client->head;
        $client;
    } 1 .. 300;

    my $start = time;
    $s->disable('dev-env');

    # what each of them is waited for ends for all at one time
    my $good = grep {
        my $left = $start + 20 - time;
        $_->rest($left > 0.01 ? $left : 0.01) =~ /access_revoked/;
    } @clients;

    is($good, 300, '300 streams are cut together');

    # the client reads them one by one; with a sweep for each it were 15
    cmp_ok(time - $start, '<', 3, 'at once');
    ok(wait_for(sub { !$provider->stats->{active_streams} }),
        'the provider has none left');
}

$s->finish;
