# Subtracts outputs of callgrind_annotate from each other; for
# bench/instructions.
#
#   perl instructions.pl <kind> <size> <requests between> <functions>
#        <bare, few> <bare, many> <kind, few> <kind, many>

use strict;
use warnings;

my ($kind, $size, $requests, $functions, @files) = @ARGV;

my ($bare, $gateway) = map { difference($files[$_], $files[$_ + 1]) } 0, 2;

printf "instructions memory %d 1 count %.0f\n", $size, $bare->{''};
printf "instructions %s %d 1 count %.0f\n", $kind, $size, $gateway->{''};

# functions without a name are static ones of a stripped nginx
my %more = map { $_ => $gateway->{$_} - ($bare->{$_} // 0) }
    grep { $_ ne '' && !/^0x/ } keys %$gateway;
my @most = sort { $more{$b} <=> $more{$a} || $a cmp $b } keys %more;

for my $name (splice @most, 0, $functions) {
    printf "function %s %d 1 count %.0f of %s\n", $name, $size, $more{$name},
        $kind;
}


# instructions per request by function, all of them under ''
sub difference {
    my ($few, $many) = map { counts($_) } @_;

    return { map { $_ => ($many->{$_} - ($few->{$_} // 0)) / $requests }
             keys %$many };
}


sub counts {
    my ($file) = @_;
    my %counts;

    open my $in, '<', $file or die "$file: $!\n";

    while (my $line = <$in>) {
        my ($count, $where) = $line =~ /^\s*([\d,]+)\s+(\S.*)$/ or next;

        $count =~ tr/,//d;

        if ($where =~ /PROGRAM TOTALS/) {
            $counts{''} = $count;

        } elsif ($where =~ /^.*?:([^\s:'\[]+)/) {
            $counts{$1} += $count;
        }
    }

    close $in;

    die "$file: no totals\n" if !$counts{''};
    return \%counts;
}
