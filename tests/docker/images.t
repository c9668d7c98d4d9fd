#!/usr/bin/perl

# The images and the compose file of docker/, built and run with podman: who
# reaches whom, what a service may do, what it is, where keys are not.
#
# The images and the base that they are made of (from this machine's own
# package sources) stay in build/images/, so that a second run is quick.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../nginx/lib";
use File::Path qw(make_path);
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::System qw(wait_for slurp spew);

my $what = 'images and compose file';
my @needs = qw(podman runc nsenter docker-compose openssl);
my @targets = qw(gateway backend redis provider demo);
my $base = 'docker.io/library/debian:bookworm-slim';

my $s = $ENV{HAI_OWN_NET} || $ENV{HAI_IMAGES_BUILD} ? HoodyAI::System->new
                                                    : undef;
my $build = $ENV{HAI_BUILD} // "$FindBin::Bin/../../build";
my $images = "$build/images";


# First, with the machine's network: the images.  Mounts that podman makes are
# this process's own, so it is one more.

if ($ENV{HAI_IMAGES_BUILD}) {
    my $podman = HoodyAI::Podman->new($s, $what, root => "$images/store");
    my @build = ('build', '--network', 'host', '--layers', '--format',
        'docker', '--pull=never', '--cap-add', 'FSETID', '--cap-add',
        'SYS_CHROOT', '-f', $s->root . '/docker/Dockerfile');

    if (!defined $podman->run('image', 'exists', $base)) {
        $podman->run('import', '--change', 'CMD ["bash"]',
            "$images/base.tar", $base);
    }

    for my $target (@targets) {
        defined $podman->run(@build, '--target', $target, '-t',
            "localhost/hoody-ai-$target", $s->root)
            or die substr $podman->messages, -4000;
    }

    $podman->end;
    $s->remove;
    exit 0;
}

if (!$ENV{HAI_OWN_NET}) {
    HoodyAI::Net->needs($what, @needs);
    make_path("$images/store");

    my $began = time;

    if (!-s "$images/base.tar") {
        HoodyAI::Net->needs($what, 'mmdebstrap');
        system("mmdebstrap --variant=minbase --format=tar bookworm"
            . " $images/base.new 2>$images/base.log") == 0
            or die slurp("$images/base.log");
        rename "$images/base.new", "$images/base.tar" or die "$!\n";
    }

    local $ENV{HAI_IMAGES_BUILD} = 1;
    system('unshare', '-m', $^X, $0) == 0 or die "the images are not built\n";
    diag(sprintf 'the images took %d s', time - $began);
}


# Then the stack, in a network that nothing else is in.

HoodyAI::Net->enter($what, @needs, { pids => 1 });

my $podman = HoodyAI::Podman->new($s, $what, root => "$images/store");
my $tree = $s->{secrets};

# of a run that was broken off
$podman->run('volume', 'prune', '-f');

my $docker = "$tree/docker";

system("mkdir -p $docker $tree/redis-schema && cd '" . $s->root . "'"
    . " && cp -r docker/compose.yaml docker/compose.rootless.yaml docker/etc"
    . " docker/init.sh $docker/ && cp -r redis-schema/acl $tree/redis-schema/")
    == 0 or die "no copy of docker/\n";

$ENV{DOCKER_HOST} = 'unix://' . $podman->service;
$ENV{COMPOSE_PROJECT_NAME} = 'hai';
$ENV{COMPOSE_HTTP_TIMEOUT} = 300;
$ENV{HAI_LOG} = "$s->{dir}/control.txt";

# what stands for the internet: an address of the "host" that is on no bridge
system('ip', 'addr', 'add', '192.0.2.80/32', 'dev', 'lo') == 0 or die;
$s->spawn('internet', [$s->root . '/build/hoody-ai-sample-provider',
    '--listen', '192.0.2.80:80']);


sub compose {
    my (@words) = @_;

    my $files = join ' ', map { "-f $docker/$_" } 'compose.yaml',
        @{ref $words[0] ? shift @words : []};

    return system("docker-compose $files @words >>$s->{dir}/compose.log 2>&1")
        == 0;
}

# The container of a service.
sub name { "hai_$_[0]_1" }

sub inside {
    my ($service, @words) = @_;
    my @options = ref $words[0] ? @{shift @words} : ();

    return $podman->run('exec', @options, name($service), @words);
}

my $chat = '{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]}';
my @curl = qw(curl -sS -m 20);

# The status that a chat of the demo container is answered with.
sub says {
    my ($token, $from) = @_;

    my @command = (@curl, '-o', '/dev/null', '-w', '%{http_code}', '-H',
        "Authorization: Bearer container-$token", '-H',
        'Content-Type: application/json', '-d', $chat,
        'http://10.77.0.2:8080/openai/v1/chat/completions');

    return $podman->run('exec', $from // name('demo'), @command) // '';
}

# Whether a connection comes about.
sub connects {
    my ($service, $address, $port) = @_;

    return defined inside($service, 'perl', '-MIO::Socket::INET', '-e',
        "exit !IO::Socket::INET->new(PeerAddr => '$address:$port',"
        . ' Timeout => 2)');
}

# The command, with the token on its standard input: what is on a command line
# or in the environment of "podman exec", podman writes down.
sub control {
    my ($group, $command, @words) = @_;

    open(my $out, '-|', 'sh', '-c', 'exec "$@" <"$0" 2>>"$HAI_LOG"',
        "$docker/state/operator.token", @{$podman->{command}}, 'exec', '-i',
        name('control'), 'sh', '-c', 'HOODY_TOKEN=$(cat) exec hoody-ai "$@"',
        'sh', $group, $command, '--api',
        '/run/hoody-ai/control/control.sock', @words) or die "sh: $!\n";
    local $/;
    my $text = <$out> // '';

    return close $out ? $text : undef;
}

# [uid, effective capabilities, no_new_privs, name] of each process
sub processes {
    my ($service) = @_;
    my @found;

    for my $pid (split ' ', $podman->run('top', name($service), 'hpid') // '') {
        next if $pid !~ /^\d+$/;
        my $status = slurp("/proc/$pid/status");
        next if $status eq '';

        push @found, {
            pid => $pid,
            map { $_ => $status =~ /^$_:\s+(\S+)/m ? $1 : '' }
                qw(Name Uid Gid CapEff CapBnd NoNewPrivs),
        };
    }

    return @found;
}

sub show_why {
    diag(slurp("$s->{dir}/compose.log"));
    diag($podman->run('ps', '-a') // '');
    for my $service (qw(redis rules events control gateway provider register))
    {
        diag("$service: " . `@{$podman->{command}} logs --tail 20 @{[
            name($service)]} 2>&1`);
    }
}


system("bash $docker/init.sh") == 0 or die "init.sh\n";

my $began = time;

sub starts {
    my ($what, @words) = @_;

    # without it there is nothing to look at
    return if ok(compose(@words, 'up', '-d', '--no-build'), "starts: $what")
        && ok(wait_for(sub { says('demo') eq '200' }, 90),
            'the demo container may use AI');

    show_why();
    $podman->end;
    BAIL_OUT("$what does not work");
}

starts('the stack');
diag(sprintf 'the stack took %d s', time - $began);


# what the gateway says

{
    my $answer = inside('demo', @curl, '-i', '-H',
        'Authorization: Bearer container-demo', '-H',
        'Content-Type: application/json', '-H', 'X-Sample-Echo: body', '-d',
        $chat, 'http://10.77.0.2:8080/openai/v1/chat/completions') // '';

    like($answer, qr{^HTTP/1\.1 200}, 'an answer');
    like($answer, qr/Never execute destructive/,
        'the rule engine\'s rule is in the request');
}

is(says('other'), 401, 'not as another container');
is(says('demo', $podman->run(qw(run -d --name neighbour --network),
    'hai_containers', '--ip', '10.77.0.12', 'localhost/hoody-ai-demo')
    && 'neighbour'), 401, 'and not another one as this one');
is(inside('demo', @curl, qw(-o /dev/null -w %{http_code}),
    'http://10.77.0.2:8080/api/v1/containers'), 404,
    'no control API on the data port');


# who reaches whom

{
    my $open = inside('demo', 'perl', '-MIO::Socket::INET', '-e', <<'END');
print join ' ', grep { IO::Socket::INET->new(PeerAddr => "10.77.0.2:$_",
    Timeout => 2) } 1 .. 65535;
END

    is($open, '8080', 'one port of the gateway is open');
}

ok(!connects('demo', @$_), "nothing at $_->[0]:$_->[1]")
    for ['10.78.0.2', 8080], ['10.78.0.3', 443], ['10.78.0.1', 53],
        ['192.0.2.80', 80];

# the same from where they are reached: so they were there
ok(connects('gateway', @$_), "from the gateway there is $_->[0]:$_->[1]")
    for ['10.78.0.3', 443], ['192.0.2.80', 80], ['10.77.0.2', 8080];

unlike(inside('demo', 'cat', '/proc/net/route'), qr/^\S+\s+00000000\s/m,
    'it has no default route');
is(inside('demo', 'sh', '-c', 'find / -xdev -type s 2>/dev/null; true'), '',
    'no unix socket is in it');
is(inside('demo', 'cat', '/proc/net/unix') =~ tr/\n//, 0,
    'and none without a name');

for my $service (qw(redis rules events control register)) {
    is($podman->run('inspect', '-f', '{{.HostConfig.NetworkMode}}',
        name($service)), 'none', "$service has no network");
}

is($podman->run('ps', '--format', '{{.Ports}}') =~ s/\s//gr, '',
    'no port is published');

# of the sockets each one sees its own
is(join(' ', sort split ' ', inside($_->[0], qw(find /run/hoody-ai -type s))),
    $_->[1], "sockets that $_->[0] sees")
    for ['redis', '/run/hoody-ai/redis/redis.sock'],
        ['events', '/run/hoody-ai/redis/redis.sock'],
        ['rules', '/run/hoody-ai/redis/redis.sock'
            . ' /run/hoody-ai/rules/rules.sock'];

# Redis asks everybody who they are
like(inside('redis', qw(redis-cli -s /run/hoody-ai/redis/redis.sock keys *)),
    qr/^NOAUTH/, 'Redis wants a password');


# what the services are

my %is = (
    redis => '10002', rules => '10001', events => '10001', control => '10001',
    provider => '10001', demo => '65534',
);

for my $service (sort keys %is) {
    my @all = processes($service);

    ok(scalar @all, "$service runs");
    is(join(' ', grep { $_ ne $is{$service} } map { $_->{Uid} } @all), '',
        "$service is $is{$service}");
    is(join(' ', grep { /[1-9a-f]/ } map { $_->{CapEff}, $_->{CapBnd} } @all),
        '', "$service has no capability and can get none");
}

{
    my @all = processes('gateway');
    my ($master) = grep { $_->{Uid} eq '0' } @all;
    my @workers = grep { $_->{Uid} eq '33' } @all;

    ok($master && @workers && @all == 1 + @workers,
        'the gateway is a master of root\'s and workers of www-data\'s');
    is(hex $master->{CapEff}, 0xc0, 'the master has SETUID and SETGID');
    is(join(' ', grep { /[1-9a-f]/ } map { $_->{CapEff} } @workers), '',
        'the workers have nothing');
}

for my $service (sort(keys %is), 'gateway') {
    is(join('', map { $_->{NoNewPrivs} } processes($service)) =~ tr/1//dr, '',
        "$service: no new privileges");

    my $out = inside($service, ['-u', '0'], 'sh', '-c',
        'for f in / /etc/ /usr/bin/ /var/lib/; do'
        . ' (echo x >${f}new) 2>&1; done; true');

    is(() = $out =~ /Read-only file system/g, 4, "$service: root is read only")
        or diag($out);
}


# a container that has the socket is nobody without a token, root or not
ok(!defined inside('control', ['-u', '0:10000'], 'hoody-ai', 'containers',
    'list', '--api', '/run/hoody-ai/control/control.sock'),
    'root of a container is not root of the control API');


# health

ok(defined $podman->run('healthcheck', 'run', name($_)), "$_ is healthy")
    for qw(redis rules control gateway);
ok(!defined inside('control', 'health', '/run/hoody-ai/control/control.sock',
    '/api/v1/nothing'), 'another answer than 200 is none');


# access taken away, in the middle of an answer

my ($id) = control('containers', 'list', '-o', 'json') =~ /"id": ?"(\w+)"/;

{
    open(my $stream, '-|', @{$podman->{command}}, 'exec', name('demo'),
        'curl', '-sSN', '-m', '60', '-H', 'X-Sample-Chunks: 1000', '-H',
        'X-Sample-Delay: 50', '-H', 'Authorization: Bearer container-demo',
        '-H', 'Content-Type: application/json', '-d',
        $chat =~ s/\{/{"stream":true,/r,
        'http://10.77.0.2:8080/openai/v1/chat/completions') or die;

    my $first = <$stream> // '';

    like($first, qr/^data: /, 'a stream begins');
    ok(defined control('containers', 'update', $id, '--no-ai'), 'AI off');

    my $started = time;
    my $rest = do { local $/; <$stream> } // '';

    close $stream;
    like($rest, qr/access_revoked/, 'the stream ends, and says why');
    cmp_ok(time - $started, '<', 20, 'long before its own end');
}

is(says('demo'), 403, 'AI is off');
control('containers', 'update', $id, '--ai');
ok(wait_for(sub { says('demo') eq '200' }), 'and on again');


# what is killed comes back

{
    $podman->run('kill', '-s', 'KILL', name('gateway'));
    wait_for { ($podman->run('inspect', '-f', '{{.State.Running}}',
        name('gateway')) // '') eq 'false' } 2;
    $podman->run('start', name('gateway'));

    # podman gives it another MAC, which its neighbours have to find out
    ok(wait_for(sub { says('demo') eq '200' }, 90),
        'the gateway, killed and started') or show_why();
    ok(defined control('containers', 'list'), 'and the control API with it');

    $podman->run('restart', '-t', '5', name('redis'));
    ok(wait_for(sub { (control('containers', 'list') // '') =~ /demo/ }, 30),
        'Redis keeps the registry over a restart');
    ok(wait_for(sub { says('demo') eq '200' }, 30), 'and is found again');
}

control('containers', 'delete', $id);
is(says('demo'), 401, 'deleted: nobody');


# where keys are not

{
    my @secret = map { slurp("$docker/state/$_") =~ s/\s+\z//r }
        qw(gateway.password engine.password events.password control.password
           operator.token openai.key);
    my $pattern = join '|', map { quotemeta } @secret;
    my $list = "$tree/patterns";
    my $store = "$images/store";

    is(scalar(grep { length > 40 } @secret), 6, 'there are keys');

    for my $service (sort(keys %is), 'gateway', 'register') {
        unlike(`@{$podman->{command}} inspect @{[name($service)]} 2>&1`,
            qr/$pattern/, "no key in \"inspect\" of $service");
        unlike(`@{$podman->{command}} logs @{[name($service)]} 2>&1`,
            qr/$pattern/, "no key in the log of $service");

        for my $one ($service eq 'provider' ? () : processes($service)) {
            unlike(slurp("/proc/$one->{pid}/environ")
                . slurp("/proc/$one->{pid}/cmdline"), qr/$pattern/,
                "no key in the environment or the arguments of $one->{Name}");
        }
    }

    for my $target (@targets) {
        my $image = "localhost/hoody-ai-$target";

        unlike(($podman->run('image', 'inspect', $image) // '')
            . ($podman->run('history', '--no-trunc', $image) // ''),
            qr/$pattern/, "no key in the history of $target");
    }

    # images, what containers wrote, volumes
    spew($list, join("\n", @secret) . "\n", 0600);
    is(`grep -raFl -f $list --exclude-dir=merged $store`, '',
        'no key in any layer or volume');

    spew($list, "gateway.password\n");
    isnt(`grep -raFl -f $list --exclude-dir=merged $store`, '',
        'where other words are found');
    unlink $list;

    unlike(slurp($s->root . '/docker/Dockerfile'), qr{https?://(?!deb\.debian
        \.org|mirror\.example|\[\^)}x, 'the Dockerfile names no mirror');
}


# without root

$podman->run('rm', '-f', '-t0', 'neighbour');
ok(compose('down', '-v', '-t', '5'), 'the stack ends');
system("bash $docker/init.sh --rootless") == 0 or die "init.sh\n";
starts('without root', ['compose.rootless.yaml']);

{
    my @all = processes('gateway');

    is(join(' ', grep { $_ ne '10003' } map { $_->{Uid} } @all), '',
        'the gateway is 10003');
    is(join(' ', grep { /[1-9a-f]/ } map { $_->{CapEff} } @all), '',
        'without capabilities');
    cmp_ok(scalar @all, '>', 1, 'master and workers');
}

compose('down', '-v', '-t', '5');

diag("size of $_: " . ($podman->run('image', 'inspect', '-f', '{{.Size}}',
    "localhost/hoody-ai-$_") / 1e6) . ' MB') for @targets;

$podman->end;
$s->finish(alerts => qr/./);
