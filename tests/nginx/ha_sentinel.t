#!/usr/bin/perl

# Redis with Sentinel, with the rights of redis-schema/acl and passwords on
# everything: masters that die, hang, are replaced and are cut off.  Each
# fault tells in one row what callers got, when it was noticed, and when the
# gateway followed the new master.
#
# asan: no, ha_cluster.t runs the same code of the module

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Pace;
use HoodyAI::Prober;
use HoodyAI::RedisHA;
use HoodyAI::Schema;
use HoodyAI::System qw(chat free_port slurp spew wait_for);

HoodyAI::RedisHA->own_network;

my $max_stale = 2;

# the most that an answer may take beside what it waits for, on a busy machine
my $slack = 0.5 * slow;

my $s = HoodyAI::System->new;
my %password = map { $_ => "hai-$_-" . join '', map { sprintf '%x', rand 16 }
    1 .. 20 } qw(redis sentinel);
my %file = map {
    my $file = "$s->{secrets}/password-$_";
    spew($file, "$password{$_}\n", 0600);
    $_ => $file;
} keys %password;

my $ha = HoodyAI::RedisHA->new($s,
    acl => HoodyAI::Schema::acl($s, $password{redis}),
    user => ['admin', $password{redis}],
    sentinel_password => $password{sentinel},
    args => ['min-replicas-to-write 1', 'min-replicas-max-lag 2']);

# each fault takes one of the nodes
$ha->sentinel(replicas => 5, down_after => 1000);
$s->container('dev-env', addresses => '127.0.0.1');
$s->container('other', addresses => '127.0.0.2');
$s->provider;
$ha->replicated;

my @words = ("max_stale=${max_stale}s", 'user=gateway',
    "password_file=$file{redis}", "sentinel_password_file=$file{sentinel}");
my %nginx = (level => 'info',
    server => 'location = /status { hoody_ai_status; }');

# one sentinel is configured, and the others are learned from it
my ($first) = $ha->names('sentinel');

$s->nginx(redis => join(' ', 'sentinel=hai', $ha->address($first), @words),
    %nginx);

is($s->chat_ask->{status}, 200, 'the master was found through a sentinel');


sub metric {
    my ($name) = @_;

    return $s->ask('GET', '/status')->{body}
        =~ /^hoody_ai_$name(?:\{[^}]*\})? (\S+)/m ? $1 : undef;
}

is($ha->followed, $ha->address('m0'), 'the master is on the status page');
is(metric('registry_switches_total'), 0, 'no switch yet');


# What is promised is 10 ms from the write to the next request; a request takes
# its own time here.
sub obeys {
    my ($what) = @_;

    cmp_ok($ha->acts(0.020 * slow), '<=', 0.020 * slow,
        "$what: writes to the new master act at once");
}


# Breaks something and follows until the new master is used.  Returns the
# times, and what was answered.
sub fault {
    my ($name, $break) = @_;

    my $old = $ha->master;
    my $log = length $s->log;
    my $switches = metric('registry_switches_total');
    my $prober = HoodyAI::Prober->new($s);
    my $noticed;

    sleep 0.2;

    my $begin = time;
    $break->($old);

    my $look = sub {
        $noticed //= time - $begin if substr($s->log, $log)
            =~ / \[error\] .* redis sentinel=hai/;
    };

    my $new = $ha->failed_over($old, 30, $look);
    my $promoted = time - $begin;

    ok($new, "$name: there is a new master") or BAIL_OUT($name);

    my $address = $ha->address($new);

    wait_for {
        $look->();
        return substr($s->log, $log) =~ /the master is \Q$address\E/;
    } 20;

    my $used = time - $begin;
    wait_for { $s->chat_ask->{status} == 200 };
    sleep 0.1;

    my @answers = $prober->end;
    my @late = grep { $_->[0] >= $begin } @answers;
    my ($stale) = grep { $_->[2] eq '503' } @late;
    my ($recovered) = grep { $stale && $_->[0] > $stale->[0]
                             && $_->[2] eq '200' } @late;

    is($ha->followed, $address, "$name: the new master is used");
    cmp_ok(metric('registry_switches_total'), '==', $switches + 1,
        "$name: one switch was counted");
    is(join(' ', grep { !/^(?:200|503|ended)\z/ } map { $_->[2] } @late), '',
        "$name: nothing but 200 and 503");
    ok(!(grep { $_->[1] - $_->[0] > 2 + $slack } @late),
        "$name: nobody waits for longer than hoody_ai_wait");

    note(sprintf '%-24s | callers get: %s%s | noticed %.2f s |'
        . ' new master %.2f s, followed %.2f s', $name,
        HoodyAI::Prober::summary($begin, @answers),
        $stale && $recovered ? sprintf(' (503 from %.2f to %.2f s)',
            $stale->[0] - $begin, $recovered->[0] - $begin) : '',
        $noticed // $used, $promoted, $used);

    cmp_ok($used - $promoted, '<=', 3 + $slack,
        "$name: followed soon after the new master was there");
    obeys($name);

    return { begin => $begin, old => $old, new => $new, answers => \@late,
             promoted => $begin + $promoted };
}


# By hand, both masters alive.

my $fault = fault('SENTINEL failover', sub {
    $ha->cmd($first, 'SENTINEL', 'FAILOVER', 'hai');
});
ok(wait_for(sub {
    ($ha->try($fault->{old}, 'ROLE') || [''])->[0] eq 'slave'
}), 'the old one was demoted');


# A master that died.  The caller is served from what is known meanwhile.

$fault = fault('master killed', sub { $ha->kill($_[0]) });


# Events go to the new master too.

my $id = $s->chat_ask(token => 'other', local => '127.0.0.2')
    ->{headers}{'x-request-id'};

ok(wait_for(sub {
    my $last = $s->cmd('XREVRANGE', $s->rkey('events'), '+', '-', 'COUNT', 99);
    return grep { grep { $_ eq $id } @{$_->[1]} } @$last;
}), 'events are written to the new master');


# One that hangs: only the heartbeat, or Sentinel, tells.

$fault = fault('master stopped', sub { $ha->pause($_[0]) });

# it comes back, and believes that it is the master until it is told otherwise
$ha->resume($fault->{old});
is($ha->cmd($fault->{old}, 'ROLE')->[0], 'master', 'the old one is back');
sleep 0.5;
is($ha->followed, $ha->address($fault->{new}), 'and is not gone back to');


# Cut off from the others, but not from the gateway, which sees the sentinels.

SKIP: {
    skip 'cutting needs root', 1 if !$ha->can_cut;

    $fault = fault('master cut off', sub { $ha->cut($_[0]) });
    $ha->heal($fault->{old});
}


# The same, but the gateway is on the old master's side: only NOREPLICAS tells
# it that others may have been told something else.  The sentinels wait until
# the old master refuses writes, which min-replicas-max-lag + 2 s cover.

SKIP: {
    skip 'cutting needs root', 1 if !$ha->can_cut;

    my @sentinels = $ha->names('sentinel');
    my @nodes = $ha->names('node');
    my $old = $ha->master;

    $ha->cmd($_, 'SENTINEL', 'SET', 'hai', 'down-after-milliseconds', 4500)
        for @sentinels;

    my $prober = HoodyAI::Prober->new($s);
    my @hidden = (@sentinels, grep { $_ ne $old } @nodes);

    $ha->hide(@hidden);
    $ha->cut($old);

    my $begin = time;
    my $new = $ha->failed_over($old);

    ok($new, 'cut off with the gateway: there is a new master');

    $ha->write('disable', 'dev-env');

    my $revoked = time;

    # beyond all that is promised
    sleep $max_stale + 1;

    is($ha->cmd($old, 'ROLE')->[0], 'master',
        'the old one still calls itself the master');
    is($s->chat_ask->{status}, 503, 'nobody is admitted on its word');

    $ha->show(@hidden);

    my $back = time;
    ok(wait_for(sub { $s->chat_ask->{status} == 403 }, 10),
        'the revocation acts once the sentinels are reached again');
    my $obeyed = time;

    my @answers = $prober->end;
    my @admitted = grep { $_->[0] > $revoked + $max_stale && $_->[2] eq '200' }
        @answers;
    my ($stale) = grep { $_->[2] eq '503' } @answers;

    is(scalar @admitted, 0,
        'nobody is admitted max_stale after the revocation');
    cmp_ok($stale->[0], '>=', $begin + $max_stale - $slack,
        'what was known was used for max_stale');

    note(sprintf '%-24s | callers get: %s | new master after %.2f s |'
        . ' 503 after %.2f s | followed %.2f s after it was reached again',
        'cut off with the gateway',
        HoodyAI::Prober::summary($begin, @answers), $revoked - $begin,
        $stale->[0] - $begin, $obeyed - $back);

    like($s->log, qr/the master has lost its replicas/, 'which is logged');

    $ha->write('enable', 'dev-env');
    $ha->heal($old);
}


# Sentinels die one by one while the master lives.

{
    my $switches = metric('registry_switches_total');
    my $prober = HoodyAI::Prober->new($s);
    my $begin = time;

    for my $name ($ha->names('sentinel')) {
        $ha->kill($name);
        sleep 1.2;
        obeys("without $name");
    }

    sleep $max_stale;

    my @answers = $prober->end;

    is(join(' ', grep { $_ ne '200' } map { $_->[2] } @answers), '',
        'without a sentinel the master that is known goes on');
    is(metric('registry_switches_total'), $switches, 'and is the same');
    note(sprintf '%-24s | callers get: %s', 'all sentinels killed',
        HoodyAI::Prober::summary($begin, @answers));
}


# A worker that starts without any.

{
    my ($old) = $s->workers;
    my $begin = time;

    kill 'HUP', $s->pid('nginx');
    wait_for { my @now = $s->workers; @now == 1 && $now[0] != $old } 20;

    my $answer = $s->chat_ask;

    is($answer->{status}, 503, 'no sentinel at the start: refused');
    is($answer->{json}{error}{code}, 'registry_unavailable', 'with this code');
    like($s->log, qr/no server says where the master is/, 'the log says why');

    $ha->start($first);

    my $started = time;
    ok(wait_for(sub { $s->chat_ask->{status} == 200 }, 20),
        'one sentinel is enough');
    note(sprintf '%-24s | callers get: 503 | after the first sentinel was back'
        . ' 200 within %.2f s', 'all sentinels away at start',
        time - $started);
}

unlike($s->log, qr/min-replicas-to-write is 0/, 'no warning where it is set');

$ha->cmd($ha->master, 'CONFIG', 'SET', 'min-replicas-to-write', 0);
kill 'HUP', $s->pid('nginx');
ok(wait_for(sub { $s->log =~ /min-replicas-to-write is 0/ }, 20),
    'a warning where it is not');

$ha->end;
$s->finish;
