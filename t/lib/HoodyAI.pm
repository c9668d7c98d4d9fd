package HoodyAI;

# What the files of t/ share, on top of Test::Nginx::Socket: a registry, a
# provider and a configuration for each block, a compact way to write many
# requests, and checks that hold for every block whatever it is about.
#
# util/test-file starts the servers and sets the environment.
#
# Sections of a block, besides those of Test::Nginx:
#
#   --- redis           commands, one a line, that make the registry before
#                       nginx starts and again before each repetition; "{t}"
#                       stands for the block's own server name.  Without the
#                       section there is one container, dev-env, number 7, at
#                       127.0.0.1, AI enabled.  May be empty.
#   --- redis_conf      parameters of hoody_ai_redis; default: the socket
#   --- hoody_http      instead of the shared part of http_config
#   --- config          default: two locations, see config() below
#   --- cases           requests in one line each, see below
#   --- provider        what the provider got from the block's requests (not
#                       from its cases): for each a line "METHOD URI", then
#                       lines "name: value", "name ~ regex", "!name" (absent)
#                       and "body TEXT"; empty: nothing arrived at all
#   --- check           Perl: code that gets the block after each repetition
#
# A line of --- cases is an expected status (a regex) and, separated by " | ",
# any of
#
#   METHOD URI [VERSION]   default: POST /v1/chat/completions HTTP/1.1
#   Name: value            a request header; without a credential among them
#                          "Authorization: Bearer container-dev-env" is added,
#                          unless the case says "anonymous"
#   host=NAME              Host header; empty: none
#   body=TEXT              default of a POST: a chat request.  "json:N" makes
#                          one of N bytes, "bytes:N" is N bytes of anything
#   chunked=N              chunked, N bytes a chunk
#   from=ADDRESS           the client's address
#   to=ADDRESS:PORT        where to connect; or to=unix:PATH
#   proxy=TEXT             sent before the request
#   raw=TEXT               the whole request; nothing else is added
#   code=CODE              the error's code (OpenAI) or type (Anthropic)
#   answer~REGEX           matches status line, headers and body
#   got=METHOD URI         what the provider received; default: with a status
#                          below 400 just what was sent, else nothing.
#                          "got=nothing" says so
#   sent=TEXT              the body that the provider received; as body=
#   soon                   asked again for ten seconds until it is as expected:
#                          for what follows from another container's change
#   id=none, id=any        nginx answers, or may answer, before the module
#                          sees the request
#
# with \t, \r, \n, \\ and \xHH for what cannot be written.  "> COMMAND" is a
# command for Redis, "#" begins a comment.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Find ();
use File::Path ();
use IO::Select;
use IO::Socket::IP;
use IO::Socket::UNIX;
use JSON::PP ();
use List::Util ();
use POSIX ();
use Test::More ();
use Time::HiRes ();

use Test::Nginx::Util ();
use Test::Nginx::Socket ();

use base 'Exporter';

our @EXPORT = qw(at_provider body_of config exchange fixture_key fixture_keys
    later provider_requests redis secret_folder start_provider start_server
    wait_until);

my $CHAT = '{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}';

my @REGISTRY = (
    'HSET hoody:{t}:container:dev-env id 0123456789abcdef01234567 number 7'
        . ' addresses 127.0.0.1',
    'SADD hoody:{t}:containers dev-env',
    'SADD hoody:{t}:ai:enabled dev-env',
);

my %keys;
my %servers;
my $serial = 0;
my $redis;
my @children;

for (qw(TEST_NGINX_REDIS_SOCKET TEST_NGINX_REDIS_PORT TEST_NGINX_SECRETS
        TEST_NGINX_PROVIDER_PORT TEST_NGINX_OPENAI_KEY
        TEST_NGINX_ANTHROPIC_KEY))
{
    Test::More::BAIL_OUT("$_ is not set: start the tests with util/test")
        if !defined $ENV{$_};
}

$keys{openai} = $ENV{TEST_NGINX_OPENAI_KEY};
$keys{anthropic} = $ENV{TEST_NGINX_ANTHROPIC_KEY};

Test::Nginx::Socket::no_root_location();
Test::Nginx::Socket::no_long_string();


# Keys and their files

sub secret_folder {
    my $folder = "$ENV{TEST_NGINX_SECRETS}/t-$$";

    if (!-d $folder) {
        mkdir($folder, 0700) or die "$folder: $!\n";
    }

    return $folder;
}

# Makes a key that exists nowhere else and is looked for after every block;
# the file is <folder>/<name>.key.
sub fixture_key {
    my ($name, $key) = @_;
    my $file = secret_folder() . "/$name.key";

    return $file if defined $keys{$name};

    $keys{$name} = $key // sprintf('sk-hai-fixture-%s-%08x%08x', $name,
        rand(2 ** 32), rand(2 ** 32));

    open(my $out, '>', $file) or die "$file: $!\n";
    chmod(0600, $file) or die "$file: $!\n";
    print $out "$keys{$name}\n";
    close($out) or die "$file: $!\n";

    return $file;
}

sub fixture_keys {
    return %keys;
}

sub server_root {
    return Test::Nginx::Util::server_root();
}


# Redis, as much of the protocol as commands in a test need

sub redis_reply {
    my ($s) = @_;
    my $line = <$s>;

    die "no answer from Redis\n" if !defined $line;
    $line =~ s/\r\n\z//;

    my $type = substr($line, 0, 1, '');

    return $line if $type eq '+' || $type eq ':';
    die "Redis: $line\n" if $type eq '-';
    return undef if $line < 0;

    if ($type eq '$') {
        read($s, my $text, $line + 2) == $line + 2
            or die "Redis closed the connection\n";
        return substr($text, 0, $line);
    }

    return [ map { redis_reply($s) } 1 .. $line ];
}

# One command.  A word may be quoted to hold spaces.
sub redis {
    my ($command) = @_;
    my @words;

    while ($command =~ /\G\s*(?:"([^"]*)"|(\S+))/gc) {
        push @words, $1 // $2;
    }

    $redis //= IO::Socket::UNIX->new(Peer => $ENV{TEST_NGINX_REDIS_SOCKET})
        // die "Redis: $!\n";

    print $redis join('', '*', scalar(@words), "\r\n",
        map { '$' . length($_) . "\r\n$_\r\n" } @words);
    $redis->flush;

    return redis_reply($redis);
}

# The PING makes a request that follows meet the change of its own container:
# Redis writes what it owes its subscribers before it reads another command, so
# the invalidation lies in the worker's socket when the request comes.
sub commands {
    my ($text, $server) = @_;

    $text =~ s/\{t\}/{$server}/g;
    redis($_) for grep { /\S/ && !/^\s*#/ } split /\n/, $text;
    redis('PING');
}

# A command that is given later, while the test waits for an answer: so many
# seconds later, or once CODE is true, which a slow machine needs as well.
sub later {
    my ($when, $command) = @_;
    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        # a connection of its own; the other one is the parent's
        undef $redis;
        eval {
            ref $when ? wait_until($when) : Time::HiRes::sleep($when);
            redis($command);
        };
        POSIX::_exit(0);
    }

    return $pid;
}

# Returns when CODE is true, or after 10 s, false then.
sub wait_until {
    my ($condition) = @_;
    my $end = Time::HiRes::time() + 10;

    while (!$condition->()) {
        return 0 if Time::HiRes::time() > $end;
        Time::HiRes::sleep(0.02);
    }

    return 1;
}

sub forget {
    my ($server) = @_;
    my $cursor = 0;

    do {
        my $reply = redis("SCAN $cursor MATCH hoody:{$server}:* COUNT 1000");

        $cursor = $reply->[0];
        redis("DEL $_") for @{ $reply->[1] };
    } while ($cursor);
}


# The provider

sub start_provider {
    my (@options) = @_;

    pipe(my $out, my $in) or die "pipe: $!\n";

    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        open(STDOUT, '>&', $in) or die "dup: $!\n";
        open(STDERR, '>', '/dev/null') or die "dup: $!\n";
        $Test::Nginx::Util::InSubprocess = 1;
        exec($ENV{HAI_PROVIDER}, '--listen', '127.0.0.1:0', @options)
            or die "$ENV{HAI_PROVIDER}: $!\n";
    }

    push @children, $pid;
    close $in;

    my ($port) = (<$out> // '') =~ /:(\d+)$/
        or die "the provider did not start\n";

    return $port;
}

# A server that calls a sub with each connection, one after the other.
sub start_server {
    my ($serve) = @_;
    my $listen = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0,
        Listen => 16) or die "listen: $!\n";
    my $pid = fork() // die "fork: $!\n";

    if ($pid == 0) {
        $Test::Nginx::Util::InSubprocess = 1;
        Test::More->builder->no_ending(1);
        $SIG{PIPE} = 'IGNORE';
        $SIG{TERM} = 'DEFAULT';

        while (my $s = $listen->accept) {
            $serve->($s);
            close $s;
        }

        exit 0;
    }

    push @children, $pid;
    return $listen->sockport;
}

sub provider_call {
    my ($method, $port) = @_;
    my $answer = exchange(to => '127.0.0.1:'
            . ($port // $ENV{TEST_NGINX_PROVIDER_PORT}),
        raw => "$method /_sample/requests HTTP/1.1\r\nHost: p\r\n"
            . "Connection: close\r\n\r\n");

    die "the provider does not answer\n" if ($answer->{status} // 0) >= 300;
    return $answer->{body};
}

# For later(): a request has come to the provider since this was called.
sub at_provider {
    my $total = sub { JSON::PP::decode_json(provider_call('GET'))->{total} };
    my $before = $total->();

    return sub { $total->() > $before };
}

# What arrived since it was asked last, the oldest first.
sub provider_requests {
    my ($port) = @_;
    my $list = JSON::PP::decode_json(provider_call('GET', $port));

    provider_call('DELETE', $port) if $list->{total};

    return @{ $list->{requests} };
}

sub body_of {
    my ($spec) = @_;

    if ($spec =~ /^json:(\d+)\z/) {
        my $before = '{"model":"gpt-4o","messages":[{"role":"user","content":"';
        my $after = '"}]}';

        return $before . 'x' x ($1 - length($before . $after)) . $after;
    }

    return join('', map { chr } 0 .. 255) x ($1 / 256 + 1)
        if $spec =~ /^bytes:(\d+)\z/;

    return $spec;
}


# A client: sends and reads at the same time, since an answer may come before
# the request's end.
#
#   exchange(raw => TEXT or [TEXT, ...], to =>, from =>, delay =>, timeout =>,
#            until => REGEX or CODE, at => REGEX, then => CODE)
#
# It leaves when what came so far matches until, or when that is true.  then is
# called once, when what came so far matches at.
#
# Returns status, reason, headers (list of pairs), body, raw, complete, and
# pieces: [seconds since the beginning, bytes] for each read.
sub exchange {
    my (%o) = @_;
    my @parts = ref $o{raw} ? @{ $o{raw} } : ($o{raw});
    my $port = $Test::Nginx::Util::ServerPortForClient;
    my $to = $o{to} // "127.0.0.1:$port";
    my %got = (raw => '', headers => [], body => '', pieces => []);
    my $s;

    if ($to =~ /^unix:(.*)/) {
        $s = IO::Socket::UNIX->new(Peer => $1);
    } else {
        my ($host, $service) = $to =~ /^\[?(.*?)\]?:(\d+)\z/;

        $s = IO::Socket::IP->new(PeerHost => $host, PeerPort => $service,
            Timeout => 5, ($o{from} ? (LocalHost => $o{from}) : ()));
    }

    if (!$s) {
        $got{error} = "connect: $!";
        return \%got;
    }

    $s->blocking(0);

    my $begin = Time::HiRes::time();
    my $end = $begin + ($o{timeout} // Test::Nginx::Util::timeout());
    my $next = $begin;
    my $read = IO::Select->new($s);
    my $write = IO::Select->new($s);
    my $leave = ref $o{until} eq 'CODE' ? delete $o{until} : undef;
    local $SIG{PIPE} = 'IGNORE';

    while ((my $left = $end - Time::HiRes::time()) > 0) {
        my $pause = @parts ? $next - Time::HiRes::time() : -1;

        last if $leave && $leave->();
        $left = 0.02 if $leave && $left > 0.02;

        my ($r, $w) = IO::Select->select($read,
            @parts && $pause <= 0 ? $write : undef, undef,
            $pause > 0 && $pause < $left ? $pause : $left);

        if ($w && @$w) {
            my $n = syswrite($s, $parts[0]);

            if (!defined $n) {
                @parts = () if !$!{EAGAIN};
            } elsif ($n == length $parts[0]) {
                shift @parts;
                $next = Time::HiRes::time() + ($o{delay} // 0);
            } else {
                substr($parts[0], 0, $n, '');
            }
        }

        if ($r && @$r) {
            my $n = sysread($s, my $buf, 65536);

            next if !defined $n && $!{EAGAIN};

            if (!$n) {
                $got{closed} = 1;
                last;
            }

            push @{ $got{pieces} }, [ Time::HiRes::time() - $begin, $buf ];
            $got{raw} .= $buf;
            (delete $o{then})->() if $o{then} && $got{raw} =~ $o{at};
            last if $o{until} && $got{raw} =~ $o{until};
        }
    }

    parse_answer(\%got);
    return \%got;
}

sub parse_answer {
    my ($got) = @_;
    my ($head, $body) = $got->{raw} =~ /\A(.*?\r\n)\r\n(.*)\z/s or return;

    my @lines = split /\r\n/, $head;

    shift(@lines) =~ m{^HTTP/\d\.\d (\d\d\d) ?(.*)} or return;
    @$got{qw(status reason)} = ($1, $2);
    $got->{headers} = [ map { [ /^([^:]*): ?(.*)/ ] } @lines ];

    my %h = map { lc $_->[0] => $_->[1] } @{ $got->{headers} };

    if (lc($h{'transfer-encoding'} // '') eq 'chunked') {
        my $out = '';

        while ($body =~ /\G([0-9a-fA-F]+)[^\r\n]*\r\n/gc) {
            my $n = hex($1);

            if ($n == 0) {
                ($got->{trailer}) = $body =~ /\G((?:[^\r\n]+\r\n)*)\r\n/gc;
                $got->{complete} = defined $got->{trailer};
                last;
            }

            $out .= substr($body, pos($body), $n);
            last if length($body) < pos($body) + $n + 2;
            pos($body) += $n + 2;
        }

        $body = $out;

    } elsif (defined $h{'content-length'}) {
        $got->{complete} = length($body) == $h{'content-length'};

    } else {
        $got->{complete} = $got->{closed};
    }

    $got->{body} = $body;
}


# Cases

sub unescape {
    my ($text) = @_;
    my %short = (t => "\t", r => "\r", n => "\n", '\\' => '\\');

    $text =~ s/\\(?:x([0-9a-fA-F]{2})|([trn\\]))/
        defined $1 ? chr(hex($1)) : $short{$2}/gex;

    return $text;
}

sub parse_case {
    my ($line, $ports) = @_;
    my %case = (headers => [], host => 'localhost', port => undef);
    my ($status, @fields) = split /\s+\|\s+/, $line;

    $case{status} = $status;

    for my $field (@fields) {
        $field =~ s/\$(TEST_NGINX_[A-Z0-9_]+)/
            $ports->{$1} \/\/ $ENV{$1} \/\/ die "$1 is not set\n"/gex;

        if ($field =~ /^(host|body|chunked|from|to|proxy|raw|code|got|sent|id)=(.*)/)
        {
            $case{$1} = unescape($2);

        } elsif ($field =~ /^answer~(.*)/) {
            push @{ $case{answer} }, $1;

        } elsif ($field =~ /^(?:anonymous|soon)\z/) {
            $case{$field} = 1;

        } elsif ($field =~ /^([A-Z]+ \S+)( \S+)?\z/) {
            $case{line} = unescape($1);
            $case{version} = $2;

        } elsif ($field =~ /^[^\s:]+:/) {
            push @{ $case{headers} }, unescape($field);

        } else {
            die "not a field of a case: $field\n";
        }
    }

    $case{line} //= 'POST /v1/chat/completions';
    $case{version} //= ' HTTP/1.1';

    return \%case;
}

sub request_of {
    my ($case) = @_;

    if (defined $case->{raw}) {
        $case->{got} //= 'nothing';
        return ($case->{proxy} // '') . $case->{raw};
    }

    my @headers = @{ $case->{headers} };

    if (!$case->{anonymous}
        && !grep { /^(?:authorization|x-api-key):/i } @headers)
    {
        unshift @headers, 'Authorization: Bearer container-dev-env';
    }

    unshift @headers, "Host: $case->{host}" if length $case->{host};

    if (!grep { /^connection:/i } @headers) {
        push @headers, 'Connection: close';
    }

    $case->{body} //= $CHAT if $case->{line} =~ /^POST/;

    my $sent = '';

    if (defined $case->{body}) {
        $case->{body} = body_of($case->{body});

        if (!grep { /^content-type:/i } @headers) {
            push @headers, 'Content-Type: application/json';
        }

        if ($case->{chunked}) {
            push @headers, 'Transfer-Encoding: chunked';
            $sent .= sprintf("%x\r\n%s\r\n", length($_), $_)
                for unpack("(a$case->{chunked})*", $case->{body});
            $sent .= "0\r\n\r\n";

        } else {
            push @headers, 'Content-Length: ' . length($case->{body})
                if !grep { /^content-length:/i } @headers;
            $sent = $case->{body};
        }
    }

    return ($case->{proxy} // '') . join("\r\n",
        $case->{line} . $case->{version}, @headers, '', $sent);
}

# What is wrong with an answer of the gateway, whatever the test is about.
sub faults {
    my ($got, $id) = @_;
    my @faults;

    return $got->{error} // 'no answer' if !defined $got->{status};

    push @faults, 'the answer is not complete'
        if defined $got->{complete} && !$got->{complete} && !$got->{head};

    my @ids = map { $_->[1] } grep { lc $_->[0] eq 'x-request-id' }
        @{ $got->{headers} };

    push @faults, @ids . ' x-request-id headers'
        if $id ne 'any' && @ids != ($id eq 'none' ? 0 : 1);
    push @faults, "x-request-id is \"$ids[0]\""
        if $id eq 'one' && @ids == 1 && $ids[0] !~ /^[0-9a-f]{32}\z/;

    push @faults, "the key $_ is in the answer"
        for grep { index($got->{raw}, $keys{$_}) >= 0 } sort keys %keys;

    return @faults;
}

sub error_code {
    my ($got) = @_;
    my $error = eval { JSON::PP::decode_json($got->{body})->{error} } // {};

    return $error->{code} // $error->{type} // 'no code';
}

sub run_case {
    my ($case) = @_;
    my $request = request_of($case);
    my $got = exchange(raw => $request, from => $case->{from},
        to => $case->{to});
    my @faults;

    $got->{head} = $case->{line} =~ /^HEAD/;
    @faults = faults($got, $case->{id} // 'one');

    push @faults, "status $got->{status}, not $case->{status}"
        if defined $got->{status} && $got->{status} !~ /^(?:$case->{status})\z/;

    push @faults, 'code ' . error_code($got) . ", not $case->{code}"
        if defined $case->{code} && error_code($got) ne $case->{code};

    push @faults, "the answer does not match $_"
        for grep { $got->{raw} !~ /$_/s } @{ $case->{answer} // [] };

    my @requests = provider_requests();
    my $seen = join(', ', map { "$_->{method} $_->{uri}" } @requests)
        || 'nothing';
    my $want = $case->{got}
        // ($case->{status} =~ /^[23]/ ? $case->{line} : 'nothing');

    push @faults, "the provider got $seen, not $want" if $seen ne $want;

    my $sent = defined $case->{sent} ? body_of($case->{sent}) : $case->{body};

    if (@requests && !defined $case->{got} && length($sent // '')) {
        push @faults, 'the provider got another body: '
            . substr($requests[0]{body} // 'binary', 0, 300)
            if $requests[0]{body_sha256} ne sha256_hex($sent);
    }

    push @faults, 'answer: ' . substr($got->{raw}, 0, 600) if @faults;

    return @faults;
}

sub run_cases {
    my ($block) = @_;
    my $server = $block->hoody_server;
    my $text = $block->cases;

    provider_requests();

    for my $line (split /\n/, $text) {
        next if $line =~ /^\s*(?:#|$)/;

        if ($line =~ /^>\s*(.*)/) {
            commands($1, $server);
            next;
        }

        my $end = Time::HiRes::time() + 10;
        my ($case, @faults);

        do {
            Time::HiRes::sleep(0.02) if @faults;
            $case = eval {
                parse_case($line, $Test::Nginx::Util::RandPorts);
            };
            @faults = $case ? run_case($case) : $@;
        } while (@faults && $case && $case->{soon}
            && Time::HiRes::time() < $end);

        Test::More::ok(!@faults, $block->name . ' - ' . substr($line, 0, 100))
            or Test::More::diag(join("\n", @faults));
    }
}


# What the provider got

sub check_provider {
    my ($block) = @_;
    my @expected;

    for (split /\n/, $block->provider) {
        next if !/\S/;
        s/\{key:(\w+)\}/$keys{$1}/g;

        if (/^[A-Z]+ \S+\z/) {
            push @expected, { line => $_, checks => [] };
        } else {
            push @{ $expected[-1]{checks} }, $_;
        }
    }

    my @requests = provider_requests();
    my @faults;

    push @faults, 'got: ' . join(', ', map { "$_->{method} $_->{uri}" }
        @requests)
        if join("\n", map { "$_->{method} $_->{uri}" } @requests)
            ne join("\n", map { $_->{line} } @expected);

    for my $i (0 .. $#expected) {
        my $request = $requests[$i] or last;

        for my $check (@{ $expected[$i]{checks} }) {
            my $headers = $request->{headers};

            if ($check =~ /^!(\S+)\z/) {
                push @faults, "$1: $headers->{lc $1}"
                    if exists $headers->{lc $1};

            } elsif ($check =~ /^(\S+) ~ (.*)/) {
                push @faults, "$1: " . ($headers->{lc $1} // 'none')
                    if ($headers->{lc $1} // '') !~ /$2/;

            } elsif ($check =~ /^body (.*)/) {
                push @faults, 'body: ' . ($request->{body} // 'binary')
                    if ($request->{body} // '') ne $1;

            } elsif ($check =~ /^(\S+): (.*)/) {
                push @faults, "$1: " . ($headers->{lc $1} // 'none')
                    if ($headers->{lc $1} // '') ne $2;

            } else {
                push @faults, "not a check: $check";
            }
        }
    }

    Test::More::ok(!@faults, $block->name . ' - what the provider got')
        or Test::More::diag(join("\n", @faults));
}


# What holds for every block: no key in any file below the server root, no
# body in a file, no alert.

sub find_in_files {
    my ($pattern, $chosen) = @_;
    my @found;

    # what of a key may lie before the border of two pieces
    my $keep = List::Util::max(300, map { length } values %keys);

    return if !-d server_root();

    File::Find::find({ no_chdir => 1, wanted => sub {
        my $file = $_;

        return if !-f $file || $file !~ $chosen;

        open(my $in, '<:raw', $file) or return;

        my $tail = '';

        while (read($in, my $piece, 1 << 20)) {
            my $text = $tail . $piece;

            if ($text =~ $pattern) {
                my $hit = substr($text, $-[0] > 60 ? $-[0] - 60 : 0, 200);

                push @found, "$file: $hit";
                last;
            }

            $tail = length($text) > $keep ? substr($text, -$keep) : $text;
        }
    } }, server_root());

    return @found;
}

sub key_pattern {
    my $any = join('|', map { quotemeta } sort values %keys);

    return qr/$any/;
}

sub spooled_files {
    my @found;

    for my $folder (map { server_root() . "/$_" }
        qw(client_body_temp proxy_temp fastcgi_temp))
    {
        next if !-d $folder;
        File::Find::find(sub { push @found, $File::Find::name if -f $_ },
            $folder);
    }

    return @found;
}

sub check_always {
    my ($block) = @_;
    my @found = find_in_files(key_pattern(), qr/./);

    Test::More::ok(!@found, $block->name . ' - no key in any file')
        or Test::More::diag(join("\n", @found));

    @found = (spooled_files(), find_in_files(
        qr/buffered to a temporary file|temp fd:\d/, qr/\.log\z/));

    Test::More::ok(!@found, $block->name . ' - no body in a file')
        or Test::More::diag(join("\n", @found));

    my $bad = defined $block->must_die ? qr/\[alert\]/
                                       : qr/\[(?:alert|emerg)\]/;

    @found = find_in_files($bad, qr/\.log\z/);

    Test::More::ok(!@found, $block->name . ' - no alert')
        or Test::More::diag(join("\n", @found));
}


# The configuration

sub config {
    my ($more) = @_;

    $more //= '';

    return <<"EOC";
        location /v1/ {
            hoody_ai on;
            hoody_ai_credential openai;
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            $more
        }

        location /anthropic/v1/ {
            hoody_ai on;
            hoody_ai_credential anthropic;
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            $more
        }
EOC
}

sub shared_http {
    my ($server, $redis_conf) = @_;

    # a worker that has just begun needs long for its first request
    my $wait = ($ENV{HAI_MODE} // '') eq 'valgrind' ? 'hoody_ai_wait 20s;' : '';

    return <<"EOC";
    hoody_ai_server $server;
    hoody_ai_redis $redis_conf; $wait
    hoody_ai_secret openai $ENV{TEST_NGINX_SECRETS}/openai.key;
    hoody_ai_secret anthropic $ENV{TEST_NGINX_SECRETS}/anthropic.key
                    header=x-api-key;

    upstream provider {
        server 127.0.0.1:$ENV{TEST_NGINX_PROVIDER_PORT};
        keepalive 4;
    }
EOC
}

Test::Nginx::Socket::add_block_preprocessor(sub {
    my ($block) = @_;
    my $server = sprintf('t-%d-%d', $$, ++$serial);
    my $redis_conf = $block->redis_conf
        // "unix:$ENV{TEST_NGINX_REDIS_SOCKET}";

    chomp $redis_conf;

    $servers{$server} = 1;
    $block->set_value('hoody_server', $server);
    $block->set_value('redis', join("\n", @REGISTRY))
        if !defined $block->redis;

    my $more = $block->http_config // '';

    if (ref $block->cases) {
        $block->set_value('cases', $block->cases->());
    }

    $more =~ s/\{t\}/$server/g;

    $block->set_value('http_config',
        ($block->hoody_http // shared_http($server, $redis_conf)) . $more);
    $block->set_value('config', config()) if !defined $block->config;

    # what nginx says when it must die is expected, so it is not for the screen
    if (defined $block->must_die) {
        $block->set_value('suppress_stderr', 1);
        $block->set_value('error_log', [ '[emerg]',
            split /\n/, $block->error_log ]);
    }

    commands($block->redis, $server);
    provider_requests();
});

my $run_requests = $Test::Nginx::Util::RunTestHelper;

$Test::Nginx::Util::RunTestHelper = sub {
    my ($block, $dry_run, $repetition) = @_;
    my $server = $block->hoody_server;

    return $run_requests->(@_) if $dry_run;

    if ($repetition) {
        forget($server);
        commands($block->redis, $server);
    }

    if (defined $block->request || defined $block->raw_request
        || defined $block->pipelined_requests)
    {
        $run_requests->(@_);
    }

    check_provider($block) if defined $block->provider;
    run_cases($block) if defined $block->cases;

    if (defined $block->check) {
        my $check = $block->check;

        ref $check or $check = eval "package main; sub { $check }"
            or die "--- check of " . $block->name . ": $@";
        eval { $check->($block, $repetition); 1 }
            or Test::More::fail($block->name . " - the check died: $@");
    }
};

Test::Nginx::Util::add_test_cleanup_handler(\&check_always);

END {
    local $?;

    if (!$Test::Nginx::Util::InSubprocess) {
        my @found = find_in_files(key_pattern(), qr/./);

        Test::More::ok(!@found, 'no key in what the last block left')
            or Test::More::diag(join("\n", @found));

        if ($redis) {
            forget($_) for keys %servers;
        }

        for my $pid (@children) {
            kill('TERM', $pid);
            waitpid($pid, 0);
        }

        File::Path::remove_tree("$ENV{TEST_NGINX_SECRETS}/t-$$");
    }
}

1;
