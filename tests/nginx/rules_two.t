#!/usr/bin/perl

# Two engines of one host with different rules: only the answers of the one
# whose rules are in force count, whichever is asked.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Engine;
use HoodyAI::System qw(chat wait_for);

my $s = HoodyAI::System->new;
my $guard = 'Never delete anything.';

# each body is looked into
my %seen = (id => 'seen', trigger => { event => 'chat.message' },
    action => { type => 'log', content => 'asked' });
my %rule = (id => 'guard', trigger => { event => 'chat.system.transform' },
    action => { type => 'append', content => $guard });

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1');

my $provider = $s->provider;
my $old = HoodyAI::Engine->new($s, name => 'old', rules => [\%seen]);

sleep 0.05;

my $new = HoodyAI::Engine->new($s, name => 'new', rules => [\%rule, \%seen]);

chmod 0777, map { $_->{socket} } $old, $new;
ok(wait_for(sub { $s->cmd('GET', $s->rkey('rules:epoch'))
    eq $new->status->{epoch} }), 'the rules of the new one are in force');
isnt($old->status->{epoch}, $new->status->{epoch}, 'the old one has others');

$s->nginx(http => "
    upstream engines {
        server unix:$old->{socket};
        server unix:$new->{socket};
    }" . $s->default_http(location => 'hoody_ai_rules /rules timeout=5s;',
    server => "
    location /soon/v1/ {
        hoody_ai on;
        hoody_ai_credential openai;
        hoody_ai_rules /rules timeout=300ms;
        proxy_pass http://provider/v1/;
    }
    location = /rules {
        internal;
        include " . $s->root . "/conf/hoody_ai_rules_params;
        fastcgi_pass engines;
    }"));

my @status = map { $s->chat_ask->{status} } 1 .. 20;
my @bare = grep { index($_->{body}, $guard) < 0 } $provider->requests;

is("@status", join(' ', (200) x 20), 'all are served: the other is asked');
is(scalar @bare, 0, 'and have the rule');

$provider->forget;
is($new->stop, 0, 'the new one ends');

# they are asked until the time is over
@status = map { $s->ask('POST', '/soon/v1/chat/completions',
    token => 'dev-env', body => chat())->{status} } 1 .. 3;
is("@status", '503 503 503', 'what the old one says does not count');
is(scalar(my @sent = $provider->requests), 0, 'nothing was sent');

$s->finish;
