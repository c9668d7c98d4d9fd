# Who is asking: both header forms, the grammar of the token, names and
# numbers.

# valgrind: yes

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: Authorization: Bearer
--- request eval
"POST /v1/chat/completions\n" . HoodyAI::body_of('json:200')
--- more_headers
Authorization: Bearer container-dev-env
Content-Type: application/json
--- response_headers_like
x-request-id: [0-9a-f]{32}
Content-Type: application/json
--- response_body_like: "object":\s*"chat\.completion"
--- provider
POST /v1/chat/completions
authorization: Bearer {key:openai}
content-type: application/json
content-length: 200



=== TEST 2: x-api-key
--- request
POST /anthropic/v1/messages
{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}
--- more_headers
x-api-key: container-dev-env
anthropic-version: 2023-06-01
Content-Type: application/json
--- response_headers_like
x-request-id: [0-9a-f]{32}
--- response_body_like: "type":\s*"message"
--- provider
POST /anthropic/v1/messages
x-api-key: {key:anthropic}
anthropic-version: 2023-06-01
!authorization



=== TEST 3: either form on either API
--- cases
200 | POST /v1/chat/completions | x-api-key: container-dev-env
200 | POST /v1/chat/completions | Authorization: Bearer container-dev-env
200 | POST /anthropic/v1/messages | Authorization: Bearer container-dev-env
200 | POST /anthropic/v1/messages | x-api-key: container-dev-env
200 | GET /v1/models | X-API-KEY: container-dev-env
200 | GET /v1/models | AUTHORIZATION: Bearer container-dev-env



=== TEST 4: the scheme has no case, blanks around the token are allowed
--- cases
200 | Authorization: Bearer container-dev-env
200 | Authorization: bearer container-dev-env
200 | Authorization: BEARER container-dev-env
200 | Authorization: bEaReR container-dev-env
200 | Authorization: Bearer  container-dev-env
200 | Authorization: Bearer container-dev-env\x20\x20
200 | Authorization:Bearer container-dev-env
200 | x-api-key:container-dev-env
200 | x-api-key: container-dev-env\x20



=== TEST 5: no credential, or one that is not ours
--- cases
401 | anonymous | code=invalid_identity
401 | Authorization: | code=invalid_identity
401 | x-api-key: | code=invalid_identity
401 | Authorization: Bearer | code=invalid_identity
401 | Authorization: Bearer\x20 | code=invalid_identity
401 | Authorization: Basic Y29udGFpbmVyLWRldi1lbnY6 | code=invalid_identity
401 | Authorization: Bearer sk-anything | code=invalid_identity
401 | x-api-key: sk-anything | code=invalid_identity
401 | Authorization: Token container-dev-env | code=invalid_identity
401 | Authorization: container-dev-env | code=invalid_identity
401 | Authorization: Bearercontainer-dev-env | code=invalid_identity
401 | x-api-key: Bearer container-dev-env | code=invalid_identity
401 | anonymous | api-key: container-dev-env | code=invalid_identity
401 | anonymous | x-goog-api-key: container-dev-env | code=invalid_identity
401 | anonymous | Cookie: container-dev-env | code=invalid_identity
401 | anonymous | Proxy-Authorization: Bearer container-dev-env | code=invalid_identity
401 | GET /v1/models?api_key=container-dev-env | anonymous
401 | GET /v1/models?key=container-dev-env | anonymous



=== TEST 6: malformed tokens
--- cases
401 | Authorization: Bearer container-
401 | Authorization: Bearer container
401 | Authorization: Bearer dev-env
401 | Authorization: Bearer Container-dev-env
401 | Authorization: Bearer CONTAINER-dev-env
401 | Authorization: Bearer container_dev-env
401 | Authorization: Bearer  container- dev-env
401 | Authorization: Bearer container-dev env
401 | Authorization: Bearer container-dev\tenv
401 | Authorization: Bearer\tcontainer-dev-env
401 | Authorization: Bearer container-dev-env,
401 | Authorization: Bearer container-dev-env, container-dev-env
401 | Authorization: Bearer container-dev-env;
401 | Authorization: Bearer "container-dev-env"
401 | Authorization: Bearer container-dev.env
401 | Authorization: Bearer container-dev/env
401 | Authorization: Bearer container-dev%2denv
401 | Authorization: Bearer container-dev:env
401 | Authorization: Bearer container-*
401 | Authorization: Bearer container-dev-env{}
401 | Authorization: Bearer container-d\xc3\xa9v
401 | Authorization: Bearer container-dev-env\x7f
401 | Authorization: Bearer container-dev-env\x01
401 | Authorization: Bearer container-container-dev-env
401 | x-api-key: container-
401 | x-api-key: Container-dev-env
401 | x-api-key: container-dev env
401 | x-api-key: container-dev-env,
401 | x-api-key: "container-dev-env"



=== TEST 7: a name is compared exactly
--- cases
401 | Authorization: Bearer container-DEV-ENV
401 | Authorization: Bearer container-Dev-Env
401 | Authorization: Bearer container-dev_env
401 | Authorization: Bearer container-dev-en
401 | Authorization: Bearer container-dev-env2
401 | Authorization: Bearer container--dev-env
401 | Authorization: Bearer container-dev-env-



=== TEST 8: 100 characters are a name, 101 are not
--- redis eval
my ($n, $o) = ('n' x 100, 'n' x 101);
"HSET hoody:{t}:container:$n addresses 127.0.0.1
HSET hoody:{t}:container:$o addresses 127.0.0.2
SADD hoody:{t}:containers $n $o
SADD hoody:{t}:ai:enabled $n $o"
--- cases eval
join "\n",
    '200 | Authorization: Bearer container-' . 'n' x 100,
    '200 | x-api-key: container-' . 'n' x 100,
    '401 | from=127.0.0.2 | Authorization: Bearer container-' . 'n' x 101,
    '401 | from=127.0.0.2 | x-api-key: container-' . 'n' x 101,
    '401 | Authorization: Bearer container-' . 'n' x 99,
    '401 | Authorization: Bearer container-' . 'n' x 4000,



=== TEST 9: names of one character, of every kind
--- redis
HSET hoody:{t}:container:a addresses 127.0.0.2
HSET hoody:{t}:container:Z addresses 127.0.0.3
HSET hoody:{t}:container:_ addresses 127.0.0.4
HSET hoody:{t}:container:- addresses 127.0.0.5
HSET hoody:{t}:container:0 addresses 127.0.0.6
SADD hoody:{t}:containers a Z _ - 0
SADD hoody:{t}:ai:enabled a Z _ - 0
--- cases
200 | Authorization: Bearer container-a | from=127.0.0.2
200 | Authorization: Bearer container-Z | from=127.0.0.3
200 | Authorization: Bearer container-_ | from=127.0.0.4
200 | Authorization: Bearer container-- | from=127.0.0.5
200 | Authorization: Bearer container-0 | from=127.0.0.6
401 | Authorization: Bearer container-A | from=127.0.0.2
401 | Authorization: Bearer container-z | from=127.0.0.3
401 | Authorization: Bearer container-1 | from=127.0.0.6



=== TEST 10: a container may be called container-x
--- redis
HSET hoody:{t}:container:container-x addresses 127.0.0.1
SADD hoody:{t}:containers container-x
SADD hoody:{t}:ai:enabled container-x
--- cases
200 | Authorization: Bearer container-container-x
401 | Authorization: Bearer container-x



=== TEST 11: both headers
--- redis
HSET hoody:{t}:container:dev-env number 7 addresses 127.0.0.1
HSET hoody:{t}:container:other number 8 addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- cases
200 | Authorization: Bearer container-dev-env | x-api-key: container-dev-env
200 | x-api-key: container-dev-env | Authorization: Bearer container-dev-env
401 | Authorization: Bearer container-dev-env | x-api-key: container-other
401 | Authorization: Bearer container-other | x-api-key: container-dev-env
401 | Authorization: Bearer container-dev-env | x-api-key: container-7
401 | Authorization: Bearer container-dev-env | x-api-key: sk-anything
401 | Authorization: Bearer sk-anything | x-api-key: container-dev-env
401 | Authorization: Bearer container-dev-env | x-api-key:
401 | Authorization: | x-api-key: container-dev-env
401 | Authorization: Basic eDp5 | x-api-key: container-dev-env



=== TEST 12: one header twice
--- redis
HSET hoody:{t}:container:dev-env addresses 127.0.0.1
HSET hoody:{t}:container:other addresses 127.0.0.2
SADD hoody:{t}:containers dev-env other
SADD hoody:{t}:ai:enabled dev-env other
--- cases
401 | x-api-key: container-dev-env | x-api-key: container-dev-env
401 | x-api-key: container-dev-env | X-Api-Key: container-dev-env
401 | x-api-key: container-dev-env | x-api-key: container-other
401 | x-api-key: container-dev-env | x-api-key:



=== TEST 13: Authorization twice is refused, by nginx or by the module
nginx 1.23.0 refuses a second Authorization header itself; before, the module
does.
--- cases
40[01] | Authorization: Bearer container-dev-env | Authorization: Bearer container-dev-env | id=any
40[01] | Authorization: Bearer container-dev-env | authorization: Bearer container-other | id=any
40[01] | Authorization: Bearer container-dev-env | Authorization: | id=any



=== TEST 14: a number stands for the container that has it
--- redis
HSET hoody:{t}:container:dev-env number 7 addresses 127.0.0.1
HSET hoody:{t}:container:big number 18446744073709551616000 addresses 127.0.0.2
HSET hoody:{t}:container:zero number 0 addresses 127.0.0.3
SADD hoody:{t}:containers dev-env big zero
SADD hoody:{t}:ai:enabled dev-env big zero
--- cases
200 | Authorization: Bearer container-7 | soon
200 | x-api-key: container-7
200 | Authorization: Bearer container-dev-env
200 | Authorization: Bearer container-18446744073709551616000 | from=127.0.0.2
200 | Authorization: Bearer container-0 | from=127.0.0.3
401 | Authorization: Bearer container-07
401 | Authorization: Bearer container-007
401 | Authorization: Bearer container-00 | from=127.0.0.3
401 | Authorization: Bearer container-8
401 | Authorization: Bearer container-70
401 | Authorization: Bearer container-+7
401 | Authorization: Bearer container--7
401 | Authorization: Bearer container-7.0
401 | Authorization: Bearer container-0x7



=== TEST 15: a number with leading zeros in the registry is no number
--- redis
HSET hoody:{t}:container:dev-env number 007 addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled dev-env
--- cases
200 | Authorization: Bearer container-dev-env
401 | Authorization: Bearer container-007
401 | Authorization: Bearer container-7



=== TEST 16: a number that two containers claim is nobody's
--- redis
HSET hoody:{t}:container:one number 7 addresses 127.0.0.1
HSET hoody:{t}:container:two number 7 addresses 127.0.0.2
SADD hoody:{t}:containers one two
SADD hoody:{t}:ai:enabled one two
--- cases
200 | Authorization: Bearer container-one
200 | Authorization: Bearer container-two | from=127.0.0.2
401 | Authorization: Bearer container-7
401 | Authorization: Bearer container-7 | from=127.0.0.2
> HSET hoody:{t}:container:two number 9
200 | Authorization: Bearer container-7 | soon
200 | Authorization: Bearer container-9 | from=127.0.0.2



=== TEST 17: a name comes before a number
--- redis
HSET hoody:{t}:container:42 number 7 addresses 127.0.0.1
HSET hoody:{t}:container:dev-env number 42 addresses 127.0.0.2
SADD hoody:{t}:containers 42 dev-env
SADD hoody:{t}:ai:enabled 42 dev-env
--- cases
200 | Authorization: Bearer container-42 | soon
401 | Authorization: Bearer container-42 | from=127.0.0.2
200 | Authorization: Bearer container-7
200 | Authorization: Bearer container-dev-env | from=127.0.0.2
> DEL hoody:{t}:container:42
> SREM hoody:{t}:containers 42
401 | Authorization: Bearer container-42 | soon
200 | Authorization: Bearer container-42 | from=127.0.0.2



=== TEST 18: a name of digits with leading zeros
--- redis
HSET hoody:{t}:container:007 addresses 127.0.0.1
SADD hoody:{t}:containers 007
SADD hoody:{t}:ai:enabled 007
--- cases
200 | Authorization: Bearer container-007 | soon
401 | Authorization: Bearer container-7



=== TEST 19: a number is a way to ask, enabled is the name
--- redis
HSET hoody:{t}:container:dev-env number 7 addresses 127.0.0.1
SADD hoody:{t}:containers dev-env
SADD hoody:{t}:ai:enabled 7
--- cases
403 | Authorization: Bearer container-7 | code=ai_disabled
403 | Authorization: Bearer container-dev-env | code=ai_disabled
> SADD hoody:{t}:ai:enabled dev-env
200 | Authorization: Bearer container-7 | soon



=== TEST 20: a container exists when its hash does, and is not stopped
--- redis
SADD hoody:{t}:containers listed
SADD hoody:{t}:ai:enabled listed unlisted running stopped none
HSET hoody:{t}:container:unlisted addresses 127.0.0.3
HSET hoody:{t}:container:running addresses 127.0.0.4 status running
HSET hoody:{t}:container:stopped addresses 127.0.0.5 status stopped
HSET hoody:{t}:container:none addresses 127.0.0.6 status ""
--- cases
401 | Authorization: Bearer container-listed | from=127.0.0.2
200 | Authorization: Bearer container-unlisted | from=127.0.0.3
200 | Authorization: Bearer container-running | from=127.0.0.4
401 | Authorization: Bearer container-stopped | from=127.0.0.5
> HSET hoody:{t}:container:stopped status running
200 | Authorization: Bearer container-stopped | from=127.0.0.5
> HSET hoody:{t}:container:stopped status Running
401 | Authorization: Bearer container-stopped | from=127.0.0.5
> HDEL hoody:{t}:container:stopped status
200 | Authorization: Bearer container-stopped | from=127.0.0.5
200 | Authorization: Bearer container-none | from=127.0.0.6



=== TEST 21: another server's containers are not ours
--- redis
HSET hoody:{t}x:container:dev-env addresses 127.0.0.1
SADD hoody:{t}x:containers dev-env
SADD hoody:{t}x:ai:enabled dev-env
HSET hoody:container:dev-env addresses 127.0.0.1
--- cases
401 | Authorization: Bearer container-dev-env
