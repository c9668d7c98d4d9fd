# Which requests may pass, and that the provider gets the route that was
# checked and nothing else.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

# a case for each method and route
sub table {
    my ($status, $routes, @fields) = @_;
    my @lines;

    for (split /\n/, $routes) {
        my ($methods, $route) = /^(\S+) +(\S+)/ or next;

        push @lines, join(' | ', $status, "$_ $route", @fields)
            for split /,/, $methods;
    }

    return join("\n", @lines);
}

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: OpenAI's routes, with the methods they have
--- cases eval
main::table(200, <<'EOT')
POST /v1/chat/completions
POST /v1/completions
POST /v1/responses
POST /v1/embeddings
POST /v1/moderations
GET  /v1/models
GET  /v1/models/gpt-4o
GET  /v1/models/openai/gpt-4o
GET  /v1/models/ft:gpt-4o:org::id
EOT



=== TEST 2: routes that the sample provider does not have all of
--- cases eval
main::table('200|404|405', <<'EOT', 'answer~(?i)x-provider-request-id')
POST /v1/responses/input_tokens
POST /v1/responses/compact
EOT
    =~ s{(POST (\S+))}{$1 | got=$1}gr



=== TEST 3: images and audio, inline or as a form
--- cases eval
main::table(200, <<'EOT')
POST /v1/images/generations
POST /v1/audio/speech
EOT
    . "\n" . main::table(200, <<'EOT', 'Content-Type: multipart/form-data; boundary=x', 'body=--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n')
POST /v1/images/edits
POST /v1/images/variations
POST /v1/audio/transcriptions
POST /v1/audio/translations
EOT



=== TEST 4: Anthropic's routes
--- cases eval
main::table(200, <<'EOT', 'anthropic-version: 2023-06-01')
POST /anthropic/v1/messages
POST /anthropic/v1/messages/count_tokens
GET  /anthropic/v1/models
GET  /anthropic/v1/models/claude-sample
EOT



=== TEST 5: no other method
--- cases eval
main::table(404, <<'EOT', 'code=unknown_route')
GET,PUT,DELETE,PATCH,OPTIONS,PROPFIND,MKCOL,COPY,MOVE,LOCK /v1/chat/completions
GET,PUT,DELETE,PATCH,OPTIONS    /v1/completions
GET,PUT,DELETE,PATCH,OPTIONS    /v1/responses
GET,PUT,DELETE,PATCH,OPTIONS    /v1/embeddings
GET,PUT,DELETE,PATCH,OPTIONS    /v1/moderations
POST,PUT,DELETE,PATCH,OPTIONS   /v1/models
POST,PUT,DELETE,PATCH,OPTIONS   /v1/models/gpt-4o
GET,PUT,DELETE,PATCH,OPTIONS    /v1/images/generations
GET,PUT,DELETE,PATCH,OPTIONS    /v1/audio/speech
EOT
    . "\n" . main::table(404, <<'EOT', 'code=not_found_error')
GET,PUT,DELETE,PATCH,OPTIONS    /anthropic/v1/messages
GET,PUT,DELETE,PATCH,OPTIONS    /anthropic/v1/messages/count_tokens
EOT



=== TEST 6: methods that nginx itself refuses
--- cases
405 | TRACE /v1/models | id=any | answer~^(?!.*container-dev-env)
400|405 | CONNECT api.openai.com:443 | id=any
400|405 | CONNECT /v1/models | id=any
400 | raw=post /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{} | id=any
400 | raw=G?T /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n | id=any
404 | FOO /v1/models | id=any



=== TEST 7: everything else is refused
--- cases eval
main::table(404, <<'EOT', 'code=unknown_route')
GET,POST /v1/
GET,POST /v1/chat
POST     /v1/chat/
POST     /v1/completion
POST     /v1/embedding
GET,POST /v1/engines
GET,POST /v1/fine_tuning/jobs
GET,POST /v1/assistants
GET,POST /v1/threads
GET,POST /v1/vector_stores
GET,POST /v1/uploads
GET,POST /v1/evals
GET,POST /v1/containers
GET,POST /v1/realtime
POST     /v1/realtime/sessions
GET,POST /v1/videos
GET,POST /v1/conversations
GET,POST /v1/organization/users
GET,POST /v1/organization/admin_api_keys
GET,POST /v1/organization/costs
GET,POST /v1/dashboard/billing/usage
GET,POST /v1/usage
GET,POST /v1/v1/models
GET,POST /v1/_sample/requests
POST     /v1/complete
GET      /v1/model
GET      /v1/models/
GET      /v1/models/a/b/c
POST     /v1/images
POST     /v1/audio
GET,POST /v1/admin
EOT



=== TEST 8: what one provider account keeps is refused while stored is off
--- cases eval
main::table(404, <<'EOT', 'code=unknown_route')
GET             /v1/chat/completions
GET,POST,DELETE /v1/chat/completions/chatcmpl-1
GET             /v1/chat/completions/chatcmpl-1/messages
GET,DELETE,POST /v1/responses/resp_1
POST            /v1/responses/resp_1/cancel
GET             /v1/responses/resp_1/input_items
GET,POST        /v1/files
GET,DELETE,POST /v1/files/file-1
GET             /v1/files/file-1/content
GET,POST        /v1/batches
GET             /v1/batches/batch_1
POST            /v1/batches/batch_1/cancel
EOT
    . "\n" . main::table(404, <<'EOT', 'code=not_found_error')
GET,POST        /anthropic/v1/messages/batches
GET,DELETE      /anthropic/v1/messages/batches/msgbatch_1
GET             /anthropic/v1/messages/batches/msgbatch_1/results
POST            /anthropic/v1/messages/batches/msgbatch_1/cancel
EOT



=== TEST 9: and allowed where the location says so
--- config eval
HoodyAI::config('hoody_ai_stored on;')
--- cases eval
my $lines = main::table('200|404|405', <<'EOT', 'answer~(?i)x-provider-request-id')
GET             /v1/chat/completions
GET,DELETE      /v1/chat/completions/chatcmpl-1
POST            /v1/chat/completions/chatcmpl-1
GET             /v1/chat/completions/chatcmpl-1/messages
GET,DELETE      /v1/responses/resp_1
POST            /v1/responses/resp_1/cancel
GET             /v1/responses/resp_1/input_items
GET             /v1/files
GET,DELETE      /v1/files/file-1
GET             /v1/files/file-1/content
GET,POST        /v1/batches
GET             /v1/batches/batch_1
POST            /v1/batches/batch_1/cancel
GET,POST        /anthropic/v1/messages/batches
GET,DELETE      /anthropic/v1/messages/batches/msgbatch_1
GET             /anthropic/v1/messages/batches/msgbatch_1/results
POST            /anthropic/v1/messages/batches/msgbatch_1/cancel
EOT
. "\n" . main::table('200|404', <<'EOT', 'Content-Type: multipart/form-data; boundary=x', 'body=--x--\r\n')
POST            /v1/files
EOT
;
$lines =~ s{((?:GET|POST|DELETE) \S+)}{$1 | got=$1}gr



=== TEST 10: stored does not open anything else
--- config eval
HoodyAI::config('hoody_ai_stored on;')
--- cases eval
main::table(404, <<'EOT')
PUT,PATCH,OPTIONS /v1/files/file-1
PUT,PATCH         /v1/responses/resp_1
DELETE            /v1/chat/completions
DELETE            /v1/models/gpt-4o
DELETE            /v1/files
GET,POST          /v1/assistants
GET,POST          /v1/files/
GET               /v1/files//x
GET               /v1/organization/users
EOT
    =~ s{^.*files//x\n?}{}mr



=== TEST 11: encoded variants are one route, or none
The provider gets the normalised form, which is the one that was checked.
--- cases
200 | POST /v1/%63hat/completions | got=POST /v1/chat/completions
200 | POST /v1/chat%2Fcompletions | got=POST /v1/chat/completions
200 | POST /v1/chat%2fcompletions | got=POST /v1/chat/completions
200 | POST /v1/%63%68%61%74/%63ompletion%73 | got=POST /v1/chat/completions
200 | POST //v1//chat//completions | got=POST /v1/chat/completions
200 | POST /v1///chat/completions | got=POST /v1/chat/completions
200 | POST /./v1/./chat/./completions | got=POST /v1/chat/completions
200 | POST /v1/%2e/chat/completions | got=POST /v1/chat/completions
200 | POST /v1/x/../chat/completions | got=POST /v1/chat/completions
200 | POST /v1/files/../chat/completions | got=POST /v1/chat/completions
200 | POST /v1/x/%2e%2e/chat/completions | got=POST /v1/chat/completions
200 | POST /v1/x/.%2E/chat/completions | got=POST /v1/chat/completions
200 | POST /x/..//v1/chat/completions | got=POST /v1/chat/completions
200 | POST /anthropic/../v1/chat/completions | got=POST /v1/chat/completions
200 | GET /v1/models/openai%2fgpt-4o | got=GET /v1/models/openai/gpt-4o
200 | GET /v1/models#fragment | got=GET /v1/models
200 | GET /v1/models/gpt%2D4o | got=GET /v1/models/gpt-4o



=== TEST 12: a path that leads to a refused route is refused
--- cases
404 | GET /v1/chat/../files
404 | GET /v1/models/../files
404 | GET /v1/models/%2e%2e/files
404 | GET /v1/models/..%2ffiles
404 | GET /v1/models/x/..%2f..%2ffiles
404 | GET /v1/models/..%2f..%2f_sample/requests | id=any
404 | GET /v1/models/../../_sample/requests | id=any
400 | GET /v1/../../_sample/requests | id=any
404 | GET /v1/models//../files
404 | GET /v1/models/.././files
404 | DELETE /v1/models/../files/file-1



=== TEST 13: what a provider could read in another way is refused
--- cases
404 | POST /v1/chat/completions/
404 | POST /v1/chat/completions/.
404 | POST /v1/chat/completions/..
404 | POST /v1/chat/completions%2f
404 | POST /v1/Chat/completions
404 | POST /v1/CHAT/COMPLETIONS
404 | POST /v1/chat/completions;x=1
404 | POST /v1/chat;x/completions
404 | GET /v1/models/..;/files
404 | GET /v1/models/..;/..;/files
404 | GET /v1/models/...
404 | GET /v1/models/%252e%252e/files
404 | GET /v1/models/%252e%252e%252ffiles
404 | GET /v1/models/x%5c..%5cfiles
404 | GET /v1/models\\..\\files
404 | POST /v1/chat/completions%20
404 | POST /v1/chat/completions%09
404 | POST /v1/chat/completions%0a
404 | POST /v1/chat/completions%0d%0aX-Evil:%201
404 | POST /v1/chat/completions%3fx=1
404 | POST /v1/chat/completions%23x
404 | POST /v1/chat/completions%26
404 | POST /v1/chat/completions,
404 | POST /v1/chat/completions%c0%af
404 | POST /v1/ch%c3%a4t/completions
404 | POST /v1/chat/completions.json
404 | POST /v1/chat/completions%7f
404 | GET /v1/models/a*b
404 | GET /v1/models/a'b
404 | GET /v1/models/$a
400 | GET /v1/models/a%00b | id=any
400 | GET /v1/models/%zz | id=any
400 | GET /v1/models/%4 | id=any



=== TEST 14: slashes are not merged, so an empty segment is no route
--- http_config
merge_slashes off;
--- cases
404 | POST /v1//chat/completions
404 | POST /v1/chat//completions
404 | GET /v1/models//gpt-4o
404 | GET /v1/models//
200 | POST /v1/chat/completions



=== TEST 15: query strings go with the route and change nothing about it
--- cases
200 | POST /v1/chat/completions?api-version=2024-10-21
200 | GET /v1/models?limit=2&after=x%2fy
200 | GET /v1/models? | got=GET /v1/models
200 | GET /v1/models?/../files
200 | GET /v1/models?a=%0d%0aX:%201
404 | GET /v1/?/models
404 | GET /v1/files?x=/v1/models



=== TEST 16: the form of the target does not matter
--- cases
200 | POST http://localhost/v1/chat/completions | got=POST /v1/chat/completions
200 | POST http://api.evil.example/v1/chat/completions | got=POST /v1/chat/completions
404 | GET http://localhost/v1/files
404 | GET http://localhost/v1/models/%2e%2e/files
400 | GET v1/models | id=any
400 | GET * | id=any



=== TEST 17: the provider's name is the configuration's, whatever Host says
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
Host: api.evil.example
X-Forwarded-Host: api.evil.example
--- provider
POST /v1/chat/completions
host: provider



=== TEST 18: odd hosts
--- cases
200 | host=api.evil.example
200 | host=127.0.0.1:1
200 | host=[::1]
200 | host=-
400 | host= | id=any
400 | host=a/b | id=any
400 | host=a b | id=any
400 | Host: second | id=any
400 | host=a\x00b | id=any



=== TEST 19: HTTP/1.0, 0.9 and worse
--- cases
200 | POST /v1/chat/completions HTTP/1.0
200 | POST /v1/chat/completions HTTP/1.0 | host=
404 | GET /v1/files HTTP/1.0
401 | GET /v1/models HTTP/1.0 | anonymous
505 | GET /v1/models HTTP/2.0 | id=any
400|505 | GET /v1/models HTTP/3.7 | id=any
400 | GET /v1/models HTTP/x.1 | id=any
400 | GET /v1/models http/1.1 | id=any
--- check
my $got = exchange(raw => "GET /v1/models\r\n");

is(scalar(provider_requests()), 0, $block->name . ' - HTTP/0.9 reaches nothing');



=== TEST 20: no other protocol on the connection
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
Connection: close, Upgrade, HTTP2-Settings
Upgrade: h2c
HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
--- provider
POST /v1/chat/completions
!upgrade
!connection



=== TEST 21: nor where the administrator passes Upgrade on
--- config eval
HoodyAI::config('proxy_set_header Upgrade $http_upgrade;')
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
Upgrade: websocket
--- provider
GET /v1/models
!upgrade



=== TEST 22: headers that name another method or path are not passed on
--- request
POST /v1/chat/completions
{"model":"m"}
--- more_headers
Authorization: Bearer container-dev-env
X-HTTP-Method-Override: DELETE
X-HTTP-Method: DELETE
X-Method-Override: DELETE
X-Original-URL: /v1/files
X-Rewrite-URL: /v1/files
--- provider
POST /v1/chat/completions
!x-http-method-override
!x-http-method
!x-method-override
!x-original-url
!x-rewrite-url



=== TEST 23: a location without a slash at its end
--- config
location /ai {
    hoody_ai on;
    hoody_ai_credential openai;
    proxy_pass http://provider/v1;
}
--- cases
200 | POST /ai/chat/completions | got=POST /v1/chat/completions
200 | GET /ai/models | got=GET /v1/models
404 | GET /ai
404 | GET /ai/
404 | GET /aimodels
404 | GET /ai-x/models
404 | GET /ai/v1/models



=== TEST 24: the prefix is replaced as proxy_pass says
--- config
location /openai/v1/ {
    hoody_ai on;
    hoody_ai_credential openai;
    proxy_pass http://provider/v1/;
}
--- cases
200 | POST /openai/v1/chat/completions | got=POST /v1/chat/completions
200 | GET /openai/v1/models/gpt%2D4o | got=GET /v1/models/gpt-4o
200 | GET /openai/v1/models?limit=1 | got=GET /v1/models?limit=1
200 | GET /openai/v1/../v1/models | got=GET /v1/models
404 | GET /openai/v1/../../v1/models | id=any
404 | GET /v1/models | id=any
404 | GET /openai/v1/%2e%2e/models | id=any



=== TEST 25: the whole server is the gateway
--- config
location / {
    hoody_ai on;
    hoody_ai_credential openai;
    proxy_pass http://provider/v1/;
}
--- cases
200 | POST /chat/completions | got=POST /v1/chat/completions
200 | GET /models | got=GET /v1/models
404 | GET /v1/models
404 | GET /
404 | GET /_sample/requests
400 | GET /../models | id=any



=== TEST 26: a rewrite in the location does not lead past the check
--- config eval
HoodyAI::config('rewrite ^/v1/alias$ /v1/models break;
    rewrite ^/v1/secret$ /v1/files break;')
--- cases
200 | GET /v1/alias | got=GET /v1/models
404 | GET /v1/secret
