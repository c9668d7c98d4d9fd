#!/usr/bin/perl

# The rule engine broken in every way that an operator's day brings: no
# request gets past a rule, none hangs, and all is well again once the engine
# is, without a word to nginx.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Client;
use HoodyAI::Engine;
use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp spew suspend wait_for);

my $s = HoodyAI::System->new;
my $guard = 'Never delete anything.';

my $timeout = 1;
my $slack = 1 * slow;

my @rules = (
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } },
    { id => 'seen', trigger => { event => 'chat.message', tags => ['watched'] },
      action => { type => 'log', content => 'asked' } },
);

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');
$s->container('watched', addresses => '127.0.0.2', tags => 'watched');

my $provider = $s->provider;
my $engine = HoodyAI::Engine->new($s, rules => \@rules);

chmod 0777, $engine->{socket};

mkdir "$s->{dir}/hoody-ai";
spew("$s->{dir}/hoody-ai/$_", slurp($s->root . "/conf/$_")
        =~ s{/run/hoody-ai/rules\.sock}{$engine->{socket}}r)
    for qw(hoody_ai_rules.conf hoody_ai_rules_params
           hoody_ai_rules_upstream.conf);

$s->nginx(http => sub {
    my $text = $s->default_http(
        location => "hoody_ai_rules /hoody-ai-rules timeout=${timeout}s;",
        server => 'include hoody-ai/hoody_ai_rules.conf;

            location /pass/v1/ {
                hoody_ai on;
                hoody_ai_credential openai;
                hoody_ai_rules /hoody-ai-rules on_error=pass timeout=200ms;
                proxy_pass http://provider/v1/;
            }');

    return "include hoody-ai/hoody_ai_rules_upstream.conf;\n$text";
});

my $model = 0;


# A chat; how it ended, how long it took, what the provider got.
sub ask {
    my ($name, %option) = @_;

    my $began = time;
    my $answer = $s->chat_ask(token => $name,
        local => $name eq 'watched' ? '127.0.0.2' : '127.0.0.1', %option);
    my $took = time - $began;
    my ($seen) = $provider->requests;

    $provider->forget;

    return { %$answer, took => $took, sent => $seen && $seen->{body} };
}

# a model that no plan has been kept for
sub new_model { (body => chat(model => 'model-' . ++$model)) }

sub good {
    my ($answer, $name) = @_;

    is($answer->{status}, 200, "$name: 200") or diag($answer->{body});
    like($answer->{sent} // '', qr/\Q$guard\E/, "$name: with the rule");
}

sub refused {
    my ($answer, $name, $within) = @_;

    is($answer->{status}, 503, "$name: 503");
    is($answer->{json}{error}{code}, 'rules_unavailable', "$name: why");
    ok($answer->{headers}{'retry-after'}, "$name: when to try again");
    is($answer->{sent}, undef, "$name: nothing was sent");
    cmp_ok($answer->{took}, '<=', $within + $slack, "$name: in time");
}

sub all_good {
    my ($name) = @_;

    good(ask('dev-env'), "$name, kept plan");
    good(ask('dev-env', new_model()), "$name, new plan");
    good(ask('watched'), "$name, a body is looked into");
}

sub descriptors {
    my ($worker) = $s->workers;
    return scalar(() = glob "/proc/$worker/fd/*");
}


all_good('to begin with');

my $open = descriptors();

# killed
$engine->stop('KILL');
good(ask('dev-env'), 'killed, kept plan');
refused(ask('dev-env', new_model()), 'killed, new plan', 0.1);
refused(ask('watched'), 'killed, a body to be looked into', 0.1);

{
    my $answer = ask('watched', new_model());

    is_deeply([sort keys %{$answer->{json}{error}}],
        [qw(code message param type)], 'killed: the shape SDKs expect');
}

$engine->start;
chmod 0777, $engine->{socket};
all_good('started again');

# stopped
suspend($engine->pid);
good(ask('dev-env'), 'stopped, kept plan');
refused(ask('dev-env', new_model()), 'stopped, new plan', $timeout);
refused(ask('watched'), 'stopped, a body to be looked into', $timeout);

{
    my $answer = ask('watched', body => chat(filler => 'x' x 1_000_000));

    refused($answer, 'stopped, a large body', $timeout);
}

kill 'CONT', $engine->pid;
all_good('continued');

# the socket is gone
is($engine->stop, 0, 'told to stop: status 0');
ok(!-e $engine->{socket}, 'and its socket is gone');
good(ask('dev-env'), 'no socket, kept plan');
refused(ask('dev-env', new_model()), 'no socket, new plan', 0.1);
refused(ask('watched'), 'no socket, a body to be looked into', 0.1);
$engine->start;
chmod 0777, $engine->{socket};
all_good('the socket is back');

# on_error=pass
{
    my $began = time;
    my $answer;

    $engine->stop('KILL');
    $answer = $s->ask('POST', '/pass/v1/chat/completions',
        token => 'watched', local => '127.0.0.2', body => chat());
    is($answer->{status}, 200, 'on_error=pass: 200');
    like($s->log, qr/\[(?:warn|error)\][^\n]*hoody_ai:[^\n]*rule/,
        'and the log says that rules were not applied');
    $provider->forget;
    $engine->start;
    chmod 0777, $engine->{socket};
    wait_for { ask('watched')->{status} == 200 };
}

# access is taken away, or the caller leaves, while the engine is asked
suspend($engine->pid);

{
    my $client = $s->client(local => '127.0.0.2');

    $client->request('POST', '/v1/chat/completions', token => 'watched',
        body => chat());
    sleep 0.1;

    my $began = time;

    $s->disable('watched');

    my $answer = $client->answer;

    is($answer->{status}, 403, 'access taken away meanwhile: 403');
    cmp_ok(time - $began, '<=', 0.1 + $slack, 'at once');
    $s->enable('watched');

    for (1 .. 20) {
        my $leaver = $s->client(local => '127.0.0.2');

        $leaver->request('POST', '/v1/chat/completions', token => 'watched',
            body => chat());
        $leaver->send('');
        $leaver->reset;
    }
}

kill 'CONT', $engine->pid;
ok(wait_for(sub { ask('watched')->{status} == 200 }), 'all is well again');
all_good('after callers left');

# Many at once, while the engine comes and goes
{
    my @clients;
    my ($sent, $with) = (0, 0);
    my %status;
    my $began = time;

    # 3 s; longer where too little has come to the provider by then
    while (time - $began < ($sent > 20 ? 3 : 60)) {
        my @round = map {
            my $watched = $_ % 2;
            my $client = $s->client(local => $watched ? '127.0.0.2'
                                                      : '127.0.0.1');

            $client->request('POST', '/v1/chat/completions',
                token => $watched ? 'watched' : 'dev-env', new_model());
            $client;
        } 1 .. 20;

        if (rand() < 0.5) {
            $engine->stop('KILL');
            $engine->start;
            chmod 0777, $engine->{socket};
        }

        for my $client (@round) {
            my $answer = $client->answer;

            $status{$answer->{status}}++;
            $client->close;
        }

        for my $seen ($provider->requests) {
            $sent++;
            $with++ if index($seen->{body}, $guard) >= 0;
        }

        $provider->forget;
    }

    is(join(',', grep { !/^(?:200|503)\z/ } sort keys %status), '',
        'many: answers and refusals only');
    cmp_ok($sent, '>', 20, 'many: requests were passed on');
    is($with, $sent, 'many: each with the rule');
}

all_good('at the end');

# kept connections to the engine and the provider are all that may be new
ok(wait_for(sub { descriptors() <= $open + 24 }, 5),
    'no descriptor is left open') or diag(descriptors(), ' now, ', $open);

# nginx goes on under new rules, with old workers at work
kill 'HUP', $s->master;
ok(wait_for(sub { slurp("$s->{dir}/error.log") =~ /gracefully shutting/ }),
    'a reload');
all_good('after a reload');

$s->finish;
