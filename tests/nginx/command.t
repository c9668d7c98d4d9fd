#!/usr/bin/perl

# The command hoody-ai against the control API, without a runtime: what it
# sends, what it prints, how it ends.  The lines of the platform's
# documentation are here as they are written there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use Encode qw(encode);
use JSON::PP;
use Test::More;

use HoodyAI::Control;
use HoodyAI::System qw(slurp spew wait_for);

my $s = HoodyAI::System->new;

$s->redis;
$s->provider;

my $c = HoodyAI::Control->new($s);

$s->nginx(http => sub { $s->default_http . $c->server });

my $project = 'a' x 24;
my $other = 'b' x 24;
my $program = $s->program('hoody-ai');
my $url = "http://127.0.0.1:$c->{port}";

delete @ENV{qw(HOODY_TOKEN NO_COLOR http_proxy)};

# Returns exit status, standard output, standard error; the first argument may
# be a hash of variables.
sub run {
    my %variable = ref $_[0] ? %{ shift() } : ();

    return $s->output({ env => \%variable }, $program, @_);
}

# The same, on the socket: as root.
sub local_run {
    my @words = @_;
    my %variable = ref $words[0] ? %{ shift @words } : ();

    return run(\%variable, @words, '--api', $c->{socket});
}

sub json_of {
    my @got = local_run(@_, '-o', 'json');

    is($got[0], 0, "@_: fine");
    is($got[2], '', "@_: nothing to say");

    return eval { decode_json($got[1]) };
}

sub ok_run {
    my ($status, $out, $err) = local_run(@_);

    is($status, 0, "@_: fine") or diag $err;

    return $out;
}

sub fails {
    my ($status, $pattern, @words) = @_;
    my ($got, $out, $err) = run(@words);
    my $name = join ' ', grep { !ref } @words;

    is($got, $status, "$name: status $status");
    like($err, $pattern, "$name: why");
    is($out, '', "$name: and nothing else");
}


# create, get, update, delete

my $made = json_of(qw(containers create --name dev-env --project), $project,
    qw(--address 127.0.0.1 --tag prod --tag eu --env A=1 --env NO=x=y
    --comment), 'for people', '--color', '#A1B2C3', '--number', '7');
my $id = $made->{id};

like($id, qr/\A[0-9a-f]{24}\z/, 'a container is made');
ok($made->{ai}, 'with AI, because nobody said no');
is_deeply($made->{tags}, ['prod', 'eu'], 'its tags');
is_deeply($made->{environment_vars}, { A => '1', NO => 'x=y' },
    'its variables');
is(wait_for { $s->chat_ask->{status} == 200 }, 1, 'it may use AI');

is_deeply(json_of(qw(containers get dev-env)), $made, 'by its name');
is_deeply(json_of(qw(containers get), $id), $made, 'by its id');

ok(!json_of(qw(containers update --no-ai dev-env))->{ai}, '--no-ai');
is(wait_for { $s->chat_ask->{status} == 403 }, 1, 'ends its access');

# as the platform's documentation has it
like(ok_run('containers', 'update', $id, '--ai'), qr/dev-env +yes/, '--ai');
is(wait_for { $s->chat_ask->{status} == 200 }, 1, 'gives it back');

{
    my $got = json_of(qw(containers update dev-env --comment), '', '--autostart');

    is($got->{comment}, undef, 'an empty value takes one away');
    is_deeply($got->{tags}, ['prod', 'eu'], 'the rest stays');
    is_deeply(json_of(qw(containers update dev-env --tag), '')->{tags}, [],
        'of a list all');
    ok($got->{autostart}, 'what was given is set');
    is($got->{color}, '#A1B2C3', 'the rest stays');
}

for my $case ([stop => 'stopped'], [start => 'running'], [pause => 'paused'],
    [resume => 'running'], ['force-stop' => 'stopped'],
    [restart => 'running'])
{
    is(ok_run('containers', $case->[0], 'dev-env'), '', 'nothing to show');
    is(json_of(qw(containers get dev-env))->{status}, $case->[1],
        "$case->[0]: done");
}

ok(!json_of(qw(containers create --name quiet-1 --no-ai))->{ai},
    'made without AI');


# lists, of more than one page

for my $n (1 .. 205) {
    my $status = $c->call('POST', "/projects/$other/containers", json => {
        name => sprintf('list-%03d', $n),
        ai => $n % 2 ? JSON::PP::true : JSON::PP::false })->{status};

    $status == 201 or die "list-$n: $status\n";
}

{
    my $all = json_of(qw(containers list --sort-by name));
    my %seen;

    $seen{$_->{id}}++ for @$all;
    is(scalar @$all, 207, 'all pages');
    is(scalar(keys %seen), 207, 'each of them once');
    is_deeply([map { $_->{name} } @$all],
        [sort map { $_->{name} } @$all], 'sorted');

    is(scalar @{ json_of(qw(containers list --ai)) }, 104, 'with AI');
    is(scalar @{ json_of(qw(containers list --no-ai)) }, 103, 'without');
    is(scalar @{ json_of(qw(containers list --project), $project) }, 1,
        'of a project');
    is(json_of(qw(containers list --name list-007))->[0]{name}, 'list-007',
        'by name');
    is_deeply(json_of(qw(containers list --status stopped)), [], 'by status');
    is(json_of(qw(containers list --sort-by name --sort-order desc))->[0]{name},
        'quiet-1', 'the other way round');

    # as the platform's documentation has it
    my $line = q(containers list -o json | jq '.[] | select(.ai) | {name, ai}');
    my @shown = split /(?<=\})\n/,
        `$program --version >/dev/null && PATH="\$PATH" sh -c '
            hoody() { "$program" "\$@" --api "$c->{socket}"; }
            hoody containers list -o json' | jq '.[] | select(.ai) | {name, ai}'`;

    is($?, 0, $line);
    is(scalar @shown, 104, 'shows those with AI');
    is_deeply([sort map { join ' ', sort keys %{ decode_json($_) } } @shown]
        ->[0], 'ai name', 'name and switch');
}


# how it is printed

{
    my @lines = split /\n/, ok_run(qw(containers list --project), $project);

    is(scalar @lines, 2, 'a table: titles, one container');
    like($lines[0], qr/^ID +NAME +AI +STATUS +ADDRESSES +TAGS *\z/, 'titles');
    like($lines[1], qr/^$id +dev-env +yes +running +127\.0\.0\.1 *\z/, 'line');
    is(index($lines[0], 'NAME'), index($lines[1], 'dev-env'), 'in columns');
    unlike("@lines", qr/\e/, 'no colours for a pipe');

    is(ok_run(qw(containers list -o name --project), $project), "dev-env\n",
        'names');
    is(ok_run(qw(containers get dev-env --output name)), "dev-env\n", 'name');
}

sub yaml_of {
    my ($text) = @_;

    spew("$s->{dir}/in.yaml", $text);

    my $json = `python3 -c 'import json, sys, yaml
print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding="utf-8"))))' \\
        $s->{dir}/in.yaml`;

    return eval { decode_json($json) };
}

{
    $c->call('PATCH', "/containers/$id", json => {
        comment => "two: lines\n- \"quoted\" \x{fc}\x{263a} # not a comment",
        tags => ['a', 'no', '1'], environment_vars => { NO => 'no', Y => '1',
            A => ': x' } });

    is_deeply(yaml_of(ok_run(qw(containers get dev-env -o yaml))),
        json_of(qw(containers get dev-env)), 'YAML says the same as JSON');
    is_deeply(yaml_of(ok_run(qw(containers list -o yaml --sort-by name))),
        json_of(qw(containers list --sort-by name)), 'a list too');
    is_deeply(yaml_of(ok_run(qw(containers list -o yaml --name nobody-1))), [],
        'an empty one');
}

# what is in the registry may come from anywhere
{
    my $evil = "x\e]0;title\a\e[2Jy\x7f\x{9b}31mz";

    $s->cmd('HSET', $s->rkey('container:dev-env'), 'comment',
        encode('UTF-8', $evil), 'tags', encode('UTF-8', "tag\e[2J\x{9b}2J"));

    for my $format (qw(table json yaml name)) {
        for my $words (['get', 'dev-env'], ['list']) {
            my $out = ok_run('containers', @$words, '-o', $format);

            unlike($out, qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]/,
                "$format, $words->[0]: no control character");
        }
    }

    is(json_of(qw(containers get dev-env))->{comment}, $evil,
        'and JSON still says what it is');
    is(yaml_of(ok_run(qw(containers get dev-env -o yaml)))->{comment}, $evil,
        'YAML too');
    $c->call('PATCH', "/containers/$id", json => { comment => undef,
        tags => [] });
}


# who asks

my $read = $c->token('read');
my $write = $c->token('write');
my @there = ('--api', $url);

fails(1, qr/Authentication token is missing \(401/,
    qw(containers list), @there);
fails(1, qr/Invalid token \(401/, { HOODY_TOKEN => 'hdy_' . 'A' x 43 },
    qw(containers list), @there);

{
    my ($status, $out) = run({ HOODY_TOKEN => $read },
        qw(containers list --project), $project, '-o', 'name', @there);

    is("$status $out", "0 dev-env\n", 'HOODY_TOKEN');
    fails(1, qr/\(403/, { HOODY_TOKEN => $read },
        qw(containers update dev-env --no-ai), @there);
    ok(json_of(qw(containers get dev-env))->{ai}, 'nothing happened');

    my $file = "$s->{dir}/token";

    spew($file, "$write\n", 0600);
    ($status, $out) = run({ HOODY_TOKEN => $read },
        qw(containers update dev-env --comment x -o name), @there,
        '--token-file', $file);
    is("$status $out", "0 dev-env\n", '--token-file, which wins');
    fails(2, qr/No such file/, qw(containers list --token-file),
        "$s->{dir}/nothing", @there);
    fails(1, qr/\(401/, { HOODY_TOKEN => 'nonsense' }, qw(containers list
        --api), $c->{socket});
}


# what cannot be

my @here = ('--api', $c->{socket});

fails(1, qr/there is no container "nobody"/, qw(containers get nobody), @here);
fails(1, qr/not found \(404/, qw(containers get), 'c' x 24, @here);
fails(1, qr/there is no container/, qw(containers update nobody --ai), @here);
fails(1, qr/already used/, qw(containers create --name dev-env), @here);
fails(1, qr/color/, qw(containers update dev-env --color red), @here);
fails(1, qr/\(503|there is no container/, qw(containers delete nobody), @here);
fails(2, qr/yes and no/, qw(containers update dev-env --ai --no-ai), @here);
fails(2, qr/yes and no/, qw(containers list --ai --no-ai), @here);
fails(2, qr/nothing is to be changed/, qw(containers update dev-env), @here);
fails(2, qr/one container/, qw(containers update --ai), @here);
fails(2, qr/one container/, qw(containers get a b), @here);
fails(2, qr/a container is wanted/, qw(containers stop), @here);
fails(2, qr/NAME=VALUE/, qw(containers update dev-env --env A), @here);
fails(2, qr/table, json, yaml or name/, qw(containers list -o xml), @here);
fails(2, qr/-c is missing/, qw(snapshots list), @here);
fails(2, qr/--name is missing/, qw(snapshots restore -c dev-env), @here);
fails(2, qr/there is no "fly"/, qw(containers fly));
fails(2, qr/there is no "cows"/, 'cows');
fails(3, qr/needs a runtime|no runtime|runtime/i,
    qw(snapshots list -c dev-env), @here);
fails(3, qr/connect/i, qw(containers list --api), "$s->{dir}/nothing.sock");
fails(3, qr/connect/i, qw(containers list --api), 'http://127.0.0.1:1');
fails(3, qr/not in the API's words/, qw(containers list --api),
    'http://' . $s->address);

# one of several that does not exist
{
    my ($status, undef, $err) = local_run(qw(containers stop nobody dev-env));

    is($status, 1, 'one of two');
    like($err, qr/"nobody"/, 'which');
    is(json_of(qw(containers get dev-env))->{status}, 'stopped',
        'the other one is stopped');
}

is(ok_run(qw(containers delete dev-env quiet-1)), '', 'two are deleted');
fails(1, qr/there is no container/, qw(containers get dev-env), @here);
is(wait_for { $s->chat_ask->{status} == 401 }, 1, 'the token is dead');


# the audit

{
    my $log = json_of(qw(audit log --limit 1000));
    my ($deleted) = grep { $_->{action} eq 'container.delete'
        && $_->{container} eq 'dev-env' } @$log;

    is($deleted->{who}, "uid:$>", 'who deleted it');
    my $may = json_of(qw(audit list));

    is(scalar @$may, 103, 'who may use AI');
    like($may->[0]{ai_since}, qr/^\d{4}-.*Z\z/, 'since when');
    is($may->[0]{last_used_at}, undef, 'and has not');
    like(ok_run(qw(audit list)), qr/^NAME +STATUS +SINCE +LAST USED/, 'a table');
    like(ok_run(qw(audit log --limit 3)), qr/^TIME +WHO +ACTION/, 'a table');
    is(scalar(grep { $_->{container_id} ne $id }
        @{ json_of(qw(audit log -c), $id) }), 0, 'of one container');
}

# every subcommand tells what it is
{
    my (undef, $text) = run('--help');
    my @commands = map { /^  ([a-z]+ [a-z-]+) / ? $1 : () } split /\n/, $text;

    cmp_ok(scalar @commands, '>=', 20, 'there are commands');

    for my $command (@commands) {
        my ($status, $out) = run(split(/ /, $command), '--help');

        is($status, 0, "$command --help");
        like($out, qr/^Usage: hoody-ai/m, 'says how');
    }
}

is($c->stop, 0, 'it ends');
fails(3, qr/does not answer \(503/, qw(containers list), @here);
$s->finish;
