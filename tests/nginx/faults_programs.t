#!/usr/bin/perl

# The rule engine and the event worker while Redis is in trouble: the engine
# goes on with the last set that it knows, the worker loses nothing, and both
# are well again without a word to them.
#
# asan: no, most of it is waiting for time-outs

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Engine;
use HoodyAI::Events;
use HoodyAI::Faults;
use HoodyAI::System qw(slurp spew suspend wait_for);


# name, what breaks it, what mends it; both get the system and the user whom
# the program is to Redis.  "empty": what was written is gone; "quiet": not in
# the middle of work, because what Redis forgot of it comes 15 s later.

sub user_is {
    my ($s, $user) = @_;

    my ($line) = grep { /^user $user / } split /\n/,
        slurp("$s->{dir}/redis.acl");
    my @words = split / /, $line;

    return @words[2 .. $#words];
}

sub set_user {
    my ($s, $user, @how) = @_;

    $s->cmd('ACL', 'SETUSER', $user, @how);
}

my $user_back = sub {
    my ($s, $user) = @_;

    set_user($s, $user, 'reset', user_is($s, $user));
};

my @faults = (
    ['killed, restarted with its data',
        sub {
            my ($s) = @_;

            $s->cmd('SAVE');
            $s->stop('redis', 'KILL');
        },
        sub { $_[0]->redis(args => $_[0]{redis_args},
            user => $_[0]{redis_user}) }, quiet => 1],
    ['stopped (SIGSTOP), continued',
        sub { suspend($_[0]->pid('redis')) },
        sub { kill 'CONT', $_[0]->pid('redis') }],
    ['FLUSHALL', sub { $_[0]->cmd('FLUSHALL') }, sub { }, empty => 1],
    ['wrong password',
        sub {
            my ($s, $user) = @_;

            set_user($s, $user, 'resetpass', '#' . sha256_hex('another'));
            $s->cmd('CLIENT', 'KILL', 'USER', $user);
        }, $user_back],
    ['all rights are taken away',
        sub { set_user(@_, 'nocommands') }, $user_back],
    ['the user is deleted',
        sub { $_[0]->cmd('ACL', 'DELUSER', $_[1]) }, $user_back],
    ['out of memory',
        sub { $_[0]->cmd('CONFIG', 'SET', 'maxmemory', 1) },
        sub { $_[0]->cmd('CONFIG', 'SET', 'maxmemory', 0) }],
    ['CLIENT KILL',
        sub { $_[0]->cmd('CLIENT', 'KILL', 'USER', $_[1]) }, sub { }],
    ['CLIENT PAUSE ALL',
        sub { $_[0]->cmd('CLIENT', 'PAUSE', 1000, 'ALL') }, sub { }],
    ['CLIENT PAUSE WRITE',
        sub { $_[0]->cmd('CLIENT', 'PAUSE', 1000, 'WRITE') }, sub { }],
);


# set_up() of HoodyAI::Events, with what it takes to start Redis again.
sub system_with_users {
    my $s = set_up();

    $s->{redis_args} = ['--aclfile', "$s->{dir}/redis.acl"];

    return $s;
}


sub engine {
    my $s = system_with_users();
    my $key = $s->rkey('rules');
    my $epoch = $s->rkey('rules:epoch');
    my $rule = sub {
        my ($id, $text) = @_;

        return { id => $id, trigger => { event => 'chat.system.transform' },
            action => { type => 'append', content => $text } };
    };
    my $text = 'overlay 0';
    my $n = 0;
    my $over = sub { $s->cmd('HSET', $key, 'over',
        encode_json($rule->('over', $text))) };

    $over->();

    my $engine = HoodyAI::Engine->new($s, rules => [$rule->('base', 'Base.')],
        redis => "unix:$s->{redis_socket} user=engine"
            . " password_file=$s->{dir}/redis.password connect_timeout=500ms"
            . ' max_stale=1s');

    # what the engine says to a question: the texts that it would add
    my $says = sub {
        my $answer = $engine->ask('plan') // return 'nothing';

        return $answer->{status} if $answer->{status} != 200;
        return join ' | ', map { $_->{text} } @{$answer->{json}{edits}};
    };

    like($says->(), qr/Base.*overlay 0/s, 'engine: both rules');

    for my $fault (@faults) {
        my ($name, $break, $mend, %more) = @$fault;
        my ($wrong, @took) = 0;

        $break->($s, 'engine');

        my $end = time + 1;

        while (time < $end) {
            my $began = time;
            my $said = $says->();

            push @took, time - $began;
            $wrong++ if $said !~ /Base/
                || (!$more{empty} && $said !~ /\Q$text\E/);
            sleep 0.02;
        }

        is($wrong, 0, "engine: $name: the last set is in force");

        # one may meet a busy machine
        @took = sort { $a <=> $b } @took;
        cmp_ok($took[@took * 0.9], '<', 0.25,
            "engine: $name: no question waits") or diag("of @took");

        $mend->($s, 'engine');
        $text = 'overlay ' . ++$n;
        $over->();
        ok(wait_for(sub { $says->() =~ /\Q$text\E/
                && $engine->ask('plan')->{epoch} eq $s->cmd('GET', $epoch) },
            20), "engine: $name: the next overlay is taken");
    }

    # as long as it is not a hash nobody knows what it would say
    $s->cmd('SET', $key, 'text');
    sleep 0.5;
    like($says->(), qr/Base.*\Q$text\E/s, 'engine: wrong type: the last set');
    $s->cmd('DEL', $key);
    $text = 'overlay ' . ++$n;
    $over->();
    ok(wait_for(sub { $says->() =~ /\Q$text\E/ }, 20),
        'engine: wrong type: the next overlay is taken');

    is($engine->stop, 0, 'engine: it ended well');
    $s->finish;
}


sub worker {
    my $s = system_with_users();
    my $receiver = receiver();
    my @fired;

    write_rules([hook('plain', $receiver, '/plain')]);
    start();

    my $first = fire('plain');

    ok(soon { received($first) }, 'worker: it works');

    for my $fault (@faults) {
        my ($name, $break, $mend, %more) = @$fault;

        # a flood, so that the fault comes in the middle of it
        my @before = map { fire('plain') } 1 .. 30;

        ok(settled(), "worker: $name: done before")
            if $more{empty} || $more{quiet};
        $break->($s, 'events');
        sleep 1;
        $mend->($s, 'events');

        my $after = fire('plain');

        ok(soon(sub { received($after) }, 20), "worker: $name: well again")
            or diag(substr worker_log(), -2000);
        # what was leased in an answer that was lost waits for the lease's end
        ok(settled(45), "worker: $name: all is done");

        my %came = map { $_->{id} => 1 } all_received();

        is(scalar(grep { !$came{$_} } @before, $after), 0,
            "worker: $name: nothing is lost");
    }

    $s->cmd('SET', $s->rkey('events'), 'text');
    sleep 0.5;
    $s->cmd('DEL', $s->rkey('events'));

    my $last = fire('plain');

    ok(soon(sub { received($last) }, 20), 'worker: wrong type: well again');

    is($s->stop('events'), 0, 'worker: it ended well');
    $s->finish;
}


# A clock that is set.  A day ahead of what the kernel waits by: whoever waits
# until a time of day waits for a day.

sub engine_clock {
    my $s = HoodyAI::System->new;
    my @env = HoodyAI::Faults::clock_env($s);

    HoodyAI::Faults::set_clock($s, 86400);
    $s->redis;
    suspend($s->pid('redis'));

    my $engine = HoodyAI::Engine->new($s, wait => 0,
        redis => "unix:$s->{redis_socket} connect_timeout=20s");

    $engine->stop;
    $engine->start(wait => 0, command => ['/usr/bin/env', @env,
        @{$engine->command}]);
    ok(wait_for(sub { $engine->status }, 10),
        'clock: an engine starts without Redis');
    kill 'CONT', $s->pid('redis');
    ok($engine->until_status(sub { $_->{epoch} }), 'clock: and finds it');

    # it waits for a thread that reads a question, for 5 s
    my $stuck = $engine->connect;

    $stuck->send(substr $stuck->question('plan'), 0, 100);
    ok($engine->until_status(sub { $_->{connections} == 2 }),
        'clock: a stuck question');

    my $began = time;

    is($engine->stop, 0, 'clock: it ended well');
    cmp_ok(time - $began, '<', 10, 'clock: in time');
    $s->finish;
}


# Pauses between attempts are kept in Redis, by the time of day.
sub worker_clock {
    my $s = system_with_users();
    my %env = map { split /=/, $_, 2 } HoodyAI::Faults::clock_env($s);

    write_rules([hook('fail3', receiver(), '/fail3')]);

    {
        local @ENV{keys %env} = values %env;
        start();
    }

    for my $jump (86400, -86400) {
        my $began = fire('fail3');

        ok(soon { received($began) }, 'clock: a first attempt');
        HoodyAI::Faults::set_clock($s, $jump);
        ok(soon(sub { received($began) == 4 }, 20),
            "clock: set by $jump seconds, and the others");
    }

    ok(settled(), 'clock: all is done');
    is($s->stop('events'), 0, 'clock: the worker ended well');
    $s->finish;
}


tracks(undef, \&engine, \&worker, \&engine_clock, \&worker_clock);
done_testing();
