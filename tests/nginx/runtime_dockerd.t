#!/usr/bin/perl

# What runtime_docker.t has podman do, with a Docker Engine.
#
# asan: no, most of it is Docker

use strict;
use warnings;

use FindBin;

my $file = "$FindBin::Bin/runtime_docker.t";

do $file;
die $@ || "$file: $!\n" if $@;
