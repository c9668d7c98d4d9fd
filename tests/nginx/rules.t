#!/usr/bin/perl

# Rules on their whole way: file, engine, module, provider.  Every case goes
# through kept plans and through an engine that wants to see each body; both
# must send the same bytes.  Then every route, method and shape of a body with
# a rule that must not be got around.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::SHA qw(sha256_hex);
use Encode qw(encode_utf8);
use JSON::PP;
use Test::More;

use HoodyAI::Client;
use HoodyAI::Engine;
use HoodyAI::System qw(wait_for slurp spew);

binmode Test::More->builder->$_, ':utf8'
    for qw(output failure_output todo_output);

my $s = HoodyAI::System->new;
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my $guard = "Never \"delete\" a file\\folder.\n\tÄsk first \x{1F512}.";
my $head = 'You serve {{container.name}} ({{container.id}}) with {{model}}.';
my $ps = 'Think twice.';

sub rule {
    my ($id, $event, $action, %more) = @_;

    return { id => $id, trigger => { event => $event, tags => [$id] },
             action => $action, %more };
}

my @rules = (
    rule('head', 'chat.system.transform',
        { type => 'prepend', content => $head }),
    rule('guard', 'chat.system.transform',
        { type => 'append', content => $guard }),
    rule('two', 'chat.system.transform',
        { type => 'append', content => 'And a second one.' }),
    rule('cap', 'chat.params',
        { type => 'set', field => 'max_tokens', max => 100 }),
    rule('floor', 'chat.params',
        { type => 'set', field => 'max_tokens', min => 10, fallback => 20 }),
    rule('cold', 'chat.params',
        { type => 'set', field => 'temperature', value => 0 }),
    rule('bare', 'chat.params',
        { type => 'set', field => 'tools', remove => JSON::PP::true }),
    rule('small', 'chat.params',
        { type => 'set', field => 'model', value => 'openai/gpt-4o-mini' }),
    rule('ps', 'chat.message', { type => 'message', content => $ps }),
    rule('stop', 'chat.message',
        { type => 'message', content => 'Not today: {{model}}.' },
        blocking => JSON::PP::true),
);

my %tags = (
    free => '',
    guarded => 'guard',
    both => 'head two guard',
    params => 'cap floor cold bare',
    smaller => 'small guard',
    postscript => 'ps guard',
    stopped => 'stop guard',
);

my %address;

$s->redis;

{
    my $i = 10;

    for my $name (sort keys %tags) {
        $address{$name} = '127.0.0.' . $i++;
        $s->container($name, addresses => $address{$name},
            id => sprintf('%024x', $i), tags => $tags{$name});
    }
}

my $provider = $s->provider;
my $planning = HoodyAI::Engine->new($s, rules => \@rules);
my $asking = HoodyAI::Engine->new($s, name => 'asking', rules => \@rules,
    args => ['--no-plan']);

# nginx's workers are not root
chmod 0777, map { $_->{socket} } $planning, $asking;

# the files as they are shipped, with the sockets of this test
mkdir "$s->{dir}/hoody-ai";

for my $file (qw(hoody_ai_rules.conf hoody_ai_rules_params
                 hoody_ai_rules_upstream.conf))
{
    my $text = slurp($s->root . "/conf/$file");

    spew("$s->{dir}/hoody-ai/$file",
        $text =~ s{/run/hoody-ai/rules\.sock}{$planning->{socket}}r);
    spew("$s->{dir}/hoody-ai/asking_$file",
        $text =~ s{/run/hoody-ai/rules\.sock}{$asking->{socket}}r
            =~ s{/hoody-ai-rules\b}{/asking}gr
            =~ s{(upstream|pass)( +)hoody_ai_rules\b}{$1$2asking}gr);
}

sub locations {
    my ($path, $rules) = @_;

    return join '', map {
        my ($prefix, $key) = @$_;

        "location $path$prefix/v1/ {
            hoody_ai on;
            hoody_ai_credential $key;
            hoody_ai_rules $rules timeout=5s;
            hoody_ai_stored on;
            hoody_ai_model_prefix strip;
            proxy_pass http://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }\n"
    } ['', 'openai'], ['/anthropic', 'anthropic'];
}

$s->nginx(http => "
    include hoody-ai/hoody_ai_rules_upstream.conf;
    include hoody-ai/asking_hoody_ai_rules_upstream.conf;

    upstream provider {
        server %%PROVIDER%%;
        keepalive 64;
    }

    server {
        listen 127.0.0.1:%%PORT%%;
        include hoody-ai/hoody_ai_rules.conf;
        include hoody-ai/asking_hoody_ai_rules.conf;
        " . locations('/plan', '/hoody-ai-rules')
          . locations('/body', '/asking') . '
    }
');


# One request; what the provider got of it, if anything.
my %client;

sub send_as {
    my ($name, $method, $uri, %option) = @_;

    my $client = $client{$name};

    if (!$client || !$client->{socket} || $client->{broken}) {
        $client = $client{$name} = HoodyAI::Client->new(
            to => $s->address, local => $address{$name},
            $option{timeout} ? (timeout => delete $option{timeout}) : ());
    }

    $client->request($method, $uri, token => $name, %option);

    my $answer = $client->answer;

    $s->capture($answer->{body});

    # the next one begins with another connection
    $client->close;
    delete $client{$name};

    my ($seen) = $provider->requests;
    $provider->forget;

    # bytes again, not characters
    $seen->{body} = encode_utf8($seen->{body}) if defined $seen->{body};

    return ($answer, $seen);
}


# --- both ways ---------------------------------------------------------------

my %uri = (
    chat => '/v1/chat/completions',
    responses => '/v1/responses',
    completions => '/v1/completions',
    messages => '/anthropic/v1/messages',
    count => '/anthropic/v1/messages/count_tokens',
    embeddings => '/v1/embeddings',
);

my $user = '{"role":"user","content":"Hi"}';
my @shapes = (
    [chat => 'no system prompt',
        qq({"model":"gpt-4o","messages":[$user]})],
    [chat => 'a string',
        qq({"model":"gpt-4o","messages":[{"role":"system","content":"Be"}, $user]})],
    [chat => 'an empty string',
        qq({"model":"gpt-4o","messages":[{"role":"system","content":""},$user]})],
    [chat => 'null', qq({"model":"gpt-4o","messages":[{"role":"system","content":null},$user]})],
    [chat => 'text parts',
        qq({"model":"gpt-4o","messages":[{"role":"developer","content":[{"type":"text","text":"A"}]},$user]})],
    [chat => 'no parts',
        qq({"model":"gpt-4o","messages":[{"role":"system","content":[ ]},$user]})],
    [chat => 'two of them, and one later',
        qq({"model":"gpt-4o","messages":[{"role":"system","content":"1"},)
        . qq({"content":"2","role":"developer"},$user,{"role":"system","content":"3"}]})],
    [chat => 'keys and roles in escapes',
        qq({"model":"gpt-4o","mess\\u0061ges":[{"r\\u006fle":"\\u0073ystem","cont\\u0065nt":"Be"},$user]})],
    [chat => 'white space and numbers',
        qq( { "max_tokens" : 1.0E+3 ,\n"temperature":1e0,\t"model" : "gpt-4o" , "messages" : [ $user ] , "n":1.0 } )],
    [chat => 'what a plan made before',
        $json->encode({ model => 'gpt-4o', messages => [
            { role => 'system', content => $guard }, $json->decode($user)] })],
    [chat => 'the same, escaped otherwise',
        '{"model":"gpt-4o","messages":[{"role":"system","content":"'
        . encode_utf8("x\\n\\nNever \\u0022delete\\u0022 a fil\\u0065\\u005cfolder.\\u000a\\t\\u00c4sk first \\ud83d\\udd12.")
        . qq("},$user]})],
    [chat => 'tools first', qq({"tools":[],"model":"gpt-4o","messages":[$user]})],
    [chat => 'tools last', qq({"model":"gpt-4o","messages":[$user],"tools":[{"type":"function","function":{"name":"f"}}]})],
    [chat => 'max_tokens null', qq({"model":"gpt-4o","max_tokens":null,"messages":[$user]})],
    [chat => 'max_tokens a string', qq({"model":"gpt-4o","max_tokens":"9","messages":[$user]})],
    [chat => 'max_tokens small', qq({"model":"gpt-4o","max_tokens":2,"messages":[$user]})],
    [chat => 'max_tokens huge', qq({"model":"gpt-4o","max_tokens":123456789012345678901234567890,"messages":[$user]})],
    [chat => 'a stream', qq({"model":"gpt-4o","stream":true,"messages":[$user]})],
    [chat => 'no messages at all', qq({"model":"gpt-4o","messages":[]})],
    [responses => 'no instructions', qq({"model":"gpt-4o","input":"Hi"})],
    [responses => 'instructions', qq({"model":"gpt-4o","instructions":"Be","input":[$user]})],
    [responses => 'null', qq({"model":"gpt-4o","instructions":null,"input":"Hi"})],
    [completions => 'a string', qq({"model":"gpt-3.5-turbo-instruct","prompt":"Hi"})],
    [completions => 'strings', qq({"model":"gpt-3.5-turbo-instruct","prompt":["Hi", "Ho"]})],
    [messages => 'none', qq({"model":"claude","max_tokens":9,"messages":[$user]})],
    [messages => 'a string', qq({"model":"claude","max_tokens":900,"system":"Be","messages":[$user]})],
    [messages => 'blocks', qq({"model":"claude","max_tokens":9,"system":[{"type":"text","text":"Be","cache_control":{"type":"ephemeral"}}],"messages":[$user]})],
    [messages => 'parts of a message', qq({"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]})],
    [count => 'blocks', qq({"model":"claude","system":[],"messages":[$user]})],
    [embeddings => 'a string', qq({"model":"text-embedding-3-small","input":"Hi"})],
    [chat => 'everything at once', qq({"model":"gpt-4o","prompt":"p","input":[1],"system":2,"instructions":[3],"messages":[$user]})],
    [chat => 'one tool between two others',
        qq({"model":"gpt-4o","a":{"tools":[]}, "tools" : [] ,"messages":[$user],"b":"tools"})],
    [chat => 'a model of braces and quotes',
        qq({"model":"{{model}}{{{{\\"\\u005c\\ud83d\\ude00","messages":[$user]})],
    [chat => 'results of tools, interleaved', qq({"model":"gpt-4o","messages":[$user,)
        . '{"role":"assistant","content":null,"tool_calls":['
        . '{"id":"a","type":"function","function":{"name":"f","arguments":"{{model}}"}},'
        . '{"id":"b","type":"function","function":{"name":"g","arguments":"\\u0000"}}]},'
        . '{"role":"tool","tool_call_id":"b","content":"1"},'
        . $user . ',{"role":"tool","tool_call_id":"a","content":"2"}]}'],
    [responses => 'calls and their outputs', qq({"model":"gpt-4o","instructions":"","input":[$user,)
        . '{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},'
        . '{"type":"function_call_output","call_id":"c","output":"x"}]}'],
    [responses => 'what is kept at the provider',
        qq({"model":"gpt-4o","previous_response_id":"r1","input":[{"type":"function_call_output","call_id":"c","output":"x"}]})],
    [completions => 'an empty one among others', qq({"model":"gpt-3.5-turbo-instruct","prompt":["","\\n",  "Hi" ]})],
    map({ my $n = $_; [chat => "$n bytes", '{"model":"gpt-4o","messages":[{"role":"system","content":"Be"},{"role":"user","content":"'
        . 'x' x ($n - 97) . '"}],"n":1}'] } 1023, 2047, 2048, 2049, 16383, 16384, 16385, 60000),
);

# what a provider should see of a system prompt, in the words of the design
sub joined {
    my @texts = grep { length } @_;
    return join "\n\n", @texts;
}

sub prompt_of {
    my ($kind, $doc) = @_;

    my @texts;

    if ($kind eq 'chat') {
        for my $message (@{$doc->{messages}}) {
            last if $message->{role} !~ /^(?:system|developer)\z/;
            push @texts, ref $message->{content}
                ? map { $_->{text} } @{$message->{content}}
                : $message->{content};
        }

    } elsif ($kind eq 'responses') {
        @texts = $doc->{instructions};

    } elsif ($kind eq 'completions') {
        @texts = ref $doc->{prompt} ? $doc->{prompt}[-1] : $doc->{prompt};

    } else {
        @texts = ref $doc->{system} ? map { $_->{text} } @{$doc->{system}}
                                    : $doc->{system};
    }

    return joined(map { $_ // '' } @texts);
}

for my $name (sort keys %tags) {
    for (@shapes) {
        my ($kind, $shape, $body) = @$_;
        my $text = "$name, $kind: $shape";
        my %got;

        for my $way (qw(plan body)) {
            my ($answer, $seen) = send_as($name, 'POST', "/$way$uri{$kind}",
                body => $body);

            $got{$way} = { status => $answer->{status},
                body => $seen && $seen->{body}, answer => $answer->{body} };
        }

        if ($name eq 'stopped' && $kind ne 'embeddings') {
            for my $way (qw(plan body)) {
                is($got{$way}{status}, 403, "$text: refused");
                like($got{$way}{answer}, qr/Not today: [\w{]/, 'with its text');
                ok(!defined $got{$way}{body}, 'nothing was sent');
            }

            next;
        }

        is($got{plan}{status}, 200, "$text: passed on")
            or diag($got{plan}{answer});
        is($got{body}{body}, $got{plan}{body}, "$text: the same bytes");

        my $doc = eval { $json->decode($got{plan}{body}) };

        ok($doc, "$text: it is JSON") or next;
        next if $kind eq 'embeddings';

        my $original = $json->decode($body);
        my $before = prompt_of($kind, $original);
        my $after = prompt_of($kind, $doc);

        if ($name eq 'free') {
            is($got{plan}{body}, $body, "$text: nothing has changed");
            next;
        }

        if ($tags{$name} =~ /guard/) {
            my $times = () = $after =~ /\Q$guard\E/g;

            is($times, 1, "$text: the rule is there, once");

            if ($kind !~ /completions/) {
                like($after, qr/\Q$guard\E(?:\n\nAnd a second one\.)?\z/,
                    "$text: at the end") or diag($got{plan}{body});
            }
        }

        if ($name eq 'both') {
            like($after, qr/You serve both \([0-9a-f]{24}\) with \Q$doc->{model}\E\./,
                "$text: the template is filled in");
            like($after, qr/And a second one\./, "$text: the other rule");
        }

        if ($name eq 'params') {
            my $old = $original->{max_tokens};
            my $number = defined $old
                && $json->encode([$old]) !~ /"/;

            is($doc->{max_tokens},
                !defined $old ? 20 : !$number ? 100 : $old > 100 ? 100
                    : $old < 10 ? 10 : $old,
                "$text: max_tokens");
            is($doc->{temperature}, 0, "$text: temperature");
            ok(!exists $doc->{tools}, "$text: no tools");
        }

        is($doc->{model}, $name eq 'smaller' ? 'gpt-4o-mini'
            : $original->{model}, "$text: the model");

        if ($name eq 'postscript' && $kind =~ /^(?:chat|messages|count)\z/) {
            my ($message) = grep { $_->{role} eq 'user' }
                reverse @{$doc->{messages}};

            # a message of its own where there was none of the user
            is(ref $message->{content} ? $message->{content}[-1]{text}
                : $message->{content}, $ps, "$text: a part more");
        }
    }
}


# --- large bodies --------------------------------------------------------------

# what is changed, where, and what of it the provider gets: its digest
my $escaped = $json->encode($guard) =~ s/^"|"\z//gr;

# up to the limit
for my $size (1_048_576, 33_000_000) {
    my ($before, $after) = ('{"model":"gpt-4o","messages":[{"role":"system",'
        . '"content":"Be', '"},{"role":"user","content":"');
    my $rest = $after . 'x' x ($size - length($before . $after) - 4) . '"}]}';
    my $want = sha256_hex("$before\\n\\n$escaped$rest");

    for my $name (qw(guarded postscript)) {
        for my $way (qw(plan body)) {
            my ($answer, $seen) = send_as($name, 'POST',
                "/$way$uri{chat}", body => $before . $rest, timeout => 60);

            is($answer->{status}, 200, "$name, $size bytes, $way: passed on")
                or diag($answer->{body});

            if ($name eq 'guarded') {
                is($seen->{body_sha256}, $want, 'with exactly this change');
            } else {
                cmp_ok($seen->{body_length}, '>', $size, 'with more');
            }
        }
    }
}


# --- around the ends of slices and buffers -------------------------------------

for my $n (16383 .. 16385, 65535 .. 65537, 262142 .. 262146, 524287 .. 524289,
    1048576)
{
    my $chat = '{"model":"gpt-4o","messages":[{"role":"user","content":"';
    my $claude = '{"model":"claude","max_tokens":9,"system":"';

    for (
        ['params', chat => $chat, '"}],', '"tools":[],', '', '"max_tokens":1000}',
            '"max_tokens":100}', '{', '{"temperature":0,'],
        ['guarded', messages => $claude, '', '', "\\n\\n$escaped",
            qq(","messages":[$user]}), undef, '', ''],
    ) {
        my ($name, $kind, $begin, $middle, $old, $new, $end, $end_new, $from,
            $to) = @$_;

        my $fill = 'x' x ($n - length($begin) - length($middle));
        my $body = $begin . $fill . $middle . $old . $end;
        my $want = ($begin =~ s/^\Q$from\E/$to/r) . $fill . $middle . $new
            . ($end_new // $end);

        for my $way (qw(plan body)) {
            my ($answer, $seen) = send_as($name, 'POST', "/$way$uri{$kind}",
                body => $body);

            is(!$seen ? $answer->{body} : $seen->{body_sha256}
                // sha256_hex($seen->{body}), sha256_hex($want),
                "$name, a change at byte $n, $way");
        }
    }
}


# --- no way around -------------------------------------------------------------

my @routes = (
    '/v1/chat/completions', '/v1/chat/completions/c1',
    '/v1/chat/completions/c1/messages', '/v1/completions', '/v1/responses',
    '/v1/responses/r1', '/v1/responses/r1/cancel',
    '/v1/responses/r1/input_items', '/v1/responses/input_tokens',
    '/v1/responses/compact', '/v1/embeddings', '/v1/models',
    '/v1/models/gpt-4o', '/v1/images/generations', '/v1/images/edits',
    '/v1/audio/transcriptions', '/v1/audio/speech', '/v1/moderations',
    '/v1/files', '/v1/files/f1', '/v1/files/f1/content', '/v1/batches',
    '/v1/batches/b1', '/v1/batches/b1/cancel', '/anthropic/v1/messages',
    '/anthropic/v1/messages/count_tokens', '/anthropic/v1/messages/batches',
    '/anthropic/v1/messages/batches/b1',
    '/anthropic/v1/messages/batches/b1/cancel',

    # the same in other words
    '/v1//chat/completions', '/v1/./chat/completions',
    '/v1/chat%2fcompletions', '/v1/chat/completions/', '/v1/Chat/Completions',
    '/v1/x/../chat/completions', '/v1/chat/completions?a=b',
    '/v1/files%2f..%2fchat/completions',
);

my $plain = qq("messages":[{"role":"system","content":"Be"},$user],)
    . '"input":"Hi","prompt":"Hi"';

my %body = (
    none => undef,
    empty => '',
    object => '{}',
    plain => qq({"model":"gpt-4o","max_tokens":9,$plain}),
    stream => qq({"model":"gpt-4o","max_tokens":9,"stream":true,$plain}),
    'two systems' => qq({"model":"gpt-4o","system":"a","system":"b",$plain}),
    'two messages' => qq({"model":"gpt-4o","messages":[],$plain}),
    'escaped twice' => qq({"model":"gpt-4o","m\\u0065ssages":[],$plain}),
    'other case' => qq({"model":"gpt-4o","Messages":[$user],$plain}),
    'BOM' => qq(\xef\xbb\xbf{"model":"gpt-4o",$plain}),
    'NUL' => qq({"model":"gpt-4o","a":"\0",$plain}),
    'UTF-16' => "{\0}\0",
    'garbage behind' => qq({"model":"gpt-4o",$plain} {"model":"gpt-4o",$plain}),
    'not UTF-8' => qq({"model":"gpt-4o","a":"\xff",$plain}),
    'lone surrogate' => qq({"model":"gpt-4o","a":"\\ud800",$plain}),
    'deep' => '{"model":"gpt-4o","a":' . '[' x 200 . ']' x 200 . ",$plain}",
    'huge number' => qq({"model":"gpt-4o","n":1e999999,$plain}),
    'an array' => qq([{"model":"gpt-4o",$plain}]),
    'messages an object' => qq({"model":"gpt-4o","max_tokens":9,"messages":{},"prompt":1,"instructions":1,"system":1}),
    'messages of strings' => qq({"model":"gpt-4o","messages":["Hi"],"prompt":[1,2],"instructions":[],"system":{}}),
    'no role' => qq({"model":"gpt-4o","messages":[{"content":"Hi"}],"prompt":{},"instructions":{},"system":1}),
    'content a number' => qq({"model":"gpt-4o","messages":[{"role":"system","content":1}],"prompt":[["Hi"]],"instructions":1,"system":[1]}),
    'stored prompt' => qq({"model":"gpt-4o","prompt":{"id":"pmpt_1"},"input":"Hi","messages":[$user]}),
    'multipart' => "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--b--\r\n",
);

my $carried = 0;
my (@around, @wrong);

for my $route (@routes) {
    for my $method (qw(GET POST DELETE PUT PATCH HEAD)) {
        my @kinds = $method eq 'POST' ? sort keys %body : qw(none plain);

        for my $shape (@kinds) {
            for my $framing ($method eq 'POST' && length($body{$shape} // '')
                ? qw(length chunked gzip) : qw(length))
            {
                my $body = $body{$shape};
                my @headers = ('Content-Type',
                    $shape eq 'multipart' ? 'multipart/form-data; boundary=b'
                                          : 'application/json');

                push @headers, 'Content-Encoding', 'gzip'
                    if $framing eq 'gzip';

                if ($framing eq 'chunked') {
                    push @headers, 'Transfer-Encoding', 'chunked';
                    $body = join('', map {
                        sprintf "%x\r\n%s\r\n", length, $_
                    } unpack '(a7)*', $body) . "0\r\n\r\n";
                }

                my ($answer, $seen) = send_as('guarded', $method,
                    "/plan$route", headers => \@headers,
                    defined $body ? (body => $body) : (),
                    $framing eq 'chunked' ? (length => 0) : ());

                my $what = "$method $route, $shape, $framing";

                push @wrong, "$what: $answer->{status}"
                    if $answer->{status} !~ /^(?:200|4\d\d)\z/;
                next if !$seen;

                $carried++;

                # a prompt with the rule in it, or no prompt
                my $uri = $seen->{uri} =~ s{\?.*}{}r =~ s{^/v1/}{}r;
                my ($kind) = $uri =~ m{^chat/completions\z} ? 'chat'
                    : $uri =~ m{^responses(?:/input_tokens|/compact)?\z}
                        ? 'responses'
                    : $uri =~ m{^completions\z} ? 'completions'
                    : $uri =~ m{^messages(?:/count_tokens)?\z} ? 'messages'
                    : undef;

                if ($seen->{method} ne 'POST') {
                    push @around, "$what: files or batches"
                        if $uri =~ m{^(?:files|batches|messages/batches)};

                } elsif ($kind) {
                    my $doc = eval { $json->decode($seen->{body}) };

                    push @around, "$what: $seen->{body}" if !$doc
                        || index(prompt_of($kind, $doc), $guard) < 0;

                } elsif ($uri !~ m{^(?:embeddings|moderations|images/\w+
                                    |audio/\w+)\z}x)
                {
                    push @around, "$what: $uri"
                        if $seen->{body_length};

                } elsif ($shape eq 'multipart') {
                    push @around, "$what: multipart";
                }
            }
        }
    }
}

is(join("\n", @around), '', 'no way around the rule');
is(join("\n", @wrong), '', 'each answer is an answer or a refusal');
cmp_ok($carried, '>=', 100, 'and much was passed on');

# what is refused says so
for (['/v1/files', 'GET', undef], ['/v1/batches', 'POST', $body{plain}],
     ['/v1/audio/transcriptions', 'POST', $body{multipart},
         'multipart/form-data; boundary=b'],
     ['/v1/responses', 'POST', $body{'stored prompt'}],
     ['/anthropic/v1/messages/batches', 'POST', $body{plain}])
{
    my ($uri, $method, $body, $type) = @$_;
    my ($answer) = send_as('guarded', $method, "/plan$uri",
        headers => ['Content-Type', $type // 'application/json'],
        defined $body ? (body => $body) : ());

    is($answer->{status}, 403, "$method $uri: 403");
    like($answer->{body}, $uri =~ /messages/ ? qr/"permission_error"/
        : qr/"code":"blocked_by_rule"/, 'and why');

    ($answer) = send_as('free', $method, "/plan$uri",
        headers => ['Content-Type', $type // 'application/json'],
        defined $body ? (body => $body) : ());

    is($answer->{status}, 200, "$method $uri: passes without a rule")
        or diag($answer->{body});
}


# --- changes while it runs ---------------------------------------------------

{
    my @less = grep { $_->{id} ne 'guard' } @rules;
    my $ask = sub {
        my (undef, $seen) = send_as('guarded', 'POST', '/plan/v1/chat/completions',
            body => $body{plain});
        return index($json->encode($json->decode($seen->{body})),
            'Never') >= 0;
    };

    ok($ask->(), 'the rule is in force');

    $planning->rules(@less);
    $asking->rules(@less);
    ok(wait_for(sub { !$ask->() }), 'a rule left out of the file is gone');

    $planning->rules(@rules);
    $asking->rules(@rules);
    ok(wait_for(sub { $ask->() }), 'and back');

    $s->cmd('HSET', $s->rkey('rules'), 'guard',
        '{"id":"guard","enabledOverride":false}');
    ok(wait_for(sub { !$ask->() }), 'the overlay switches it off');

    $s->cmd('HDEL', $s->rkey('rules'), 'guard');
    ok(wait_for(sub { $ask->() }), 'and on');

    $planning->text('{"rules":[{"id":"guard"');
    ok(wait_for(sub { $planning->status->{last_error} }),
        'a broken file is noticed');
    ok($ask->(), 'the last good rules stay in force');

    # tags of a container decide at once
    $s->cmd('HSET', $s->rkey('container:free'), tags => 'guard');
    ok(wait_for(sub {
        my (undef, $seen) = send_as('free', 'POST',
            '/plan/v1/chat/completions', body => $body{plain});
        return index($seen->{body}, 'Never') >= 0;
    }), 'a tag that was given counts');
}

$s->finish;
