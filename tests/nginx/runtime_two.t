#!/usr/bin/perl

# Two hoody-ai-control on one registry and one podman, as two gateways of a
# host have it, or the old one and the new one of a restart: what one does the
# other neither undoes nor does again, and tells nobody a second time.
#
# asan: no, most of it is podman

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::Registry;
use HoodyAI::System qw(slurp wait_for);

HoodyAI::Net->enter('two control programs', qw(podman runc nsenter cc),
    { pids => 1 });

my $s = HoodyAI::System->new;
my $podman = HoodyAI::Podman->new($s, 'two control programs');
my $r = HoodyAI::Registry->new($s);
my $project = 'a' x 24;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

$podman->run(qw(network create --internal --subnet 10.97.0.0/24 --gateway
    10.97.0.1 gwt));
$s->redis;
$s->provider;

my @runtime = ('--runtime', 'docker=' . $podman->service . ',network=gwt',
    '--lock-file', "$s->{dir}/control.lock");
my @c = map { HoodyAI::Control->new($s, name => $_, args => [@runtime]) }
    qw(control-a control-b);

$s->nginx(level => 'info', http => sub {
    join '', $s->default_http, map { $_->server } @c });
is($_->call('GET', '/containers')->{status}, 200, "$_->{name} works") for @c;

# Calls of both at once: [a or b, method, path, body], answered in this order.
sub at_once {
    my @calls = map {
        my ($c, $method, $path, $body) = @$_;
        my $socket = IO::Socket::UNIX->new(Peer => $c[$c]{socket})
            or die "$c[$c]{socket}: $!\n";

        $body = $body ? encode_json($body) : '';
        [$socket, "$method /api/v1$path HTTP/1.1\r\nHost: a\r\n"
            . "Connection: close\r\nContent-Type: application/json\r\n"
            . 'Content-Length: ' . length($body) . "\r\n\r\n$body"];
    } @_;

    for (@calls) {
        print { $_->[0] } $_->[1];
        $_->[0]->flush;
    }

    return map {
        my $text = do { local $/; readline $_->[0] } // '';
        my ($status) = $text =~ m{\AHTTP/1.1 (\d+) };
        my ($json) = $text =~ /\r\n\r\n(.*)\z/s;

        { status => $status // 0, json => eval { decode_json($json) } };
    } @calls;
}

sub statuses { join ' ', sort map { $_->{status} } @_ }

sub find {
    my ($name, $c) = @_;

    return $c[$c // 0]->call('GET',
        "/containers?name=$name&include_deleting=true")
        ->{json}{data}{containers}[0];
}

# podman's containers: name => id of the label
sub instances {
    return map { $_->{Names}[0] => $_->{Labels}{'hoody.id'} // '' }
        @{ decode_json($podman->run(qw(ps -a --format json))) };
}

sub running { join ' ', sort { $a cmp $b }
    split /\n/, $podman->run(qw(ps --format {{.Names}})) }

# What the audit says of a container: "who action status".
sub audit {
    my ($id) = @_;
    my @entry;

    for (@{ $s->cmd('XRANGE', $s->rkey('audit'), '-', '+') || [] }) {
        my %field = @{$_->[1]};
        my $entry = decode_json($field{entry});

        push @entry, $entry if ($entry->{container_id} // '') eq $id;
    }

    return @entry;
}

sub acted { join ', ', map { "$_->{action} " . ($_->{status} // '') } audit(@_) }

sub create {
    my ($c, $name, %field) = @_;
    my $answer = $c[$c]->call('POST', "/projects/$project/containers", json => {
        name => $name, container_image => 'localhost/agent:1', %field });

    $answer->{status} == 201 or die "$name: $answer->{body}\n";

    return $answer->{json}{data};
}

# As long as it takes both to have seen all that happened.
sub settle {
    my ($before, $now) = '';

    wait_for { $now = join ' ', map { "$_->{name} $_->{status} @{$_->{addresses}}" }
        @{ $c[0]->call('GET', '/containers?limit=100&sort_by=name')
            ->{json}{data}{containers} };
        my $same = $now eq $before; $before = $now; sleep 0.3; $same } 20;
}


# containers of the same name

for my $round (1 .. 2) {
    my $name = "same-$round";
    my @answers = at_once(map { [$_ % 2, 'POST',
        "/projects/$project/containers", { name => $name,
            container_image => 'localhost/agent:1' }] } 0 .. 3);
    my ($made) = grep { $_->{status} == 201 } @answers;
    my %there = instances();

    is(statuses(@answers), '201 409 409 409', "$name: one of four is it");
    is($there{$name}, $made->{json}{data}{id}, "$name: and podman has it");
    is($made->{json}{data}{status}, 'running', "$name: which runs");
    ok($made->{json}{data}{ai}, "$name: with AI");
    ok(find($name, $_)->{ai}, "$name: which $c[$_]{name} says too") for 0, 1;
    is(acted($made->{json}{data}{id}), 'container.create 201',
        "$name: one entry of the audit");
}

# many at a time, of different names
{
    my @answers = at_once(map { [$_ % 2, 'POST',
        "/projects/$project/containers", { name => "many-$_",
            container_image => 'localhost/agent:1' }] } 1 .. 6);

    is(statuses(@answers), join(' ', (201) x 6), 'six, three of each');
    is(scalar(grep { $_->{json}{data}{ai} } @answers), 6, 'all with AI');

    my %there = instances();

    is(scalar(grep { ($there{$_->{json}{data}{name}} // '')
        eq $_->{json}{data}{id} } @answers), 6, 'podman has each');
    is(join(' | ', map { acted($_->{json}{data}{id}) } @answers),
        join(' | ', ('container.create 201') x 6), 'one entry for each');
}


# AI

{
    my $one = find('many-1');
    my @answers = at_once(map { [$_ % 2, 'PATCH', "/containers/$one->{id}",
        { ai => $_ < 6 ? $true : $false, comment => "c$_" }] } 0 .. 7);

    is(statuses(@answers), join(' ', (200) x 8), 'AI switched at both');

    # off, while the runtime's events have both look at it
    for my $round (1 .. 2) {
        $podman->run('stop', '-t0', 'many-1');
        my ($off) = at_once([$round % 2, 'PATCH', "/containers/$one->{id}",
            { ai => $false }]);

        is($off->{status}, 200, 'AI off while it is stopped');
        $podman->run('start', 'many-1');
    }

    wait_for { my $now = find('many-1');
        $now->{status} eq 'running' && @{$now->{addresses}} } 20;
    kill 'HUP', $_->pid for @c;
    settle();
    ok(!find('many-1', $_)->{ai}, "it stays off, says $c[$_]{name}") for 0, 1;
    is($s->cmd('SISMEMBER', $s->rkey('ai:enabled'), 'many-1'), 0,
        'and the registry');
}

# AI that the other one switches off while it is being made
for my $round (1 .. 3) {
    my $name = "early-$round";
    my $socket = IO::Socket::UNIX->new(Peer => $c[0]{socket}) or die "$!\n";
    my $body = encode_json({ name => $name, ai => $true,
        container_image => 'localhost/agent:1' });

    print $socket "POST /api/v1/projects/$project/containers HTTP/1.1\r\n"
        . "Host: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    $socket->flush;

    my $one;

    wait_for { $one = find($name, 1) } 20;
    sleep 0.05 * $round;

    my $off = $c[1]->call('PATCH', "/containers/$one->{id}",
        json => { ai => $false });
    my $made = do { local $/; readline $socket };

    is($off->{status}, 200, "$name: off");
    like($made, qr{\AHTTP/1.1 201 }, "$name: made");
    settle() if $round == 3;
    ok(!find($name)->{ai}, "$name: it has no AI");
}


# names

for my $round (1 .. 2) {
    my $one = create($round % 2, "name-$round");
    my @answers = at_once(
        [0, 'PATCH', "/containers/$one->{id}", { name => "name-$round-a" }],
        [1, 'PATCH', "/containers/$one->{id}", { comment => 'x' }]);
    my %there;

    # the other one reconciles meanwhile
    kill 'HUP', $_->pid for @c;
    is(statuses(@answers), '200 200', "name-$round: both are done");
    settle() if $round == 2;
    %there = instances();
    is($there{"name-$round-a"}, $one->{id}, "name-$round: podman's name");

    my $now = $c[1]->call('GET', "/containers/$one->{id}")->{json}{data};

    is("$now->{name} $now->{comment} $now->{project_id}",
        "name-$round-a x $project", "name-$round: the registry's");
    ok($now->{ai}, "name-$round: its AI stays");
    is(find("name-$round"), undef, "name-$round: nobody has the old one");
}


# a restore, while the other one looks at what there is

{
    my $one = create(0, 'restored');
    my $snapshot = $c[0]->call('POST', "/containers/$one->{id}/snapshots")
        ->{json}{data}{snapshot}{name};

    for my $round (1 .. 2) {
        my $socket = IO::Socket::UNIX->new(Peer => $c[0]{socket}) or die;

        print $socket "PUT /api/v1/containers/$one->{id}/snapshots/$snapshot "
            . "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        $socket->flush;

        # each event of podman's has it look, and this does
        for (1 .. 40) {
            kill 'HUP', $c[1]->pid;
            sleep 0.03;
        }

        like(scalar <$socket>, qr{^HTTP/1.1 200 }, 'it is restored');
        settle();

        my %there = instances();
        my $now = find('restored', 1);

        is($there{restored}, $one->{id}, 'podman has it');
        ok(!$there{'restored.before-restore'}, 'and nothing is left aside');
        is("$now->{status} $now->{id}", "running $one->{id}", 'it runs');
        ok($now->{ai}, 'with AI');
    }
}


# from podman's side

{
    my $one = find('many-2');
    my $n = audit($one->{id});

    $podman->run('stop', '-t0', 'many-2');
    ok(wait_for { find('many-2', 1)->{status} eq 'stopped' }, 'stopped');
    settle();
    is(audit($one->{id}), $n + 1, 'one entry of the audit');

    $podman->run('start', 'many-2');
    ok(wait_for { @{ find('many-2')->{addresses} } }, 'started');
    settle();
    cmp_ok(audit($one->{id}), '<=', $n + 3, 'not one of each program')
        or diag acted($one->{id});

    $podman->run('rename', 'many-2', 'podmans-name');
    ok(wait_for { find('podmans-name', 1) }, 'renamed');
    settle();
    is(find('podmans-name')->{id}, $one->{id}, 'it is the same');
    is(find('many-2'), undef, 'it is one');
    is(scalar(grep { $_->{action} eq 'container.rename' } audit($one->{id})), 1,
        'one entry of the audit');

    $podman->run('run', '-d', '--network', 'gwt', '--name', 'podmans-own',
        '--label', 'hoody.ai=true', 'localhost/agent:1');
    ok(wait_for { find('podmans-own') }, 'a new one is found');
    settle();

    my $own = find('podmans-own');

    is(scalar(grep { $_->{action} eq 'container.create' } audit($own->{id})), 1,
        'once');
    $podman->run('rm', '-f', '-t0', 'podmans-own');
    ok(wait_for { !find('podmans-own', 1) }, 'and gone');
    settle();
    is(scalar(grep { $_->{action} eq 'container.delete' } audit($own->{id})), 1,
        'once');
}


# nothing happens: nothing is written

{
    settle();

    my $count = sub { join ' ', $s->cmd('GET', $s->rkey('index:version')),
        $s->cmd('XLEN', $s->rkey('audit')),
        $s->cmd('XLEN', $s->rkey('events')) };
    my $before = $count->();

    for (1 .. 5) {
        kill 'HUP', $_->pid for @c;
        sleep 0.3;
    }
    is($count->(), $before, 'ten passes write nothing');
}


# one is killed while it makes one, the other one goes on

{
    my $socket = IO::Socket::UNIX->new(Peer => $c[0]{socket}) or die "$!\n";
    my $body = encode_json({ name => 'orphan',
        container_image => 'localhost/agent:1' });

    kill 'STOP', $podman->pid;
    print $socket "POST /api/v1/projects/$project/containers HTTP/1.1\r\n"
        . "Host: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
    $socket->flush;
    ok(wait_for { find('orphan', 1) }, 'it is being made');
    kill 'HUP', $c[1]->pid;
    is(find('orphan', 1)->{status}, 'creating', 'and left to who makes it');
    $c[0]->stop('KILL');
    kill 'CONT', $podman->pid;
    ok(wait_for { find('orphan', 1)->{status} =~ /^(?:failed|running|stopped)/ },
        'the other one looks after it');
    ok(!find('orphan', 1)->{ai}, 'nobody has AI');
    unlink $c[0]{fcgi};
    $c[0]->start;
}


# they are deleted

{
    my @all = @{ $c[0]->call('GET', '/containers?limit=100')
        ->{json}{data}{containers} };
    my ($status, $found) = $r->command('check');
    my %there = instances();

    is($status, 0, 'the registry is one that the checker accepts')
        or diag $found;
    is(join(' ', sort map { $_->{name} } grep { $_->{status} ne 'failed' } @all),
        join(' ', sort keys %there), 'nothing is lost, nothing is double');
    is(scalar(grep { $there{$_->{name}} && $there{$_->{name}} ne $_->{id} } @all),
        0, 'each is what it says');

    # four at a time, of which each program is told
    while (my @some = splice @all, 0, 4) {
        my @answers = at_once(map { my $one = $_;
            map { [$_, 'DELETE', "/containers/$one->{id}"] } 0, 1 } @some);

        for my $one (@some) {
            is(statuses(splice @answers, 0, 2), '200 404',
                "$one->{name}: deleted once");
            is(join(' ', sort map { $_->{status} // '' } grep {
                $_->{action} eq 'container.delete' } audit($one->{id})),
                '200 404', "$one->{name}: so the audit says")
                or diag acted($one->{id});
        }
    }
}

is(join(' ', instances()), '', 'podman has none');
is($s->cmd('SCARD', $s->rkey('containers')), 0, 'nor has the registry');
is($s->cmd('SCARD', $s->rkey('ai:enabled')), 0, 'nobody has AI');
is(($r->command('check'))[0], 0, 'the checker accepts it');

$podman->stop_service;
is($_->stop, 0, "$_->{name} ends") for @c;
$s->finish;
