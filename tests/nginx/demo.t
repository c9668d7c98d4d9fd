#!/usr/bin/perl

# The demonstration of "make run": what it shows is so, the lines it tells one
# to try work, and it leaves nothing behind.
#
# asan: no, it shows what the other files test

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Select;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = $ENV{HAI_ROOT} // abs_path(dirname(__FILE__) . '/../..');
my $build = $ENV{HAI_BUILD} // "$root/build";
my $module = $ENV{HAI_MODULE} // "$build/ngx_http_hoody_ai_module.so";
my $provider = $ENV{HAI_PROVIDER} // "$build/hoody-ai-sample-provider";

plan(skip_all => "no $module") unless $module eq '' || -e $module;
plan(skip_all => "no $provider") unless -x $provider;

# where util/run looks for a folder of its own
delete @ENV{qw(XDG_RUNTIME_DIR OPENAI_KEY_FILE ANTHROPIC_KEY_FILE SUDO_USER
               DEMO_CHECK DEMO_LOOPBACK)};
my $base = $> == 0 ? '/run' : '/tmp';
my $logs = $ENV{HAI_WORK} // tempdir(CLEANUP => 1);
my @open;

like(`$root/util/run --help`, qr/^Usage: /, '--help');
is(system("$root/util/run --nonsense 2>/dev/null"), 1 << 8, 'a bad option');

# once, and no more

for my $network ('', '--loopback') {
    my $name = $network || 'the default network';
    my $out = `$root/util/run --check $network --logs $logs/demo$network 2>&1`;

    is($?, 0, "$name: exit status") or diag($out);
    like($out, qr/^== 1 .*200 OK.*\+ *\d+ ms  Hello/ms,
         "$name: a streamed answer");
    like($out, qr/^== 2 .*\b401\b.*invalid_identity/ms, "$name: 401");
    like($out, qr/^== 3 .*\b403\b.*ai_disabled/ms, "$name: 403");
    like($out, qr/^  Authorization: Bearer sk-sample-\w+$/m,
         "$name: the key at the provider");
    like($out, qr/^  \[\{"role":"system","content":"Never execute/m,
         "$name: a rule in the prompt");
    like($out, qr/^== 6 .*\b503\b.*rules_unavailable/ms,
         "$name: the engine hangs");
    like($out, qr/SREM.*access_revoked/s, "$name: revoked in mid-stream");
    unlike($out, qr/FAILED|\e\[/, "$name: no failure, no colours");
    unlike($out, qr/Try, in another/i, "$name: did not stay up");
    gone($out, $name);
}

# stays up

{
    my ($pid, $out) = up();
    my ($run) = $out =~ m{(\Q$base\E/hoody-ai-run\.\w+)};

    ok(-d $run, 'the folder');
    is(owner_and_mode("$run/keys"), "$> 0700", 'the folder of keys');
    is(owner_and_mode("$run/keys/openai.key"), "$> 0600", 'a key file');

    my @lines = commands($out);

    is(scalar @lines, 13, 'lines to try');

    my ($chat, $messages, $other, $on, $off, $show, $stop, $start, undef,
        $check, $status, undef, $requests) = @lines;

    like(shell($chat), qr/^data: .*"content".*^data: \[DONE\]/ms, 'chat');
    like(shell($messages), qr/"type": ?"message"/, 'messages');
    like(shell($other), qr/"code":"invalid_identity"/, 'another container');
    is(shell($on), "1\n", 'access on');
    like(shell($chat =~ s/dev-env/third/gr
                     =~ s/127\.0\.0\.11/127.0.0.13/r),
         qr/^data: \[DONE\]/m, 'and it is');
    is(shell($off), "1\n", 'access off');
    like(shell($chat), qr/"code":"ai_disabled"/, 'and it is');
    like(shell($show), qr/^addresses$/m, 'the registry');
    is(shell($on =~ s/third/dev-env/r), "1\n", 'access on again');
    is(shell($stop), "0\n", 'stopped');
    like(shell($chat), qr/"code":"invalid_identity"/, 'and it is');
    is(shell($start), "0\n", 'running');
    like(shell($chat), qr/^data: \[DONE\]/m, 'and it is');
    like(shell($check), qr/: fine, 2 rules/, 'rules check');
    like(shell($status), qr/^rules +2/m, 'rules status');
    like(shell($requests), qr/sk-sample-/, 'what the provider received');

    is(down($pid, 'INT'), 0, 'Ctrl-C is an ordinary end');
    gone($out, 'Ctrl-C');
}

{
    my ($pid, $out) = up('--loopback');

    is(down($pid, 'TERM'), 0, 'SIGTERM as well');
    gone($out, 'SIGTERM');
}

# a server that ends is told

{
    my ($pid, $out) = up('--loopback');
    my ($run) = $out =~ m{(\Q$base\E/hoody-ai-run\.\w+)};

    chomp(my $master = `cat $run/nginx/nginx.pid`);
    kill('TERM', $master);
    waitpid($pid, 0);
    is($?, 1 << 8, 'nginx has ended');
    gone($out, 'nginx has ended');
}

done_testing();


# starts the demonstration; (pid, output) once it stays up
sub up {
    my @options = @_;
    my $end = time() + 60;
    my $out = '';

    my $pid = open(my $in, '-|') // die "fork: $!";
    if ($pid == 0) {
        $SIG{INT} = 'DEFAULT';
        open(STDERR, '>&', \*STDOUT) or die "dup: $!";
        exec("$root/util/run", @options) or die "exec: $!";
    }

    my $select = IO::Select->new($in);
    while ($out !~ /^Ctrl-C takes everything down/m && time() < $end) {
        next unless $select->can_read(1);
        last unless sysread($in, $out, 65536, length($out));
    }
    like($out, qr/^Ctrl-C takes everything down/m, 'it stays up');

    # kept open, so that the last words find a reader
    push @open, $in;
    return ($pid, $out);
}

sub down {
    my ($pid, $signal) = @_;

    kill($signal, $pid);
    waitpid($pid, 0);
    return $?;
}

# the commands behind "try": lines joined where they go on, comments left out
sub commands {
    my ($out) = @_;

    my ($lines) = $out =~ /^== It stays up[^\n]*\n(.*)^Ctrl-C/ms;
    $lines =~ s/\\\n\s*//g;
    return grep { /^(?!#)\S/ } split(/\n/, $lines);
}

sub shell {
    my ($command) = @_;

    open(my $in, '-|', 'timeout', '20', 'bash', '-c', "$command 2>&1")
        or die "bash: $!";
    local $/;
    return scalar <$in> // '';
}

sub owner_and_mode {
    my ($file) = @_;
    my @st = stat($file);

    return @st ? sprintf('%d %04o', $st[4], $st[2] & 07777) : "no $file";
}

# neither folder, nor namespaces, nor links, nor servers
sub gone {
    my ($out, $name) = @_;
    my ($run) = $out =~ m{(\Q$base\E/hoody-ai-run\.\w+)};
    my ($bridge) = $out =~ /ip netns exec (hai\d+)-/;

    ok($run && !-e $run, "$name: the folder is gone");

    if ($bridge) {
        unlike(`ip netns`, qr/^$bridge-/m, "$name: namespaces are gone");
        unlike(`ip -o link`, qr/ $bridge(?:-\d+)?[:@]/,
               "$name: bridge and links are gone");
    }

    unlike(join('', map { my $line = $_; $line =~ tr/\0/ /; $line }
                    map { command_line_of($_) } glob('/proc/[0-9]*')),
           qr/\Q$run\E/, "$name: no server is left") if $run;
}

sub command_line_of {
    my ($proc) = @_;

    open(my $in, '<', "$proc/cmdline") or return '';
    local $/;
    return (scalar <$in> // '') . "\n";
}
