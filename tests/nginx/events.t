#!/usr/bin/perl

# hoody-ai-events and the stream: rules about answers, the audit log, rules
# that change, a full disk, a Redis in trouble, and workers that are killed.
# Nothing is lost, and nothing is done twice that can be done once.
#
# asan: no, most of it is waiting; webhooks.t and engine.t run the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Events;
use HoodyAI::System qw(slurp suspend);

my $s = set_up();
my $events = $s->rkey('events');
my $json = JSON::PP->new->utf8->canonical;
my $receiver = receiver();
my $got;

my @rules = (
    (map { hook($_, $receiver, "/$_") } qw(plain hold long fail3)),
    hook('errors', $receiver, '/ok', event => 'session.error',
        trigger => { containers => ['dev-*'] }),
    logged('tool', 'tool.execute.before', toolName => 'BASH', tags => ['prod']),
    logged('idle', 'session.idle', models => ['gpt-*']),
    { %{ logged('cool', 'session.idle', containers => ['cool']) },
        cooldownMs => 60000 },
);

write_rules(\@rules);
start();


# The audit log.

my %line = (
    rule => { action => 'log', rule => 'tool', message => "line\nbreak \x{1b}",
        container => 'dev-env', event => 'tool.execute.after', tool => 'read' },
    denied => { status => 401, reason => 'unknown', source => '10.0.0.9',
        count => 7 },
    revoked => { request_id => 'r-2', container => 'dev-env', status => 403,
        reason => 'disabled' },
    'rules.reload' => { status => 'failed', epoch => '1-a', rules => 3,
        reason => 'rules.json:1:2: bad' },
    'session.error' => { request_id => 'r-3', container => 'other',
        api => 'openai.chat', provider => 'openai', model => 'gpt-4o',
        status => 502, reason => 'provider_unavailable', depth => 1 },
);

for my $type (sort keys %line) {
    my $entry = add(type => $type, secret => 'not a fact', %{ $line{$type} });
    my $line = soon { line_of($entry) };

    ok($line, "$type: a line") or next;
    like(delete $line->{ts}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z/,
        "$type: when");
    is_deeply($line, { id => $entry, type => $type, %{ $line{$type} } },
        "$type: its facts and no more");
}

my $refusal = fire('plain', action => 'message',
    message => "No.\xc2\x9b31m\x7f\xe2\x80\xa8\xc3\xa4");
ok(soon { line_of($refusal) }, 'a refusal has a line');
is(line_of($refusal)->{message}, "No.\x{9b}31m\x7f\x{2028}\xe4",
    'with what it says');
is((stat audit())[2] & 07777, 0640, 'mode of the audit log');
unlike(slurp(audit()), qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xa8/,
    'no control character in it');


# Rules about answers.

$s->container('dev-env', tags => 'blue prod');
$s->container('dev-two', tags => 'blue');

answer('dev-env', request_id => 'tools', tools => 'read bash write',
    tool_calls => 3);
answer('dev-two', request_id => 'untagged', tools => 'bash', tool_calls => 1);
answer('dev-env', request_id => 'idle', tool_calls => 0);
answer('dev-env', request_id => 'bad', reason => 'aborted');
answer('dev-env', request_id => 'no-prompt', api => 'openai.embeddings');
answer('dev-env', request_id => 'other-model', model => 'claude');
add(type => 'session.error', container => 'dev-env', request_id => 'failed',
    api => 'openai.chat', model => 'gpt-4o', status => 504, depth => 1,
    reason => 'provider_timeout');
add(type => 'session.error', container => 'dev-env', request_id => 'deep',
    status => 403, reason => 'blocked_by_rule', depth => 2);

ok(settled(), 'all of it is done');

my ($fired, @more) = fired('tools');
is(scalar(@more), 0, 'tool.execute.before: one of three tools');
is_deeply([@$fired{qw(rule event action tool depth message container_id)}],
    ['tool', 'tool.execute.before', 'log', 'bash', 1,
    'tool dev-env gpt-4o bash', 'b' x 24], 'the entry');
is(line_of($fired->{entry})->{message}, 'tool dev-env gpt-4o bash',
    'and its line');
is(join(' ', map { $_->{rule} } fired('idle')), 'idle', 'session.idle');
is(scalar(fired($_)), 0, "nothing of $_")
    for qw(untagged bad no-prompt other-model deep);

($fired) = fired('failed');
$got = (received($fired->{entry}))[0];
is_deeply([@{ $json->decode($got->{body}) }{qw(rule event status reason)}],
    ['errors', 'session.error', 504, 'provider_timeout'],
    'session.error: a webhook that says why');

answer('cool', request_id => 'cool', model => 'o1') for 1 .. 3;
ok(settled(), 'done');
is(scalar(fired('cool')), 1, 'the cooldown');


# An entry that was written twice, alone and among others.

my @twice = map { fire('plain', eid => 'twice') } 1 .. 2;
add(type => 'registry');
ok(settled(), 'done');
push @twice, fire('plain', eid => 'twice');
ok(settled(), 'done again');
is(scalar(map { received($_) } @twice), 1, 'an eid counts once');


# Rules change.

my $gone = fire('never-there');
ok(soon { dead($gone) }, 'no such rule: a dead letter');
like(dead($gone)->{error}, qr/gone/, 'that says so');

my $good = sets();
write_rules([@rules, hook('new', $receiver, '/ok')]);
ok(soon { sets() > $good }, 'the file is read again');
my $new = fire('new');
ok(soon { received($new) }, 'a new rule of it');

write_rules('{"rules":[{"id":7}]}');
ok(soon { worker_log() =~ /last good set/ }, 'a bad file is reported');
like(worker_log(), qr/rules\.json:1:\d+/, 'with its place');
my $kept = fire('new');
ok(soon { received($kept) }, 'and the last good set stays');

$good = sets();
write_rules(\@rules);
ok(soon { sets() > $good }, 'repaired');

$good = sets();
$s->cmd('HSET', $s->rkey('rules'), 'plain',
    '{"id":"plain","enabledOverride":false}');
ok(soon { sets() > $good }, 'the overlay is read');
my $disabled = fire('plain');
ok(soon { dead($disabled) }, 'a rule that is disabled sends nothing');
like(dead($disabled)->{error}, qr/disabled/, 'and says so');
$s->cmd('DEL', $s->rkey('rules'));
ok(settled(), 'done');


# Rotation.

rename audit(), audit() . '.1' or die "rename: $!\n";
kill 'HUP', $s->pid('events');
ok(soon { -e audit() }, 'SIGHUP opens the audit log again');
my $rotated = add(type => 'denied', status => 401, reason => 'unknown');
ok(soon { line_of($rotated) }, 'and it is written there');


# A disk that is full, in the middle of a line at first.  The limit counts for
# the log of the program too, which is smaller.

open(my $padding, '>>', audit()) or die audit() . ": $!\n";
print $padding $json->encode({ id => '', padding => 'x' x 1000000 }), "\n";
close $padding;

my $limit = (-s audit()) + 20;
system('prlimit', '--pid', $s->pid('events'), "--fsize=$limit:") == 0
    or die "prlimit\n";

my @full = map { add(type => 'denied', status => 401, reason => 'unknown') }
    1 .. 100;
my $other = fire('hold');

ok(soon { received($other) }, 'webhooks go on while the log is full');
ok(soon { worker_log() =~ /audit log, entries wait/ }, 'it says so');
ok(soon(sub { pending() == 100 }),
    'the entries are not acknowledged');
is(scalar(() = worker_log() =~ /entries wait/g), 1, 'once');
is(substr(slurp(audit()), -1), "\n", 'no part of a line is left');

system('prlimit', '--pid', $s->pid('events'), '--fsize=unlimited:') == 0
    or die "prlimit\n";
ok(settled(), 'room again: all are done');
is(scalar(grep { line_of($_) } @full), 100, 'no line is missing');
is(scalar(lines()), 102, 'none is there twice');


# Redis stops answering; nothing is lost, nothing ends.

suspend($s->pid('redis'));
sleep 3;
kill 'CONT', $s->pid('redis');
$s->cmd('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
my $after = fire('plain');
ok(soon { received($after) }, 'Redis is back');


# The stream is deleted, and the group with it.

$s->cmd('DEL', $events);
my $again = fire('plain');
ok(soon { received($again) }, 'a deleted stream');


# The retry list is deleted while a delivery is under way: what comes of it
# counts, and nothing is left of it.

my $leased = fire('long');
ok(soon { received($leased) }, 'a webhook under way');
is($s->cmd('DEL', $s->rkey('events:retry')), 1, 'and no list any more');
ok(settled(), 'nothing is left of it');


# Redis refuses to keep what an entry causes: it waits.

$s->cmd('SET', $s->rkey('events:retry'), 'not a list');
my $waiting = fire('plain');
ok(soon { worker_log() =~ /WRONGTYPE/ }, 'an alien key is reported');
is(pending(), 1,
    'the entry is not acknowledged');
$s->cmd('DEL', $s->rkey('events:retry'));
ok(soon { received($waiting) }, 'and done once the key is gone');


# Two workers share the work.

start('second');
my @shared = map { $_ % 2 ? fire('plain')
    : add(type => 'denied', status => 401, reason => 'unknown') } 1 .. 400;
ok(settled(), 'two workers');

my %once;

$once{$_->{id}}++ for lines(),
    all_received();
is(scalar(grep { ($once{$_} // 0) != 1 } @shared), 0,
    'each thing is done once');
is($s->stop('second'), 0, 'one of them ends');


# Killed at any moment.

my @lost;

for my $round (1 .. 8) {
    push @lost, map { fire($_ % 3 ? 'hold' : 'fail3') } 1 .. 25;
    push @lost, map { answer('dev-env', request_id => "k-$round-$_") } 1 .. 5;
    sleep rand 0.3;
    $s->stop('events', 'KILL');
    start();
}

ok(settled(120), 'killed 8 times, and all came to an end');

my %kind = map { $_->{entry} => $_->{type} } stream($s->rkey('events'));
my @hooks = grep { $kind{$_} eq 'rule' } @lost;
my %arrived = map { $_->{id} => 1 } all_received();

is(scalar(@hooks), 200, 'webhooks were fired meanwhile');
is(scalar(grep { !$arrived{$_} } @hooks), 0, 'each one was delivered');
is(scalar(grep { dead($_) } @hooks), 0, 'none is a dead letter');

my %made;

for my $entry (grep { $_->{type} eq 'rule' } stream($s->rkey('events'))) {
    push @{ $made{ $entry->{request_id} // '' } }, $entry->{entry};
}

my @judged = grep { /^k-/ } keys %made;

is(scalar(@judged), 40, 'each answer was judged');
is(scalar(grep { @{ $made{$_} } > 1 } @judged), 0, 'once');
is(scalar(grep { !line_of($made{$_}[0]) } @judged), 0, 'and has its line');


# A clean end leaves nothing behind.

my $last = fire('hold');
ok(soon { received($last) }, 'the last one');
is($s->stop('events'), 0, 'SIGTERM: exit status 0');
is(pending(), 0, 'nothing owed');
is_deeply([grep { !/^$/ } map { { @$_ }->{name} }
    grep { { @$_ }->{pending} == 0 && { @$_ }->{idle} < 1000 }
    @{ $s->cmd('XINFO', 'CONSUMERS', $events, 'hoody-ai-events') }], [],
    'its consumer is gone');


$s->finish;
