#!/usr/bin/perl

# "hoody-ai secrets check": what it refuses, "nginx -t" with the module refuses,
# and the other way round; and nothing of a key is in what it says.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use HoodyAI::System qw(slurp spew wait_for);

plan skip_all => 'keys are for root to read' if $> != 0;

my $s = HoodyAI::System->new;
my $program = $s->program('hoody-ai');
my $folder = "$s->{secrets}/of-the-test";
my $seed = $ENV{SEED} // int rand 1e9;

srand $seed;
note("SEED=$seed");
mkdir $folder;

# No word of its own in it that the command may say.
sub key {
    return join '', map { ('A' .. 'Z', 'a' .. 'z', 0 .. 9)[rand 62] } 1 .. 48;
}

# Every key that a file was given, to be looked for in what is written.
my @keys;

sub file {
    my ($name, $before, $after, $mode) = @_;

    push @keys, key();
    spew("$folder/$name", ($before // '') . $keys[-1] . ($after // "\n"),
        $mode // 0600);

    return "$folder/$name";
}

sub check { $s->output($program, 'secrets', 'check', @_) }

# A run of six characters of any key, where there is one.
sub leak {
    my ($text) = @_;

    for my $key (@keys) {
        for my $at (0 .. length($key) - 6) {
            my $part = substr $key, $at, 6;

            return $part if index($text, $part) >= 0;
        }
    }

    return '';
}

# Does nginx take a configuration with this file?
sub nginx_takes {
    my ($file) = @_;

    spew("$s->{dir}/one.conf", ($ENV{HAI_LOAD_MODULE}
        // "load_module $FindBin::Bin/../../build/ngx_http_hoody_ai_module.so;")
        . "\npid one.pid;\nevents {}\nhttp {\n"
        . "    hoody_ai_secret one \"$file\";\n}\n");

    my ($status, $out, $err) = $s->output($s->nginx_binary, '-t', '-q', '-p',
        $s->{dir}, '-c', "$s->{dir}/one.conf", '-e', 'stderr');

    fail('nginx tells of a key') if leak($out . $err) ne '';

    return $status == 0 ? 'takes it'
        : $err =~ /\[emerg\].*\Q$file\E|\Q$file\E.*\[emerg\]/ ? 'refuses it'
        : "status $status: $err";
}


# ---- one file after the other ------------------------------------------------

# name, the file, what is said (without it: fine)
my @cases = (
    ['a key', file('good')],
    ['without a line end', file('bare', '', '')],
    ['CRLF', file('crlf', '', "\r\n")],
    ['read-only', file('read-only', '', "\n", 0400)],
    ['empty', do { spew("$folder/empty", '', 0600); "$folder/empty" },
        'is empty'],
    ['an empty line', do { spew("$folder/nl", "\n", 0600); "$folder/nl" },
        'is empty'],
    ['8 KiB', file('long', 'k' x (8192 - 48))],
    ['8 KiB and CRLF', file('long-crlf', 'k' x (8192 - 48), "\r\n")],
    ['8 KiB + 1', file('longer', 'k' x (8193 - 48)),
        'is larger than 8192 bytes'],
    ['1 MiB', file('far-longer', 'k' x 1048576), 'is larger than 8192 bytes'],
    ['two lines', file('two', "first\n"), 'has more than one line'],
    ['two line ends', file('two-ends', '', "\n\n"), 'has more than one line'],
    ['CR in it', file('cr', "first\r"), 'has more than one line'],
    ['binary', file('binary', "\0\xff"),
        'has a byte at offset 0 that is not printable ASCII'],
    ['a NUL behind', file('nul', '', "\0\n"),
        'has a byte at offset 48 that is not printable ASCII'],
    ['a byte order mark', file('bom', "\xef\xbb\xbf"),
        'has a byte at offset 0 that is not printable ASCII'],
    ['a space before', file('space', ' '), 'begins or ends with a space'],
    ['for a group', file('group', '', "\n", 0640),
        'has mode 0640: group and others must have no access'],
    ['for all', file('all', '', "\n", 0604),
        'has mode 0604: group and others must have no access'],
    ['executable by others', file('x', '', "\n", 0611),
        'has mode 0611: group and others must have no access'],
    ['another owner', do {
        my $file = file('foreign');
        chown 65534, -1, $file;
        $file;
    }, 'belongs to user 65534, not to root'],
    ['missing', "$folder/missing",
        "is not there: $folder/missing: No such file or directory"],
    ['in no folder', "$folder/none/missing",
        "is not there: $folder/none: No such file or directory"],
    ['below a file', "$folder/good/x",
        "cannot be reached: $folder/good: Not a directory"],
    ['a folder', do { mkdir "$folder/folder", 0700; "$folder/folder" },
        'is no regular file'],
    ['a folder and a slash', "$folder/folder/", 'names a folder, not a file'],
    ['a FIFO', do { POSIX::mkfifo("$folder/fifo", 0600); "$folder/fifo" },
        'is no regular file'],
    ['a device', '/dev/null', 'is no regular file'],
    ['a link', do { symlink 'good', "$folder/link"; "$folder/link" }],
    ['a link to what is bad',
        do { symlink 'group', "$folder/link-bad"; "$folder/link-bad" },
        'has mode 0640: group and others must have no access'],
    ['a link to itself', do { symlink 'loop', "$folder/loop"; "$folder/loop" },
        'has too many or too long symbolic links on its way'],
    ['a link of somebody', do {
        symlink 'good', "$folder/foreign-link";
        system 'chown', '-h', '65534', "$folder/foreign-link";
        "$folder/foreign-link";
    }, "is reached through the symbolic link $folder/foreign-link of user"
        . ' 65534'],
    ['a name too long', "$folder/" . 'n' x 256, 'names a folder, not a file'],
    ['a path too long', '/x' x 2100, 'is too long a path'],
    ['a name with marks', file("with \xc3\xbc and space")],
);

# folders: mode, owner, what is said
for (['private', 0700, 0], ['readable', 0755, 0], ['sticky', 01777, 0],
    ['group-writable', 0770, 0, 'which others may write to (mode 0770)'],
    ['writable', 0777, 0, 'which others may write to (mode 0777)'],
    ['of-nobody', 0700, 65534, 'which belongs to user 65534, not to root'])
{
    my ($name, $mode, $owner, $wrong) = @$_;

    mkdir "$folder/$name", 0700;
    my $file = file("$name/good");
    chown $owner, -1, "$folder/$name";
    chmod $mode, "$folder/$name";
    push @cases, ["in a folder: $name", $file,
        $wrong ? "lies in or below $folder/$name, $wrong" : ()];
    symlink $file, "$folder/to-$name";
    push @cases, ["a link into it: $name", "$folder/to-$name",
        $wrong ? "lies in or below $folder/$name, $wrong" : ()];
}

push @cases, ['through it and out', "$folder/writable/../good",
    "lies in or below $folder/writable, which others may write to (mode 0777)"];

my (@good, @bad);

for (@cases) {
    my ($name, $file, $wrong) = @$_;
    my $began = time;
    my ($status, $out, $err) = check('-o', 'json', $file);
    my $row = eval { decode_json($out) } || [{}];

    is($status, $wrong ? 1 : 0, "$name: exit status");
    is($row->[0]{result}, $wrong ? 'fail' : 'ok', "$name: result");
    is($row->[0]{text}, $wrong, "$name: what is wrong");
    ok(!!$row->[0]{mend} == !!$wrong, "$name: how to mend it");
    is($err, '', "$name: nothing else");
    is(leak($out), '', "$name: nothing of the key");
    cmp_ok(time - $began, '<', 5, "$name: at once");

    # that path is refused by the parser of nginx' configuration already
    next if length $file > 4000;

    like(nginx_takes($file), $wrong ? qr/^refuses it/ : qr/^takes it/,
        "$name: nginx agrees");
    push @{$wrong ? \@bad : \@good}, $file;
}


# ---- any file ----------------------------------------------------------------

{
    my @bytes = ((map { chr } 33 .. 126) x 3, "\n", "\r", ' ', "\0", "\x7f",
        "\x80", "\xff", "\t");
    my @modes = ((0600) x 12, 0400, 0200, 0000, 0700, 0640, 0604, 0660, 01600);
    my %takes;
    my @files = map { "$folder/any-$_" } 1 .. 40;

    for my $file (@files) {
        spew($file, join('', map { $bytes[rand @bytes] } 1 .. 1 + rand 30)
            . ('', "\n", "\r\n", "\r", "\n\n")[rand 5], $modes[rand @modes]);
        $takes{$file} = nginx_takes($file) eq 'takes it' ? 'yes' : 'no';
    }

    my (undef, $out) = check('-o', 'json', @files);
    my %found = map { $_->{file} => $_->{result} eq 'fail' ? 'no' : 'yes' }
        @{decode_json($out)};

    is_deeply(\%found, \%takes, 'random files: as nginx has it');
    ok((grep { $_ eq 'yes' } values %takes) > 2
        && (grep { $_ eq 'no' } values %takes) > 2, 'of both kinds');
}


# ---- what is said of many ----------------------------------------------------

my ($status, $out, $err) = check(@good, @bad);
my @lines = split /\n/, $out;

is($status, 1, 'one bad file is enough');
is(scalar @lines, 1 + @good + @bad, 'a line for each');
like($lines[0], qr/^RESULT +FILE +SECRETS +WHAT +MEND$/, 'titles');
is($err, '', 'nothing on standard error');

for my $format (qw(table json yaml name)) {
    ($status, $out) = check('-o', $format, @good, @bad);
    is($status, 1, "$format: exit status");
    is(leak($out), '', "$format: nothing of a key");
    unlike($out, qr/[\x00-\x09\x0b-\x1f\x7f]/, "$format: no control character");
}

is((check(@good))[0], 0, 'good ones');
is((check('-o', 'name', "$folder/good", "$folder/bare"))[1],
    "$folder/good\n$folder/bare\n", 'names');
is((check('-o', 'name', "$folder/good", "$folder/good"))[1], "$folder/good\n",
    'a file that is named twice is one');

# from where it is run
{
    my $rows = decode_json(($s->output('env', '-C', $folder, $program,
        qw(secrets check -o json good ./bare)))[1]);

    is(join(' ', map { $_->{result} } @$rows), 'ok ok', 'relative paths');
}

# names that a terminal would obey
{
    my $file = file("evil\e]0;x\a");

    chmod 0644, $file;
    for my $format (qw(table json yaml name)) {
        unlike((check('-o', $format, $file))[1], qr/[\e\a]/,
            "$format: a file's name is shown without control characters");
    }

    $file = file("latin-\xe9");
    my $row = decode_json((check('-o', 'json', $file))[1])->[0];
    is($row->{result}, 'ok', 'a name that is not UTF-8');
}


# ---- warnings ----------------------------------------------------------------

sub row {
    my ($status, $out) = check('-o', 'json', @_);

    is($status, 0, 'a warning is no failure');
    is(leak($out), '', 'nothing of the key');

    return decode_json($out)->[-1];
}

{
    spew("$folder/same", "$keys[0]", 0600);
    my $row = row("$folder/good", "$folder/bare", "$folder/same");

    is($row->{result}, 'warn', 'the same key');
    is($row->{text}, "has the same key as $folder/good", 'as which');
    ok($row->{mend}, 'what to do');
    is(row("$folder/good", "$folder/bare")->{result}, 'ok', 'another key');
}

for ('<your key>', 'your-api-key-goes-here', 'sk-xxxxxxxxxxxxxxxxxxxxxxxx',
    'CHANGE_ME_CHANGE_ME', 'sk-REPLACE-this-one-please', '${OPENAI_API_KEY_1}',
    'sk-short', 'example-of-a-provider-key', "Bearer $keys[0]", "\"$keys[0]\"")
{
    spew("$folder/doubtful", "$_\n", 0600);

    my $row = row("$folder/doubtful");

    is($row->{result}, 'warn', 'a placeholder');
    ok($row->{text} && $row->{mend}, 'what is said');
    unlike($row->{text} . $row->{mend}, qr/\Q$_\E/, 'and not the content');
}

spew("$folder/doubtful", $s->key('openai') . "\n", 0600);
is(row("$folder/doubtful")->{result}, 'ok', 'a key is none');


# ---- of nginx' configuration -------------------------------------------------

$s->redis;
$s->provider;
$s->nginx;

my @conf = ('--nginx', $s->nginx_binary, '--conf', "$s->{dir}/nginx.conf");

{
    ($status, $out, $err) = check(@conf, '-o', 'json');
    is($status, 0, 'the configuration is fine') or diag($out, $err);

    my %by_file = map { $_->{file} => $_ } @{decode_json($out)};

    is_deeply([sort keys %by_file],
        [map { "$s->{secrets}/$_" } qw(anthropic openai)], 'its files');
    is_deeply($by_file{"$s->{secrets}/openai"}{secrets}, ['openai'],
        'and which secret it is');

    chmod 0644, "$s->{secrets}/openai";
    ($status, $out, $err) = check(@conf);
    chmod 0600, "$s->{secrets}/openai";
    is($status, 1, 'one of them is not');
    like($out, qr{^fail +\S+/openai +openai +has mode 0644: .*chmod 600 \S+$}m,
        'what is wrong and how to mend it');
    unlike($out . $err, qr/\Q$_\E/, 'no key') for $s->all_keys;

    # as nginx looks for it: beside the configuration
    my $conf = "$s->{secrets}/other.conf";

    spew($conf, "http {\n    include $s->{secrets}/more.conf;\n}\n");
    spew("$s->{secrets}/more.conf", "hoody_ai_secret a openai;\n"
        . "hoody_ai_secret b '$s->{secrets}/openai' header=x-api-key;\n");
    ($status, $out) = check('--conf', $conf, '-o', 'json');
    is("$status $out", "0 $out", 'a relative path');
    is_deeply([map { [@$_{qw(result file secrets)}] } @{decode_json($out)}],
        [['ok', "$s->{secrets}/openai", ['a', 'b']]],
        'one file of two secrets is no same key');

    ($status, $out) = $s->output('env', '-C', $s->{secrets}, $program,
        qw(secrets check --conf other.conf -o name));
    is("$status $out", "0 $s->{secrets}/openai\n", 'its name too');

    spew($conf, "http { }\n");
    ($status, $out, $err) = check('--conf', $conf);
    is($status, 1, 'no key at all');
    like($err, qr/there is no hoody_ai_secret/, 'is said');

    ($status, $out, $err) = check('--conf', "$s->{dir}/none.conf");
    is($status, 2, 'no configuration');
    like($err, qr/no configuration: .*none\.conf/, 'is said');
    is($out, '', 'and nothing else');
    unlink $conf, "$s->{secrets}/more.conf";
}

# it is read to its end, whatever nginx does
spew("$s->{dir}/sleeper", "#!/bin/sh\nexec sleep 100\n", 0755);
{
    my $began = time;

    ($status) = check('--nginx', "$s->{dir}/sleeper", '--conf',
        "$s->{dir}/nginx.conf");
    is($status, 0, 'an nginx that hangs');
    cmp_ok(time - $began, '<', 20, 'does not hold it up');
}


# ---- usage -------------------------------------------------------------------

for (['--help', 0], ['--nonsense', 2], ['-o xml', 2], ['-o', 2], ['--conf', 2])
{
    my ($words, $expected) = @$_;

    is((check(split / /, $words))[0], $expected, "$words: exit status");
}

is((check(''))[0], 2, 'a file without a name');

# what the disk has no room for
{
    my ($full) = $s->output('sh', '-c',
        "\"\$0\" secrets check '$folder/good' >/dev/full 2>&1", $program);

    is($full, 1, 'what cannot be written is a problem');
}

# somebody else may not look, and is told so
SKIP: {
    skip 'no setpriv', 3 if system('setpriv --version >/dev/null 2>&1');

    my @user = qw(setpriv --reuid 65534 --regid 65534 --clear-groups);
    ($status, $out) = $s->output(@user, $program, 'secrets', 'check',
        "$folder/good");

    is($status, 1, 'another user');
    like($out, qr/^fail /m, 'is refused');
    is(leak($out), '', 'and sees nothing');
}

$s->finish;
