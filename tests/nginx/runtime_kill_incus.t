#!/usr/bin/perl

# What runtime_kill.t has podman do, with Incus.
#
# A part of the calls; with HAI_KILL_ALL=1 before each of them, many minutes
# long.
#
# asan: no, most of it is Incus

use strict;
use warnings;

use FindBin;

my $file = "$FindBin::Bin/runtime_kill.t";

do $file;
die $@ || "$file: $!\n" if $@;
