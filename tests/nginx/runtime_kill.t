#!/usr/bin/perl

# hoody-ai-control is killed in the midst of what it has the runtime do, and
# started again: what it was doing is done or undone, nobody has AI who was not
# given it, and no container is left that nobody lists.
#
# A part of the calls; with HAI_KILL_ALL=1 before each of them, minutes long.
#
# asan: no, most of it is the runtime

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::Incus;
use HoodyAI::Kill;
use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::Registry;
use HoodyAI::System qw(wait_for);

use constant FEW => 1; # times each, with Incus, which takes a second for most

# runtime_kill_incus.t has the same with Incus
my $incus = $0 =~ /incus/;
my $what = 'hoody-ai-control is killed with ' . ($incus ? 'Incus' : 'podman');

HoodyAI::Net->enter($what, $incus ? () : qw(podman runc), qw(nsenter cc),
    { pids => 1 });

if (my $why = HoodyAI::Kill->why_not) {
    diag("NOT TESTED: $what: $why");
    plan skip_all => $why;
}

my $s = HoodyAI::System->new;
my $runtime = ($incus ? 'HoodyAI::Incus' : 'HoodyAI::Podman')->new($s, $what);
my $r = HoodyAI::Registry->new($s);
my $all = $ENV{HAI_KILL_ALL};
my $image = $incus ? 'agent' : 'localhost/agent:1';
my $project = 'a' x 24;
my $false = JSON::PP::false;

$runtime->network(qw(--subnet 10.97.0.0/24 --gateway 10.97.0.1 gwt))
    if !$incus;
$s->redis;
$s->provider;

my $c = HoodyAI::Control->new($s, args => ['--threads', 1, '--runtime', $incus
    ? 'incus=' . $runtime->socket : 'docker=' . $runtime->service
        . ',network=gwt']);

$s->nginx(level => 'info', http => sub { $s->default_http . $c->server });
is($c->call('GET', '/containers')->{status}, 200, 'it works');

sub find {
    my ($name) = @_;

    return $c->call('GET', "/containers?name=$name&include_deleting=true")
        ->{json}{data}{containers}[0];
}

sub get { $c->call('GET', "/containers/$_[0]")->{json}{data} }

# what the runtime has: name => [state, id that the API has given]
sub instances {
    my $list = decode_json($runtime->run($incus ? qw(list -f json)
        : qw(ps -a --format json)));

    return map { $incus
        ? ($_->{name} => [lc $_->{status}, $_->{config}{'user.hoody.id'}])
        : ($_->{Names}[0] => [$_->{State}, $_->{Labels}{'hoody.id'}]) } @$list;
}

# AI off, which the runtime's label does not say: it was made with AI
sub made {
    my ($name) = @_;
    my $answer = $c->call('POST', "/projects/$project/containers", json => {
        name => $name, container_image => $image,
        comment => 'old' });

    $answer->{status} == 201 or die "$name: $answer->{body}\n";

    my $id = $answer->{json}{data}{id};
    my $off = $c->call('PATCH', "/containers/$id", json => { ai => $false });

    $off->{status} == 200 or die "$name: $off->{body}\n";

    return { name => $name, id => $id };
}

# what nobody lists, and what is listed and not there
sub orphans {
    my %there = instances();
    my %listed = map { $_->{name} => $_->{status} } @{ $c->call('GET',
        '/containers?limit=100&include_deleting=true')
        ->{json}{data}{containers} };
    my @wrong = map { "$_ is not listed" } grep { !$listed{$_} } keys %there;

    push @wrong, map { "$_ is $listed{$_} and not there" }
        grep { !$there{$_} && $listed{$_} !~ /^(?:creating|failed)\z/ }
        keys %listed;

    return join ', ', sort @wrong;
}

sub again {
    $c->stop('KILL');
    unlink $c->{fcgi};
    $c->start;
}


# The state is judged until it is a good one: "before", "after", or what the
# operation says besides.
sub killed_everywhere {
    my ($what, %sub) = @_;
    my ($n, $killed, @wrong, %seen) = (0, 0);
    my $began = time;
    my $good = $sub{good} // qr/^(?:before|after)\z/;
    my $it = $sub{before}->('all');
    my @points = HoodyAI::Kill->points($c->pid, sub { $sub{do}->($it) });

    $sub{clean}->($it);

    # requests to the runtime: before one, and when it has been sent
    @points = grep { $_->[0] eq 'sendto' || $_->[0] eq 'recvfrom' } @points
        if !$all;
    @points = @points[grep { $_ % $sub{every} == 0 } 0 .. $#points]
        if !$all && !$incus && $sub{every};
    @points = @points[map { ($_ + 0.5) * @points / FEW } 0 .. FEW - 1]
        if !$all && $incus;

    for my $point (@points) {
        my $it = $sub{before}->(++$n);
        my $at = "$point->[0] $point->[1]";

        $killed += HoodyAI::Kill->at($c->pid, $point, sub { $sub{do}->($it) });
        again();

        my ($state, $orphans) = ('', '');

        wait_for { $state = $sub{after}->($it) // '';
            $orphans = orphans(); $state =~ $good && !$orphans } 10;

        my ($status, $found) = $r->command('check');

        $seen{$state}++;
        push @wrong, "$at: $state $orphans" if $state !~ $good || $orphans;
        push @wrong, "$at: $found" if $status;

        $found = $sub{again}->($it, $state) || orphans();
        push @wrong, "$at: $state, again: $found" if $found;
        $sub{clean}->($it);
    }

    # not at all: what else the program does counts as well
    cmp_ok($killed, '>=', @points / 2, "$what: killed $killed of "
        . scalar(@points) . ' times');
    is(join("\n", @wrong), '', "$what: nothing by halves");
    diag(sprintf '%s: %s; %.1f s', $what, join(', ', map { "$_ $seen{$_}" }
        sort keys %seen), time - $began) if $all;
}

sub clean {
    my ($it) = @_;

    for my $name ($it->{name}, "$it->{name}-new") {
        my $object = find($name) or next;
        my $answer = $c->call('DELETE', "/containers/$object->{id}");

        die "$name: $answer->{body}\n" if $answer->{status} != 200;
    }
}

# an instance as the registry has it: its name and whether it runs
sub stands {
    my ($object, %there) = @_;
    my $instance = $there{$object->{name}} or return 0;

    return $instance->[1] eq $object->{id}
        && ($instance->[0] eq 'running') == ($object->{status} eq 'running');
}


killed_everywhere('create', every => 6,
    good => qr/^(?:before|after|failed|without AI|stopped)\z/,
    before => sub { { name => "create-$_[0]" } },
    do => sub {
        $c->call('POST', "/projects/$project/containers", json => {
            name => $_[0]{name}, container_image => $image });
    },
    after => sub {
        my ($it) = @_;
        my $object = find($it->{name});
        my %there = instances();

        return $there{$it->{name}} ? 'an orphan' : 'before' if !$object;
        return $object->{status} . ($there{$it->{name}} ? ' and there' : '')
            . ($object->{ai} ? ' with AI' : '')
            if $object->{status} =~ /^(?:creating|failed)\z/;
        return 'not its instance' if !stands($object, %there);

        return $object->{ai} ? 'after' : 'without AI'
            if $object->{status} eq 'running';
        return $object->{status} . ($object->{ai} ? ' with AI' : '');
    },
    again => sub {
        my ($it, $state) = @_;
        my $post = sub { $c->call('POST', "/projects/$project/containers",
            json => { name => $it->{name},
                container_image => $image })->{status} };
        my $status = $post->();

        # where the runtime has nothing of it, it is made now
        return '' if $state =~ /^(?:before|failed)\z/ && $status == 201;

        # the runtime may have ended it only just now
        return "POST $status" if $status != 409 || $state eq 'before'
            || find($it->{name})->{status} eq 'failed';

        # it can be had anew
        clean($it);
        $status = $post->();

        return $status == 201 ? '' : "POST after DELETE $status";
    },
    clean => \&clean);

killed_everywhere('rename',
    good => qr/^(?:before|after|only the name)\z/,
    before => sub {
        my $it = made("rename-$_[0]");

        # Incus renames what does not run
        $c->call('POST', "/containers/$it->{id}/force-stop") if $incus;

        return $it;
    },
    do => sub {
        $c->call('PATCH', "/containers/$_[0]{id}", json => {
            name => "$_[0]{name}-new", comment => 'new' });
    },
    after => sub {
        my ($it) = @_;
        my $object = get($it->{id}) or return 'lost';

        return 'another project' if ($object->{project_id} // '') ne $project;
        return 'with AI' if $object->{ai};
        return "$object->{name} is not the instance"
            if !stands($object, instances());
        return $object->{comment} eq 'new' ? 'after' : 'only the name'
            if $object->{name} ne $it->{name};

        return $object->{comment} eq 'old' ? 'before' : 'only the comment';
    },
    again => sub {
        my ($it) = @_;
        my $answer = $c->call('PATCH', "/containers/$it->{id}", json => {
            name => "$it->{name}-new", comment => 'new' });

        return $answer->{status} == 200 ? '' : $answer->{body};
    },
    clean => \&clean);

killed_everywhere('delete', every => 6,
    before => sub { made("delete-$_[0]") },
    do => sub { $c->call('DELETE', "/containers/$_[0]{id}") },
    after => sub {
        my ($it) = @_;
        my $object = get($it->{id});
        my %there = instances();

        return $there{$it->{name}} ? 'an orphan' : 'after' if !$object;
        return $object->{status} if $object->{status} ne 'running';
        return 'with AI' if $object->{ai};

        return stands($object, %there) ? 'before' : 'not its instance';
    },
    again => sub {
        my ($it, $state) = @_;
        my $answer = $c->call('DELETE', "/containers/$it->{id}");

        return $answer->{status} == ($state eq 'after' ? 404 : 200) ? ''
            : $answer->{body};
    },
    clean => \&clean);

sub snapshots {
    my ($it) = @_;

    return map { $_->{name} } @{ $c->call('GET',
        "/containers/$it->{id}/snapshots")->{json}{data}{snapshots} };
}

killed_everywhere('snapshot', every => 10,
    before => sub { made("snap-$_[0]") },
    do => sub { $c->call('POST', "/containers/$_[0]{id}/snapshots") },
    after => sub {
        my ($it) = @_;
        my $object = get($it->{id}) or return 'lost';

        return "with AI or not there" if $object->{ai}
            || !stands($object, instances());

        return $object->{status} ne 'running' ? $object->{status}
            : snapshots($it) ? 'after' : 'before';
    },
    again => sub {
        my ($it) = @_;
        my $answer = $c->call('POST', "/containers/$it->{id}/snapshots");

        return $answer->{status} == 200 ? '' : $answer->{body};
    },
    clean => \&clean);

killed_everywhere('restore', every => 6,
    good => qr/^(?:running|stopped)\z/,
    before => sub {
        my $it = made("restore-$_[0]");

        $it->{snapshot} = $c->call('POST', "/containers/$it->{id}/snapshots")
            ->{json}{data}{snapshot}{name} or die "no snapshot\n";

        return $it;
    },
    do => sub {
        $c->call('PUT', "/containers/$_[0]{id}/snapshots/$_[0]{snapshot}");
    },
    after => sub {
        my ($it) = @_;
        my $object = get($it->{id}) or return 'lost';

        return 'with AI' if $object->{ai};
        return 'another project' if ($object->{project_id} // '') ne $project
            || $object->{comment} ne 'old';
        return 'the snapshot is gone' if !grep { $_ eq $it->{snapshot} }
            snapshots($it);

        return stands($object, instances()) ? $object->{status}
            : 'not its instance';
    },
    again => sub {
        my ($it) = @_;
        my $answer = $c->call('PUT',
            "/containers/$it->{id}/snapshots/$it->{snapshot}");

        return $answer->{status} == 200
            && get($it->{id})->{status} eq 'running' ? '' : $answer->{body};
    },
    clean => \&clean);

is(join(' ', instances()), '', 'nothing is left');
is($runtime->run(qw(images -q --filter label=hoody.snapshot.of)), '',
    'nor an image') if !$incus;
$c->contract_ok;
$runtime->stop_service if !$incus;
is($c->stop, 0, 'it ends');
$runtime->end if $incus;
$s->finish;
