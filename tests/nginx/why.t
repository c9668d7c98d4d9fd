#!/usr/bin/perl

# "hoody-ai why" against a real gateway: random registries, claims, sources
# and routes.  What the command says has to be what the gateway answered:
# status, code, and which counter of reasons went up.
#
# HAI_WHY_ROUNDS (150) registries, with HAI_WHY_SEED to repeat a run.
#
# asan: no, the command runs once for each of many questions

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

use HoodyAI::System qw(chat free_port slurp spew suspend wait_for);

my $s = HoodyAI::System->new;
my $program = $s->program('hoody-ai');
my $rounds = $ENV{HAI_WHY_ROUNDS}
    || (($ENV{HAI_MODE} // '') eq 'asan' ? 60 : 150);
my $seed = $ENV{HAI_WHY_SEED} // int rand 1e9;
my $status_json;

srand $seed;
note("HAI_WHY_SEED=$seed");


# The command: its exit status and what it wrote.
sub why {
    return $s->output($program, 'why', '--redis', "unix:$s->{redis_socket}",
        '--server', $s->{server}, @_);
}


sub why_json {
    my ($exit, $out, $err) = why('-o', 'json', @_);
    my $json = eval { decode_json($out) } || {};

    return { %$json, exit => $exit, out => $out, err => $err };
}


sub pick { $_[rand @_] }


# Where the test itself runs, as the kernel says it.
my ($cgroup) = slurp('/proc/self/cgroup') =~ /^0::(\/.+)$/m;
my $has6 = !!eval { HoodyAI::Client->new(to => '[::1]:1'); 1 }
    || $@ !~ /assign requested|not supported/;
my ($port6, $real) = (free_port(), free_port());
my $socket = "$s->{dir}/ai.sock";

$s->redis;
$s->provider;

my $location = <<'END';
        location /v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            proxy_pass http://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
END
my $listen6 = $has6 ? "listen [::1]:$port6;" : '';

$s->nginx(level => 'notice', http => sub { <<"END" });
    upstream provider {
        server %%PROVIDER%%;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        $listen6
        $location

        location = /status { hoody_ai_status; }
    }

    server {
        listen unix:$socket;
        $location
    }

    server {
        listen 127.0.0.1:$real;
        set_real_ip_from 127.0.0.0/24;
        real_ip_header X-Real;
        $location
    }
END


sub status { $s->ask('GET', '/status?format=json')->{json} }


# ---- random registries -------------------------------------------------------

my @names = qw(dev-env other third 12 77 a_b);
my @addresses = (map({ "127.0.0.$_" } 2 .. 8, 2 .. 8), '127.0.0.0/29', '127.0.0.4/31',
    '::ffff:127.0.0.3', '::1', '::/1', '10.0.0.0/8', '127.0.0.5/24', 'nonsense',
    '127.0.0.6/33', '');
my @statuses = (('running') x 8, '', 'stopped', 'Running', 'running ');

# the last component and the one before it, whole and in part
my @cgroups = ('/', 'nowhere', '/nowhere');

if ($cgroup) {
    my @part = split m{/}, substr $cgroup, 1;

    push @cgroups, $cgroup, $part[-1], $part[0], "/$part[0]", "$cgroup/below",
        substr $cgroup, 0, -1;
}

# A registry as a list of commands.
sub registry {
    my @write = map { ['DEL', $s->rkey($_)] }
        qw(ai:enabled containers), map { "container:$_" } @names;

    for my $name (@names) {
        my $key = $s->rkey("container:$name");
        my $kind = rand;

        push @write, ['SADD', $s->rkey('ai:enabled'), $name] if rand > 0.4;
        push @write, ['SADD', $s->rkey('containers'), $name] if rand > 0.3;

        if ($kind < 0.1) {
            next;
        }
        if ($kind < 0.12) {
            push @write, ['SET', $key, 'no hash'];
            next;
        }

        push @write, ['HSET', $key, addresses =>
            join(' ' x (1 + int rand 2), map { pick(@addresses) }
                1 .. 1 + int rand 3)];
        push @write, ['HSET', $key, status => pick(@statuses)]
            if rand > 0.3;
        push @write, ['HSET', $key, number => pick(qw(12 77 5 5 012 x), '')]
            if rand > 0.3;
        push @write, ['HSET', $key, cgroup => pick(@cgroups)] if rand > 0.4;
        push @write, ['HSET', $key, id => pick('a' x 24, 'b' x 255, 'c' x 256)]
            if rand > 0.8;
        push @write, ['HSET', $key, tags => 'x' x 8193] if rand > 0.97;
        push @write, ['HSET', $key, addresses =>
            join ' ', map { "127.0.1.$_" } 0 .. pick(255, 256)]
            if rand > 0.97;
        push @write, ['PEXPIRE', $key, 600_000] if rand > 0.9;
    }

    push @write, ['DEL', $s->rkey('ai:enabled')],
        ['SET', $s->rkey('ai:enabled'), 1] if rand > 0.98;

    return @write;
}


# All gateways have seen what was written: a container that is ours alone,
# written last, is there or gone, in turns.
my $there = 0;

sub write_registry {
    my (@write) = @_;

    my $key = $s->rkey('container:sync');
    my $flip = $there ? ['DEL', $key]
        : ['HSET', $key, addresses => '127.0.0.200', status => 'running'];

    $there = !$there;

    $s->cmd('MULTI');
    $s->cmd(@$_) for @write, $flip;
    $s->cmd('EXEC');

    wait_for {
        my $status = $s->ask('GET', '/v1/models', token => 'sync',
            local => '127.0.0.200')->{status};
        $there ? $status != 401 : $status == 401;
    } or die "the gateway does not follow\n";
}


# ---- random questions --------------------------------------------------------

my @routes = (
    ['POST', '/v1/chat/completions'], ['GET', '/v1/models'],
    ['GET', '/v1/models/gpt-4o'], ['GET', '/v1/models/openai/gpt-4o'],
    ['POST', '/v1/%63hat/completions'], ['POST', '/v1//chat/completions'],
    ['POST', '/x/../v1/./chat/completions?a=/../b'],
    ['POST', '/v1/chat%2Fcompletions'], ['POST', '/v1/chat/completions/'],
    ['POST', '/v1/chat/completions%3Fx'], ['POST', '/v1/chat%252Fcompletions'],
    ['GET', '/v1/chat/completions'], ['PUT', '/v1/chat/completions'],
    ['POST', '/v1/models'], ['GET', '/v1/files'], ['DELETE', '/v1/files/a'],
    ['GET', '/v1/models/../../v1/models'], ['POST', '/v1/'],
    ['GET', '/v1/batches'], ['POST', '/v1/nothing'],
);
my @claims = ((@names) x 4, (5) x 6, qw(9 012 nobody Dev-Env), 'n' x 100, 'n' x 101, 'a.b',
    'a b', '-');

# What is asked, for the gateway and for the command; often from where the
# container lives.
sub question {
    my (@write) = @_;

    my $claim = pick(@claims);
    my @home = map { grep { /^127\.0\.0\.\d\z/ } split / /, $_->[3] }
        grep { $_->[1] eq $s->rkey("container:$claim")
               && ($_->[2] // '') eq 'addresses' } @write;
    my ($method, $uri) = @{rand > 0.6 ? $routes[0] : pick(@routes)};
    my @why = ('--container', rand > 0.5 ? $claim : "container-$claim",
        '--method', $method, '--uri', $uri);
    my %ask = (headers => [Authorization => "Bearer container-$claim"]);
    my $kind = rand;

    $ask{body} = chat() if $method eq 'POST';

    if ($kind < 0.15 && $cgroup) {
        push @why, '--cgroup', $cgroup;
        $ask{to} = "unix:$socket";

    } elsif ($kind < 0.25 && $has6) {
        push @why, '--from', '::1';
        $ask{to} = "[::1]:$port6";

    } elsif ($kind < 0.4) {
        my ($from, $peer) = map { '127.0.0.' . (2 + int rand 8) } 1, 2;

        push @why, '--from', $from, '--peer', $peer;
        push @{$ask{headers}}, 'X-Real', $from;
        $ask{to} = "127.0.0.1:$real";
        $ask{local} = $peer;

    } else {
        my $from = @home && rand > 0.3 ? pick(@home)
            : '127.0.0.' . (2 + int rand 8);

        push @why, '--from', rand > 0.1 ? $from : "::ffff:$from";
        $ask{local} = $from;
    }

    return ($method, $uri, \%ask, \@why);
}


my (%seen, @wrong, $asked);
my $began = time;
my $before = status()->{refused};

ROUND: for my $round (1 .. $rounds) {
    my @write = registry();

    write_registry(@write);
    $before = status()->{refused};

    for (1 .. 2) {
        my ($method, $uri, $ask, $why) = question(@write);
        my $answer = $s->ask($method, $uri, %$ask);
        my $after = status()->{refused};
        my @reasons = grep { $after->{$_} > $before->{$_} } sort keys %$after;
        my $say = why_json(@$why);

        $before = $after;
        $asked++;

        # an admitted request gets what the provider says
        my $is = join ' ', @reasons ? ($answer->{status},
            $answer->{json}{error}{code} // '-', @reasons) : 'admitted';
        my $says = $say->{admitted} ? 'admitted'
            : join ' ', map { $_ // '?' } @$say{qw(status code reason)};
        my $exit = $is eq 'admitted' ? 0 : 1;

        $seen{$reasons[0] // 'admitted'}++;

        next if $is eq $says && $say->{exit} eq $exit;

        push @wrong, "round $round: gateway: $is, why: $says"
            . " (exit $say->{exit})\n@$why\n"
            . join("\n", map { "@$_" } @write) . "\n$say->{out}$say->{err}";
        last ROUND if @wrong > 2;
    }
}

is(join("\n", @wrong), '', "the same $asked answers, seed $seed");
note(sprintf '%d registries, %d questions in %.1f s: %s', $rounds, $asked,
    time - $began, join ', ', map { "$_ $seen{$_}" } sort keys %seen);

for my $reason (qw(admitted bad_credential no_container not_running
                   wrong_source shared_source shared_number peer_replaced
                   ai_disabled unknown_route)) {
    ok($seen{$reason} || $rounds < 150, "$reason was among them");
}


# ---- what it says besides ----------------------------------------------------

write_registry(registry());
write_registry(map { ['DEL', $s->rkey($_)] }
    qw(ai:enabled containers), map { "container:$_" } @names);

$s->container('dev-env', addresses => '127.0.0.2 10.77.0.0/24', number => 7,
    tags => 'prod', limit_rpm => 60);
$s->container('other', addresses => '127.0.0.0/30');

my ($exit, $out, $err) = why(qw(--container dev-env --from 10.77.0.9));

is($exit, 0, 'admitted: exit status 0');
is($err, '', 'nothing on standard error');
like($out, qr/^source +yes 10\.77\.0\.9 is registered .* as 10\.77\.0\.0\/24$/m,
    'which prefix it is');
like($out, qr/^limits +- +limit_rpm=60$/m, 'limits');
like($out, qr/^answer +admitted$/m, 'the end');
unlike($out, qr/\033/, 'no colours in a pipe');

($exit, $out) = why(qw(--container 7 --from 127.0.0.2));
is($exit, 1, 'refused: exit status 1');
like($out, qr/^claim +yes number 7, of container "dev-env"$/m, 'a number');
like($out, qr/^others +NO  1 other has this address.*: other$/m, 'who else');
like($out, qr/^answer +401 invalid_identity, reason shared_source$/m,
    'status, code and reason');
like($out, qr/^mend +\w/m, 'how to mend it');

is_deeply([sort @{why_json(qw(--container 7 --from 127.0.0.2))->{claimed_by}}],
    [qw(dev-env other)], 'all that claim it');

# rules: names only
spew("$s->{dir}/hoody.json", encode_json({ rules => [
    { id => 'guard', trigger => { event => 'chat.system.transform',
        tags => ['prod'] }, action => { type => 'append',
        content => 'unspeakable' } },
    { id => 'mini', trigger => { event => 'chat.message',
        models => ['*mini'] }, action => { type => 'message',
        content => 'unspeakable' }, blocking => JSON::PP::true },
    { id => 'elsewhere', trigger => { event => 'chat.message',
        containers => ['customer-*'] }, action => { type => 'log',
        content => 'unspeakable' } },
] }));

my @ask = (qw(--container dev-env --from 10.77.0.9 --rules),
    "$s->{dir}/hoody.json");

($exit, $out) = why(@ask);
like($out, qr/^rule +- +guard \(chat\.system\.transform, append\)$/m,
    'a rule that applies');
like($out, qr/^rule +- +mini .*, blocking, for some models\)$/m,
    'one that may apply');
unlike($out, qr/elsewhere|unspeakable/, 'neither others nor their texts');

($exit, $out) = why(@ask, qw(--model gpt-4o));
unlike($out, qr/\bmini\b/, 'nor one for other models');

$s->cmd('HSET', $s->rkey('rules'), guard => '{"id":"guard",'
    . '"enabledOverride":false}');
($exit, $out) = why(@ask);
unlike($out, qr/\bguard\b/, 'nor one that the overlay switches off');

# a value of the registry does not reach the terminal as it is
$s->cmd('HSET', $s->rkey('container:dev-env'), 'status', "\033[31mstopped\n");
($exit, $out) = why(qw(--container dev-env --from 10.77.0.9));
unlike($out, qr/\033/, 'no control characters of the registry');
like($out, qr/status is "\?\[31mstopped\?"/, 'but what it says');
$s->cmd('HSET', $s->rkey('container:dev-env'), 'status', 'running');


# ---- a gateway that does not know --------------------------------------------

my $page = 'http://' . $s->address . '/status?format=json';

($exit, $out) = why(qw(--container dev-env --from 10.77.0.9 --gateway), $page);
is($exit, 0, 'a gateway that is up to date');
like($out, qr/^gateway +yes worker \d+: loaded, \d+ containers, \d+ ms old$/m,
    'what it has of the registry') or diag($out);

($exit, $out) = why(qw(--container dev-env --from 10.77.0.9 --gateway
    http://127.0.0.1:1/));
is($exit, 0, 'without an answer of the gateway Redis decides');
like($out, qr/^gateway +- +http:/m, 'and that is said');


# ---- wrong usage, and what cannot be known -----------------------------------

for (
    ['no container', '--from', '127.0.0.1'],
    ['no source', '--container', 'a'],
    ['two sources', qw(--container a --from 127.0.0.1 --cgroup /a)],
    ['a prefix', qw(--container a --from 127.0.0.0/8)],
    ['no address', qw(--container a --from localhost)],
    ['a relative cgroup', qw(--container a --cgroup a)],
    ['an impossible URI', qw(--container a --from 127.0.0.1 --uri /v1/%zz)],
    ['above the root', qw(--container a --from 127.0.0.1 --uri /../v1/a)],
    ['another location', qw(--container a --from 127.0.0.1 --uri /v1/a
        --location /b/)],
    ['no location', qw(--container a --from 127.0.0.1 --uri /a)],
    ['an argument', qw(--container a --from 127.0.0.1 b)],
    ['no format', qw(--container a --from 127.0.0.1 -o xml)],
) {
    my ($name, @args) = @$_;

    ($exit, $out, $err) = why(@args);
    is("$exit $out", '2 ', "$name: exit status 2");
    isnt($err, '', "$name: a message");
}

($exit, $out) = why('--help');
is($exit, 0, 'help');
like($out, qr/Exit status: 0 admitted, 1 refused, 2/, 'exit statuses are told');

suspend($s->pid('redis'));

my $start = time;
my $say = why_json(qw(--container dev-env --from 10.77.0.9));

is($say->{exit}, 2, 'Redis does not answer: exit status 2');
is($say->{admitted}, undef, 'neither admitted nor not');
cmp_ok(time - $start, '<', 5, 'within the time-out');

# the gateway has noticed
ok(wait_for(sub { (status()->{workers}[0]{age_ms} // 0) > 5200 }, 20),
    'the gateway grows stale');
$say = why_json(qw(--container dev-env --from 10.77.0.9 --gateway), $page);
is("$say->{exit} $say->{status} $say->{reason}", '1 503 stale',
    'what it answers meanwhile');

my $before_stale = status()->{refused}{stale};

is($s->ask('GET', '/v1/models', token => 'dev-env', local => '127.0.0.2')
    ->{status}, 503, 'it does');
is(status()->{refused}{stale}, $before_stale + 1, 'for that reason');

kill 'CONT', $s->pid('redis');
ok(wait_for(sub { eval { $s->cmd('PING') } }), 'Redis is back');

$s->finish;
