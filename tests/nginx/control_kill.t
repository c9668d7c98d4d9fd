#!/usr/bin/perl

# hoody-ai-control, and then Redis with its append-only file, is killed before
# each system call of each operation that changes a container: the registry is
# never left in halves.  Without a runtime; runtime_kill.t has one.
#
# asan: no, what is killed reports nothing

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;

use HoodyAI::Control;
use HoodyAI::Kill;
use HoodyAI::Registry;
use HoodyAI::System qw(wait_for);

if (my $why = HoodyAI::Kill->why_not) {
    diag("NOT TESTED: hoody-ai-control is killed: $why");
    plan skip_all => $why;
}

my $s = HoodyAI::System->new;

my @durable = (args => [qw(--appendonly yes --appendfsync always)]);

$s->redis(@durable);
$s->provider;

# one thread, so that the call's system calls are counted
my $c = HoodyAI::Control->new($s, args => ['--threads', 1]);

$s->nginx(level => 'info', http => sub { $s->default_http . $c->server });

my $r = HoodyAI::Registry->new($s);
my $project = 'a' x 24;
my $n_address = 0;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);

sub find {
    my ($name) = @_;

    return $c->call('GET', "/containers?name=$name")
        ->{json}{data}{containers}[0];
}

sub create {
    my (%field) = @_;

    return $c->call('POST', "/projects/$project/containers", json => \%field);
}

# an address of this host that nobody has had yet
sub address { $n_address++; sprintf '127.1.%d.%d', $n_address / 250,
    $n_address % 250 + 1 }

sub admitted {
    my ($address, $name) = @_;

    return $s->chat_ask(local => $address, token => $name)->{status};
}

sub events {
    my ($id) = @_;

    return scalar grep { $_->{type} eq 'registry'
        && ($_->{container_id} // '') eq $id } $r->events;
}

# what is wrong with the registry
sub check {
    my ($status, $out, $errors) = $r->command('check');

    return $status == 0 ? '' : "status $status: $out$errors";
}

# who is killed
my $victim = 'control';

sub again {
    if ($victim eq 'redis') {
        $s->stop('redis', 'KILL');
        $s->redis(@durable);

        # until then the gateway goes by what it knows, as long as it may
        $r->call('create', 'marker', id => 'f' x 24, '@enabled' => 1,
            addresses => '127.2.0.1');
        wait_for { admitted('127.2.0.1', 'marker') == 200 }
            or die "the gateway has not found Redis again\n";
        $r->call('delete', 'marker');

    } else {
        $c->stop('KILL');
        unlink $c->{fcgi};
        $c->start;
    }
}


# Makes what the operation needs, kills in the midst of it, starts again, and
# has the state judged: "before" and "after" are good.  cold => 1: the process
# has just been started, and has no connection yet.
sub killed_everywhere {
    my ($what, %sub) = @_;
    my ($n, @points, @wrong, %seen, %killed) = 0;

    $what = "$victim killed, $what";
    my $it = $sub{before}->(0);

    again() if $sub{cold};
    @points = HoodyAI::Kill->points($s->pid($victim), sub { $sub{do}->($it) },
        $victim eq 'redis' ? (calls => [qw(write writev fdatasync)]) : ());

    # it is not come to each point each time: how bytes are cut into reads and
    # writes differs
    for my $point (map { ($_) x 3 } @points) {
        my $at = "$point->[0] $point->[1]";

        next if $killed{$at};

        my $it = $sub{before}->(++$n);

        again() if $sub{cold};
        $killed{$at} = HoodyAI::Kill->at($s->pid($victim), $point,
            sub { $sub{do}->($it) });
        again();

        my $found = check();
        my $state = $sub{after}->($it);

        $seen{$state}++;
        push @wrong, "$at: $found" if $found;
        push @wrong, "$at: $state" if $state !~ /^(?:before|after)\z/;

        $found = $sub{again}->($it, $state) || check();
        push @wrong, "$at: again: $found" if $found;
    }

    my $killed = grep { $_ } values %killed;

    cmp_ok($killed, '>=', 6, "$what: killed $killed times");
    cmp_ok($killed, '>=', @points * 0.8, "$what: before each system call");
    is(join("\n", @wrong), '', "$what: before or after it, nothing else");
    ok($seen{before}, "$what: some had not happened");
    ok($seen{after}, "$what: some had happened");
}

# A container as all operations but create need it.
sub made {
    my ($name) = @_;
    my $address = address();
    my $answer = create(name => $name, ai => $true, addresses => [$address],
        number => "$n_address", comment => 'old', tags => ['t1', 't2']);

    $answer->{status} == 201 or die "$name: $answer->{body}\n";

    return { name => $name, address => $address,
        id => $answer->{json}{data}{id}, object => $answer->{json}{data} };
}

sub same {
    my ($one, $other) = @_;
    my @fields = qw(id name ai addresses number comment tags status
        project_id created_at);

    return encode([@{$one}{@fields}]) eq encode([@{$other}{@fields}]);
}

sub encode { JSON::PP->new->canonical->encode($_[0]) }


# the functions are loaded by the first call that needs them
is($c->call('GET', '/containers')->{status}, 200, 'it works');

for (qw(control redis)) {
    $victim = $_;

    for my $ai ($true, $false) {
        next if $victim eq 'redis' && !$ai;
        killed_everywhere('create, AI ' . ($ai ? 'on' : 'off'),
            cold => $ai && $victim ne 'redis',
            before => sub {
                my ($n) = @_;
                my $address = address();
                my $name = "create-$ai-$victim-$n";

                return { name => $name, address => $address, body => {
                    name => $name, ai => $ai, addresses => [$address],
                    number => "$n_address", comment => 'x', tags => ['t1'] } };
            },
            do => sub { create(%{$_[0]{body}}) },
            after => sub {
                my ($it) = @_;
                my $object = find($it->{name});
                my $status = admitted($it->{address}, $it->{name});

                return $status == 401 ? 'before' : "nothing, but $status"
                    if !$object;
                return "$status with AI $ai" if $status != ($ai ? 200 : 403);
                return events($object->{id}) . ' events'
                    if events($object->{id}) != 1;

                return encode({ %$object, %{$it->{body}} }) eq encode($object)
                    ? 'after' : encode($object);
            },
            again => sub {
                my ($it, $state) = @_;
                my $answer = create(%{$it->{body}});

                return $answer->{status} == ($state eq 'after' ? 409 : 201) ? ''
                    : $answer->{body};
            });
    }

    for my $case (['a change' => { ai => $false, comment => 'new',
            tags => ['t3'] }],
        ['a rename with other fields' => { name => 'N', comment => 'new',
            ai => $false }])
    {
        my ($what, $fields) = @$case;

        next if $victim eq 'redis' && !$fields->{name};

        killed_everywhere($what,
            before => sub {
                my ($n) = @_;
                my $it = made(($what =~ tr/a-z//cdr) . "-$victim-$n");

                $it->{body} = { %$fields };
                $it->{body}{name} = "$it->{name}-new" if $fields->{name};

                return $it;
            },
            do => sub {
                $c->call('PATCH', "/containers/$_[0]{id}", json => $_[0]{body});
            },
            after => sub {
                my ($it) = @_;
                my $object = $c->call('GET', "/containers/$it->{id}")
                    ->{json}{data};
                my %new = (%{$it->{object}}, %{$it->{body}});
                my $state = same($object, $it->{object}) ? 'before'
                    : same($object, \%new) ? 'after' : encode($object);
                my $events = events($it->{id});
                my @names = ($it->{name}, $it->{body}{name} // $it->{name});
                my $name = $names[$state eq 'after'];

                return "$state with $events events"
                    if $events != 1 + ($state eq 'after');

                for (grep { $_ ne $name } @names) {
                    return "$_ is there too" if find($_)
                        || admitted($it->{address}, $_) != 401;
                }

                return admitted($it->{address}, $name)
                    == ($object->{ai} ? 200 : 403) ? $state : 'not as AI says';
            },
            again => sub {
                my ($it) = @_;
                my $answer = $c->call('PATCH', "/containers/$it->{id}",
                    json => $it->{body});

                return $answer->{status} == 200
                    && same($answer->{json}{data}, { %{$it->{object}},
                        %{$it->{body}} }) ? '' : $answer->{body};
            });
    }

    killed_everywhere('delete',
        before => sub { made("delete-$victim-$_[0]") },
        do => sub { $c->call('DELETE', "/containers/$_[0]{id}") },
        after => sub {
            my ($it) = @_;
            my $answer = $c->call('GET', "/containers/$it->{id}");
            my $status = admitted($it->{address}, $it->{name});

            return $status == 401 && !find($it->{name})
                && !$s->cmd('EXISTS', $s->rkey("container:$it->{name}"))
                ? 'after' : "gone by halves, $status"
                if $answer->{status} == 404;

            return $status == 200 && same($answer->{json}{data}, $it->{object})
                ? 'before' : "$status, $answer->{body}";
        },
        again => sub {
            my ($it, $state) = @_;
            my $answer = $c->call('DELETE', "/containers/$it->{id}");
            my $new = create(%{$it->{object}}{qw(name addresses number)});

            return "$answer->{status}, then $new->{status}"
                if $answer->{status} != ($state eq 'after' ? 404 : 200)
                    || $new->{status} != 201;
            $c->call('DELETE', "/containers/$new->{json}{data}{id}");

            return '';
        });
}

is($c->stop, 0, 'it ends');
$s->finish;
