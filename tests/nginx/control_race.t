#!/usr/bin/perl

# Sixteen callers change the same containers at the same time, through one
# hoody-ai-control and through two on one Redis: no change is lost, none is made
# to another container, and what is there in the end is what some order of the
# calls would have made.
#
# asan: no, races of processes; control.t has the calls

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use POSIX qw(_exit);
use Test::More;

use HoodyAI::Control;
use HoodyAI::Registry;
use HoodyAI::System;

my $s = HoodyAI::System->new;
my $r = HoodyAI::Registry->new($s);
my $project = 'a' x 24;
my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $callers = 16;

$s->redis;
$s->provider;

my @c = map { HoodyAI::Control->new($s, name => $_) } qw(control control2);

$s->nginx(level => 'info', http => sub {
    join '', $s->default_http, map { $_->server } @c });

# who is called: one, or in turn
my @use;

sub api { $use[$_[0] % @use]->call(@_[1 .. $#_]) }

sub create {
    my ($i, %field) = @_;

    return api($i, 'POST', "/projects/$project/containers", json => \%field);
}

sub patch {
    my ($i, $id, $fields, @headers) = @_;

    return api($i, 'PATCH', "/containers/$id", json => $fields,
        headers => \@headers);
}

sub get { $c[0]->call('GET', "/containers/$_[0]")->{json}{data} }

sub made {
    my $answer = create(0, @_);

    $answer->{status} == 201 or die "create: $answer->{body}\n";

    return $answer->{json}{data}{id};
}

# All at once; what each of them returns.
sub race {
    my ($n, $do) = @_;
    my @out;

    pipe(my $gate, my $opens) or die "pipe: $!\n";

    for my $i (0 .. $n - 1) {
        pipe($out[$i], my $in) or die "pipe: $!\n";

        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            close $opens;
            srand($i);
            sysread $gate, my $nothing, 1;
            syswrite $in, encode_json([eval { $do->($i) }, $@ || ()]);
            _exit(0);
        }
    }

    close $gate;
    close $opens;

    my @said = map { my $out = $_; local $/; decode_json(<$out> || '["died"]') }
        @out;

    1 while waitpid(-1, POSIX::WNOHANG()) > 0;

    return @said;
}

sub tally {
    my %n;

    $n{$_}++ for map { ref $_ ? @$_ : $_ } @_;

    return join ', ', map { "$n{$_} x $_" } sort keys %n;
}

# Entries of the registry about a container since the last call, whose versions
# have to rise.
my $last = '-';

sub changes {
    my ($what, $id) = @_;
    my $all = $s->cmd('XRANGE', $s->rkey('events'), $last, '+');
    my @events = map { +{ @{$_->[1]} } } @$all;
    my $falls = 0;

    $last = "($all->[-1][0]" if @$all;
    @events = grep { $_->{type} eq 'registry' } @events;
    $falls += $events[$_]{version} <= $events[$_ - 1]{version}
        for 1 .. $#events;
    is($falls, 0, "$what: versions rise");

    return grep { !$id || ($_->{container_id} // '') eq $id } @events;
}

sub check_ok {
    my ($what) = @_;
    my ($status, $out, $errors) = $r->command('check');

    is($status, 0, "$what: the registry is in order") or diag($out . $errors);
}


for my $round (['one process', $c[0]], ['two processes', @c]) {
    (my $what, @use) = @$round;

    # one field each, and some the same
    {
        my @fields = qw(comment limit_rpm limit_tpm limit_concurrency
            budget_usd_month budget_tokens_day color tags environment_vars
            autostart);
        my $value = sub {
            my ($field, $i, $n) = @_;
            my $number = 1000 * ($i + 1) + $n;

            return $field eq 'comment' ? "c$number"
                : $field eq 'color' ? sprintf '#%06X', $number
                : $field eq 'tags' ? ["t$number"]
                : $field eq 'environment_vars' ? { V => "$number" }
                : $field eq 'autostart' ? ($n % 2 ? $true : $false)
                : $number;
        };
        my $id = made(name => 'fields');
        my $times = 12;

        changes("$what, fields");

        my @said = race($callers, sub {
            my ($i) = @_;
            my $field = $fields[$i % @fields];

            return map { patch($i, $id, { $field => $value->($field, $i, $_) })
                ->{status} } 1 .. $times;
        });
        my $now = get($id);
        my @wrong;

        is(tally(@said), $callers * $times . ' x 200', "$what: all changes");

        for my $at (0 .. $#fields) {
            my $field = $fields[$at];
            my @could = map { $value->($field, $_, $times) }
                grep { $_ % @fields == $at } 0 .. $callers - 1;

            push @wrong, $field if !grep { encode_json([$_])
                eq encode_json([$now->{$field}]) } @could;
        }

        is(join(', ', @wrong), '', "$what: no field is lost");

        my @changes = changes("$what, fields", $id);
        # who sets what is there already changes nothing
        my @bare = grep { $fields[$_ % @fields] eq 'autostart' }
            0 .. $callers - 1;

        cmp_ok(scalar @changes, '<=', $callers * $times,
            "$what: no event too many");
        cmp_ok(scalar @changes, '>=', ($callers - @bare) * $times,
            "$what: nor too few");
    }

    # of one version one wins
    {
        my $id = made(name => 'version');
        my (@wrong, $etag);

        changes("$what, If-Match");

        for my $n (1 .. 8) {
            my $before = api(0, 'GET', "/containers/$id");

            $etag = $before->{headers}{etag};

            my @said = race($callers, sub {
                my ($i) = @_;
                my $answer = patch($i, $id, { comment => "$n-$i" }, 'If-Match',
                    $etag);

                return $answer->{status};
            });
            my @winner = grep { $said[$_][0] eq '200' } 0 .. $#said;

            push @wrong, tally(@said) if tally(@said)
                ne join ', ', '1 x 200', $callers - 1 . ' x 412';
            push @wrong, "not who won: $n"
                if get($id)->{comment} ne "$n-" . ($winner[0] // '');
        }

        is(join('; ', @wrong), '', "$what: one of each version");
        is(scalar(changes("$what, If-Match", $id)), 8,
            "$what: an event for each");
    }

    # on, off and another name: AI and comment are of one call
    {
        my $id = made(name => 'switch');
        my $times = 10;

        changes("$what, switch");

        my @said = race($callers, sub {
            my ($i) = @_;

            return map {
                my $on = ($i + $_) % 2;

                patch($i, $id, { ai => $on ? $true : $false,
                    comment => "$i-$_-" . ($on ? 'on' : 'off'),
                    $i % 3 ? () : (name => "switch-$i-$_") })->{status};
            } 1 .. $times;
        });
        my $now = get($id);
        my @names = map { /^switch/ ? $_ : () }
            @{$s->cmd('SMEMBERS', $s->rkey('containers'))};
        my @enabled = grep { /^switch/ }
            @{$s->cmd('SMEMBERS', $s->rkey('ai:enabled'))};
        my @changes = changes("$what, switch", $id);

        is(tally(@said), $callers * $times . ' x 200', "$what: all of them");
        is($now->{ai} ? 'on' : 'off', $now->{comment} =~ s/.*-//r,
            "$what: AI is what the last one said");
        is("@names", $now->{name}, "$what: under one name");
        is("@enabled", $now->{ai} ? $now->{name} : '', "$what: so is the gate");
        is(scalar @changes, $callers * $times, "$what: an event for each");
        is($changes[-1]{version}, $s->cmd('HGET',
            $s->rkey("container:$now->{name}"), 'version'),
            "$what: the last one is what it is now");
    }

    # and away with it
    {
        my @wrong;

        for my $n (1 .. 4) {
            my $id = made(name => 'away', addresses => ["10.9.0.$n"]);

            changes("$what, away");

            my @said = race($callers, sub {
                my ($i) = @_;

                return $i % 4 == 0 ? 'D' . api($i, 'DELETE',
                        "/containers/$id")->{status}
                    : $i % 4 == 1 ? patch($i, $id, { name => "away-$i" })
                        ->{status}
                    : patch($i, $id, { ai => $i % 2 ? $true : $false })
                        ->{status};
            });
            my $all = tally(@said);
            my @changes = changes("$what, away", $id);

            push @wrong, $all if $all !~ /1 x D200\b/ || $all =~ /D200.*D200/
                || $all =~ /x D?(?!200|404)\d/;
            push @wrong, "last $changes[-1]{op}" if $changes[-1]{op} ne 'delete'
                || 1 != grep { $_->{op} eq 'delete' } @changes;
            push @wrong, "left: $_" for grep { /away/ }
                @{$s->cmd('KEYS', '*')},
                @{$s->cmd('SMEMBERS', $s->rkey('containers'))},
                @{$s->cmd('SMEMBERS', $s->rkey('ai:enabled'))},
                @{$s->cmd('ZRANGE', $s->rkey('index:owners'), 0, -1)};
        }

        @wrong = grep { !/index:source/ } @wrong;
        is(join('; ', @wrong), '', "$what: deleted once, and wholly");
    }

    # a name, an address and a number are one container's
    {
        my @ids = map { made(name => "pretender-$_") } 0 .. $callers - 1;
        my $one = '1 x 20[01], ' . ($callers - 1) . ' x 409';

        like(tally(race($callers, sub { patch($_[0], $ids[$_[0]],
            { name => 'king' })->{status} })), qr/^$one\z/,
            "$what: one is renamed to it");
        like(tally(race($callers, sub { create($_[0], name => 'queen')
            ->{status} })), qr/^$one\z/, "$what: one is made");
        like(tally(race($callers, sub { create($_[0], name => "addr-$_[0]",
            addresses => ['10.9.9.9'])->{status} })), qr/^$one\z/,
            "$what: one has the address");
        like(tally(race($callers, sub { create($_[0], name => "num-$_[0]",
            number => '77')->{status} })), qr/^$one\z/,
            "$what: one has the number");
    }

    # names go round: a change stays with its id
    {
        my @ids = map { made(name => "round-$_", comment => "$_-") } 0 .. 2;

        changes("$what, round");

        my @said = race($callers, sub {
            my ($i) = @_;
            my %strange;

            for my $n (1 .. 12) {
                my $at = ($i + $n) % 3;

                if ($i % 4 == 0) {
                    # to a name that another one of them may have had
                    patch($i, $ids[$at], { name => 'round-'
                        . int rand 5 });

                } else {
                    my $answer = patch($i, $ids[$at],
                        { comment => "$at-$i-$n" });
                    my $comment = $answer->{json}{data}{comment} // '';

                    $strange{"$answer->{status} $comment"
                        . ($answer->{json}{message} // '')}++
                        if $answer->{status} != 200 || $comment !~ /^$at-/
                            || $answer->{json}{data}{id} ne $ids[$at];
                }
            }

            return keys %strange;
        });

        is(tally(@said), '', "$what: none to another container");
        is(join(' ', map { get($ids[$_])->{comment} =~ /^(\d+)-/ } 0 .. 2),
            '0 1 2', "$what: each has its own");
    }

    check_ok($what);

    # the next round begins with nothing
    for my $one (@{ $c[0]->call('GET', '/containers?limit=100')
        ->{json}{data}{containers} })
    {
        $c[0]->call('DELETE', "/containers/$one->{id}");
    }

    is($s->cmd('SCARD', $s->rkey('containers')), 0, "$what: all of them go");
    check_ok($what);
}

is($_->stop, 0, 'it ends') for @c;
$s->finish;
