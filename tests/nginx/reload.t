#!/usr/bin/perl

# Reload and binary upgrade under load, with streams open.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Engine;
use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp spew suspend wait_for);

my $s = HoodyAI::System->new;
my $new_key = $s->new_key('rotated');

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

# the plan for the one is kept, of the other each body is looked into
$s->container('watched', addresses => '127.0.0.2', tags => 'watched');

my $provider = $s->provider(args => ['--key', $new_key]);
my $guard = 'Never delete anything.';
my $engine = HoodyAI::Engine->new($s, rules => [
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } },
    { id => 'seen', trigger => { event => 'chat.message',
                                 tags => ['watched'] },
      action => { type => 'log', content => 'asked' } },
]);

chmod 0777, $engine->{socket};

# the load would fill a debug log; canary.t reads one.  A request may wait for
# the registry for longer than it takes to start workers.
$s->nginx(daemon => 1, workers => 2, level => 'info',
    location => 'hoody_ai_wait 20s;', server => "
    location = /rules {
        internal;
        include " . $s->root . "/conf/hoody_ai_rules_params;
        fastcgi_pass unix:$engine->{socket};
    }

    location /ruled/v1/ {
        hoody_ai on;
        hoody_ai_credential openai;
        hoody_ai_rules /rules timeout=5s;
        proxy_pass http://provider/v1/;
    }");
$s->chat_ask;


my @ways = (
    [],
    [uri => '/ruled/v1/chat/completions', token => 'dev-env'],
    [uri => '/ruled/v1/chat/completions', token => 'watched',
        local => '127.0.0.2'],
);

sub ask_by {
    my ($i, $n) = @_;
    my %way = @{$ways[$i % @ways]};

    return $s->chat_ask(headers => [Connection => 'close']) if !%way;

    # a model that no plan is kept for now and then
    return $s->ask('POST', delete $way{uri}, %way,
        headers => [Connection => 'close'],
        body => chat(model => 'model-' . ($n % 3 ? 0 : "$$-$n")));
}

# Clients that ask until they are told to stop; each says how often it was
# served and what else happened.
sub load_start {
    my ($n) = @_;
    my @load;

    for my $i (1 .. $n) {
        my $file = "$s->{dir}/load.$i";
        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            my ($good, $stop, @bad) = (0, 0);

            $SIG{TERM} = sub { $stop = 1 };

            until ($stop) {
                my $answer = eval { ask_by($i, $good) };

                if ($answer && $answer->{status} == 200
                    && $answer->{complete})
                {
                    $good++;

                } else {
                    push @bad, $answer ? $answer->{status} : $@;
                }

                sleep 0.002;
            }

            spew($file, "$good\n" . join "\n", @bad);
            _exit(0);
        }

        push @load, [$pid, $file];
    }

    return \@load;
}


sub load_stop {
    my ($load, $name, $least) = @_;
    my ($good, @bad) = (0);

    for (@$load) {
        kill 'TERM', $_->[0];
        waitpid $_->[0], 0;

        my ($count, @rest) = split /\n/, slurp($_->[1]);

        $good += $count;
        push @bad, @rest;
    }

    is(join(' ', @bad), '', "$name: no request failed");
    cmp_ok($good, '>', $least, "$name: of many");
    note("$name: $good requests");
}


sub streams {
    my ($n, $chunks) = @_;

    return map {
        my $client = $s->stream(timeout => 20, headers => [
            'X-Sample-Chunks', $chunks, 'X-Sample-Delay', 50,
            'X-Sample-Text', 'a text of some words to be sent']);
        $client->head;
        $client;
    } 1 .. $n;
}


sub whole {
    my ($name, @streams) = @_;

    my $good = grep {
        my $body = $_->rest;
        my $text = join '', $body =~ /"content":"([^"]*)"/g;

        # a worker that leaves lingers until its clients have closed
        $_->close;

        $_->{complete} && $body =~ /\[DONE\]\n\n\z/
            && $text eq 'a text of some words to be sent';
    } @streams;

    is($good, scalar @streams, "$name: no stream was broken");
}


# New workers are there, and the old ones accept nothing more.
sub reload {
    my %old = map { $_ => 1 } $s->workers;

    kill 'HUP', $s->master;
    wait_for {
        2 <= grep { !$old{$_} } $s->workers
            and !grep { slurp("/proc/$_/cmdline") !~ /shutting down|^\z/ }
                    keys %old
    } or die "no new workers\n";

    return sort keys %old;
}


sub settled { wait_for { 2 == $s->workers } 20 }

sub files {
    my ($pid) = @_;

    my @files = glob "/proc/$pid/fd/*";
    return scalar @files;
}

sub redis_clients {
    return scalar(my @lines = split /\n/, $s->cmd('CLIENT', 'LIST'));
}

sub stable {
    my ($count) = @_;
    my $last = -1;

    wait_for {
        my $now = $count->();
        my $same = $now == $last;
        $last = $now;
        sleep 0.1;
        $same;
    };

    return $last;
}


# both workers have all their connections
wait_for { 2 <= (() = $s->log =~ /containers loaded/g) };

my $files = stable(sub { files($s->master) });
my $clients = stable(\&redis_clients);


# Reload

{
    my $load = load_start(6);
    my @streams = streams(20, 50);

    for (1 .. 5) {
        reload();
        push @streams, streams(5, 20);
    }

    whole('reload', @streams);
    load_stop($load, 'reload', 200);
    ok(settled(), 'reload: the old workers are gone');
    is(stable(sub { files($s->master) }), $files,
        'reload: the master has no more files open');
    is(stable(\&redis_clients), $clients,
        'reload: no more connections to Redis');
}

# how long until it ends when access does
sub cut {
    my ($stream, $name) = @_;

    $stream->piece;

    my $start = time;
    $s->disable('dev-env');
    my $body = $stream->rest;
    my $took = time - $start;

    like($body, qr/access_revoked.*\n\n\z/, "$name: the typed event");
    ok($stream->{complete}, "$name: and a proper end");
    $stream->close;

    return $took;
}

cmp_ok(at_best(3, 0.1 * slow, sub {
    my $stream = $s->stream(headers => ['X-Sample-Chunks', 10000,
        'X-Sample-Delay', 20]);

    $stream->head;
    reload();
    sleep 0.1;

    my $took = cut($stream, 'an old worker');

    ok(settled(), 'and then it goes');
    $s->enable('dev-env');
    ok(wait_for(sub { $s->chat_ask->{status} == 200 }), 'enabled again');

    return $took;
}), '<', 0.1 * slow, 'an old worker still obeys');


# Rotation

{
    my $old_key = $s->key('openai');
    my ($stream) = streams(1, 20);

    # asked now, but its body ends after the reload
    my $slow = $s->client;
    my $body = chat();

    $slow->send("POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n"
        . "Authorization: Bearer container-dev-env\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n"
        . substr $body, 0, 10);

    # an old worker has it
    ok(wait_for(sub { !$slow->unread }), 'a request that is slow to come');

    $s->secret('openai', $new_key);
    reload();
    $provider->forget;

    my @seen;
    for (1 .. 5) {
        $s->chat_ask;
        push @seen, map { $_->{headers}{authorization} } $provider->requests;
        $provider->forget;
    }

    is(scalar(grep { $_ eq "Bearer $new_key" } @seen), 5,
        'rotated: new requests have the new key');

    $slow->send(substr $body, 10);
    is($slow->answer->{status}, 200, 'one of before is served');

    my ($last) = $provider->requests;
    $slow->close;
    is($last->{headers}{authorization}, "Bearer $old_key",
        'with the key of its time');
    whole('rotation', $stream);
    ok(settled(), 'rotated');

    # a bad file: the reload fails as a whole, the old key goes on
    my $file = $s->secret('openai', $new_key);
    chmod 0644, $file;
    kill 'HUP', $s->master;
    ok(wait_for(sub { slurp("$s->{dir}/error.log") =~ /\[emerg\].*openai/ }),
        'a file that others can read is refused');
    is($s->chat_ask->{status}, 200, 'and the workers of before go on');
    chmod 0600, $file;
}


# A worker is told to go while a request waits for the registry

{
    suspend($s->pid('redis'));
    reload();

    my $client = $s->client(timeout => 30)->request('POST',
        '/v1/chat/completions', token => 'dev-env', body => chat());

    ok(wait_for(sub { !$client->unread }), 'a request with no registry');
    reload();
    kill 'CONT', $s->pid('redis');
    is($client->answer->{status}, 200,
        'a request that waits for the registry is not dropped');
    $client->close;
    settled();
}


# The last byte of a large body and the order to go come together

{
    my $text = HoodyAI::Client::build('POST', '/v1/chat/completions',
        token => 'dev-env', headers => [Connection => 'close'],
        body => chat(messages => [{ role => 'user',
            content => 'w' x 4e6 }]));
    my $client = $s->client(timeout => 20);
    my @old = $s->workers;

    $client->send(substr $text, 0, -1);
    ok(wait_for(sub { !$client->unread }), 'all but the end is read');
    suspend(@old);
    $client->send(substr $text, -1);
    kill 'HUP', $s->master;
    wait_for { 2 * @old == $s->workers } or die "no new workers\n";
    sleep 0.3;
    kill 'CONT', @old;
    is($client->answer->{status}, 200,
        'a request whose body is being looked at is not dropped');
    $client->close;
    settled();
}


# Binary upgrade

sub upgrade {
    my $old = $s->master;

    kill 'USR2', $old;
    wait_for { my $pid = $s->master; $pid && $pid != $old && $s->workers }
        or die "no new master:\n" . substr $s->log, -2000;

    return $old;
}

{
    my $load = load_start(6);
    my @streams = streams(20, 60);
    my $old = upgrade();

    sleep 0.3;
    kill 'WINCH', $old;
    push @streams, streams(5, 20);
    wait_for {
        (my @left = $s->children($old)) <= 3
    };

    kill 'QUIT', $old;
    whole('upgrade', @streams);
    ok(wait_for(sub { !kill 0, $old }, 20), 'upgrade: the old master is gone');
    load_stop($load, 'upgrade', 200);
    is($s->chat_ask->{status}, 200, 'upgrade: the new one serves');
    is(stable(\&redis_clients), $clients, 'upgrade: nothing is left at Redis');
}

cmp_ok(at_best(3, 0.1 * slow, sub {
    my $stream = $s->stream(headers => ['X-Sample-Chunks', 10000,
        'X-Sample-Delay', 20]);

    $stream->head;

    my $old = upgrade();

    kill 'WINCH', $old;
    sleep 0.2;

    my $took = cut($stream, 'upgrade: an old worker');

    kill 'QUIT', $old;
    ok(wait_for(sub { !kill 0, $old }, 20), 'upgrade: and goes');
    $s->enable('dev-env');
    ok(wait_for(sub { $s->chat_ask->{status} == 200 }),
        'upgrade: the new one goes on');

    return $took;
}), '<', 0.1 * slow, 'upgrade: an old worker obeys at once');

$s->finish(alerts => qr/\[emerg\].*\/openai"/);
