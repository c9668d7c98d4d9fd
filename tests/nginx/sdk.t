#!/usr/bin/perl

# The official SDKs of OpenAI and Anthropic as clients.
#
# asan: no, raw.t and http2.t run the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use HoodyAI::System qw(wait_for free_port slurp);

if (!-d "$FindBin::Bin/node_modules/openai") {
    fail("the SDKs are not installed: run 'make setup'");
    done_testing();
    exit;
}

my $s = HoodyAI::System->new;

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');
$s->container('off-env', addresses => '::1', enabled => 0);

my $provider = $s->provider;
my $nowhere = free_port();
my $port6 = free_port();

sub locations {
    my ($path, $upstream, $more) = @_;

    return join '', map {
        my ($prefix, $key) = @$_;

        "location $path$prefix/v1/ {
            hoody_ai on;
            hoody_ai_credential $key;
            proxy_pass http://$upstream/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            $more
        }\n"
    } ['', 'openai'], ['/anthropic', 'anthropic'];
}

$s->nginx(server => "listen [::1]:$port6;\n"
    . locations('/small', 'provider', 'hoody_ai_max_body 2k;')
    . locations('/slow', 'provider', 'proxy_read_timeout 300ms;')
    . locations('/nowhere', "127.0.0.1:$nowhere", ''));

# a gateway whose Redis is not there yet
my $down = HoodyAI::System->new;

$down->secret($_, $s->key($_)) for qw(openai anthropic);
$down->{provider} = $provider->address;
$down->nginx(location => 'hoody_ai_wait 100ms;');

sub environment {
    my ($path) = @_;

    return (
        PROVIDER => 'http://' . $provider->address,
        GATEWAY => 'http://' . $s->address . "$path/v1",
        GATEWAY6 => "http://[::1]:$port6$path/v1",
        SMALL => 'http://' . $s->address . "/small$path/v1",
        SLOW => 'http://' . $s->address . "/slow$path/v1",
        NOWHERE => 'http://' . $s->address . "/nowhere$path/v1",
        DOWN => 'http://' . $down->address . "$path/v1",
        OPENAI_DOWN => 'http://' . $down->address . '/v1',
        ANTHROPIC_DOWN => 'http://' . $down->address . '/anthropic/v1',
        OPENAI_KEY => $s->key('openai'),
        ANTHROPIC_KEY => $s->key('anthropic'),
        NO_PROXY => '*',
    );
}

# Runs a script and takes its tests over; "meanwhile" runs beside it.
sub run {
    my ($name, $path, $meanwhile) = @_;

    local %ENV = (%ENV, environment($path));
    delete @ENV{qw(http_proxy https_proxy HTTP_PROXY HTTPS_PROXY)};

    open(my $out, '-|', 'timeout', '-k', '5', '60', 'node',
        "$FindBin::Bin/sdk/$name.mjs") or die "node: $!\n";

    $meanwhile->() if $meanwhile;

    $s->take_over($out, $name);
}

run('openai', '');
run('anthropic', '/anthropic');

run('retry', '', sub {
    wait_for { slurp("$down->{dir}/access.log") =~ / 503 .* 503 /s };
    $down->redis;
    $down->container('dev-env', addresses => '127.0.0.1');
});

$down->finish(more => 1);
$s->finish;
