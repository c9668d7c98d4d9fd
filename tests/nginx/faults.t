#!/usr/bin/perl

# Redis in every kind of trouble that needs no network: what callers get, how
# soon it is noticed, how it ends.  See HoodyAI::Faults for what holds in each
# row, and docs/FAULTS.md for the table.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Faults;
use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp spew suspend wait_for);

# Redis cannot be reached, or refuses the gateway
my %gone = (
    get => 'the last known truth until `max_stale`, then 503',
    back => 'at the next try, 50 ms to 2 s apart',
    limits => [1.25, 2.5], blind => 1,
);


# The process.

sub process {
    my $f = HoodyAI::Faults->new(later => 1);

    $f->row(name => 'absent at start',
        get => '503 after `hoody_ai_wait`',
        noticed => 'at once, by `connect()`',
        back => 'at the next try, 50 ms to 2 s apart',
        limits => [0.9, 2.5], blind => 1,
        run => sub {
            my ($f, $s) = @_;

            # once more: all as it was
            $f->absent if $s->{running}{redis};
            $f->break(sub { });
            $f->revoked;
            $f->{fault} -= $f->{max_stale};    # nothing is known
            $f->notice(on => 503);
            $f->mend(sub { $f->start });
            $f->right;
        });

    $f->row(%gone, name => 'killed, restarted with its data',
        noticed => 'at once, refused at `max_stale`',
        run => sub {
            my ($f, $s) = @_;
            my $data = $f->next_data(['SREM', $s->rkey('ai:enabled'), 'cut']);

            $f->break(sub { $s->stop('redis', 'KILL') });
            $f->revoked;
            $f->notice(on => 503);
            spew("$s->{dir}/redis/dump.rdb", $data);
            $f->mend(sub { $f->start });
            $f->right;
        });

    $f->row(name => 'killed, restarted empty',
        get => 'the last known truth, then 401 as soon as it was loaded',
        noticed => 'at once',
        back => 'with the writes that fill it',
        limits => [0.75, 0.35], allow => { map { $_ => [401] } qw(on off cut) },
        run => sub {
            my ($f, $s) = @_;

            $f->break(sub {
                $s->stop('redis', 'KILL');
                unlink "$s->{dir}/redis/dump.rdb";
            });
            $f->start;
            $f->revoked;
            $f->notice(on => 401, off => 401, cut => 401);
            $f->mend(sub { $f->fill('on') });
            $f->right;
        });

    $f->row(%gone, name => 'stopped (SIGSTOP), continued',
        noticed => '3/5 of `max_stale` without an answer, refused at '
            . '`max_stale`',
        run => sub {
            my ($f, $s) = @_;
            my $write;

            # waits for the provider all the while
            my $waits = $s->client(local => '127.0.0.1');

            $waits->request('POST', '/v1/chat/completions', token => 'on',
                body => chat(), headers => ['X-Sample-First-Delay', 30000]);
            $f->break(sub { suspend($s->pid('redis')) });
            $f->revoke(sub { $write = $f->say_to_redis('SREM',
                $s->rkey('ai:enabled'), 'cut') });
            $f->notice(on => 503);
            is($waits->answer->{json}{error}{code}, 'registry_unavailable',
                'stopped (SIGSTOP): who waits for the provider is told');
            sleep 0.2;
            $f->mend(sub { kill 'CONT', $s->pid('redis') });
            $f->right;
        });

    $f->finish;
}


# The data.

sub data {
    my $f = HoodyAI::Faults->new;
    my $s = $f->{s};
    my $gate = $s->rkey('ai:enabled');
    my $hash = $s->rkey('container:on');
    my @all = map { $_ => [401] } qw(on off cut);

    $f->row(name => '`FLUSHALL`',
        get => '401 as soon as the load has shown that nothing is left',
        noticed => 'at once, by the feed',
        back => 'with the writes that fill it',
        limits => [0.35, 0.35], allow => { @all },
        break => sub { $s->cmd('FLUSHALL') }, revokes => 1,
        notice => { on => 401, off => 401, cut => 401 },
        mend => sub { $f->fill('on') });

    $f->row(name => '`SWAPDB`',
        get => 'the old truth until it is noticed',
        noticed => 'by the next heartbeat, `max_stale`/5 and at most 1 s',
        back => 'with the load',
        limits => [0.6, 0.6],
        run => sub {
            my @keys = qw(container:on container:off container:cut containers);

            $s->cmd('COPY', $s->rkey($_), $s->rkey($_), 'DB', 1, 'REPLACE')
                for @keys;
            $s->cmd('MULTI');
            $s->cmd('SELECT', 1);
            $s->cmd('DEL', $gate);
            $s->cmd('SADD', $gate, 'on', 'nobody');
            $s->cmd('SET', $s->rkey('generation'), 'second ' . rand);
            $s->cmd('SELECT', 0);
            $s->cmd('EXEC');
            sleep 0.3;
            $f->break(sub { $f->revoke(sub { $s->cmd('SWAPDB', 0, 1) }) });
            $f->notice(cut => 403);
            $f->right;
        });

    $f->row(name => 'wrong type under a container\'s key',
        get => 'that container 401, the others as always',
        noticed => 'at once, by the feed',
        back => 'with the write that mends it',
        limits => [0.35, 0.35], allow => { on => [401] }, live => 1,
        break => sub { $s->cmd('SET', $hash, 'text') },
        notice => { on => 401 },
        mend => sub {
            $s->cmd('DEL', $hash);
            $f->fill('on');
        });

    $f->row(name => 'wrong type under `…:ai:enabled`',
        get => '403 for all',
        noticed => 'at once, by the feed',
        back => 'with the write that mends it',
        limits => [0.35, 0.35], allow => { on => [403] }, live => 1,
        break => sub { $s->cmd('SET', $gate, 'on') }, revokes => 1,
        notice => { on => 403, cut => 403 },
        mend => sub {
            $s->cmd('DEL', $gate);
            $s->enable('on');
        });

    $f->row(name => 'a container\'s key expires',
        get => 'that container 401',
        noticed => 'at its deadline, not when Redis says so',
        back => 'with the write that makes it again',
        limits => [0.65, 0.35], allow => { on => [401] }, live => 1,
        before => sub { $s->cmd('CONFIG', 'SET', 'hz', 1) },
        break => sub { $s->cmd('PEXPIRE', $hash, 300) },
        notice => { on => 401 },
        mend => sub { $f->fill('on') });

    $f->row(name => '`…:ai:enabled` expires',
        get => '403 for all',
        noticed => 'at its deadline, not when Redis says so',
        back => 'with the write that makes it again',
        limits => [0.65, 0.35], allow => { on => [403] },
        run => sub {
            $f->break(sub { $s->cmd('PEXPIRE', $gate, 300) });
            sleep 0.3;
            $f->revoked;
            $f->notice(on => 403, cut => 403);
            $f->mend(sub { $s->enable('on') });
            $f->right;
        });

    $f->finish;
}


# A write that moves a container from the name "p" to "q" and, at once, the
# other of the two into the gate set: no token is good at any time, unless the
# reads of hash and gate are torn apart.
sub torn {
    my ($f, $name) = @_;

    my $s = $f->{s};
    my ($p, $q) = map { $s->rkey("container:$_") } qw(p q);
    my ($gate, $aside) = map { $s->rkey($_) } 'ai:enabled', 'aside';
    my $end = now() + 2;
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        delete $s->{redis_connection};

        while (now() < $end) {
            my ($from, $to) = $s->cmd('EXISTS', $p) ? ($p, $q) : ($q, $p);
            my ($old, $new) = map { /(.)\z/ } $from, $to;

            # old becomes new, so new leaves the set and old enters it
            $s->cmd('EVAL', "redis.call('RENAME', KEYS[1], KEYS[2])"
                . " redis.call('SMOVE', KEYS[3], KEYS[4], ARGV[2])"
                . " redis.call('SMOVE', KEYS[4], KEYS[3], ARGV[1])",
                4, $from, $to, $gate, $aside, $old, $new);
            sleep rand 0.004;
        }

        POSIX::_exit(0);
    }

    my %seen;

    while (now() < $end) {
        $seen{$s->chat_ask(token => $_, local => '127.0.0.4')->{status}}++
            for qw(p q);
    }

    waitpid $pid, 0;
    is($?, 0, "$name: the writer wrote");
    is($seen{200} // 0, 0, "$name: a write is never seen by halves");
    ok($seen{401} && $seen{403}, "$name: it was seen")
        or diag(join ' ', %seen);
}


# Memory.

sub memory {
    my $f = HoodyAI::Faults->new(start => { args => ['--maxmemory-policy',
        'volatile-ttl', '--maxmemory-eviction-tenacity', 100] });
    my $s = $f->{s};
    my $gate = $s->rkey('ai:enabled');
    my $hash = $s->rkey('container:on');

    # so little less than there is that one large key has to go; what there is
    # shrinks by itself, as buffers of connections are given back
    my $evict = sub {
        my ($key) = @_;

        $s->cmd('EXPIRE', $key, 86400);
        wait_for {
            my ($used) = $s->cmd('INFO', 'memory') =~ /^used_memory:(\d+)/m;

            $s->cmd('CONFIG', 'SET', 'maxmemory', $used - 400_000);
            eval { $s->cmd('SET', 'any', 'thing') };
            !$s->cmd('EXISTS', $key);
        } or die "$key is not evicted\n";
    };

    my $no_limit = sub { $s->cmd('CONFIG', 'SET', 'maxmemory', 0) };

    $f->row(name => '`maxmemory` evicts a container\'s key',
        get => 'that container 401, the others as always',
        noticed => 'at once, by the feed',
        back => 'with the write that makes it again',
        limits => [0.35, 0.35], allow => { on => [401] }, live => 1,
        before => sub { $s->cmd('HSET', $hash, 'notes', 'x' x 2_000_000) },
        break => sub { $evict->($hash) },
        notice => { on => 401 },
        mend => sub {
            $no_limit->();
            $f->fill('on');
        });

    $f->row(name => '`maxmemory` evicts `…:ai:enabled`',
        get => '403 for all',
        noticed => 'at once, by the feed',
        back => 'with the write that makes it again',
        limits => [0.35, 0.35], allow => { on => [403] },
        before => sub {
            $s->cmd('SADD', $gate, map { "$_-" . 'x' x 990 } 1 .. 2000);
        },
        break => sub { $evict->($gate) }, revokes => 1,
        notice => { on => 403, cut => 403 },
        mend => sub {
            $no_limit->();
            $s->enable('on');
        });

    $f->row(name => 'out of memory (writes get `OOM`)',
        get => 'the truth as always; events wait in the gateway',
        noticed => 'at once, by the feed',
        back => 'nothing to mend for requests',
        limits => [0.35, 0.35], served => 1, live => 1,
        run => sub {
            $f->break(sub {
                $s->cmd('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
                $s->cmd('CONFIG', 'SET', 'maxmemory', 1);
            });
            eval { $s->cmd('SET', 'any', 'thing') };
            die "not out of memory: $@\n" if $@ !~ /OOM/;
            sleep 0.3;

            # Redis 8 answers a MULTI that only reads, Redis 7 refuses it
            $s->cmd('MULTI');
            my $refused = !eval { $s->cmd('GET', 'any'); 1 };
            $s->cmd('DISCARD');

            my $from = time * 1000;

            $f->{began} = now();
            $f->revoke;
            $f->notice(cut => 403);
            sleep 1.3;
            $f->right;

            my $to = time * 1000;

            $no_limit->();
            $refused == ($s->log =~ /is out of memory/)
                or die "the log does not say so, or says so without need\n";
            wait_for {
                grep { my %entry = @{$_->[1]}; $entry{type} eq 'request'
                       && $entry{ts} > $from && $entry{ts} < $to }
                    @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')};
            } or die "events of that time are lost\n";
        });

    $s->cmd('HSET', $s->rkey('container:p'), 'addresses', '127.0.0.4');
    $s->cmd('SADD', $s->rkey('aside'), 'p', 'q');
    $s->cmd('SMOVE', $s->rkey('aside'), $gate, 'q');
    torn($f, 'with memory');
    $s->cmd('CONFIG', 'SET', 'maxmemory', 1);
    torn($f, 'out of memory');
    $no_limit->();
    $s->cmd('DEL', map { $s->rkey($_) } qw(container:p container:q aside));
    $s->cmd('SREM', $gate, 'p', 'q');
    $f->settle;

    $f->row(name => 'out of memory, and new connections',
        get => 'the truth as always',
        noticed => 'at once',
        back => 'with the load, which needs no memory of Redis\'s',
        limits => [1, 1], served => 1,
        run => sub {
            $s->cmd('CONFIG', 'SET', 'maxmemory', 1);
            $f->break(sub { $s->cmd('CLIENT', 'KILL', 'SKIPME', 'yes') });
            $f->revoke;
            $f->notice(cut => 403);
            sleep 1.3;
            $f->right;
            $no_limit->();
        });

    $f->finish;
}


# Rights and connections.

sub rights {
    my $password = 'hai-redis-'
        . join '', map { sprintf '%x', rand 16 } 1 .. 20;
    my $hash = sha256_hex($password);
    my $file = "/run/hai-faults.$$";
    my ($given) = slurp(HoodyAI::System::root()
        . '/redis-schema/acl/gateway.acl') =~ /^(user gateway .*)/m;

    $given =~ s/\@GATEWAY_PASSWORD_SHA256@/$hash/g;
    $given =~ s/\@SERVER@/sys/g;

    my @user = split / /, $given;

    splice @user, 0, 2;
    spew($file, "$password\n", 0600);

    my $f = HoodyAI::Faults->new(
        start => { args => ['--user', 'gateway', @user] },
        redis => "user=gateway password_file=$file");
    my $s = $f->{s};

    push @{$s->{old_keys}}, $password;

    my $set = sub { $s->cmd('ACL', 'SETUSER', 'gateway', @_) };
    my $kill = sub { $s->cmd('CLIENT', 'KILL', 'USER', 'gateway') };

    my $again = sub { $set->('reset', @user) };

    $f->row(%gone, name => 'wrong password',
        noticed => 'at the handshake, refused at `max_stale`',
        break => sub {
            $set->('resetpass', '#' . sha256_hex('another'));
            $kill->();
        },
        notice => { on => 503 }, mend => $again);

    $f->row(name => 'the password changes, connections stay',
        get => 'the truth as always: Redis asks at the next handshake',
        noticed => 'by nobody',
        back => 'nothing to mend',
        limits => [undef, 0.35], served => 1, live => 1,
        run => sub {
            $f->break(sub { $set->('resetpass', '#' . sha256_hex('other')) });
            sleep 0.2;
            $f->{began} = now();
            $f->revoke;
            sleep 1.2;
            $f->right;
            $again->();
        });

    $f->row(%gone, name => 'the user is deleted',
        noticed => 'at once, refused at `max_stale`',
        break => sub { $s->cmd('ACL', 'DELUSER', 'gateway') },
        notice => { on => 503 }, mend => $again);

    $f->row(%gone, name => 'all rights are taken away while it runs',
        noticed => 'by the next heartbeat, refused at `max_stale`',
        break => sub { $set->('nocommands') },
        notice => { on => 503 }, mend => $again);

    $f->row(name => 'the right to read containers is taken away',
        get => 'the truth as always for what is known, and `max_stale` after '
            . 'the first read that is refused 503',
        noticed => 'by the first read that is refused',
        back => 'at the next try, 50 ms to 2 s apart',
        limits => [1.25, 2.5], blind => 1,
        run => sub {
            $set->('resetkeys', '%R~' . $s->rkey('generation'),
                '%R~' . $s->rkey('ai:enabled'),
                '%R~' . $s->rkey('containers'));
            sleep 0.3;
            $f->break(sub { $f->revoke(sub {
                $s->cmd('HSET', $s->rkey('container:cut'), 'addresses', '');
                $s->disable('cut');
            }) });
            $f->notice(on => 503);
            $f->mend($again);
            $s->cmd('HSET', $s->rkey('container:cut'), 'addresses',
                '127.0.0.3');
            $f->right;
        }, allow => { cut => [401] });

    unlink $file;
    $f->finish;
}


sub connections {
    my $f = HoodyAI::Faults->new;
    my $s = $f->{s};

    $f->row(name => '`CLIENT KILL`',
        get => 'the last known truth; what was missed is loaded',
        noticed => 'at once',
        back => 'with the load, 25 to 75 ms later',
        limits => [0.5, 0.5], served => 1,
        break => sub { $s->cmd('CLIENT', 'KILL', 'SKIPME', 'yes') },
        notice => { cut => 403 });

    $f->row(name => '`CLIENT KILL` of the feed alone',
        get => 'the last known truth; what was missed is loaded',
        noticed => 'at once',
        back => 'with the load, 25 to 75 ms later',
        limits => [0.5, 0.5], served => 1,
        break => sub { $s->cmd('CLIENT', 'KILL', 'TYPE', 'pubsub') },
        notice => { cut => 403 });

    $f->row(%gone, name => '`CLIENT PAUSE ALL`',
        noticed => '3/5 of `max_stale` without an answer, refused at '
            . '`max_stale`',
        run => sub {
            my $write;
            my $pause = slow == 1 ? 1.8 : 4;

            $f->break(sub {
                $s->cmd('CLIENT', 'PAUSE', 1000 * $pause, 'ALL');
            });
            $f->revoke(sub { $write = $f->say_to_redis('SREM',
                $s->rkey('ai:enabled'), 'cut') });
            $f->notice(on => 503);
            $f->mends_itself($pause);
            $f->right;
        });

    $f->row(name => '`CLIENT PAUSE WRITE`',
        get => 'the truth as always; events wait',
        noticed => 'by nobody',
        back => 'with the writes that were held',
        limits => [undef, 0.5], served => 1,
        run => sub {
            $f->break(sub { $s->cmd('CLIENT', 'PAUSE', 1400, 'WRITE') });
            my $write = $f->say_to_redis('SREM', $s->rkey('ai:enabled'),
                'cut');
            $f->mends_itself(1.4);
            $f->revoked;
            $f->right;
        });

    $f->row(name => 'the feed passes its output limit',
        get => 'the last known truth; what was missed is loaded',
        noticed => 'at once',
        back => 'with the load, 25 to 75 ms later',
        limits => [1, 1], served => 1,
        run => sub {
            $s->cmd('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 16kb 0 0');
            my ($before) = $s->cmd('INFO', 'stats')
                =~ /^client_output_buffer_limit_disconnections:(\d+)/m;

            $f->break(sub { $f->revoke(sub {
                $s->cmd('EVAL', "for i = 1, 2000 do redis.call('SET', "
                    . "KEYS[1] .. i, '') end redis.call('SREM', KEYS[2], "
                    . "'cut')", 2, $s->rkey('container:none-'),
                    $s->rkey('ai:enabled'));
            }) });
            $f->notice(cut => 403);
            $f->right;
            ok($s->log =~ /server closed the connection|reset by peer/,
                'Redis cut the feed');
            $s->cmd('CONFIG', 'SET', 'client-output-buffer-limit',
                'pubsub 32mb 8mb 60');
            $s->cmd('EVAL', "for i = 1, 2000 do redis.call('DEL', "
                . "KEYS[1] .. i) end", 1, $s->rkey('container:none-'));
        });

    $f->finish;
}


tracks('faults.t', \&process, \&data, \&memory, \&rights, \&connections);
done_testing();
