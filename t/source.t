# From where: addresses, prefixes, realip, the PROXY protocol.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: one address
--- cases
200 | from=127.0.0.1
401 | from=127.0.0.2 | code=invalid_identity
401 | from=127.0.0.10
401 | from=127.0.1.1



=== TEST 2: several addresses
--- redis
HSET hoody:{t}:container:dev-env addresses "127.0.0.1 127.0.0.5 ::1  10.0.0.1"
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
--- cases
200 | from=127.0.0.1
200 | from=127.0.0.5
401 | from=127.0.0.2
401 | from=127.0.0.15



=== TEST 3: no address, an empty one
--- redis
HSET hoody:{t}:container:dev-env number 7
HSET hoody:{t}:container:empty addresses ""
SADD hoody:{t}:containers dev-env empty
SADD hoody:{t}:ai:enabled dev-env empty
--- cases
401 | Authorization: Bearer container-dev-env
401 | Authorization: Bearer container-empty



=== TEST 4: nobody may come from everywhere
--- redis
HSET hoody:{t}:container:any4 addresses 0.0.0.0/0
HSET hoody:{t}:container:any6 addresses ::/0
HSET hoody:{t}:container:star addresses *
HSET hoody:{t}:container:zero addresses 0.0.0.0
HSET hoody:{t}:container:host addresses localhost
SADD hoody:{t}:containers any4 any6 star zero host
SADD hoody:{t}:ai:enabled any4 any6 star zero host
--- cases
401 | Authorization: Bearer container-any4
401 | Authorization: Bearer container-any6
401 | Authorization: Bearer container-star
401 | Authorization: Bearer container-zero
401 | Authorization: Bearer container-host



=== TEST 5: prefixes, to the bit
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.4/30
HSET hoody:{t}:container:odd addresses 127.0.0.128/25
HSET hoody:{t}:container:one addresses 127.0.0.1/32
SADD hoody:{t}:containers dev-env odd one
SADD hoody:{t}:ai:enabled dev-env odd one
--- cases
401 | from=127.0.0.3
200 | from=127.0.0.4
200 | from=127.0.0.7
401 | from=127.0.0.8
401 | Authorization: Bearer container-odd | from=127.0.0.127
200 | Authorization: Bearer container-odd | from=127.0.0.128
200 | Authorization: Bearer container-odd | from=127.0.0.255
401 | Authorization: Bearer container-odd | from=127.0.1.0
200 | Authorization: Bearer container-one | from=127.0.0.1
401 | Authorization: Bearer container-one | from=127.0.0.2



=== TEST 6: a token works only from its own container
--- redis
HSET hoody:{t}:container:one addresses 127.0.0.1
HSET hoody:{t}:container:two addresses 127.0.0.2
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one two
--- cases
200 | Authorization: Bearer container-one | from=127.0.0.1
200 | Authorization: Bearer container-two | from=127.0.0.2
401 | Authorization: Bearer container-two | from=127.0.0.1
401 | Authorization: Bearer container-one | from=127.0.0.2
401 | Authorization: Bearer container-one | from=127.0.0.3
401 | Authorization: Bearer container-three | from=127.0.0.1



=== TEST 7: an address that two containers claim is nobody's
--- redis
HSET hoody:{t}:container:one addresses "127.0.0.1 127.0.0.3"
HSET hoody:{t}:container:two addresses "127.0.0.1 127.0.0.4"
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one two
--- cases
401 | Authorization: Bearer container-one | from=127.0.0.1
401 | Authorization: Bearer container-two | from=127.0.0.1
200 | Authorization: Bearer container-one | from=127.0.0.3
200 | Authorization: Bearer container-two | from=127.0.0.4
> HSET hoody:{t}:container:two addresses 127.0.0.4
200 | Authorization: Bearer container-one | from=127.0.0.1 | soon
401 | Authorization: Bearer container-two | from=127.0.0.1
> HSET hoody:{t}:container:two addresses 127.0.0.1
401 | Authorization: Bearer container-one | from=127.0.0.1 | soon
> DEL hoody:{t}:container:two
200 | Authorization: Bearer container-one | from=127.0.0.1 | soon



=== TEST 8: an address claimed by a prefix and by another container
--- redis
HSET hoody:{t}:container:one addresses 127.0.0.0/29
HSET hoody:{t}:container:two addresses 127.0.0.2
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one two
--- cases
200 | Authorization: Bearer container-one | from=127.0.0.1
401 | Authorization: Bearer container-one | from=127.0.0.2
401 | Authorization: Bearer container-two | from=127.0.0.2



=== TEST 9: a claim counts though its container may not use AI
--- redis
HSET hoody:{t}:container:one addresses 127.0.0.1
HSET hoody:{t}:container:two addresses 127.0.0.1
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one
--- cases
401 | Authorization: Bearer container-one
401 | Authorization: Bearer container-two



=== TEST 10: IPv6
--- redis
HSET hoody:{t}:container:dev-env addresses ::1
HSET hoody:{t}:container:other addresses 127.0.0.1
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- config eval
'listen [::1]:$TEST_NGINX_RAND_PORT_1;' . HoodyAI::config()
--- cases
200 | to=[::1]:$TEST_NGINX_RAND_PORT_1
401 | to=[::1]:$TEST_NGINX_RAND_PORT_1 | Authorization: Bearer container-other
401 | Authorization: Bearer container-dev-env
200 | Authorization: Bearer container-other
> HSET hoody:{t}:container:dev-env addresses 0:0:0:0:0:0:0:1
200 | to=[::1]:$TEST_NGINX_RAND_PORT_1
> HSET hoody:{t}:container:dev-env addresses ::/127
200 | to=[::1]:$TEST_NGINX_RAND_PORT_1
> HSET hoody:{t}:container:dev-env addresses ::2
401 | to=[::1]:$TEST_NGINX_RAND_PORT_1



=== TEST 11: IPv4-mapped IPv6 is IPv4, as the source and in the registry
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
HSET hoody:{t}:container:mapped addresses ::ffff:127.0.0.2
SADD hoody:{t}:containers dev-env mapped
SADD hoody:{t}:ai:enabled dev-env mapped
--- config eval
'listen [::ffff:127.0.0.1]:$TEST_NGINX_RAND_PORT_1 ipv6only=off;'
    . HoodyAI::config()
--- cases
200 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1
200
200 | Authorization: Bearer container-mapped | from=127.0.0.2
200 | Authorization: Bearer container-mapped | from=127.0.0.2 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1
401 | Authorization: Bearer container-mapped | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1



=== TEST 12: headers about the client are never looked at
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.2
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
--- cases
401 | X-Forwarded-For: 127.0.0.2
401 | X-Forwarded-For: 127.0.0.2, 127.0.0.2
401 | X-Real-IP: 127.0.0.2
401 | Forwarded: for=127.0.0.2
401 | X-Client-IP: 127.0.0.2
401 | True-Client-IP: 127.0.0.2
401 | Client-IP: 127.0.0.2
401 | X-Forwarded-For: 127.0.0.2 | X-Real-IP: 127.0.0.2 | Forwarded: for=127.0.0.2
200 | X-Forwarded-For: 127.0.0.9 | from=127.0.0.2



=== TEST 13: realip: a trusted balancer names the client, nobody else does
--- redis
HSET hoody:{t}:container:dev-env addresses "127.0.0.1 2001:db8::/64"
HSET hoody:{t}:container:other addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- http_config
set_real_ip_from 127.0.0.9;
real_ip_header X-Forwarded-For;
--- cases
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1
200 | from=127.0.0.9 | X-Forwarded-For: 2001:db8::17
401 | from=127.0.0.9 | X-Forwarded-For: 2001:db8:0:1::17
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.2
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.2 | Authorization: Bearer container-other
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.3
401 | from=127.0.0.9
401 | from=127.0.0.9 | X-Forwarded-For: nonsense
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1, 127.0.0.2
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.2, 127.0.0.1
401 | from=127.0.0.8 | X-Forwarded-For: 127.0.0.1
200 | from=127.0.0.1 | X-Forwarded-For: 127.0.0.2
401 | from=127.0.0.1 | X-Forwarded-For: 127.0.0.2 | Authorization: Bearer container-other



=== TEST 14: realip: a registered container is nobody's balancer
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
HSET hoody:{t}:container:other addresses 127.0.0.2
HSET hoody:{t}:container:wide addresses 127.0.0.64/26
SADD hoody:{t}:containers dev-env other wide
SADD hoody:{t}:ai:enabled dev-env other
--- http_config
set_real_ip_from 127.0.0.0/8;
real_ip_header X-Forwarded-For;
--- cases
401 | from=127.0.0.1 | X-Forwarded-For: 127.0.0.2 | Authorization: Bearer container-other
401 | from=127.0.0.2 | X-Forwarded-For: 127.0.0.1
401 | from=127.0.0.70 | X-Forwarded-For: 127.0.0.1
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1
200 | from=127.0.0.1
200 | from=127.0.0.2 | Authorization: Bearer container-other
> HSET hoody:{t}:container:late addresses 127.0.0.9
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1 | soon
> DEL hoody:{t}:container:late
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1 | soon



=== TEST 15: realip: X-Real-IP, and a recursive search
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
--- config eval
HoodyAI::config('set_real_ip_from 127.0.0.9; set_real_ip_from 127.0.0.8;
real_ip_header X-Forwarded-For; real_ip_recursive on;')
--- cases
200 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1, 127.0.0.8
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1, 127.0.0.7
401 | from=127.0.0.9 | X-Forwarded-For: 127.0.0.1, 127.0.0.7, 127.0.0.8



=== TEST 16: PROXY protocol, version 1
--- redis
HSET hoody:{t}:container:dev-env addresses "127.0.0.1 2001:db8::5"
HSET hoody:{t}:container:other addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- config eval
'listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
set_real_ip_from 127.0.0.9; real_ip_header proxy_protocol;'
    . HoodyAI::config()
--- cases
200 | from=127.0.0.9 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.1 127.0.0.9 1000 80\r\n
200 | from=127.0.0.9 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP6 2001:db8::5 2001:db8::9 1000 80\r\n
401 | from=127.0.0.9 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.2 127.0.0.9 1000 80\r\n
200 | from=127.0.0.9 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.2 127.0.0.9 1000 80\r\n | Authorization: Bearer container-other
401 | from=127.0.0.9 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY UNKNOWN\r\n
401 | from=127.0.0.8 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.1 127.0.0.9 1000 80\r\n
401 | from=127.0.0.2 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.1 127.0.0.9 1000 80\r\n
200 | from=127.0.0.1 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.2 127.0.0.9 1000 80\r\n
200 | from=127.0.0.1



=== TEST 17: PROXY protocol, version 2
--- redis
HSET hoody:{t}:container:dev-env addresses "127.0.0.1 2001:db8::5"
HSET hoody:{t}:container:other addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- config eval
'listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;
set_real_ip_from 127.0.0.9; set_real_ip_from 127.0.0.2;
real_ip_header proxy_protocol;'
    . HoodyAI::config()
--- cases eval
my $v2 = '\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a';
my $to = 'to=127.0.0.1:$TEST_NGINX_RAND_PORT_1';
my $four = sub { $v2 . '\x21\x11\x00\x0c\x7f\x00\x00' . $_[0]
    . '\x7f\x00\x00\x09\x03\xe8\x00\x50' };
my $six = $v2 . '\x21\x21\x00\x24'
    . ('\x20\x01\x0d\xb8' . '\x00' x 11 . '\x05') x 2
    . '\x03\xe8\x00\x50';
my $local = $v2 . '\x20\x00\x00\x00';
join "\n",
    "200 | from=127.0.0.9 | $to | proxy=" . $four->('\x01'),
    "200 | from=127.0.0.9 | $to | proxy=$six",
    "401 | from=127.0.0.9 | $to | proxy=" . $four->('\x02'),
    "401 | from=127.0.0.8 | $to | proxy=" . $four->('\x01'),
    "401 | from=127.0.0.9 | $to | proxy=$local",
    "401 | from=127.0.0.2 | $to | proxy=" . $four->('\x01'),



=== TEST 18: a PROXY protocol that nobody trusts changes nothing
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
HSET hoody:{t}:container:other addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- config eval
'listen 127.0.0.1:$TEST_NGINX_RAND_PORT_1 proxy_protocol;'
    . HoodyAI::config()
--- cases
200 | from=127.0.0.1 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.2 127.0.0.9 1000 80\r\n
401 | from=127.0.0.2 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.1 127.0.0.9 1000 80\r\n
401 | from=127.0.0.1 | to=127.0.0.1:$TEST_NGINX_RAND_PORT_1 | proxy=PROXY TCP4 127.0.0.2 127.0.0.9 1000 80\r\n | Authorization: Bearer container-other



=== TEST 19: on a unix socket no address counts, whatever realip says
--- redis
HSET hoody:{t}:container:dev-env addresses "127.0.0.1 ::1 0.0.0.0"
HSET hoody:{t}:container:empty addresses 127.0.0.2 cgroup ""
HSET hoody:{t}:container:root addresses 127.0.0.3 cgroup /
HSET hoody:{t}:container:else addresses 127.0.0.4 cgroup /no/such/group
SADD hoody:{t}:containers dev-env empty root else
SADD hoody:{t}:ai:enabled dev-env empty root else
--- config eval
'listen unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock;
set_real_ip_from unix:; real_ip_header X-Forwarded-For;' . HoodyAI::config()
--- cases
401 | to=unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock
401 | to=unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock | X-Forwarded-For: 127.0.0.1
401 | to=unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock | X-Forwarded-For: 127.0.0.2 | Authorization: Bearer container-empty
401 | to=unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock | X-Forwarded-For: 127.0.0.3 | Authorization: Bearer container-root
401 | to=unix:$TEST_NGINX_SERVER_ROOT/html/ai.sock | X-Forwarded-For: 127.0.0.4 | Authorization: Bearer container-else
200



=== TEST 20: addresses that cannot be read give nothing
--- redis
HSET hoody:{t}:container:a addresses 127.0.0.1/33
HSET hoody:{t}:container:b addresses 127.0.0.1/
HSET hoody:{t}:container:c addresses 127.0.0.01
HSET hoody:{t}:container:d addresses 127.1
HSET hoody:{t}:container:e addresses 2130706433
HSET hoody:{t}:container:f addresses 127.0.0.1,127.0.0.2
HSET hoody:{t}:container:g addresses 127.0.0.1:80
HSET hoody:{t}:container:h addresses 127.0.0.1/24
SADD hoody:{t}:containers a b c d e f g h
SADD hoody:{t}:ai:enabled a b c d e f g h
--- cases
401 | Authorization: Bearer container-a
401 | Authorization: Bearer container-b
401 | Authorization: Bearer container-c
401 | Authorization: Bearer container-d
401 | Authorization: Bearer container-e
401 | Authorization: Bearer container-f
401 | Authorization: Bearer container-g
401 | Authorization: Bearer container-h



=== TEST 21: a container that does not run claims no address and no number
--- redis
HSET hoody:{t}:container:one number 7 addresses 127.0.0.1 status running
HSET hoody:{t}:container:two number 7 addresses 127.0.0.1 status stopped
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one two
--- cases
200 | Authorization: Bearer container-one
200 | Authorization: Bearer container-7
401 | Authorization: Bearer container-two
> HSET hoody:{t}:container:two status running
401 | Authorization: Bearer container-one | soon
401 | Authorization: Bearer container-7
401 | Authorization: Bearer container-two
> HSET hoody:{t}:container:one status stopped
401 | Authorization: Bearer container-one | soon
200 | Authorization: Bearer container-7
200 | Authorization: Bearer container-two
