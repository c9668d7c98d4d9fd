#!/usr/bin/perl

# Requests under rules while everything around them breaks at once: an engine
# that answers in pieces, late, twice, half or not at all; callers who leave,
# reset streams and pipeline; access that comes and goes; other rules; reloads.
# No request gets around the rule, and nothing of it all stays.
#
# asan: no, it is about load; rules_faults.t runs the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(wait_for free_port chat slurp spew);

my $s = HoodyAI::System->new;
my $plain = ($ENV{HAI_MODE} // 'plain') eq 'plain';
my $seconds = $ENV{HAI_STORM} // 8;
my $callers = $ENV{HAI_CALLERS} // 6;
my $limit = 4 << 20;
my $h2c = free_port();
my $mark = '"guard":1,';
my @names = map { "box-$_" } 0 .. 5;
my %address = map { $names[$_] => '127.0.0.' . (10 + $_) } 0 .. $#names;

$s->redis;
$s->container($_, addresses => $address{$_}, tags => 'prod') for @names;
$s->cmd('SET', $s->rkey('rules:epoch'), 'e1');

my $provider = $s->provider;


# The engine.  Its answers are chosen by the model's name, or by chance.

sub record {
    my ($type, $content, $pad) = @_;

    $pad //= 0;
    return pack('CCnnCC', 1, $type, 1, length $content, $pad, 0) . $content
        . "\0" x $pad;
}

my $end = record(3, pack 'NC4', 0, 0, 0, 0, 0);

sub answer {
    my ($status, $type, $body, %option) = @_;
    my $text = "Status: $status\r\n"
        . ($type ? "Content-Type: $type\r\n" : '')
        . ($option{head} // '')
        . ($option{length} // 1 ? 'Content-Length: ' . length($body) . "\r\n"
                                : '') . "\r\n$body";
    my $piece = $option{piece} // 60000;

    return join('', map { ($option{between} // '')
            . record(6, $_, $option{pad}) } unpack "(a$piece)*", $text)
        . ($option{eof} // 1 ? record(6, '') : '') . ($option{end} // $end);
}

sub edits { answer(200, 'application/vnd.hoody.splice',
    "1 0 " . length($mark) . "\n$mark", @_) }

sub json_of {
    my ($body, @option) = @_;

    return answer(200, 'application/json', $body =~ s/^\{/{$mark/r, @option);
}

sub plan_of { answer(200, 'application/vnd.hoody.plan+json', @_) }

my $other = 0;
my @bad = (
    sub { undef },
    sub { sleep 0.5; edits() },                          # too late
    sub { sleep 0.29; edits() },                         # just in time, or not
    sub { sleep 1; undef },
    sub { edits(end => '') . 'x' },                      # no end
    sub { [edits(end => '')] },                          # and closed
    sub { [substr edits(), 0, 5 + int rand 60] },        # half
    sub { [edits()] },                                   # whole, then closed
    sub { $end },                                        # an end, too early
    sub { record(6, "Status: 200\r\n\r\n") . $end },
    sub { edits() . edits() },                           # twice
    sub { edits() . 'x' x 5000 },
    sub { 'x' x 100 },
    sub { record(7, 'y' x 5000) . $end },
    sub { answer(200, 'application/json', 'z' x 900000) },
    sub { answer(200, 'application/json', 'z' x 900000, length => 0) },
    sub { answer(403, 'application/json', '{"error":{"message":"no"}}') },
    sub { answer(400, 'application/json', '{"error":{"code":"invalid_body"}}') },
    sub { answer(503, '', '') },
    sub { answer(500, '', '') },
    sub { edits(end => record(3, pack 'NC4', 1, 3, 0, 0, 0)) },
);
my @good = (
    sub { edits() },
    sub { edits(piece => 1) },
    sub { edits(piece => 1, pad => 255) },
    sub { edits(piece => 7, between => record(7, 'oops')) },
    sub { edits(length => 0) },
    sub { json_of($_[0]) },
    sub { json_of($_[0], piece => 30000, pad => 9, length => 0) },
);

sub answer_to {
    my ($ask, $model, $body) = @_;

    if ($ask eq 'plan') {
        my $r = $model =~ /^good/ ? 0.9 : rand;

        return $bad[rand @bad]->($body) if $r < 0.15;
        return plan_of('{"epoch":"e0","ask":"body"}') if $r < 0.2;

        my ($epoch) = $model =~ /^good/ ? 'e9' : "e" . (1 + int rand 2);
        return plan_of("{\"epoch\":\"$epoch\",\"ask\":\"body\"}", $r < 0.6
            ? (piece => 1) : ());
    }

    do { sleep 2; return edits() } if $model =~ /slow/;
    return edits() if $model =~ /^good/;
    return $good[rand @good]->($body) if rand() < 0.5;
    return $bad[rand @bad]->($body);
}

sub take {
    my ($socket, $n) = @_;
    my $text = '';

    while (length $text < $n) {
        sysread $socket, $text, $n - length $text, length $text or return;
    }

    return $text;
}

my $engine = $s->fake('engine', sub {
    my ($socket) = @_;
    my ($params, $body) = ('', '');

    srand($$ ^ time * 1000);

    while (defined(my $head = take($socket, 8))) {
        my (undef, $type, undef, $length, $pad) = unpack 'CCnnCC', $head;
        my $content = take($socket, $length + $pad) // return;

        substr $content, $length, $pad, '' if $pad;
        $params .= $content if $type == 4;
        next if $type != 5;
        $body .= $content;
        next if $length;

        my ($ask) = $params =~ /HOODY_ASK(plan|body)/;
        my ($model) = $params =~ /HOODY_MODEL(\w*)/;
        my $bytes = answer_to($ask, $model, $body) // return;
        my $close = ref $bytes;

        $bytes = $bytes->[0] if $close;
        for (my $at = 0; $at < length $bytes; ) {
            my $n = rand() < 0.3 ? 1 + int rand 40 : length $bytes;

            $at += syswrite($socket, $bytes, $n, $at) // return;
        }
        return if $close;
        ($params, $body) = ('', '');
    }
}, raw => 1);

$s->nginx(daemon => 1, workers => 1, level => 'info',
    http => "hoody_ai_body_memory $limit;
        upstream engine { server $engine max_fails=0; keepalive 4; }"
        . $s->default_http(
    location => 'hoody_ai_rules /rules timeout=300ms;
        client_body_buffer_size 2k;',
    server => 'listen 127.0.0.1:' . $h2c . ' http2;
        location = /status { hoody_ai_status; }
        location /pass/v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            hoody_ai_rules /rules timeout=200ms on_error=pass;
            hoody_ai_model_prefix strip;
            proxy_pass http://provider/v1/;
            proxy_set_header X-Pass 1;
        }
        location = /rules {
            internal;
            include ' . $s->root . '/conf/hoody_ai_rules_params;
            fastcgi_pass engine;
            fastcgi_keep_conn on;
            fastcgi_next_upstream error non_idempotent;
        }'));


# Callers

my @models = map { "m$_" } 1 .. 200;

sub body {
    my $size = rand() < 0.1 ? rand 350_000 : rand 3000;

    my $body = chat(model => $models[rand @models], filler => 'x' x $size);

    # of a large one the provider keeps only the length: that it has changed
    # is seen from the last digits
    return $body if $size < 3000;
    return $body =~ s/"filler":"/$& . 'x' x (-length($body) % 100)/er;
}

sub caller_h1 {
    my ($count) = @_;
    my $name = $names[rand @names];
    my $client = $s->client(local => $address{$name}, timeout => 10);
    my $n = rand() < 0.3 ? 3 : 1;
    my $uri = (rand() < 0.25 ? '/pass' : '') . '/v1/chat/completions';
    my $bytes = join '', map { HoodyAI::Client::build('POST', $uri,
        token => $name, body => body()) } 1 .. $n;
    my $leaves = rand() < 0.4;

    $client->send($leaves && rand() < 0.3
        ? substr $bytes, 0, rand length $bytes : $bytes);

    if ($leaves) {
        sleep rand 0.35;
        rand() < 0.5 ? $client->reset : $client->close;
        $count->{left}++;
        return;
    }

    for (1 .. $n) {
        my $answer = $client->answer;

        $count->{$answer->{status}}++;
        last if !$answer->{status} || ($answer->{headers}{connection} // '')
            eq 'close';
    }

    $client->close;
}

sub frame { substr(pack('N', length $_[3]), 1) . pack('CCN', @_[0 .. 2])
    . $_[3] }

sub field { join '', "\0", map { pack('C', length) . $_ } @_ }

# streams of one connection, some of them reset
sub caller_h2 {
    my ($count) = @_;
    my $name = $names[rand @names];
    my $client = $s->client(to => "127.0.0.1:$h2c", local => $address{$name});
    my $stream = 1;

    $client->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, ''));

    for (1 .. 8) {
        my $body = chat(model => $models[rand @models]);

        $client->send(frame(1, 4, $stream, field(':method', 'POST')
            . field(':path', '/v1/chat/completions') . field(':scheme', 'http')
            . field(':authority', 'g')
            . field('authorization', "Bearer container-$name")
            . field('content-type', 'application/json'))
            . frame(0, 1, $stream, $body));
        sleep rand 0.05;
        $client->send(frame(3, 0, $stream, pack 'N', 8)) if rand() < 0.5;
        $stream += 2;
    }

    $client->fill(rand 0.4);
    rand() < 0.5 ? $client->reset : $client->close;
    $count->{h2}++;
}

sub metrics {
    my %value = $s->ask('GET', '/status')->{body} =~ /^(\S+) (\S+)$/mg;

    return \%value;
}

sub descriptors {
    my ($worker) = @_;

    return $worker && scalar(() = glob "/proc/$worker/fd/*");
}

# what it is like at rest
my $open = wait_for { descriptors($s->workers) };
my @callers;
my $file = "$s->{dir}/callers";

for my $i (1 .. $callers) {
    my $pid = fork // die "fork: $!\n";

    if (!$pid) {
        my %count;
        my $until = time + $seconds;

        srand($$ ^ time * 1000);

        while (time < $until) {
            eval { rand() < 0.25 ? caller_h2(\%count) : caller_h1(\%count) };
            $count{error}++ if $@;
        }

        spew("$file.$i", encode_json(\%count));
        _exit(0);
    }

    push @callers, $pid;
}

# the provider sees what passed; none of it without the mark
my ($passed, $without, $whole) = (0, 0, 0);
my $until = time + $seconds;
my $reloads = 0;

sub is_whole {
    my ($body) = @_;
    my $json = eval { decode_json($body) } or return 0;

    delete $json->{guard};
    return join(' ', sort keys %$json) =~ /^(?:filler )?messages model\z/
        && ($json->{filler} // '') =~ /^x*\z/ && $json->{model} =~ /^m\d+\z/;
}

sub look {
    for my $seen ($provider->requests) {
        $passed++;

        # as it was sent, where that is wanted
        if ($seen->{headers}{'x-pass'}) {
            $whole-- if defined $seen->{body} ? !is_whole($seen->{body})
                : $seen->{body_length} % 100 !~ /^(?:0|10)\z/;
            next;
        }

        $without++ if defined $seen->{body}
            ? index($seen->{body}, "{$mark") != 0
            : $seen->{body_length} % 100 != length $mark;
    }

    $provider->forget;
}

while (time < $until) {
    my $r = rand;
    my $name = $names[rand @names];

    if ($r < 0.2) {
        $s->disable($name);
        sleep rand 0.1;
        $s->enable($name);

    } elsif ($r < 0.3) {
        $s->cmd('SET', $s->rkey('rules:epoch'), 'e' . (1 + int rand 2));

    } elsif ($r < 0.4) {
        $s->cmd('HSET', $s->rkey("container:$name"), 'tags', 't' . rand);

    } elsif ($r < 0.45 && ++$reloads <= 4) {
        kill 'HUP', $s->master;
    }

    look();
    sleep 0.1;
}

waitpid $_, 0 for @callers;

my %count;

for my $i (1 .. $callers) {
    my $one = decode_json(slurp("$file.$i") || '{}');
    $count{$_} += $one->{$_} for keys %$one;
}

note(encode_json(\%count), ", passed $passed");
look();
is($without, 0, 'nothing passed without the rule');
is($whole, 0, 'what passes on errors is whole');
cmp_ok($passed, '>', 20, 'something passed');
is(join(' ', grep { !/^(?:200|400|403|413|429|503|left|h2)\z/ }
    sort keys %count), '',
    'answers and refusals only');

# All is well again

$s->enable(@names);
$s->cmd('SET', $s->rkey('rules:epoch'), 'e9');
ok(wait_for(sub {
    $s->chat_ask(token => $names[0], local => $address{$names[0]},
        body => chat(model => 'good'))->{status} == 200
}), 'requests are served');

# the worker of the storm's end, and what it keeps connections for
ok(wait_for(sub { 1 == $s->workers }, 20), 'old workers are gone');
my ($worker) = $s->workers;
cmp_ok(wait_for(sub { descriptors($worker) <= $open + 4 + 64 }, 5)
    ? descriptors($worker) : 1000, '<=', $open + 4 + 64,
    'no descriptor is left open');

# nothing is accounted for any more: each may have its share, but for what a
# plan's answer takes, and all together the whole, twice
$s->chat_ask(token => $_, local => $address{$_},
    body => chat(model => 'good_slow')) for @names[0 .. 3];

for my $round (1, 2) {
    my @clients = map {
        my $client = $s->client(local => $address{$_});
        my $body = chat(model => 'good_slow', filler => '');

        $body =~ s/"filler":"/'"filler":"' . 'x' x ($limit \/ 4 - 1000 - length $body)/e;
        $client->request('POST', '/v1/chat/completions', token => $_,
            body => $body);
        $client;
    } @names[0 .. 3];
    my @status = map { $_->answer->{status} } @clients;

    is("@status", '503 503 503 503', "round $round: the bodies' memory is free");
}

my $m = metrics();
my ($plans) = grep { defined } map { $m->{$_} }
    grep { /^hoody_ai_rules_plans\{/ } keys %$m;
my ($memory) = map { $m->{$_} }
    grep { /^hoody_ai_rules_plans_memory_bytes/ } keys %$m;

cmp_ok($plans, '<=', 6, 'plans of the rules of before are gone');
cmp_ok($memory, '<=', 6 * 1024, 'and their memory');

$s->finish;
