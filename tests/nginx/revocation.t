#!/usr/bin/perl

# Access is taken away: a thousand streams of two gateways with two workers
# each, and the next request with many containers registered.
#
# asan: no, it is about time

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON::PP;
use List::Util qw(max min);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Client;
use HoodyAI::System qw(wait_for chat);

HoodyAI::System::many_files();

my $streams = 1000;
my $containers = 40;
my $kept = 10;        # the last ones keep their access

my $s = HoodyAI::System->new;
my $other = HoodyAI::System->new;

$s->redis;

my $provider = $s->provider;
my $redis = "unix:$s->{dir}/redis/redis.sock";

$other->{provider} = $s->{provider};
$other->secret($_, $s->key($_)) for qw(openai anthropic);

# each worker has a socket of its own, and with it its part of the streams
for my $gateway ($s, $other) {
    my $http = $gateway->default_http;

    $http =~ s/(listen [^;]+);/$1 backlog=4096 reuseport;/;
    $gateway->nginx(redis => $redis, workers => 2, level => 'info',
        http => $http);
}

# what a container has: nobody else has its address
sub name { sprintf 'box-%02d', $_[0] }
sub address { "127.1.0.$_[0]" }
sub number { 100 + $_[0] }
sub api { $_[0] % 2 ? 'anthropic' : 'openai' }
sub key { $s->rkey("container:$_[0]") }

my @gates = ($s->rkey('ai:enabled'), $s->rkey('containers'));

for my $i (0 .. $containers - 1) {
    $s->container(name($i), addresses => address($i), number => number($i));
}


# What ends access, and what a request that comes afterwards gets.

my @ways = (
    ['disable', 403, sub { $s->cmd('SREM', $gates[0], $_[0]) }],
    ['delete', 401, sub {
        $s->cmd('MULTI');
        $s->cmd('SREM', $_, $_[0]) for @gates;
        $s->cmd('DEL', key($_[0]));
        $s->cmd('EXEC');
    }],
    ['rename', 401, sub {
        $s->cmd('MULTI');
        $s->cmd('RENAME', key($_[0]), key("$_[0]-new"));

        for my $set (@gates) {
            $s->cmd('SREM', $set, $_[0]);
            $s->cmd('SADD', $set, "$_[0]-new");
        }

        $s->cmd('EXEC');
    }],
    ['address', 401,
        sub { $s->cmd('HSET', key($_[0]), 'addresses', '127.0.0.9') }],
    ['stop', 401, sub { $s->cmd('HSET', key($_[0]), 'status', 'stopped') }],
);


# The streams, and one request of each container that waits for its answer.

my (%stream, $bits, $ended);

sub watch {
    my ($i, $gateway, $waits, @headers) = @_;

    my $client = $gateway->client(local => address($i));
    my $fd = fileno $client->{socket};

    $client->request('POST', api($i) eq 'openai' ? '/v1/chat/completions'
        : '/anthropic/v1/messages', token => name($i), headers => \@headers,
        body => chat(stream => JSON::PP::true));

    vec($bits, $fd, 1) = 1;
    $stream{$fd} = { socket => $client->{socket}, container => $i, text => '',
                     waits => $waits };
}

# Reads what there is; a stream keeps its head and its last 2 KB.
sub pump {
    my ($timeout) = @_;

    my $n = select(my $ready = $bits, undef, undef, $timeout);
    return if $n <= 0;

    for my $fd (grep { vec($ready, $_, 1) } keys %stream) {
        my $stream = $stream{$fd};
        my $got = sysread $stream->{socket}, my $data, 65536;

        next if !defined $got;

        $stream->{text} .= $data;
        $stream->{began} ||= length $stream->{text} > 0;

        # an answer that is chunked, or has a length, and then its end
        if ($got == 0 || $stream->{text} =~ /\r\n0\r\n\r\n\z/
            || $stream->{text} =~ /\r\n\r\n\{"(?:error|type)".*\}\n?\z/s)
        {
            $stream->{end} = time;
            $ended++;
            vec($bits, $fd, 1) = 0;
            next;
        }

        if (length $stream->{text} > 4096) {
            substr $stream->{text}, 0, -2048, '';
            $stream->{cut} = 1;
        }

        $stream->{bytes} += $got;
    }
}

sub pump_until {
    my ($condition, $timeout) = @_;

    my $end = time + $timeout;

    pump(0.05) while !$condition->() && time < $end;
    return $condition->();
}


my $start = time;

for my $n (0 .. $streams - 1) {
    watch($n % $containers, $n / $containers % 2 ? $other : $s, 0,
        'X-Sample-Chunks', 100000, 'X-Sample-Delay', 500);
}

watch($_, $_ % 2 ? $other : $s, 1, 'X-Sample-Stall', -1)
    for 0 .. $containers - 1;

my @flowing = grep { !$_->{waits} } values %stream;

ok(pump_until(sub { !grep { !$_->{began} } @flowing }, 20),
    "$streams streams of $containers containers");
ok(wait_for(sub {
    $provider->stats->{active_streams} == $streams + $containers;
}), 'reach the provider, as do those that wait');
note(sprintf 'after %.1f s', time - $start);

for my $gateway ($s, $other) {
    for my $worker ($gateway->workers) {
        my $open = () = glob "/proc/$worker/fd/*";
        cmp_ok($open, '>', $streams / 10, 'each worker has its part');
    }
}


# One container after the other.

my (@late, %last, %wrong);

for my $i (0 .. $containers - $kept - 1) {
    my ($way, $status, $end) = @{ $ways[$i % @ways] };
    my @mine = grep { $_->{container} == $i } values %stream;
    my $before = $ended // 0;

    $end->(name($i));
    my $written = time;

    pump_until(sub { !grep { !$_->{end} } @mine }, 3);

    $wrong{"$way: not all ended"}++ if grep { !$_->{end} } @mine;
    $wrong{"$way: others ended"}++ if ($ended // 0) != $before + @mine;

    my @took = map { ($_->{end} // 9e9) - $written } @mine;

    push @late, @took;
    push @{$last{$way}}, max(@took);

    for my $stream (@mine) {
        my $text = $stream->{text};

        if ($stream->{waits}) {
            $wrong{"$way: a waiting one"}++
                if $text !~ m{\AHTTP/1\.1 403 .*"type":"permission_error"}s;
            next;
        }

        # chunks are whole events here, and the last one is ours
        $wrong{"$way: the last event"}++ if $text !~ /
            \n\n\r\n[0-9a-f]+\r\n
            (?: data:[ ]\{"error".*"access_revoked".*
              | event:[ ]error\n data:[ ].*"permission_error".*
            ) \}\n\n\r\n0\r\n\r\n\z/x;
        $wrong{"$way: a proper end"}++ if $text =~ /\[DONE\]|message_stop/;
    }

    my $answer = $s->chat_ask(token => name($i), local => address($i));
    $wrong{"$way: then $answer->{status}"}++ if $answer->{status} != $status;
}

is_deeply(\%wrong, {}, 'each ends as it should, and nobody else');

@late = sort { $a <=> $b } @late;

note(sprintf 'ended after %.1f ms in the middle, p99 %.1f ms, %.1f ms at most',
    map { 1000 * $_ } @late[@late / 2, @late * 0.99, -1]);

# Other tests may run on this machine, and disturb some of the containers: one
# of each way was not, nor is the usual stream.
for my $way (map { $_->[0] } @ways) {
    cmp_ok(min(@{$last{$way}}), '<', 0.1,
        "$way: all of a container within 100 ms of the write");
}

cmp_ok($late[@late / 2], '<', 0.1, 'which is what most streams take');

my $left = $streams / $containers * $kept;

ok(wait_for(sub { $provider->stats->{active_streams} == $left + $kept }, 2),
    'the provider is hung up on');

my @others = grep { !$_->{end} && !$_->{waits} } values %stream;

$_->{bytes} = 0 for @others;
is(scalar @others, $left, 'the others go on');
ok(pump_until(sub { !grep { !$_->{bytes} } @others }, 5),
    'and have more events');


# What was used until then is told: Anthropic reports at the beginning, OpenAI
# at the end only.

my (%events, %usage);

ok(wait_for(sub {
    (%events, %usage) = ();

    for my $entry (@{ $s->cmd('XRANGE', $s->rkey('events'), '-', '+') }) {
        my %field = @{ $entry->[1] };

        next if ($field{container} // '') !~ /^box/;
        $events{$field{type}}++;

        next if $field{type} ne 'request' || $field{status} != 200
                || $field{reason} ne 'access_revoked';

        my $told = $field{bytes_out} > 0
            ? $field{usage} . ($field{input_tokens} ? ' input' : '') : 'nothing';

        $usage{$field{provider}}{$told}++;
    }

    $events{revoked} && $events{revoked} == @late;
}, 5), 'an event for each that was ended') or diag(explain \%events);

is_deeply(\%usage, {
    openai => { none => ($streams - $left) / 2 },
    anthropic => { 'reported input' => ($streams - $left) / 2 },
}, 'with the usage until then') or diag(explain \%usage);

close $_->{socket} for values %stream;
ok(wait_for(sub { $provider->stats->{active_streams} == 0 }, 5),
    'callers hang up');


# The share of body memory is the container's, by whatever it is called.

{
    my $body = chat(user => 'x' x 600_000);
    my ($mine, $next) = ($containers - 1, $containers - 2);
    my @local = (local => address($mine));

    $other->finish(more => 1);
    $s->stop('nginx', 'QUIT');

    # one worker, so that they meet
    $s->nginx(redis => $redis, level => 'info',
        http => "hoody_ai_body_memory 4m;\n" . $s->default_http);

    my $hold = $s->client(@local);
    my $before = $provider->stats->{requests};

    $hold->request('POST', '/v1/chat/completions', token => name($mine),
        body => $body, headers => ['X-Sample-Stall', -1]);
    ok(wait_for(sub { $provider->stats->{requests} > $before }),
        'a body is held');

    my $status = sub {
        my ($token, @from) = @_;
        return $s->chat_ask(token => $token, body => $body, @from)->{status};
    };

    is($status->(name($mine), @local), 429,
        'another one by the same name is too much');
    is($status->(number($mine), @local), 429, 'and by the number');
    is($status->(name($next), local => address($next)), 200,
        'the next container has its own share');
    $hold->close;
    ok(wait_for(sub { $status->(number($mine), @local) == 200 }, 3),
        'it is given back');
}


# The next request, with many containers around.

my $many = 30_000;

sub fill {
    my $socket = IO::Socket::UNIX->new(Peer => $s->{redis_socket})
        or die "redis: $!\n";
    my $text = '';

    for my $i (1 .. $many) {
        my $address = join '.', 10, $i >> 16, $i >> 8 & 255, $i & 255;

        $text .= "HSET @{[key(qq(many-$i))]} addresses $address number "
            . (1000 + $i) . " status running\r\n"
            . join '', map { "SADD $_ many-$i\r\n" } @gates;

        if ($i % 5000 == 0) {
            print $socket $text;
            $socket->flush;
            <$socket> for 1 .. 15000;
            $text = '';
        }
    }
}

my $client;

sub ask {
    $client = $s->client if !$client || $client->{eof};
    $client->request('POST', '/v1/chat/completions', token => 'dev-env',
        body => chat());

    return $client->answer->{status};
}

sub admit {
    # what is written to a key that is about to expire would not last
    $s->cmd('DEL', key('dev-env'));
    $s->container('dev-env', addresses => '127.0.0.1', id => 'a' x 24);
    return wait_for { ask() == 200 } 20;
}

sub registered {
    my $text = $s->ask('GET', '/status')->{body};

    return $text =~ /^hoody_ai_registry_containers\b.* (\d+)$/m ? $1 : 0;
}

$s->stop('nginx', 'QUIT');
fill();
$s->cmd('FUNCTION', 'LOAD', <<'END');
#!lua name=revocation
redis.register_function('take_away', function(keys, args)
    redis.call('SREM', keys[1], args[1])
    return redis.call('DEL', keys[2])
end)
END

$s->nginx(redis => $redis, level => 'info', http => $s->default_http(
    server => 'location = /status { hoody_ai_status; }'));
ok(admit(), 'a container among many');
ok(wait_for(sub { registered() >= $many }, 20), "$many of them")
    or diag(registered());

my $dev = key('dev-env');
my $flushed = 0;

# From the write's answer to the first refusal.  What disturbs one try on a busy
# machine does not disturb every one.
sub takes {
    my ($name, $status, $write, $tries) = @_;

    my ($best, @statuses) = 9e9;

    for (1 .. $tries // 10) {
        admit() or last;
        my $written = $write->() // time;
        my $got;

        for (1 .. 100000) {
            $got = ask();
            last if $got != 200;
        }

        my $took = time - $written;

        push @statuses, $got;
        $best = $took if $took < $best;
        last if $best <= 0.01;
    }

    # a try that takes longer than hoody_ai_wait ends with 503
    my @wrong = grep { $_ !~ /^(?:$status|503)\z/ } @statuses;

    is("@wrong", '', "$name: $status");
    like($statuses[-1], qr/^(?:$status)\z/, "$name: at last");
    cmp_ok($best, '<=', 0.01, "$name: within 10 ms");
    note(sprintf '%s: %.1f ms', $name, 1000 * $best);
}

sub write_of {
    my @commands = @_;

    return sub { $s->cmd(@$_) for @commands; return };
}

takes('SREM', 403, write_of(['SREM', $gates[0], 'dev-env']));
takes('DEL', 401, write_of(['DEL', $dev]));
takes('HSET', 401, write_of(['HSET', $dev, 'addresses', '127.0.0.9']));
takes('MULTI', 401, write_of(['MULTI'], ['SREM', $gates[0], 'dev-env'],
    ['DEL', $dev], ['EXEC']));
takes('FCALL', 401, write_of(['FCALL', 'take_away', 2, $gates[0], $dev,
    'dev-env']));
takes('expiry', 401, sub {
    $s->cmd('PEXPIRE', $dev, 50);
    return time + 0.05;
});

# memory for all but the one key that may go
takes('eviction', 401, sub {
    $s->cmd('PEXPIRE', $dev, 1e8);
    $s->cmd('SET', $s->rkey('ballast'), 'x' x 8e6, 'PX', 2e8);
    my ($used) = $s->cmd('INFO', 'memory') =~ /^used_memory:(\d+)/m;
    $s->cmd('CONFIG', 'SET', 'maxmemory-policy', 'volatile-ttl');
    $s->cmd('CONFIG', 'SET', 'maxmemory', $used - 4e6);
    $s->cmd('PING');
    my $written = time;
    $s->cmd('CONFIG', 'SET', 'maxmemory', 0);
    return $written;
});

# its announcement comes over another connection than the gate that is read
# for a request meanwhile, and is empty by then
takes('FLUSHALL', '401|403', sub {
    fill() if $flushed++;
    wait_for { registered() >= $many && ask() == 200 } 20;
    $s->cmd('FLUSHALL');
    return;
}, 5);

$client = undef;
$s->finish;
