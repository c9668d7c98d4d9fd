#!/usr/bin/perl

# The control API: containers, who may do what, the audit.  Without a runtime:
# creating registers only.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
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
my $write = $c->token('write');
my $read = $c->token('read');
my $mine = $c->token("write:$project");
my $look = $c->token("read:$project");

sub code { my ($answer) = @_; "$answer->{status}" }

sub create {
    my (%field) = @_;
    my $in = delete $field{project} // $project;

    return $c->call('POST', "/projects/$in/containers", json => \%field);
}

sub envelope_ok {
    my ($answer, $status, $name) = @_;
    my $json = $answer->{json};

    is($answer->{status}, $status, $name);
    is($json->{statusCode}, $status, "$name: in the envelope");
    ok(defined $json->{message}, "$name: with a message");

    if ($status >= 400) {
        ok(defined $json->{error}, "$name: and what kind of error");
    } else {
        ok(exists $json->{data}, "$name: and data");
        ok(!exists $json->{error}, "$name: without an error");
    }

    return $json->{data};
}


# health, and what is not there

envelope_ok($c->call('GET', '/health', token => ''), 200, 'health');
envelope_ok($c->call('GET', '/nothing'), 404, 'another path');

{
    my $answer = $c->call('DELETE', '/containers');

    envelope_ok($answer, 405, 'another method');
    is($answer->{headers}{allow}, 'GET, HEAD', 'what is allowed');
}


# the life of a container

my $id;

{
    my $data = envelope_ok(create(name => 'dev-env', ai => JSON::PP::true,
        addresses => ['127.0.0.1'], number => '7', tags => ['prod', 'eu'],
        comment => "line\nline", environment_vars => { SECRET_VAR => 'hush' },
        color => '#A1B2C3'), 201, 'create');

    $id = $data->{id};
    like($id, qr/\A[0-9a-f]{24}\z/, 'an id of 24 hex digits');
    is($data->{name}, 'dev-env', 'its name');
    is($data->{project_id}, $project, 'its project');
    is($data->{status}, 'running', 'it runs');
    ok($data->{ai}, 'its AI is on');
    is_deeply($data->{addresses}, ['127.0.0.1'], 'addresses');
    is_deeply($data->{tags}, ['prod', 'eu'], 'tags');
    is($data->{number}, '7', 'number');
    is_deeply($data->{environment_vars}, { SECRET_VAR => 'hush' },
        'variables');
    like($data->{created_at},
        qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\z/, 'when');

    is(wait_for { $s->chat_ask->{status} == 200 }, 1, 'it may use AI at once');

    my $got = $c->call('GET', "/containers/$id");

    is_deeply(envelope_ok($got, 200, 'get'), $data, 'the same');
    like($got->{headers}{etag}, qr/\A"\d+"\z/, 'with its version');
    is($got->{headers}{'cache-control'}, 'no-store', 'not to be cached');
}

{
    my $data = envelope_ok($c->call('PATCH', "/containers/$id",
        json => { ai => JSON::PP::false }), 200, 'AI off');

    ok(!$data->{ai}, 'is off');
    is_deeply($data->{tags}, ['prod', 'eu'], 'the rest stays');
    is(wait_for { $s->chat_ask->{status} == 403 }, 1, 'nothing is admitted');

    envelope_ok($c->call('PUT', "/containers/$id",
        json => { ai => JSON::PP::true, comment => undef }), 200, 'PUT merges');
    is(wait_for { $s->chat_ask->{status} == 200 }, 1, 'admitted again');

    $data = envelope_ok($c->call('PATCH', "/containers/$id",
        json => { name => 'new-name' }), 200, 'rename');
    is($data->{id}, $id, 'the same container');
    is(wait_for { $s->chat_ask->{status} == 401 }, 1, 'the old token is dead');
    is($s->chat_ask(token => 'new-name')->{status}, 200, 'the new one lives');
    $c->call('PATCH', "/containers/$id", json => { name => 'dev-env' });
}

{
    my $version = $c->call('GET', "/containers/$id")->{headers}{etag};

    is(code($c->call('PATCH', "/containers/$id", json => { comment => 'a' },
        headers => ['If-Match', $version])), 200, 'of the version seen');
    is(code($c->call('PATCH', "/containers/$id", json => { comment => 'b' },
        headers => ['If-Match', $version])), 412, 'changed meanwhile');
    is($c->call('GET', "/containers/$id")->{json}{data}{comment}, 'a',
        'nothing happened');
    $c->{deep} = 1;
    is(code($c->call('PATCH', "/containers/$id", json => { comment => 'b' },
        headers => ['If-Match', 'x'])), 400, 'no version');
    $c->{deep} = 0;
}

for my $operation (qw(stop start pause resume restart force-stop start)) {
    my $data = envelope_ok($c->call('POST', "/containers/$id/$operation"), 200,
        $operation);
    my %status = (stop => 'stopped', 'force-stop' => 'stopped',
        pause => 'paused');
    my $want = $status{$operation} // 'running';

    is($data->{operation}, $operation, 'its name');
    is($data->{container_id}, $id, 'whose');
    is($data->{status}, $want, 'and how it is now');
    is($c->call('GET', "/containers/$id")->{json}{data}{status}, $want,
        'so it is');
    is(wait_for { $s->chat_ask->{status}
        == ($want eq 'running' ? 200 : 401) }, 1, 'for the gateway too');
}


# who may use AI, since when, and when it was last used

{
    my ($start) = map { $_->{json}{data}{created_at} }
        $c->call('GET', "/containers/$id");
    my $ai = sub { envelope_ok($c->call('GET', '/audit/ai'), 200, 'who has AI')
        ->{containers} };
    my $used;

    is($s->chat_ask->{status}, 200, 'a request');
    ok(wait_for { $used = $ai->()->[0]{last_used_at} }, 'is known');

    my $one = $ai->()->[0];

    is($one->{name}, 'dev-env', 'who');
    cmp_ok($one->{ai_since}, 'gt', $start, 'since it was switched on again');
    cmp_ok($used, 'gt', $one->{ai_since}, 'used after that');
    is($s->chat_ask->{status}, 200, 'another request');
    ok(wait_for { $ai->()->[0]{last_used_at} gt $used }, 'is the last one');

    $c->call('PATCH', "/containers/$id", json => { ai => JSON::PP::false });
    is_deeply($ai->(), [], 'nobody');

    # written by somebody else: nobody knows when
    $s->enable('dev-env');
    is($ai->()->[0]{ai_since}, undef, 'not since what was said before');
    $c->call('PATCH', "/containers/$id", json => { ai => JSON::PP::false });
    $c->call('PATCH', "/containers/$id", json => { ai => JSON::PP::true });
    is(wait_for { $s->chat_ask->{status} == 200 }, 1, 'on again');
}


# what is not right

# addresses, numbers and control characters are more than a schema can say
$c->{deep} = 1;

for my $case ([{ name => 'ab' }, 'name'], [{ name => 'a b c' }, 'name'],
    [{ name => 'x' x 101 }, 'name'], [{ name => 5 }, 'name'],
    [{ name => 'ok-1', ai => 'yes' }, 'ai'],
    [{ name => 'ok-1', addresses => ['300.1.1.1'] }, 'addresses'],
    [{ name => 'ok-1', addresses => '127.0.0.2' }, 'addresses'],
    [{ name => 'ok-1', addresses => ['10.0.0.1 10.0.0.2'] }, 'addresses'],
    [{ name => 'ok-1', color => 'red' }, 'color'],
    [{ name => 'ok-1', number => '007' }, 'number'],
    [{ name => 'ok-1', comment => 'x' x 16001 }, 'comment'],
    [{ name => 'ok-1', environment_vars => { '1A' => 'x' } },
        'environment_vars'],
    [{ name => 'ok-1', environment_vars => { A => '' } }, 'environment_vars'],
    [{ name => 'ok-1', unknown => 1 }, 'unknown'],
    [{ name => 'ok-1', status => 'running' }, 'status'],
    [{ name => 'ok-1', id => 'c' x 24 }, 'id'],
    [{ name => 'ok-1', limit_rpm => -1 }, 'limit_rpm'],
    [{ name => 'ok-1', tags => ["a\nb"] }, 'tags'])
{
    my ($body, $field) = @$case;
    my $answer = create(%$body);

    is($answer->{status}, 400, encode_json($body) . ': refused');
    like($answer->{json}{message}, qr/\Q$field\E/, "because of $field");
}

$c->{deep} = 0;

is(code($c->call('POST', "/projects/$project/containers", body => '{"a":')),
    400, 'no JSON');
is(code($c->call('POST', "/projects/$project/containers", body => '[]')), 400,
    'no object');
is(code($c->call('POST', "/projects/$project/containers",
    body => '{"name":"abc","name":"abd"}')), 400, 'a key twice');
is(code($c->call('POST', "/projects/$project/containers", body => '{}',
    headers => ['Content-Type', 'text/plain'])), 415, 'another type');
is(code($c->call('POST', "/projects/$project/containers",
    body => '{"comment":"' . 'x' x 1_100_000 . '"}')), 413, 'too much');
is(code($c->call('PATCH', "/containers/$id")), 400, 'no body');
is(code(create(name => 'dev-env')), 409, 'a name that is taken');
is(code(create(name => 'other-1', addresses => ['127.0.0.1'])), 409,
    'an address that is taken');
is(code(create(name => 'other-1', number => '7')), 409,
    'a number that is taken');
is(code($c->call('GET', '/containers/xyz')), 400, 'no id');
is(code($c->call('GET', '/containers/' . 'c' x 24)), 404, 'nobody\'s id');
is(code($c->call('POST', '/projects/xyz/containers', body => '{}')), 400,
    'no project');
is(code($c->call('GET', "/containers/$id%2f..")), 400, 'an encoded slash');
is(code($c->call('GET', "/containers/$id/snapshots")), 503,
    'snapshots need a runtime');
is($c->call('GET', "/containers/$id/snapshots")->{json}{error},
    'SNAPSHOT_INVENTORY_UNAVAILABLE', 'and it is said how');


# lists

create(name => sprintf('list-%02d', $_), project => $other,
    ai => $_ % 2 ? JSON::PP::true : JSON::PP::false) for 1 .. 25;

{
    my $data = envelope_ok($c->call('GET', '/containers/'), 200, 'list');

    is(scalar @{ $data->{containers} }, 20, '20 of them');
    is_deeply($data->{pagination},
        { total => 26, page => 1, limit => 20, totalPages => 2 }, 'of 26');

    my %seen;

    for my $page (1 .. 4) {
        my $list = $c->call('GET', "/containers?limit=7&page=$page"
            . '&sort_by=name&sort_order=desc')->{json}{data}{containers};
        my @names = map { $_->{name} } @$list;

        is_deeply([sort { $b cmp $a } @names], \@names, "page $page: sorted");
        $seen{$_}++ for @names;
    }

    is(scalar(keys %seen), 26, 'all on one page or another');
    is(scalar(grep { $_ > 1 } values %seen), 0, 'none on two');
    is(scalar @{ $c->call('GET', '/containers?page=99')
        ->{json}{data}{containers} }, 0, 'beyond the end');

    is($c->call('GET', "/projects/$other/containers?limit=1")
        ->{json}{data}{pagination}{total}, 25, 'of one project');
    is($c->call('GET', '/containers?ai=true')->{json}{data}{pagination}{total},
        14, 'with AI');
    is($c->call('GET', '/containers?name=list-07')
        ->{json}{data}{containers}[0]{name}, 'list-07', 'by name');
    is($c->call('GET', '/containers?name=a%20b')
        ->{json}{data}{pagination}{total}, 0, 'by no name');

    for my $query ('limit=0', 'limit=101', 'limit=x', 'page=0', 'sort_by=ai',
        'sort_order=up', 'limit=1&limit=2', 'ai=1', 'name=%zz')
    {
        is(code($c->call('GET', "/containers?$query")), 400, "$query: refused");
    }
}


# who may do what

{
    my $there = $c->call('GET', '/containers?name=list-01')
        ->{json}{data}{containers}[0]{id};
    my %who = (nobody => '', wrong => 'hdy_' . 'A' x 43, read => $read,
        write => $write, mine => $mine, look => $look);
    my @cases = (
        # what, then what each of them gets
        ['GET', '/containers', undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 200, look => 200],
        ['GET', "/containers/$id", undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 200, look => 200],
        ['GET', "/containers/$there", undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 404, look => 404],
        ['PATCH', "/containers/$id", { comment => 'x' },
            nobody => 401, wrong => 401, read => 403, write => 200,
            mine => 200, look => 403],
        ['PATCH', "/containers/$there", { comment => 'x' },
            nobody => 401, wrong => 401, read => 403, write => 200,
            mine => 404, look => 403],
        ['POST', "/containers/$there/stop", undef,
            nobody => 401, wrong => 401, read => 403, write => 200,
            mine => 404, look => 403],
        ['POST', "/projects/$other/containers", { name => 'no-1' },
            nobody => 401, wrong => 401, read => 403, write => 201,
            mine => 404, look => 403],
        ['DELETE', "/containers/$there", undef,
            nobody => 401, wrong => 401, read => 403, mine => 404,
            look => 403, write => 200],
        ['GET', '/audit', undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 200, look => 200],
        ['GET', '/audit/ai', undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 200, look => 200],
        ['GET', '/ai/models', undef,
            nobody => 401, wrong => 401, read => 200, write => 200,
            mine => 200, look => 200],
    );

    for my $case (@cases) {
        my ($method, $path, $body, @want) = @$case;

        while (my ($who, $status) = splice @want, 0, 2) {
            is(code($c->call($method, $path, token => $who{$who},
                $body ? (json => $body) : ())), $status,
                "$method $path by $who");
        }
    }

    is_deeply([map { $_->{name} } @{ $c->call('GET', '/containers',
        token => $look)->{json}{data}{containers} }], ['dev-env'],
        'a list has what may be read');
    is_deeply([map { $_->{name} } @{ $c->call('GET', '/audit/ai',
        token => $look)->{json}{data}{containers} }], ['dev-env'],
        'so has who may use AI');
    is(scalar(grep { ($_->{project_id} // '') ne $project }
        @{ $c->call('GET', '/audit?limit=1000', token => $look)
        ->{json}{data}{entries} }), 0, 'so has the audit');
}

is($c->call('GET', '/containers', token => '')->{json}{message},
    'Authentication token is missing', 'no token');
is($c->call('GET', '/containers', token => 'x')->{json}{message},
    'Invalid token', 'no such token');
is(code($c->call('GET', '/containers', token => '',
    headers => ['Authorization', $read])), 200, 'a bare token');
is(code($c->call('GET', '/containers', token => '',
    headers => ['Hoody-Peer-Uid', '0', 'HOODY_PEER_UID', '0'])), 401,
    'a header is no uid');

# a token is worth nothing on the socket either, where it is a wrong one
is(code($c->call('GET', '/containers', headers =>
    ['Authorization', 'Bearer nonsense'])), 401, 'root with a wrong token');

{
    my $token = $c->token('read');
    my ($last) = $c->tokens =~ /"id": "(tok-[\w-]+)"(?!.*"id")/s;
    my $program = $s->program('hoody-ai');

    is(code($c->call('GET', '/containers', token => $token)), 200, 'a token');
    is(system($program, 'tokens', 'delete', '--tokens', $c->{file}, $last), 0,
        'taken back');
    is(code($c->call('GET', '/containers', token => $token)), 401,
        'is worth nothing at once');
    unlike($c->tokens, qr/hdy_/, 'no token is in the file');
    is((stat $c->{file})[2] & 0777, 0600, 'which is for its owner');
}

# the data port knows nothing of all this
is($s->ask('GET', '/api/v1/containers')->{status}, 404,
    'not on the port of the containers');


# delete

{
    my $answer = $c->call('DELETE', "/containers/$id");

    envelope_ok($answer, 200, 'delete');
    is($answer->{json}{data}, undef, 'without data');
    is(code($c->call('GET', "/containers/$id")), 404, 'gone');
    is(wait_for { $s->chat_ask->{status} == 401 }, 1, 'its token is dead');
    is(code($c->call('DELETE', "/containers/$id")), 404, 'a second time');
}


# the audit

{
    my $data = envelope_ok($c->call('GET', '/audit?limit=1000'), 200, 'audit');
    my @entries = @{ $data->{entries} };
    my ($created) = grep { $_->{action} eq 'container.create'
        && $_->{container_id} eq $id } @entries;
    my ($off) = grep { $_->{action} eq 'container.update'
        && $_->{container_id} eq $id && $_->{before}{ai}
        && !$_->{after}{ai} } @entries;
    my ($refused) = grep { $_->{status} == 403 } @entries;
    my @lines = map { decode_json($_) } split /\n/, slurp($c->{audit});

    ok($created, 'the creation is in it');
    is($created->{who}, "uid:$>", 'and who did it');
    is($created->{status}, 201, 'and what came of it');
    ok($off, 'what was before and after');
    ok($refused, 'what was refused');
    like($refused->{who}, qr/\Atoken:tok-/, 'to whom');
    cmp_ok(scalar @lines, '>=', scalar @entries, 'the file has it all');
    unlike(slurp($c->{audit}) . encode_json(\@entries), qr/hush/,
        'no value of a variable');
    is(scalar(grep { $_->{container_id} ne $id }
        @{ $c->call('GET', "/audit?container=$id")->{json}{data}{entries} }),
        0, 'of one container');
}


# every operation of the file, with what cannot be right

for my $path (sort keys %{$c->openapi->{paths}}) {
    my $operations = $c->openapi->{paths}{$path};

    for my $method (sort keys %$operations) {
        my $operation = $operations->{$method};
        my $verb = uc $method;
        my $body = $operation->{requestBody};
        my %wrong = (name => 'no-snapshot', id => 'c' x 24, project => $other);
        my $at = $path =~ s{^/api/v1}{}r =~ s/\{(\w+)\}/$wrong{$1}/gr;
        my $name = $operation->{operationId};

        next if $name eq 'health';

        is(code($c->call($verb, $at, token => '')), 401, "$name: no token");
        is(code($c->call($verb, $at, token => $write . 'x')), 401,
            "$name: nearly a token");
        is(code($c->call($verb, $at, token => $read)), 403,
            "$name: a token that may only read")
            if $operation->{'x-hoody-scope'} eq 'write';

        if ($path =~ /\{id\}/) {
            is(code($c->call($verb, $at =~ s/c{24}/C23/r)), 400,
                "$name: no id");
            is(code($c->call($verb, $at, $body ? (json => { alias => 'x' })
                : ())), 404, "$name: nobody's id") if $name !~ /^(patch|update)C/;
        }

        if ($body) {
            is(code($c->call($verb, $at, body => '{"x":', json => undef)), 400,
                "$name: no JSON");
            is(code($c->call($verb, $at, body => 'x=1', headers =>
                ['Content-Type', 'application/x-www-form-urlencoded'])), 415,
                "$name: a form");
        }
    }
}

$c->contract_ok;


# Redis goes and comes back

$s->stop('redis');
envelope_ok($c->call('GET', '/containers'), 503, 'no registry');
envelope_ok($c->call('GET', '/health', token => ''), 503, 'not healthy');
$s->redis;
is(wait_for { code($c->call('GET', '/containers')) == 200 }, 1, 'back');

is($c->stop, 0, 'it ends');
envelope_ok($c->call('GET', '/containers'), 503, 'nobody answers');
ok(!-e $c->{fcgi}, 'and takes its socket along');

$s->finish;
