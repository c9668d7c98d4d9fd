#!/usr/bin/perl

# A container runtime that answers nonsense, or of which one container cannot
# be described: what the registry says of all the others stays, and nobody has
# what is not theirs.  The runtime is a program of this test, because no real
# one can be made to do this.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(_exit);
use Test::More;
use Time::HiRes qw(sleep);

use HoodyAI::Control;
use HoodyAI::System qw(slurp spew wait_for free_port);

my $s = HoodyAI::System->new;
my $socket = "$s->{dir}/runtime.sock";
my $lists = "$s->{dir}/lists";
my %id = (good => 'a' x 64, evil => 'b' x 64);

sub inspected {
    my ($name, %label) = @_;

    return encode_json({ Id => $id{$name}, Name => "/$name",
        Image => 'sha256:1',
        Config => { Image => 'x', Labels => \%label },
        State => { Status => 'running', Pid => 0 },
        HostConfig => { NetworkMode => 'bridge' },
        NetworkSettings => { Networks => { bridge => {
            IPAddress => $name eq 'good' ? '127.0.0.1' : '127.0.0.9',
            MacAddress => '' } } } });
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

my $listen = IO::Socket::UNIX->new(Local => $socket, Listen => 16)
    or die "$socket: $!\n";
my $pid = fork // die "fork: $!\n";

if ($pid == 0) {
    my ($n, @events) = (0);

    $SIG{PIPE} = 'IGNORE';
    while (my $c = $listen->accept) {
        my $head = '';

        while (defined(my $line = <$c>)) {
            $head .= $line;
            last if $line eq "\r\n";
        }

        my ($path) = $head =~ m{^\w+ (\S+) };

        if (!defined $path) {
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

my $c = HoodyAI::Control->new($s, args => ['--runtime', "docker=$socket"]);

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

is($c->stop, 0, 'it ends');
$s->finish;
