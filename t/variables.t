# The $hoody_ai_* variables, and that no variable at all ever holds a key.

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

# Lines of the log that a block writes with the format "facts".
sub logged {
    my $file = server_root() . '/logs/facts.log';
    my ($end, @lines) = (time + 3);

    # the line is written once the connection's end is seen
    do {
        select(undef, undef, undef, 0.02);
        open(my $in, '<', $file) or die "$file: $!\n";
        @lines = <$in>;
    } while (!@lines && time < $end);

    truncate($file, 0) or die "$file: $!\n";
    chomp @lines;

    return @lines;
}

sub post {
    my ($uri, $body, @headers) = @_;

    unshift @headers, 'x-api-key: container-dev-env'
        if !grep { /^x-api-key/ } @headers;
    push @headers, 'Content-Length: ' . length $body if length $body;

    return exchange(raw => join("\r\n",
        (length $body ? 'POST' : 'GET') . " $uri HTTP/1.1", 'Host: x',
        'Connection: close', @headers, '', $body));
}

sub facts {
    my ($block, @rows) = @_;

    while (my ($request, $want) = splice(@rows, 0, 2)) {
        post(@$request);

        my @lines = logged();

        is(scalar(@lines), 1, $block->name . " - one line, @$request[0]");
        like($lines[0] // '', $want, $block->name . " - @$request");
    }

    provider_requests();
}

# every variable of nginx that a log format may name, and some by prefix
my @variables = qw(ancient_browser modern_browser msie arg_x args
    binary_remote_addr body_bytes_sent bytes_received bytes_sent connection
    connection_requests connection_time connections_active connections_reading
    connections_waiting connections_writing content_length content_type
    cookie_x date_gmt date_local document_root document_uri
    fastcgi_script_name gzip_ratio host hostname http2 http_accept
    http_api_key http_authorization http_cookie http_openai_organization
    http_proxy_authorization http_user_agent http_x_api_key
    http_x_goog_api_key https invalid_referer is_args limit_conn_status
    limit_rate limit_req_status msec nginx_version pid pipe
    proxy_add_x_forwarded_for proxy_host proxy_port
    proxy_protocol_addr proxy_protocol_port query_string realip_remote_addr
    realip_remote_port realpath_root remote_addr remote_port remote_user
    request request_body request_body_file request_completion
    request_filename request_id request_length request_method request_time
    request_uri scheme sent_http_authorization sent_http_content_type
    sent_http_x_echo_key sent_http_x_request_id sent_trailer_x_sample_trailer
    server_addr server_name server_port server_protocol slice_range
    ssl_cipher ssl_server_name status tcpinfo_rtt time_iso8601 time_local
    trailer_x uid_got uid_set upstream_addr upstream_bytes_received
    upstream_bytes_sent upstream_cache_status upstream_connect_time
    upstream_cookie_k upstream_header_time upstream_http_authorization
    upstream_http_set_cookie upstream_http_x_echo_key upstream_response_length
    upstream_response_time upstream_status upstream_trailer_x_sample_trailer
    uri secure_link hoody_ai_container hoody_ai_container_id hoody_ai_api
    hoody_ai_model hoody_ai_status hoody_ai_input_tokens
    hoody_ai_output_tokens hoody_ai_ttft hoody_ai_request_id);

# Which of them this nginx has, it says itself.
sub known {
    my @names = @_;
    my $folder = secret_folder();
    my $load = join('', map { "load_module $_;" }
        split ' ', $ENV{TEST_NGINX_LOAD_MODULES} // '');

    for (1 .. @names) {
        open(my $out, '>', "$folder/variables.conf") or die "$!\n";
        print $out "$load pid $folder/pid; error_log stderr;"
            . "events {} http { access_log off; log_format x '",
            join('', map { "\$$_ " } @names), "'; }\n";
        close $out;

        my $file = "$folder/variables.conf";
        my $said = `$ENV{HAI_NGINX} -e stderr -t -c $file 2>&1`;

        $said =~ /unknown "(\w+)" variable/ or last;
        @names = grep { $_ ne $1 } @names;
    }

    return @names;
}

our $everything = join("\n", map { "'$_=\$$_ '" } known(@variables));

our $format = 'log_format facts "c=$hoody_ai_container'
    . ' id=$hoody_ai_container_id api=$hoody_ai_api m=$hoody_ai_model s=$hoody_ai_status'
    . ' in=$hoody_ai_input_tokens out=$hoody_ai_output_tokens'
    . ' t=$hoody_ai_ttft r=$hoody_ai_request_id.";'
    . "access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;\n";

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: what they say about a request that passed
--- http_config eval: $main::format
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;")
--- check
my $id = 'c=dev-env id=0123456789abcdef01234567';

main::facts($block,
    [ '/v1/chat/completions', '{"model":"gpt-4o"}', 'X-Sample-Usage: 11,22' ]
        => qr/^$id api=openai.chat m=gpt-4o s=ok in=11 out=22 t=\d+ r=[0-9a-f]{32}\.$/,
    [ '/v1/chat/completions', '{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}', 'X-Sample-Usage: 11,22' ]
        => qr/^$id api=openai.chat m=gpt-4o s=ok in=11 out=22 t=\d+ r=/,
    [ '/v1/responses', '{"model":"gpt-4o","input":"x"}', 'X-Sample-Usage: 5,6' ]
        => qr/^$id api=openai.responses m=gpt-4o s=ok in=5 out=6 t=\d+ r=/,
    [ '/v1/responses', '{"model":"gpt-4o","input":"x","stream":true}', 'X-Sample-Usage: 5,6' ]
        => qr/^$id api=openai.responses m=gpt-4o s=ok in=5 out=6 t=\d+ r=/,
    [ '/anthropic/v1/messages', '{"model":"claude-x"}', 'X-Sample-Usage: 7,8' ]
        => qr/^$id api=anthropic.messages m=claude-x s=ok in=7 out=8 t=\d+ r=/,
    [ '/anthropic/v1/messages', '{"model":"claude-x","stream":true}', 'X-Sample-Usage: 7,8' ]
        => qr/^$id api=anthropic.messages m=claude-x s=ok in=7 out=8 t=\d+ r=/,
    [ '/v1/completions', '{"model":"m","prompt":"x"}', 'X-Sample-Usage: 3,4' ]
        => qr/^$id api=openai.completions m=m s=ok in=3 out=4 t=\d+ r=/,
    [ '/v1/embeddings', '{"model":"m","input":"x"}' ]
        => qr/^$id api=openai.embeddings m=m s=ok in=\d+ /,
    [ '/v1/moderations', '{"input":"x"}' ]
        => qr/^$id api=openai.moderations m=- s=ok in=- out=- /,
    [ '/v1/models', '' ]
        => qr/^$id api=openai.models m=- s=ok in=- out=- t=\d+ r=/,
    [ '/v1/chat/completions', '{"model":"gpt-4o"}', 'X-Sample-Usage: none' ]
        => qr/^$id api=openai.chat m=gpt-4o s=ok in=- out=- t=\d+ r=/,
    [ '/v1/chat/completions', '{"model":"gpt-4o"}', 'X-Sample-Status: 429' ]
        => qr/^$id api=openai.chat m=gpt-4o s=ok in=- out=- t=\d+ r=/,
    [ '/v1/chat/completions', '{"model":"a/b"}', 'x-api-key: container-7' ]
        => qr/^$id api=openai.chat m=a\/b s=ok /,
);



=== TEST 2: and about one that did not
--- http_config eval: $main::format
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;
    hoody_ai_max_body 1000; proxy_read_timeout 1s;")
--- check
main::facts($block,
    [ '/v1/models', '', 'x-api-key: container-nobody' ]
        => qr/^c=- id=- api=- m=- s=invalid_identity in=- out=- t=- r=[0-9a-f]{32}\.$/,
    [ '/v1/models', '', 'x-api-key: sk-x' ]
        => qr/^c=- id=- api=- m=- s=invalid_identity in=- out=- t=- r=/,
    [ '/v1/none', '' ]
        => qr/^c=dev-env id=\w+ api=- m=- s=unknown_route in=- out=- t=- r=/,
    [ '/v1/chat/completions', '{' ]
        => qr/^c=dev-env id=\w+ api=openai.chat m=- s=invalid_body in=- /,
    [ '/v1/chat/completions', 'x' x 1001 ]
        => qr/^c=dev-env id=\w+ api=openai.chat m=- s=body_too_large in=- /,
    [ '/v1/chat/completions', '{}', 'Content-Encoding: br' ]
        => qr/^c=dev-env id=\w+ api=openai.chat m=- s=unsupported_encoding /,
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Abort: -1' ]
        => qr/^c=dev-env id=\w+ api=openai.chat m=m s=provider_unavailable in=- out=- t=- r=/,
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Stall: -1' ]
        => qr/^c=dev-env id=\w+ api=openai.chat m=m s=provider_timeout in=- out=- t=- r=/,
);

redis('SREM hoody:{' . $block->hoody_server . '}:ai:enabled dev-env');
redis('PING');
main::facts($block, [ '/v1/models', '' ]
    => qr/^c=dev-env id=0123456789abcdef01234567 api=- m=- s=ai_disabled in=- /);



=== TEST 3: without Redis
--- redis_conf: 127.0.0.1:$TEST_NGINX_RAND_PORT_9
--- http_config eval: $main::format
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;
    hoody_ai_wait 50ms;")
--- check
main::facts($block, [ '/v1/models', '' ]
    => qr/^c=- id=- api=- m=- s=registry_unavailable in=- out=- t=- r=/);



=== TEST 4: where there is no gateway they are empty
--- config
location / {
    return 200 "[$hoody_ai_container$hoody_ai_container_id$hoody_ai_api$hoody_ai_model$hoody_ai_status$hoody_ai_input_tokens$hoody_ai_output_tokens$hoody_ai_ttft$hoody_ai_request_id]";
}
--- request
GET /
--- more_headers
Authorization: Bearer container-dev-env
--- response_body chomp
[]



=== TEST 5: time to the first byte
--- http_config eval: $main::format
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;")
--- check
main::post('/v1/chat/completions', '{"model":"m","stream":true}',
    'X-Sample-Header-Delay: 200', 'X-Sample-Delay: 20');

my ($t) = (main::logged())[0] =~ / t=(\d+) /;

cmp_ok($t, '>=', 150, $block->name . ' - at least the delay');
cmp_ok($t, '<', 3000, $block->name . ' - in milliseconds');
provider_requests();



=== TEST 6: the request id is the one that the caller got
--- http_config eval: $main::format
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;")
--- check
for my $request ([ '/v1/models', '' ], [ '/v1/none', '' ],
    [ '/v1/models', '', 'x-api-key: sk-x' ])
{
    my $got = main::post(@$request);
    my %h = map { lc $_->[0] => $_->[1] } @{ $got->{headers} };
    my ($id) = (main::logged())[0] =~ / r=(\w+)\./;

    is($id, $h{'x-request-id'}, $block->name . " - $request->[0]");
}

provider_requests();



=== TEST 7: ids differ
--- check
my %seen;

$seen{ (grep { lc $_->[0] eq 'x-request-id' }
    @{ main::post('/v1/models', '')->{headers} })[0][1] }++ for 1 .. 200;

is(scalar(keys %seen), 200, $block->name);
provider_requests();



=== TEST 8: no variable of nginx holds a key, whatever the provider says
--- http_config eval
"log_format facts $main::everything;
access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;"
--- config eval
HoodyAI::config("access_log $ENV{TEST_NGINX_SERVER_ROOT}/logs/facts.log facts;")
--- check
my %keys = HoodyAI::fixture_keys();

for my $request (
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Echo: key' ],
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Echo: key',
        'X-Sample-Trailer: 1' ],
    [ '/v1/chat/completions', '{"model":"m","stream":true}',
        'X-Sample-Echo: key' ],
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Echo: headers' ],
    [ '/anthropic/v1/messages', '{"model":"m"}', 'X-Sample-Echo: key' ],
    [ '/v1/models', '' ], [ '/v1/none', '' ],
    [ '/v1/chat/completions', '{"model":"m"}', 'X-Sample-Abort: -1' ])
{
    my $got = main::post(@$request);
    my ($line) = main::logged();

    like($line, qr/hoody_ai_request_id=[0-9a-f]{32} /,
        $block->name . " - @$request, logged");

    for (sort keys %keys) {
        unlike($line, qr/\Q$keys{$_}/, $block->name . " - no key $_");
        unlike($got->{raw}, qr/\Q$keys{$_}/, $block->name . " - no key $_");
    }
}

provider_requests();



=== TEST 9: nor can the caller's token be had from them
--- config eval
HoodyAI::config('add_header X-Seen "[$http_authorization$http_cookie]";
    proxy_set_header X-Seen "[$http_openai_project$http_x_api_key]";')
--- request
GET /v1/models
--- more_headers
OpenAI-Project: proj-1
x-api-key: container-dev-env
--- provider
GET /v1/models
!openai-project
