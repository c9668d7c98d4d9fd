package HoodyAI::Prober;

# Asks for a chat again and again, from a process of its own, while a test
# breaks something.
#
#     my $prober = HoodyAI::Prober->new($s, token => 'dev-env');
#     ...
#     my @answers = $prober->end;     # [begin, end, status], oldest first
#
# A request that was not answered has the status 0, one that was under way when
# its access ended (403, access_revoked) the status "ended".

use strict;
use warnings;

use POSIX qw(_exit);
use Time::HiRes qw(sleep time);

use HoodyAI::System qw(slurp spew);


sub new {
    my ($class, $system, %option) = @_;

    my $file = "$system->{dir}/prober." . sprintf('%.6f', time);

    spew($file, '');

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        local $SIG{TERM} = sub { _exit(0) };

        open(my $out, '>>', $file) or _exit(1);

        while (1) {
            my $begin = time;
            my $answer = eval { $system->chat_ask(timeout => 10, %option) };

            my $status = $answer && $answer->{status} || 0;

            $status = 'ended' if $status == 403
                && $answer->{body} =~ /"access_revoked"/;
            syswrite $out, join(' ', $begin, time, $status) . "\n";
            sleep 0.01;
        }
    }

    return bless { pid => $pid, file => $file }, $class;
}


sub end {
    my ($self) = @_;

    kill 'TERM', $self->{pid};
    waitpid $self->{pid}, 0;

    return map { [split] } split /\n/, slurp($self->{file});
}


# "200 x 31, 503 x 4, 200 x 2": what was answered from then on, in order.
sub summary {
    my ($from, @answers) = @_;
    my @runs;

    for my $answer (grep { $_->[0] >= $from } @answers) {
        if (@runs && $runs[-1][0] eq $answer->[2]) {
            $runs[-1][1]++;
        } else {
            push @runs, [$answer->[2], 1];
        }
    }

    return join ', ', map { "$_->[0] x $_->[1]" } @runs;
}


1;
