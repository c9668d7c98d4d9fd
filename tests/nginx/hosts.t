#!/usr/bin/perl

# Several hosts on one bridge, and processes in cgroups: who is believed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Engine;
use HoodyAI::Pace;
use HoodyAI::System qw(wait_for free_port chat slurp spew);

if ($> != 0) {
    diag('NOT TESTED: hosts on a bridge and cgroups need root');
    plan skip_all => 'network namespaces and cgroups need root';
}

my $id = $$;
my $bridge = "hs$id";
my (%host, @made, @groups);

# The subnet is for tests, in use in no real network; the bridge's route is
# what keeps two runs of this file apart.
my ($net, $net6);

sub ip { system('ip', @_) == 0 or die "ip @_ failed\n" }

sub network {
    for my $n (map { ($_ + $id) % 256 } 0 .. 255) {
        next if `ip -4 route show to match 198.19.$n.1/32` =~ /^(?!default)/m;

        $net = "198.19.$n";
        $net6 = sprintf 'fd68:6169:%x:%x::', $n, $id & 0xffff;
        last;
    }

    push @made, ['link', 'del', $bridge];
    ip('link', 'add', $bridge, 'type', 'bridge');
    ip('addr', 'add', "$net.1/24", 'dev', $bridge);
    ip('addr', 'add', "${net6}1/64", 'dev', $bridge, 'nodad');
    ip('link', 'set', $bridge, 'up');

    my $i = 10;

    for my $name (@_) {
        my $space = "$bridge-$name";

        ip('netns', 'add', $space);
        push @made, ['netns', 'del', $space];
        ip('link', 'add', "$bridge-$i", 'type', 'veth', 'peer', 'name', 'eth0',
            'netns', $space);
        ip('link', 'set', "$bridge-$i", 'master', $bridge, 'up');
        ip('-n', $space, 'link', 'set', 'lo', 'up');
        ip('-n', $space, 'addr', 'add', "$net.$i/24", 'dev', 'eth0');
        my $six = "$net6$i:1";

        ip('-n', $space, 'addr', 'add', "$six/64", 'dev', 'eth0', 'nodad');
        ip('-n', $space, 'link', 'set', 'eth0', 'up');

        $host{$name} = { space => $space, v4 => "$net.$i", v6 => $six };
        $i++;
    }
}

END {
    my $code = $?;

    if ($id == $$) {
        system("ip @$_ 2>/dev/null") for reverse @made;
        rmdir $_ for reverse @groups;
    }

    $? = $code;
}

if (!eval { network(qw(one two three)); 1 }) {
    diag("NOT TESTED: no network namespaces here: $@");
    plan skip_all => 'network namespaces cannot be made here';
}

my $s = HoodyAI::System->new;
my ($port, $any) = (free_port(), free_port());

$s->redis;
$s->container('one', addresses => "$host{one}{v4} $host{one}{v6}");
$s->container('two', addresses => "$host{two}{v4} ${net6}11:0/112");

my $provider = $s->provider;

# whoever comes from wherever: rules look into each body
my $guard = 'Never delete anything.';
my $engine = HoodyAI::Engine->new($s, args => ['--no-plan'], rules => [
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } }]);

chmod 0777, $engine->{socket};

$s->nginx(location => 'hoody_ai_rules /rules timeout=3s;', server => "
    location = /rules {
        internal;
        include " . $s->root . "/conf/hoody_ai_rules_params;
        fastcgi_pass unix:$engine->{socket};
    }

    listen $net.1:$port;
    listen [${net6}1]:$port;
    listen [::]:$any ipv6only=off;
    listen unix:$s->{dir}/gateway.sock;
    add_header x-from \$remote_addr;");

spew("$s->{dir}/body", chat());
spew("$s->{dir}/stream", chat(stream => JSON::PP::true));


# curl in a host: status, headers and body of the answer; status 0 without one
sub from {
    my ($name, $url, $token, @more) = @_;

    open(my $out, '-|', 'ip', 'netns', 'exec', $host{$name}{space}, 'curl',
        '-sgi', '-m', '3', '--noproxy', '*', '-H',
        "Authorization: Bearer container-$token", '-H',
        'Content-Type: application/json', '-d', "\@$s->{dir}/body", @more,
        "$url/v1/chat/completions") or die "curl: $!\n";

    local $/;
    my $text = <$out> // '';
    close $out;
    $s->capture($text);

    return ($text =~ m{^HTTP/1.1 (\d+)}) ? $1 : 0, $text;
}

my $v4 = "http://$net.1:$port";
my $v6 = "http://[${net6}1]:$port";

# A change of the registry comes within 10 ms; a busy machine may take longer.
sub status_becomes {
    my ($status, $name, @what) = @_;
    my $got;

    wait_for { ($got = (from(@what))[0]) == $status } 2;
    is($got, $status, $name);
}


sub status_is {
    my ($status, $name, @what) = @_;

    is((from(@what))[0], $status, $name);
}


# Honest

for my $name (qw(one two)) {
    status_is(200, "$name by IPv4", $name, $v4, $name);
    status_is(200, "$name by IPv6", $name, $v6, $name);
    status_is(200, "$name by IPv4 at an IPv6 socket", $name,
        "http://$net.1:$any", $name);
    status_is(200, "$name by IPv6 there", $name, "http://[${net6}1]:$any",
        $name);
}


# A token that was copied

my @refused;

for my $case (
    ['one', 'two'], ['two', 'one'], ['three', 'one'], ['three', 'two'],
    ['three', 'three'], ['one', 'nobody'])
{
    my ($from, $token) = @$case;

    for my $url ($v4, $v6) {
        my ($status, $text) = from($from, $url, $token);

        is($status, 401, "$from says it is $token: 401");
        $text =~ s/^(?:x-request-id|date): .*\r\n//img;
        $text =~ s/^x-from: .*\r\n//img;
        push @refused, $text;
    }
}

my %different = map { $_ => 1 } @refused;
is(scalar keys %different, 1, 'and all of these answers are the same')
    or diag(keys %different);

for my $header (map { "$_: $host{one}{v4}" } 'X-Forwarded-For', 'X-Real-IP',
    'Client-IP', 'True-Client-IP', 'CF-Connecting-IP')
{
    status_is(401, "$header does not help", 'two', $v4, 'one', '-H', $header);
}

status_is(401, 'nor does Forwarded', 'two', $v4, 'one', '-H',
    "Forwarded: for=$host{one}{v4}");
status_is(0, 'an address that is not its own', 'two', $v4, 'one',
    '--interface', $host{one}{v4});


# An address that was taken

{
    my ($one, $two) = @host{qw(one two)};
    my $take = sub {
        ip('-n', $two->{space}, 'addr', 'add', "$one->{v4}/24", 'dev', 'eth0');
        ip('neigh', 'flush', 'dev', $bridge);
    };

    ip('-n', $one->{space}, 'link', 'set', 'eth0', 'down');
    $take->();
    status_is(200, 'the owner is down, a neighbour takes its address: '
        . 'without a firewall it is believed', 'two', $v4, 'one',
        '--interface', $one->{v4});

    $s->cmd('HSET', $s->rkey('container:one'), 'addresses', $one->{v6});
    status_becomes(401, 'the registry no longer says so: refused', 'two', $v4,
        'one', '--interface', $one->{v4});
    $s->cmd('HSET', $s->rkey('container:one'), 'addresses',
        "$one->{v4} $one->{v6}", 'status', 'stopped');
    $s->told;
    status_is(401, 'nor while the owner is registered as stopped', 'two', $v4,
        'one', '--interface', $one->{v4});

    ip('-n', $two->{space}, 'addr', 'del', "$one->{v4}/24", 'dev', 'eth0');
    ip('-n', $one->{space}, 'link', 'set', 'eth0', 'up');
    ip('-n', $one->{space}, 'addr', 'replace', "$one->{v6}/64", 'dev', 'eth0',
        'nodad');
    ip('neigh', 'flush', 'dev', $bridge);
    $s->cmd('HSET', $s->rkey('container:one'), 'status', 'running');
    status_becomes(200, 'the owner is back', 'one', $v4, 'one');
}


# A stream that runs

{
    my $start;

    open(my $out, '-|', 'ip', 'netns', 'exec', $host{one}{space}, 'curl',
        '-sgN', '-m', '30', '-H', 'Authorization: Bearer container-one', '-H',
        'X-Sample-Chunks: 1000', '-H', 'X-Sample-Delay: 20', '-d',
        "\@$s->{dir}/stream", "$v6/v1/chat/completions") or die "curl: $!\n";

    sysread $out, my $text, 65536;
    $s->cmd('HSET', $s->rkey('container:one'), 'addresses', $host{one}{v4});
    $start = time;

    while (sysread $out, my $more, 65536) {
        $text .= $more;
    }

    # by itself it goes on for 20 seconds
    cmp_ok(time - $start, '<', 2 * slow,
        'an address taken away ends its streams');
    like($text, qr/access_revoked/, 'with the typed event');
    close $out;
    status_is(200, 'the other address serves on', 'one', $v4, 'one');
}


# Cgroups

my ($tree) = slurp('/proc/mounts') =~ /^\S+ (\S+) cgroup2 /m;

SKIP: {
    skip 'no cgroup2 is mounted', 15
        if !$tree || !-w $tree || !mkdir "$tree/hai-$id";

    push @groups, "$tree/hai-$id";

    for my $name ('a', 'ab', 'b', 'a/sub', 'in.scope', 'b/in.scope',
        "odd-$id")
    {
        mkdir "$tree/hai-$id/$name" or die "cgroup: $!\n";
        push @groups, "$tree/hai-$id/$name";
    }

    mkdir "$tree/hai-$id/odd-$id/bare-$id.scope";
    push @groups, "$tree/hai-$id/odd-$id/bare-$id.scope";
    mkdir "$tree/hai-$id/safe-$id.scope";
    push @groups, "$tree/hai-$id/safe-$id.scope";
    chown 65534, 65534, "$tree/hai-$id/odd-$id";

    $s->container('kernel', cgroup => "/hai-$id/a");
    $s->container('bare', cgroup => "bare-$id.scope");
    $s->container('safe', cgroup => "safe-$id.scope");

    my $to = "unix:$s->{dir}/gateway.sock";

    # The connection of a process in a group; what it does with it is the
    # sub's matter, its status is what comes back.
    my $inside = sub {
        my ($group, $token, $how) = @_;

        pipe my $in, my $out;

        my $pid = fork // die "fork: $!\n";

        if ($pid == 0) {
            if (defined $group) {
                open(my $procs, '>', "$tree/hai-$id/$group/cgroup.procs")
                    or _exit(1);
                syswrite($procs, $$) or _exit(1);
                close $procs;
            }

            my $client = HoodyAI::Client->new(to => $to);

            # another process goes on with the connection
            if ($how) {
                fork and _exit(0);
                wait_for { getppid() != $pid };
                sleep 0.1;
            }

            $client->request('POST', '/v1/chat/completions',
                token => $token, body => chat());
            syswrite $out, $client->answer->{status};
            _exit(0);
        }

        close $out;
        waitpid $pid, 0 if $how;

        my $status = <$in> // 'nothing';

        waitpid $pid, 0 if !$how;

        return $status;
    };

    is($inside->('a', 'kernel'), 200, 'a process of the registered cgroup');
    is($inside->('a/sub', 'kernel'), 200, 'and below it');
    is($inside->('b', 'kernel'), 401, 'of another cgroup');
    is($inside->('ab', 'kernel'), 401, 'of one with a longer name');
    is($inside->(undef, 'kernel'), 401, 'of the host');
    is($inside->('a', 'one'), 401, 'the token of a container with addresses');
    is($inside->('a', 'bare'), 401, 'the token of another cgroup');
    is($inside->('a', 'kernel', 1), 401,
        'a peer that has ended, its connection in other hands');
    is($inside->('a', 'kernel'), 200, 'the next one is served');

    is($inside->("safe-$id.scope", 'safe'), 200,
        'a bare name below a folder of root');
    is($inside->("odd-$id/bare-$id.scope", 'bare'), 401,
        'a bare name below a folder of somebody else');

    status_is(401, 'kernel identity counts on unix sockets only', 'one', $v4,
        'kernel');

    $s->cmd('HSET', $s->rkey('container:kernel'), 'cgroup', "/hai-$id/b");
    $s->told;
    is($inside->('a', 'kernel'), 401, 'the registry says another cgroup');
    is($inside->('b', 'kernel'), 200, 'and that one is served');

    $s->cmd('HSET', $s->rkey('container:kernel'), 'cgroup', '/');
    $s->told;
    is($inside->('a', 'kernel'), 401, 'the root is nobody');
}

{
    my @seen = $provider->requests;
    my @bare = grep { index($_->{body}, $guard) < 0 } @seen;

    cmp_ok(scalar @seen, '>', 0, 'what the provider got');
    is(scalar @bare, 0, 'has the rule');
}

$s->finish;
