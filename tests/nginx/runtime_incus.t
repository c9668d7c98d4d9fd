#!/usr/bin/perl

# The connector for Incus with real containers of Incus.
#
# asan: no, most of it is Incus

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::Incus;
use HoodyAI::Net;
use HoodyAI::System qw(wait_for free_port);

HoodyAI::Net->enter('the connector for Incus', qw(nsenter cc), { pids => 1 });

my $s = HoodyAI::System->new;
my $incus = HoodyAI::Incus->new($s, 'the connector for Incus');
my $port = free_port();
my $project = 'a' x 24;

$s->redis;
$s->provider;

my $c = HoodyAI::Control->new($s,
    args => ['--runtime', 'incus=' . $incus->socket . ',image=agent']);

$s->nginx(level => 'info', http => sub {
    $s->default_http(server => "listen 10.92.0.1:$port;") . $c->server });

sub find {
    my ($name) = @_;

    return $c->call('GET', "/containers?name=$name")
        ->{json}{data}{containers}[0];
}

# until the registry says so: the container, or 1 where there is none
sub until {
    my ($name, $is) = @_;

    return wait_for { local $_ = find($name); $is->() && ($_ // 1) } 40;
}

sub says { $incus->agent($_[0], 'tcp', '10.92.0.1', $port, $_[1] // $_[0]) }


# events

$incus->run(qw(launch agent one -c user.hoody.ai=true -c), 'user.hoody.tags=prod');

my $one = &until('one', sub { $_ && $_->{status} eq 'running' });

ok($one, 'a new instance is found');
ok($one->{ai}, 'its configuration says that AI is on');
is_deeply($one->{tags}, ['prod'], 'and its tags');
is($one->{cgroup}, '/lxc.payload.one', 'its cgroup');
like($one->{mac}, qr/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\z/, 'its MAC');
like($one->{host_interface}, qr/^veth/, 'the host\'s end of its interface');
is($one->{runtime}, 'incus', 'whose it is');

# an address by DHCP makes no event: the next pass finds it; here SIGHUP does
$incus->address('one', '10.92.0.11');
kill 'HUP', $c->pid;
ok(&until('one', sub { $_ && "@{$_->{addresses}}" eq '10.92.0.11' }),
    'its address');
is(wait_for { says('one') eq '200' }, 1, 'it may');

$incus->run(qw(stop -f one));
ok(&until('one', sub { $_ && $_->{status} eq 'stopped' }), 'stopped');
$incus->run(qw(delete one));
ok(&until('one', sub { !$_ }), 'deleted');


# the API

my $answer = $c->call('POST', "/projects/$project/containers", json => {
    name => 'dev-env', environment_vars => { GREETING => 'hello' } });

is($answer->{status}, 201, 'a container is made') or diag $answer->{body};

my $data = $answer->{json}{data};

is($data->{status}, 'running', 'and runs');
ok($data->{ai}, 'with AI');
is($incus->run(qw(config get dev-env environment.GREETING)), 'hello',
    'its variable');
is($incus->run(qw(config get dev-env user.hoody.id)), $data->{id}, 'its id');

$incus->address('dev-env', '10.92.0.12');
kill 'HUP', $c->pid;
ok(&until('dev-env', sub { $_ && @{$_->{addresses}} }), 'its address');
is(wait_for { says('dev-env') eq '200' }, 1, 'it talks to a model');

$answer = $c->call('POST', "/containers/$data->{id}/snapshots",
    json => { alias => 'before-ai-generation' });
is($answer->{status}, 200, 'a snapshot') or diag $answer->{body};

my $snapshot = $answer->{json}{data}{snapshot};

is($snapshot->{alias}, 'before-ai-generation', 'its alias');
like($incus->run(qw(info dev-env)), qr/\Q$snapshot->{name}\E/,
    'the runtime has it');

$incus->run(qw(file create dev-env/tmp/broken));
$answer = $c->call('PUT',
    "/containers/$data->{id}/snapshots/$snapshot->{name}");
is($answer->{status}, 200, 'restored') or diag $answer->{body};
is($incus->run(qw(file pull dev-env/tmp/broken -)), undef, 'as it was');

is($c->call('POST', "/containers/$data->{id}/pause")->{status}, 200, 'paused');
is(find('dev-env')->{status}, 'paused', 'so it is');
is($c->call('POST', "/containers/$data->{id}/resume")->{status}, 200,
    'resumed');
is($c->call('POST', "/containers/$data->{id}/force-stop")->{status}, 200,
    'stopped');

$answer = $c->call('PATCH', "/containers/$data->{id}",
    json => { name => 'new-name' });
is($answer->{status}, 200, 'renamed') or diag $answer->{body};
like($incus->run(qw(list -f csv -c n)), qr/^new-name$/m, 'by the runtime too');

is($c->call('POST', "/containers/$data->{id}/start")->{status}, 200, 'started');
is($c->call('DELETE', "/containers/$data->{id}/snapshots/$snapshot->{name}")
    ->{status}, 200, 'the snapshot goes');
is($c->call('DELETE', "/containers/$data->{id}")->{status}, 200, 'deleted');
is($incus->run(qw(list -f csv -c n)), '', 'by the runtime too');

is($c->call('POST', "/projects/$project/containers", json => {
    name => 'bad-image', container_image => 'nothing' })->{status}, 404,
    'an image that is not there');

is($c->stop, 0, 'it ends');
$incus->end;
$s->finish;
