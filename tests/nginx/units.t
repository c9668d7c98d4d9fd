#!/usr/bin/perl

# packaging/systemd: what the units say is known to systemd and to the
# programs, and each program starts with exactly that command line.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use JSON::PP;
use Test::More;

use HoodyAI::Engine;
use HoodyAI::System qw(slurp spew wait_for);

my $s = HoodyAI::System->new;
my $units = $s->root . '/packaging/systemd';
my $programs = $ENV{HAI_PROGRAMS} // $s->root . '/build';
my @names = map { m{([^/]+)\z} } sort glob "$units/*";

is("@names", 'hoody-ai-control.service hoody-ai-control.socket'
    . ' hoody-ai-events.service hoody-ai-firewall.service hoody-ai-rules.service hoody-ai-rules.socket', 'the units');

$s->redis;


# section => key => [value, ...]
sub parse {
    my ($name) = @_;
    my ($section, %unit);

    for (split /\n/, slurp("$units/$name")) {
        next if /^\s*(?:#|\z)/;

        if (/^\[(\w+)\]\z/) {
            $section = $1;
        } elsif (/^([A-Z]\w+)=(.*)\z/ && $section) {
            push @{ $unit{$section}{$1} }, $2;
        } else {
            fail("$name: $_");
        }
    }

    return \%unit;
}

sub have { system("command -v $_[0] >/dev/null 2>&1") == 0 }

my %unit = map { $_ => parse($_) } @names;
my @services = grep { /\.service\z/ } @names;


# The command lines

for my $name (@services) {
    my ($program, @words) = split / /, $unit{$name}{Service}{ExecStart}[0];

    (my $base = $name) =~ s/\.service\z//;

    # a subcommand of the one for operators
    my @sub = $base eq 'hoody-ai-firewall' ? qw(firewall watch) : ();

    $base = 'hoody-ai' if @sub;
    is($program, "/usr/local/bin/$base", "$name: its program");
    is("@words[0 .. $#sub]", "@sub", "$name: what it is to do");

    my $help = `$programs/$base @sub --help`;

    for (grep { /^--/ } @words) {
        like($help, qr/^  \Q$_\E /m, "$name: $_");
    }
}


# No rights, and no way to more of them

my %wanted = (
    User => 'hoody-ai', NoNewPrivileges => 'yes', CapabilityBoundingSet => '',
    ProtectSystem => 'strict', ProtectHome => 'yes', PrivateTmp => 'yes',
    PrivateDevices => 'yes', MemoryDenyWriteExecute => 'yes',
    RestrictSUIDSGID => 'yes', LimitCORE => '0', Restart => 'always',
);

# who may change what nftables does, and who looks into namespaces
my %right = ('hoody-ai-firewall.service' => 'CAP_NET_ADMIN',
    'hoody-ai-control.service' => 'CAP_SYS_ADMIN CAP_SYS_PTRACE');

for my $name (@services) {
    my %this = (%wanted, CapabilityBoundingSet => $right{$name} // '');

    # the sockets of runtimes are root's
    $this{User} = 'root' if $name eq 'hoody-ai-control.service';

    is($unit{$name}{Service}{$_}[0], $this{$_}, "$name: $_")
        for sort keys %this;
    like($unit{$name}{Service}{RestrictAddressFamilies}[0],
        qr/^AF_UNIX AF_INET AF_INET6( AF_NETLINK)?\z/, "$name: its sockets");
    is($unit{$name}{Unit}{StartLimitIntervalSec}[0], 0,
        "$name: is always started again");
}

for (['rules', 'rules_upstream', 'server'], ['control', 'control',
    'fastcgi_pass'])
{
    my ($name, $file, $word) = @$_;
    my $socket = $unit{"hoody-ai-$name.socket"}{Socket};

    is("$socket->{SocketUser}[0] $socket->{SocketMode}[0] "
        . $socket->{DirectoryMode}[0], 'root 0660 0755',
        "$name: the socket is for root and a group, its folder is root's");
    like(slurp($s->root . "/conf/hoody_ai_$file.conf"),
        qr/$word +unix:\Q$socket->{ListenStream}[0]\E[ ;]/,
        "$name: the snippets of nginx name the same socket");
}


# systemd's own opinion of them

SKIP: {
    skip 'no systemd-analyze', 1 + @services unless have('systemd-analyze');

    my $folder = "$s->{dir}/units";

    mkdir $folder;
    for (@names) {
        my $text = slurp("$units/$_");

        # what cannot be there is replaced by what is
        $text =~ s{/usr/local/bin/}{$programs/}g;
        spew("$folder/$_", $text);
    }

    my $log = `cd $folder && systemd-analyze --man=no verify @{[
        map { "./$_" } @names]} 2>&1`;

    is($? . join('', grep { /hoody-ai/ } split /^/, $log), 0,
        'systemd-analyze verify');

    for my $name (@services) {
        my $most = $unit{$name}{Service}{User}[0] eq 'root' ? 25 : 20;

        $log = `cd $folder && systemd-analyze security --offline=yes \\
            --threshold=$most ./$name 2>&1`;
        is($?, 0, "$name: exposure of at most $most tenths") or diag($log);
    }
}


# They start, as the user of the programs would

sub config {
    my ($name, %option) = @_;

    spew("$s->{dir}/$name", JSON::PP->new->encode({ server => $s->{server},
        redis => "unix:$s->{redis_socket}", %option }));
}

sub command {
    my ($name) = @_;
    my $line = $unit{"$name.service"}{Service}{ExecStart}[0];

    $line =~ s{/usr/local/bin/}{$programs/};
    $line =~ s{/etc/hoody-ai/|/var/log/hoody-ai(?:-control)?/}{$s->{dir}/}g;

    return split / /, $line;
}

my $rules = "$s->{dir}/hoody.json";

spew($rules, JSON::PP->new->encode({ rules => [{ id => 'log',
    trigger => { event => 'chat.params' },
    action => { type => 'log', content => 'x' } }] }));
config('engine.json', rules => $rules);
config('events.json', rules => $rules);

$s->spawn('events', [command('hoody-ai-events')]);
ok(wait_for(sub { -e "$s->{dir}/audit.jsonl"
    && slurp("$s->{dir}/events.out.log") =~ /1 rules, digest/ }),
    'the event worker') or diag(slurp("$s->{dir}/events.out.log"));
is($s->stop('events'), 0, 'it ends');

# without rights of root but the one that the unit gives
SKIP: {
    skip 'no namespace of networks, or no setpriv', 4
        unless $> == 0 && have('setpriv') && have('unshare')
            && system('unshare -n true 2>/dev/null') == 0;

    config('firewall.json');
    chmod 0644, "$s->{dir}/firewall.json";

    my $right = lc $right{'hoody-ai-firewall.service'} =~ s/^CAP_//r;
    my $log = sub { slurp("$s->{dir}/firewall.out.log") };

    $s->container('dev-env', addresses => '192.0.2.1', host_interface => 'v1');
    $s->spawn('firewall', ['unshare', '-n', 'setpriv', '--reuid', '65534',
        '--regid', '65534', '--clear-groups', '--no-new-privs',
        '--bounding-set', "-all,+$right", '--inh-caps', "-all,+$right",
        '--ambient-caps', "-all,+$right", command('hoody-ai-firewall')]);
    ok(wait_for(sub { $log->() =~ /info: applied, 1 containers/ }),
        'the firewall') or diag($log->());
    $s->container('two', addresses => '192.0.2.2', host_interface => 'v2');
    ok(wait_for(sub { $log->() =~ /info: changed, 2 containers/ }),
        'it follows the registry') or diag($log->());
    is($s->stop('firewall'), 0, 'it ends');
    unlike($log->(), qr/: (?:error|warn):/, 'without a complaint');
}

SKIP: {
    skip 'no systemd-socket-activate', 5
        unless have('systemd-socket-activate');

    config('control.json');

    my $control = "$s->{dir}/control.fcgi";

    $s->spawn('control', ['systemd-socket-activate', '-l', $control,
        command('hoody-ai-control')]);
    ok(wait_for(sub { -S $control && IO::Socket::UNIX->new(Peer => $control)
        && slurp("$s->{dir}/control.out.log") =~ /ready/ }), 'the control API')
        or diag(slurp("$s->{dir}/control.out.log"));
    $s->stop('control');
    ok(-S $control, 'its socket is systemd\'s too');

    my $path = "$s->{dir}/rules.sock";

    $s->spawn('engine', ['systemd-socket-activate', '-l', $path,
        command('hoody-ai-rules')]);
    ok(wait_for(sub { -S $path }), 'a socket of systemd');

    my $status = "$programs/hoody-ai rules status -o json --socket $path";

    ok(wait_for(sub { `$status 2>/dev/null` =~ /"enabled": 1/ }),
        'the rule engine') or diag(slurp("$s->{dir}/engine.out.log"));
    $s->stop('engine');
    ok(-S $path, 'the socket is systemd\'s: it stays');
}

$s->finish;
