#!/usr/bin/perl

# hoody-ai-rules as a server: kept connections, slow and broken peers, sizes,
# the ways to start it, and how it ends.
#
# asan: no, it is about threads and processes; engine.t runs the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);

use HoodyAI::Engine;
use HoodyAI::FastCGI;
use HoodyAI::Pace;
use HoodyAI::System qw(chat free_port slurp spew suspend wait_for);

HoodyAI::System->many_files;

my $s = HoodyAI::System->new;

$s->redis;

my %append = (id => 'guard', trigger => { event => 'chat.system.transform' },
    action => { type => 'append', content => 'Be careful.' });
my $threads = 4;
my $engine = HoodyAI::Engine->new($s, rules => [\%append],
    args => ['--threads', $threads]);
my $body = chat();

# A question that is answered; the time-out of what is stuck is 5 seconds.
sub answers {
    my ($name, $to) = @_;

    my $began = time;
    my $answer = ($to // $engine)->ask('plan');
    my $took = time - $began;

    ok($answer && $answer->{status} == 200 && $took < 3 * slow, $name)
        or diag(sprintf '%.3f s, status %s', $took,
            $answer ? $answer->{status} : 'none');
}


# Kept connections

{
    my $fcgi = $engine->connect;
    my %seen;

    for my $n (1 .. 1000) {
        my $answer = $n % 3 ? $fcgi->ask('plan')
            : $fcgi->ask('body', body => $body);
        $seen{$answer ? $answer->{status} : $fcgi->error}++;
    }

    is_deeply(\%seen, { 200 => 1000 }, 'a thousand questions, one connection');

    my @many = map { $engine->connect } 1 .. 16 * $threads;
    my $good = 0;

    for my $round (1 .. 3) {
        $good += ($_->ask('plan') // {})->{status} == 200 for @many;
    }

    is($good, 3 * @many, 'more kept connections than threads');
    answers('and a new one is answered at once');
    ok($engine->until_status(sub { $_->{connections} == 2 + @many }),
        'they are counted');

    $_->close for @many, $fcgi;
    ok($engine->until_status(sub { $_->{connections} == 1 }),
        'closed ones are forgotten');

    my $once = $engine->connect(keep => 0);
    is($once->ask('plan')->{status}, 200, 'a connection that is not kept');
    ok($once->closed, 'is closed');
}

{
    my @many = map { $engine->connect } 1 .. 1040;
    my $good = 0;

    for my $fcgi (@many) {
        $good += ($fcgi->ask('plan') // {})->{status} == 200;
    }

    is($good, @many, 'more connections than are kept');
    ok($engine->until_status(sub { $_->{connections} <= 1024 + 1 }),
        'the rest is closed after the answer');
    answers('a new one is answered');
    $_->close for @many;
    ok($engine->until_status(sub { $_->{connections} == 1 }), 'all are closed');
}


# Peers that take their time

{
    my $question = $engine->connect->question('body', body => $body);
    my @stuck;

    # in the first record, the parameters, the body
    for my $length (4, 60, length($question) - 40) {
        my $fcgi = $engine->connect;
        $fcgi->send(substr $question, 0, $length);
        push @stuck, $fcgi;
    }

    my $silent = $engine->connect;

    answers("$_ with stuck ones") for 1 .. 3;

    my $trickle = $engine->connect;
    my $began = time;
    my $sent = 0;

    while (time - $began < 30 * slow
           && $trickle->send(substr $question, $sent++ % length $question, 1))
    {
        last if $trickle->closed(0.5);
    }

    my $took = time - $began;
    cmp_ok($took, '<', 14 * slow, 'one byte at a time is cut off');
    cmp_ok($took, '>', 8, 'after a while');

    is(scalar(grep { $_->closed } @stuck), 3, 'and so are the stuck ones');
    ok(!$silent->closed(0), 'a connection that is idle is kept');
    is($silent->ask('plan')->{status}, 200, 'and answered');
}

{
    my $fcgi = $engine->connect;
    my $question = $fcgi->question('body', body => $body, size => 1);

    for my $byte (split //, $question) {
        $fcgi->send($byte);
    }

    is($fcgi->answer->{status}, 200, 'a byte per packet and record');

    # one who does not read his answers, which are long
    $engine->rules(\%append, { %append, id => 'long',
        action => { type => 'append', content => 'x' x 60000 } });
    ok($engine->until_status(sub { $_->{rules} == 2 }), 'a long rule');

    my $deaf = $engine->connect;

    for (1 .. 6) {
        my $asked = $engine->status->{questions}{plan};

        $deaf->send($deaf->question('plan'));
        last if !$engine->until_status(
            sub { $_->{questions}{plan} > $asked }, 1);
    }

    answers('one who does not read delays nobody');
    ok($engine->until_status(sub { $_->{connections} == 2 }, 20),
        'and is closed');
    $engine->rules(\%append);
    ok($engine->until_status(sub { $_->{rules} == 1 }), 'the short rule');
}


# What is not FastCGI

{
    my $fcgi = $engine->connect;
    my $begin = $fcgi->record(1, pack 'nCx5', 1, 1);
    my $parameters = $fcgi->parameters(HOODY_ASK => 'plan');
    my %garbage = (
        'nothing' => '',
        'text' => "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        'zeros' => "\0" x 4096,
        'ones' => "\xff" x 4096,
        'another version' => $fcgi->record(1, pack('nCx5', 1, 1),
            version => 2),
        'a short begin' => $fcgi->record(1, "\0\1"),
        'an unknown role' => $fcgi->record(1, pack 'nCx5', 77, 1),
        'the authorizer' => $fcgi->record(1, pack 'nCx5', 2, 1)
            . $fcgi->stream(4, $parameters) . $fcgi->stream(5, ''),
        'standard input first' => $begin . $fcgi->stream(5, $body),
        'parameters twice' => $begin . $fcgi->stream(4, $parameters) x 2,
        'a length beyond the end' => $begin
            . $fcgi->record(4, 'abc', length => 60000),
        'half a pair' => $begin . $fcgi->stream(4, "\x04\x05HO"),
        'a pair of 2 GB' => $begin
            . $fcgi->stream(4, pack('NN', 0xffffffff, 0xffffffff) . 'abc'),
        'half a length' => $begin . $fcgi->stream(4, "\xff\xff"),
        'no parameters' => $begin . $fcgi->stream(4, '')
            . $fcgi->stream(5, ''),
    );

    for my $name (sort keys %garbage) {
        my $peer = $engine->connect;
        $peer->send($garbage{$name});
        $peer->shut;

        my $answer = $peer->answer;
        ok(!$answer || ($answer->{status} // 400) == 400, $name);
        $peer->close;
    }

    srand(20);

    for (1 .. 200) {
        my $peer = $engine->connect;
        my $question = $peer->question('body', body => $body);

        substr($question, int rand length $question, 1) = chr int rand 256
            for 1 .. 1 + rand 4;
        $peer->send($question);
        $peer->shut;
        $peer->answer;
        $peer->close;
    }

    answers('after all that it answers');
    $fcgi->close;
    ok($engine->until_status(sub { $_->{connections} == 1 }, 20),
        'and has forgotten all of them');

    my $values = $engine->connect;
    $values->send($values->record(9, $values->pair('FCGI_MPXS_CONNS', ''),
        id => 0));
    my $record = $values->next_record;
    is($record && $record->[2], $values->pair('FCGI_MPXS_CONNS', '0'),
        'requests are not multiplexed on one connection');

    is($engine->ask('plan', HTTP_X => 'x' x 1_000_000)->{status}, 200,
        'a megabyte of a parameter');
    is($engine->ask('plan', HOODY_TAGS => 'x' x 1_000_000)->{status}, 400,
        'but not of one that counts');
}


# Large bodies

{
    my $fcgi = $engine->connect(timeout => 60);
    my $large = chat(messages => [{ role => 'user',
        content => 'a' x (32 * 1024 * 1024 - 200) }]);
    my $answer = $fcgi->ask('body', body => $large);

    is($answer->{status}, 200, '32 MB');
    ok($fcgi->spliced($large, $answer->{body})
        =~ /\A[^a].{0,200}"Be careful\."/s, 'with the edit');
    is($fcgi->ask('body', body => $body)->{status}, 200,
        'and a small one behind it');

    $answer = $fcgi->ask('plan', body => $large);
    is($answer->{status}, 200, 'a body that nobody asked for is passed over');
    is($fcgi->ask('plan')->{status}, 200, 'to its end');

    $answer = $fcgi->ask('body', body => '{}', CONTENT_LENGTH => 1e9);
    is($answer && $answer->{status}, 413, 'too long, as it says');
    ok($fcgi->closed, 'and the connection is over');

    $fcgi = $engine->connect(timeout => 60);
    $fcgi->send($fcgi->question('body', body => '{' . ' ' x 68_000_000,
        CONTENT_LENGTH => ''));
    $answer = $fcgi->answer;
    ok(!$answer || $answer->{status} == 413,
        'too long, and it does not say so');
    answers('the next question is answered');

    my ($rss) = slurp('/proc/' . $engine->pid . '/status')
        =~ /^VmRSS:\s+(\d+)/m;
    cmp_ok($rss, '<', 60_000, 'large bodies leave no memory behind')
        if slow == 1;
}


# The stream is away: a queue, then drops, and nobody waits

{
    $engine->rules({ id => 'note', trigger => { event => 'chat.message' },
        action => { type => 'log', content => 'x' } });
    ok($engine->until_status(sub { exists $_->{fired}{note} }), 'a log rule');
    suspend($s->pid('redis'));

    my $fcgi = $engine->connect;
    my $slowest = 0;

    for (1 .. 4500) {
        my $began = time;
        my $answer = $fcgi->ask('body', body => $body);

        ok(0, 'no answer: ' . $fcgi->error) if !$answer;
        $slowest = time - $began if time - $began > $slowest;
    }

    cmp_ok($slowest, '<', 3 * slow, 'no question waited');

    my $dropped = $engine->status->{dropped_entries};
    ok($dropped >= 4500 - 4096 - 2 * 64 && $dropped <= 4500 - 4096,
        'what the queue does not hold is dropped and counted')
        or diag($dropped);
    ok(wait_for(sub { $engine->log =~ /\d+ entries are lost/ }),
        'and the log says so at once');

    kill 'CONT', $s->pid('redis');
    ok(wait_for(sub { eval { $s->cmd('XLEN', $s->rkey('events')) }
        >= 4500 - $dropped }, 20), 'the rest is written later');

    my %eids = map { my %fields = @{$_->[1]}; ($fields{eid} => 1) }
        @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')};
    cmp_ok(scalar(keys %eids), '>=', 4500 - $dropped,
        'each with an id of its own');

    $engine->rules(\%append);
    ok($engine->until_status(sub { exists $_->{fired}{guard} }),
        'back to the other rule');
}


# How it ends

{
    my $fcgi = $engine->connect;
    my $idle = $engine->connect;
    my $question = $fcgi->question('body', body => $body);
    my $pid = $engine->pid;

    $idle->ask('plan');
    $fcgi->send(substr $question, 0, -20);
    ok($engine->until_status(sub { $_->{connections} == 3 }),
        'a question is on its way');

    kill 'TERM', $pid;
    ok(wait_for(sub { !-e $engine->{socket} }), 'the socket is gone at once');
    ok($idle->closed(3), 'and so are idle connections');
    $fcgi->send(substr $question, -20);
    is(($fcgi->answer // {})->{status}, 200, 'the question is answered');
    is($engine->stop, 0, 'the engine ends with status 0');

    $engine->start;
    my $stuck = $engine->connect;
    $stuck->send(substr $question, 0, 100);
    ok($engine->until_status(sub { $_->{connections} == 2 }), 'a stuck one');

    my $began = time;
    is($engine->stop, 0, 'is not waited for');
    cmp_ok(time - $began, '<', 7 * slow, 'for long');
}


# How it starts

{
    $engine->start;

    is((stat $engine->{socket})[2] & 0777, 0660, 'the mode of the socket');

    my $second = HoodyAI::Engine->new($s, name => 'second', wait => 0,
        socket => $engine->{socket});
    ok(wait_for(sub { $second->log =~ /another program listens/ }),
        'two engines on one path: the second says so');
    is($second->stop, 1 << 8, 'and ends with status 1');
    answers('the first one answers');

    is($engine->stop('KILL'), 9, 'killed');
    ok(-S $engine->{socket}, 'a stale socket');
    $engine->start;
    answers('is taken over');

    my $private = HoodyAI::Engine->new($s, name => 'private',
        args => ['--socket-mode', '0600', '--socket-group', $)+0]);
    is((stat $private->{socket})[2] & 0777, 0600, '--socket-mode');
    is($private->stop, 0, 'it ends');

    my $port = free_port();
    my $tcp = HoodyAI::Engine->new($s, name => 'tcp', rules => [\%append],
        socket => "127.0.0.1:$port");
    answers('over TCP', $tcp);
    is($tcp->stop, 0, 'it ends');
}

SKIP: {
    my ($spawner) = grep { -x } map { "$_/spawn-fcgi" }
        split(/:/, $ENV{PATH}), '/usr/bin';
    skip('no spawn-fcgi', 3) if !$spawner;

    my $socket = "$s->{dir}/spawned.sock";
    my $spawned = HoodyAI::Engine->new($s, name => 'spawned',
        rules => [\%append], socket => $socket, wait => 0,
        command => [$spawner, '-n', '-s', $socket, '--',
            $s->program('hoody-ai-rules'), '--server', $s->{server},
            '--redis', "unix:$s->{redis_socket}",
            '--rules', "$s->{dir}/spawned/hoody.json"]);

    ok($spawned->until_status(sub { $_->{epoch} }), 'started by spawn-fcgi');
    answers('it answers', $spawned);
    is($spawned->stop, 0, 'it ends');
}

{
    my $path = "$s->{dir}/systemd.sock";
    my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 128);
    my $fd = fileno $listen;

    my $unit = HoodyAI::Engine->new($s, name => 'unit', rules => [\%append],
        socket => $path, before => sub {
            POSIX::dup2($fd, 3);
            $ENV{LISTEN_PID} = $$;
            $ENV{LISTEN_FDS} = 1;
        });

    answers('started by systemd', $unit);
    is($unit->stop, 0, 'it ends');
    ok(-S $path, 'the socket is not its own');

    # the next one finds what came meanwhile
    my $waiting = HoodyAI::FastCGI->new(to => $path);
    $waiting->send($waiting->question('plan'));
    $unit->start(before => sub {
        POSIX::dup2($fd, 3);
        $ENV{LISTEN_PID} = $$;
        $ENV{LISTEN_FDS} = 1;
    });
    is($waiting->answer->{status}, 200,
        'a connection waits for the next one');
    is($unit->stop, 0, 'it ends');

    my $wrong = HoodyAI::Engine->new($s, name => 'wrong', wait => 0,
        before => sub { @ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, 2) });
    ok(wait_for(sub { $wrong->log =~ /one listening socket/ }),
        'two sockets are one too many');
    is($wrong->stop, 1 << 8, 'status 1');
}

SKIP: {
    skip('not root', 3) if $> != 0;

    my $nobody = HoodyAI::Engine->new($s, name => 'nobody',
        rules => [\%append], args => ['--user', 'nobody']);
    my $uid = getpwnam 'nobody';

    like(slurp('/proc/' . $nobody->pid . '/status'),
        qr/^Uid:\t$uid\t$uid\t$uid\t$uid$/m, '--user');
    answers('it answers', $nobody);
    is($nobody->stop, 0, 'it ends');
}

{
    my $config = "$s->{dir}/engine.json";

    spew($config, encode_json({ socket => "$s->{dir}/config/rules.sock",
        server => $s->{server}, redis => "unix:$s->{redis_socket}",
        threads => 3, 'log-level' => 'warn' }));

    my $configured = HoodyAI::Engine->new($s, name => 'config',
        command => [$s->program('hoody-ai-rules'), '--config', $config]);
    is($configured->status->{threads}, 3, '--config');
    is($configured->stop, 0, 'it ends');
    is($configured->log, '', 'and had nothing to warn of');
}

for my $case (['--threads', 0], ['--threads', 'many'], ['--nothing'],
    ['--redis', 'a b'], ['--server', 'a{b'], ['--log-level', 'loud'],
    ['rest'])
{
    my $log = "$s->{dir}/options.out";
    my $status = system 'sh', '-c', 'log=$1; shift; exec "$@" >"$log" 2>&1',
        'sh', $log, $s->program('hoody-ai-rules'), @$case;

    is($status >> 8, 2, "@$case");
    like(slurp($log), qr/hoody-ai-rules: /, 'with a message');
}

my $help = qx('@{[$s->program('hoody-ai-rules')]}' --help);
like($help, qr/--socket-mode.*--threads.*--no-plan/s, '--help');
like(qx('@{[$s->program('hoody-ai-rules')]}' --version), qr/^hoody-ai-rules \d/,
    '--version');

$s->finish;
