#!/usr/bin/perl

# hoody-ai-events and a receiver that fails on purpose: what is sent, where it
# may go, what is tried again and what becomes of the rest.
#
# asan: no, most of it is waiting for time-outs of a receiver

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use HoodyAI::Events;
use HoodyAI::Pace;
use HoodyAI::System qw(slurp spew);

my $s = set_up();
my $program = program();
my $json = JSON::PP->new->utf8->canonical;
my $receiver = receiver();
my $hanging_receiver = receiver('hanging');
my ($port) = $receiver =~ /:(\d+)/;
my $secret = $s->secret('hook', sprintf 'hai-hook-secret-%08x', rand 2 ** 32);

my @rules = (
    hook('signed', $receiver, '/ok?token=in-query', secretFile => $secret,
        headers => { 'X-Team' => 'blue', Authorization => 'Bearer hook' }),
    (map { hook($_, $receiver, "/$_") } qw(plain fail3 down gone moved later
        close half garbage huge headers)),
    hook('slow', $hanging_receiver, '/slow'),
    hook('query', $receiver, '/gone?token=in-query#part'),
    hook('private', 'https://10.255.255.1', '/'),
    hook('metadata', 'http://169.254.169.254', '/latest'),
    hook('six', "http://[::1]:$port", '/ok'),
    hook('mapped', "http://[::ffff:10.0.0.1]:$port", '/ok'),
    hook('clear', 'http://1.1.1.1', '/ok'),    # refused before any packet
    hook('nosecret', $receiver, '/ok', secretFile => "$s->{secrets}/missing"),
);


# What is in the stream before the worker starts is not lost.

write_rules(\@rules);
my $early = fire('signed', message => "quote \" and \x{1}");
start();
ok(soon { received($early) }, 'an entry from before the start')
    or BAIL_OUT(worker_log());

my ($got) = received($early);
my $body = $json->decode($got->{body});

is($got->{method}, 'POST', 'POST');
is_deeply({ %$body, ts => 0 }, {
    id => $early, rule => 'signed', event => 'tool.execute.after',
    container => 'dev-env', container_id => 'a' x 24, request_id => 'r-1',
    api => 'openai.chat', model => 'gpt-4o', tool => 'read',
    message => "quote \" and \x{1}", ts => 0,
}, 'the facts');
like($body->{ts}, qr/^\d{13}\z/, 'ts is milliseconds');
like($got->{head}, qr/^content-type: application\/json\r?$/mi, 'its type');
like($got->{head}, qr/^x-team: blue\r?$/mi, 'a configured header');
like($got->{head}, qr/^authorization: Bearer hook\r?$/mi, 'and another');
like($got->{head}, qr/^user-agent: hoody-ai-events\//mi, 'who it is from');

my ($signature) = $got->{head} =~ /^x-hoody-signature: (\S+)/mi;
my $key = $s->key('hook');

is($signature, 'sha256=' . hmac_sha256_hex($got->{body}, $key),
    'the signature');


# The examples of the manual check the same.

my $manual = slurp($s->root . '/docs/WEBHOOKS.md');

for my $case (['python', 'python3', '-c'], ['javascript', 'node', '-e'],
    ['sh', 'sh', '-c'])
{
    my ($language, @command) = @$case;
    my ($code) = $manual =~ /^```$language verify\n(.*?)^```/ms;

    ok($code, "an example in $language") or next;
    spew("$s->{dir}/body", $got->{body});

    for my $try ([$signature, 0], ['sha256=' . '0' x 64, 1]) {
        local $ENV{SECRET_FILE} = $secret;
        local $ENV{SIGNATURE} = $try->[0];
        local $ENV{CODE} = $code;
        my $status = system("$command[0] $command[1] \"\$CODE\""
            . " <'$s->{dir}/body' >/dev/null 2>&1");

        is($status ? 1 : 0, $try->[1],
            "$language " . ($try->[1] ? 'refuses' : 'accepts'));
    }
}


# The slow one takes ten seconds; meanwhile the others are served.

my $hanging = fire('slow');
ok(soon { received($hanging) }, 'a receiver that hangs');
my @many = map { fire('slow') } 1 .. 5;
my $began = time;
my $plain = fire('plain');
ok(soon { received($plain) }, 'another one meanwhile');
cmp_ok(time - $began, '<', 5 * slow, 'without waiting for it');

my %id = map { $_ => fire($_) } qw(fail3 down gone moved later close half
    garbage huge headers query private metadata six mapped clear nosecret);

ok(soon(sub { received($id{fail3}) == 4 }), 'three failures, then delivered');

my @tries = received($id{fail3});
is(scalar(keys %{ { map { $_->{body} => 1 } @tries } }), 1,
    'the same body each time');

for my $n (1 .. 3) {
    my $gap = $tries[$n]{time} - $tries[$n - 1]{time};

    cmp_ok($gap, '>=', 0.1, "pause $n is not too short");
    cmp_ok($gap, '<=', 0.1 * 2 ** $n + 1.5 * slow, 'and not too long');
}

for my $case (
    ['down', 4, qr/^status 503$/],
    ['gone', 1, qr/^status 404$/],
    ['moved', 1, qr/^status 302$/],
    ['close', 4, qr/./],
    ['half', 4, qr/broke off/],
    ['garbage', 4, qr/./],
    ['query', 1, qr/^status 404$/],
    ['private', 1, qr/^address 10\.255\.255\.1 is not allowed$/],
    ['metadata', 1, qr/^address 169\.254\.169\.254 is not allowed/],
    ['six', 1, qr/^address ::1 is not allowed/],
    ['mapped', 1, qr/^address ::ffff:10\.0\.0\.1 is not allowed/],
    ['clear', 1, qr/^address 1\.1\.1\.1 is not allowed for http$/],
    ['nosecret', 4, qr/missing: No such file/],
) {
    my ($rule, $attempts, $error) = @$case;
    my $letter = soon { dead($id{$rule}) };

    ok($letter, "$rule: a dead letter") or next;
    is($letter->{attempts}, $attempts, "$rule: attempts");
    like($letter->{error}, $error, "$rule: the last error");
    is($letter->{rule}, $rule, "$rule: names its rule");
    is($json->decode($letter->{payload})->{id}, $id{$rule},
        "$rule: can be sent again");
}

is(dead($id{query})->{url}, "http://$receiver/gone", 'no query in its URL');
is(scalar(grep { $_->{path} =~ /target/ }
    all_received()), 0,
    'no redirect was followed');
is(scalar(received($id{$_})), 0, "$_: nothing was sent")
    for qw(private metadata six mapped clear nosecret);

ok(soon(sub { received($id{later}) == 2 }), '429 is tried again');
@tries = received($id{later});
cmp_ok($tries[1]{time} - $tries[0]{time}, '>=', 1.99, 'when it asked for');

ok(soon(sub { received($id{headers}) == 2 }), 'endless headers fail');
is(scalar(received($id{huge})), 1, 'an endless body is a success');

ok(soon(sub { received($hanging) == 2 }, 20), 'the slow one is tried again');
@tries = received($hanging);
cmp_ok($tries[1]{time} - $tries[0]{time}, '>', 9.5, 'after its time-out');
ok(soon(sub { !grep { received($_) < 2 } @many }, 60),
    'others of that host as well');


# What runs when it ends is finished or stays on the list.

$s->stop('events');
start();
my $running = fire('slow');
ok(soon { received($running) }, 'one that hangs');
$began = time;
is($s->stop('events'), 0, 'SIGTERM meanwhile: exit status 0');
cmp_ok(time - $began, '<', 8 * slow, 'soon');
ok($s->cmd('ZSCORE', $s->rkey('events:retry'), $running), 'it stays');


# TLS: the right CA and name, or none.

SKIP: {
    skip 'IO::Socket::SSL is missing', 5 if !eval { require IO::Socket::SSL };

    my $ca = $s->ca('hook-ca');
    my %tls;

    for my $case (['good', 'IP:127.0.0.1'], ['bad', 'DNS:other.test']) {
        my ($name, $names) = @$case;
        my ($cert, $cert_key) = @{ $s->cert('hook-ca', "tls-$name",
            names => $names) };

        $tls{$name} = $s->fake("tls-$name", sub {
            my ($socket) = @_;

            IO::Socket::SSL->start_SSL($socket, SSL_server => 1,
                SSL_cert_file => $cert, SSL_key_file => $cert_key) or return;
            receive($socket, HoodyAI::System::_request($socket));
        }, raw => 1);
    }

    write_rules([@rules, map { hook("tls-$_", "https://$tls{$_}", '/ok') }
        sort keys %tls]);
    start('--webhook-ca', $ca);

    my ($fine, $wrong) = (fire('tls-good'), fire('tls-bad'));

    ok(soon { received($fine) }, 'TLS with a certificate of the CA');
    ok(soon { dead($wrong) }, 'not with another name');
    is(scalar(received($wrong)), 0, 'which gets nothing');
    $s->stop('events');

    start();
    my $unknown = fire('tls-good');
    ok(soon { dead($unknown) }, 'not with a CA that is not trusted');
    is(scalar(received($unknown)), 0, 'which gets nothing');
}


# What is wrong with the command line is said before anything happens.

for my $case (
    ['--webhook-allow', '10.0.0.1/8', qr/10\.0\.0\.1\/8.*bits/],
    ['--webhook-allow', 'host', qr/"host": not an address/],
    ['--webhook-attempts', '0', qr/webhook-attempts/],
    ['--log-level', 'loud', qr/loud/],
    ['--server', 'no*de', qr/"no\*de" is no name for a server/],
    ['--redis', 'unix:', qr/unix:/],
    ['--webhook-ca', '/nowhere', qr/\/nowhere/],
    ['--audit-log', $s->{dir}, qr/audit log/],
) {
    my ($option, $value, $message) = @$case;
    my $output = `'$program' --server sys $option '$value' 2>&1`;

    isnt($?, 0, "$option $value: refused");
    like($output, $message, 'with a message');
}

$s->finish;
