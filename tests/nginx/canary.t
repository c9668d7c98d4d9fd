#!/usr/bin/perl

# The key is in no log, whatever is logged: a debug log, a log format of every
# variable, answers of a provider that says the key, every kind of failure, a
# worker that crashed.  finish() searches all of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Engine;
use HoodyAI::System qw(wait_for free_port chat slurp spew);

my $s = HoodyAI::System->new;

# half of a key is a leak as well
for my $key (map { $s->key($_) } qw(openai anthropic)) {
    push @{$s->{old_keys}}, substr($key, -24, 12), substr($key, -12);
}

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1', tags => 'prod');

my $provider = $s->provider;
my $guard = 'Never delete anything.';
my $engine = HoodyAI::Engine->new($s, args => ['--no-plan'], rules => [
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } },
    { id => 'seen', trigger => { event => 'chat.message' },
      action => { type => 'log', content => '{{container.name}} asked' } },
]);

chmod 0777, $engine->{socket};

my $nowhere = free_port();

# what nginx 1.22 knows, and what the headers of these requests make of it
my @variables = (
    qw(args binary_remote_addr body_bytes_sent bytes_sent connection
    connection_requests connection_time content_length content_type
    document_root document_uri host hostname https is_args limit_rate msec
    nginx_version pid pipe proxy_add_x_forwarded_for proxy_host proxy_port
    proxy_protocol_addr proxy_protocol_port query_string realpath_root
    realip_remote_addr remote_addr remote_port remote_user request
    request_body request_body_file request_completion request_filename
    request_id request_length request_method request_time request_uri scheme
    sent_http_cache_control sent_http_connection sent_http_content_length
    sent_http_content_type sent_http_keep_alive sent_http_location
    sent_http_transfer_encoding sent_http_x_echo_key sent_http_x_request_id
    sent_http_x_provider_request_id sent_trailer_x_sample_trailer
    server_addr server_name server_port server_protocol status tcpinfo_rtt
    time_iso8601 time_local upstream_addr upstream_bytes_received
    upstream_bytes_sent upstream_cache_status upstream_connect_time
    upstream_header_time upstream_http_x_echo_key upstream_http_x_request_id
    upstream_http_server upstream_response_length upstream_response_time
    upstream_status upstream_trailer_x_sample_trailer uri http_authorization
    http_x_api_key http_cookie http_user_agent http_x_sample_echo
    cookie_session arg_key http_proxy_authorization),
    map { "hoody_ai_$_" } qw(container container_id api model status
        input_tokens output_tokens ttft),
);

my $every = join ' ', map { "$_=\$$_" } @variables;

my $locations = join '', map {
    my ($path, $to, $credential, $more) = @$_;

    "location $path/v1/ {
        hoody_ai on;
        hoody_ai_credential $credential;
        proxy_pass http://$to/v1/;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
        add_trailer x-all '\$upstream_http_x_echo_key \$http_authorization';
        add_header x-all '\$upstream_http_x_echo_key \$http_authorization';
        $more
    }\n"
} ['', 'provider', 'openai', ''],
  ['/anthropic', 'provider', 'anthropic', ''],
  ['/by-model', 'provider', '$by_model', ''],
  ['/retry', 'unsteady', 'openai',
   'proxy_next_upstream error timeout http_503 http_429 non_idempotent;'],
  ['/ruled', 'provider', 'openai', 'hoody_ai_rules /rules;'],
  ['/impatient', 'provider', 'openai', 'proxy_read_timeout 300ms;'],
  ['/nowhere', "127.0.0.1:$nowhere", 'openai', ''];

$s->nginx(
    main => "worker_rlimit_core 500m; working_directory $s->{dir}/core;\n",
    http => do {
        mkdir "$s->{dir}/core";
        chmod 01777, "$s->{dir}/core";

        "log_format every '$every';
        access_log $s->{dir}/every.log every;
        rewrite_log on;

        map \$hoody_ai_model \$by_model {
            volatile;
            default openai;
            ~^claude anthropic;
        }

        upstream provider { server %%PROVIDER%%; keepalive 4; }
        upstream unsteady {
            server 127.0.0.1:$nowhere max_fails=0;
            server %%PROVIDER%% max_fails=0;
            server %%PROVIDER%% max_fails=0 weight=2;
            keepalive 4;
        }

        server {
            listen 127.0.0.1:%%PORT%%;
            location = /rules {
                internal;
                log_subrequest on;
                include " . $s->root . "/conf/hoody_ai_rules_params;
                fastcgi_param EVERY '$every';
                fastcgi_pass unix:$engine->{socket};
            }
            $locations
        }";
    });

my $answers = 0;

# What comes back is kept as a file, to be searched like all the others.
sub ask {
    my ($path, $stream, @headers) = @_;

    my $anthropic = $path =~ /anthropic/;
    my $client = $s->client;
    my $route = $anthropic ? 'messages' : 'chat/completions';

    $client->request('POST', "$path/v1/$route?key=value", token => 'dev-env',
        body => chat($stream ? (stream => JSON::PP::true) : (),
            $path eq '/by-model' ? (model => 'claude-x') : ()),
        headers => ['Cookie', 'session=1', 'TE', 'trailers',
            'Connection', 'close', @headers]);
    $client->eof;

    spew("$s->{dir}/answer." . ++$answers, $client->{in});
    $client->close;

    return $client->{in};
}


for my $path ('', '/anthropic', '/by-model', '/retry', '/ruled') {
    for my $stream (0, 1) {
        my $name = ($path || '/') . ($stream ? ', stream' : '');

        like(ask($path, $stream), qr/ 200 /, "$name: plain");

        for my $echo (qw(key headers)) {
            my @say = ('X-Sample-Echo', $echo);

            my $text = ask($path, $stream, @say, 'X-Sample-Trailer', 1);

            like($text, qr/ 200 /, "$name: echo of $echo");
            like($text, qr/\*{20}/, "$name: echo of $echo, masked");
            like(ask($path, $stream, @say, 'X-Sample-Split', 1,
                'X-Sample-Split-Delay', 0, 'X-Sample-Split-Head', 1),
                qr/\*{20}/, "$name: echo of $echo, byte by byte");
            ask($path, $stream, @say, 'X-Sample-Split', 7,
                'X-Sample-Split-Delay', 0);
        }

        ask($path, $stream, 'X-Sample-Echo', 'key', 'X-Sample-Chunks', 5);
        ask($path, $stream, 'X-Sample-Echo', 'key', 'X-Sample-Early-Hints', 1);
        ask($path, $stream, 'X-Sample-Echo', 'key', 'X-Sample-Status', $_)
            for 401, 429, 500;
        ask($path, $stream, 'X-Sample-Abort', $_) for '-1', '1', '2,reset';
        ask($path, $stream, 'X-Sample-Stream-Error', 1);
        ask($path, $stream, 'X-Sample-Encoding', 'gzip');
        ask($path, $stream, 'X-Sample-Header', 'X-Bad: a');
    }
}

like(ask('/impatient', 0, 'X-Sample-Stall', -1), qr/ 504 /, 'a timeout');
like(ask('/nowhere', 0), qr/ 502 /, 'a provider that is not there');
like(ask('', 0, 'Authorization', 'Bearer container-other'), qr/ 40[01] /,
    'two credentials');
is($s->ask('GET', '/v1/models', token => 'dev-env')->{status}, 200, 'a list');
is($s->chat_ask(body => chat(filler => 'x' x 2_000_000))->{status}, 200,
    'a large body');

# what was seen last is what the provider got
my ($seen) = reverse grep { $_->{uri} =~ /chat/ } $provider->requests;
is($seen->{headers}{authorization}, 'Bearer ' . $s->key('openai'),
    'the provider has the key all the same');

my $lines = () = slurp("$s->{dir}/every.log") =~ /\n/g;
cmp_ok($lines, '>=', $answers, 'the log of every variable was written');
like($s->log, qr/\[debug\].*http upstream/, 'so was a debug log');


# What the system shows of the processes

{
    my $keys = join '|', map { quotemeta } $s->all_keys;
    my @files = map { ("/proc/$_/environ", "/proc/$_/cmdline") }
        $s->master, $s->workers;
    my @bad = grep { slurp($_) =~ /$keys/ } @files;

    is(scalar(grep { length slurp($_) } @files), 4, 'what there is to read');
    is("@bad", '', 'neither environment nor arguments have a key');
}


# A crash in a stream

{
    chomp(my $pattern = slurp('/proc/sys/kernel/core_pattern'));

    my $stream = $s->stream(headers => ['X-Sample-Chunks', 1000,
        'X-Sample-Delay', 10]);

    $stream->head;
    $stream->piece;

    my ($worker) = $s->workers;

    kill 'ABRT', $worker;
    ok(wait_for(sub { my ($new) = $s->workers; $new && $new != $worker }),
        'a worker crashes, another one comes');
    ok(wait_for(sub { $s->chat_ask->{status} == 200 }), 'and serves');

    # the kernel's pattern, limits and a container decide whether there is one
    my $found = wait_for(sub { my @cores = glob "$s->{dir}/core/*" }, 1);

    SKIP: {
        skip "no core file to search, core_pattern is $pattern", 1 if !$found;

        ok($found, 'it leaves a core file, which is searched');
    }
}

$s->finish(alerts => qr/worker process \d+ exited on signal 6/);
