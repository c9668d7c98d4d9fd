#!/usr/bin/perl

# The network between a gateway and its Redis in trouble, and the host's clock:
# see faults.t.
#
# asan: no, faults.t runs the same code of the module

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Faults;
use HoodyAI::Link;
use HoodyAI::System qw(slurp spew suspend wait_for);

if (!HoodyAI::Link::private()) {
    diag('NOT TESTED: a network in trouble needs root and tun devices');
    plan skip_all => 'network namespaces and tun devices cannot be made here';
}

my $stale = 'the last known truth until `max_stale`, then 503';

my @open = ('--bind', '0.0.0.0', '--protected-mode', 'no');


# A gateway on this side of a link, its Redis on the other.
sub linked {
    my ($n, %option) = @_;

    my $link;
    my $f = HoodyAI::Faults->new(%option, link => sub {
        my ($s) = @_;

        $link = HoodyAI::Link->new($s, n => $n);
        $s->{redis_port} = 6379;

        return (start => { under => [$link->far], args => \@open },
            address => $link->address . ':6379');
    });

    return ($f, $link, $f->{s});
}


sub slow {
    # a new latency makes TCP send again and wait for what it sent: an answer
    # may take two round trips
    my ($f, $link) = linked(1, max_stale => 10, connect => 5);

    $f->row(name => '2 s latency, less than 3/5 of `max_stale`',
        get => 'the truth, two round trips late; 503 after '
            . '`hoody_ai_wait` from its announcement to its read',
        noticed => 'as late as the feed is, and the read after it',
        back => 'when the latency is gone',
        limits => [9, 4.5],
        run => sub {
            $f->break(sub { $link->set(delay => 2) });
            sleep 0.5;
            $f->revoke;
            $f->notice(cut => 403);
            $f->mend(sub { $link->set });
            $f->right;
        });

    $f->finish;
}


sub slower {
    my ($f, $link) = linked(2);

    $f->row(name => '2 s latency, more than `max_stale`',
        get => $stale,
        noticed => '3/5 of `max_stale` without an answer, refused at '
            . '`max_stale`',
        back => 'at the next try, 50 ms to 2 s apart',
        limits => [1.25, 4], blind => 1,
        run => sub {
            $f->break(sub { $link->set(delay => 2) });
            $f->revoke;
            $f->notice(on => 503);
            sleep 1;
            $f->mend(sub { $link->set });
            $f->right;
        });

    $f->finish;
}


sub dead {
    my ($f, $link, $s) = linked(3);

    $f->row(name => 'half-open: no packet passes any more',
        get => $stale,
        noticed => '3/5 of `max_stale` without an answer, refused at '
            . '`max_stale`',
        back => 'at the next try, 50 ms to 2 s apart',
        limits => [1.25, 3.5], blind => 1,
        run => sub {
            $f->break(sub { $link->set(dead => 1) });
            $f->revoke;
            $f->notice(on => 503);
            sleep 0.5;
            $f->mend(sub { $link->set });
            $f->right;
        });

    $f->row(name => 'half-open: Redis was restarted behind it',
        get => $stale,
        noticed => 'by the reset, with the first packet that passes',
        back => 'at the next try, 50 ms to 2 s apart',
        limits => [undef, 2.5],
        run => sub {
            my $data = $f->next_data(['SREM', $s->rkey('ai:enabled'), 'cut']);

            $f->break(sub {
                $link->set(dead => 1);
                $s->stop('redis', 'KILL');
            });
            spew("$s->{dir}/redis/dump.rdb", $data);
            $f->revoke(sub { $f->start });
            $f->mend(sub { $link->set });
            $f->right;
        });

    $f->finish;
}


sub half {
    my ($f, $link, $s) = linked(4);

    $f->row(name => 'half-open: the feed alone gets nothing',
        get => $stale,
        noticed => '3/5 of `max_stale` without an answer on the feed',
        back => 'with the load over new connections, 25 to 75 ms later',
        limits => [1.25, 1.25],
        run => sub {
            my ($port) = grep { defined } map { /addr=\S+:(\d+) .* sub=1 /
                ? $1 : undef } split /\n/, $s->cmd('CLIENT', 'LIST');

            die "no feed\n" if !$port;
            $f->break(sub { $link->set(deaf => $port) });
            $f->revoke;
            $f->notice(cut => 403);
            $f->right;
            $link->set;
        });

    $f->row(name => '10 % of all packets are lost',
        get => 'the truth, late where TCP sends again; 503 where it is later '
            . 'than `max_stale`',
        noticed => 'by nobody, or as half-open',
        back => 'with the cable, or at the next try',
        limits => [undef, 4],
        run => sub {
            $f->break(sub { $link->set(loss => 0.1) });
            $f->revoke;
            sleep 3;
            $f->mend(sub { $link->set });
            $f->right;
        });

    $f->finish;
}


# The clock.  Redis and the gateway see it jump at the same time.

sub clock {
    my $f = HoodyAI::Faults->new(link => sub {
        my @env = HoodyAI::Faults::clock_env($_[0]);

        return (start => { under => \@env },
            under => ['/usr/bin/env', @env]);
    });

    my $set = sub { HoodyAI::Faults::set_clock($f->{s}, $_[0]) };
    my $s = $f->{s};
    my $hash = $s->rkey('container:on');

    for my $jump (['forward by a day', 86400], ['back by a day', -86400]) {
        my ($name, $seconds) = @$jump;

        $f->row(name => "the clock jumps $name",
            get => 'the truth as always',
            noticed => 'by nobody: all deadlines are of the monotonic clock',
            back => 'nothing to mend',
            limits => [0.35, 0.35], served => 1, live => 1,
            run => sub {
                $f->break(sub { $set->($seconds) });
                my ($told) = @{$s->cmd('TIME')};
                die "the clock of Redis did not jump\n"
                    if abs($told - time - $seconds) > 100;
                sleep 0.5;
                $f->{began} = now();
                $f->revoke;
                $f->notice(cut => 403);
                sleep 1.2;
                $f->right;
                my $day = strftime('%d %b %Y', gmtime(time + $seconds));
                my $date = $s->chat_ask(token => 'on')->{headers}{date};

                die "the clock of nginx did not jump: $date\n"
                    if index($date, $day) < 0;
            });

        $f->row(name => "Redis stops, and the clock jumps $name",
            get => $stale,
            noticed => 'as without the jump',
            back => 'at the next try, 50 ms to 2 s apart',
            limits => [1.25, 2.5], blind => 1,
            run => sub {
                my $write;

                $f->break(sub { suspend($s->pid('redis')) });
                sleep 0.2;
                $set->(0);
                $f->revoke(sub { $write = $f->say_to_redis('SREM',
                    $s->rkey('ai:enabled'), 'cut') });
                $f->notice(on => 503);
                $set->($seconds);
                $f->mend(sub { kill 'CONT', $s->pid('redis') });
                $f->right;
                $set->(0);
            });
    }

    $f->row(name => 'a key expires, and the clock jumps back by a day',
        get => 'that container 401, though Redis keeps it a day longer',
        noticed => 'at the deadline that was read',
        back => 'with the write that makes it again',
        limits => [1.85, 0.35], allow => { on => [401] }, live => 1,
        run => sub {
            $f->break(sub { $s->cmd('PEXPIRE', $hash, 1500) });
            sleep 0.5;
            $set->(-86400);
            $f->notice(on => 401);
            die "Redis does not have it any more\n"
                if $s->cmd('PTTL', $hash) < 80_000_000;
            $f->revoke;
            $f->mend(sub {
                $s->cmd('PERSIST', $hash);
                $f->fill('on');
            });
            $f->right;
            $set->(0);
        });

    $f->finish;
}


tracks('faults_net.t', \&slow, \&slower, \&dead, \&half, \&clock);
done_testing();
