#!/usr/bin/perl

# A worker that is told to go, and given only so much time, while it waits for
# the rule engine: with questions under way, in the pause between two of them,
# and in streams of HTTP/2.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Engine;
use HoodyAI::System qw(chat free_port suspend wait_for);

my $s = HoodyAI::System->new;
my $h2c = free_port();
my $guard = 'Never delete anything.';

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider;
my $engine = HoodyAI::Engine->new($s, rules => [
    { id => 'guard', trigger => { event => 'chat.system.transform' },
      action => { type => 'append', content => $guard } }]);

chmod 0777, $engine->{socket};

$s->nginx(daemon => 1, main => 'worker_shutdown_timeout 1s;',
    location => 'hoody_ai_rules /rules timeout=20s;', server => "
    listen 127.0.0.1:$h2c http2;
    location = /rules {
        internal;
        include " . $s->root . "/conf/hoody_ai_rules_params;
        fastcgi_pass unix:$engine->{socket};
    }");

sub frame { substr(pack('N', length $_[3]), 1) . pack('CCN', @_[0 .. 2])
    . $_[3] }

sub field { join '', "\0", map { pack('C', length) . $_ } @_ }

my $model = 0;

# callers whose answers the engine keeps them waiting for
sub callers {
    my ($n) = @_;

    return map {
        my $client = $s->client;

        $client->request('POST', '/v1/chat/completions', token => 'dev-env',
            body => chat(model => 'm' . ++$model, filler => 'x' x 10000 x $_));
        $client;
    } 1 .. $n;
}

# a caller that the worker has not accepted when it is told to go is the next
# one's
sub accepted {
    my (@callers) = @_;

    return wait_for { !grep { $_->unread } @callers };
}

is($s->chat_ask->{status}, 200, 'a request is served');
suspend($engine->pid);

my @clients = callers(10);
my $streams = $s->client(to => "127.0.0.1:$h2c");

$streams->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" . frame(4, 0, 0, '')
    . join '', map { frame(1, 4, $_, field(':method', 'POST')
        . field(':path', '/v1/chat/completions') . field(':scheme', 'http')
        . field(':authority', 'g')
        . field('authorization', 'Bearer container-dev-env'))
        . frame(0, 1, $_, chat(model => "h$_")) } 1, 3, 5);
ok(accepted(@clients, $streams), 'callers wait for the engine');

my ($old) = $s->workers;

kill 'HUP', $s->master;
ok(wait_for(sub { !kill 0, $old }, 15), 'the worker goes in time');
ok($_->eof, 'its caller knows') for @clients;
kill 'CONT', $engine->pid;
ok(wait_for(sub { $s->chat_ask->{status} == 200 }), 'all is well again');

# the pause between two questions: the engine's rules are not in force
$s->cmd('SET', $s->rkey('rules:epoch'), '1-0000000000000000');
$engine->stop('KILL');
@clients = callers(5);
ok(accepted(@clients), 'callers wait for an engine that is gone');
unlink $engine->{socket};
$engine->start(wait => 0);
ok(wait_for(sub { chmod 0777, $engine->{socket} }), 'it is started again');
$s->cmd('SET', $s->rkey('rules:epoch'), '99999999999999-0000000000000000');
push @clients, callers(5);
ok(accepted(@clients), 'and for one whose rules are not in force');
sleep 0.2;
($old) = $s->workers;
kill 'HUP', $s->master;
ok(wait_for(sub { !kill 0, $old }, 15), 'in a pause: the worker goes in time');
ok($_->eof, 'its caller knows') for @clients;

# and a last time, with the whole
suspend($engine->pid);
@clients = callers(5);
ok(accepted(@clients), 'callers wait once more');

my @bare = grep { index($_, $guard) < 0 }
    grep { defined } map { $_->{body} } $provider->requests;

is(scalar @bare, 0, 'nothing was sent without the rule');

$s->finish;
