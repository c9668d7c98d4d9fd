#!/usr/bin/perl

# hoody-ai-rules: each question with each answer, and the life of the rules:
# file, overlay, epoch, Redis that comes and goes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(time sleep);

use HoodyAI::Engine;
use HoodyAI::Pace;
use HoodyAI::System qw(chat slurp spew suspend wait_for);

my $s = HoodyAI::System->new;

$s->redis;
$s->private('Whisper it', 'Hello there');

# another program asks for each of these
my %append = (id => 'guard', trigger => { event => 'chat.system.transform' },
    action => { type => 'append', content => 'Be careful.' });
my %log = (id => 'read', trigger => { event => 'tool.execute.after',
        toolName => 'read' },
    action => { type => 'log', content => 'reads {{tool.input.path}}' });
my %block = (id => 'stop', trigger => { event => 'chat.message',
        tags => ['blocked'] },
    action => { type => 'message', content => "No: \"{{model}}\"\n" },
    blocking => JSON::PP::true);

my $engine = HoodyAI::Engine->new($s, rules => [\%append]);
my $body = chat(messages => [{ role => 'user', content => 'Hello there' }]);

my $rules_key = $s->rkey('rules');
my $epoch_key = $s->rkey('rules:epoch');


sub ask_plan { $engine->ask('plan', @_) }

sub ask_body {
    my ($body, %parameter) = @_;
    return $engine->ask('body', body => $body, %parameter);
}

sub redis_epoch { $s->cmd('GET', $epoch_key) }

# A change that was noticed after that many milliseconds; undef: never.  One
# of them may meet a busy machine, so what they took is judged at the end.
my @took;

sub soon {
    my ($ms, $name) = @_;

    ok(defined $ms, $name) or diag($engine->log);
    push @took, $ms // 1e6;
}

# entries of the stream of that type, as hashes
sub entries {
    my ($type) = @_;

    return grep { $_->{type} eq $type }
        map { my %fields = @{$_->[1]}; \%fields }
        @{$s->cmd('XRANGE', $s->rkey('events'), '-', '+')};
}


# Questions

{
    my $answer = ask_plan();

    is($answer->{status}, 200, 'a static rule: a plan');
    is($answer->{headers}{'content-type'}, 'application/vnd.hoody.plan+json',
        'its type');
    is($answer->{headers}{'content-length'}, length $answer->{body},
        'its length');
    is_deeply($answer->{json}{edits},
        [{ op => 'append', target => 'system', text => 'Be careful.' }],
        'its edits');
    like($answer->{epoch}, qr/\A\d{13}-[0-9a-f]{16}\z/, 'its epoch');
    is($answer->{epoch}, redis_epoch(), 'which is the one in Redis');
    is($answer->{protocol} . $answer->{app}, '00', 'the request is complete');

    $answer = ask_plan(HOODY_API => 'openai.embeddings');
    is($answer->{status}, 204, 'nothing for an API without a prompt');
    is($answer->{headers}{'x-hoody-epoch'}, redis_epoch(), 'with the epoch');
    is($answer->{headers}{'content-length'}, 0, 'and a length');

    is(ask_plan(HOODY_BODY => 'opaque')->{status}, 403,
        'a rule cannot be kept for an opaque body');
    is(ask_plan(HOODY_BODY => 'opaque')->{json}{error}{code}, 'blocked_by_rule',
        'and the answer says so');

    $answer = ask_body($body);
    is($answer->{status}, 200, 'the same rule, asked with the body');
    is($answer->{headers}{'content-type'}, 'application/vnd.hoody.splice',
        'edits');

    my $result = HoodyAI::FastCGI->spliced($body, $answer->{body});
    is_deeply(decode_json($result)->{messages}, [
        { role => 'system', content => 'Be careful.' },
        { role => 'user', content => 'Hello there' },
    ], 'that do it');

    $body =~ /"model":"(.*?)"/ or die;
    is($answer->{headers}{'x-hoody-body'}, length($body)
        . ' ' . ($-[1] - 1) . ' ' . ($+[1] + 1) . " -- $1",
        'and leave what was found as it is');

    is(ask_body(encode_json({ input => 'x', model => 'm' }),
        HOODY_API => 'openai.embeddings')->{status}, 204, 'nothing to change');

    # what its scan found, for a worker that has not looked
    for (['{"model":"a/b","stream":true,"input":"x"}', '41 9 14 s- a/b'],
        ['{"input":[{"file_id":"f"}]}', '27 0 0 -r'], ['{}', '2 0 0 --'],
        ['{"model":"a b"}'], ['{"model":"\u00e9"}'])
    {
        my ($sent, $found) = @$_;

        $answer = ask_body($sent, HOODY_API => 'openai.embeddings');
        is($answer->{status}, 204, "$sent: nothing to change");
        is($answer->{headers}{'x-hoody-body'}, $found, 'what was found');
    }

    $answer = ask_body('{"model":"m","messages":7}');
    is($answer->{status}, 400, 'a body without a place for the rule');
    is($answer->{json}{error}{code}, 'invalid_body', 'is the caller\'s fault');

    for my $bad ('', '{', '[]', '{"a":1,"messages":[],"messages":[]}',
        "{\"messages\":\"\xff\"}", '{}x')
    {
        $answer = ask_body($bad);
        is("$answer->{status} $answer->{json}{error}{code}",
            '400 invalid_body',
            'refused: ' . ($bad =~ s/\xff/FF/r || 'nothing'));
    }
}

for my $name (qw(ASK CONTAINER CONTAINER_ID TAGS API BODY MODEL REQUEST_ID)) {
    my $answer = ask_plan("HOODY_$name" => undef);

    is("$answer->{status} $answer->{json}{error}{code}", '400 bad_question',
        "HOODY_$name is missing");

    $answer = ask_plan("HOODY_$name" => '');
    is($answer->{status}, $name =~ /^(CONTAINER_ID|TAGS|MODEL)\z/ ? 200 : 400,
        "HOODY_$name is empty");
}

is(ask_plan(HOODY_CONTAINER => 'a b')->{status}, 400, 'no name of a container');
is(ask_plan(HOODY_BODY => 'xml')->{status}, 400, 'a body of another kind');
is(ask_plan(HOODY_MODEL => 'm' x 256)->{status}, 200, 'a long model');
is(ask_plan(HOODY_MODEL => 'm' x 257)->{status}, 400, 'too long a model');
is(ask_plan(HOODY_TAGS => 't' x 8192)->{status}, 200, 'long tags');
is(ask_plan(HOODY_TAGS => 't' x 8193)->{status}, 400, 'too long tags');
is($engine->ask('else')->{status}, 400, 'another question');
is(ask_body($body, HOODY_BODY => 'opaque')->{status}, 400,
    'an opaque body is not asked about');
is(ask_body($body, CONTENT_LENGTH => 1)->{status}, 400,
    'a length that is wrong');
is(ask_body($body, CONTENT_LENGTH => '-1')->{status}, 400, 'a negative length');
is(ask_body($body, CONTENT_LENGTH => '0x10')->{status}, 400,
    'a length in words');
is(ask_body($body, CONTENT_LENGTH => '')->{status}, 200, 'no length');
is(ask_body($body, CONTENT_LENGTH => undef)->{status}, 200, 'not even empty');


# The file

{
    my $epoch = redis_epoch();
    my $began = time;

    $engine->rules({ %append, action => { type => 'append',
        content => 'Be bold.' } });
    soon($engine->until_status(sub { $_->{epoch} ne $epoch }),
        'a renamed file is in force');
    is(ask_plan()->{json}{edits}[0]{text}, 'Be bold.', 'with its text');
    ok(wait_for(sub { redis_epoch() eq $engine->status->{epoch} }),
        'its epoch is published');

    my ($before) = $epoch =~ /^(\d+)/;
    my ($after) = redis_epoch() =~ /^(\d+)/;
    cmp_ok($after, '>', $before, 'which is later');

    # written in place
    $epoch = redis_epoch();
    spew($engine->{file}, encode_json({ rules => [\%append, \%block] }));
    soon($engine->until_status(sub { $_->{epoch} ne $epoch }),
        'a file that is written is in force');

    # a symbolic link to a folder is swapped, as mounted configuration is
    my $folder = "$s->{dir}/engine";
    $epoch = redis_epoch();

    for my $n (1, 2) {
        mkdir "$folder/..$n";
        spew("$folder/..$n/hoody.json", encode_json({ rules =>
            [{ %append, action => { type => 'append', content => "n$n" } }] }));
    }

    symlink '..1', "$folder/..data";
    unlink $engine->{file};
    symlink '..data/hoody.json', $engine->{file};
    ok($engine->until_status(sub { $_->{epoch} ne $epoch }), 'a link');

    $epoch = redis_epoch();
    symlink '..2', "$folder/..next";
    rename "$folder/..next", "$folder/..data";
    soon($engine->until_status(sub { $_->{epoch} ne $epoch }),
        'a swapped link is noticed');
    is(ask_plan()->{json}{edits}[0]{text}, 'n2', 'and followed');
    unlink $engine->{file};
}

{
    my $epoch = redis_epoch();

    $engine->rules(\%append);
    ok($engine->until_status(sub { !$_->{last_error} && $_->{rules} == 1
        && $_->{epoch} ne $epoch }), 'one rule');
    $epoch = redis_epoch();

    $engine->text("{\"rules\":[\n  {\"id\":\"guard\",\n   \"nothing\":1}]}");
    soon($engine->until_status(sub { $_->{last_error} }),
        'a bad file is noticed');

    my $error = $engine->status->{last_error};
    is("$error->{where} $error->{rule}", "$engine->{file} guard",
        'status says where');
    cmp_ok($error->{line}, '>=', 2, 'in which line');
    ok(length $error->{reason} && $error->{column} > 0, 'and why');
    like($engine->log, qr{hoody\.json:\d+:\d+: rule "guard": },
        'and so does the log');

    is($engine->status->{epoch}, $epoch, 'the last good set stays');
    is(ask_plan()->{json}{edits}[0]{text}, 'Be careful.', 'in force');

    ok(wait_for(sub { grep { $_->{status} eq 'failed'
        && $_->{reason} =~ /hoody\.json:\d+/ } entries('rules.reload') }),
        'an entry tells it');

    unlink $engine->{file};
    ok($engine->until_status(sub { $_->{last_error}
        && $_->{last_error}{reason} =~ /No such file/i }), 'a missing file');
    is($engine->status->{epoch}, $epoch, 'is no empty one');

    $engine->rules(\%append);
    soon($engine->until_status(sub { !$_->{last_error} }), 'a good one again');
    is($engine->status->{epoch}, $epoch, 'the same rules, the same epoch');
    is($engine->status->{reloads}{failed} >= 2, 1, 'failures are counted');
}


# Questions while rules change: each plan is whole, and of its epoch

{
    my @asking;

    for my $n (1 .. 3) {
        my $pid = open(my $out, '-|') // die "fork: $!\n";

        if ($pid == 0) {
            my $fcgi = $engine->connect;
            my $end = time + 1.5;
            my %text;

            while (time < $end) {
                my $answer = $n == 1 ? $fcgi->ask('body', body => $body)
                    : $fcgi->ask('plan');
                my $status = $answer ? $answer->{status} : $fcgi->error;

                print "not ok $status\n" if $status ne '200';
                next if $n == 1;

                my $wish = $answer->{json}{edits}[0]{text};

                print "not ok $answer->{epoch}\n"
                    if ($text{$answer->{epoch}} //= $wish) ne $wish;
            }

            print scalar(keys %text), "\n";
            close STDOUT;
            POSIX::_exit(0);
        }

        push @asking, $out;
    }

    my $end = time + 1.2;

    for (my $n = 0; time < $end; $n++) {
        $engine->rules({ %append, action => { type => 'append',
            content => "number $n" } });
        sleep 0.005;
    }

    my $said = join '', map { my $out = $_; local $/; <$out> } @asking;

    unlike($said, qr/not ok/, 'plans are those of their epochs');
    cmp_ok((sort { $b <=> $a } split /\n/, $said)[0], '>', 5,
        'of which there were many');
    close $_ for @asking;

    ok($engine->until_status(sub { ask_plan()->{epoch} eq redis_epoch() }),
        'the last one is published');
    $engine->rules(\%append);
    ok($engine->until_status(sub {
        ask_plan()->{json}{edits}[0]{text} eq 'Be careful.' }), 'back again');
}


# The overlay

{
    my $epoch = redis_epoch();

    $s->cmd('HSET', $rules_key, 'guard',
        '{"id":"guard","enabledOverride":false}');
    soon($engine->until_status(sub { $_->{enabled} == 0 }),
        'the overlay switches a rule off');
    is(ask_plan()->{status}, 204, 'nothing applies');
    ok(wait_for(sub { redis_epoch() eq ask_plan()->{epoch} }),
        'the epoch is new');
    isnt(redis_epoch(), $epoch, 'and another');

    $s->cmd('HSET', $rules_key, 'extra', encode_json({ id => 'extra',
        trigger => { event => 'chat.params' },
        action => { type => 'set', field => 'max_tokens', max => 100 } }));
    soon($engine->until_status(sub { $_->{rules} == 2 }),
        'the overlay has a rule of its own');
    is_deeply(ask_plan()->{json}{edits},
        [{ op => 'set', target => 'max_tokens', max => 100 }], 'that counts');

    my $set = ask_body(chat(max_tokens => 200));
    is($set->{status}, 200, 'a field of the body is set');
    is($set->{headers}{'x-hoody-body'}, undef,
        'which could be one that a worker looks at');

    is($engine->status->{overlay}, 2, 'status counts its fields');

    $s->cmd('HSET', $rules_key, 'bad', '{');
    soon($engine->until_status(sub { $_->{last_error} }),
        'a bad field is noticed');
    is($engine->status->{rules}, 2, 'all of the last good set stays');

    $s->cmd('DEL', $rules_key);
    soon($engine->until_status(sub { $_->{enabled} == 1 && $_->{rules} == 1
        && !$_->{last_error} }), 'the overlay is gone');

    $s->cmd('SET', $rules_key, 'no hash');
    soon($engine->until_status(sub { $_->{last_error}
        && $_->{last_error}{reason} =~ /WRONGTYPE/ }),
        'an overlay that is no hash');
    is(ask_plan()->{status}, 200, 'changes nothing');
    $s->cmd('DEL', $rules_key);
    soon($engine->until_status(sub { !$_->{last_error} }), 'and is got over');
}


# The epoch

{
    my $epoch = redis_epoch();

    $s->cmd('DEL', $epoch_key);
    ok(wait_for(sub { redis_epoch() }), 'a deleted epoch is written again');
    ok(wait_for(sub { redis_epoch() eq ask_plan()->{epoch} }),
        'as plans have it');
    is(substr(redis_epoch(), 14), substr($epoch, 14), 'with the same digest');

    $epoch = redis_epoch();
    $s->cmd('FLUSHALL');
    ok(wait_for(sub { redis_epoch() && redis_epoch() eq ask_plan()->{epoch} }),
        'it is back after FLUSHALL');

    my ($ms, $digest) = redis_epoch() =~ /^(\d+)-(\w+)/;
    my $later = $ms + 5000;

    $s->cmd('SET', $epoch_key, "$later-$digest");
    ok(wait_for(sub { ask_plan()->{epoch} eq "$later-$digest" }),
        'the epoch of an engine with the same rules is adopted');

    $later++;
    $s->cmd('SET', $epoch_key, "$later-0123456789abcdef");
    ok(wait_for(sub { $engine->log =~ /another engine published other rules/ }),
        'other rules of another engine are complained of');
    is(redis_epoch(), "$later-0123456789abcdef", 'and left');
    is(substr(ask_plan()->{epoch}, 14), $digest, 'plans keep the own epoch');

    kill 'HUP', $engine->pid;
    ok(wait_for(sub { redis_epoch() =~ /-$digest\z/
        && redis_epoch() eq ask_plan()->{epoch} }),
        'SIGHUP publishes the own rules again');
    cmp_ok((redis_epoch() =~ /^(\d+)/)[0], '>', $later, 'later than the other');

    $s->cmd('SET', $epoch_key, 'no epoch');
    ok(wait_for(sub { redis_epoch() eq ask_plan()->{epoch} }),
        'what is no epoch is replaced');
    $s->cmd('EVAL', "redis.call('DEL', KEYS[1])"
        . " return redis.call('RPUSH', KEYS[1], 'x')", 1, $epoch_key);
    ok(wait_for(sub { my $epoch = eval { redis_epoch() };
        $epoch && $epoch eq ask_plan()->{epoch} }), 'a list as well');
    is($engine->status->{redis}, 'connected', 'Redis is not called lost');

    $s->cmd('SET', $epoch_key, ++$later + 60000 . '-0123456789abcdef');
    $engine->rules(\%append, \%log);
    ok(wait_for(sub { redis_epoch() eq ask_plan()->{epoch} }),
        'the next change is published');
    cmp_ok((redis_epoch() =~ /^(\d+)/)[0], '>', $later + 60000,
        'as a later one');

    # a second one with the same rules
    my $epochs = redis_epoch();
    my $other = HoodyAI::Engine->new($s, name => 'other',
        rules => [\%append, \%log]);

    is($other->status->{epoch}, $epochs, 'an engine that starts takes it over');
    is(redis_epoch(), $epochs, 'and does not write');
    is($other->stop, 0, 'and ends');
}


# Rules that fire

{
    $engine->rules(\%append, \%log, \%block);
    ok($engine->until_status(sub { $_->{rules} == 3 }), 'three rules');
    is(ask_plan()->{json}{ask}, 'body', 'one that has to see the body');

    my $tools = encode_json({ model => 'gpt-4o', messages => [
        { role => 'user', content => 'Hello there' },
        { role => 'assistant', content => undef, tool_calls => [
            { id => 'call_1', type => 'function', function =>
                { name => 'Read', arguments => '{"path":"/etc/hosts"}' } }] },
        { role => 'tool', tool_call_id => 'call_1', content => 'Whisper it' },
    ] });

    is(ask_body($tools)->{status}, 200, 'a tool result') for 1 .. 3;
    is(ask_body($tools, HOODY_CONTAINER => 'other')->{status}, 200,
        'of another container');
    ok($engine->until_status(sub { $_->{fired}{read} == 2
        && $_->{fired}{guard} >= 4 }), 'what fired is counted');
    ok(wait_for(sub { entries('rule') == 2 }), 'an entry for each result');

    my ($entry) = entries('rule');
    ok(delete($entry->{eid}) =~ /^[0-9a-f]{16}-\d+\z/
        && abs(delete($entry->{ts}) - 1000 * time) < 60000, 'its id and time');
    is_deeply($entry, {
        type => 'rule', rule => 'read', event => 'tool.execute.after',
        action => 'log', tool => 'Read', depth => 1,
        message => 'reads /etc/hosts', container => 'dev-env',
        container_id => '507f1f77bcf86cd799439011', api => 'openai.chat',
        model => 'gpt-4o', request_id => '0123456789abcdef0123456789abcdef',
    }, 'and all the rest');

    my $answer = ask_body($body, HOODY_TAGS => 'blocked');
    is($answer->{status}, 403, 'a blocking rule refuses');
    is_deeply($answer->{json}, { error => { code => 'blocked_by_rule',
        rule => 'stop', message => "No: \"gpt-4o\"\n" } }, 'with its text');
    ok(wait_for(sub { grep { $_->{rule} eq 'stop' } entries('rule') }),
        'and an entry');

    $engine->rules(\%block, \%log);
    ok($engine->until_status(sub { $_->{rules} == 2
        && $_->{fired}{read} == 2 && $_->{fired}{stop} == 1 }),
        'counters outlive a reload');

    my $status = $engine->status;
    is($status->{threads}, 16, 'status: threads');
    cmp_ok($status->{questions}{plan}, '>', 10, 'questions');
    cmp_ok($status->{answers}{204}, '>=', 2, 'answers');
    is($status->{file}, $engine->{file}, 'the file');
    is($status->{dropped_entries}, 0, 'nothing was dropped');
}


# The command

{
    my $command = $s->program('hoody-ai');
    my $epoch = redis_epoch();
    my $text = qx('$command' rules status --socket '$engine->{socket}' 2>&1);

    is($?, 0, 'hoody-ai rules status');
    like($text, qr/^epoch +\Q$epoch\E$/m, 'tells the epoch');
    like($text, qr/^ *(?:fired)? +stop 1$/m, 'and what fired');

    $engine->text('{');
    ok($engine->until_status(sub { $_->{last_error} }), 'a bad file');
    $text = qx('$command' rules status --socket '$engine->{socket}' 2>&1);
    is($? >> 8, 1, 'is its exit status');
    like($text, qr/hoody\.json/, 'and named');

    $engine->rules(\%block, \%log);
    ok($engine->until_status(sub { !$_->{last_error} }), 'a good one');
}


# SIGHUP

{
    my $reloads = $engine->status->{reloads}{ok};

    kill 'HUP', $engine->pid;
    ok($engine->until_status(sub { $_->{reloads}{ok} > $reloads }),
        'SIGHUP reads everything again');
}


# Redis goes and comes back

{
    is($s->stop('redis'), 0, 'Redis ends');
    ok($engine->until_status(sub { $_->{redis} eq 'lost' }), 'it is missed');
    is(ask_body($body)->{status}, 204, 'questions are answered');

    $engine->rules(\%append);
    soon($engine->until_status(sub { $_->{rules} == 1 }),
        'even the file is reloaded');

    $s->redis;
    $s->cmd('HSET', $rules_key, 'two', encode_json({ %append, id => 'two' }));
    ok($engine->until_status(sub { $_->{redis} eq 'connected'
        && $_->{rules} == 2 }), 'Redis is back, and the overlay read');
    ok(wait_for(sub { (redis_epoch() // '') eq ask_plan()->{epoch} }),
        'the epoch is published');
    ok(wait_for(sub { grep { $_->{status} eq 'ok' } entries('rules.reload') }),
        'entries are written again');
    $s->cmd('DEL', $rules_key);

    # stopped, not gone: a connection that is open and says nothing
    ok($engine->until_status(sub { $_->{rules} == 1 }), 'one rule');
    suspend($s->pid('redis'));
    ok($engine->until_status(sub { $_->{redis} eq 'lost' }, 20),
        'Redis that does not answer is missed');
    is(ask_plan()->{status}, 200, 'questions are answered');
    kill 'CONT', $s->pid('redis');
    ok($engine->until_status(sub { $_->{redis} eq 'connected' }, 20),
        'and it is found again');
}


# Redis away at the start; only the overlay

{
    my $late = HoodyAI::Engine->new($s, name => 'late', wait => 0,
        redis => "unix:$s->{dir}/redis/nobody.sock", rules => [\%append]);

    ok(wait_for(sub { $late->status }), 'an engine without Redis starts');
    is($late->ask('plan')->{status}, 503, 'it does not know the overlay');
    is($late->ask('body', body => $body)->{status}, 503, 'for any question');
    is($late->status->{epoch}, undef, 'it has no set');

    symlink "$s->{dir}/redis/redis.sock", "$s->{dir}/redis/nobody.sock";
    ok($late->until_status(sub { $_->{epoch} }), 'once Redis is there it has');
    is($late->ask('plan')->{status}, 200, 'and answers');
    is($late->stop, 0, 'it ends');

    my $bad = HoodyAI::Engine->new($s, name => 'bad', wait => 0,
        rules => [{ id => 'x' }]);

    ok($bad->until_status(sub { $_->{last_error} }), 'a bad file at the start');
    is($bad->ask('plan')->{status}, 503, 'no question is answered');
    $bad->rules(\%append);
    ok($bad->until_status(sub { $_->{epoch} }), 'until there is a good one');
    is($bad->stop, 0, 'it ends');

    my $only = HoodyAI::Engine->new($s, name => 'only');

    is($only->ask('plan')->{status}, 204, 'no file and no overlay: no rules');
    $s->cmd('HSET', $rules_key, 'two', encode_json({ %append, id => 'two' }));
    ok($only->until_status(sub { $_->{rules} == 1 }), 'only the overlay');
    is($only->status->{file}, undef, 'there is no file');
    is($only->stop, 0, 'it ends');
    $s->cmd('DEL', $rules_key);
}

{
    my $all = HoodyAI::Engine->new($s, name => 'all', args => ['--no-plan'],
        rules => [\%append]);

    is($all->ask('plan')->{json}{ask}, 'body', '--no-plan: always the body');
    is($all->ask('plan', HOODY_API => 'openai.images')->{json}{ask}, 'body',
        'even where nothing applies');
    is($all->ask('plan', HOODY_BODY => 'opaque')->{status}, 403,
        'but never an opaque one');
    is($all->stop, 0, 'it ends');
}

@took = sort { $a <=> $b } @took;
cmp_ok($took[$#took / 2], '<=', 100 * slow,
    'changes are in force within 100 ms')
    or diag(join ' ', map { sprintf '%.1f', $_ } @took);

unlike($engine->log, qr/Whisper it|Hello there/, 'the log has no prompt');

$s->finish;
