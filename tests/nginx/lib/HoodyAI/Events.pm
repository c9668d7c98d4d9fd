package HoodyAI::Events;

# What the tests of hoody-ai-events share: a Redis with the users of
# redis-schema/acl, a receiver of webhooks that fails on purpose, the worker,
# and entries as the module and the engine write them.
#
#     my $s = set_up();
#     write_rules([hook('plain', receiver(), '/plain'), ...]);
#     start();
#     my $id = fire('plain');
#     ok(soon { received($id) });

use strict;
use warnings;

use Exporter qw(import);
use Fcntl qw(:flock);
use JSON::PP;
use Time::HiRes qw(sleep time);

use HoodyAI::Pace;
use HoodyAI::Schema;
use HoodyAI::System qw(wait_for slurp spew);

our @EXPORT = qw(set_up program audit receiver receive hook logged
    write_rules start worker_log sets add fire answer received all_received
    stream fired dead lines line_of pending settled soon);

my $json = JSON::PP->new->utf8->canonical;
my $eids = 0;
my ($s, $rules, $record, $redis);


sub program { $s->program('hoody-ai-events') }

sub audit { "$s->{dir}/audit.jsonl" }


# The system, its Redis with all users and one for the test.  redis => a sub
# starts another one: it gets the system, the text of the ACL file and name and
# password of the test's user, and returns what --redis says.
sub set_up {
    my (%option) = @_;

    $s = HoodyAI::System->new;
    $rules = "$s->{dir}/rules.json";
    $record = "$s->{dir}/received";

    my $password = 'hai-events-'
        . join '', map { sprintf '%x', rand 16 } 1 .. 20;
    my $acl = HoodyAI::Schema::acl($s, $password);

    spew("$s->{dir}/redis.password", "$password\n", 0600);

    if ($option{redis}) {
        $redis = $option{redis}->($s, $acl, ['admin', $password]);
        return $s;
    }

    mkdir "$s->{dir}/redis";
    spew("$s->{dir}/redis.acl", $acl, 0600);
    $s->redis(args => ['--aclfile', "$s->{dir}/redis.acl"],
        user => ['admin', $password]);
    $redis = "unix:$s->{redis_socket}";

    return $s;
}


# The receiver: what a path does depends on how often its id came.  Each
# request becomes a line, before it is answered.

sub note_request {
    my ($request) = @_;
    my ($head, $body) = split /\r\n\r\n/, $request, 2;
    my ($method, $path) = $head =~ m{^(\S+) (\S+)};
    my $id = eval { decode_json($body)->{id} } // '';
    my $n = 0;

    open(my $file, '+>>', $record) or die "$record: $!\n";
    flock $file, LOCK_EX;
    seek $file, 0, 0;
    while (<$file>) {
        next if index($_, $id) < 0;    # decoding all takes seconds

        my $other = decode_json($_);
        $n++ if $other->{id} eq $id && $other->{path} eq $path;
    }
    $file->autoflush(1);
    print $file $json->encode({ path => $path, method => $method, id => $id,
        head => $head, body => $body, time => time }), "\n";
    close $file;

    return ($path, $n + 1);
}

sub status { "HTTP/1.1 $_[0] X\r\nContent-Length: 0\r\n$_[1]\r\n" }

my %answer = (
    fail3 => sub { status($_[0] <= 3 ? 500 : 200, '') },
    down => sub { status(503, '') },
    gone => sub { status(404, '') },
    moved => sub { status(302, "Location: /target\r\n") },
    later => sub { status($_[0] == 1 ? 429 : 200, "Retry-After: 2\r\n") },
    close => sub { '' },
    half => sub { "HTTP/1.1 200 OK\r\nContent-Le" },
    garbage => sub { "SSH-2.0-OpenSSH\r\n" },
);

sub receive {
    my ($socket, $request) = @_;

    return if $request !~ /\r\n\r\n./s;    # its sender was killed

    my ($path, $n) = note_request($request);
    my ($kind) = $path =~ m{^/(\w+)};

    if ($kind eq 'slow' && $n == 1) {
        sleep 60;
    } elsif ($kind eq 'huge') {
        print $socket "HTTP/1.1 200 OK\r\n\r\n";
        1 while print $socket 'x' x 65536;
    } elsif ($kind eq 'headers' && $n == 1) {
        print $socket "HTTP/1.1 200 OK\r\n";
        1 while print $socket 'X-A: ' . 'x' x 4000 . "\r\n";
    } else {
        sleep 0.05 if $kind eq 'hold';
        sleep 3 if $kind eq 'long';
        print $socket ($answer{$kind} // sub { status(200, '') })->($n);
    }
}

# A new one: its address.
sub receiver {
    my ($name) = @_;

    return $s->fake($name // 'receiver', \&receive);
}


# A rule that sends a webhook: to host:port or a URL, and a path.
sub hook {
    my ($id, $to, $path, %action) = @_;
    my $event = delete $action{event} // 'tool.execute.after';
    my $trigger = delete $action{trigger} // {};

    return { id => $id, name => $id, trigger => { event => $event, %$trigger },
        action => { type => 'webhook',
            url => ($to =~ m{://} ? '' : 'http://') . "$to$path", %action } };
}

# A rule that logs.
sub logged {
    my ($id, $event, %trigger) = @_;

    return { id => $id, name => $id, trigger => { event => $event, %trigger },
        action => { type => 'log', content => "$id {{container.name}} {{model}}"
            . ($event =~ /^tool/ ? ' {{tool.name}}' : '') } };
}

sub write_rules {
    spew("$rules.new", ref $_[0] ? $json->encode({ rules => $_[0] }) : $_[0]);
    rename "$rules.new", $rules or die "$rules: $!\n";
}


# Starts a worker, with more options; a name that is no option comes first.
sub start {
    my (@more) = @_;
    my $name = @more && $more[0] !~ /^-/ ? shift @more : 'events';

    $s->spawn($name, [program(),
        '--redis', "$redis user=events"
            . " password_file=$s->{dir}/redis.password",
        '--server', 'sys', '--rules', $rules, '--audit-log', audit(),
        '--webhook-allow', '127.0.0.0/8', '--webhook-attempts', 4,
        '--webhook-backoff', 100, @more]);
}

sub worker_log { slurp("$s->{dir}/events.out.log") }

# Appends an entry with these fields: its id.
sub add {
    my (%field) = @_;
    my $eid = delete $field{eid} // 'test-' . ++$eids;

    return $s->cmd('XADD', $s->rkey('events'), '*', eid => $eid,
        ts => int(time * 1000), %field);
}

# An entry as the engine writes it.
sub fire {
    my ($rule, %field) = @_;

    return add(type => 'rule', rule => $rule, action => 'webhook',
        event => 'tool.execute.after', container => 'dev-env',
        container_id => 'a' x 24, request_id => 'r-1', api => 'openai.chat',
        model => 'gpt-4o', tool => 'read', depth => 1, %field);
}

# What came of a delivery, and all that came.
sub received {
    my ($id) = @_;

    return grep { $_->{id} eq $id } map { $json->decode($_) }
        grep { index($_, $id) >= 0 } split /\n/, slurp($record);
}

sub all_received { map { $json->decode($_) } split /\n/, slurp($record) }

# Field => value of each entry of a stream.
sub stream {
    my ($key) = @_;

    return map { my %field = @{ $_->[1] }; { entry => $_->[0], %field } }
        @{ $s->cmd('XRANGE', $key, '-', '+') };
}

sub dead {
    my ($id) = @_;

    return (grep { $_->{id} eq $id } stream($s->rkey('events:dead')))[0];
}

sub lines { map { $json->decode($_) } split /\n/, slurp(audit()) }

sub line_of {
    my ($id) = @_;

    return (grep { $_->{id} eq $id } map { $json->decode($_) }
        grep { index($_, $id) >= 0 } split /\n/, slurp(audit()))[0];
}

# Entries that were read and not acknowledged.
sub pending {
    return $s->cmd('XPENDING', $s->rkey('events'), 'hoody-ai-events')->[0];
}

# Nothing is under way any more.
sub settled {
    my ($timeout) = @_;

    return wait_for(sub {
        my $groups = $s->cmd('XINFO', 'GROUPS', $s->rkey('events'));
        my %group = @{ $groups->[0] // [] };

        return %group && $group{pending} == 0 && !$group{lag}
            && !$s->cmd('ZCARD', $s->rkey('events:retry'))
            && !$s->cmd('HLEN', $s->rkey('events:retry:data'));
    }, ($timeout // 20) * slow);
}

# Until it is so.
sub soon(&;$) {
    my ($condition, $timeout) = @_;

    return wait_for(\&$condition, ($timeout // 10) * slow);
}

# How often a set was taken.
sub sets { return scalar(() = worker_log() =~ /rules, digest/g) }

# A request as the module writes it.
sub answer {
    my ($container, %field) = @_;

    return add(type => 'request', container => $container, api => 'openai.chat',
        container_id => 'b' x 24, provider => 'openai', model => 'gpt-4o',
        request_id => "r-$container", status => 200, reason => 'ok', %field);
}

# The entries `rule` that came of a request.
sub fired {
    my ($request) = @_;

    return grep { $_->{type} eq 'rule' && ($_->{request_id} // '') eq $request }
        stream($s->rkey('events'));
}


1;
