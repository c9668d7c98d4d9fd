package HoodyAI::Pace;

# What may be said about how long something took, on a machine that does other
# things as well and whose servers are built with sanitizers in one of the
# stages.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(slow at_best);


# A time-out or a limit may be so many times as long.
sub slow() { ($ENV{HAI_MODE} // 'plain') eq 'plain' ? 1 : 5 }


# The least of what the code returns, a number, in up to $n tries; the first one
# below the limit is the last.  What disturbs one try does not disturb all of
# them; what the server does wrong, it does each time.
sub at_best {
    my ($n, $limit, $measure) = @_;
    my $best;

    for (1 .. $n) {
        my $took = $measure->();

        $best = $took if !defined $best || $took < $best;
        last if $best < $limit;
    }

    return $best;
}

1;
