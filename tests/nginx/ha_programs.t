#!/usr/bin/perl

# The rule engine and the event worker with Sentinel and in a cluster: the
# master is killed, stopped, demoted and cut off, a slot is moved.  Afterwards
# rules are followed and published on the new master, entries that it has are
# acted upon, and those that were written meanwhile are there.  Each fault
# prints a line with its times.
#
# asan: no, most of it is waiting for a failover

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Engine;
use HoodyAI::Events;
use HoodyAI::Pace;
use HoodyAI::RedisHA;
use HoodyAI::System qw(chat slurp spew wait_for);

HoodyAI::RedisHA->own_network;

my @user = $> == 0 ? ('--user', 'nobody') : ();
my ($s, $ha, $engine, $words);
my $overlay = 0;


# Files that the programs open as another user.
sub for_nobody {
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];

    chown $uid, $gid, @_ or die "chown: $!\n" if @user;
}

sub password { "user=$_[0] password_file=$s->{dir}/redis.password" }

sub append {
    my ($id) = @_;

    return { id => $id, name => $id,
        trigger => { event => 'chat.system.transform' },
        action => { type => 'append', content => "text of $id" } };
}

sub begin_engine {
    my ($name, $at, %option) = @_;

    return HoodyAI::Engine->new($s, name => $name,
        redis => "$at " . password('engine'), args => [@user],
        rules => [logged('seen', 'chat.message')], %option);
}

# Both programs, where $words says that Redis is.
sub begin {
    for_nobody("$s->{dir}/redis.password");
    spew(audit(), '', 0600);
    for_nobody(audit());

    $engine = begin_engine('engine', $words);
    write_rules([hook('plain', receiver(), '/plain')]);
    start(@user);
    ok(soon { fired_webhook() }, 'a webhook');
}

sub fired_webhook {
    my $id = eval { fire('plain') } or return 0;

    return wait_for { received($id) } 20 * slow;
}

sub ask_engine {
    my ($request) = @_;

    return $engine->ask('body', body => chat(),
        parameters($request))->{status};
}

sub parameters { (HOODY_REQUEST_ID => $_[0]) }

# Is a change of the rules followed, and everything else as it should be?
# What it took since the fault: engine, worker, webhook.
sub works {
    my ($name, $fault) = @_;
    my $sets = sets();
    my $id = 'o' . ++$overlay;
    my @took;

    ok(soon(sub { eval { $s->cmd('HSET', $s->rkey('rules'), $id,
        encode_json(append($id))) } }), "$name: Redis takes a rule");

    ok(defined $engine->until_status(sub { $_->{rules} == 1 + $overlay }, 20),
        "$name: the engine follows");
    push @took, time - $fault;

    ok(soon(sub { my $epoch = $engine->status->{epoch};
        $epoch && $epoch eq ($s->cmd('GET', $s->rkey('rules:epoch')) // '') }),
        "$name: its epoch is published on the new master");

    ok(soon(sub { sets() > $sets }), "$name: the event worker follows");
    push @took, time - $fault;

    ok(fired_webhook(), "$name: webhooks go on");
    push @took, time - $fault;

    ok(soon(sub { $engine->status->{redis} eq 'connected' }),
        "$name: the engine is connected");
    ask_engine("after $name");
    ok(soon(sub { grep { ($_->{request_id} // '') eq "after $name" }
        stream($s->rkey('events')) }), "$name: it writes entries");

    return join ' | ', map { sprintf '%.0f ms', 1000 * $_ } @took;
}

# A fault, and what comes of it.
sub fault {
    my ($name, $do) = @_;
    my $old = $ha->master;
    my $began = time;

    $do->($old);

    my $new = $ha->failed_over($old);
    my $over = sprintf '%.0f ms', 1000 * (time - $began);

    ok($new, "$name: another master") or return;

    # the sentinels may take seconds to give it one
    has_replica($name) if $ha->names('sentinel');
    note("$name | another master: $over | engine, worker, webhook: ",
        works($name, $began));

    return $old;
}

# A master takes writes only while a replica has all of it.
sub has_replica {
    my ($name) = @_;

    ok(wait_for(sub {
        my $info = $ha->try($ha->master, 'INFO', 'replication') // '';

        ($info =~ /^min_slaves_good_slaves:(\d+)/m)[0];
    }, 30), "$name: the master has a replica");
}

# All replicas follow another master at once; and who may ask.
sub set_sentinels {
    for my $name ($ha->names('sentinel')) {
        $ha->cmd($name, 'SENTINEL', 'SET', 'hai', 'parallel-syncs', 4);
        $ha->cmd($name, 'ACL', 'SETUSER', 'asks', 'reset', 'on',
            ">hai-sentinel-$$", '+auth', '+sentinel|get-master-addr-by-name');
    }
}

sub end {
    is($engine->stop, 0, 'the engine ends');
    is($s->stop('events'), 0, 'the worker ends');
    $ha->end;
    $s->finish(@_);
}


# Sentinel

set_up(redis => sub {
    my ($acl, $user);

    ($s, $acl, $user) = @_;
    spew("$s->{dir}/sentinel.password", "hai-sentinel-$$\n", 0600);
    spew("$s->{dir}/wrong.password", "hai-wrong-$$\n", 0600);
    for_nobody("$s->{dir}/sentinel.password", "$s->{dir}/wrong.password");

    $ha = HoodyAI::RedisHA->new($s, acl => $acl, user => $user,
        args => ['min-replicas-to-write 1', 'min-replicas-max-lag 3']);
    # nobody comes back: a sentinel takes ten seconds to make it a replica
    $ha->sentinel(replicas => 4, down_after => 1000,
        failover_timeout => 2000);
    set_sentinels();
    $words = $ha->words('sentinel_user=asks',
        "sentinel_password_file=$s->{dir}/sentinel.password");
    return $words;
});

has_replica('start');
begin();
like($engine->log, qr/the master is \Q@{[$ha->address('m0')]}\E/,
    'the engine says where the master is');

fault('failover by hand', sub {
    $ha->cmd('s1', 'SENTINEL', 'FAILOVER', 'hai');
});

{
    # what the replicas have is not lost
    my @ids = map { fire('plain') } 1 .. 30;

    $s->cmd('WAIT', 4, 2000);

    fault('master killed', sub {
        my ($master) = @_;

        $ha->kill($master);

        # and what the engine has to say meanwhile is kept
        is(join(' ', map { ask_engine("meanwhile-$_") } 1 .. 5),
            '200 200 200 200 200', 'killed: the engine answers');
    });

    # what was taken, and not done, is taken again after 30 seconds
    my @lost = grep { my $id = $_; !soon(sub { received($id) }, 45) } @ids;

    is(scalar @lost, 0, 'killed: no entry of before is lost');

    my %there = map { ($_->{request_id} // '') => 1 }
        grep { $_->{type} eq 'rule' } stream($s->rkey('events'));
    my @gone = grep { !$there{"meanwhile-$_"} } 1 .. 5;

    is("@gone", '', 'killed: no entry of meanwhile is lost');
}

fault('master stopped', sub { $ha->pause($_[0]) });

SKIP: {
    skip 'needs root: a network of its own', 1 if !$ha->can_cut;

    # both programs still reach it, and it calls itself a master
    my $old = fault('master cut off', sub { $ha->cut($_[0]) });

    is($ha->cmd($old, 'ROLE')->[0], 'master', 'cut off: one that says so');
    unlike($ha->cmd($old, 'CLIENT', 'LIST'), qr/name=hoody-ai/,
        'cut off: nobody stays there');
    $ha->heal($old);
}

{
    my @sentinels = $ha->names('sentinel');

    $ha->pause($sentinels[0]);
    $ha->kill($sentinels[1]);

    my $second = begin_engine('second', $words);

    is($second->status->{rules}, 1 + $overlay, 'one sentinel is enough, one that hangs does no harm');
    is($second->stop, 0, 'that engine ends');

    $ha->resume($sentinels[0]);
    $ha->kill($_) for @sentinels[0, 2];

    my $began = time;

    note('all sentinels killed | engine, worker, webhook: ',
        works('without sentinels', $began));

    $second = begin_engine('third', $words, wait => 0);
    ok(wait_for(sub { $second->log
        =~ /sentinel [\d.:]+: Connection refused/ }, 10 * slow),
        'no sentinel at the start: the log says so');

    my $answer = wait_for { $second->ask('plan', parameters('none')) }
        10 * slow;

    is($answer && $answer->{status}, 503, 'and nothing is answered');

    $ha->start($_) for @sentinels;
    set_sentinels();
    ok(defined $second->until_status(sub { $_->{rules} == 1 + $overlay }, 20),
        'once they are there it is');
    is($second->stop, 0, 'it ends');
}

{
    my $wrong = $ha->words('sentinel_user=asks',
        "sentinel_password_file=$s->{dir}/wrong.password");
    my $engine = begin_engine('wrong', $wrong, wait => 0);

    ok(wait_for(sub { $engine->log =~ /sentinel [\d.:]+: AUTH: WRONGPASS/ }),
        'a wrong password for the sentinels');
    unlike($engine->log, qr/hai-wrong/, 'is not in the log');
    is($engine->stop, 0, 'it ends');

    my $nobody = begin_engine('nobody', "$words " =~ s/=hai /=other /r,
        wait => 0);

    ok(wait_for(sub { $nobody->log
        =~ /the master "other" is not known there/ }), 'an unknown master');
    is($nobody->stop, 0, 'it ends');
}

end(more => 1);


# Cluster

$overlay = 0;

set_up(redis => sub {
    my ($acl, $user);

    ($s, $acl, $user) = @_;
    $ha = HoodyAI::RedisHA->new($s, acl => $acl, user => $user);
    $ha->cluster(masters => 3, replicas => 3);

    # one is enough to hear of all
    $words = 'cluster=on ' . $ha->address('c1');
    return $words;
});

is($ha->master, 'c3', 'one that was not named has the slot');
begin();
works('cluster', time);

{
    my $before = $engine->status->{rules};
    my @during;

    note('slot moved | engine, worker, webhook: ', do {
        my $began = time;

        $ha->move_slot($ha->slot("{$s->{server}}"), 'c2', moved => sub {
            # asked and not there: no reason to believe that there are none
            sleep 1.5;
            push @during, $engine->status->{rules}, ask_engine('moving');
        });
        works('slot moved', $began);
    });
    is("@during", "$before 200", 'slot moved: the rules stay meanwhile');
    is($ha->master, 'c2', 'slot moved: to another node');
}

fault('owner killed', sub { $ha->kill($_[0]) });
is($ha->master, 'd2', 'its replica has the slot');

end();
