#!/usr/bin/perl

# What is installed besides programs and units: man pages that know the options
# of the programs, completion that shells take, and "make install", which can
# be undone.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find;
use File::Temp qw(tempdir);
use Test::More;

use lib dirname(__FILE__) . '/lib';
use HoodyAI::System qw(slurp spew);

my $root = $ENV{HAI_ROOT} // abs_path(dirname(__FILE__) . '/../..');
my $programs = $ENV{HAI_PROGRAMS} // "$root/build";
my $program = "$programs/hoody-ai";

plan(skip_all => "no $program") unless -x $program;

my $work = tempdir('packaging.XXXXXX',
    DIR => $ENV{HAI_WORK} ? "$ENV{HAI_WORK}/tmp" : '/tmp', CLEANUP => 1);

sub have { system("command -v $_[0] >/dev/null 2>&1") == 0 }


# man pages

my @pages = sort glob "$root/packaging/man/*";

is(join(' ', map { m{([^/]+)\z} } @pages), 'hoody-ai-control.8'
    . ' hoody-ai-events.8 hoody-ai-rules.8 hoody-ai.1', 'the pages');

for my $page (@pages) {
    my ($name) = $page =~ m{([^/]+)\.\d\z};
    my $text = slurp($page);

    SKIP: {
        skip 'no mandoc', 1 unless have('mandoc');
        is(`mandoc -T lint -W warning $page 2>&1`, '', "$name: lint");
    }

    if ($name eq 'hoody-ai') {
        my @commands = `$program --help` =~ /^  ([a-z]+ +[a-z-]+)  /mg;

        s/ +/ / for @commands;
        is_deeply([$text =~ /^\.It Nm Cm ([a-z]+ [a-z-]+)$/mg], \@commands,
            "$name: its commands");
        next;
    }

    is_deeply([sort $text =~ /^\.It Fl -([a-z-]+)/mg],
        [sort `$programs/$name --help` =~ /^  (?:-\w, )?--([a-z-]+)/mg],
        "$name: its options");
}


# completion

spew("$work/$_", scalar `$program completion $_`) for qw(bash zsh fish);

# the words that bash offers for a line
sub bash {
    my (@words) = @_;

    spew("$work/ask", <<"EOF");
hoody-ai() { "$program" "\$@"; }
. "$work/bash"
COMP_WORDS=(@{[ map { "'$_'" } @words ]})
COMP_CWORD=$#words
_hoody_ai hoody-ai
printf '%s ' "\${COMPREPLY[@]}"
EOF

    my $said = `bash "$work/ask" 2>&1`;

    $said =~ s/ \z//;

    return $said;
}

is(bash('hoody-ai', 'co'), 'containers completion', 'bash: a group');
is(bash('hoody-ai', 'snapshots', ''), 'list create restore delete',
    'its commands');
is(bash('hoody-ai', 'containers', 're'), 'restart resume', 'some of them');
is(bash('hoody-ai', 'containers', 'update', '--a'),
    '--ai --address --autostart --api', 'options of the program');
is(bash('hoody-ai', 'containers', 'list', '-o'), '', 'a short one is whole');
is(bash('hoody-ai', 'nothing', ''), '', 'of no group');

for my $shell (qw(bash zsh fish)) {
    SKIP: {
        skip "no $shell", 1 unless have($shell);
        is(`$shell -n "$work/$shell" 2>&1`, '', "$shell: its syntax");
    }
}

SKIP: {
    skip 'no fish', 3 unless have('fish');

    my $ask = sub {
        return `HOME="$work" PATH="$programs:\$PATH" fish --no-config -c \\
            'source "$work/fish"; complete -C "$_[0]"' 2>&1`;
    };

    like($ask->('hoody-ai snap'), qr/^snapshots\b/, 'fish: a group');
    like($ask->('hoody-ai audit l'), qr/^list\twho may.*^log\t/ms,
        'its commands');
    like($ask->('hoody-ai containers update --no-'), qr/^--no-ai$/m,
        'options');
}


# installed, and back

SKIP: {
    skip 'no module', 7
        unless -f "$programs/ngx_http_hoody_ai_module.so";

    my $files = sub {
        my @found;

        find(sub { push @found, $File::Find::name =~ s{^\Q$work\E/root}{}r
            if -f }, "$work/root");
        return @found;
    };
    my @programs = map { m{([^/]+)\z} } glob "$programs/hoody-ai*";

    is(system("cd '$root' && HAI_BUILD='$programs' BUILD='$programs' "
        . "util/install '$work/root' /usr /etc @programs >/dev/null 2>&1"), 0,
        'installed');

    my %there = map { $_ => 1 } $files->();

    ok($there{$_}, $_) for '/usr/share/man/man8/hoody-ai-control.8',
        '/usr/share/bash-completion/completions/hoody-ai',
        '/usr/lib/systemd/system/hoody-ai-control.socket';
    ok((grep { m{/hoody-ai/hoody_ai_control\.conf\z} } keys %there),
        'the snippets of the control API');
    is(slurp("$work/root/usr/share/zsh/site-functions/_hoody-ai"),
        slurp("$work/zsh"), 'what zsh completes');

    is(system("cd '$root' && HAI_BUILD='$programs' BUILD='$programs' "
        . "util/install --remove '$work/root' /usr /etc @programs "
        . '>/dev/null 2>&1'), 0, 'removed');
    is_deeply([grep { !m{^/etc/} } $files->()], [],
        'nothing is left but configuration');
}

done_testing();
