#!/usr/bin/perl

# hoody_ai_status as a strict reader of Prometheus' text format 0.0.4 sees it,
# with the rules that "promtool check metrics" has; against docs/METRICS.md,
# name by name; and the JSON form against the text.
#
# asan: no, t/status.t runs the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Encode ();
use JSON::PP;
use Test::More;

use HoodyAI::Engine;
use HoodyAI::System qw(chat slurp suspend wait_for);

my $s = HoodyAI::System->new;

$s->redis;
$s->provider;

for my $n (1 .. 5) {
    $s->container("c$n", addresses => "127.0.0.$n");
}
$s->container('off', addresses => '127.0.0.9', enabled => 0);

my $engine = HoodyAI::Engine->new($s, args => ['--socket-mode', '0666'],
    rules => [{ id => 'say', trigger => { event => 'chat.system.transform',
        containers => ['c2'] }, action => { type => 'append',
        content => 'Be brief.' } }]);
my $params = $s->root . '/conf/hoody_ai_rules_params';

$s->nginx(workers => 2, level => 'notice',
    redis => "unix:$s->{dir}/redis/redis.sock max_stale=7s",
    location => 'hoody_ai_rules /rules;', server => <<"END");
        location = /status { hoody_ai_status; }

        location = /rules {
            internal;
            include $params;
            fastcgi_pass unix:$engine->{socket};
            fastcgi_keep_conn on;
        }
END


# ---- a strict reader ---------------------------------------------------------

my $name = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $label = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"/;

# {name => {type, help, samples => {'name{labels}' => value}, order => [...]}};
# every complaint goes to the list.
sub read_text {
    my ($text, $wrong) = @_;

    my (%metric, $now, %seen);

    push @$wrong, 'no line feed at the end' if $text !~ /\n\z/;
    push @$wrong, 'no UTF-8' if !eval {
        Encode::decode('UTF-8', my $copy = $text, Encode::FB_CROAK); 1 };
    push @$wrong, 'control characters' if $text =~ /[\x00-\x09\x0b-\x1f]/;

    for my $line (split /\n/, $text, -1) {
        next if $line eq '';

        if ($line =~ /^# HELP ($name) (\S.*)\z/) {
            push @$wrong, "$1: twice" if $metric{$1};
            $now = $metric{$1} = { name => $1, help => $2, samples => {},
                order => [] };

        } elsif ($line =~ /^# TYPE ($name) (counter|gauge|histogram)\z/) {
            push @$wrong, "$1: TYPE without HELP in front, or after samples"
                if !$now || $now->{name} ne $1 || $now->{type}
                   || @{$now->{order}};
            $now->{type} = $2;

        } elsif ($line =~ /^($name)((?:\{$label(?:,$label)*\})?) (\S+)\z/) {
            my ($sample, $labels, $value) = ($1, $2, $3);
            my $of = $sample;

            $of =~ s/_(?:bucket|sum|count)\z//
                if $now && $now->{type} eq 'histogram';
            push @$wrong, "$sample: not with its TYPE"
                if !$now || $now->{name} ne $of || !$now->{type};
            push @$wrong, "$sample$labels: twice"
                if $seen{"$sample$labels"}++;
            push @$wrong, "$sample$labels: $value is no number"
                if $value !~ /^\d+(?:\.\d+)?\z/;

            my @names = $labels =~ /([a-zA-Z_]\w*)="/g;
            my %unique = map { $_ => 1 } $labels =~ /[{,]([a-zA-Z_]\w*)="/g;

            push @$wrong, "$sample: reserved label"
                if grep { /^__/ } keys %unique;
            push @$wrong, "$sample: le"
                if $unique{le} && $now->{type} ne 'histogram';
            push @{$now->{order}}, [$sample, $labels, $value];
            $now->{samples}{"$sample$labels"} = $value;
            $now->{labels}{join ' ', sort keys %unique}++
                if $sample !~ /_bucket\z/ || $now->{type} ne 'histogram';

        } else {
            push @$wrong, "not a line of the format: $line";
        }
    }

    lint($_, $wrong) for values %metric;

    return \%metric;
}


# What promtool says of single metrics.
sub lint {
    my ($m, $wrong) = @_;

    my ($n, $type) = @$m{qw(name type)};

    push @$wrong, "$n: no type" and return if !$type;
    push @$wrong, "$n: a counter ends in _total"
        if ($type eq 'counter') != ($n =~ /_total\z/);
    push @$wrong, "$n: reserved ending"
        if $n =~ /_(?:bucket|sum|count|info_total)\z/;
    push @$wrong, "$n: a type in its name"
        if $n =~ /_(?:counter|gauge|histogram|summary)(?:_|\z)/;
    push @$wrong, "$n: no base unit"
        if $n =~ /_(?:ms|milliseconds|us|ns|nanoseconds|minutes|kb|mb|
                     kilobytes|megabytes|percent)(?:_|\z)/x;
    push @$wrong, "$n: not lower case" if $n =~ /[A-Z]/;
    push @$wrong, "$n: no counter goes below zero or has parts"
        if $type eq 'counter' && grep { $_ !~ /^\d+\z/ } values %{$m->{samples}};

    histogram($m, $wrong) if $type eq 'histogram';
}


sub histogram {
    my ($m, $wrong) = @_;

    my $n = $m->{name};
    my @buckets = map { [$_->[1] =~ /le="([^"]*)"/, $_->[2]] }
        grep { $_->[0] eq "${n}_bucket" } @{$m->{order}};
    my ($bound, $below) = (0, 0);

    push @$wrong, "$n: no _sum" if !defined $m->{samples}{"${n}_sum"};

    for my $bucket (@buckets) {
        my ($le, $count) = @$bucket;
        my $number = $le eq '+Inf' ? 9e99 : $le;

        push @$wrong, "$n: bucket $le is no number"
            if $number !~ /^[\d.e+-]+\z/;
        push @$wrong, "$n: bucket $le is not in order" if $number <= $bound;
        push @$wrong, "$n: bucket $le has less than the one before"
            if $count < $below;
        ($bound, $below) = ($number, $count);
    }

    push @$wrong, "$n: no +Inf" if !@buckets || $buckets[-1][0] ne '+Inf';
    push @$wrong, "$n: _count is not +Inf"
        if $below != ($m->{samples}{"${n}_count"} // -1);
}


sub page {
    my ($name) = @_;

    my $answer = $s->ask('GET', '/status');
    my @wrong;
    my $page = read_text($answer->{body}, \@wrong);

    is(join("\n", @wrong), '', "$name: a strict reader takes it");

    return $page;
}

# the reader itself complains where it should
for (
    ["a_total 1\n", 'without TYPE'],
    ["# HELP a_total x\n# TYPE a_total counter\na_total 1\na_total 2\n", 'twice'],
    ["# HELP a x\n# TYPE a counter\na 1\n", 'counter without _total'],
    ["# HELP a_total x\n# TYPE a_total gauge\na_total 1\n", 'gauge with it'],
    ["# HELP a x\n# TYPE a gauge\na{b=\"\\x\"} 1\n", 'escape'],
    ["# HELP a x\n# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n", 'comma'],
    ["# HELP a x\n# TYPE a gauge\na 1", 'end'],
    ["# HELP a x\n# TYPE a gauge\na{b=\"\xff\"} 1\n", 'UTF-8'],
    ["# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n", 'unit'],
    ["# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\n"
        . "a_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", 'buckets'],
) {
    my ($text, $what) = @$_;
    my @wrong;

    read_text($text, \@wrong);
    ok(@wrong, "the reader sees: $what");
}


# ---- an idle gateway, then one that has seen a lot ---------------------------

ok(wait_for(sub {
    my $json = $s->ask('GET', '/status?format=json')->{json};
    2 == grep { $_->{loaded} && $_->{events_connected} } @{$json->{workers}};
}), 'both workers are ready');

my $idle = page('idle');

sub chat_of {
    my ($n, %option) = @_;

    return $s->ask('POST', '/v1/chat/completions', token => "c$n",
        local => "127.0.0.$n", %option);
}

my @models = ('gpt-4o', 'a"b', 'a\\b', "m\x{fc}nchen", "\x{1f600}", '{x="y"}', ' ',
    'x' x 128, 'y' x 129, 'z' x 256, "\x{2028}");

for my $model (@models) {
    is(chat_of(1, body => chat(model => $model))->{status}, 200,
        'model ' . Encode::encode('UTF-8', substr $model, 0, 20));
}

is(chat_of(2, body => chat())->{status}, 200, 'a rule');
is(chat_of(1, token => 'c2')->{status}, 401, 'refused: wrong source');
is(chat_of(9, token => 'off')->{status}, 403, 'refused: not enabled');
is(chat_of(1, body => '{')->{status}, 400, 'refused: no JSON');

my $stream = $s->stream(token => 'c3', local => '127.0.0.3');
ok($stream->answer->{complete}, 'a stream');

# more models than there are labels for
for my $n (1 .. 300) {
    chat_of(1 + $n % 5, body => chat(model => "model-$n"))->{status} == 200
        or fail("model-$n");
}

my $open = $s->stream(token => 'c4', local => '127.0.0.4',
    headers => ['X-Sample-Stall' => 2]);

# counted, and as told to the second
my $busy;

ok(wait_for(sub {
    my @wrong;
    $busy = read_text($s->ask('GET', '/status')->{body}, \@wrong);
    my $sum = 0;
    $sum += $_ for values %{$busy->{hoody_ai_requests_total}{samples}};
    $sum >= 313 && $busy->{hoody_ai_streams_open}{samples}
        {hoody_ai_streams_open} == 1;
}), 'everything is counted');

$busy = page('busy');

my @names = keys %{$busy->{hoody_ai_requests_total}{samples}};
my %models = map { /model="((?:[^"\\]|\\.)*)"/ ? ($1 => 1) : () } @names;

ok($models{'a\\"b'} && $models{'a\\\\b'}, 'quotes and backslashes');
ok($models{Encode::encode('UTF-8', "m\x{fc}nchen")}, 'UTF-8');
ok(!(grep { length > 128 } keys %models) && $models{other},
    'long names, and too many, are "other"');
cmp_ok(scalar keys %models, '<=', 257, 'no more models than there may be');

my %pairs;

$pairs{$_}++ for map { /container="(\w+)"/ } @names;
cmp_ok($pairs{c1}, '<=', 5 * 65, 'nor pairs of a container');

# counters never go back
for my $metric (values %$idle) {
    next if $metric->{type} ne 'counter';

    my $then = $metric->{samples};
    my $now = $busy->{$metric->{name}}{samples};
    my @back = grep { !defined $now->{$_} || $now->{$_} < $then->{$_} }
        keys %$then;

    is(join(' ', @back), '', "$metric->{name} does not go back");
}


# ---- what the contract and the manual list -----------------------------------

sub sum {
    my ($metric, $pattern) = @_;
    my $sum = 0;

    for my $sample (keys %{$busy->{$metric}{samples} || {}}) {
        $sum += $busy->{$metric}{samples}{$sample}
            if !$pattern || $sample =~ $pattern;
    }

    return $sum;
}

cmp_ok(sum('hoody_ai_requests_total',
    qr/container="c1".*model="gpt-4o".*status="2xx"/), '>=', 1,
    'requests by container, model, status');
is(sum('hoody_ai_refused_total', qr/reason="wrong_source"/), 1,
    'denials by reason');
is(sum('hoody_ai_refused_total', qr/reason="ai_disabled"/), 1, 'another one');
cmp_ok(sum('hoody_ai_input_tokens_total'), '>', 0, 'tokens of requests');
cmp_ok(sum('hoody_ai_output_tokens_total'), '>', 0, 'tokens of answers');
is(sum('hoody_ai_streams_open'), 1, 'streams open');
cmp_ok(sum('hoody_ai_overhead_seconds', qr/_count/), '>', 0,
    'own overhead as a histogram');
is(sum('hoody_ai_registry_containers'), 12, 'size of both replicas');
cmp_ok(sum('hoody_ai_registry_memory_bytes'), '>', 0, 'in bytes');
cmp_ok($_, '<', 7, 'age of a replica')
    for values %{$busy->{hoody_ai_registry_age_seconds}{samples}};
is(sum('hoody_ai_registry_max_stale_seconds'), 7, 'what it may be');
is(scalar keys %{$busy->{hoody_ai_registry_reconnects_total}{samples}}, 2,
    'feed reconnects');
cmp_ok(sum('hoody_ai_rules_question_seconds', qr/_count/), '>', 0,
    'latency of rules');
cmp_ok(sum('hoody_ai_events_queued_total'), '>=', 313, 'events queued');
is(sum('hoody_ai_events_dropped_total'), 0, 'events dropped');

# each metric is a row of the manual, with its type and labels, and each row
# is a metric
my $manual = slurp($s->root . '/docs/METRICS.md');
my %row;

while ($manual =~ /^\| `(hoody_ai_\w+)` \| (\w+) \| ([^|]*)\|/mg) {
    my ($metric, $type, $labels) = ($1, $2, $3);

    $row{$metric} = [$type, join ' ', sort $labels =~ /`(\w+)`/g];
}

is(join(' ', sort keys %row), join(' ', sort keys %$busy),
    'the manual lists what there is');

for my $metric (map { $busy->{$_} } sort keys %$busy) {
    my ($type, $labels) = @{$row{$metric->{name}} || next};

    $labels = '' if $type eq 'histogram'; # le
    is($metric->{type}, $type, "$metric->{name} is a $type");

    # a counter of something that did not happen has no sample
    is(join('|', sort keys %{$metric->{labels}}), $labels,
        "$metric->{name} has the labels that the manual says")
        if $metric->{labels};
}


# ---- events that wait, and the JSON form -------------------------------------

my @head = split /\n/, $s->ask('HEAD', '/status')->{body} // '';
is(scalar @head, 0, 'HEAD has no body');

$open->close if $open->can('close');
ok(wait_for(sub {
    $busy = read_text($s->ask('GET', '/status')->{body}, []);
    sum('hoody_ai_events_pending') == 0 && sum('hoody_ai_streams_open') == 0;
}, 20), 'no event waits');

suspend($s->pid('redis'));
chat_of(1) for 1 .. 3;
ok(wait_for(sub {
    $busy = read_text($s->ask('GET', '/status')->{body}, []);
    sum('hoody_ai_events_pending') >= 3;
}), 'events wait for Redis');
cmp_ok(sum('hoody_ai_events_pending_bytes'), '>', 0, 'also in bytes');
kill 'CONT', $s->pid('redis');
ok(wait_for(sub {
    $busy = read_text($s->ask('GET', '/status')->{body}, []);
    sum('hoody_ai_events_pending') == 0;
}, 20), 'until it is back');

# others may be counted, a second at a time, between one look and the next, and
# both workers tell of Redis' return
my ($answer, $json, @wrong);

ok(wait_for(sub {
    $answer = $s->ask('GET', '/status?format=json');
    $json = $answer->{json};
    $busy = read_text($s->ask('GET', '/status')->{body}, \@wrong);
    $json->{events}{pending} == 0
        && $json->{events}{queued} == sum('hoody_ai_events_queued_total');
}, 20), 'JSON: events');
is(join("\n", @wrong), '', 'at last: a strict reader takes it');

is($json->{max_stale_ms}, 7000, 'JSON: max_stale');
is($json->{labels}{model}, sum('hoody_ai_label_values', qr/model/),
    'JSON: labels');
is($json->{events}{queued}, sum('hoody_ai_events_queued_total'),
    'JSON: the same number');

my ($requests, $tokens) = (0, 0);

for my $series (@{$json->{series}}) {
    $requests += $_ for values %{$series->{requests}};
    $tokens += $series->{output_tokens};
}

is($requests, sum('hoody_ai_requests_total'), 'JSON: requests');
is($tokens, sum('hoody_ai_output_tokens_total'), 'JSON: tokens');
is($json->{refused}{$_}, sum('hoody_ai_refused_total', qr/"\Q$_\E"/),
    "JSON: refused, $_") for sort keys %{$json->{refused}};

$s->finish;
