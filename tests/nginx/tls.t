#!/usr/bin/perl

# The provider's certificate: no key goes where it was not verified.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::INET;
use Test::More;

use HoodyAI::System qw(wait_for free_port chat slurp);

if (!eval { require IO::Socket::SSL }) {
    plan skip_all => 'IO::Socket::SSL is missing';
}

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $ca = $s->ca('ca');
my $other = $s->ca('other');

# Each of them takes any key, so that one which arrives is seen.
my %cert = (
    good => $s->cert('ca', 'good'),
    both => $s->cert('ca', 'both',
        names => 'DNS:provider.test,DNS:else.test'),
    wrongca => $s->cert('other', 'wrongca'),
    wrongname => $s->cert('ca', 'wrongname', names => 'DNS:else.test'),
    expired => $s->cert('ca', 'expired', expired => 1),
    selfsigned => do { my $file = $s->ca('self'); [$file, "$file.key"] },
);

my %provider = map {
    $_ => $s->provider(name => "provider.$_", tls => $cert{$_}, keys => [])
} sort keys %cert;

# an address of this machine that is not loopback
my $outside = do {
    my $probe = IO::Socket::INET->new(Proto => 'udp',
        PeerAddr => '192.0.2.1:9');
    my $address = $probe && $probe->sockhost;

    $address && $address !~ /^127\./ ? $address : undef;
};
my $outside_port = free_port();

$provider{plain} = $s->provider(name => 'provider.plain', keys => [],
    args => $outside ? ['--listen', "$outside:$outside_port"] : []);

my $verify = "proxy_ssl_verify on; proxy_ssl_server_name on;
    proxy_ssl_trusted_certificate $ca; proxy_ssl_name provider.test;";

# with "key": a location of the gateway; else a bare one to the same upstream
sub location {
    my ($path, $to, $more, $key) = @_;

    my $on = $key ? 'hoody_ai on; hoody_ai_credential openai;' : '';

    return "location $path/v1/ {
        $on
        proxy_pass $to/v1/;
        proxy_http_version 1.1;
        proxy_set_header Connection '';
        $more
    }\n";
}

my $upstreams = join '', map {
    "upstream $_ { server " . $provider{$_}->address . "; keepalive 8; }\n"
} keys %cert;

my $locations = join '', map {
    location("/$_", "https://$_", $verify, 1),
    location("/$_-open", "https://$_",
        'proxy_ssl_verify off; proxy_ssl_server_name on;
         proxy_ssl_name provider.test;', 0),
    location("/$_-else", "https://$_",
        "proxy_ssl_verify on; proxy_ssl_server_name on;
         proxy_ssl_name else.test; proxy_ssl_session_reuse off;
         proxy_ssl_trusted_certificate $ca;", 0),
    location("/$_-other", "https://$_",
        "proxy_ssl_verify on; proxy_ssl_server_name on;
         proxy_ssl_name provider.test; proxy_ssl_session_reuse off;
         proxy_ssl_trusted_certificate $other;", 0),
    location("/$_-off", "https://$_", 'proxy_ssl_verify off;', 1),
} sort keys %cert;

# sessions are shared between locations of one upstream, connections are not
$upstreams .= 'upstream sessions { server ' . $provider{wrongca}->address
    . "; }\n";
$locations .= location('/session-other', 'https://sessions',
        "proxy_ssl_verify on; proxy_ssl_server_name on;
         proxy_ssl_name provider.test;
         proxy_ssl_trusted_certificate $other;", 0)
    . location('/session', 'https://sessions', $verify, 1);

# one set of trust anchors, inherited, and two names
$upstreams .= 'upstream else.test { server ' . $provider{wrongname}->address
    . "; keepalive 8; }\n";
$locations .= "location /shared {
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate $ca;
    "
    . location('/shared/else', 'https://else.test', '', 1)
    . location('/shared/test', 'https://else.test',
        'proxy_ssl_name provider.test;', 1)
    . '}';

$locations .= location('/loopback', 'http://' . $provider{plain}->address,
    '', 1);
$locations .= location('/outside', "http://$outside:$outside_port", '', 1)
    . location('/insecure', "http://$outside:$outside_port",
        'hoody_ai_credential openai insecure;', 1)
        =~ s/hoody_ai_credential openai;//r
    if $outside;

$s->nginx(http => "$upstreams
    server {
        listen 127.0.0.1:%%PORT%%;
        $locations
    }");


sub ask {
    my ($path) = @_;

    return $s->ask('POST', "/$path/v1/chat/completions", token => 'dev-env',
        body => chat());
}


sub refused {
    my ($path, $provider, $name) = @_;

    $provider->forget;

    my $answer = ask($path);

    is($answer->{status}, 502, "$name: 502");
    is($answer->{json}{error}{code}, 'provider_unavailable', "$name: its code");

    my @seen = grep { ($_->{headers}{authorization} // '') =~ /sk-/ }
        $provider->requests;

    is(scalar @seen, 0, "$name: the provider has not seen the key");
}


# Verified

{
    my $answer = ask('good');
    my ($seen) = $provider{good}->requests;

    is($answer->{status}, 200, 'verified: served');
    is($seen->{headers}{authorization}, 'Bearer ' . $s->key('openai'),
        'with the key');

    my $before = $provider{good}->stats->{connections_accepted};

    is(ask('good')->{status}, 200, 'again') for 1 .. 3;
    is($provider{good}->stats->{connections_accepted}, $before + 1,
        'over the same connection');

    my $stream = $s->ask('POST', '/good/v1/chat/completions',
        token => 'dev-env', body => chat(stream => JSON::PP::true),
        headers => ['X-Sample-Size', 300_000]);

    like($stream->{body}, qr/\[DONE\]\n\n\z/, 'a stream');
    cmp_ok(length $stream->{body}, '>', 300_000, 'all of it');

    my $large = $s->ask('POST', '/good/v1/chat/completions',
        token => 'dev-env', body => chat(filler => 'x' x 3_000_000));

    is($large->{status}, 200, 'a large body');
}


# Not verified

refused('wrongca', $provider{wrongca}, 'another CA');
refused('wrongname', $provider{wrongname}, 'another name');
refused('expired', $provider{expired}, 'expired');
refused('selfsigned', $provider{selfsigned}, 'self-signed');
refused('good-off', $provider{good}, 'verification off');
like($s->log, qr/hoody_ai:[^\n]*verif/, 'the log says why');


# Connections and sessions of other locations

for (['wrongca', 'open', 'an unverified connection'],
     ['wrongca', 'other', 'a connection verified for another CA'],
     ['wrongname', 'open', 'an unverified connection, another name'],
     ['wrongname', 'else', 'a connection verified for another name'],
     ['expired', 'open', 'an unverified connection, expired'])
{
    my ($name, $kind, $text) = @$_;

    is(ask("$name-$kind")->{status}, 200, "$text is kept");
    refused($name, $provider{$name}, $text);
}

is(ask('session-other')->{status}, 200, 'a session for another CA');
is(ask('session-other')->{status}, 200, 'is resumed there');
refused('session', $provider{wrongca}, 'but not for the key');

is(ask('shared/else')->{status}, 200, 'a name by inheritance');
refused('shared/test', $provider{wrongname}, 'another name beside it');

for my $kind (qw(open else)) {
    my $provider = $provider{both};

    is(ask("both-$kind")->{status}, 200, "$kind: a connection is kept");
    is(ask('both')->{status}, 200, "$kind: the key still gets through");

    my $before = $provider->stats->{connections_accepted};

    is(ask("both-$kind")->{status}, 200, "$kind: others may go on");
    is(ask('both')->{status}, 200, "$kind: and so does the key");
    is(ask('both')->{status}, 200, "$kind: twice");
    $provider->forget;
}

# retries must not find a way around it either
is(ask('wrongca-open')->{status}, 200, 'many connections') for 1 .. 5;
refused('wrongca', $provider{wrongca}, 'none of them is taken') for 1 .. 5;


# Without TLS

is(ask('loopback')->{status}, 200, 'loopback needs no TLS');

SKIP: {
    skip 'this machine has no address but loopback', 4 if !$outside;

    refused('outside', $provider{plain}, 'plain HTTP elsewhere');
    is(ask('insecure')->{status}, 200, 'unless it says "insecure"');
}

$s->finish;
