#!/usr/bin/perl

# A container runtime that answers nonsense, or of which one container cannot
# be described: what the registry says of all the others stays, and nobody has
# what is not theirs.  One that hangs: access can be taken away all the same.
# The runtime is a program of this test, because no real one can be made to do
# this.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use JSON::PP;
use IO::Select;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep time);

use HoodyAI::Control;
use HoodyAI::System qw(slurp spew wait_for free_port);

my $s = HoodyAI::System->new;
my $socket = "$s->{dir}/runtime.sock";
my $lists = "$s->{dir}/lists";
my $hang = "$s->{dir}/hang";
my @many = map { sprintf 'many-%02d', $_ } 1 .. 20;
my %id = (good => 'a' x 64, evil => 'b' x 64, new => 'c' x 64,
    map { ($many[$_] => sprintf '%02d%062x', $_, $_) } 0 .. $#many);
my %address = (good => '127.0.0.1', evil => '127.0.0.9',
    new => '127.0.0.10', map { ($many[$_] => "127.0.1.$_") } 0 .. $#many);

sub inspected {
    my ($name, %label) = @_;

    return encode_json({ Id => $id{$name}, Name => "/$name",
        Image => 'sha256:1',
        Config => { Image => 'x', Labels => \%label },
        State => { Status => 'running', Pid => 0 },
        HostConfig => { NetworkMode => 'bridge' },
        NetworkSettings => { Networks => { bridge => {
            IPAddress => $address{$name}, MacAddress => '' } } } });
}

# What it says is in files: "<path with _ for />", its first line the status.
sub says {
    my ($path, $body, $status) = @_;

    spew("$s->{dir}/say" . $path =~ tr{/?=}{_}r, ($status // 200) . "\n$body");
}

sub list {
    my (@names) = @_;

    says('/v1.41/containers/json?all=true', encode_json([map {
        { Id => $id{$_}, Names => ["/$_"], Image => 'x' } } @names]));
}

my $listen = IO::Socket::UNIX->new(Local => $socket, Listen => 64)
    or die "$socket: $!\n";
my $pid = fork // die "fork: $!\n";

if ($pid == 0) {
    my ($n, @events, @hung) = (0);

    $SIG{PIPE} = 'IGNORE';
    while (my $c = $listen->accept) {
        my $head = '';

        while (defined(my $line = <$c>)) {
            $head .= $line;
            last if $line eq "\r\n";
        }

        my ($path) = $head =~ m{^\w+ (\S+) };

        # what hung is done once the file is gone
        while (@hung && !-e $hang) {
            print { shift @hung } "HTTP/1.1 204 X\r\n\r\n";
        }

        if (!defined $path) {
            next;
        } elsif ($path =~ m{/start} && -e $hang) {
            push @hung, $c;
            spew("$hang." . @hung, '');
            next;
        } elsif ($path =~ m{/events}) {
            push @events, $c;
            print $c "HTTP/1.1 200 OK\r\n\r\n";
            $c->flush;
            next;
        }

        my ($status, $body) = split /\n/, slurp("$s->{dir}/say"
            . $path =~ tr{/?=}{_}r) || "404\n{}", 2;

        print $c "HTTP/1.1 $status X\r\nContent-Length: " . length($body)
            . "\r\nConnection: close\r\n\r\n$body";
        close $c;
        spew($lists, ++$n) if $path =~ /all=true/;
    }
    _exit(0);
}

close $listen;

END { kill 'KILL', $pid if $pid }

$s->redis;
$s->provider;
says('/v1.41/images/sha256%3A1/json', '{"Config":{"Labels":null}}');
says("/v1.41/containers/$id{good}/json",
    inspected('good', 'hoody.ai' => 'true'));
list('good');

my $c = HoodyAI::Control->new($s,
    args => ['--threads', 6, '--runtime', "docker=$socket"]);

$s->nginx(http => sub { $s->default_http . $c->server });

sub find {
    my ($name) = @_;

    return $c->call('GET', "/containers?name=$name")
        ->{json}{data}{containers}[0];
}

# until the connector has begun to look once more, and ended that
sub look_again {
    for (1, 2) {
        my $n = slurp($lists) || 0;

        kill 'HUP', $c->pid;
        wait_for { slurp($lists) > $n } 20 or die "it does not look\n";
    }
    sleep 0.2;
}

sub stays {
    my ($name) = @_;

    look_again();

    my $one = find('good');

    is($one && "$one->{status} @{$one->{addresses}}", 'running 127.0.0.1',
        "$name: the good one stays");
    is($s->chat_ask(token => 'good')->{status}, 200, "$name: and may use AI");
}

ok(wait_for { find('good') }, 'it is found');
ok(find('good')->{ai}, 'with AI by its label');
is(wait_for { $s->chat_ask(token => 'good')->{status} == 200 }, 1, 'it may');

my $path = '/v1.41/containers/json?all=true';

for my $case (['no JSON', 'hello'], ['an object', '{"message":"x"}'],
    ['null', 'null'], ['nothing', ''], ['a string', '"x"'],
    ['half a list', '[{"Id":'], ['an error', '{"message":"x"}', 500],
    ['no such path', '{}', 404], ['no bytes of UTF-8', "[\"\xff\"]"],
    ['deep', '[' x 100_000])
{
    my ($name, @said) = @$case;

    says($path, @said);
    stays("a list that is $name");
}

# one that cannot be described, one whose label has a NUL
list('good', 'evil');
says("/v1.41/containers/$id{evil}/json", '{"message":"x"}', 500);
stays('one with an error');
is(find('evil')->{status}, 'failed', 'which has failed');
list('good');
look_again();
is(find('evil'), undef, 'and goes when it is gone');
list('good', 'evil');

says("/v1.41/containers/$id{evil}/json", '[]');
stays('one that is a list');

says("/v1.41/containers/$id{evil}/json", inspected('evil', 'hoody.ai' => 'true')
    =~ s/"true"/"true\\u0000x"/r);
stays('a NUL in a label');
is(find('evil')->{status}, 'running', 'it is there all the same');

# the same address as another one's
says("/v1.41/containers/$id{evil}/json", inspected('evil')
    =~ s/127\.0\.0\.9/127.0.0.1/r);
stays('an address that is taken');
is_deeply(find('evil')->{addresses}, [], 'is not had twice');

# the name of another one
says("/v1.41/containers/$id{evil}/json", inspected('evil')
    =~ s{"/evil"}{"/good"}r);
look_again();
is($c->call('GET', '/health')->{status}, 200, 'a name twice ends nothing');

# empty it may be
list();
look_again();
is(find('good'), undef, 'what is really gone is gone');


# It hangs: six calls may wait for that

sub there {
    my ($name) = @_;

    for my $key ($name, $id{$name}) {
        says("/v1.41/containers/$key/json",
            inspected($name, 'hoody.ai' => 'true'));
    }
    says("/v1.41/containers/$id{$name}/start", '', 204);
}

# What the first n of them answer, and whoever does so just behind.
sub answers {
    my ($n, @calls) = @_;
    my $select = IO::Select->new(@calls);
    my $end = time + 20;
    my $late = 0;
    my %answer;

    while (time < $end && ($select->count > @calls - $n || !$late++)) {
        for my $call ($select->can_read(0.3)) {
            next if sysread $call, $answer{$call}, 65536,
                length($answer{$call} // '');
            $select->remove($call);
        }
    }

    return map { $answer{$_} // () } @calls;
}

# The median of calls, each to one of these.
sub in_a_second {
    my ($what, $call, @to) = @_;
    my @took;

    for (@to) {
        my $began = time;

        $call->($_);
        push @took, time - $began;
    }

    cmp_ok((sort { $a <=> $b } @took)[@took / 2], '<', 1, $what);
}

sub may_use_ai { $s->cmd('SISMEMBER', $s->rkey('ai:enabled'), $_[0]) }

there($_) for 'good', 'new', @many;
list('good', @many);
look_again();

my %container = map { ($_ => find($_)->{id}) } 'good', @many;

is(may_use_ai($_), 1, "$_: may use AI") for 'good', @many;
spew($hang, '');

my @calls = $c->begin('POST', "/containers/$container{good}/start");

# so that it is one of the six
ok(wait_for { -e "$hang.1" }, 'the first one has begun');
push @calls, map { $c->begin('POST', "/containers/$container{$_}/start") }
    @many[0 .. 18];

my @busy = answers(14, @calls);

is(scalar @busy, 14, 'of 20 calls 14 are answered at once');
is(scalar(grep { /\AHTTP\S+ 503 / && /^Retry-After: 2\r\n/m
    && /"RUNTIME_BUSY"/ } @busy), 14, 'that it is busy');

in_a_second('a list does not wait', sub {
    is($c->call('GET', '/containers')->{status}, 200, 'a list');
}, 1 .. 3);
in_a_second('nor does AI that is switched off', sub {
    my $answer = $c->call('PATCH', "/containers/$container{$_[0]}",
        json => { ai => JSON::PP::false });

    is($answer->{status}, 200, "$_[0]: AI off");
    is(may_use_ai($_[0]), 0, "$_[0]: so Redis says");
}, 'good', @many[0 .. 9, 19]);
is(wait_for { $s->chat_ask(token => 'good')->{status} == 403 }, 1,
    'so does the gateway');
in_a_second('nor other changes of one that is free', sub {
    is($c->call('PATCH', "/containers/$container{$many[19]}",
        json => { comment => 'x' })->{status}, 200, 'a comment');
}, 1 .. 3);

for my $case (['POST', '/stop'], ['DELETE', ''],
    ['PATCH', '', { name => 'another' }], ['GET', '/snapshots'])
{
    my ($method, $rest, $body) = @$case;
    my $answer = $c->call($method, "/containers/$container{$many[18]}$rest",
        $body ? (json => $body) : ());

    is("$answer->{status} $answer->{json}{error}", '503 RUNTIME_BUSY',
        "$method $rest: busy");
    is($answer->{headers}{'retry-after'}, 2, 'and when it may be better');
}

my $untouched = find($many[18]);

is($untouched && $untouched->{status}, 'running', 'nothing was done');
is(may_use_ai($many[18]), 1, 'nothing at all');

# it goes on
unlink $hang;
kill 'HUP', $c->pid;

my @done = answers(20, @calls);

is(scalar(grep { /^HTTP\S+ 200 / } @done), 6, 'the others are done then');
is(may_use_ai('good'), 0, 'and AI stays off');
is($c->call('POST', "/containers/$container{$many[18]}/start")->{status}, 200,
    'calls of the runtime are taken again');

# one that is being made, whose AI is switched off meanwhile
{
    my $project = 'a' x 24;

    says('/v1.41/containers/create?name=new', '{"Id":"x"}', 201);
    says('/v1.41/images/x/json', '{"Config":{"Labels":null}}');
    spew($hang, '');

    my $create = $c->begin('POST', "/projects/$project/containers",
        { name => 'new', container_image => 'x', ai => JSON::PP::true });

    ok(wait_for { find('new') }, 'it is being made');
    is($c->call('PATCH', '/containers/' . find('new')->{id},
        json => { ai => JSON::PP::false })->{status}, 200, 'AI off meanwhile');
    unlink $hang;
    list('good', 'new', @many);
    kill 'HUP', $c->pid;

    my ($answer) = answers(1, $create);

    like($answer, qr/^HTTP\S+ 201 .*"ai":false/s, 'it is made, without AI');
    is(may_use_ai('new'), 0, 'and stays so');
    is($s->cmd('HGET', $s->rkey('container:new'), 'ai_wanted'), undef,
        'what told that is gone');
}

# the fewest that may wait
$c->stop;
$c->{args} = ['--runtime', "docker=$socket", '--threads', 1];
$c->start;
spew($hang, '');
@calls = map { $c->begin('POST', "/containers/$container{$_}/start") }
    @many[0 .. 3];
@busy = answers(3, @calls);
is(scalar @busy, 3, 'of four one may wait');
is($c->call('PATCH', "/containers/$container{$many[11]}",
    json => { ai => JSON::PP::false })->{status}, 200, 'AI off');
unlink $hang;
kill 'HUP', $c->pid;
@done = answers(4, @calls);
is(scalar @done, 4, 'they all end');
$c->contract_ok;

is($c->stop, 0, 'it ends');
$s->finish;
