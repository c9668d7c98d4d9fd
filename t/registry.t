# What is written to Redis acts on the next request, whoever writes it and in
# whatever order.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: the gate
--- cases
200
> SREM hoody:{t}:ai:enabled dev-env
403 | code=ai_disabled
> SADD hoody:{t}:ai:enabled dev-env
200
> SREM hoody:{t}:ai:enabled dev-env
403 | code=ai_disabled
403 | code=ai_disabled
> SADD hoody:{t}:ai:enabled dev-env other more
200
> DEL hoody:{t}:ai:enabled
403 | code=ai_disabled
> SADD hoody:{t}:ai:enabled dev-env
200



=== TEST 2: a change and its opposite at once
--- cases eval
CORE::join "\n", map {
    ("> SREM hoody:{t}:ai:enabled dev-env", "> SADD hoody:{t}:ai:enabled dev-env",
     '200', "> SADD hoody:{t}:ai:enabled dev-env",
     "> SREM hoody:{t}:ai:enabled dev-env", '403')
} 1 .. 20



=== TEST 3: a container is deleted and made again
--- cases
200
> DEL hoody:{t}:container:dev-env
401 | code=invalid_identity
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
200
> UNLINK hoody:{t}:container:dev-env
401 | code=invalid_identity
> HSET hoody:{t}:container:dev-env addresses 127.0.0.2
401 | code=invalid_identity
200 | from=127.0.0.2



=== TEST 4: a container is renamed
--- cases
200
> RENAME hoody:{t}:container:dev-env hoody:{t}:container:new
401 | code=invalid_identity
403 | Authorization: Bearer container-new | code=ai_disabled | soon
> SADD hoody:{t}:ai:enabled new
200 | Authorization: Bearer container-new
401 | code=invalid_identity



=== TEST 5: the order of writes passes through refused, never through admitted
--- redis
--- cases
401
> SADD hoody:{t}:ai:enabled dev-env
401
> SADD hoody:{t}:containers dev-env
401
> HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567
401
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
200
> DEL hoody:{t}:container:dev-env
401
> SREM hoody:{t}:ai:enabled dev-env
401
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
403
> SADD hoody:{t}:ai:enabled dev-env
200



=== TEST 6: a container that appears after the start
--- redis
--- cases
401
401 | Authorization: Bearer container-late
> HSET hoody:{t}:container:late addresses 127.0.0.1
> SADD hoody:{t}:ai:enabled late
200 | Authorization: Bearer container-late
> HSET hoody:{t}:container:later number 33 addresses 127.0.0.2
> SADD hoody:{t}:ai:enabled later
200 | Authorization: Bearer container-later | from=127.0.0.2
200 | Authorization: Bearer container-33 | from=127.0.0.2



=== TEST 7: a container that no set lists
--- redis
HSET hoody:{t}:container:stray addresses 127.0.0.1
--- cases
403 | Authorization: Bearer container-stray | code=ai_disabled
> SADD hoody:{t}:ai:enabled stray
200 | Authorization: Bearer container-stray



=== TEST 8: addresses change
--- cases
200
> HSET hoody:{t}:container:dev-env addresses 127.0.0.2
401
200 | from=127.0.0.2
> HSET hoody:{t}:container:dev-env addresses "127.0.0.1 127.0.0.2"
200
200 | from=127.0.0.2
> HDEL hoody:{t}:container:dev-env addresses
401
401 | from=127.0.0.2
> HSET hoody:{t}:container:dev-env addresses 127.0.0.0/8
200
200 | from=127.9.9.9



=== TEST 9: numbers change
--- cases
200 | Authorization: Bearer container-7 | soon
> HSET hoody:{t}:container:dev-env number 8
401 | Authorization: Bearer container-7 | soon
200 | Authorization: Bearer container-8
> HDEL hoody:{t}:container:dev-env number
401 | Authorization: Bearer container-8 | soon
200



=== TEST 10: status changes
--- cases
200
> HSET hoody:{t}:container:dev-env status stopped
401
> HSET hoody:{t}:container:dev-env status running
200
> HSET hoody:{t}:container:dev-env status ""
200
> HSET hoody:{t}:container:dev-env status paused
401
> HDEL hoody:{t}:container:dev-env status
200



=== TEST 11: fields that nobody knows change nothing
--- cases
200
> HSET hoody:{t}:container:dev-env color blue Status stopped ADDRESSES 127.0.0.9
200
> HINCRBY hoody:{t}:container:dev-env updated_at 1
200



=== TEST 12: keys of the wrong type admit nobody
--- cases
200
> SET hoody:{t}:container:dev-env text
401
> DEL hoody:{t}:container:dev-env
> SADD hoody:{t}:container:dev-env addresses 127.0.0.1
401
> DEL hoody:{t}:container:dev-env
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
200
> SET hoody:{t}:ai:enabled dev-env
40[13]|503
> DEL hoody:{t}:ai:enabled
> SADD hoody:{t}:ai:enabled dev-env
200 | soon



=== TEST 13: an expired key is gone
--- cases
200
> PEXPIRE hoody:{t}:container:dev-env 1
401 | soon
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
200
> PEXPIRE hoody:{t}:ai:enabled 1
403 | soon
> SADD hoody:{t}:ai:enabled dev-env
200



=== TEST 14: a deadline is kept to the millisecond, also without a request
--- check
my $server = $block->hoody_server;
my $ask = sub {
    return exchange(raw => "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
        . "x-api-key: container-dev-env\r\nConnection: close\r\n\r\n")
        ->{status};
};

is($ask->(), 200, $block->name . ' - before');

my @got;

# a longer one where the machine took longer than the first one lived
for my $ms (300, 2000, 8000) {
    my $hash = "hoody:{$server}:container:dev-env";

    redis("PEXPIRE $hash $ms");

    my $end = Time::HiRes::time() + $ms / 1000 + 0.02;

    redis('PING');
    @got = $ask->();

    my $left = $end - Time::HiRes::time();

    Time::HiRes::sleep($left) if $left > 0;
    push @got, $ask->();
    last if $got[0] == 200;
    redis("HSET $hash addresses 127.0.0.1");
    wait_until(sub { $ask->() == 200 });
}

is($got[0], 200, $block->name . ' - until then');
is($got[1], 401, $block->name . ' - afterwards');



=== TEST 15: everything of this server is deleted
--- cases
200
> DEL hoody:{t}:container:dev-env hoody:{t}:containers hoody:{t}:ai:enabled
401
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
> SADD hoody:{t}:ai:enabled dev-env
200



=== TEST 16: transactions and scripts
--- cases
200
> MULTI
> SREM hoody:{t}:ai:enabled dev-env
> HSET hoody:{t}:container:dev-env number 99
> EXEC
403
403 | Authorization: Bearer container-99
> EVAL "redis.call('SADD',KEYS[1],'dev-env') return 1" 1 hoody:{t}:ai:enabled
200
200 | Authorization: Bearer container-99



=== TEST 17: events and usage of this server wake nobody
--- cases
200
> XADD hoody:{t}:events * type x
> HSET hoody:{t}:usage:dev-env:2026-01-01 requests 1
> SET hoody:{t}:rules:epoch 5
> HSET hoody:{t}:rules x "{}"
200



=== TEST 18: the list of containers is a list; the hash decides
--- cases
200
> SREM hoody:{t}:containers dev-env
200
> DEL hoody:{t}:containers
200
> SADD hoody:{t}:containers ghost
401 | Authorization: Bearer container-ghost



=== TEST 19: names that are no names are no containers
--- redis
HSET "hoody:{t}:container:with space" addresses 127.0.0.1
HSET hoody:{t}:container:a.b addresses 127.0.0.2
HSET hoody:{t}:container: addresses 127.0.0.3
HSET hoody:{t}:container:dev-env addresses 127.0.0.4
SADD hoody:{t}:containers "with space" a.b "" dev-env
SADD hoody:{t}:ai:enabled "with space" a.b "" dev-env
--- cases
401 | Authorization: Bearer container-a.b | from=127.0.0.2
401 | Authorization: Bearer container- | from=127.0.0.3
200 | from=127.0.0.4



=== TEST 20: a thousand containers
--- redis eval
CORE::join "\n",
    (map { my $n = $_;
        "HSET hoody:{t}:container:c$n number $n addresses 127.1."
            . int($n / 250) . '.' . $n % 250 } 1 .. 1000),
    'SADD hoody:{t}:ai:enabled ' . CORE::join(' ', map { "c$_" } 1 .. 1000)
--- cases
200 | Authorization: Bearer container-c1 | from=127.1.0.1
200 | Authorization: Bearer container-c1000 | from=127.1.4.0
200 | Authorization: Bearer container-777 | from=127.1.3.27
401 | Authorization: Bearer container-c777 | from=127.1.3.28
> SREM hoody:{t}:ai:enabled c777
403 | Authorization: Bearer container-c777 | from=127.1.3.27
> DEL hoody:{t}:container:c777
401 | Authorization: Bearer container-c777 | from=127.1.3.27
200 | Authorization: Bearer container-c778 | from=127.1.3.28



=== TEST 21: requests on one connection see a change between them
--- check
my $server = $block->hoody_server;
my $s = IO::Socket::IP->new(PeerHost => '127.0.0.1',
    PeerPort => $Test::Nginx::Util::ServerPortForClient) or die $!;
my $ask = sub {
    print $s "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
        . "x-api-key: container-dev-env\r\n\r\n";
    $s->flush;

    my $head = '';

    $head .= <$s> // die "closed\n" while $head !~ /\r\n\r\n\z/;

    my ($status) = $head =~ /^HTTP\/1.1 (\d+)/;
    my ($length) = $head =~ /^Content-Length: (\d+)/mi;

    if (defined $length) {
        read($s, my $body, $length);
    }

    return $status;
};

for (1 .. 20) {
    is($ask->(), 200, $block->name . ' - on');
    redis("SREM hoody:{$server}:ai:enabled dev-env");
    redis('PING');
    is($ask->(), 403, $block->name . ' - off');
    redis("SADD hoody:{$server}:ai:enabled dev-env");
    redis('PING');
}



=== TEST 22: another database
--- redis_conf eval
"unix:$ENV{TEST_NGINX_REDIS_SOCKET} db=3"
--- cases
401 | code=invalid_identity
> SELECT 3
> HSET hoody:{t}:container:dev-env addresses 127.0.0.1
> SADD hoody:{t}:ai:enabled dev-env
200
> DEL hoody:{t}:container:dev-env hoody:{t}:ai:enabled
401
> SELECT 0



=== TEST 23: over TCP
--- redis_conf eval
"127.0.0.1:$ENV{TEST_NGINX_REDIS_PORT} connect_timeout=500ms max_stale=3s"
--- cases
200
> SREM hoody:{t}:ai:enabled dev-env
403



=== TEST 24: a user with a password from a file
--- redis_conf eval
my $file = HoodyAI::fixture_key('redis');
my %keys = HoodyAI::fixture_keys();

HoodyAI::redis("ACL SETUSER gateway-$$ on >$keys{redis} ~* &* +\@all");
"unix:$ENV{TEST_NGINX_REDIS_SOCKET} user=gateway-$$ password_file=$file"
--- cases
200
> SREM hoody:{t}:ai:enabled dev-env
403



=== TEST 25: a wrong password
--- redis_conf eval
my $file = HoodyAI::fixture_key('wrong');

HoodyAI::redis("ACL SETUSER other-$$ on >something ~* &* +\@all");
"unix:$ENV{TEST_NGINX_REDIS_SOCKET} user=other-$$ password_file=$file"
--- config eval
HoodyAI::config('hoody_ai_wait 200ms;')
--- cases
503 | code=registry_unavailable



=== TEST 26: a Redis that is none
--- redis_conf: 127.0.0.1:$TEST_NGINX_PROVIDER_PORT
--- config eval
HoodyAI::config('hoody_ai_wait 200ms;')
--- cases
503 | code=registry_unavailable
503 | Authorization: Bearer container-nobody | code=registry_unavailable



=== TEST 27: invalid parameters
--- redis_conf: 127.0.0.1:1 nonsense=1
--- must_die
--- error_log
invalid parameter "nonsense=1"



=== TEST 28: a user without a password
--- redis_conf: 127.0.0.1:1 user=x
--- must_die
--- error_log
needs "password_file=" with "user="



=== TEST 29: an address that cannot be
--- redis_conf: 127.0.0.1:99999
--- must_die
--- error_log
in Redis address "127.0.0.1:99999"



=== TEST 30: several addresses
--- redis_conf: 127.0.0.1:1 127.0.0.1:2
--- must_die
--- error_log
has several addresses, which need "sentinel=" or "cluster=on"



=== TEST 31: no address
--- redis_conf: db=1
--- must_die
--- error_log
"hoody_ai_redis" directive needs an address



=== TEST 32: no sentinel
--- redis_conf: sentinel=main
--- must_die
--- error_log
needs the address of a sentinel with "sentinel="



=== TEST 33: a name without letters
--- redis_conf: sentinel= 127.0.0.1
--- must_die
--- error_log
invalid parameter "sentinel="



=== TEST 34: no node
--- redis_conf: cluster=on
--- must_die
--- error_log
needs the address of a node with "cluster=on"



=== TEST 35: a cluster that is something else
--- redis_conf: cluster=yes 127.0.0.1
--- must_die
--- error_log
invalid parameter "cluster=yes"



=== TEST 36: both
--- redis_conf: sentinel=main cluster=on 127.0.0.1
--- must_die
--- error_log
invalid parameter "cluster=on"



=== TEST 37: a database in a cluster
--- redis_conf: cluster=on 127.0.0.1 db=1
--- must_die
--- error_log
cannot have "db=" with "cluster=on"



=== TEST 38: a sentinel's user without a password
--- redis_conf: sentinel=main 127.0.0.1 sentinel_user=x
--- must_die
--- error_log
needs "sentinel_password_file=" with "sentinel_user="



=== TEST 39: one of several addresses that cannot be
--- redis_conf: cluster=on 127.0.0.1 [::1]:99999
--- must_die
--- error_log
in Redis address "[::1]:99999"



=== TEST 40: a server name that would break the keys
--- hoody_http
hoody_ai_server "a{b}";
--- must_die
--- error_log
invalid character in server name "a{b}"



=== TEST 41: two names
--- http_config
hoody_ai_server another;
--- must_die
--- error_log
"hoody_ai_server" directive is duplicate



=== TEST 42: two Redis
--- http_config
hoody_ai_redis 127.0.0.1:1;
--- must_die
--- error_log
"hoody_ai_redis" directive is duplicate
