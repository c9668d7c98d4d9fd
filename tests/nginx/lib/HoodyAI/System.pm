package HoodyAI::System;

# A gateway with everything around it, in a folder of its own: nginx, Redis,
# sample providers, secrets, certificates.
#
#     my $s = HoodyAI::System->new;
#
#     $s->redis;
#     $s->container('dev-env', addresses => '127.0.0.1');
#     my $provider = $s->provider;
#     $s->nginx;
#     ...
#     $s->finish;
#
# finish() stops every server and asserts what must hold after any test: exit
# status 0, no alert and no sanitizer report in a log, no key in any file or
# Redis dump, nothing written to the folders for bodies.
#
# From the environment, as util/test-file sets it: HAI_NGINX or
# TEST_NGINX_BINARY, HAI_LOAD_MODULE (empty where the module is built in),
# HAI_PROVIDER, HAI_WORK, TEST_NGINX_OPENAI_KEY, TEST_NGINX_ANTHROPIC_KEY.
# Without them the installed nginx and build/ are taken; KEEP=1 keeps the
# folder.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(basename dirname);
use File::Find;
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP;
use List::Util qw(max);
use POSIX qw(:sys_wait_h _exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Client;

our @EXPORT_OK = qw(wait_for suspend free_port run_folder chat spew slurp);

my $root = abs_path(dirname(__FILE__) . '/../../../..');
my %alive;


# Until the condition holds: its value; false when the time is over.
sub wait_for(&;$) {
    my ($condition, $timeout) = @_;

    my $end = time + ($timeout // 10);

    while (1) {
        my $value = $condition->();
        return $value if $value;
        return $value if time > $end;
        sleep 0.01;
    }
}


# SIGSTOP, until no thread of these processes can do another thing: kill()
# returns before the first of them has seen the signal.  A negative one is a
# process group.
sub suspend {
    my (@pids) = @_;
    my $group = join '|', map { -$_ } grep { $_ < 0 } @pids;
    my @all = grep { $_ > 0 } @pids;

    push @all, map { m{^/proc/(\d+)} } grep {
        slurp($_) =~ /^\d+ \(.*\) \S \d+ (?:$group) /s
    } glob '/proc/[0-9]*/stat' if $group;

    kill 'STOP', @pids;

    my $end = time + 10;

    while (grep { slurp($_) =~ /^\d+ \(.*\) [^TtXZ]/s }
        map { glob "/proc/$_/task/*/stat" } @all)
    {
        die "@pids: not stopped\n" if time > $end;
        sleep 0.001;
    }
}


# Below the range that outgoing connections are given, and not the same ones
# as in the next file that runs at this moment.
sub free_port {
    for (1 .. 1000) {
        my $port = 10000 + int rand 20000;
        my $socket = IO::Socket::INET->new(Listen => 1,
            LocalAddr => '127.0.0.1', LocalPort => $port) or next;
        return $port;
    }

    die "no free port\n";
}


sub spew {
    my ($file, $text, $mode) = @_;

    my $old = umask 077;
    open(my $out, '>:raw', $file) or die "$file: $!\n";
    print $out $text;
    close $out or die "$file: $!\n";
    umask $old;

    chmod $mode // 0644, $file or die "$file: $!\n";
}


sub slurp {
    my ($file) = @_;

    open(my $in, '<:raw', $file) or return '';
    local $/;
    return <$in> // '';
}


# A new folder whose name is short.  Its own whatever else runs here: process
# numbers are few in a namespace of their own.
sub run_folder {
    my ($what) = @_;

    my $dir = tempdir("hai-$what.XXXXXX", DIR => '/run');

    chmod 0755, $dir;
    return $dir;
}


# The body of a small chat request; arguments are further members.
sub chat {
    return encode_json({
        model => 'gpt-4o',
        messages => [{ role => 'user', content => 'Hello' }],
        @_,
    });
}


sub new {
    my ($class, %option) = @_;

    my $name = basename($0, '.t');
    my $work = $ENV{HAI_WORK} ? "$ENV{HAI_WORK}/tmp" : '/tmp';
    my $dir = tempdir("$name.XXXXXX", DIR => $work);

    # every folder above a secret must be root's alone, which /tmp is not
    my $safe = $> == 0 ? '/run' : $ENV{XDG_RUNTIME_DIR} || $root;
    my $secrets = tempdir("hai-$name.XXXXXX", DIR => $safe);

    chmod 0755, $dir, $secrets;
    # not the same ports as in a file that was started a moment before
    srand($$ * 65537 + time * 1000 % 65536);

    my $self = bless {
        owner => $$,
        name => $name,
        dir => $dir,
        secrets => $secrets,
        server => 'sys',
        keys => {
            openai => $ENV{TEST_NGINX_OPENAI_KEY} // _key('openai'),
            anthropic => $ENV{TEST_NGINX_ANTHROPIC_KEY} // _key('ant'),
        },
        old_keys => [],
        private => [],
        captured => '',
        running => {},
        order => [],
    }, $class;

    $self->secret($_, $self->{keys}{$_}) for keys %{$self->{keys}};
    $alive{$self} = $self;

    return $self;
}


sub _key {
    my ($name) = @_;

    return "sk-hai-system-$name-"
        . join '', map { sprintf '%02x', int rand 256 } 1 .. 16;
}


sub dir { $_[0]{dir} }
sub key { $_[0]{keys}{$_[1]} }
sub root { $root }


# (Re)writes a file of secrets, atomically; says where it is.
sub secret {
    my ($self, $name, $key) = @_;

    my $file = "$self->{secrets}/$name";

    push @{$self->{old_keys}}, $self->{keys}{$name}
        if defined $self->{keys}{$name} && $self->{keys}{$name} ne $key;
    $self->{keys}{$name} = $key;

    spew("$file.new", "$key\n", 0600);
    rename "$file.new", $file or die "$file: $!\n";

    return $file;
}


sub new_key { _key($_[1]) }


# Words that finish() looks for in files like keys; answers may have them.
sub private {
    my ($self, @words) = @_;
    push @{$self->{private}}, @words;
}


# Starts a program; its output goes to a file.  Options: name, and those of
# the child: stdout, before (a sub that runs in it).
sub spawn {
    my ($self, $name, $command, %option) = @_;

    my $log = "$self->{dir}/$name.out.log";
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open(STDIN, '<', '/dev/null');
        open(STDOUT, '>>', $option{stdout} // $log) or _exit(126);
        open(STDERR, '>>', $log) or _exit(126);
        $option{before}->() if $option{before};
        exec { $command->[0] } @$command or _exit(127);
    }

    $self->{running}{$name} = { pid => $pid, command => $command };
    push @{$self->{order}}, $name;

    return $pid;
}


# One of the project's programs.
sub program {
    my ($self, $name) = @_;

    return ($ENV{HAI_PROGRAMS} // "$root/build") . "/$name";
}


# Runs a command to its end: its exit status ("signal N" where one ended it),
# standard output, standard error.  The first argument may be a hash: env =>
# variables, input => what it reads.
sub output {
    my $self = shift;
    my $option = ref $_[0] ? shift : {};
    my @command = @_;
    my ($in, $out, $err) = map { "$self->{dir}/output.$_" } qw(in out err);

    spew($in, $option->{input} // '');

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        @ENV{keys %{$option->{env}}} = values %{$option->{env}}
            if $option->{env};
        open(STDIN, '<', $in) or _exit(126);
        open(STDOUT, '>', $out) or _exit(126);
        open(STDERR, '>', $err) or _exit(126);
        exec { $command[0] } @command or _exit(127);
    }

    waitpid $pid, 0;

    return ($? & 127 ? "signal $?" : $? >> 8, slurp($out), slurp($err));
}


sub pid { $_[0]{running}{$_[1]}{pid} }


# Sends a signal and waits: the wait status, or -1 where it had to be killed.
sub stop {
    my ($self, $name, $signal, $timeout) = @_;

    my $child = delete $self->{running}{$name} or return 0;

    @{$self->{order}} = grep { $_ ne $name } @{$self->{order}};

    return _end($child->{pid}, $signal // 'TERM', $timeout // 20);
}


sub _end {
    my ($pid, $signal, $timeout) = @_;

    # one that is stopped goes on; first, because SIGCONT also undoes the SIGSTOP
    # with which the leak sanitizer halts a process that ends: it would wait for
    # ever
    kill 'CONT', $pid;
    kill $signal, $pid;

    my $end = time + $timeout;

    while (time < $end) {
        my $done = waitpid $pid, WNOHANG;
        return $? if $done == $pid;
        return -1 if $done == -1;
        sleep 0.01;
    }

    kill 'KILL', $pid;
    waitpid $pid, 0;

    return -1;
}


# Redis.  Options: args => further arguments of redis-server; wait => 0;
# under => a command that starts it, like nsenter or env.
sub redis {
    my ($self, %option) = @_;

    my $dir = "$self->{dir}/redis";
    mkdir $dir;

    $self->{redis_socket} = "$dir/redis.sock";
    $self->{redis_port} //= free_port();
    $self->{redis_user} = $option{user};

    $self->spawn('redis', ['/usr/bin/env', @{$option{under} || []},
        'redis-server',
        '--bind', '127.0.0.1', '--port', $self->{redis_port},
        '--unixsocket', $self->{redis_socket}, '--unixsocketperm', '777',
        '--dir', $dir, '--save', '', '--appendonly', 'no',
        '--rdbcompression', 'no', '--daemonize', 'no',
        '--logfile', "$dir/redis.txt", @{$option{args} || []}]);

    delete $self->{redis_connection};

    return if exists $option{wait} && !$option{wait};

    wait_for { eval { $self->cmd('PING') } } or die "redis did not start\n";
}


# A command over a connection of our own; an error reply dies.  Where Redis is
# at is known to HoodyAI::RedisHA when there are several.
sub cmd {
    my ($self, @words) = @_;

    if (!$self->{redis_connection}) {
        my $at = $self->{redis_at};

        $self->{redis_connection} = ($at
            ? IO::Socket::INET->new(PeerAddr => $at->[0],
                PeerPort => $at->[1], LocalAddr => $at->[2])
            : IO::Socket::UNIX->new(Peer => $self->{redis_socket}))
            or die "redis: $!\n";

        if ($self->{redis_user}) {
            $self->cmd('AUTH', @{$self->{redis_user}});
        }
    }

    my $reply = eval { command($self->{redis_connection}, @words) };

    if ($@) {
        delete $self->{redis_connection} if $@ !~ /^redis error/;
        die $@;
    }

    return $reply;
}


# The same over any connection.
sub command {
    my ($socket, @words) = @_;

    local $SIG{PIPE} = 'IGNORE';
    print $socket '*' . @words . "\r\n"
        . join '', map { '$' . length($_) . "\r\n$_\r\n" } @words;
    $socket->flush;

    return _reply($socket);
}


sub _reply {
    my ($socket) = @_;

    my $line = <$socket> // die "redis: connection lost\n";
    $line =~ s/\r\n\z//;

    my ($type, $rest) = $line =~ /^(.)(.*)/s;

    return $rest if $type eq '+' || $type eq ':';
    die "redis error: $rest\n" if $type eq '-';

    return undef if $rest < 0;

    if ($type eq '$') {
        read($socket, my $data, $rest + 2) == $rest + 2
            or die "redis: connection lost\n";
        return substr $data, 0, $rest;
    }

    # an error in the middle is told when all has been read
    my ($error, @reply);

    for (1 .. $rest) {
        push @reply, eval { _reply($socket) };
        next if !$@;
        die $@ if $@ !~ /^redis error/;
        $error //= $@;
    }

    die $error if defined $error;

    return \@reply;
}


sub rkey { "hoody:{$_[0]{server}}:$_[1]" }


# A container as the control plane writes it; enabled unless enabled => 0.
sub container {
    my ($self, $name, %field) = @_;

    my $enabled = delete $field{enabled} // 1;

    $field{id} //= join '', map { sprintf '%x', int rand 16 } 1 .. 24;
    $field{status} //= 'running';

    $self->cmd('HSET', $self->rkey("container:$name"), %field);
    $self->cmd('SADD', $self->rkey('containers'), $name);
    $self->cmd('SADD', $self->rkey('ai:enabled'), $name) if $enabled;
    $self->told;
}


sub enable {
    my ($self, @names) = @_;

    $self->cmd('SADD', $self->rkey('ai:enabled'), @names);
    $self->told;
}


sub disable {
    my ($self, @names) = @_;

    $self->cmd('SREM', $self->rkey('ai:enabled'), @names);
    $self->told;
}


# After a write: a request that follows meets it.  Redis writes what it owes its
# subscribers before it reads another command, so the invalidation lies in each
# worker's socket when this is answered.
sub told { $_[0]->cmd('PING') }


# A sample provider.  Options: name; tls => [cert, key]; args; keys => [...]
# instead of the two fixture keys.
sub provider {
    my ($self, %option) = @_;

    my $name = $option{name} // 'provider';
    my $keys = $option{keys} || [values %{$self->{keys}}];
    my $program = $ENV{HAI_PROVIDER} // "$root/build/hoody-ai-sample-provider";
    my $port = $option{port} // free_port();
    my $tls = $option{tls};

    # it must know the keys, so what it is given and says is kept apart
    $self->spawn($name, [$program, '--listen', "127.0.0.1:$port", '--quiet',
        (map { ('--key', $_) } @$keys),
        $tls ? ('--tls-cert', $tls->[0], '--tls-key', $tls->[1]) : (),
        @{$option{args} || []}]);

    wait_for { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") }
        or die "provider did not start\n";

    $self->{provider} //= "127.0.0.1:$port";

    return bless {
        address => "127.0.0.1:$port",
        port => $port,
        tls => $tls ? { SSL_verify_mode => 0 } : undef,
    }, 'HoodyAI::System::Provider';
}


# A provider that misbehaves: the sub gets each connection with the request
# that was read from it (head and body), in a process of its own.  With
# raw => 1 nothing is read before.
sub fake {
    my ($self, $name, $answer, %option) = @_;

    my $listen = IO::Socket::INET->new(Listen => 128, ReuseAddr => 1,
        LocalAddr => '127.0.0.1', LocalPort => free_port())
        or die "fake provider: $!\n";
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        setpgrp;
        $SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
        $SIG{TERM} = sub {
            $SIG{TERM} = 'IGNORE';
            kill 'TERM', -$$;
            _exit(0);
        };

        while (1) {
            my $socket = $listen->accept or next;

            next if fork;
            $SIG{TERM} = 'DEFAULT';
            $socket->setsockopt(6, 1, 1);
            eval { $answer->($socket, $option{raw} ? '' : _request($socket)) };
            close $socket;
            _exit(0);
        }
    }

    $self->{running}{$name} = { pid => $pid, command => [$name] };
    push @{$self->{order}}, $name;

    return '127.0.0.1:' . $listen->sockport;
}


sub _request {
    my ($socket) = @_;
    my $text = '';

    while ($text !~ /\r\n\r\n/) {
        sysread($socket, $text, 65536, length $text) or return $text;
    }

    my ($length) = $text =~ /\r\nContent-Length: *(\d+)/i;
    my $all = index($text, "\r\n\r\n") + 4 + ($length // 0);

    while (length $text < $all) {
        sysread($socket, $text, 65536, length $text) or last;
    }

    return $text;
}


# Where nginx listens when nginx() wrote the server; or another port.
sub address { "127.0.0.1:$_[0]{port}" }


# nginx.  Options:
#   http       text inside "http"; default: one server with both providers
#   location   text added to each location of that default
#   server     text added to that server
#   main, events, redis (arguments of hoody_ai_redis), level, workers, daemon
#   under      a command that starts it, not with daemon
sub nginx {
    my ($self, %option) = @_;

    $self->{nginx_option} = \%option;

    $self->configure(%option);

    for my $name (qw(client_body proxy fastcgi uwsgi scgi)) {
        mkdir "$self->{dir}/$name";
    }

    if ($option{daemon}) {
        $self->{daemon} = 1;
        system($self->nginx_command) == 0
            or die "nginx did not start:\n" . $self->log;

    } else {
        $self->spawn('nginx',
            [@{$option{under} || []}, $self->nginx_command]);
    }

    $self->wait_listening;

    # whatever is written there from now on changes the folder's time
    utime 1e9, 1e9, map { "$self->{dir}/$_" } qw(client_body proxy fastcgi);
}


sub wait_listening {
    my ($self) = @_;

    my $started = wait_for {
        $self->{daemon} || waitpid($self->pid('nginx'), WNOHANG) == 0
            or die "nginx did not start:\n" . $self->log
                . slurp("$self->{dir}/nginx.out.log");
        -s "$self->{dir}/nginx.pid"
            && IO::Socket::INET->new(PeerAddr => $self->address);
    } 20;

    $started or die "nginx does not listen:\n" . substr($self->log, -4000);
}


sub nginx_binary {
    return $ENV{HAI_NGINX} || $ENV{TEST_NGINX_BINARY} || '/usr/sbin/nginx';
}


# An absolute path: a master starts its successor without looking around.
sub nginx_command {
    my ($self) = @_;

    return ($self->nginx_binary, '-p', $self->{dir}, '-c', 'nginx.conf',
            '-e', "$self->{dir}/start.log");
}


sub configure {
    my ($self, %option) = @_;

    my $dir = $self->{dir};
    my $module = $ENV{HAI_LOAD_MODULE}
        // "load_module $root/build/ngx_http_hoody_ai_module.so;";
    my $redis = $option{redis} // "unix:$dir/redis/redis.sock";
    my $workers = $option{workers} // 1;
    my $level = $option{level} // 'debug';
    my $daemon = $option{daemon} ? 'on' : 'off';
    my $user = $> == 0 ? 'user nobody nogroup;' : '';
    my $main = $option{main} // '';
    my $events = $option{events} // 'worker_connections 8192;';
    my $http = $option{http} // $self->default_http(%option);

    $self->{port} //= free_port();
    $http = $http->() if ref $http;
    $http =~ s/%%PORT%%/$self->{port}/g;
    $http =~ s/%%PROVIDER%%/$self->{provider}/g;

    my $env = join '', map { "env $_;\n" }
        grep { exists $ENV{$_} } qw(ASAN_OPTIONS UBSAN_OPTIONS MALLOC_PERTURB_);

    spew("$dir/nginx.conf", <<"END");
$module
$user
$env
daemon $daemon;
worker_processes $workers;
worker_rlimit_nofile 20000;
error_log $dir/error.log $level;
pid $dir/nginx.pid;
$main

events {
    $events
}

http {
    client_body_temp_path $dir/client_body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;

    log_format all '\$remote_addr \$status \$body_bytes_sent "\$request" '
                   '"\$hoody_ai_container" \$hoody_ai_api \$hoody_ai_model '
                   '\$hoody_ai_status \$hoody_ai_input_tokens '
                   '\$hoody_ai_output_tokens \$hoody_ai_ttft '
                   '\$upstream_addr \$upstream_status';
    access_log $dir/access.log all;

    hoody_ai_server $self->{server};
    hoody_ai_redis $redis;
    hoody_ai_secret openai $self->{secrets}/openai;
    hoody_ai_secret anthropic $self->{secrets}/anthropic header=x-api-key;

    $http
}
END
}


# The shortest gateway: /v1/ for OpenAI, /anthropic/v1/ for Anthropic.
sub default_http {
    my ($self, %option) = @_;

    my $location = $option{location} // '';
    my $server = $option{server} // '';

    return <<"END";
    upstream provider {
        server %%PROVIDER%%;
        keepalive 64;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        $server

        location /v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            proxy_pass http://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            $location
        }

        location /anthropic/v1/ {
            hoody_ai on;
            hoody_ai_credential anthropic;
            proxy_pass http://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            $location
        }
    }
END
}


sub master {
    my ($self) = @_;

    my ($pid) = slurp("$self->{dir}/nginx.pid") =~ /(\d+)/;

    return $pid;
}


# Processes whose parent one of these is.
sub children {
    my ($self, @parents) = @_;
    my %parent = map { $_ => 1 } @parents;

    return grep { slurp("/proc/$_/stat") =~ /^\d+ \(.*\) \S (\d+)/s
                  && $parent{$1} }
        map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}


sub workers {
    my ($self) = @_;

    return grep { slurp("/proc/$_/cmdline") =~ /worker process/ }
        $self->children($self->master);
}


# Kilobytes in memory of the first worker.
sub rss {
    my ($self) = @_;

    my ($worker) = $self->workers;

    return (slurp("/proc/$worker/status") =~ /^VmRSS:\s+(\d+)/m)[0];
}


# Many sockets in one test: starts it again with as many files as there may be.
sub many_files {
    return if $ENV{HAI_MANY_FILES};

    $ENV{HAI_MANY_FILES} = 1;
    exec 'bash', '-c', 'ulimit -S -n "$(ulimit -H -n)"; exec "$@"', 'bash',
        $^X, $0, @ARGV;
}


sub log { slurp("$_[0]{dir}/error.log") . slurp("$_[0]{dir}/start.log") }


# One request with its answer, from 127.0.0.1 unless local => says otherwise.
# What comes back is searched for keys at the end.
sub ask {
    my ($self, $method, $uri, %option) = @_;

    my $to = delete $option{to} // $self->address;
    my $answer = HoodyAI::Client->ask($to, $method, $uri, %option);

    $self->capture(join "\n", $answer->{line} // '',
        (map { "@$_" } @{$answer->{pairs}}), $answer->{body},
        $answer->{trailer} // '');

    return $answer;
}


sub capture {
    my ($self, $text) = @_;

    for my $key ($self->all_keys) {
        $self->{leaked}++ if index($text, $key) >= 0;
    }
}


sub all_keys {
    my ($self) = @_;

    return grep { length } values %{$self->{keys}}, @{$self->{old_keys}};
}


# A chat over a connection of its own; token => 'dev-env' by default.
sub chat_ask {
    my ($self, %option) = @_;

    return $self->ask('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(), %option);
}


# The status of a chat, on a connection that is kept for the next one.
sub chat_status {
    my ($self, %option) = @_;

    delete $self->{chat} if $self->{chat} && $self->{chat}{eof};

    my $client = $self->{chat} //= $self->client;

    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(), %option);

    my $answer = $client->answer;

    delete $self->{chat} if !$answer->{complete}
        || ($answer->{headers}{connection} // '') eq 'close';

    return $answer->{status} // 0;
}


# A connection; closed by its owner.
sub client {
    my ($self, %option) = @_;

    return HoodyAI::Client->new(to => $self->address, %option);
}


# A streamed chat that has been asked for.
sub stream {
    my ($self, %option) = @_;

    my $client = $self->client(map { exists $option{$_}
        ? ($_ => delete $option{$_}) : () } qw(to local rcvbuf timeout tls));

    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat(stream => JSON::PP::true), %option);

    return $client;
}


# Takes over the tests of another program, which it writes in TAP to a pipe.
sub take_over {
    my ($self, $out, $name) = @_;
    my ($ran, $planned) = (0, -1);

    while (my $line = <$out>) {
        chomp $line;

        if ($line =~ /^(not )?ok \d+ - (.*)/) {
            ok(!$1, "$name: $2");
            $ran++;

        } elsif ($line =~ /^1\.\.(\d+)/) {
            $planned = $1;

        } else {
            diag($line);
        }
    }

    ok(close($out) && $ran == $planned, "$name: came to its end");
}


# A CA and certificates signed by it.  ca('name') makes the first, then
# cert('ca name', 'file name', names => 'DNS:...', days => n).
sub ca {
    my ($self, $name) = @_;

    my $file = "$self->{dir}/$name";

    _run("openssl req -x509 -newkey rsa:2048 -nodes -days 2"
        . " -subj /CN=$name -keyout $file.pem.key -out $file.pem");

    return "$file.pem";
}


sub cert {
    my ($self, $ca, $name, %option) = @_;

    my $names = $option{names} // 'DNS:provider.test,IP:127.0.0.1';
    my $base = "$self->{dir}/$name";
    my $authority = "$self->{dir}/$ca.pem";

    spew("$base.ext", "subjectAltName=$names\n");
    _run("openssl req -newkey rsa:2048 -nodes -subj /CN=$name"
        . " -keyout $base.pem.key -out $base.csr");

    if ($option{expired}) {
        spew("$base.cnf", "[ca]\ndefault_ca=a\n[a]\ndatabase=$base.db\n"
            . "new_certs_dir=$self->{dir}\nserial=$base.srl\n"
            . "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n");
        spew("$base.db", '');
        spew("$base.srl", "01\n");
        _run("openssl ca -batch -config $base.cnf -cert $authority"
            . " -keyfile $authority.key -in $base.csr -out $base.pem"
            . " -startdate 20200101000000Z -enddate 20200102000000Z"
            . " -extfile $base.ext -notext");

    } else {
        _run("openssl x509 -req -in $base.csr -CA $authority"
            . " -CAkey $authority.key -CAcreateserial -days 2"
            . " -extfile $base.ext -out $base.pem");
    }

    return ["$base.pem", "$base.pem.key"];
}


sub _run {
    my ($command) = @_;

    my $output = `$command 2>&1`;
    die "$command:\n$output" if $?;
}


# Everything down, and what must hold after any test.  Options: alerts => a
# pattern of alert lines that this test provokes; more => 1, this is not the
# end of the file; redis_gone => 1, its Redis cannot write a dump any more.
sub finish {
    my ($self, %option) = @_;

    $self->dump_redis if $self->{running}{redis} && !$option{redis_gone};

    my %status;

    if ($self->{daemon}) {
        my $pid = $self->master;
        my @processes = ($pid, $self->children($pid));

        kill 'QUIT', $pid;
        ok(wait_for(sub { !grep { kill 0, $_ } @processes }, 20),
            'nginx ended with all its processes');
    }

    # nginx first, whatever was started after it
    my @names = sort { ($b eq 'nginx') <=> ($a eq 'nginx') }
        reverse @{$self->{order}};

    $status{$_} = $self->stop($_, $_ eq 'nginx' ? 'QUIT' : 'TERM')
        for @names;

    is(join(', ', map { "$_: $status{$_}" } grep { $status{$_} }
        sort keys %status), '', 'every process ended with status 0');

    my $allowed = $option{alerts};
    my (@bad, @leaks);
    my @hidden = ($self->all_keys, @{$self->{private}});
    my $hidden = join '|', map { quotemeta } @hidden;

    # what of a word may lie before the border of two blocks
    my $keep = max(map { length } @hidden) - 1;

    find({ no_chdir => 1, wanted => sub {
        return if !-f $_ || -l $_;

        my ($file, $tail) = ($_, '');

        open(my $in, '<:raw', $file) or return;

        while (read($in, my $block, 1 << 20)) {
            my $text = $tail . $block;

            if ($text =~ /$hidden/) {
                push @leaks, $file;
                last;
            }

            $tail = length $text > $keep ? substr $text, -$keep : $text;
        }

        return if $file !~ /\.log\z/;

        seek $in, 0, 0;
        while (my $line = <$in>) {
            next if index($line, '[debug]') >= 0;
            next if $line !~ /\[(?:alert|emerg)\]|Sanitizer|runtime error:
                              |exited\ on\ signal
                              |exited\ with\ code\ [1-9]/x;
            next if $allowed && $line =~ $allowed;
            push @bad, $line if @bad < 20;
        }
    } }, $self->{dir});

    is(join('', @bad), '', 'no alert, crash or sanitizer report');
    is(join(', ', @leaks), '', @{$self->{private}}
        ? 'no key and nothing private in any file' : 'no key in any file');
    ok(!$self->{leaked}, 'no key in any answer');

    my @written = grep { -d $_ && ((stat _)[9] != 1e9 || glob "$_/*") }
        map { "$self->{dir}/$_" } qw(client_body proxy fastcgi);

    is(join(', ', @written), '', 'no body was written to a file');

    $self->remove if Test::More->builder->is_passing;
    done_testing() if !$option{more};
}


# What is in Redis is searched in its dump.
sub dump_redis {
    my ($self) = @_;

    my $file = "$self->{dir}/redis/dump.rdb";
    my $error;

    unlink $file;

    # refused while a background save runs
    wait_for {
        return 1 if eval { $self->cmd('SAVE') };
        $error = $@;
        return 0;
    };

    ok(-s $file, 'Redis wrote its dump') or diag($error);
}


sub remove {
    my ($self) = @_;

    remove_tree($self->{secrets});

    if ($ENV{KEEP}) {
        diag("kept: $self->{dir}");

    } else {
        remove_tree($self->{dir});
    }

    delete $alive{$self};
}


# a test that died: nothing of it stays
END {
    my $code = $?;

    for my $self (values %alive) {
        next if $self->{owner} != $$;

        if ($self->{daemon} && (my $pid = $self->master)) {
            kill 'TERM', $pid;
        }

        for my $name (reverse @{$self->{order}}) {
            _end($self->{running}{$name}{pid}, 'TERM', 5);
        }

        remove_tree($self->{secrets});
        diag("what is left is in $self->{dir}");
    }

    $? = $code;
}


package HoodyAI::System::Provider;

use strict;
use warnings;

sub address { $_[0]{address} }


sub _get {
    my ($self, $method, $uri) = @_;

    return HoodyAI::Client->ask($self->{address}, $method, $uri,
        headers => [Connection => 'close'],
        $self->{tls} ? (tls => $self->{tls}) : ());
}


# everything that arrived since the last forget(), oldest first
sub requests {
    my ($self) = @_;

    return @{$self->_get('GET', '/_sample/requests')->{json}{requests}};
}


sub forget { $_[0]->_get('DELETE', '/_sample/requests') }

sub stats { $_[0]->_get('GET', '/_sample/stats')->{json} }


1;
