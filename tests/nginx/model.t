#!/usr/bin/perl

# Random changes of the registry and random faults, under requests and
# streams, against a model of what may be admitted (lib/HoodyAI/Model.pm).
#
# Two gateways of one host and three workers; one writer, which also does the
# faults; clients with addresses, clients in cgroups on a unix socket, and
# clients that hold streams.  Nothing is compared while it runs: writer and
# clients note what they did and when, then each answer is judged against all
# states that the registry had at the time.
#
#   MODEL_TIME=16    seconds, in rounds of 8; the first round has a fixed seed
#   SEED=n           all rounds with this one; what failed says its seed
#   KEEP=1           keeps the history, as a failure does
#
# A seed gives the same writes and faults in the same order.  What happens in
# between is up to the machine.
#
# That it can fail was tried with modules that are broken in one place, three
# runs at a time on two cores:
#
#   replica.c: max_stale is not looked at               found by six of six runs
#                                                       of 16 seconds
#   replica_wants.c: a key that is written while it     by two of three runs of
#       is being read is not read again (invariant 2)   a minute (MODEL_TIME=64),
#                                                       one of six of 16 seconds

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Select;
use List::Util qw(max min shuffle sum0);
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep clock_gettime CLOCK_MONOTONIC);

use HoodyAI::Model;
use HoodyAI::System qw(chat free_port slurp spew suspend wait_for);

my $max_stale = 1;
my $total = $ENV{MODEL_TIME} // 16;
my $length = min(8, $total);

# from the loss of access to the end of a stream, whatever else runs here
my $bound = 1;

sub now { clock_gettime(CLOCK_MONOTONIC) }


# The two gateways

$ENV{TEST_NGINX_OPENAI_KEY} //= HoodyAI::System->new_key('openai');
$ENV{TEST_NGINX_ANTHROPIC_KEY} //= HoodyAI::System->new_key('anthropic');

my $s = HoodyAI::System->new;
my $other = HoodyAI::System->new;
my @redis = (args => ['--enable-debug-command', 'yes']);

$s->redis(@redis);
$s->provider;
$other->{provider} = $s->{provider};

# Between Redis and the other gateway: it can be stopped while Redis goes on,
# and what it says comes late, answers later than news or the other way round.
my $between = $s->fake('between', sub {
    my ($socket) = @_;
    my $redis = IO::Socket::UNIX->new(Peer => $s->{redis_socket}) or return;
    my $select = IO::Select->new($socket, $redis);

    while (1) {
        for my $from ($select->can_read) {
            my $to = $from == $socket ? $redis : $socket;

            sysread $from, my $bytes, 65536 or return;
            sleep rand 0.003 if $from == $redis;
            while (length $bytes) {
                my $n = syswrite $to, $bytes or return;
                substr $bytes, 0, $n, '';
            }
        }
    }
}, raw => 1);

my $v6 = free_port();

for my $gateway ($s, $other) {
    my $redis = $gateway == $s ? "unix:$s->{redis_socket}" : $between;

    $gateway->nginx(
        redis => "$redis max_stale=${max_stale}s", level => 'info',
        workers => $gateway == $s ? 2 : 1,
        location => 'add_header X-Model $hoody_ai_container always;',
        server => $gateway == $s
            ? "listen unix:$s->{dir}/gateway.sock; listen [::1]:$v6;" : '');
}

my $unix = "unix:$s->{dir}/gateway.sock";

chmod 0777, "$s->{dir}/gateway.sock";


# Two cgroups where the kernel and our rights allow it

my ($tree) = slurp('/proc/mounts') =~ /^\S+ (\S+) cgroup2 /m;
my $top = "hai-model-$$";
my @groups;

if ($> == 0 && $tree && -w $tree && mkdir "$tree/$top") {
    push @groups, '';

    for (qw(a b)) {
        mkdir "$tree/$top/$_" or die "cgroup: $!\n";
        push @groups, "/$_";
    }

} else {
    diag('NOT TESTED: cgroups need root and a cgroup2 that can be written');
}

my $parent = $$;

END {
    if ($parent == $$) {
        wait_for { rmdir "$tree/$top$_" } 2 for reverse @groups;
    }
}


# Who there is.  Each has a home, so that most requests of clients at home are
# admitted while nothing is broken.

my %home = (
    a => ['127.0.0.2'],
    b => ['127.0.0.3', '1'],
    c => ['127.0.0.4', '2', "/$top/a"],
    d => ['127.0.0.5 ::1', '3', "/$top/b"],
    5 => ['127.0.0.6', '4'],
    'x-1' => ['127.0.0.7', '6'],
);
my @names = sort keys %home;
my @v4 = map { "127.0.0.$_" } 2 .. 7;
my @kernel = @groups ? ("/$top/a", "/$top/b") : ();
my @numbers = qw(1 2 3 4 5 6 7 05 1x);
my @claims = (@names, 1 .. 7, '05', 'nobody');

# what a text in "addresses" or "cgroup" stands for
my %covers = (
    (map { $_ => [$_] } @v4, '::1'),
    '127.0.0.2/31' => [@v4[0, 1]],
    '127.0.0.4/30' => [@v4[2 .. 5]],
    '127.0.0.0/29' => [@v4],
    '0.0.0.0/0' => [],                  # all is nobody's
    '::/0' => [],
    '::/1' => ['::1'],
    '::1/128' => ['::1'],
    '::ffff:127.0.0.3' => ['127.0.0.3'],
    '127.0.0.3/29' => [],               # bits behind its length
    '127.0.0.4/33' => [],
    '127.0.0.5.1' => [],
    (map { $_ => [$_] } @kernel),
    "/$top" => [@kernel],
);
my @texts = grep { !m{^/} } sort keys %covers;
my @cgroups = grep { m{^/} } sort keys %covers;

my %at = (
    (map { my $source = $_; map { $_ => $source } @{$covers{$source}} } @v4),
    '::1' => '::1', map { $_ => $_ } @kernel,
);


# Clients

# Which of the two, for a client from there?
sub gateway {
    my ($source) = @_;

    return $source =~ /^127/ && rand() < 0.4 ? 1 : 0;
}


# An address to come from and one to go to.
sub way {
    my ($source, $gateway) = @_;

    return (to => $unix) if $source =~ m{^/};
    return (to => "[::1]:$v6") if $source eq '::1';
    return (local => $source, to => ($gateway ? $other : $s)->address);
}


# Who asks from there, more often than not.
sub claim {
    my ($source) = @_;

    return $claims[rand @claims] if rand() < 0.35;

    my ($name) = grep { index("@{$home{$_}} ", "$source ") >= 0
        || (split / /, $home{$_}[0])[0] eq $source
        || ($home{$_}[2] // '') eq $source } @names;

    return $name if !defined $home{$name}[1] || rand() < 0.7;
    return $home{$name}[1];
}


sub name_of { $_[0]{headers}{'x-model'} // '' }

# Told to stop, or left alone by a test that has died.
sub over { ${$_[0]} || getppid() != $parent }


# What a client notes: times and what was asked and answered.
sub note_answer {
    my ($out, @words) = @_;

    print $out join("\t", @words), "\n";
}


sub requests {
    my ($out, $stop, @sources) = @_;
    my %kept;

    until (over($stop)) {
        my $source = $sources[rand @sources];
        my $gateway = gateway($source);
        my $claim = claim($source);
        my $began = now();
        my $answer;

        eval {
            my $keep = rand() < 0.7;
            my @way = (way($source, $gateway), timeout => 8);
            my $kept = $keep && delete $kept{"@way"};
            my $client = $kept || $s->client(@way);

            $client->request('POST', '/v1/chat/completions', token => $claim,
                body => chat(), $keep ? () : (headers => [Connection =>
                'close']));
            $answer = $client->answer;

            # closed by the server before it was asked, as a kept one may be
            if (!$answer->{status} && $kept) {
                $client = $s->client(@way);
                $client->request('POST', '/v1/chat/completions',
                    token => $claim, body => chat());
                $answer = $client->answer;
            }

            $kept{"@way"} = $client if $keep && $answer->{complete}
                && ($answer->{headers}{connection} // '') ne 'close';
        };

        my $status = $answer && $answer->{complete} ? $answer->{status} : 0;

        note_answer($out, 'R', $gateway, $began, now(), $claim, $source,
            $status, $status == 200 ? name_of($answer)
                : $answer->{json}{error}{code} // '');

        sleep 0.002 + rand 0.006;
    }
}


# A stream that is asked for: its head and its body are read as they come, so
# that no one waits for another.  "alive" is when it was last looked at and had
# not ended.
sub streams {
    my ($out, $stop, @sources) = @_;
    my @open;

    my $asked = sub {
        my ($stream, $status, $code) = @_;

        note_answer($out, 'R', @$stream{qw(gateway from)}, now(),
            @$stream{qw(claim source)}, $status, $code);
    };

    # false when there is nothing more to come
    my $goes_on = sub {
        my ($stream) = @_;
        my $client = $stream->{client};

        if (!$stream->{head}) {
            my $head = $client->head(0.001);

            if (!$head) {
                return 1 if !$client->{eof};
                $asked->($stream, 0, '');
                return 0;
            }

            if ($head->{status} != 200) {
                my ($code) = $client->rest(2) =~ /"code":"(\w+)"/;

                $asked->($stream, $head->{status}, $code // '');
                return 0;
            }

            # its admission is judged like any other
            @$stream{qw(head name)} = (now(), name_of($head));
            $asked->($stream, 200, $stream->{name});
        }

        my $piece = $client->piece(0.001);

        # the end may have come with it
        if (defined $piece) {
            $stream->{body} = substr $stream->{body} . $piece, -2000;
            return 1 if !$client->{complete};
        }

        note_answer($out, 'S', @$stream{qw(gateway from head alive)}, now(),
            @$stream{qw(claim source name)}, !$client->{complete} ? 'lost'
                : $stream->{body} =~ /access_revoked[^\n]*\n\n\z/ ? 'revoked'
                : $stream->{body} =~ /data: \[DONE\]\n\n\z/ ? 'whole' : 'odd');
        return 0;
    };

    until (over($stop)) {
        if (@open < 12) {
            my $source = $sources[rand @sources];
            my $gateway = gateway($source);
            my $stream = { gateway => $gateway, source => $source,
                claim => claim($source), from => now(), alive => now(),
                body => '' };

            $stream->{client} = eval {
                $s->stream(way($source, $gateway), token => $stream->{claim},
                    timeout => 8, headers => ['X-Sample-Chunks', 400,
                        'X-Sample-Delay', 10]);
            };
            $stream->{client} ? push @open, $stream
                              : $asked->($stream, 0, '');
        }

        my $select = IO::Select->new(map { $_->{client}{socket} } @open);
        my $time = now();
        my %ready = map { $_ => 1 } $select->can_read(0.002);

        for my $stream (splice @open) {
            if ($ready{$stream->{client}{socket}} && !$goes_on->($stream)) {
                $stream->{client}->close;
                next;
            }

            $stream->{alive} = $time;
            push @open, $stream;
        }

        sleep 0.003;
    }

    note_answer($out, 'S', @$_{qw(gateway from head alive alive claim source
        name)}, 'open') for grep { $_->{head} } @open;
    $asked->($_, 0, '')
        for grep { !$_->{head} && now() - $_->{from} > 8 } @open;
}


# Each in a process of its own, in its cgroup.
sub client_start {
    my ($seed, $i, $group, $work, @sources) = @_;
    my $file = "$s->{dir}/client.$i";
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        my $stop = 0;

        $SIG{TERM} = sub { $stop = 1 };
        srand($seed + 1000 * ($i + 1));

        if ($group) {
            open(my $procs, '>', "$tree$group/cgroup.procs") or _exit(1);
            syswrite($procs, $$) or _exit(1);
            close $procs;
        }

        open(my $out, '>', $file) or _exit(1);
        $work->($out, \$stop, @sources);
        close $out or _exit(1);
        _exit($s->{leaked} ? 3 : 0);
    }

    return { pid => $pid, file => $file };
}


# How long servers were ready to run and did not.  The kernel counts it for
# each process, when the wait is over.  What a host took from one of our
# processors (steal) is added, for who ran on that one did not wait and did not
# go on either; and what this process slept too long without having waited,
# because all may have been stopped.
sub meter_start {
    my $file = "$s->{dir}/meter";

    unlink $file;

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        my ($stop, $looked, $over) = (0, 0, 0);
        my (@kinds, @stolen, %last);

        $SIG{TERM} = sub { $stop = 1 };
        setpriority(0, 0, -10) if $> == 0;
        open(my $out, '>', $file) or _exit(1);
        $out->autoflush(1);

        # seconds since the last look; all of them for one who is new
        my $waited = sub {
            my ($pid) = @_;
            my ($now) = slurp("/proc/$pid/schedstat") =~ /^\d+ (\d+)/
                or return 0;
            my $more = $now - ($last{$pid} // 0);

            $last{$pid} = $now;
            return $more / 1e9;
        };

        # of that processor from which most was taken, in ticks of 10 ms
        my $taken = sub {
            my @now = map { (split)[8] // 0 }
                grep { /^cpu\d/ } split /\n/, slurp('/proc/stat');
            my $most = max(map { $now[$_] - ($stolen[$_] // $now[$_]) }
                0 .. $#now);

            @stolen = @now;
            return 0.01 * $most;
        };

        until (over(\$stop)) {
            if (now() - $looked > 0.2) {
                $looked = now();
                @kinds = ([slurp("$s->{dir}/redis/pid")],
                    [$s->children($s->master, $other->master)],
                    [$s->children($s->pid('between'))]);
            }

            # of each kind the most: a change goes through one of them
            my $sum = sum0(map { max(0, map { $waited->($_) } @$_) } @kinds);

            # what they waited for before the first look is no matter
            $sum = 0 if !@stolen;
            $sum += $taken->() + max(0, $over - $waited->($$) - 0.001);

            my $slept = now();

            print $out "$slept $sum\n";
            sleep 0.005;
            $over = now() - $slept - 0.005;
        }

        close $out;
        _exit(0);
    }

    wait_for { -s $file } or die "no meter\n";

    return { pid => $pid, file => $file };
}


sub client_stop {
    my (@clients) = @_;
    my $bad = 0;

    kill 'TERM', map { $_->{pid} } @clients;

    for (@clients) {
        waitpid $_->{pid}, 0;
        $bad++ if $?;
    }

    return $bad;
}


# The writer

my ($model, $history, $seed, $wrong, %sum, @took);

sub key { $s->rkey($_[0]) }
sub hash_of { key("container:$_[0]") }
sub one { $_[rand @_] }
sub another { my ($name) = @_; one(grep { $_ ne $name } @names) }


sub told {
    my ($began, $text) = @_;

    printf $history "%.4f %.4f %s\n", $began, now(), $text;
}


# Does commands to Redis and to the model, as one write.  [database, command,
# word, ...]; more than one of them in a transaction.
sub write_keys {
    my (@commands) = @_;

    return if !@commands;

    # near a deadline nobody knows which was first
    wait_for { !$model->deadline_in(now() - 0.02, now() + 0.03) } 5;

    @commands = $model->possible(@commands) if @commands > 1;

    $sum{commands} += @commands;

    my $text = join '; ', map { my ($db, @w) = @$_; "$db: @w" } @commands;
    my ($db, $good) = (0, 1);
    my @words;

    if (@commands > 1) {
        for (@commands) {
            my ($in, @command) = @$_;
            push @words, ['SELECT', $in] if $in != $db;
            push @words, \@command;
            $db = $in;
        }

        push @words, ['SELECT', 0] if $db;
        @words = (['MULTI'], @words, ['EXEC']);

    } elsif (@commands) {
        my ($in, @command) = @{$commands[0]};

        @words = $in ? (['SELECT', $in], \@command, ['SELECT', 0])
                     : \@command;
    }

    my $began = now();

    for (@words) {
        next if eval { $s->cmd(@$_); 1 };
        die $@ if $@ !~ /^redis error/;
        $good = 0;
    }

    my $ended = now();

    if ($model->deadline_in($began - 0.01, $ended + 0.01)) {
        my $db = there();

        $model->doubt($began, $ended, now(), $text, $db, @commands);

    } elsif (@commands && !!$model->step($began, $ended, $text, @commands)
        != !!$good)
    {
        $wrong = "$text: an error, or none";
    }

    told($began, $text);
}


# What there is in Redis, as the model keeps it.
sub there {
    my @db = ({}, {});

    for my $n (0, 1) {
        $s->cmd('SELECT', $n);

        for my $key (@{$s->cmd('KEYS', '*')}) {
            next if $key =~ /events|container:fill/;

            my $type = $s->cmd('TYPE', $key);
            my $before = now();
            my $left = $s->cmd('PTTL', $key);
            my $value = $type eq 'set' ? { map { $_ => 1 }
                    grep { !/^fill/ } @{$s->cmd('SMEMBERS', $key)} }
                : $type eq 'hash' ? { @{$s->cmd('HGETALL', $key)} }
                : $type eq 'string' ? $s->cmd('GET', $key) : next;

            $db[$n]{$key} = [$type, $value, $left < 0 ? undef
                : [$before + $left / 1000, now() + $left / 1000]];
        }
    }

    $s->cmd('SELECT', 0);

    return \@db;
}


# Is the model's idea of Redis right?  Deadlines apart.
sub same {
    my $flat = sub {
        my ($db) = @_;

        return join "\n", map { my $n = $_; map {
            my ($type, $value) = @{$db->[$n]{$_}};
            "$n $_ $type " . (ref $value ? join ' ',
                map { "$_=$value->{$_}" } sort keys %$value : $value)
        } sort keys %{$db->[$n]} } 0, 1;
    };

    wait_for { !$model->deadline_in(now() - 0.05, now() + 0.2) } 5;
    $model->expire(now());

    return ($flat->($model->{db}), $flat->(there()));
}


# A container as it is at home.
sub at_home {
    my ($db, $name) = @_;
    my ($addresses, $number, $cgroup) = @{$home{$name}};

    return ([$db, 'DEL', hash_of($name)],
        [$db, 'HSET', hash_of($name), addresses => $addresses,
            id => sprintf('%024x', ord $name), status => 'running',
            defined $number ? (number => $number) : (),
            defined $cgroup ? (cgroup => $cgroup) : ()],
        [$db, 'SADD', key('ai:enabled'), $name],
        [$db, 'SADD', key('containers'), $name]);
}


# Databases must not look alike: that is what tells them apart.
my $generation = 0;

sub generations {
    return map { [$_, 'SET', key('generation'), 'g' . ++$generation] } 0, 1;
}

sub all_home {
    return ([0, 'DEL', key('ai:enabled')], map { at_home(0, $_) } @names);
}


# One change, chosen by chance: commands that belong together.
my @changes = (
    [14, sub { [0, one('SADD', 'SREM', 'SREM'), key('ai:enabled'), $_[0]] }],
    [6, sub { [0, 'HSET', hash_of($_[0]), status => one('running', 'running',
        'stopped', 'paused')] }],
    [2, sub { [0, 'HDEL', hash_of($_[0]), one('status', 'addresses',
        'number', 'cgroup')] }],
    [8, sub { [0, 'HSET', hash_of($_[0]), addresses => join ' ',
        map { one(@texts) } 1 .. 1 + rand 2] }],
    [5, sub { [0, 'HSET', hash_of($_[0]), addresses => one(@v4)] }],
    [5, sub { [0, 'HSET', hash_of($_[0]), number => one(@numbers)] }],
    [4, sub { [0, 'HSET', hash_of($_[0]), cgroup => one(@cgroups)] }],
    [5, sub { [0, one('DEL', 'UNLINK'), hash_of($_[0])] }],
    [4, sub { [0, 'RENAME', hash_of($_[0]), hash_of(another($_[0]))] }],
    [2, sub { [0, 'COPY', hash_of($_[0]), hash_of(another($_[0])),
        'REPLACE'] }],
    [2, sub { [0, 'RENAME', key('ai:enabled'), key('ai:gone')] }],
    [2, sub { [0, 'RENAME', key('ai:gone'), key('ai:enabled')] }],
    [1, sub { [0, 'SET', one(hash_of($_[0]), key('ai:enabled')), 'text'] }],
    [1, sub { [0, 'DEL', key('ai:enabled')] }],
    [4, sub { [0, 'PEXPIRE', one(hash_of($_[0]), hash_of($_[0]),
        key('ai:enabled')), 60 + int rand 300] }],
    [2, sub { [0, 'PERSIST', one(hash_of($_[0]), key('ai:enabled'))] }],
    [1, sub { [0, one('SADD', 'SREM'), key('containers'), $_[0]] }],

    # the same names in another database change nothing
    [2, sub { [1, 'SREM', key('ai:enabled'), $_[0]] }],
    [2, sub { at_home(1, $_[0]) }],
    [2, sub { [1, one('DEL', 'UNLINK'), hash_of($_[0])] }],

    # back home, alone or with all others
    [24, sub { at_home(0, $_[0]) }],
    [3, sub { all_home() }],
);
my $weight = 0;
$weight += $_->[0] for @changes;

sub change {
    my $at = rand $weight;
    my $name = one(@names);

    for (@changes) {
        return $_->[1]->($name) if ($at -= $_->[0]) < 0;
    }
}


# An address, a number or a cgroup goes from one to the other.
sub move {
    my ($from, $to) = shuffle(@names);
    my $field = one('addresses', 'addresses', 'number', 'cgroup');
    my $key = $model->{db}[0]{hash_of($from)};
    my $value = $key && $key->[0] eq 'hash' && $key->[1]{$field} || 'nothing';
    my @steps = ([0, 'HDEL', hash_of($from), $field],
        [0, 'HSET', hash_of($to), $field, $value]);
    my $how = rand;

    if ($how < 0.4) {
        write_keys(@steps);

    } else {
        write_keys($_) for $how < 0.7 ? @steps : reverse @steps;
    }
}


sub some_change {
    my $how = rand;

    if ($how < 0.12) {
        move();

    } elsif ($how < 0.3) {
        write_keys(map { change() } 1 .. 2 + rand 3);

    } elsif ($how < 0.4) {
        # the next write while the last one is being read
        my $name = one(@names);

        write_keys(one(
            [0, 'HSET', hash_of($name), status => 'stopped'],
            [0, 'HSET', hash_of($name), status => 'running'],
            [0, 'HSET', hash_of($name), addresses => one(@v4)],
            [0, 'HSET', hash_of($name), addresses => $home{$name}[0]],
            [0, 'SREM', key('ai:enabled'), $name],
            [0, 'SADD', key('ai:enabled'), $name],
        )) for 1 .. 2 + rand 6;

    } elsif ($how < 0.415) {
        write_keys([0, one('FLUSHALL', 'FLUSHDB')], generations());
        write_keys(all_home()) if rand() < 0.7;

    } else {
        write_keys(change());
    }
}


# Faults

sub fault {
    my ($kind, $began, %more) = @_;

    told($began, "FAULT $kind");
    $model->fault(kind => $kind, from => $began, to => now(), %more);
}


# It is certain that nothing came through meanwhile.
sub silent {
    my ($from, $to, $only) = @_;

    $model->fault(kind => 'silence', silent => 1, from => $from, to => $to,
        stale => $from, recovers => $from, only => $only);
}


# Nothing of Redis moves meanwhile.
sub still {
    my ($kind, $long, $stop, $go, $silent) = @_;
    my $began = now();

    $stop->();

    my $stopped = now();

    sleep $long;

    my $end = now();

    $go->();

    # an unanswered heartbeat ends the connections after 3/5 of max_stale
    my $cut = $long > 0.4 * $max_stale;

    fault(sprintf('%s %.2f', $kind, $long), $began,
        stale => now() + $max_stale,
        recovers => now() + ($cut ? 1.5 : 0.3));
    silent($stopped, $end) if $silent;
}


# What is written while one gateway hears nothing, and believes that all are
# at home.
sub cut_off {
    my ($long) = @_;

    write_keys(all_home());
    sleep 0.05;

    my $began = now();

    suspend(-$s->pid('between'));

    my $stopped = now();

    while (now() < $stopped + $long) {
        some_change();
        sleep 0.02 + rand 0.05;
    }

    my $end = now();

    kill 'CONT', -$s->pid('between');
    fault(sprintf('cut off %.2f', $long), $began, only => 1,
        stale => now() + $max_stale,
        recovers => now() + ($long > 0.4 * $max_stale ? 1.5 : 0.3));
    silent($stopped, $end, 1);
}


sub redis_pid {
    spew("$s->{dir}/redis/pid", $s->pid('redis'));
}


sub restart_redis {
    my ($kind, $keep) = @_;
    my $began = now();

    if ($keep) {
        # where a key is about to expire, nobody could say what was saved
        wait_for { !$model->deadline_in(now() - 0.05, now() + 0.4) } 5;
        wait_for { eval { $s->cmd('SAVE') } };
        $began = now();

    } else {
        unlink "$s->{dir}/redis/dump.rdb";
    }

    $s->stop('redis', 'KILL');
    sleep rand 0.2;
    $s->redis(@redis);
    redis_pid();

    $model->replace($began, now(), 'restarted',
        $keep ? $model->{db} : [{}, {}]);
    fault($kind, $began, stale => now() + $max_stale,
        recovers => now() + 1.5);

    if (!$keep) {
        write_keys(generations(), all_home());
    }
}


my @faults = (
    [4, sub {
        my $began = now();
        my $type = one('pubsub', 'normal');

        $s->cmd('CLIENT', 'KILL', 'TYPE', $type, 'SKIPME', 'yes');

        # what is written while nobody listens
        my $writes = rand 4;

        some_change() for 1 .. $writes;
        fault("kill $type", $began, stale => now() + $max_stale,
            recovers => now() + 0.6);
    }],
    [3, sub {
        still('SIGSTOP', one(0.05, 0.1, 0.2),
            sub { suspend($s->pid('redis')) },
            sub { kill 'CONT', $s->pid('redis') });
    }],
    [1, sub {
        still('SIGSTOP', 1.5 * $max_stale,
            sub { suspend($s->pid('redis')) },
            sub { kill 'CONT', $s->pid('redis') }, 1);
    }],
    [2, sub { cut_off(one(0.1, 0.3)) }],
    [1, sub { cut_off(2 * $max_stale) }],
    [2, sub {
        my $long = one(50, 100, 200, 700);

        still('CLIENT PAUSE', $long / 1000,
            sub { $s->cmd('CLIENT', 'PAUSE', $long, one('ALL', 'WRITE')) },
            sub { $s->cmd('CLIENT', 'UNPAUSE') });
    }],
    [2, sub {
        my $long = one(0.05, 0.1, 0.25, 0.7);

        still('DEBUG SLEEP', $long,
            sub { $s->cmd('DEBUG', 'SLEEP', $long) }, sub {});
    }],
    [2, sub {
        my $began = now();

        # nobody may notice
        kill 'HUP', $s->master;
        told($began, 'reload');
        $model->load($began, now() + 1);
        $sum{reloads}++;
    }],
    [2, sub {
        my $began = now();
        my $pid = some_worker();

        kill 'KILL', $pid;
        sleep 0.05;
        fault('worker killed', $began, lost => now() + 0.5);
    }],
    [2, sub {
        my $began = now();
        my $pid = some_worker();
        my $long = one(0.05, 0.2, 0.4);

        suspend($pid);
        some_change();
        sleep $long;
        kill 'CONT', $pid;
        fault('worker stopped', $began, stale => now() + 0.05,
            recovers => now() + 0.5);
    }],
    [2, sub {
        # what the gateways know and what is read meanwhile may be of two
        # databases, until the next heartbeat
        my $began = now();

        write_keys([0, 'SWAPDB', 0, 1]);
        sleep 0.1;
        fault('SWAPDB', $began, mixed => 1, stale => now() + 0.3,
            recovers => now() + 0.4);
        sleep 0.2;
        write_keys(all_home()) if rand() < 0.7;
    }],
    [1, sub { restart_redis('restart', 1) }],
    [1, sub { restart_redis('restart empty', 0) }],
);


# One of them; it may have been killed a moment ago.
sub some_worker {
    my $gateway = one($s, $other);

    return wait_for { (shuffle($gateway->workers))[0] }
        || die "no worker\n";
}


# Each round begins with a silence of more than max_stale; all other faults
# come in a random order.
my @pending;

sub some_fault {
    @pending = shuffle(map { ($_->[1]) x $_->[0] } @faults) if !@pending;
    (shift @pending)->();
}


# A round: what failed in it, as text

sub round {
    ($seed) = @_;

    $wrong = undef;
    @pending = (sub { cut_off(2 * $max_stale) });
    $model = HoodyAI::Model->new(server => $s->{server}, covers => \%covers,
        max_stale => $max_stale);

    my $file = "$s->{dir}/history.$seed";

    open($history, '>', $file) or die "$file: $!\n";
    srand($seed);

    # everyone at home; more containers make loads take longer
    my $began = now();
    my $fill = $seed % 2 ? 0 : 3000;

    redis_pid();
    $s->cmd('FLUSHALL');
    write_keys(generations(), all_home());
    $s->cmd('EVAL', "for i = 1, tonumber(ARGV[1]) do redis.call('HSET',"
        . " KEYS[1] .. i, 'addresses', '10.0.' .. math.floor(i / 250) .. '.'"
        . " .. i % 250) end", 1, hash_of('fill'), $fill);
    $model->fault(kind => 'begin', from => $began, to => now(),
        stale => now() + 0.2, recovers => now() + 1);
    sleep 0.3;

    my $meter = meter_start();
    my $i = 0;
    my @clients = (
        client_start($seed, $i++, '', \&requests, @v4, '::1'),
        client_start($seed, $i++, '', \&requests, @v4),
        client_start($seed, $i++, '', \&streams, @v4),
        map({ client_start($seed, $i++, $_, \&requests, $_) } @kernel),
        map({ client_start($seed, $i++, $_, \&streams, $_) } @kernel[0 .. 0]),
    );

    # changes in bursts, then rest; now and then a fault
    my $end = now() + $length;
    my $next = now() + 0.8;

    srand($seed);

    while (now() < $end) {
        for (1 .. 1 + rand 10) {
            some_change();
            sleep rand 0.003 if rand() < 0.6;
        }

        sleep 0.02 + rand 0.06;

        if (now() > $next) {
            some_fault();

            # at once, or when all is well again
            $next = now() + rand 0.3;
            $next = max($next, 0.3 + rand(1)
                    + max(map { $_->{recovers} } @{$model->{faults}}))
                if rand() < 0.8;
        }
    }

    my $bad = client_stop(@clients);
    my ($ours, $theirs) = same();

    client_stop($meter);
    close $history;

    $model->slack(map { [split / /] } split /\n/, slurp($meter->{file}));

    my @found;

    push @found, "a client failed" if $bad;
    push @found, $wrong if $wrong;
    push @found, "the model of Redis is wrong:\n$ours\nand it is\n$theirs"
        if $ours ne $theirs;

    for (map { split /\n/, slurp($_->{file}) } @clients) {
        my ($kind, @word) = split /\t/, $_, -1;
        my ($answer, $what);

        if ($kind eq 'R') {
            my %of;

            @of{qw(gateway from to claim source status)} = @word;
            $of{name} = $of{code} = $word[6];
            $answer = \%of;
            $what = $model->judge(\%of);

        } else {
            my %of;

            @of{qw(gateway from head alive to claim source name end)} = @word;
            $answer = \%of;
            $what = $of{end} eq 'odd' ? 'ended in an odd way'
                : $model->judge_stream(\%of, $bound);
        }

        push @found, ($kind eq 'R' ? 'request' : 'stream') . " of"
            . " \"$answer->{claim}\" from $answer->{source}: $what\n"
            . $model->explain($answer)
            if $what;
    }

    $sum{$_} += $model->{count}{$_} for keys %{$model->{count}};
    $sum{writes} += @{$model->{versions}};
    $sum{faults} += @{$model->{faults}};
    push @took, @{$model->{took} || []};

    return @found;
}


my $fresh = int(rand 1e8) * 2;
my $rounds = 0;
my $least = $ENV{SEED} ? 1 : 2;
my $end = now() + $total;

do {
    my $this = $ENV{SEED} // ($rounds ? $fresh + $rounds : 1);
    my @found = round($this);

    ok(!@found, "seed $this: nothing was answered that the model forbids");

    if (@found) {
        my $log = "$s->{dir}/history.$this";

        diag(scalar(@found) . " findings; SEED=$this does it again; steps are"
            . " in $log");
        diag($_) for @found[0 .. min($#found, 4)];
    }

    unlink "$s->{dir}/history.$this" if !@found && !$ENV{KEEP};
    $rounds++;
} while ($rounds < $least || now() + $length / 2 < $end);


# a model that judges nothing finds nothing
cmp_ok($sum{$_} // 0, '>=', $rounds * 20, "$_: " . ($sum{$_} // 0))
    for qw(requests admitted exact writes commands streams revoked);
note("faults: $sum{faults}, reloads: " . ($sum{reloads} // 0));

# The contract's 100 ms, less what servers waited for a processor; what is
# told is the time as it was
my @own = sort { $a <=> $b } map { max(0, $_->[0] - $_->[1]) } @took;

@took = sort { $a <=> $b } map { $_->[0] } @took;

cmp_ok($own[@own / 2] // 0, '<=', 0.1, sprintf 'half of %d revoked streams'
    . ' ended within %.1f ms, 99 of 100 within %.1f ms, all within %.1f ms',
    scalar @took, map { 1000 * ($_ // 0) } $took[@took / 2],
    $took[min($#took, int(@took * 0.99))], $took[-1]);

my %alerts = (alerts => qr/exited on signal 9/);

$other->finish(more => 1, %alerts);
$s->finish(%alerts);
