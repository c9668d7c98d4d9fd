package HoodyAI::Kill;

# Ends a program with SIGKILL before one of its system calls, with strace.
# What the program has sent by then arrives; the call itself is not made.
#
#     my @points = HoodyAI::Kill->points($s->pid('control'), sub { ... });
#     for (@points) {
#         my $killed = HoodyAI::Kill->at($s->pid('control'), $_, sub { ... });
#     }
#     HoodyAI::Kill->slow($s->pid('control'), 150, sub { ... });
#
# points() says which calls are made meanwhile: ['write', 1], ['write', 2], ...
# strace counts each system call of each thread for itself, so that a point is
# one of the thread that comes there first.  at() is false where the program
# lives: it did not come there this time.  slow() has each sending wait for so
# many milliseconds first: what others do in between happens.

use strict;
use warnings;

use File::Temp qw(tempfile);
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep);

use HoodyAI::System qw(slurp wait_for);

# what reaches out: to Redis, nginx, the runtime, the log
our @calls = qw(accept connect read recvfrom recvmsg write writev sendto sendmsg
    shutdown);


sub why_not {
    my $out = `strace -o /dev/null true 2>&1`;

    return undef if $? == 0;
    chomp $out;

    return 'strace does not trace here: ' . ($out || $! || 'it is missing');
}


sub _traced {
    my ($pid, $do, @options) = @_;

    pipe(my $said, my $says) or die "pipe: $!\n";

    my $strace = fork // die "fork: $!\n";

    if ($strace == 0) {
        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>', '/dev/null');
        open(STDERR, '>&', $says);
        exec 'strace', '-f', @options, '-p', $pid or exit 127;
    }

    close $says;

    my $line = <$said> // '';

    $line =~ /attached/ or die "strace: $line\n";
    $do->();

    # what is done after the answer
    sleep 0.02;
    kill 'TERM', $strace;
    wait_for { waitpid($strace, WNOHANG) == $strace } 2
        or kill('KILL', $strace) && waitpid $strace, 0;
    close $said;
}


# Options: calls => [...]
sub points {
    my ($class, $pid, $do, %option) = @_;
    my $set = join ',', @{$option{calls} // \@calls};
    my ($fh, $file) = tempfile('hai-kill.XXXXXX', TMPDIR => 1);
    my (%n, @points);

    close $fh;

    _traced($pid, $do, '-s', 0, '-o', $file, '-e', "trace=$set");

    # in the order in which they are come to
    for (split /\n/, slurp($file)) {
        my ($thread, $name) = /^(\d+) +(\w+)\(/ or next;
        my $n = ++$n{"$thread $name"};

        push @points, [$name, $n]
            if !grep { $_->[0] eq $name && $_->[1] == $n } @points;
    }

    unlink $file;

    return @points;
}


sub at {
    my ($class, $pid, $point, $do) = @_;
    my ($name, $n) = @$point;

    _traced($pid, $do, '-o', '/dev/null', '-e', "trace=$name", '-e',
        "inject=$name:signal=KILL:when=$n");

    return slurp("/proc/$pid/stat") =~ /\) [ZX]/ ? 1 : 0;
}


sub slow {
    my ($class, $pid, $ms, $do) = @_;

    _traced($pid, $do, '-o', '/dev/null', '-e', 'trace=sendto', '-e',
        'inject=sendto:delay_enter=' . 1000 * $ms);
}

1;
