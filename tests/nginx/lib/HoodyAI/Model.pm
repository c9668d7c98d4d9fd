package HoodyAI::Model;

# The registry as the contract describes it, with time: what may a gateway
# answer that was asked between two moments?  Written from the description of
# keys and admission (redis-schema/schema.md, docs/DIRECTIVES.md), not from the
# module.
#
#     my $model = HoodyAI::Model->new(server => 'sys', covers => {...});
#
#     $model->step($began, $ended, 'SADD gate a', [0, 'SADD', $key, 'a']);
#     $model->fault(kind => 'kill', from => $t, to => $t, ...);
#     $model->slack([$time, $seconds], ...);
#     my $why = $model->judge({ from => $t0, to => $t1, claim => 'a', ... });
#
# Times are seconds of the monotonic clock.  A state of the registry lasts from
# the moment in which the write that makes it began to the moment in which the
# next write had been answered.

use strict;
use warnings;

use List::Util qw(max min);

use constant VISIBLE => 0.010;      # a change is in force after this time
use constant SLOW => 0.005;         # what the measure of slack may miss
use constant SCAN => 0.5;           # after a load, names in no set are found


# Options: server; max_stale, seconds; covers => text of an address or cgroup
# => [the sources it stands for]
sub new {
    my ($class, %option) = @_;

    return bless {
        max_stale => 1,
        db => [{}, {}],
        versions => [],
        faults => [],
        loads => [],
        slack => [],
        %option,
        prefix => "hoody:{$option{server}}:",
    }, $class;
}


# What Redis does.  A key is [type, value, deadline]; a deadline is the span
# of time in which it lies.

sub _copy_key {
    my ($key) = @_;

    return [$key->[0], ref $key->[1] ? { %{$key->[1]} } : $key->[1],
        $key->[2]];
}


sub _copy {
    my ($db) = @_;

    return [map { my $d = $_;
        +{ map { $_ => _copy_key($d->{$_}) } keys %$d } } @$db];
}


my %type = (SADD => 'set', SREM => 'set', HSET => 'hash', HDEL => 'hash');

# Does the command to the databases; false where Redis would say an error.
sub _do {
    my ($db, $began, $ended, $n, $command, @word) = @_;
    my $keys = $db->[$n];
    my $name = $word[0];
    my $key = defined $name ? $keys->{$name} : undef;

    if (my $type = $type{$command}) {
        return 0 if $key && $key->[0] ne $type;

        if ($command =~ /^(?:SADD|HSET)/) {
            $key = $keys->{$name} //= [$type, {}, undef];
        }

        return 1 if !$key;

        shift @word;

        if ($command eq 'SADD') {
            $key->[1]{$_} = 1 for @word;

        } elsif ($command eq 'HSET') {
            %{$key->[1]} = (%{$key->[1]}, @word);

        } else {
            delete @{$key->[1]}{@word};
            delete $keys->{$name} if !%{$key->[1]};
        }

        return 1;
    }

    if ($command eq 'DEL' || $command eq 'UNLINK') {
        delete @{$keys}{@word};

    } elsif ($command eq 'SET') {
        $keys->{$name} = ['string', $word[1], undef];

    } elsif ($command eq 'RENAME') {
        return 0 if !$key;
        delete $keys->{$name};
        $keys->{$word[1]} = $key;

    } elsif ($command eq 'COPY') {
        $keys->{$word[1]} = _copy_key($key) if $key;

    } elsif ($command eq 'PEXPIRE') {
        $key->[2] = [$began + $word[1] / 1000, $ended + $word[1] / 1000]
            if $key;

    } elsif ($command eq 'PERSIST') {
        $key->[2] = undef if $key;

    } elsif ($command eq 'FLUSHDB') {
        %$keys = ();

    } elsif ($command eq 'FLUSHALL') {
        %$_ = () for @$db;

    } elsif ($command eq 'SWAPDB') {
        @$db[0, 1] = @$db[1, 0];

    } else {
        die "the model does not know $command\n";
    }

    return 1;
}


# Those of the commands, done together, that Redis would not refuse.
sub possible {
    my ($self, @commands) = @_;
    my $db = _copy($self->{db});

    return grep { _do($db, 0, 0, @$_) } @commands;
}


# The commands of one write, atomic; what Redis refuses changes nothing.
sub step {
    my ($self, $began, $ended, $text, @commands) = @_;

    $self->expire($began);
    $self->load($began, $ended + SCAN)
        if grep { $_->[1] =~ /^FLUSH/ } @commands;

    my $good = 1;
    my $db = _copy($self->{db});

    for (@commands) {
        _do($db, $began, $ended, @$_) or $good = 0;
    }

    $self->{db} = $db;
    $self->_version($began, $ended, $text);

    return $good;
}


# Everything is what the other says.
sub replace {
    my ($self, $began, $ended, $text, $db) = @_;

    $self->{db} = $db;
    $self->_version($began, $ended, $text);
}


# A write about the time of a deadline: nobody knows which was first.  Until
# "known", when Redis had been asked, it may have been the one, the other, or
# both.
sub doubt {
    my ($self, $began, $ended, $known, $text, $db, @commands) = @_;
    my $written = _copy($self->{db});

    $self->load($began, $known + SCAN)
        if grep { $_->[1] =~ /^FLUSH/ } @commands;

    _do($written, $began, $ended, @$_) for @commands;

    $self->expire($ended + 0.01);
    $self->replace($began, $known, $text, $written);
    $self->replace($began, $known, "$text, in doubt", $db);
}


# What has a deadline before this moment is gone.  Of those at about the same
# time nobody knows which goes first.
sub expire {
    my ($self, $now) = @_;
    my @due;

    for my $n (0, 1) {
        my $keys = $self->{db}[$n];

        push @due, map { [@{$keys->{$_}[2]}, $n, $_] }
            grep { $keys->{$_}[2] && $keys->{$_}[2][0] <= $now } keys %$keys;
    }

    @due = sort { $a->[0] <=> $b->[0] } @due;

    while (@due) {
        my @together = shift @due;
        my ($from, $to) = @{$together[0]};

        while (@due && $due[0][0] <= $to + VISIBLE && @together < 4) {
            push @together, shift @due;
            $to = max($to, $together[-1][1]);
        }

        my $before = $self->{db};
        my $all = (1 << @together) - 1;

        for my $set (1 .. $all) {
            my @gone = @together[grep { $set >> $_ & 1 } 0 .. $#together];

            $self->{db} = _copy($before);
            delete $self->{db}[$_->[2]]{$_->[3]} for @gone;
            $self->_version($from, $to,
                join(', ', map { $_->[3] } @gone) . ' expires', 1);
        }
    }
}


# Is there a deadline in this span?
sub deadline_in {
    my ($self, $from, $to) = @_;

    for my $db (@{$self->{db}}) {
        for (values %$db) {
            return 1 if $_->[2] && $_->[2][1] >= $from && $_->[2][0] <= $to;
        }
    }

    return 0;
}


sub _version {
    my ($self, $began, $ended, $text, $expiry) = @_;
    my $versions = $self->{versions};

    # writes are one after the other, but deadlines overlap with them: then
    # each may have been as early as the other, and as late
    for (reverse @$versions) {
        last if $_->{from} <= $began;
        $_->{from} = $began;
    }

    $ended = max($ended, $versions->[-1]{done}) if @$versions;

    push @$versions, {
        from => $began,
        done => $ended,
        text => $text,
        expiry => $expiry,
        view => $self->_view,
        known => {},
    };
}


# Database 0 as admission sees it.
sub _view {
    my ($self) = @_;
    my $db = $self->{db}[0];
    my %view = (gate => {}, containers => {});
    my $list = $db->{"$self->{prefix}containers"};

    for (keys %$db) {
        my ($type, $value) = @{$db->{$_}};

        if ($_ eq "$self->{prefix}ai:enabled" && $type eq 'set') {
            $view{gate} = { %$value };
            next;
        }

        my ($name) = /^\Q$self->{prefix}\Econtainer:(.*)/ or next;

        next if $type ne 'hash' || ($value->{status} // 'running') ne 'running';

        my $cgroup = $value->{cgroup} // '';

        $view{containers}{$name} = {
            number => $value->{number} // '',
            cgroup => $cgroup,
            sources => { map { $_ => 1 } map { @{$self->{covers}{$_} || []} }
                grep({ m{^/} } $cgroup),
                grep({ !m{^/} } split / +/, $value->{addresses} // '') },
        };
    }

    my %listed = (%{$view{gate}},
        $list && $list->[0] eq 'set' ? %{$list->[1]} : ());

    $view{containers}{$_}{listed} = $listed{$_} for keys %{$view{containers}};

    return \%view;
}


# "200 name", or the status and code of the refusal.  With "listed", names in
# no set claim nothing from others.
sub decide {
    my ($view, $claim, $source, $listed) = @_;
    my $all = $view->{containers};
    my $name = $claim;

    if (!$all->{$claim}) {
        my @named = $claim =~ /^[1-9]\d*\z/
            ? grep { $all->{$_}{number} eq $claim
                     && (!$listed || $all->{$_}{listed}) } keys %$all : ();

        return '401 invalid_identity' if @named != 1;
        $name = $named[0];
    }

    my $self = $all->{$name};

    return '401 invalid_identity' if !$self->{sources}{$source};

    for (keys %$all) {
        next if $_ eq $name || !$all->{$_}{sources}{$source};
        next if $listed && !$all->{$_}{listed};

        # the outermost cgroup counts: one further in takes nothing away
        next if $source =~ m{^/}
            && length $all->{$_}{cgroup} > length $self->{cgroup};

        return '401 invalid_identity';
    }

    return $view->{gate}{$name} ? "200 $name" : '403 ai_disabled';
}


sub _of {
    my ($version, $claim, $source) = @_;

    return $version->{known}{"$claim $source"}
        //= decide($version->{view}, $claim, $source);
}


# Trouble.  Keys: kind; from, to; stale => until when what was known before it
# may be served; recovers => until when any refusal is right; lost => until
# when connections may break; mixed => 1: keys are seen one by one; silent =>
# 1: Redis says nothing from "from" to "to"; only => n: of one gateway.
sub fault {
    my ($self, %fault) = @_;

    $fault{$_} //= $fault{to} for qw(stale recovers);
    $fault{lost} //= 0;

    $self->load($fault{from}, $fault{recovers} + SCAN);
    push @{$self->{faults}}, \%fault;
}


# In this span of time, names in no set may be unknown: a load reads those in
# the sets first, and serves.
sub load {
    my ($self, $from, $to) = @_;

    push @{$self->{loads}}, [$from, $to];
}


# Measured: [time, seconds that servers were ready and did not run], the seconds
# of what ended since the sample before.  They count from where they began: who
# is asked while a server still waits has not heard of the change either.
sub slack {
    my ($self, @samples) = @_;
    my $sum = 0;
    my @early = (0) x @samples;

    for my $i (1 .. $#samples) {
        my $began = $samples[$i - 1][0] - $samples[$i][1];

        for (my $k = $i - 1; $k >= 0 && $samples[$k][0] > $began; $k--) {
            $early[$k] += $samples[$k][0] - $began;
        }
    }

    $self->{slack} = [map { $sum += $samples[$_][1];
        [$samples[$_][0], $sum + $early[$_]] } 0 .. $#samples];

    # a long one is like a stop: there is work left after it, and a heartbeat
    # that came too late ends the connections
    for my $i (1 .. $#samples) {
        my ($to, $wait) = @{$samples[$i]};

        $self->fault(kind => 'starved', from => $samples[$i - 1][0] - $wait,
            to => $to, stale => $to + 0.05, recovers => $to + 1.5)
            if $wait > 0.2 * $self->{max_stale};
    }
}


sub _waited {
    my ($self, $time, $end) = @_;
    my $s = $self->{slack};

    return 0 if !@$s;

    my ($low, $high) = (0, $#$s);

    # the last one before, or the first one after
    while ($low < $high) {
        my $middle = int(($low + $high) / 2);

        if ($s->[$middle][0] < $time) {
            $low = $middle + 1;
        } else {
            $high = $middle;
        }
    }

    $low-- if !$end && $low > 0;

    return $s->[$low][1];
}


# How much later than VISIBLE a change may be in force for who asked between
# these moments: as long as servers waited for a processor meanwhile.
sub late {
    my ($self, $from, $to) = @_;
    my $late = SLOW;

    for (1 .. 8) {
        my $more = SLOW + $self->_waited($to, 1)
            - $self->_waited($from - VISIBLE - $late, 0);

        last if $more <= $late;
        $late = min($more, $self->{max_stale});
    }

    return $late;
}


# Versions that hold at some moment between the two.
sub _between {
    my ($self, $from, $to) = @_;
    my $versions = $self->{versions};
    my ($low, $high) = (0, $#$versions);

    # the last one that had been answered before
    while ($low < $high) {
        my $middle = int(($low + $high + 1) / 2);

        if ($versions->[$middle]{done} <= $from) {
            $low = $middle;
        } else {
            $high = $middle - 1;
        }
    }

    my @found = $versions->[$low];

    while (++$low < @$versions) {
        my $v = $versions->[$low];

        # of a deadline, the replica counts from the moment of its question
        my $early = $v->{expiry} ? VISIBLE + $self->late($to, $to) : 0;

        last if $v->{from} - $early > $to;
        push @found, $v;
    }

    return @found;
}


sub _faults {
    my ($self, $kind, $from, $to, $gateway) = @_;

    return grep { $_->{from} <= $to && $_->{$kind} >= $from
                  && (!defined $_->{only} || $_->{only} == $gateway) }
        @{$self->{faults}};
}


# Was nothing heard of Redis for max_stale at this moment, and for so much
# longer?
sub _unheard {
    my ($self, $time, $gateway, $more) = @_;

    return grep { $_->{silent}
                  && $_->{from} + $self->{max_stale} + $more < $time }
        $self->_faults('to', $time, $time, $gateway);
}


# An answer: gateway, from, to, claim, source, status, code, name.  Says what
# is wrong with it; undef: nothing.  Counts in $self->{count}.
sub judge {
    my ($self, $a) = @_;
    my ($claim, $source, $gateway) = @$a{qw(claim source gateway)};
    my $late = $self->late($a->{from}, $a->{to});
    my $since = $a->{from} - VISIBLE - $late;
    my $got = $a->{status} == 200 ? "200 $a->{name}"
                                  : "$a->{status} $a->{code}";
    my @stale = $self->_faults('stale', $since, $a->{to}, $gateway);

    for (@stale) {
        $since = min($since, max($a->{from} - $self->{max_stale} - VISIBLE
            - $late, $_->{from} - VISIBLE - $late));
    }

    my @versions = $self->_between($since, $a->{to});
    my %may = map { _of($_, $claim, $source) => 1 } @versions;
    my @broken = $self->_faults('recovers', $a->{from} - VISIBLE - $late,
        $a->{to}, $gateway);

    $self->{count}{requests}++;
    $self->{count}{admitted}++ if $a->{status} == 200;
    $self->{count}{exact}++
        if keys %may == 1 && !grep { $_->{kind} ne 'starved' } @broken;

    return 'admitted, and nothing was heard of Redis'
        if $a->{status} == 200
           && $self->_unheard($a->{from}, $gateway, VISIBLE + $late);

    return undef if $may{$got};

    if ($a->{status} == 200) {
        return undef if grep({ $_->{mixed} } @stale)
            && $self->_mixed($a->{name}, $claim, $source, @versions);

        return undef if grep({ $_->[0] <= $a->{to} && $_->[1] >= $a->{from} }
                @{$self->{loads}})
            && grep { decide($_->{view}, $claim, $source, 1) eq $got }
                @versions;

        return "admitted as \"$a->{name}\"; allowed: "
            . join ', ', sort keys %may;
    }

    if ($a->{status} == 0) {
        return undef if $self->_faults('lost', $a->{from}, $a->{to}, $gateway);
        return 'no answer';
    }

    my $refusal = $got eq '401 invalid_identity'
        || $got =~ /^403 (?:ai_disabled|access_revoked)\z/;

    # on the way from one state to another it is refused, and nobody says how
    return undef if $refusal && (keys %may > 1 || @broken);

    return undef if @broken && $got eq '503 registry_unavailable';

    return "refused with $got; allowed: " . join ', ', sort keys %may;
}


# Hash and gate of different states.
sub _mixed {
    my ($self, $name, $claim, $source, @versions) = @_;

    return grep({ $_->{view}{gate}{$name} } @versions)
        && grep({ my $c = $_->{view}{containers}{$name};
                  $c && $c->{sources}{$source}
                  && ($claim eq $name || $c->{number} eq $claim) } @versions);
}


# A stream that was admitted: head (when its head came), alive (when it was
# last seen open), to (when its end was seen), end: "revoked", "whole", "lost"
# or "open"; bound => seconds from the loss of access to the end.  Undef where
# all is well; the time it took is added to $self->{took}.
sub judge_stream {
    my ($self, $a, $bound) = @_;
    my ($claim, $source, $name, $gateway)
        = @$a{qw(claim source name gateway)};
    my ($head, $to) = @$a{qw(head to)};
    my $since = $head - VISIBLE - $self->late($a->{from}, $head);
    my $lost;
    my $ever = 0;
    my @faults = $self->_faults('recovers', $since, $to, $gateway);

    $self->{count}{streams}++;

    return 'open, and nothing was heard of Redis'
        if $self->_unheard($a->{alive}, $gateway,
            $bound + $self->late($a->{alive}, $to));

    for ($self->_between($since, $to)) {

        if (_of($_, $claim, $source) eq "200 $name") {
            $lost = undef;
            next;
        }

        $ever = 1;
        $lost //= max($head, $_->{done});

        # the next version says until when it was so
        my $next = $self->_after($_);
        my $until = min($a->{alive}, $next ? $next->{from} : $to);
        my $known = max($lost, map { $_->{recovers} }
            $self->_faults('recovers', $lost, $until, $gateway));

        if ($until > $known + $bound + $self->late($known, $until)) {
            return sprintf 'open %.3f s after the loss of access: %s',
                $until - $lost, $_->{text};
        }
    }

    if ($a->{end} eq 'lost') {
        return undef if $self->_faults('lost', $head, $to, $gateway);
        return 'its connection broke';
    }

    if ($a->{end} eq 'revoked') {
        $self->{count}{revoked}++;

        return 'ended, and access was never lost' if !$ever && !@faults;

        push @{$self->{took}}, [$to - $lost, $self->late($lost, $to)]
            if $lost && $lost < $to
               && !$self->_faults('recovers', $lost - VISIBLE, $to,
                   $gateway);
    }

    return undef;
}


sub _after {
    my ($self, $version) = @_;
    my $versions = $self->{versions};

    if (!defined $version->{next}) {
        $versions->[$_]{next} = $_ + 1 for 0 .. $#$versions;
    }

    return $versions->[$version->{next}];
}


# The states around an answer, for whoever has to find out: all of the last
# 100 ms, and before that those that made a difference.
sub explain {
    my ($self, $a) = @_;
    my $zero = $a->{from};
    my $last = '';
    my $text = '';

    for ($self->_between($zero - 1.5 * $self->{max_stale}, $a->{to})) {
        my $answer = _of($_, @$a{qw(claim source)});

        $text .= sprintf "  %+.4f .. %+.4f  %s: %s\n", $_->{from} - $zero,
            $_->{done} - $zero, $_->{text} =~ s/\Q$self->{prefix}\E//gr,
            $answer if $answer ne $last || $_->{done} > $zero - 0.1;
        $last = $answer;
    }

    for ($self->_faults('recovers', $zero - 1, $a->{to}, $a->{gateway})) {
        $text .= sprintf "  %+.4f .. %+.4f  FAULT %s\n",
            $_->{from} - $zero, $_->{to} - $zero, $_->{kind};
    }

    return sprintf("  asked +0 .. %+.4f, servers waited %.4f s\n",
        $a->{to} - $zero, $self->late($a->{from}, $a->{to})) . $text;
}


1;
