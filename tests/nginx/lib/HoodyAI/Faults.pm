package HoodyAI::Faults;

# A gateway whose Redis gets into trouble while three containers ask without
# a pause: "on" is enabled, "off" is not, "cut" loses its access meanwhile.
#
#     tracks('faults.t', \&one, \&two);
#
#     sub one {
#         my $f = HoodyAI::Faults->new;
#
#         $f->row(name => ..., run => sub { ... });
#         $f->finish;
#     }
#
# A row is a fault of docs/FAULTS.md, which must have the same rows in the same
# words; a track is a gateway with rows one after the other; tracks run side
# by side, each in a process of its own.
#
# What must hold in every row:
#
#   - "off" is never admitted, and "cut" not when max_stale has passed since
#     its access ended (hard: both times are taken so that load cannot matter);
#   - no answer takes more than hoody_ai_wait and 250 ms, each has its type;
#   - what the row says about time.
#
# Where a time was exceeded on a machine that was busy, the row is tried again,
# up to three times; an admission that must not be is never forgiven.

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::UNIX;
use List::Util qw(max min sum);
use POSIX qw(_exit);
use Socket qw(AF_INET SOCK_STREAM inet_aton pack_sockaddr_in);
use Test::More;
use Time::HiRes qw(sleep clock_gettime CLOCK_MONOTONIC);

use HoodyAI::Client;
use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp spew wait_for);

our @EXPORT = qw(tracks now);

my %local = (on => '127.0.0.1', off => '127.0.0.2', cut => '127.0.0.3');

my %code = (
    200 => qr/^-\z/,
    401 => qr/^invalid_identity\z/,
    403 => qr/^(?:ai_disabled|access_revoked)\z/,
    503 => qr/^registry_unavailable\z/,
);

my $tick = 0.05 * slow;
my $rows;


sub now { clock_gettime(CLOCK_MONOTONIC) }


# Runs each track in a process; compares their rows with those that the manual
# has for this file, and prints the table with what was measured.  A file that
# is undef has no rows.
sub tracks {
    my ($file, @tracks) = @_;

    my @out;

    $rows = ($ENV{HAI_WORK} // '/tmp') . "/fault-rows.$$";
    spew($rows, '');

    for my $track (@tracks) {
        my $pid = open(my $out, '-|') // die "fork: $!\n";

        if ($pid == 0) {
            my $builder = Test::More->builder;

            $builder->reset;
            $builder->output(\*STDOUT);
            $builder->failure_output(\*STDOUT);
            $builder->todo_output(\*STDOUT);
            $track->();
            exit 0;
        }

        push @out, $out;
    }

    HoodyAI::System->take_over($out[$_ - 1], "track $_") for 1 .. @out;

    return if !defined $file;

    my %measured = map { split /\t/, $_, 2 } split /\n/, slurp($rows);
    my $manual = slurp(HoodyAI::System::root() . '/docs/FAULTS.md');
    my ($section) = $manual =~ /\n## [^\n]*`\Q$file\E`\n(.*?)(?=\n## |\z)/s;
    my @given = ($section // '') =~ /^(\| .*\|)$/mg;
    my @ran = map { (split /\t/, $measured{$_})[0] } keys %measured;

    shift @given;
    unlink $rows;
    ok(scalar @ran, 'rows were run');
    is(join("\n", sort @given), join("\n", sort @ran),
        "docs/FAULTS.md has the rows of $file, and no others");

    note(sprintf '%-44s %8s %8s %9s', 'fault', 'noticed', 'mended',
        'longest');
    note($_) for map { (split /\t/, $measured{$_})[1] } sort keys %measured;
}


# Options: max_stale, wait and connect (seconds); redis => further arguments of
# hoody_ai_redis, or address => instead of the socket; later => 1: Redis is
# away when nginx starts; start => options of redis(); under => as nginx() has
# it; link => a sub that is given the system and returns more of these.
sub new {
    my ($class, %option) = @_;

    my $self = bless {
        max_stale => 1,
        wait => 0.5,
        connect => 0.5,
        read => 0,
        probes => [],
        %option,
    }, $class;

    my $s = $self->{s} = HoodyAI::System->new;

    %$self = (%$self, $self->{link}->($s)) if $self->{link};

    $self->start;
    $self->fill(qw(on cut));
    $s->provider;

    $self->{later} ? $self->absent : $self->gateway;
    $self->probe;
    $self->settle if !$self->{later};

    return $self;
}


sub gateway {
    my ($self) = @_;

    my $s = $self->{s};
    my $redis = $self->{address} // "unix:$s->{redis_socket}";

    $redis .= " connect_timeout=" . 1000 * $self->{connect} . 'ms'
        . " max_stale=$self->{max_stale}s "
        . ($self->{redis} // '');

    $s->nginx(redis => $redis, level => 'info', under => $self->{under},
        location => 'hoody_ai_wait ' . 1000 * $self->{wait} . 'ms;');
}


# A gateway that starts, also anew, when Redis is away; "cut" will not have its
# access when it comes.
sub absent {
    my ($self) = @_;

    my $s = $self->{s};

    $s->stop('nginx', 'QUIT');
    $s->disable('cut');
    $s->cmd('SAVE');
    $s->stop('redis');
    $self->gateway;

    # before, nobody was there to answer
    $self->{from} = now();
}


sub start {
    my ($self, %option) = @_;

    $self->{s}->redis(%{$self->{start} // {}}, %option);
}


# The three containers, these enabled, in one write.
sub fill {
    my ($self, @enabled) = @_;

    my $s = $self->{s};

    $s->cmd('MULTI');

    for my $name (keys %local) {
        $s->container($name, addresses => $local{$name},
            enabled => scalar grep { $_ eq $name } @enabled);
    }

    $s->cmd('SET', $s->rkey('generation'), 'first');
    $s->cmd('EXEC');
}


# The requests: each a connection of its own, started at a steady pace whatever
# became of those before.  A line for each answer, and one for each time that
# this process itself did not get the processor.
sub probe {
    my ($self) = @_;

    my $s = $self->{s};

    $self->{log} = "$s->{dir}/probes";
    spew($self->{log}, '');

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open(STDOUT, '>', '/dev/null');
        open(STDERR, '>', "$s->{dir}/probe.out.log");
        $SIG{TERM} = sub { _exit(0) };
        eval { $self->_ask_on };
        print STDERR $@;
        _exit(1);
    }

    $s->{running}{probe} = { pid => $pid };
    push @{$s->{order}}, 'probe';
}


sub _ask_on {
    my ($self) = @_;

    my $s = $self->{s};
    my %text = map { $_ => HoodyAI::Client::build('POST',
        '/v1/chat/completions', token => $_, body => chat(),
        headers => [Connection => 'close']) } keys %local;
    my %open;
    my $to = pack_sockaddr_in($s->{port}, inet_aton('127.0.0.1'));
    my %from = map { $_ => pack_sockaddr_in(0, inet_aton($local{$_})) }
        keys %local;
    my $select = IO::Select->new;
    my $next = now() + $tick;

    open(my $log, '>>', $self->{log}) or die "$self->{log}: $!\n";
    $log->autoflush(1);

    while (1) {
        my $left = $next - now();

        if ($left <= 0) {
            print $log "- $next ", $next - $left, " 0 -\n" if $left < -0.02;

            for my $name (sort keys %local) {
                my $start = now();
                my $socket;

                if (!socket($socket, AF_INET, SOCK_STREAM, 0)
                    || !bind($socket, $from{$name})
                    || !connect($socket, $to)
                    || !syswrite $socket, $text{$name})
                {
                    print $log "$name $start ", now(), " 0 -\n";
                    next;
                }

                $select->add($socket);
                $open{$socket} = [$name, $start, ''];
            }

            $next = max($next + $tick, now());
            next;
        }

        for my $socket ($select->can_read($left)) {
            my $one = $open{$socket};
            my $n = sysread $socket, $one->[2], 65536, length $one->[2];

            next if $n;

            my ($status) = $one->[2] =~ m{^HTTP/1.1 (\d+)};
            my ($code) = $one->[2] =~ /"code":"(\w+)"/;

            print $log "$one->[0] $one->[1] ", now(), ' ', $status // 0, ' ',
                $code // '-', "\n";
            $select->remove($socket);
            delete $open{$socket};
            close $socket;
        }
    }
}


# What the probes have seen since $from: [name, start, end, status, code].
sub seen {
    my ($self, $from) = @_;

    open(my $in, '<', $self->{log}) or die "$self->{log}: $!\n";
    seek $in, $self->{read}, 0;

    while (my $line = <$in>) {
        last if $line !~ /\n\z/;
        $self->{read} += length $line;
        chomp $line;
        push @{$self->{probes}}, [split / /, $line];
    }

    return grep { $_->[1] >= $from } @{$self->{probes}};
}


# Until a request that began after $from was answered so: when.
sub until_seen {
    my ($self, $from, $timeout, %want) = @_;

    my %when;
    my $end = now() + $timeout * slow;
    my $next = 0;

    while (keys %when < keys %want && now() < $end) {
        sleep 0.02;
        $self->seen($from);

        for my $one (@{$self->{probes}}[$next .. $#{$self->{probes}}]) {
            my $status = $want{$one->[0]} // next;

            $when{$one->[0]} //= $one->[2]
                if $one->[1] >= $from && $one->[3] == $status;
        }

        $next = @{$self->{probes}};
    }

    return keys %when == keys %want ? max(values %when) : undef;
}


# The last answers of all three are these, and "cut" has its access.
sub settle {
    my ($self) = @_;

    my $s = $self->{s};

    $s->enable('cut');

    my $from = now();

    $self->until_seen($from, 15, on => 200, off => 403, cut => 200)
        or die "the gateway does not settle:\n" . substr($s->log, -2000);

    # a heartbeat or two, so that no row begins in the first moment of new
    # connections
    sleep 0.4;
}


# A row.  name, get, noticed, back: the words of the manual.  run: the fault;
# or its parts, where it takes the usual course (see _usual()): before, break,
# revokes => 1, notice => { name => status, ... }, mend.  Further: limits,
# seconds until it is noticed and until all is right again; allow => { name =>
# [status, ...] } beside what is usual; served => 1: "on" is never refused;
# blind => 1: Redis cannot be reached, so "on" ends as well; live => 1: the end
# of "cut" is noticed as always.
sub row {
    my ($self, %row) = @_;

    my $s = $self->{s};

    for my $try (1 .. 4) {
        $self->{$_} = undef for qw(fault revoked mended noticed back);
        $self->{wrong} = [];
        $self->{late} = [];

        $self->{from} = now();

        my $run = $row{run} // sub { $self->_usual(\%row) };
        my $error = eval { $run->($self, $s); 1 } ? '' : $@;

        $self->{wrong} = [$error] if $error;
        sleep 0.1;
        $self->_judge(\%row);

        last if $try == 4 || @{$self->{wrong}} || !@{$self->{late}};
        note("$row{name}: @{$self->{late}}; once more");
        $self->settle;
    }

    is(join("\n", @{$self->{wrong}}), '',
        "$row{name}: never admitted beyond what is known");
    is(join("\n", @{$self->{late}}), '', "$row{name}: in time");

    my $line = sprintf "%-44s %8s %8s %9s", $row{name},
        (map { defined $_ ? sprintf '%.2f s', $_ : '' }
            $self->{noticed}, $self->{back}, $self->{longest});

    open(my $out, '>>', $rows) or die "$rows: $!\n";
    syswrite $out, "$row{name}\t| $row{name} | $row{get} | $row{noticed} | "
        . "$row{back} |\t$line\n";
    close $out;

    $self->settle;
    splice @{$self->{probes}};
}


sub _judge {
    my ($self, $row) = @_;

    my $from = $self->{from};
    my @seen = $self->seen($from);
    my @stalls = grep { $_->[0] eq '-' } @seen;
    my %allow = (on => '200 503', off => '403 503', cut => '200 403 503');
    my $limit = $self->{wait} + 0.25 * slow;
    my (%count, %said);

    my $say = sub {
        my ($kind, $text, $one) = @_;

        push @{$self->{$kind}}, sprintf '%s: %s, %.3f to %.3f s: %s %s',
            $text, $one->[0], $one->[1] - $from, $one->[2] - $from,
            @$one[3, 4] if $said{$text}++ < 3;
    };

    $allow{$_} .= " @{$row->{allow}{$_}}" for keys %{$row->{allow} // {}};
    $allow{on} = '200' if $row->{served};
    $self->{longest} = 0;

    for my $one (grep { $_->[0] ne '-' } @seen) {
        my ($name, $start, $end, $status, $code) = @$one;
        my $lost = sum(0, map { max(0, min($end, $_->[2])
            - max($start, $_->[1])) } @stalls);

        $count{$name}++;
        $self->{longest} = max($self->{longest}, $end - $start);
        $say->('late', 'too long', $one) if $end - $start - 2 * $lost > $limit;

        # who loses its access may lose it in the middle of a request
        my $ended = $code eq 'access_revoked' && $allow{$name} =~ /40[13]/;

        if ($row->{served} && $name eq 'on' && $status == 503) {
            # in time it would have been served
            $say->('late', 'refused', $one);

        } elsif (!$ended && " $allow{$name} " !~ / $status /) {
            $say->('wrong', 'not what this fault may cause', $one);

        } elsif ($code !~ $code{$status}) {
            $say->('wrong', 'not of its type', $one);
        }

        next if $status != 200 || $name eq 'off';

        # the answer may come late, the question was late for certain

        if ($name eq 'cut' && defined $self->{revoked}) {
            my $after = $start - $self->{revoked};

            $say->('wrong', 'admitted', $one) if $after > $self->{max_stale};
            $say->('late', 'admitted', $one) if $end - $self->{revoked}
                - 2 * $lost > ($row->{live} ? 0 : $self->{max_stale})
                + 0.25 * slow;
        }

        if ($name eq 'on' && $row->{blind}
            && $start > $self->{fault} + 0.02 + $self->{max_stale}
            && (!defined $self->{mended} || $end < $self->{mended}))
        {
            $say->('wrong', 'admitted', $one);
        }
    }

    for my $name (keys %local) {
        push @{$self->{wrong}}, "$name was not asked" if !$count{$name};
    }

    for (['noticed', 0], ['back', 1]) {
        my ($what, $i) = @$_;
        my $most = $row->{limits}[$i] // next;

        if (!defined $self->{$what}) {
            push @{$self->{late}}, "never $what";

        } elsif ($self->{$what} > $most * slow
            + 2 * sum(0, map { $_->[2] - $_->[1] } @stalls))
        {
            push @{$self->{late}}, sprintf '%s after %.3f s', $what,
                $self->{$what};
        }
    }
}


# What happens in a row.  Each of the times is taken when it is certain.

sub break {
    my ($self, $what) = @_;

    $self->{began} = now();
    $what->();
    $self->{fault} = now();
}


sub revoke {
    my ($self, $how) = @_;

    $how ? $how->() : $self->{s}->disable('cut');
    $self->{revoked} = now();
}


# Without a write: from here on the truth is that it has no access.
sub revoked { $_[0]{revoked} = now() }


sub notice {
    my ($self, %want) = @_;

    my $when = $self->until_seen($self->{began}, 10, %want);

    $self->{noticed} = $when - $self->{began} if $when;
}


sub mend {
    my ($self, $how) = @_;

    my $from = now();

    $self->{mended} //= $from;
    $how->() if $how;
}


# So many seconds after it broke; at the earliest, for what is answered later.
sub mends_itself {
    my ($self, $seconds) = @_;

    my $left = $self->{began} + $seconds - now();

    sleep $left if $left > 0;
    $self->{mended} = $self->{began} + $seconds;
}


# All three get what is true, "cut" without its access.
sub right {
    my ($self) = @_;

    my $from = $self->{mended} // $self->{began};
    my $when = $self->until_seen($from, 10, on => 200, off => 403, cut => 403);

    $self->{back} = $when - $from if $when;
}


# Something breaks and "cut" loses its access, by that itself where it revokes;
# this is noticed; it is mended, where it does not mend itself.
sub _usual {
    my ($self, $row) = @_;

    $row->{before}->() if $row->{before};

    if ($row->{revokes}) {
        $self->break(sub { $self->revoke($row->{break}) });

    } else {
        $self->break($row->{break});
        $self->revoke;
    }

    $self->notice(%{$row->{notice}});
    $self->mend($row->{mend}) if $row->{mend};
    $self->right;
}


# The database as it will be when Redis starts again: a Redis of its own
# changes a copy, so that nobody sees it before.
sub next_data {
    my ($self, @commands) = @_;

    my $s = $self->{s};
    my $dir = "$s->{dir}/next";

    $s->cmd('SAVE');
    mkdir $dir;
    spew("$dir/dump.rdb", slurp("$s->{dir}/redis/dump.rdb"));
    $s->spawn('next', ['/usr/bin/env', 'redis-server', '--port', 0,
        '--unixsocket', "$dir/s", '--dir', $dir, '--save', '',
        '--logfile', "$dir/redis.txt"]);

    my $cli = sub { system('redis-cli', '-s', "$dir/s", @_) };

    open(my $out, '>&', \*STDOUT);
    open(STDOUT, '>', '/dev/null');
    my $done = wait_for { $cli->('PING') == 0 };
    $done &&= $cli->(@$_) == 0 for @commands, ['SAVE'];
    open(STDOUT, '>&', $out);

    $done or die "no other Redis\n";
    $s->stop('next');

    return slurp("$dir/dump.rdb");
}


# A command whose answer nobody waits for.
sub say_to_redis {
    my ($self, @words) = @_;

    my $socket = IO::Socket::UNIX->new(Peer => $self->{s}{redis_socket})
        or die "redis: $!\n";

    $socket->syswrite('*' . @words . "\r\n"
        . join '', map { '$' . length($_) . "\r\n$_\r\n" } @words);

    return $socket;
}


# What a program needs in its environment to have a wall clock that set_clock()
# sets, see clock.c.
sub clock_env {
    my ($s) = @_;

    my $library = "$s->{dir}/clock.so";
    my $source = HoodyAI::System::root() . '/tests/nginx/lib/clock.c';

    system('cc', '-shared', '-fPIC', '-O2', '-o', $library, $source) == 0
        or die "cc failed\n";
    spew("$s->{dir}/clock", pack('q', 0));

    return ("LD_PRELOAD=$library", "FAULT_CLOCK=$s->{dir}/clock",
        $ENV{ASAN_OPTIONS} ? "ASAN_OPTIONS=$ENV{ASAN_OPTIONS}"
            . ':verify_asan_link_order=0' : ());
}


# Seconds ahead, or behind.
sub set_clock {
    my ($s, $seconds) = @_;

    open(my $out, '+<', "$s->{dir}/clock") or die "$s->{dir}/clock: $!\n";
    syswrite $out, pack 'q', $seconds;
    close $out;
}


sub finish {
    my ($self, %option) = @_;

    my $s = $self->{s};

    is($s->stop('probe'), 0, 'the requests never ended');
    $s->finish(%option);
}


1;
