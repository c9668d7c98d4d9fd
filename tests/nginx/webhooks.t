#!/usr/bin/perl

# hoody-ai-events: entries as the module and the engine write them, a receiver
# that fails on purpose, an audit log that cannot be written, and a worker
# that is killed.  All of it as the user "events" of redis-schema/acl.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex sha256_hex);
use Fcntl qw(:flock);
use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(wait_for free_port slurp spew);

my $s = HoodyAI::System->new;
my $program = ($ENV{HAI_PROVIDER} ? dirname($ENV{HAI_PROVIDER})
    : $s->root . '/build') . '/hoody-ai-events';
my $slow = ($ENV{HAI_MODE} // '') eq 'asan' ? 4 : 1;
my $events = $s->rkey('events');
my $audit = "$s->{dir}/audit.jsonl";
my $rules = "$s->{dir}/rules.json";
my $json = JSON::PP->new->utf8->canonical;


# Redis with the users of redis-schema, and one for this test.

my $password = 'hai-events-' . join '', map { sprintf '%x', rand 16 } 1 .. 20;
my $hash = sha256_hex($password);
my $acl = join '', map { slurp($_) } sort glob $s->root
    . '/redis-schema/acl/*.acl';

$acl =~ s/\@\w+_PASSWORD_SHA256@/$hash/g;
$acl =~ s/\@SERVER@/sys/g;
$acl .= "user admin on #$hash allkeys allchannels allcommands\n";

mkdir "$s->{dir}/redis";
spew("$s->{dir}/redis.acl", $acl, 0600);
spew("$s->{dir}/redis.password", "$password\n", 0600);
$s->redis(args => ['--aclfile', "$s->{dir}/redis.acl"],
    user => ['admin', $password]);


# The receiver: what a path does depends on how often its id came.  Each
# request becomes a line, before it is answered.

my $record = "$s->{dir}/received";

sub note_request {
    my ($request) = @_;
    my ($head, $body) = split /\r\n\r\n/, $request, 2;
    my ($method, $path) = $head =~ m{^(\S+) (\S+)};
    my $id = eval { decode_json($body)->{id} } // '';
    my $n = 0;

    open(my $file, '+>>', $record) or die "$record: $!\n";
    flock $file, LOCK_EX;
    seek $file, 0, 0;
    while (<$file>) {
        my $other = decode_json($_);
        $n++ if $other->{id} eq $id && $other->{path} eq $path;
    }
    $file->autoflush(1);
    print $file $json->encode({ path => $path, method => $method, id => $id,
        head => $head, body => $body, time => time }), "\n";
    close $file;

    return ($path, $n + 1);
}

sub status { "HTTP/1.1 $_[0] X\r\nContent-Length: 0\r\n$_[1]\r\n" }

my %answer = (
    fail3 => sub { status($_[0] <= 3 ? 500 : 200, '') },
    down => sub { status(503, '') },
    gone => sub { status(404, '') },
    moved => sub { status(302, "Location: /target\r\n") },
    later => sub { status($_[0] == 1 ? 429 : 200, "Retry-After: 2\r\n") },
    close => sub { '' },
    half => sub { "HTTP/1.1 200 OK\r\nContent-Le" },
    garbage => sub { "SSH-2.0-OpenSSH\r\n" },
);

sub receive {
    my ($socket, $request) = @_;

    return if $request !~ /\r\n\r\n./s;    # its sender was killed

    my ($path, $n) = note_request($request);
    my ($kind) = $path =~ m{^/(\w+)};

    if ($kind eq 'slow' && $n == 1) {
        sleep 60;
    } elsif ($kind eq 'huge') {
        print $socket "HTTP/1.1 200 OK\r\n\r\n";
        1 while print $socket 'x' x 65536;
    } elsif ($kind eq 'headers' && $n == 1) {
        print $socket "HTTP/1.1 200 OK\r\n";
        1 while print $socket 'X-A: ' . 'x' x 4000 . "\r\n";
    } else {
        sleep 0.05 if $kind eq 'hold';
        print $socket ($answer{$kind} // sub { status(200, '') })->($n);
    }
}

my $receiver = $s->fake('receiver', \&receive);
my $hanging_receiver = $s->fake('hanging', \&receive);
my ($port) = $receiver =~ /:(\d+)/;


# Rules: one for each path, and those about answers.

my $secret = $s->secret('hook', 'hai-hook-secret-' . sprintf '%08x', rand 2**32);

sub hook {
    my ($id, $url, %action) = @_;
    my $event = delete $action{event} // 'tool.execute.after';
    my $trigger = delete $action{trigger} // {};

    return { id => $id, name => $id, trigger => { event => $event, %$trigger },
        action => { type => 'webhook',
            url => $url =~ m{^/} ? "http://$receiver$url" : $url, %action } };
}

sub logged {
    my ($id, $event, %trigger) = @_;

    return { id => $id, name => $id, trigger => { event => $event, %trigger },
        action => { type => 'log', content => "$id {{container.name}} {{model}}"
            . ($event =~ /^tool/ ? ' {{tool.name}}' : '') } };
}

my @rules = (
    hook('signed', '/ok?token=in-query', secretFile => $secret,
        headers => { 'X-Team' => 'blue', Authorization => 'Bearer hook' }),
    (map { hook($_, "/$_") } qw(plain fail3 down gone moved later close half
        garbage huge headers hold)),
    hook('slow', "http://$hanging_receiver/slow"),
    hook('query', '/gone?token=in-query#part'),
    hook('private', 'https://10.255.255.1/'),
    hook('metadata', 'http://169.254.169.254/latest'),
    hook('six', "http://[::1]:$port/ok"),
    hook('mapped', "http://[::ffff:10.0.0.1]:$port/ok"),
    hook('clear', 'http://1.1.1.1/ok'),    # refused before any packet
    hook('nosecret', '/ok', secretFile => "$s->{secrets}/missing"),
    hook('errors', '/ok', event => 'session.error',
        trigger => { containers => ['dev-*'] }),
    logged('tool', 'tool.execute.before', toolName => 'BASH', tags => ['prod']),
    logged('idle', 'session.idle', models => ['gpt-*']),
    { %{ logged('cool', 'session.idle', containers => ['cool']) },
        cooldownMs => 60000 },
);

sub write_rules {
    spew("$rules.new", ref $_[0] ? $json->encode({ rules => $_[0] }) : $_[0]);
    rename "$rules.new", $rules or die "$rules: $!\n";
}


# The worker.

sub start {
    my (@more) = @_;

    $s->spawn('events', [$program,
        '--redis', "unix:$s->{redis_socket} user=events"
            . " password_file=$s->{dir}/redis.password",
        '--server', 'sys', '--rules', $rules, '--audit-log', $audit,
        '--webhook-allow', '127.0.0.0/8', '--webhook-attempts', 4,
        '--webhook-backoff', 100, @more]);
}

sub worker_log { slurp("$s->{dir}/events.out.log") }

# Appends an entry with these fields: its id.
my $eids = 0;

sub add {
    my (%field) = @_;
    my $eid = delete $field{eid} // 'test-' . ++$eids;

    return $s->cmd('XADD', $events, '*', eid => $eid,
        ts => int(time * 1000), %field);
}

# An entry as the engine writes it.
sub fire {
    my ($rule, %field) = @_;

    return add(type => 'rule', rule => $rule, action => 'webhook',
        event => 'tool.execute.after', container => 'dev-env',
        container_id => 'a' x 24, request_id => 'r-1', api => 'openai.chat',
        model => 'gpt-4o', tool => 'read', depth => 1, %field);
}

sub received {
    my ($id) = @_;

    return grep { $_->{id} eq $id } map { $json->decode($_) }
        grep { index($_, $id) >= 0 } split /\n/, slurp($record);
}

# Field => value of each entry of a stream.
sub stream {
    my ($key) = @_;

    return map { my %field = @{ $_->[1] }; { entry => $_->[0], %field } }
        @{ $s->cmd('XRANGE', $key, '-', '+') };
}

sub dead {
    my ($id) = @_;

    return (grep { $_->{id} eq $id } stream($s->rkey('events:dead')))[0];
}

sub lines { map { $json->decode($_) } split /\n/, slurp($audit) }

sub line_of {
    my ($id) = @_;

    return (grep { $_->{id} eq $id } map { $json->decode($_) }
        grep { index($_, $id) >= 0 } split /\n/, slurp($audit))[0];
}

# Nothing is under way any more.
sub settled {
    my ($timeout) = @_;

    return wait_for(sub {
        my $groups = $s->cmd('XINFO', 'GROUPS', $events);
        my %group = @{ $groups->[0] // [] };

        return %group && $group{pending} == 0 && !$group{lag}
            && !$s->cmd('ZCARD', $s->rkey('events:retry'))
            && !$s->cmd('HLEN', $s->rkey('events:retry:data'));
    }, ($timeout // 20) * $slow);
}

sub soon(&;$) {
    my ($condition, $timeout) = @_;

    return wait_for(\&$condition, ($timeout // 10) * $slow);
}


# What is in the stream before the worker starts is not lost.

write_rules(\@rules);
my $early = fire('signed', message => "quote \" and \x{1}");
start();
ok(soon { received($early) }, 'an entry from before the start')
    or BAIL_OUT(worker_log());

my ($got) = received($early);
my $body = $json->decode($got->{body});

is($got->{method}, 'POST', 'POST');
is_deeply({ %$body, ts => 0 }, {
    id => $early, rule => 'signed', event => 'tool.execute.after',
    container => 'dev-env', container_id => 'a' x 24, request_id => 'r-1',
    api => 'openai.chat', model => 'gpt-4o', tool => 'read',
    message => "quote \" and \x{1}", ts => 0,
}, 'the facts');
like($body->{ts}, qr/^\d{13}\z/, 'ts is milliseconds');
like($got->{head}, qr/^content-type: application\/json\r?$/mi, 'its type');
like($got->{head}, qr/^x-team: blue\r?$/mi, 'a configured header');
like($got->{head}, qr/^authorization: Bearer hook\r?$/mi, 'and another');
like($got->{head}, qr/^user-agent: hoody-ai-events\//mi, 'who it is from');

my ($signature) = $got->{head} =~ /^x-hoody-signature: (\S+)/mi;
my $key = $s->key('hook');

is($signature, 'sha256=' . hmac_sha256_hex($got->{body}, $key),
    'the signature');


# The examples of the manual check the same.

my $manual = slurp($s->root . '/docs/WEBHOOKS.md');

for my $case (['python', 'python3', '-c'], ['javascript', 'node', '-e'],
    ['sh', 'sh', '-c'])
{
    my ($language, @command) = @$case;
    my ($code) = $manual =~ /^```$language verify\n(.*?)^```/ms;

    ok($code, "an example in $language") or next;
    spew("$s->{dir}/body", $got->{body});

    for my $try ([$signature, 0], ['sha256=' . '0' x 64, 1]) {
        local $ENV{SECRET_FILE} = $secret;
        local $ENV{SIGNATURE} = $try->[0];
        local $ENV{CODE} = $code;
        my $status = system("$command[0] $command[1] \"\$CODE\""
            . " <'$s->{dir}/body' >/dev/null 2>&1");

        is($status ? 1 : 0, $try->[1],
            "$language " . ($try->[1] ? 'refuses' : 'accepts'));
    }
}


# The slow one takes ten seconds; meanwhile the others are served.

my $hanging = fire('slow');
ok(soon { received($hanging) }, 'a receiver that hangs');
my @many = map { fire('slow') } 1 .. 5;
my $began = time;
my $plain = fire('plain');
ok(soon { received($plain) }, 'another one meanwhile');
cmp_ok(time - $began, '<', 5 * $slow, 'without waiting for it');

my %id = map { $_ => fire($_) } qw(fail3 down gone moved later close half
    garbage huge headers query private metadata six mapped clear nosecret);

ok(soon(sub { received($id{fail3}) == 4 }), 'three failures, then delivered');

my @tries = received($id{fail3});
is(scalar(keys %{ { map { $_->{body} => 1 } @tries } }), 1,
    'the same body each time');

for my $n (1 .. 3) {
    my $gap = $tries[$n]{time} - $tries[$n - 1]{time};

    cmp_ok($gap, '>=', 0.1, "pause $n is not too short");
    cmp_ok($gap, '<=', 0.1 * 2 ** $n + 1.5 * $slow, 'and not too long');
}

for my $case (
    ['down', 4, qr/^status 503$/],
    ['gone', 1, qr/^status 404$/],
    ['moved', 1, qr/^status 302$/],
    ['close', 4, qr/./],
    ['half', 4, qr/broke off/],
    ['garbage', 4, qr/./],
    ['query', 1, qr/^status 404$/],
    ['private', 1, qr/^address 10\.255\.255\.1 is not allowed$/],
    ['metadata', 1, qr/^address 169\.254\.169\.254 is not allowed/],
    ['six', 1, qr/^address ::1 is not allowed/],
    ['mapped', 1, qr/^address ::ffff:10\.0\.0\.1 is not allowed/],
    ['clear', 1, qr/^address 1\.1\.1\.1 is not allowed for http$/],
    ['nosecret', 4, qr/missing: No such file/],
) {
    my ($rule, $attempts, $error) = @$case;
    my $letter = soon { dead($id{$rule}) };

    ok($letter, "$rule: a dead letter") or next;
    is($letter->{attempts}, $attempts, "$rule: attempts");
    like($letter->{error}, $error, "$rule: the last error");
    is($letter->{rule}, $rule, "$rule: names its rule");
    is($json->decode($letter->{payload})->{id}, $id{$rule},
        "$rule: can be sent again");
}

is(dead($id{query})->{url}, "http://$receiver/gone", 'no query in its URL');
is(scalar(grep { $_->{path} =~ /target/ }
    map { $json->decode($_) } split /\n/, slurp($record)), 0,
    'no redirect was followed');
is(scalar(received($id{$_})), 0, "$_: nothing was sent")
    for qw(private metadata six mapped clear nosecret);

ok(soon(sub { received($id{later}) == 2 }), '429 is tried again');
@tries = received($id{later});
cmp_ok($tries[1]{time} - $tries[0]{time}, '>=', 1.99, 'when it asked for');

ok(soon(sub { received($id{headers}) == 2 }), 'endless headers fail');
is(scalar(received($id{huge})), 1, 'an endless body is a success');

ok(soon(sub { received($hanging) == 2 }, 20), 'the slow one is tried again');
@tries = received($hanging);
cmp_ok($tries[1]{time} - $tries[0]{time}, '>', 9.5, 'after its time-out');
ok(soon(sub { !grep { received($_) < 2 } @many }, 60),
    'others of that host as well');


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

my $refusal = fire('signed', action => 'message', message => 'No.');
ok(soon { line_of($refusal) }, 'a refusal has a line');
is((stat $audit)[2] & 07777, 0640, 'mode of the audit log');
unlike(slurp($audit), qr/[\x00-\x09\x0b-\x1f]/, 'no control character in it');


# Rules about answers.

$s->container('dev-env', tags => 'blue prod');
$s->container('dev-two', tags => 'blue');

sub answer {
    my ($container, %field) = @_;

    return add(type => 'request', container => $container, api => 'openai.chat',
        container_id => 'b' x 24, provider => 'openai', model => 'gpt-4o',
        request_id => "r-$container", status => 200, reason => 'ok', %field);
}

# The entries `rule` that came of a request.
sub fired {
    my ($request) = @_;

    return grep { $_->{type} eq 'rule' && ($_->{request_id} // '') eq $request }
        stream($events);
}

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
    ['tool', 'tool.execute.before', 'log', 'bash', 1, 'tool dev-env gpt-4o bash',
    'b' x 24], 'the entry');
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

# How often a set was taken.
sub sets { return scalar(() = worker_log() =~ /rules, digest/g) }

my $good = sets();
write_rules([@rules, hook('new', '/ok')]);
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

rename $audit, "$audit.1" or die;
kill 'HUP', $s->pid('events');
ok(soon { -e $audit }, 'SIGHUP opens the audit log again');
my $rotated = add(type => 'denied', status => 401, reason => 'unknown');
ok(soon { line_of($rotated) }, 'and it is written there');


# A disk that is full, in the middle of a line at first.  The limit counts for
# the log of the program too, which is smaller.

open(my $padding, '>>', $audit) or die "$audit: $!\n";
print $padding $json->encode({ id => '', padding => 'x' x 1000000 }), "\n";
close $padding;

my $limit = (-s $audit) + 20;
system('prlimit', '--pid', $s->pid('events'), "--fsize=$limit:") == 0
    or die "prlimit\n";

my @full = map { add(type => 'denied', status => 401, reason => 'unknown') }
    1 .. 100;
my $other = fire('hold');

ok(soon { received($other) }, 'webhooks go on while the log is full');
ok(soon { worker_log() =~ /audit log, entries wait/ }, 'it says so');
ok(soon(sub { $s->cmd('XPENDING', $events, 'hoody-ai-events')->[0] == 100 }),
    'the entries are not acknowledged');
is(scalar(() = worker_log() =~ /entries wait/g), 1, 'once');
is(substr(slurp($audit), -1), "\n", 'no part of a line is left');

system('prlimit', '--pid', $s->pid('events'), '--fsize=unlimited:') == 0
    or die "prlimit\n";
ok(settled(), 'room again: all are done');
is(scalar(grep { line_of($_) } @full), 100, 'no line is missing');
is(scalar(lines()), 102, 'none is there twice');


# Redis stops answering; nothing is lost, nothing ends.

kill 'STOP', $s->pid('redis');
sleep 3;
kill 'CONT', $s->pid('redis');
$s->cmd('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
my $after = fire('plain');
ok(soon { received($after) }, 'Redis is back');


# The stream is deleted, and the group with it.

$s->cmd('DEL', $events);
my $again = fire('plain');
ok(soon { received($again) }, 'a deleted stream');


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

my %kind = map { $_->{entry} => $_->{type} } stream($events);
my @hooks = grep { $kind{$_} eq 'rule' } @lost;
my %arrived = map { $json->decode($_)->{id} => 1 } split /\n/, slurp($record);

is(scalar(@hooks), 200, 'webhooks were fired meanwhile');
is(scalar(grep { !$arrived{$_} } @hooks), 0, 'each one was delivered');
is(scalar(grep { dead($_) } @hooks), 0, 'none is a dead letter');

my %made;

for my $entry (grep { $_->{type} eq 'rule' } stream($events)) {
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
is($s->cmd('XPENDING', $events, 'hoody-ai-events')->[0], 0, 'nothing owed');
is_deeply([grep { !/^$/ } map { { @$_ }->{name} }
    grep { { @$_ }->{pending} == 0 && { @$_ }->{idle} < 1000 }
    @{ $s->cmd('XINFO', 'CONSUMERS', $events, 'hoody-ai-events') }], [],
    'its consumer is gone');


# What runs when it ends is finished or stays on the list.

start();
my $running = fire('slow');
ok(soon { received($running) }, 'one that hangs');
$began = time;
is($s->stop('events'), 0, 'SIGTERM meanwhile: exit status 0');
cmp_ok(time - $began, '<', 8 * $slow, 'soon');
ok($s->cmd('ZSCORE', $s->rkey('events:retry'), $running), 'it stays');


# TLS: the right CA and name, or none.

SKIP: {
    skip 'IO::Socket::SSL is missing', 5 if !eval { require IO::Socket::SSL };

    my $ca = $s->ca('hook-ca');
    my %tls;

    for my $case (['good', 'IP:127.0.0.1'], ['bad', 'DNS:other.test']) {
        my ($name, $names) = @$case;
        my ($cert, $cert_key) = @{ $s->cert('hook-ca', "tls-$name",
            names => $names) };

        $tls{$name} = $s->fake("tls-$name", sub {
            my ($socket) = @_;

            IO::Socket::SSL->start_SSL($socket, SSL_server => 1,
                SSL_cert_file => $cert, SSL_key_file => $cert_key) or return;
            receive($socket, HoodyAI::System::_request($socket));
        }, raw => 1);
    }

    write_rules([@rules, map { hook("tls-$_", "https://$tls{$_}/ok") }
        sort keys %tls]);
    start('--webhook-ca', $ca);

    my ($fine, $wrong) = (fire('tls-good'), fire('tls-bad'));

    ok(soon { received($fine) }, 'TLS with a certificate of the CA');
    ok(soon { dead($wrong) }, 'not with another name');
    is(scalar(received($wrong)), 0, 'which gets nothing');
    $s->stop('events');

    start();
    my $unknown = fire('tls-good');
    ok(soon { dead($unknown) }, 'not with a CA that is not trusted');
    is(scalar(received($unknown)), 0, 'which gets nothing');
}


# What is wrong with the command line is said before anything happens.

for my $case (
    ['--webhook-allow', '10.0.0.1/8', qr/10\.0\.0\.1\/8.*bits/],
    ['--webhook-allow', 'host', qr/"host": not an address/],
    ['--webhook-attempts', '0', qr/webhook-attempts/],
    ['--log-level', 'loud', qr/loud/],
    ['--redis', 'unix:', qr/unix:/],
    ['--webhook-ca', '/nowhere', qr/\/nowhere/],
    ['--audit-log', $s->{dir}, qr/audit log/],
) {
    my ($option, $value, $message) = @$case;
    my $output = `'$program' --server sys $option '$value' 2>&1`;

    isnt($?, 0, "$option $value: refused");
    like($output, $message, 'with a message');
}

$s->finish;
