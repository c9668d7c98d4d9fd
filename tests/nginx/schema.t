#!/usr/bin/perl

# redis-schema: redis.conf and all files of acl/ together in a private Redis,
# with only paths, the server's name and the passwords filled in.  Each user is
# there, and "gateway" may do what the module does and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;

use HoodyAI::Engine;
use HoodyAI::Schema;
use HoodyAI::System qw(chat slurp spew wait_for);

my $s = HoodyAI::System->new;
my $schema = $s->root . '/redis-schema';

is(join(' ', map { m{([^/]+)\.acl\z} } sort glob "$schema/acl/*.acl"),
    'control default engine events firewall gateway', 'the files of acl/');

my $redis = HoodyAI::Schema->start($s);

pass('Redis takes the files, with only paths, name and passwords filled in');


# all that follows is done by this user
sub be { $redis->be(@_) }


# what Redis refuses a command for: a word, or '' where it does not
sub refused {
    eval { $s->cmd(@_) };

    return $@ =~ /^redis error: (\w+)/ ? $1 : $@;
}


is_deeply([sort @{$s->cmd('ACL', 'USERS')}],
    [qw(admin control default engine events firewall gateway)], 'the users');
is($s->cmd('CONFIG', 'GET', 'appendfsync')->[1], 'always',
    'each write waits for the disk');
is($s->cmd('CONFIG', 'GET', 'maxmemory-policy')->[1], 'noeviction',
    'nothing is evicted');

be(undef);
is(refused('PING'), 'NOAUTH', 'nobody without a password');


# the control plane writes what the gateway reads

be('control');
$s->container('dev-env', addresses => '127.0.0.1');
is($s->cmd('SCARD', $s->rkey('ai:enabled')), 1, 'control writes the registry');
is(refused('SET', 'hoody:{other}:generation', 1), 'NOPERM',
    'control: not of another host');

# that the functions work with its rights, and only theirs, functions.t shows
is(refused('FUNCTION', 'LIST'), '', 'control: may look at functions');

for my $command (
    ['SWAPDB', 0, 1],
    ['FLUSHALL'],
    ['FUNCTION', 'FLUSH'],
    ['FUNCTION', 'DELETE', 'hoody_ai'],
    ['EVAL', 'return 1', 0],
    ['SET', $s->rkey('rules:epoch'), 1],
    ['DEL', $s->rkey('usage:dev-env:2026-01-01')],
    ['HSET', $s->rkey('usage:dev-env:2026-01-01'), 'a', 1],
    ['ZADD', $s->rkey('limit:a'), 1, 'a'],
    ['HSET', $s->rkey('events:retry:data'), 'a', 1],
    ['XADD', $s->rkey('events:dead'), '*', 'a', 1],
    ['XTRIM', $s->rkey('events'), 'MAXLEN', 0],
    ['SUBSCRIBE', 'else'],
    ['KEYS', '*'],
    ['CLIENT', 'LIST'],
    ['CONFIG', 'GET', 'dir'],
    ['ACL', 'LIST'],
    ['MIGRATE', '127.0.0.1', 1, 'a', 0, 1],
) {
    is(refused(@$command), 'NOPERM', "control: not @$command");
}


# the gateway

be('gateway');

my $id = $s->cmd('CLIENT', 'ID');
my @fields = qw(id number addresses cgroup tags status);
my $key = $s->rkey('container:dev-env');
my $gate = $s->rkey('ai:enabled');
my $list = $s->rkey('containers');

for my $command (
    ['SELECT', 0],
    ['ROLE'],
    ['INFO', 'server'],
    ['INFO', 'replication'],
    ['PING'],
    ['CLIENT', 'TRACKING', 'ON', 'REDIRECT', $id, 'BCAST',
        map { ('PREFIX', $s->rkey($_)) } qw(ai: container rules limit:)],
    ['MULTI'],
    ['SMEMBERS', $gate],
    ['PTTL', $gate],
    ['SMEMBERS', $list],
    ['GET', $s->rkey('generation')],
    ['GET', $s->rkey('rules:epoch')],
    ['PTTL', $key],
    ['HMGET', $key, @fields],
    ['SMISMEMBER', $gate, 'dev-env'],
    ['SCARD', $gate],
    ['SCARD', $list],
    ['EXEC'],
    ['SCAN', 0, 'MATCH', $s->rkey('container:*')],
    ['PERSIST', $s->rkey('events')],
    ['XADD', $s->rkey('events'), 'MAXLEN', '~', 100000, '*', 'type', 'request'],
    ['SUBSCRIBE', '__redis__:invalidate'],
) {
    is(refused(@$command), '', "gateway: @$command[0 .. ($#$command > 0)]");
}

be('gateway');

my $limit = $s->rkey('limit:lease');

for my $command (
    ['SET', $limit, 1],
    ['GET', $limit],
    ['HMGET', $limit, 'a'],
    ['XADD', $limit, '*', 'a', 1],
    ['SET', $s->rkey('generation'), 1],
    ['SET', $s->rkey('rules:epoch'), 1],
    ['HMGET', $s->rkey('rules'), 'a'],
    ['SADD', $gate, 'other'],
    ['SREM', $gate, 'dev-env'],
    ['SADD', $list, 'other'],
    ['HSET', $key, 'status', 'running'],
    ['DEL', $key],
    ['PEXPIRE', $key, 1],
    ['PERSIST', $key],
    ['RENAME', $key, $s->rkey('container:other')],
    ['XADD', $key, '*', 'a', 1],
    ['XADD', 'hoody:{other}:events', '*', 'a', 1],
    ['XADD', $s->rkey('events:dead'), '*', 'a', 1],
    ['XRANGE', $s->rkey('events'), '-', '+'],
    ['XTRIM', $s->rkey('events'), 'MAXLEN', 0],
    ['DEL', $s->rkey('events')],
    ['GET', $s->rkey('events')],
    ['HGETALL', $key],
    ['SMEMBERS', 'hoody:{other}:ai:enabled'],
    ['SUBSCRIBE', 'else'],
    ['PUBLISH', '__redis__:invalidate', $key],
    ['CLIENT', 'LIST'],
    ['CLIENT', 'KILL', 'TYPE', 'normal'],
    ['CONFIG', 'GET', 'dir'],
    ['CLUSTER', 'NODES'],
    ['ACL', 'LIST'],
    ['EVAL', 'return 1', 0],
    ['KEYS', '*'],
    ['SWAPDB', 0, 1],
    ['FLUSHDB'],
    ['FLUSHALL'],
    ['SAVE'],
    ['SHUTDOWN', 'NOSAVE'],
) {
    is(refused(@$command), 'NOPERM', "gateway: not @$command");
}


# the event worker; that it may do what it does is shown by webhooks.t

be('events');

for my $command (
    ['XRANGE', $s->rkey('events'), '-', '+'],
    ['XTRIM', $s->rkey('events'), 'MAXLEN', 0],
    ['XGROUP', 'DESTROY', $s->rkey('events'), 'hoody-ai-events'],
    ['DEL', $s->rkey('events')],
    ['DEL', $s->rkey('events:dead')],
    ['XADD', 'hoody:{other}:events', '*', 'a', 1],
    ['HSET', $s->rkey('rules'), 'a', '{}'],
    ['EVAL', 'return 1', 1, $s->rkey('rules')],
    ['EVAL', 'return 1', 1, $key],
    ['HGET', $s->rkey('ai:enabled'), 'a'],
    ['ZADD', $s->rkey('limit:a'), 1, 'a'],
    ['HSET', $s->rkey('usage:dev-env:2026-01-01'), 'a', 1],
    ['SCRIPT', 'FLUSH'],
    ['FUNCTION', 'FLUSH'],
    ['CONFIG', 'GET', 'dir'],
    ['CLIENT', 'KILL', 'TYPE', 'normal'],
    ['SUBSCRIBE', 'else'],
    ['KEYS', '*'],
    ['FLUSHALL'],
) {
    is(refused(@$command), 'NOPERM', "events: not @$command");
}

is(refused('EVAL', "return redis.call('HSET', '$key', 'status', 'x')", 0),
    'ERR', 'events: not from a script either');


# the rule engine: the program itself, and what else somebody in its place
# might try

be('engine');
is(refused('XADD', $s->rkey('events'), '*', 'type', 'test'), '',
    'engine: appends an event');

for my $command (
    ['HGETALL', $key],
    ['SMEMBERS', $gate],
    ['XRANGE', $s->rkey('events'), '-', '+'],
    ['HSET', $s->rkey('rules'), 'id', '{}'],
    ['DEL', $s->rkey('rules:epoch')],
    ['SET', $s->rkey('generation'), 1],
    ['GET', 'hoody:{other}:rules:epoch'],
    ['KEYS', '*'],
    ['FLUSHALL'],
    ['CONFIG', 'GET', 'dir'],
) {
    is(refused(@$command), 'NOPERM', "engine: not @$command");
}

spew("$s->{dir}/engine.password", "$redis->{password}\n", 0600);

my $engine = HoodyAI::Engine->new($s, redis => "unix:$s->{redis_socket}"
    . " user=engine password_file=$s->{dir}/engine.password");

be('control');
$s->cmd('HSET', $s->rkey('rules'), 'note', '{"id":"note","trigger":{"event":'
    . '"chat.message"},"action":{"type":"log","content":"x"}}');
ok($engine->until_status(sub { $_->{rules} == 1 }),
    'engine: follows the overlay');
is($engine->ask('body', body => chat())->{status}, 204, 'and answers');
ok(wait_for(sub { ($s->cmd('GET', $s->rkey('rules:epoch')) // '')
    eq $engine->status->{epoch} }), 'publishes its epoch');

ok(wait_for(sub { grep { "@{$_->[1]}" =~ /\btype rule\b/ }
    @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')} }),
    'and writes its entries');
unlike($engine->log, qr/: (?:error|warn):/, 'without a complaint');
is($engine->stop, 0, 'it ends');


# the firewall: it may read the containers, and follow them

be('firewall');
is(refused('CLIENT', 'TRACKING', 'ON', 'REDIRECT', $s->cmd('CLIENT', 'ID'),
    'BCAST', 'PREFIX', $s->rkey('container:')), '', 'firewall: the feed');
is(refused('SUBSCRIBE', '__redis__:invalidate'), '', 'firewall: its channel');
be('firewall');

for my $command (
    ['SMEMBERS', $gate],
    ['HSET', $key, 'status', 'x'],
    ['HMGET', 'hoody:{other}:container:x', 'mac'],
    ['GET', $s->rkey('rules:epoch')],
    ['XADD', $s->rkey('events'), '*', 'type', 'x'],
    ['KEYS', '*'],
    ['FLUSHALL'],
) {
    is(refused(@$command), 'NOPERM', "firewall: not @$command");
}

be('control');
$s->cmd('HSET', $key, 'host_interface', 'veth1', 'addresses', '192.0.2.7');

{
    my $program = $s->program('hoody-ai');
    my $redis = "unix:$s->{redis_socket} user=firewall "
        . "password_file=$s->{dir}/engine.password";
    my $text = `$program firewall print --server sys --redis '$redis' 2>&1`;

    like($text, qr/^            "veth1" \. \S+ \. 192\.0\.2\.7$/m,
        'firewall: the program itself');
}


# what was written in one step is there after a crash: Redis reads its log as
# the default user, who is off but must have all rights for it

{
    be('control');
    $s->cmd('MULTI');
    $s->cmd('SREM', $s->rkey('ai:enabled'), 'dev-env');
    $s->cmd('HSET', $key, 'comment', 'in one step');
    is(scalar @{$s->cmd('EXEC')}, 2, 'two changes in one step');

    $s->stop('redis', 'KILL');
    $s->spawn('redis', ['/usr/bin/env', 'redis-server',
        "$s->{dir}/redis/redis.conf"]);
    be('control');
    ok(wait_for(sub { eval { $s->cmd('PING') } }), 'Redis is started again');
    is($s->cmd('HGET', $key, 'comment'), 'in one step', 'both are there');
    is($s->cmd('SISMEMBER', $s->rkey('ai:enabled'), 'dev-env'), 0,
        'what was switched off stays off');
    unlike(slurp("$s->{dir}/redis.out.log"), qr/CRITICAL/,
        'nothing of the log was refused');

    be(undef);
    is(refused('AUTH', 'default', ''), 'WRONGPASS',
        'the default user cannot be had');
    is(refused('AUTH', ''), 'WRONGPASS', 'nor without a name');
}


be('admin');
$s->finish;
