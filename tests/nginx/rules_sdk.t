#!/usr/bin/perl

# Rules as users of the official SDKs meet them, with a loop of tool calls; and
# what the operator gets: entries, the audit log, webhooks.
#
# asan: no, rules.t runs the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP;
use Test::More;

use HoodyAI::Engine;
use HoodyAI::System qw(wait_for slurp spew);

if (!-d "$FindBin::Bin/node_modules/openai") {
    fail("the SDKs are not installed: run 'make setup'");
    done_testing();
    exit;
}

my $s = HoodyAI::System->new;
my $true = JSON::PP::true;
my $hooks = "$s->{dir}/hooks";

mkdir $hooks;
chmod 0777, $hooks;

# what arrives is kept in a file each
my $receiver = $s->fake('receiver', sub {
    my ($socket, $request) = @_;

    my ($head, $body) = split /\r\n\r\n/, $request, 2;
    my $file = sprintf '%s/%d.%d', $hooks, $$, int rand 1e9;

    spew("$file.new", $request);
    rename "$file.new", "$file.json";

    print $socket "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
});

my $secret = $s->secret('hook', 'hook-secret-' . int rand 1e9);

my @rules = (
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => 'GUARDED' } },
    { id => 'stop', trigger => { event => 'chat.message',
        models => ['forbidden-*'] }, blocking => $true,
      action => { type => 'message', content => 'Not {{model}}.' } },
    { id => 'reads', trigger => { event => 'tool.execute.after',
        toolName => 'read' },
      action => { type => 'log', content => 'read {{tool.input.path}}' } },
    { id => 'calls', trigger => { event => 'tool.execute.before',
        toolName => 'READ' },
      action => { type => 'log', content => 'calls {{tool.name}}' } },
    { id => 'failed', trigger => { event => 'session.error' },
      action => { type => 'webhook', url => "http://$receiver/failed",
        secretFile => $secret } },
    { id => 'done', trigger => { event => 'session.idle',
        containers => ['dev-*'] },
      action => { type => 'log', content => 'done' } },
);

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider;
my $engine = HoodyAI::Engine->new($s, rules => \@rules);

chmod 0777, $engine->{socket};

my $audit = "$s->{dir}/audit.jsonl";

$s->spawn('events', [$s->program('hoody-ai-events'), '--redis',
    "unix:$s->{redis_socket}", '--server', $s->{server}, '--rules',
    $engine->{file}, '--audit-log', $audit, '--webhook-allow', '127.0.0.0/8']);

mkdir "$s->{dir}/hoody-ai";
spew("$s->{dir}/hoody-ai/$_", slurp($s->root . "/conf/$_")
        =~ s{/run/hoody-ai/rules\.sock}{$engine->{socket}}r)
    for qw(hoody_ai_rules.conf hoody_ai_rules_params
           hoody_ai_rules_upstream.conf);

$s->nginx(http => sub {
    my $text = $s->default_http(
        location => 'hoody_ai_rules /hoody-ai-rules timeout=5s;',
        server => 'include hoody-ai/hoody_ai_rules.conf;');

    return "include hoody-ai/hoody_ai_rules_upstream.conf;\n$text";
});

{
    local %ENV = (%ENV,
        PROVIDER => 'http://' . $provider->address,
        OPENAI_URL => 'http://' . $s->address . '/v1',
        ANTHROPIC_URL => 'http://' . $s->address . '/anthropic',
        NO_PROXY => '*');
    delete @ENV{qw(http_proxy https_proxy HTTP_PROXY HTTPS_PROXY)};

    open(my $out, '-|', 'timeout', '-k', '5', '60', 'node',
        "$FindBin::Bin/sdk/rules.mjs") or die "node: $!\n";
    $s->take_over($out, 'rules');
}

# entries of the stream, by rule
sub entries {
    my ($rule) = @_;

    return grep { $_->{type} eq 'rule' && $_->{rule} eq $rule }
        map { my %fields = @{$_->[1]}; \%fields }
        @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')};
}

my @reads = map { $_->{message} } entries('reads');

is(join(', ', sort @reads),
    'read /etc/hosts, read /etc/passwd, read /srv/a b.txt',
    'each file that was read is told, once');
is((entries('reads'))[0]{tool}, 'read', 'with the name of the tool');

ok(wait_for(sub { entries('calls') >= 3 }), 'tool calls in answers')
    or diag(scalar entries('calls'));
ok(wait_for(sub { entries('done') >= 2 }), 'answers that ended');
is(scalar(entries('stop')), 2, 'refusals, one for each API');

ok(wait_for(sub {
    my @lines = map { decode_json($_) } split /\n/, slurp($audit);
    return 3 == grep { ($_->{rule} // '') eq 'reads' } @lines;
}), 'the audit log has the same') or diag(slurp($audit));

# one for the provider's error, one for the broken stream
my @hooks;

ok(wait_for(sub { @hooks = glob "$hooks/*.json"; @hooks >= 2 }),
    'webhooks for failed requests') or diag(slurp("$s->{dir}/events.out.log"));

for my $file (@hooks) {
    my ($head, $body) = split /\r\n\r\n/, slurp($file), 2;
    my $doc = decode_json($body);
    my ($signature) = $head =~ /^X-Hoody-Signature: sha256=(\S+)/mi;

    is($signature, hmac_sha256_hex($body, $s->key('hook')),
        "webhook, $doc->{reason}: its signature");
    is($doc->{rule}, 'failed', 'its rule');
    is($doc->{event}, 'session.error', 'its event');
    is($doc->{container}, 'dev-env', 'its container');
    like($doc->{id}, qr/^\d+-\d+\z/, 'its entry');
    like($doc->{request_id}, qr/^[0-9a-f]{32}\z/, 'its request');
}

unlink glob "$hooks/*";
$s->finish;
