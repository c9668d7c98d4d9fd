#!/usr/bin/perl

# Unix listeners on a kernel without SO_PEERPIDFD (before Linux 6.5): the
# socket itself is the proof, and has to be one container's own.  The kernel
# here may be a newer one, so a library in front of nginx lets getsockopt()
# answer as the old one does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use HoodyAI::System qw(chat slurp spew);


my $s = HoodyAI::System->new;

if (slurp($s->nginx_binary) =~ /__asan_init/) {
    $s->remove;
    plan skip_all => 'a preloaded library has to come before the sanitizer';
}

spew("$s->{dir}/old.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int getsockopt(int fd, int level, int name, void *value, socklen_t *len) {
    int (*next)(int, int, int, void *, socklen_t *) =
        (int (*)(int, int, int, void *, socklen_t *))
            dlsym(RTLD_NEXT, "getsockopt");

    if (level == SOL_SOCKET && name == 77) {
        errno = ENOPROTOOPT;
        return -1;
    }

    return next(fd, level, name, value, len);
}
END

my $shim = "$s->{dir}/old.so";

system('cc', '-shared', '-fPIC', '-o', $shim, "$s->{dir}/old.c", '-ldl') == 0
    or BAIL_OUT('the library does not compile');

$s->redis;
$s->provider;
$s->container('dev-env', addresses => '192.0.2.1');
$s->container('other', addresses => '192.0.2.2');

my $socket = "$s->{dir}/dev-env.sock";


sub listener {
    my ($directive) = @_;

    return <<"END";
    upstream provider {
        server %%PROVIDER%%;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        listen unix:$socket;
        $directive

        location /v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            proxy_pass http://provider/v1/;
        }
    }
END
}

$ENV{LD_PRELOAD} = $shim;


# Without the directive nobody could be told from anybody else.

$s->configure(http => listener(''));

my $said = do {
    my @command = map { quotemeta } $s->nginx_command;
    `@command -t 2>&1`;
};

isnt($?, 0, 'a shared unix listener is refused at start');
like($said, qr/needs "hoody_ai_listener_container"/, 'and the line says why');

# the line that was asked for is no finding
unlink "$s->{dir}/start.log", "$s->{dir}/error.log";

$s->nginx(http => listener('hoody_ai_listener_container dev-env;'));

delete $ENV{LD_PRELOAD};


sub code {
    my ($token, %option) = @_;

    my $c = HoodyAI::Client->new(to => "unix:$socket", %option);
    $c->request('POST', '/v1/chat/completions', token => $token,
                body => chat());

    my $head = $c->head;
    $c->close;

    return $head->{status};
}

is(code('dev-env'), 200, 'the container whose socket it is');
is(code('other'), 401, 'another name on the same socket');
is(code('nobody'), 401, 'a name that does not exist');

$s->disable('dev-env');
is(code('dev-env'), 403, 'its switch counts as anywhere');

$s->enable('dev-env');
$s->cmd('HSET', $s->rkey('container:dev-env'), 'status', 'stopped');
$s->told;
is(code('dev-env'), 401, 'and so does its status');

$s->finish;
