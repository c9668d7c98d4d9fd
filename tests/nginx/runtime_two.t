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
use JSON::PP;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::Kill;
use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::Registry;
use HoodyAI::System qw(slurp suspend wait_for);

HoodyAI::Net->enter('two control programs', qw(podman runc nsenter cc),
    { pids => 1 });

if (my $why = HoodyAI::Kill->why_not) {
    diag("NOT TESTED: two control programs: $why");
    plan skip_all => $why;
}

my $s = HoodyAI::System->new;
my $podman = HoodyAI::Podman->new($s, 'two control programs');
my $r = HoodyAI::Registry->new($s);
my $project = 'a' x 24;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

$podman->network(qw(--subnet 10.97.0.0/24 --gateway 10.97.0.1 gwt));
$s->redis;
$s->provider;

my @runtime = ('--runtime', 'docker=' . $podman->service . ',network=gwt',
    '--lock-file', "$s->{dir}/control.lock");
my @c = map { HoodyAI::Control->new($s, name => $_, args => [@runtime]) }
    qw(control-a control-b);

$s->nginx(level => 'info', http => sub {
    join '', $s->default_http, map { $_->server } @c });
is($_->call('GET', '/containers')->{status}, 200, "$_->{name} works") for @c;

sub answer {
    my ($socket) = @_;
    my $text = do { local $/; <$socket> } // '';
    my ($status, $body) = $text =~ m{\AHTTP/1.1 (\d+) .*?\r\n\r\n(.*)\z}s;

    return { status => $status // 0, json => eval { decode_json($body) } };
}

# Calls of both at once: [a or b, method, path, body], answered in this order.
sub at_once {
    my @calls = map { my ($c, @call) = @$_; $c[$c]->begin(@call) } @_;

    return map { answer($_) } @calls;
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

sub acted {
    return join ', ', map { "$_->{action} " . ($_->{status} // '') } audit(@_);
}

# Events of podman's come late: from here on both look at what there is again
# and again, until calm().
my $storm;

sub storm {
    my $parent = $$;

    $storm = fork // die "fork: $!\n";
    return if $storm;

    while (getppid == $parent) {
        kill 'HUP', $_->pid for @c;
        sleep 0.05;
    }
    _exit(0);
}

sub calm {
    kill 'KILL', $storm;
    waitpid $storm, 0;
    undef $storm;
}

END { kill 'KILL', $storm if $storm }

# As long as it takes both to have seen all that happened.
sub settle {
    my ($before, $now) = '';

    wait_for {
        $now = join ' ', map { "$_->{name} $_->{status} @{$_->{addresses}}" }
            @{ $c[0]->call('GET', '/containers?limit=100&sort_by=name')
                ->{json}{data}{containers} };
        my $same = $now eq $before;

        $before = $now;
        sleep 0.3;
        $same } 20;
}


# containers of the same name

storm();

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
    settle();
    ok(!find('many-1', $_)->{ai}, "it stays off, says $c[$_]{name}") for 0, 1;
    is($s->cmd('SISMEMBER', $s->rkey('ai:enabled'), 'many-1'), 0,
        'and the registry');
}


# What one does step by step, while the other one looks at what there is all
# the time.

sub slowly {
    my ($method, $path, $body, $meanwhile) = @_;
    my $answer;

    HoodyAI::Kill->slow($c[0]->pid, 100, sub {
        my $socket = $c[0]->begin($method, $path, $body);

        $meanwhile->() if $meanwhile;
        $answer = answer($socket);
    });

    return $answer;
}

{
    my $answer = slowly('POST', "/projects/$project/containers", {
        name => 'slow', container_image => 'localhost/agent:1' });
    my $one = $answer->{json}{data};
    my $path = "/containers/$one->{id}";

    is($answer->{status}, 201, 'made slowly');
    is($one->{status}, 'running', 'it runs');
    ok($one->{ai}, 'with AI');

    $answer = slowly('PATCH', $path, { name => 'slow-2', comment => 'x' });
    is($answer->{status}, 200, 'renamed');
    is({ instances() }->{'slow-2'}, $one->{id}, 'podman has the name');
    is(find('slow', 1), undef, 'nobody has the old one');

    my $now = find('slow-2', 1);

    is("$now->{id} $now->{comment} $now->{project_id}", "$one->{id} x $project",
        'the registry has it');
    ok($now->{ai}, 'its AI stays');

    my $snapshot = $c[1]->call('POST', "$path/snapshots")
        ->{json}{data}{snapshot}{name};

    $answer = slowly('PUT', "$path/snapshots/$snapshot");
    is($answer->{status}, 200, 'restored');

    my %there = instances();

    is($there{'slow-2'}, $one->{id}, 'podman has it');
    ok(!$there{'slow-2.before-restore'}, 'and nothing is left aside');
    $now = find('slow-2', 1);
    is("$now->{status} $now->{id}", "running $one->{id}", 'it runs');
    ok($now->{ai}, 'with AI');

    for my $op (qw(force-stop start)) {
        $answer = slowly('POST', "$path/$op");
        is($answer->{status}, 200, $op);
    }
    $now = find('slow-2', 1);
    is($now->{status}, 'running', 'it runs again');
    ok($now->{ai}, 'with AI');

    $answer = slowly('DELETE', $path);
    is($answer->{status}, 200, 'deleted');
    is(acted($one->{id}), join(', ', map { "container.$_" } 'create 201',
        'update 200', 'restore 200', 'force-stop 200', 'start 200',
        'delete 200') =~ s/container\.restore/snapshot.restore/r
        =~ s/(update 200)/$1, snapshot.create 200/r,
        'one entry of the audit for each');
}

# AI that the other one switches off meanwhile
{
    my $off;
    my $answer = slowly('POST', "/projects/$project/containers", {
        name => 'early', ai => $true, container_image => 'localhost/agent:1' },
        sub {
            my $one;

            wait_for { $one = find('early', 1) };
            sleep 0.5;
            $off = $c[1]->call('PATCH', "/containers/$one->{id}",
                json => { ai => $false });
        });

    is($off->{status}, 200, 'AI off while it is made');
    is($answer->{status}, 201, 'it is made');
    ok(!find('early', $_)->{ai}, "without AI, says $c[$_]{name}") for 0, 1;
}


# from podman's side

calm();

{
    my $one = find('many-2');
    my $n = audit($one->{id});

    $podman->run('stop', '-t0', 'many-2');
    ok(wait_for { find('many-2', 1)->{status} eq 'stopped' }, 'stopped');
    settle();

    # podman may say that it has ended before its MAC is gone: a second change
    my $stopped = audit($one->{id});

    cmp_ok($stopped, '<=', $n + 2, 'not one entry of each program')
        or diag acted($one->{id});
    $n = $stopped;

    $podman->run('start', 'many-2');
    ok(wait_for { @{ find('many-2')->{addresses} } }, 'started');
    settle();
    cmp_ok(audit($one->{id}), '<=', $n + 2, 'not one of each program')
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
    suspend($podman->pid);

    my $socket = $c[0]->begin('POST', "/projects/$project/containers",
        { name => 'orphan', container_image => 'localhost/agent:1' });

    ok(wait_for { find('orphan', 1) }, 'it is being made');
    kill 'HUP', $c[1]->pid;
    is(find('orphan', 1)->{status}, 'creating', 'and left to who makes it');
    $c[0]->stop('KILL');
    kill 'CONT', $podman->pid;
    ok(wait_for { find('orphan', 1)->{status}
        =~ /^(?:failed|running|stopped)/ },
        'the other one looks after it');
    ok(!find('orphan', 1)->{ai}, 'nobody has AI');
    unlink $c[0]{fcgi};
    $c[0]->start;
}


# they are deleted

storm();

{
    my @all = @{ $c[0]->call('GET', '/containers?limit=100')
        ->{json}{data}{containers} };
    my ($status, $found) = $r->command('check');
    my %there = instances();

    is($status, 0, 'the registry is one that the checker accepts')
        or diag $found;
    is(join(' ', sort map { $_->{name} }
            grep { $_->{status} ne 'failed' } @all),
        join(' ', sort keys %there), 'nothing is lost, nothing is double');
    is(scalar(grep { $there{$_->{name}}
            && $there{$_->{name}} ne $_->{id} } @all), 0, 'each is what it says');

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

calm();
is(join(' ', instances()), '', 'podman has none');
is($s->cmd('SCARD', $s->rkey('containers')), 0, 'nor has the registry');
is($s->cmd('SCARD', $s->rkey('ai:enabled')), 0, 'nobody has AI');
is(($r->command('check'))[0], 0, 'the checker accepts it');

$podman->stop_service;
is($_->stop, 0, "$_->{name} ends") for @c;
$s->finish;
