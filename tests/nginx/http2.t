#!/usr/bin/perl

# HTTP/2 clients: over TLS with ALPN, and without TLS.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use HoodyAI::Pace;
use HoodyAI::System qw(wait_for free_port chat spew);

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider;
my $ca = $s->ca('ca');
my $cert = $s->cert('ca', 'gateway', names => 'DNS:localhost,IP:127.0.0.1');
my ($tls, $h2c) = (free_port(), free_port());

# bodies of 30 MB would fill a debug log
$s->nginx(level => 'info', server => "
    listen 127.0.0.1:$tls ssl http2;
    listen 127.0.0.1:$h2c http2;
    ssl_certificate $cert->[0];
    ssl_certificate_key $cert->[1];
    http2_max_concurrent_streams 128;

    location /small/v1/ {
        hoody_ai on;
        hoody_ai_credential openai;
        hoody_ai_max_body 2k;
        proxy_pass http://provider/v1/;
    }");

spew("$s->{dir}/body", chat());
spew("$s->{dir}/stream", chat(stream => JSON::PP::true));


# node's client, over both

for (['tls', "https://127.0.0.1:$tls", $ca],
     ['h2c', "http://127.0.0.1:$h2c", ''])
{
    my ($name, $gateway, $file) = @$_;

    local %ENV = (%ENV, GATEWAY => $gateway, CA_FILE => $file,
        PROVIDER => 'http://' . $provider->address,
        OPENAI_KEY => $s->key('openai'), NO_PROXY => '*');

    open(my $out, '-|', 'timeout', '-k', '5', '60', 'node',
        "$FindBin::Bin/http2/client.mjs") or die "node: $!\n";

    $s->take_over($out, $name);
}


# curl

sub curl {
    my (@words) = @_;

    open(my $out, '-|', 'curl', '-s', '-N', '--noproxy', '*', '--http2',
        '--cacert', $ca, '-H', 'Authorization: Bearer container-dev-env',
        '-H', 'Content-Type: application/json', @words,
        '-w', '\n%{http_version} %{http_code}',
        "https://127.0.0.1:$tls/v1/chat/completions") or die "curl: $!\n";

    return $out;
}

sub all {
    my ($out, $text) = @_;

    while (sysread $out, my $more, 65536) {
        $text .= $more;
    }

    $s->capture($text);

    return ($text, close($out) ? 0 : $? >> 8);
}

{
    my ($text, $code) = all(curl('-d', "\@$s->{dir}/body"), '');

    is($code, 0, 'curl: chat');
    like($text, qr/\n2 200\z/, 'curl: over HTTP/2');

    ($text, $code) = all(curl('-d', "\@$s->{dir}/stream"), '');
    is($code, 0, 'curl: stream');
    like($text, qr/\[DONE\]\n\n\n2 200\z/, 'curl: whole');
}


# Access taken away

sub revoke {
    my ($body, @headers) = @_;

    my $before = $provider->stats->{requests};
    my $out = curl('-d', "\@$s->{dir}/$body", @headers);
    my $text = '';

    if (@headers && $headers[1] !~ /Stall/) {
        sysread $out, $text, 65536;

    } else {
        wait_for { $provider->stats->{requests} > $before }
            or die "the request did not arrive\n";
    }

    my $start = time;

    $s->disable('dev-env');

    my ($all, $code) = all($out, $text);
    my $took = time - $start;

    $s->enable('dev-env');
    wait_for { $s->chat_ask->{status} == 200 };

    return ($all, $code, $took);
}

{
    my $before = $provider->stats->{client_aborts};
    my ($text, $code, $took) = revoke('stream', '-H', 'X-Sample-Chunks: 10000',
        '-H', 'X-Sample-Delay: 10');

    is($code, 0, 'revoked in a stream: a proper end');
    like($text, qr/\n\ndata: \{"error".*access_revoked.*\}\n\n\n2 200\z/s,
        'revoked in a stream: the typed event');
    unlike($text, qr/\[DONE\]/, 'revoked in a stream: no [DONE]');
    cmp_ok($took, '<', 2 * slow, 'revoked in a stream: at once');
    ok(wait_for(sub { $provider->stats->{client_aborts} > $before }),
        'revoked in a stream: the provider is hung up on');

    ($text, $code, $took) = revoke('body', '-H', 'X-Sample-Stall: -1');
    is($code, 0, 'revoked while it waits');
    like($text, qr/access_revoked.*\n2 403\z/s, 'revoked while it waits: 403');
    cmp_ok($took, '<', 2 * slow, 'revoked while it waits: at once');

    ($text, $code) = revoke('body', '-H', 'X-Sample-Size: 1000000',
        '-H', 'X-Sample-Chunks: 1000', '-H', 'X-Sample-Delay: 10',
        '-H', 'X-Sample-Length: 0');
    isnt($code, 0, 'plain JSON is reset');
    unlike($text, qr/access_revoked/, 'without a word');
}

{
    # one stream of a connection is not another's
    my $node = <<'END';
const h2 = require('http2').connect(process.argv[1]);
const ask = (token, headers) => new Promise((resolve) => {
  const s = h2.request({ ':method': 'POST', ':path': '/v1/chat/completions',
    authorization: `Bearer container-${token}`, ...headers });
  let body = '';
  s.on('data', (data) => {
    if (!body && token === '7') { console.log('first'); }
    body += data;
  });
  s.on('close', () => resolve(`${token} ${s.rstCode} `
    + (/access_revoked/.test(body) ? 'revoked' : /DONE/.test(body) ? 'done'
       : 'broken')));
  s.end(process.argv[2]);
});
const delay = { 'x-sample-delay': '50' };
Promise.all([ask('dev-env', { 'x-sample-chunks': '20', ...delay }),
             ask('7', { 'x-sample-chunks': '1000', ...delay })])
  .then((all) => { console.log(all.join(', ')); h2.close(); });
END

    $s->container('dev-env', addresses => '127.0.0.1', number => 7);

    open(my $out, '-|', 'timeout', '20', 'node', '-e', $node,
        "http://127.0.0.1:$h2c", chat(stream => JSON::PP::true))
        or die "node: $!\n";

    my $line = <$out>;
    $s->cmd('HSET', $s->rkey('container:dev-env'), 'number', 8);
    $line = <$out>;
    is($line, "dev-env 0 done, 7 0 revoked\n",
        'a number taken away cuts the streams that came by it, no others');
    close $out;
}


# h2load

SKIP: {
    my $load = `h2load --version 2>&1`;

    skip 'h2load is missing', 2 if $?;

    $provider->forget;

    my $before = $provider->stats->{requests};
    my $out = `h2load -n 2000 -c 4 -m 100 -d $s->{dir}/body \\
        -H 'Authorization: Bearer container-dev-env' \\
        https://127.0.0.1:$tls/v1/chat/completions 2>&1`;

    like($out, qr/2000 succeeded, 0 failed, 0 errored, 0 timeout/,
        'h2load: 2000 requests, 100 at a time') or diag($out);
    is($provider->stats->{requests} - $before, 2000, 'h2load: all arrive');
}

$s->finish;
