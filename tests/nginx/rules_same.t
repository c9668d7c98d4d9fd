#!/usr/bin/perl

# "hoody-ai rules test" says what is sent: every body of the scanner's corpus,
# and some of the manual's shapes, through the command and through nginx and
# engine.  Both refuse the same, and both make the same bytes of the rest.
#
# asan: no, rules.t runs the same code

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Encode qw(encode_utf8);
use JSON::PP;
use Test::More;

use HoodyAI::Engine;
use HoodyAI::System qw(slurp spew);

my $s = HoodyAI::System->new;
my $program = $s->program('hoody-ai');

my @rules = map {
    my ($id, $event, %action) = @$_;
    my $blocking = delete $action{blocking};

    { id => $id, trigger => { event => $event, tags => [$id] },
        action => \%action, $blocking ? (blocking => JSON::PP::true) : () };
} (
    ['head', 'chat.system.transform', type => 'prepend',
        content => "For \"{{container.name}}\"\n{{model}}"],
    ['tail', 'chat.system.transform', type => 'append', content => 'Be kind.'],
    ['user', 'chat.message', type => 'message', content => 'P.S. {{event}}'],
    ['cap', 'chat.params', type => 'set', field => 'max_tokens', max => 7,
        fallback => 3],
    ['other', 'chat.params', type => 'set', field => 'model', value => 'm2'],
    ['bare', 'chat.params', type => 'set', field => 'tools',
        remove => JSON::PP::true],
    ['result', 'tool.execute.after', type => 'log',
        content => '{{tool.name}} {{tool.input}}'],
    ['stop', 'chat.message', type => 'message', content => 'No {{model}}.',
        blocking => 1],
);

my %tags = (
    none => 'nothing',
    prompt => 'head tail user result',
    params => 'cap other bare',
    all => 'bare cap head other result tail user',
    stopped => 'tail stop',
);

my %api = (
    'openai.chat' => '/v1/chat/completions',
    'openai.responses' => '/v1/responses',
    'openai.completions' => '/v1/completions',
    'openai.embeddings' => '/v1/embeddings',
    'anthropic.messages' => '/anthropic/v1/messages',
);

my %body = map { m{([^/]+)\z}; ($1 => slurp($_)) }
    glob $s->root . '/tests/fuzz/corpus/json/*';

cmp_ok(scalar(keys %body), '>', 10, 'there is a corpus');

%body = (%body,
    'empty' => '',
    'no-messages' => '{"model":"m"}',
    'empty-messages' => '{"model":"m","messages":[]}',
    'tokens' => '{"model":"m","prompt":[1,2]}',
    'escapes' => '{"model":"m","mess\u0061ges":[{"role":"us\u0065r",'
        . '"content":"\ud83d\ude00"}],"max_tokens":1.0E+3 }',
    'no-model' => '{"messages":[{"role":"user","content":"x"}]}',
    'number' => '{"model":"m","max_tokens":"9","messages":[{"role":"system",'
        . '"content":7},{"role":"user","content":"x"}]}',
);

my (%address, $n);

$s->redis;
for my $name (sort keys %tags) {
    $address{$name} = '127.0.0.' . (10 + ++$n);
    $s->container($name, addresses => $address{$name},
        id => sprintf('%024x', $n), tags => $tags{$name});
}

my $provider = $s->provider;
my $engine = HoodyAI::Engine->new($s, rules => \@rules);

chmod 0777, $engine->{socket};
mkdir "$s->{dir}/hoody-ai";
for (qw(hoody_ai_rules.conf hoody_ai_rules_params
        hoody_ai_rules_upstream.conf))
{
    spew("$s->{dir}/hoody-ai/$_", slurp($s->root . "/conf/$_")
        =~ s{/run/hoody-ai/rules\.sock}{$engine->{socket}}r);
}

$s->nginx(
    http => sub {
        'include hoody-ai/hoody_ai_rules_upstream.conf;'
            . $s->default_http(server => 'include hoody-ai/hoody_ai_rules.conf;',
                location => 'hoody_ai_stored on;'
                    . 'hoody_ai_rules /hoody-ai-rules timeout=5s;');
    });


# What the gateway does: "sent" and the bytes, or status and code.
sub gateway {
    my ($name, $api, $body) = @_;
    my $answer = $s->ask('POST', $api{$api}, token => $name, body => $body,
        local => $address{$name});
    my ($seen) = $provider->requests;

    $provider->forget;
    return 'sent ' . encode_utf8($seen->{body}) if $seen;

    # Anthropic's errors have a message only
    my ($code) = $answer->{body} =~ /"code": ?"(\w+)"/;

    $code //= $answer->{body} =~ /unambiguous JSON|has no place/
        ? 'invalid_body' : $answer->{status} == 403 ? 'blocked_by_rule'
        : $answer->{body};

    return "$answer->{status} $code";
}

# The same of the command.
sub command {
    my ($name, $api, $body) = @_;

    spew("$s->{dir}/in", $body);

    my $out = `'$program' rules test '$engine->{file}' --raw --api $api \\
        --container $name --container-id $s->{ids}{$name} \\
        --tags '$tags{$name}' <'$s->{dir}/in' 2>'$s->{dir}/err'`;

    return "sent $out" if $? == 0;

    return slurp("$s->{dir}/err") =~ /refused with (\d+) (\w+)/
        ? "$1 $2" : slurp("$s->{dir}/err");
}

$n = 0;
$s->{ids}{$_} = sprintf('%024x', ++$n) for sort keys %tags;

for my $name (sort keys %tags) {
    for my $api (sort keys %api) {
        my @wrong;

        for my $body (sort keys %body) {
            my $got = gateway($name, $api, $body{$body});
            my $said = command($name, $api, $body{$body});

            push @wrong, "$body:\n  gateway " . substr($got, 0, 400)
                . "\n  command " . substr($said, 0, 400) if $got ne $said;
        }

        is(scalar(@wrong), 0, "$name, $api") or diag(join "\n", @wrong);
    }
}

$s->finish;
