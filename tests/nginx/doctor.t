#!/usr/bin/perl

# "hoody-ai doctor": of a healthy system everything is fine; each fault that
# is brought about turns its own check, and no other one.
#
# asan: no, the command runs once for each of many faults

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use HoodyAI::Engine;
use HoodyAI::Schema;
use HoodyAI::System qw(chat free_port slurp spew suspend wait_for);

plan skip_all => 'most of it is for root to see' if $> != 0;

my $s = HoodyAI::System->new;
my $program = $s->program('hoody-ai');
my $redis = HoodyAI::Schema->start($s);
my ($runs, $spent) = (0, 0);


# Runs it; the exit status and what it wrote.  Options: before (words in front
# of the command), the rest are its arguments.
sub doctor {
    my ($before, @args) = @_;

    my $began = time;
    my @result = $s->output(@$before, $program, 'doctor', @args);

    $runs++;
    $spent += time - $began;

    return @result;
}


my @usual;

# The checks by name.
sub checks {
    my (@args) = @_;

    my $before = ref $args[0] ? shift @args : [];
    my ($exit, $out, $err) = doctor($before, @usual, '-o', 'json', @args);
    my $json = eval { decode_json($out) }
        or die "doctor: $exit: $out$err\n";

    return { exit => $exit, map { $_->{check} => $_ } @{$json->{checks}} };
}


# ---- a healthy system --------------------------------------------------------

my $ca = $s->ca('authority');
my $other_ca = $s->ca('another');
my $provider = $s->provider(tls => $s->cert('authority', 'provider'));
my $socket = "$s->{dir}/ai.sock";

$s->container('dev-env', addresses => '127.0.0.1 10.77.0.0/24', number => 7);
$s->container('other', addresses => '10.78.0.1');
$s->cmd('XGROUP', 'CREATE', $s->rkey('events'), 'hoody-ai-events', 0,
    'MKSTREAM');

my $engine = HoodyAI::Engine->new($s, redis => $redis->words('engine'),
    args => ['--socket-mode', '0666'],
    rules => [{ id => 'guard', trigger => { event => 'chat.message' },
        action => { type => 'log', content => 'x' } }]);
my $conf = $s->root . '/conf';
my $http = <<"END";
    upstream provider {
        server %%PROVIDER%%;
        keepalive 8;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        listen unix:$socket;

        hoody_ai_rules /hoody-ai-rules;

        location = /status { hoody_ai_status; }

        location = /hoody-ai-rules {
            internal;
            include $conf/hoody_ai_rules_params;
            fastcgi_pass unix:$engine->{socket};
        }

        location /v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            proxy_pass https://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate $ca;
            proxy_ssl_server_name on;
            proxy_ssl_name provider.test;
            proxy_ssl_session_reuse off;
        }
    }
END

$s->nginx(level => 'notice', redis => $redis->words('gateway'),
    http => $http);
@usual = ('--nginx', $s->nginx_binary, '--conf', "$s->{dir}/nginx.conf",
    '--prefix', $s->{dir}, '--admin-redis', $redis->words('admin'),
    '--gateway', 'http://' . $s->address . '/status?format=json', '--online');

# what depends on the machine that the test runs on, not on the system
my $host = qr/^(?:host|kernel)\./;

ok(wait_for(sub { $s->chat_ask->{status} == 200 }), 'the system works')
    or diag(explain($s->chat_ask), substr $s->log, -3000);

my $healthy = checks();
my @not_fine = grep { !/$host|^exit$/ && $healthy->{$_}{result} ne 'ok' }
    sort keys %$healthy;

is(join(', ', @not_fine), 'redis.replicas', 'everything is fine, and there are'
    . ' no replicas') or diag(explain($healthy));
is($healthy->{'redis.replicas'}{result}, 'skip', 'which is nothing bad');
is($healthy->{exit}, 0, 'exit status 0');

my %allowed = map { $_ => 1 } qw(ok warn skip);

ok($allowed{$healthy->{$_}{result}}, "$_: $healthy->{$_}{result}")
    for grep { /$host/ } sort keys %$healthy;

my ($exit, $out, $err) = doctor([], @usual);

is($exit, 0, 'as text: exit status 0');
is($err, '', 'nothing on standard error');
like($out, qr/^ok    redis\.acl +user "gateway" may do what the module does,/m,
    'a line for each check');
like($out, qr/^\d+ ok, \d+ warnings, 0 failed, \d+ skipped$/m, 'and a last one');
unlike($out, qr/\Q$_\E/, 'no key in it') for $s->all_keys;
unlike($out, qr/\Q$redis->{password}\E/, 'no password in it');

# all options of the gateway come from nginx's configuration
like($out, qr/^ok    redis\.reachable +unix:\Q$s->{redis_socket}\E/m,
    'Redis as nginx has it');


# ---- faults ------------------------------------------------------------------

# What is another than in the healthy system: "check=result" each.
sub differences {
    my ($now) = @_;

    return join ' ', map { "$_=$now->{$_}{result}" }
        grep { $_ ne 'exit' && $now->{$_}{result} ne $healthy->{$_}{result} }
        sort keys %$now;
}

# Makes something wrong, looks, and mends it.
sub fault {
    my ($name, $expected, $break, $mend, @args) = @_;

    $break->();

    my $now = checks(@args);

    $mend->();
    is(differences($now), $expected, $name);
    is($now->{exit}, $expected =~ /=fail/ ? 1 : 0, "$name: exit status");

    for my $check (map { /^(.*?)=(?:warn|fail)/ } split / /, $expected) {
        next if $check eq 'nginx.config';
        ok($now->{$check}{mend}, "$name: how to mend it")
            or diag($now->{$check}{text});
    }

    return $now;
}

my $nothing = sub { };

# Redis settings, and back
sub setting {
    my ($name, $value, $back, $expected) = @_;

    fault("$name $value", $expected,
        sub { $s->cmd('CONFIG', 'SET', $name, $value) },
        sub { $s->cmd('CONFIG', 'SET', $name, $back) });
}

setting('maxmemory-policy', 'allkeys-lru', 'noeviction', 'redis.memory=fail');
setting('appendonly', 'no', 'yes', 'redis.persistence=warn');
setting('client-output-buffer-limit', 'pubsub 1000 1000 60',
    'pubsub 67108864 16777216 30', 'redis.feed=warn');

fault('a right is missing', 'redis.acl=fail',
    sub { $s->cmd('ACL', 'SETUSER', 'gateway', '-smismember') },
    sub { $s->cmd('ACL', 'SETUSER', 'gateway', '+smismember') });
my $now = fault('a right too many', 'redis.acl=warn',
    sub { $s->cmd('ACL', 'SETUSER', 'gateway', '+flushall') },
    sub { $s->cmd('ACL', 'SETUSER', 'gateway', '-flushall') });
like($now->{'redis.acl'}{text}, qr/1 commands, FLUSHALL$/, 'it is named');
is($s->cmd('SCARD', $s->rkey('ai:enabled')), 2, 'and was not carried out');

# a user without a password, on a socket that everybody may use
fault('strangers', 'redis.network=warn',
    sub { $s->cmd(qw(ACL SETUSER default on nopass +ping)) },
    sub { $s->cmd(qw(ACL SETUSER default off)) });
fault('a socket that workers may not use', 'redis.socket=fail',
    sub { chmod 0700, $s->{redis_socket} },
    sub { chmod 0777, $s->{redis_socket} });

# a replica without which the master goes on
my ($port, $replica_port) = (free_port(), free_port());

fault('a replica', 'redis.replicas=fail',
    sub {
        mkdir "$s->{dir}/replica";
        $s->cmd('CONFIG', 'SET', 'port', $port);
        spew("$s->{dir}/replica.conf", "port $replica_port\nbind 127.0.0.1\n"
            . "replicaof 127.0.0.1 $port\nmasteruser admin\n"
            . "masterauth $redis->{password}\ndir $s->{dir}/replica\n"
            . "save \"\"\nlogfile $s->{dir}/replica.txt\n", 0600);
        $s->spawn('replica', ['/usr/bin/env', 'redis-server',
            "$s->{dir}/replica.conf"]);
        wait_for { $s->cmd('INFO', 'replication') =~ /state=online/ } 20
            or die "no replica\n";
    }, $nothing);
$s->cmd(qw(CONFIG SET min-replicas-to-write 1));
is(differences(checks()), 'redis.replicas=ok', 'with min-replicas-to-write');
$s->cmd(qw(CONFIG SET min-replicas-to-write 0));
$s->stop('replica');
wait_for { $s->cmd('INFO', 'replication') =~ /connected_slaves:0/ };
$s->cmd('CONFIG', 'SET', 'port', 0);

# the registry
my $registry = sub {
    my ($name, $result, $pattern, $commands, $back) = @_;

    my $found = fault($name, "registry=$result",
        sub { $s->cmd(@$_) for @$commands },
        sub { $s->cmd(@$_) for @$back });

    like($found->{registry}{text}, $pattern, "$name: it is said");
};
my ($gate, $key) = ($s->rkey('ai:enabled'), $s->rkey('container:third'));

$registry->('a name without a hash', 'warn', qr/1 names .* no hash: ghost/,
    [['SADD', $gate, 'ghost']], [['SREM', $gate, 'ghost']]);
$registry->('an address of two', 'fail', qr/1 addresses .* twice/,
    [['HSET', $key, 'addresses', '10.78.0.1'],
     ['SADD', $s->rkey('containers'), 'third']],
    [['HDEL', $key, 'addresses'], ['HSET', $key, 'id', 'a']]);
$registry->('a prefix over the address of another', 'fail',
    qr/1 addresses .* twice/,
    [['HSET', $key, 'addresses', '10.78.0.0/16 10.78.3.0/24 10.79.0.1']],
    [['HDEL', $key, 'addresses']]);
$registry->('a number of two', 'fail', qr/1 numbers .* twice/,
    [['HSET', $key, 'number', 7]], [['HDEL', $key, 'number']]);
$registry->('not while it is stopped', 'warn', qr/1 containers have addresses/,
    [['HSET', $key, 'number', 7, 'status', 'stopped'],
     ['HSET', $s->rkey('container:other'), 'addresses', '10.78.0.1 x']],
    [['HDEL', $key, 'number', 'status'],
     ['HSET', $s->rkey('container:other'), 'addresses', '10.78.0.1']]);
$registry->('a field that is too long', 'fail', qr/do not take in 1 .*third/,
    [['HSET', $key, 'tags', 'x' x 8193]], [['HDEL', $key, 'tags']]);
$registry->('no hash at all', 'fail', qr/do not take in 1 containers: third/,
    [['DEL', $key], ['SET', $key, 1]], [['DEL', $key]]);
$registry->('in no set', 'warn', qr/1 containers are in no set/,
    [['SREM', $s->rkey('containers'), 'third'], ['HSET', $key, 'id', 'a']],
    [['DEL', $key]]);

# files
my $openai = "$s->{secrets}/openai";

$now = fault('others may read a key', 'nginx.config=fail secrets=fail',
    sub { chmod 0644, $openai }, sub { chmod 0600, $openai });
like($now->{secrets}{text}, qr/\Q$openai\E has mode 0644/, 'which one');
like($now->{'nginx.config'}{text}, qr/\Q$openai\E/, 'nginx says the same');
unlike(encode_json($now), qr/\Q$_\E/, 'but not what is in it')
    for $s->all_keys;

fault('a key of nobody', 'nginx.config=fail secrets=fail',
    sub { chown 65534, -1, $openai }, sub { chown 0, -1, $openai });
fault('a folder that others may write to', 'nginx.config=fail secrets=fail',
    sub { chmod 0777, $s->{secrets} }, sub { chmod 0755, $s->{secrets} });

my $key_text = slurp($openai);

fault('two lines', 'nginx.config=fail secrets=fail',
    sub { spew($openai, "${key_text}more\n", 0600) },
    sub { spew($openai, $key_text, 0600) });
fault('no key', 'nginx.config=fail secrets=fail',
    sub { rename $openai, "$openai.away" },
    sub { rename "$openai.away", $openai });
fault('a password that a group may read',
    'nginx.config=fail passwords=fail',
    sub { chmod 0640, $redis->{file} }, sub { chmod 0600, $redis->{file} });

# the configuration: another file beside the one that nginx runs with
sub configured {
    my ($name, $expected, $from, $to, %option) = @_;

    my $text = slurp("$s->{dir}/nginx.conf");
    my $file = "$s->{dir}/other.conf";

    $text =~ s/$from/$to/ or die "$name: nothing is changed\n";
    spew($file, $text);

    return fault($name, $expected, $nothing, sub { unlink $file },
        '--conf', $file);
}

configured('a directive that nobody knows', 'nginx.config=fail',
    qr/^http \{/m, "http {\n    nonsense on;");
configured('root', 'nginx.user=fail', qr/user nobody nogroup;/, 'user root;');
configured('no verification', 'tls.config=fail',
    qr/proxy_ssl_verify on;/, 'proxy_ssl_verify off;');
configured('no SNI', 'tls.config=warn',
    qr/proxy_ssl_server_name on;/, '');
configured('another authority', 'tls.online=fail', qr/\Q$ca\E/, $other_ca);
configured('another name', 'tls.online=fail', qr/provider\.test/,
    'elsewhere.test');
configured('no authority', 'nginx.config=fail tls.config=fail tls.online=fail',
    qr/\Q$ca\E/, "$s->{dir}/none.pem");
# the name of the upstream is not in the certificate, the server's address is
configured('no name', 'tls.config=fail', qr/proxy_ssl_name .*;/, '');
configured('no keep-alive', 'nginx.locations=warn',
    qr/proxy_set_header Connection "";/, '');
configured('HTTP 1.0', 'nginx.locations=warn', qr/proxy_http_version 1.1;/,
    '');
configured('a POST twice', 'nginx.locations=warn', qr/proxy_http_version 1.1;/,
    'proxy_http_version 1.1; proxy_next_upstream error non_idempotent;');
configured('core dumps', $healthy->{'kernel.core'}{result} eq 'ok'
    ? 'kernel.core=warn' : '', qr/^http \{/m,
    "worker_rlimit_core 1m;\nhttp {");

# a file of a password beside nginx' own is found as nginx finds it
{
    my $text = slurp("$s->{dir}/nginx.conf");
    my $file = "$s->{secrets}/nginx.conf";

    $text =~ s{password_file=\S+/}{password_file=} or die "no password\n";
    spew($file, $text);
    is(differences(checks('--conf', $file)), '', 'a relative path');
    unlink $file;
}

# the module
SKIP: {
    my $module = $ENV{HAI_MODULE} // $s->root
        . '/build/ngx_http_hoody_ai_module.so';

    skip 'the module is in nginx', 1 if $module eq '';

    my $bytes = slurp($module);
    my $copy = "$s->{dir}/ngx_http_hoody_ai_module.so";

    (my $old = $bytes) =~ s/(hoody_ai_build_info\{version=")\d/${1}9/
        or BAIL_OUT('the module does not say its version');
    spew($copy, $old);
    configured('a module of another version', 'nginx.module=fail',
        qr/load_module \S+;/, "load_module $copy;");

    (my $foreign = $bytes) =~ s/(8,4,8,[01]{10})([01])/$1 . (1 - $2)/e
        or BAIL_OUT('the module has no signature');
    spew($copy, $foreign);
    configured('a module for another nginx',
        'nginx.config=fail nginx.module=fail', qr/load_module \S+;/,
        "load_module $copy;");
    unlink $copy;
    configured('a module that is not there',
        'nginx.config=fail nginx.module=fail', qr/load_module \S+;/,
        "load_module $copy;");
    configured('no module', 'nginx.config=fail nginx.module=fail',
        qr/load_module \S+;/, '');
}

# programs
fault('the rule engine hangs', 'rules.engine=fail rules.socket=skip',
    sub { suspend($engine->pid) }, sub { kill 'CONT', $engine->pid },
    '--timeout', 1500);

fault('an engine that workers may not use', 'rules.socket=fail',
    sub { chmod 0700, $engine->{socket} },
    sub { chmod 0666, $engine->{socket} });

my $other = do {
    local $s->{server} = 'another';
    HoodyAI::Engine->new($s, name => 'other', redis => $redis->words('admin'));
};

fault('the engine of another host', 'rules.engine=fail rules.socket=skip', $nothing, $nothing,
    '--rules-socket', $other->{socket});
$other->stop;
fault('no rule engine', 'rules.engine=fail rules.socket=skip', $nothing, $nothing,
    '--rules-socket', $other->{socket});

fault('the event worker is far behind', 'events.worker=warn',
    sub {
        $s->cmd('EVAL', 'for i = 1, 10100 do redis.call("XADD", KEYS[1], "*",'
            . ' "a", i) end', 1, $s->rkey('events'));
    },
    sub { $s->cmd('XGROUP', 'SETID', $s->rkey('events'), 'hoody-ai-events',
        '$') });
fault('no gateway', 'gateway=fail', $nothing, $nothing, '--gateway',
    'http://127.0.0.1:1/');


# ---- the host ----------------------------------------------------------------

# in a network of its own: what is there is what is put there
sub in_network {
    my ($commands) = @_;

    return checks(['unshare', '-n', 'sh', '-c', "$commands\nexec \"\$@\"",
        'sh'], '--timeout', 3000);
}

SKIP: {
    skip 'no network namespaces', 1 if system('unshare -n true 2>/dev/null');

    my $sysctl = 'echo %d >/proc/sys/net/ipv4/%s 2>/dev/null || true';
    my $off = sprintf($sysctl, 0, 'ip_forward');
    my $on = sprintf($sysctl, 1, 'ip_forward');
    my $plain = in_network($off);
    my $forward = in_network($on);

    is($plain->{'host.forwarding'}{result}, 'ok', 'nothing is forwarded');
    is($forward->{'host.forwarding'}{result}, 'warn', 'packets are forwarded');

    skip 'nft does not work here', 1
        if system('unshare -n nft add table inet a 2>/dev/null');

    my $table = in_network("$on\nnft add table inet hoody_ai");

    is($plain->{'host.firewall'}{result}, 'warn', 'no firewall');
    is($table->{'host.firewall'}{result}, 'ok', 'a firewall');
    is($table->{'host.forwarding'}{result}, 'ok', 'behind which is forwarded');
}

# a library in front of the command moves its clock
SKIP: {
    skip 'a preloaded library has to come before the sanitizer', 1
        if ($ENV{HAI_MODE} // '') eq 'asan';

    spew("$s->{dir}/clock.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    int (*next)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT,
                                                      "clock_gettime");
    int rc = next(id, now);

    now->tv_sec += id == CLOCK_REALTIME ? 3600 : 0;
    return rc;
}
END
    system('cc', '-shared', '-fPIC', '-o', "$s->{dir}/clock.so",
        "$s->{dir}/clock.c", '-ldl') == 0
        or BAIL_OUT('the library does not compile');

    my $late = checks(['env', "LD_PRELOAD=$s->{dir}/clock.so"]);

    like(differences($late), qr/\bredis\.clock=warn\b/, 'clocks differ');
    like($late->{'redis.clock'}{text}, qr/3600\.\d s behind/, 'by how much');
}


# ---- what does not answer ----------------------------------------------------

suspend($s->pid('redis'));
my $began = time;
$now = checks('--timeout', 2000);

is($now->{'redis.reachable'}{result}, 'fail', 'Redis hangs');
is_deeply([grep { /^redis\.|^registry|^events/ && $now->{$_}{result} ne 'skip' }
    sort keys %$now], ['redis.reachable'], 'the others wait for it');
cmp_ok(time - $began, '<', 15, 'in all that took seconds');
kill 'CONT', $s->pid('redis');

spew("$s->{dir}/sleeper", "#!/bin/sh\nsleep 1000\n", 0755);
$began = time;
$now = checks('--nginx', "$s->{dir}/sleeper", '--timeout', 1000);
is($now->{'nginx.binary'}{result}, 'fail', 'nginx hangs');
cmp_ok(time - $began, '<', 15, 'in all that took seconds');
is(join(' ', grep { slurp("/proc/$_/cmdline") =~ /\Q$s->{dir}\E\/sleeper/ }
    map { m{/proc/(\d+)} } glob '/proc/[0-9]*'), '', 'nothing is left running');

$now = checks('--nginx', "$s->{dir}/none");
is($now->{'nginx.binary'}{result}, 'fail', 'there is no nginx');


# ---- usage -------------------------------------------------------------------

for (['--help', 0], ['--nonsense', 2], ['-o xml', 2], ['a', 2],
     ['--server a:b', 2], ['--redis unix:relative', 2], ['--timeout 1', 2])
{
    my ($args, $expected) = @$_;

    ($exit, $out, $err) = doctor([], split / /, $args);
    is($exit, $expected, "$args: exit status");
}

($exit) = doctor([], @usual, '--strict');
is($exit, (grep { ref && $_->{result} eq 'warn' } values %$healthy) ? 1 : 0,
    '--strict: warnings count');

is(differences(checks()), '', 'the system is as healthy as it was');
note(sprintf '%d runs, %.2f s each', $runs, $spent / $runs);

$s->private($redis->{password});
unlink "$s->{dir}/replica.conf";
$s->finish;
