#!/usr/bin/perl

# The connector for Docker and Podman with real containers of podman: what the
# runtime does is in the registry, what the API wants the runtime does, and a
# freelancer's day from beginning to end.
#
# asan: no, most of it is podman

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use IO::Socket::UNIX;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::Docker;
use HoodyAI::Net;
use HoodyAI::Podman;
use HoodyAI::System qw(free_port slurp spew suspend wait_for);

# runtime_dockerd.t has the same with a Docker Engine
my $dockerd = $0 =~ /dockerd/;
my $what = $dockerd ? 'the connector with Docker Engine'
                    : 'the connector for Docker and Podman';

HoodyAI::Net->enter($what, $dockerd ? 'docker' : 'podman', qw(runc nsenter cc),
    { pids => 1 });

my $s = HoodyAI::System->new;
my $podman = ($dockerd ? 'HoodyAI::Docker' : 'HoodyAI::Podman')
    ->new($s, $what);
my $port = free_port();
my $project = 'a' x 24;

$podman->network(qw(--subnet 10.97.0.0/24 --gateway 10.97.0.1 gwt));

# the bridge has its address once there is a container
$podman->run(qw(run -d --name keep --network gwt localhost/agent:1 sleep));

$s->redis;
$s->provider;

my $socket = $podman->service;
my $c = HoodyAI::Control->new($s,
    args => ['--runtime', "docker=$socket,network=gwt"]);

$s->nginx(level => 'info', http => sub {
    $s->default_http(server => "listen 10.97.0.1:$port;") . $c->server });

sub find {
    my ($name) = @_;

    return $c->call('GET', "/containers?name=$name")
        ->{json}{data}{containers}[0];
}

# until the registry says so: the container, or 1 where there is none
sub until {
    my ($name, $is) = @_;

    return wait_for { local $_ = find($name); $is->() && ($_ // 1) } 15;
}

sub says { $podman->agent($_[0], 'tcp', '10.97.0.1', $port, $_[1]) }


# what was there before is found, with AI off

my $keep = &until('keep', sub { $_ });

ok($keep, 'a container that was there is found');
ok(!$keep->{ai}, 'its AI is off');
is($keep->{status}, 'running', 'it runs');
like("@{$keep->{addresses}}", qr/^10\.97\.0\.\d+\z/, 'its address');
like($keep->{mac}, qr/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\z/, 'its MAC');
like($keep->{host_interface}, qr/^veth/, 'the host\'s end of its interface');
like($keep->{cgroup}, qr{/(?:libpod-)?[0-9a-f]{64}\z}, 'its cgroup');
is($keep->{runtime}, 'docker', 'whose it is');

my $id = $podman->run(qw(inspect -f {{.Id}} keep));

is(says($id, 'keep'), 403, 'so it may not');


# events: what the runtime does

my $labelled = $podman->run(qw(run -d --name labelled --network gwt --label
    hoody.ai=true --label), 'hoody.tags=prod eu', qw(localhost/agent:1 sleep));
my $one = &until('labelled', sub { $_ && @{$_->{addresses}} });

ok($one, 'a new one is found');
ok($one->{ai}, 'its label says that AI is on');
is_deeply($one->{tags}, ['prod', 'eu'], 'and its tags');
like($c->call('GET', '/audit/ai')->{json}{data}{containers}[0]{ai_since},
    qr/^\d{4}-.*Z\z/, 'the audit knows since when');
is(wait_for { says($labelled, 'labelled') eq '200' }, 1, 'it may');
is(says($labelled, 'keep'), 401, 'not as another');

$podman->run(qw(stop -t0 labelled));
ok(&until('labelled', sub { $_ && $_->{status} eq 'stopped' }), 'stopped');
is_deeply(find('labelled')->{addresses}, [], 'an address less');

$podman->run(qw(start labelled));
ok(&until('labelled', sub { $_ && $_->{status} eq 'running' && @{$_->{addresses}} }),
    'started again');
is(wait_for { says($labelled, 'labelled') eq '200' }, 1, 'it may again');

# AI off stays off: the label is for new ones
$c->call('PATCH', "/containers/$one->{id}", json => { ai => JSON::PP::false });
$podman->run(qw(restart -t0 labelled));
ok(&until('labelled', sub { $_ && $_->{status} eq 'running' && @{$_->{addresses}} }),
    'restarted');
ok(!find('labelled')->{ai}, 'what the operator said stays');

$podman->run(qw(rename labelled other));
ok(&until('labelled', sub { !$_ }), 'renamed: the old name is gone');
ok(&until('other', sub { $_ }), 'the new one is there');
is(find('other')->{id}, $one->{id}, 'of the same container');
ok(!find('other')->{ai}, 'and what the operator said stays, whatever its label');

$podman->run(qw(rm -f -t0 other));
ok(&until('other', sub { !$_ }), 'removed');

# one on the host's network is listed, and nobody's
my $onhost = $podman->run(qw(run -d --name onhost --network host --label
    hoody.ai=true localhost/agent:1 sleep));

$one = &until('onhost', sub { $_ });
ok($one && $one->{ai}, 'a container on the host\'s network is listed');
is_deeply($one->{addresses}, [], 'without an address');
is(says($onhost, 'onhost'), 401, 'and refused');
$podman->run(qw(rm -f -t0 onhost));


# the connector is away while things happen

$c->stop('KILL');
$podman->run(qw(rm -f -t0 onhost));

my $new = $podman->run(qw(run -d --name meanwhile --network gwt --label
    hoody.ai=true localhost/agent:1 sleep));

unlink $c->{fcgi};
$c->start;
ok(&until('meanwhile', sub { $_ && $_->{ai} }), 'found after a restart');
ok(&until('onhost', sub { !$_ }), 'and what was gone is gone');
is(wait_for { says($new, 'meanwhile') eq '200' }, 1, 'it may');

# the runtime's API is away
$podman->stop_service;
{
    my $answer = $c->call('POST', '/containers/' . find('meanwhile')->{id}
        . '/stop');

    is($answer->{json}{error}, 'RUNTIME_UNAVAILABLE',
        'the runtime cannot be reached') or diag($answer->{body});
}
$podman->service;
ok(wait_for { ($c->call('GET', '/health')->{json}{data}{runtime} // '') eq 'ok' }
    , 'it is back');
$podman->run(qw(rm -f -t0 meanwhile));
ok(&until('meanwhile', sub { !$_ }), 'and its events are heard again');


# a freelancer's day

my $answer = $c->call('POST', "/projects/$project/containers", json => {
    name => 'freelancer', container_image => 'localhost/agent:1',
    environment_vars => { GREETING => 'hello' } });

is($answer->{status}, 201, 'a container is made');

my $data = $answer->{json}{data};

is($data->{status}, 'running', 'and runs');
ok($data->{ai}, 'with AI');
is(scalar @{$data->{addresses}}, 1, 'and an address');

my $box = $podman->run(qw(inspect -f {{.Id}} freelancer));

like($podman->run(qw(inspect -f {{.Config.Env}} freelancer)),
    qr/GREETING=hello/, 'its variable');
unlike($podman->run('inspect', 'freelancer'), qr/\Q$_\E/, 'no key in it')
    for $s->all_keys;
is(wait_for { says($box, 'freelancer') eq '200' }, 1, 'it talks to a model');
is(says($id, 'freelancer'), 401, 'a neighbour with its token does not');

# the lines of the platform's documentation, with the command
sub command {
    my ($line) = @_;
    my $program = $s->program('hoody-ai');
    my $out = `$program $line --api $c->{socket} -o json`;

    is($?, 0, "hoody-ai $line");

    return eval { decode_json($out) };
}

my $snapshot = command(qq(snapshots create -c $data->{id} --alias )
    . '"before-ai-generation"');

is($c->call('POST', "/containers/$data->{id}/snapshots",
    json => { alias => 'two', expiry => 0 })->{status}, 400, 'no days');
is($snapshot->{expires_at}, undef, 'it does not end by itself');
is($c->call('DELETE', "/containers/$data->{id}/snapshots/$snapshot->{name}")
    ->{status}, 200, 'it is thrown away');

$answer = $c->call('POST', "/containers/$data->{id}/snapshots",
    json => { alias => 'before-ai-generation', expiry => 1 });
is($answer->{status}, 200, 'a snapshot');

$snapshot = $answer->{json}{data}{snapshot};

like($snapshot->{name}, qr/^snap-\d{8}-\d{6}\z/, 'its name');
is($snapshot->{alias}, 'before-ai-generation', 'its alias');
like($snapshot->{expires_at}, qr/^\d{4}-.*Z\z/, 'when it ends');
is_deeply([map { $_->{name} } @{ $c->call('GET',
    "/containers/$data->{id}/snapshots")->{json}{data}{snapshots} }],
    [$snapshot->{name}], 'in the list');

is($c->call('PATCH', "/containers/$data->{id}/snapshots/$snapshot->{name}"
    . '/alias', json => { alias => 'good' })->{json}{data}{snapshot}{alias},
    'good', 'another alias');

like(command(qq(snapshots restore -c $data->{id} --name "$snapshot->{name}"))
    ->{last_used_at}, qr/^\d{4}-/, 'restored, and when');
is($c->call('PATCH', "/containers/$data->{id}/snapshots/no-such")->{status},
    404, 'not one that is not there');

my $again = $podman->run(qw(inspect -f {{.Id}} freelancer));

isnt($again, $box, 'a container of the snapshot');
like($podman->run(qw(inspect -f {{.Config.Env}} freelancer)),
    qr/GREETING=hello/, 'with its variable');
is($c->call('GET', "/containers/$data->{id}")->{json}{data}{status}, 'running',
    'under the same id');
is(wait_for { says($again, 'freelancer') eq '200' }, 1, 'it talks again');

is($c->call('POST', "/containers/$data->{id}/pause")->{status}, 200, 'paused');
is($c->call('POST', "/containers/$data->{id}/resume")->{status}, 200,
    'resumed');
is($c->call('POST', "/containers/$data->{id}/force-stop")->{status}, 200,
    'stopped');
is($c->call('POST', "/containers/$data->{id}/start")->{status}, 200, 'started');
is(wait_for { says($again, 'freelancer') eq '200' }, 1, 'and talks');

$answer = $c->call('PATCH', "/containers/$data->{id}",
    json => { name => 'renamed-1' });
is($answer->{status}, 200, 'renamed');
is($podman->run(qw(inspect -f {{.Name}} renamed-1)) =~ s{^/}{}r, 'renamed-1',
    'by the runtime too');
is(wait_for { says($again, 'renamed-1') eq '200' }, 1, 'the new token lives');
is(says($again, 'freelancer'), 401, 'the old one does not');

is($c->call('DELETE', "/containers/$data->{id}/snapshots/$snapshot->{name}")
    ->{json}{data}{snapshot_name}, $snapshot->{name}, 'the snapshot goes');
is($c->call('PUT', "/containers/$data->{id}/snapshots/$snapshot->{name}")
    ->{status}, 404, 'and cannot be restored');

is($c->call('DELETE', "/containers/$data->{id}")->{status}, 200, 'deleted');
is($podman->run(qw(inspect renamed-1)), undef, 'by the runtime too');
unlike($podman->run('images'), qr/hoody-/, 'and the images that were made');
is($c->call('GET', "/containers/$data->{id}")->{status}, 404, 'nothing is left');


# what cannot be

$c->{deep} = 1;
is($c->call('POST', "/projects/$project/containers", json => {
    name => 'no-image' })->{status}, 400, 'without an image');
is($c->call('POST', "/projects/$project/containers", json => {
    name => 'bad-image', container_image => 'localhost/nothing:1' })->{status},
    404, 'an image that is not there');
is(find('bad-image')->{status}, 'failed', 'is said of it');
ok(!find('bad-image')->{ai}, 'and it may not');


# what may not be: a token of one project against the others' containers

my $secret = $c->call('POST', "/containers/$keep->{id}/snapshots")
    ->{json}{data}{snapshot}{name};
my $thief = 'b' x 24;
my $token = $c->token("write:$thief");
my $short = substr $id, 0, 12;
my $n = 0;
my $image = $podman->run(qw(images --no-trunc -q --filter),
    "label=hoody.snapshot.of=$keep->{id}") =~ s/^sha256://r;

sub steal {
    my ($method, $path, %option) = @_;

    return $c->call($method, $path, token => $token, %option)->{status};
}

sub make {
    my ($name, $of) = @_;

    return steal('POST', "/projects/$thief/containers", json => {
        name => $name, container_image => $of });
}

ok($secret && length $image == 64, 'a snapshot to be stolen');
is(make('thief-1' . $n++, $_), 404, "it is no image: $_")
    for "hoody-snapshot:$keep->{id}-$secret",
    "localhost/hoody-snapshot:$keep->{id}-$secret", $image,
    substr($image, 0, 12), "sha256:$image";

# the runtime takes the beginning of an id for a name
is(make($short, 'localhost/nothing:1'), 404, 'a name like an id');

my $fake = find($short);

is($fake->{status}, 'failed', 'it has failed');
is(steal('POST', "/containers/$fake->{id}/$_"), 404, "$_: nothing to act on")
    for qw(stop force-stop restart pause);
is(steal('POST', "/containers/$fake->{id}/snapshots"), 404, 'nor to copy');
is(steal('DELETE', "/containers/$fake->{id}"), 200, 'the entry goes');
is($podman->run('inspect', '-f', '{{.State.Status}}', 'keep'), 'running',
    'the other one still runs');

# an entry that waits for a container of its name
is(make('wanted-1', 'localhost/nothing:1'), 404, 'an entry without container');
$fake = find('wanted-1');
$podman->run(qw(run -d --name wanted-1 --network gwt localhost/agent:1 sleep));
is(steal('POST', "/containers/$fake->{id}/stop"), 409,
    'which somebody else makes');
is(steal('POST', "/containers/$fake->{id}/snapshots"), 409, 'is theirs');
is(steal('DELETE', "/containers/$fake->{id}"), 409, 'not to be deleted');
is($podman->run('inspect', '-f', '{{.State.Status}}', 'wanted-1'), 'running',
    'and runs');
is(find('wanted-1')->{status}, 'failed', 'the entry has nothing of it');
$podman->run(qw(rm -f -t0 wanted-1));
is(steal('DELETE', "/containers/$fake->{id}"), 200, 'then it can go');

# addresses are what the runtime says
is(make('thief-2', 'localhost/agent:1'), 201, 'one of their own');
$fake = find('thief-2');

for my $field ([addresses => ['10.97.0.1']], [cgroup => '/'],
    [mac => '02:00:00:00:00:01'], [host_interface => 'eth0'])
{
    is(steal('PATCH', "/containers/$fake->{id}",
        json => { $field->[0] => $field->[1] }), 400, "$field->[0]: refused");
}

is(steal('POST', "/projects/$thief/containers", json => { name => 'thief-3',
    container_image => 'localhost/agent:1', addresses => ['10.97.0.77'] }), 400,
    'to make one too');

# what an image says of itself, and whose id it would like to be
$podman->run('commit', '--change', 'LABEL hoody.ai=true', '--change',
    "LABEL hoody.project=$project", 'keep', 'localhost/label:1');
$podman->run(qw(run -d --name byimage --network gwt localhost/label:1 sleep));
$one = &until('byimage', sub { $_ });
is($podman->run('inspect', '-f', '{{index .Config.Labels "hoody.ai"}}',
    'byimage'), 'true', 'an image\'s label is the container\'s too');
ok($one && !$one->{ai}, 'and gives nothing');
is($one->{project_id}, undef, 'and no project');
$podman->run('run', '-d', '--name', 'byid', '--network', 'gwt', '--label',
    "hoody.id=$keep->{id}", '--label', 'hoody.ai=true', 'localhost/agent:1',
    'sleep');
$one = &until('byid', sub { $_ });
ok($one && !$one->{ai}, 'another one\'s id gives nothing');
isnt($one->{id}, $keep->{id}, 'and is not had');
is($c->call('GET', "/containers/$keep->{id}")->{json}{data}{name}, 'keep',
    'whose it stays');

# an interface in there with the same MAC, and numbers of the host's
{
    my ($pid) = $podman->run(qw(inspect -f {{.State.Pid}} keep));
    my $byid = &until('byid', sub { $_ && $_->{host_interface} });
    my ($index) = `ip -o link show dev $byid->{host_interface}` =~ /^(\d+):/;
    my $inside = sub { system("nsenter -t $pid -n ip $_[0] 2>/dev/null")
        == 0 };

    ok($inside->("link add link eth0 name liar address $keep->{mac} type"
        . ' macvlan'), 'a liar');
    # the number of a third one's peer, in that one's namespace
    my ($third) = $podman->run(qw(inspect -f {{.State.Pid}} byid));

    ok($inside->("link add liar2 address $keep->{mac} type veth peer name"
        . " liar3 index $index netns $third"), 'and another');
    kill 'HUP', $c->pid;
    sleep 1;
    is(find('keep')->{host_interface}, $keep->{host_interface},
        'is not believed');
    $inside->('link del liar');
    $inside->('link del liar2');
}

# what a call was making when it died
is(make('late-1', 'localhost/nothing:1'), 404, 'made by halves');
my $late = find('late-1');
$podman->run('run', '-d', '--name', 'late-1', '--network', 'gwt', '--label',
    "hoody.id=$late->{id}", '--label', 'hoody.ai=true', 'localhost/agent:1',
    'sleep');
$one = &until('late-1', sub { $_ && $_->{status} eq 'running' });
is($one && $one->{id}, $late->{id}, 'what has the entry\'s id is taken over');
ok(!$one->{ai}, 'without AI');
is(steal('DELETE', "/containers/$late->{id}"), 200, 'and is its owner\'s');
is($podman->run(qw(inspect late-1)), undef, 'to the end');

# with its container a snapshot goes
is(steal('POST', "/containers/$fake->{id}/snapshots"), 200, 'a snapshot');
is(steal('DELETE', "/containers/$fake->{id}"), 200, 'its container goes');
is($podman->run('images', '-q', '--filter',
    "label=hoody.snapshot.of=$fake->{id}"), '', 'it too');

# the runtime hangs, and the one call that may wait for it does so: what needs no
# runtime is answered all the same
$c->stop;
$c->{args} = ['--threads', 1, @{$c->{args}}];
$c->start;
$c->call('PATCH', "/containers/$keep->{id}", json => { ai => JSON::PP::true });
is(wait_for { says($id, 'keep') eq '200' }, 1, 'it may');
suspend($podman->pid);

my $waiting = IO::Select->new(map {
    my $call = IO::Socket::UNIX->new(Peer => $c->{socket}) or die "$!\n";

    print $call "POST /api/v1/containers/$keep->{id}/restart HTTP/1.1\r\n"
        . "Host: a\r\nConnection: close\r\n\r\n";
    $call->flush;
    $call } 1, 2);
my ($busy) = $waiting->can_read(5) or die "both wait\n";

like(do { local $/; <$busy> }, qr/^HTTP\S+ 503 .*"RUNTIME_BUSY"/s,
    'of two only one waits');
$waiting->remove($busy);

# a loaded machine may be slow once
for my $case (['a list', 'GET', '/containers'],
    ['a container', 'GET', "/containers/$keep->{id}"],
    ['AI off', 'PATCH', "/containers/$keep->{id}", { ai => JSON::PP::false }])
{
    my ($what, $method, $path, $body) = @$case;
    my @took = sort { $a <=> $b } map {
        my $began = time;

        is($c->call($method, $path, $body ? (json => $body) : ())->{status},
            200, $what);
        time - $began;
    } 1 .. 3;

    cmp_ok($took[1], '<', 0.5, "$what, at once");
}

is(wait_for { says($id, 'keep') eq '403' }, 1, 'it may not use AI');
ok(!$waiting->can_read(0), 'while the one still waits');
kill 'CONT', $podman->pid;
like(scalar readline(($waiting->handles)[0]), qr{^HTTP/1.1 200 },
    'which is done then');
ok(&until('keep', sub { $_ && $_->{status} eq 'running' }), 'back again');
ok(!find('keep')->{ai}, 'without AI');


# what was not needed so far

is($c->call('GET', '/containers')->{status}, 200, 'all');
is($c->call('GET', "/projects/$project/containers")->{status}, 200,
    'a project\'s');
is($c->call('GET', '/audit')->{status}, 200, 'the audit');
is($c->call('GET', '/ai/models')->{status}, 200, 'models');
is($c->call('GET', '/audit/ai')->{status}, 200, 'who may use AI');
is($c->call('PUT', "/containers/$keep->{id}", json => { comment => 'x' })
    ->{status}, 200, 'changed');
is($c->call('POST', "/containers/$keep->{id}/$_")->{status}, 200, $_)
    for qw(restart stop start);
is($c->call('POST', "/containers/$keep->{id}/snapshots/")->{status}, 200,
    'a snapshot without a name');
is($c->call('PUT', "/containers/$keep->{id}/snapshots/none/alias",
    json => { alias => 'x' })->{status}, 404, 'no such snapshot');
$c->contract_ok(all => 1);

$podman->stop_service;
is($c->stop, 0, 'it ends');
$s->finish;
