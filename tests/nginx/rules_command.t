#!/usr/bin/perl

# hoody-ai rules check, test and status: what they print and how they end;
# every example of the manual; the JSON Schema against the program.
#
# asan: no, the command runs once for each of many documents

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use JSON::PP;
use POSIX qw(:sys_wait_h _exit);
use Test::More;
use Time::HiRes qw(time);

use lib dirname(__FILE__) . '/lib';
use HoodyAI::System qw(spew slurp);

my $root = $ENV{HAI_ROOT} // abs_path(dirname(__FILE__) . '/../..');
my $programs = dirname($ENV{HAI_PROVIDER}
                       // "$root/build/hoody-ai-sample-provider");
my $program = "$programs/hoody-ai";

plan(skip_all => "no $program") unless -x $program;

my $work = tempdir('command.XXXXXX',
                   DIR => $ENV{HAI_WORK} ? "$ENV{HAI_WORK}/tmp" : '/tmp',
                   CLEANUP => 1);

delete $ENV{NO_COLOR};
$ENV{TERM} = 'xterm';

# (exit status, standard output, standard error)
sub run {
    my ($input, @arguments) = @_;

    spew("$work/in", $input // '');
    my $pid = fork() // die "fork: $!\n";
    if (!$pid) {
        open(STDIN, '<', "$work/in") or _exit(99);
        open(STDOUT, '>', "$work/out") or _exit(99);
        open(STDERR, '>', "$work/err") or _exit(99);
        exec($program, @arguments) or _exit(99);
    }
    waitpid($pid, 0);
    my $status = $? & 127 ? "signal $?" : $? >> 8;
    return ($status, slurp("$work/out"), slurp("$work/err"));
}

sub check {
    my ($text, @options) = @_;

    spew("$work/rules.json", $text);
    return run('', 'rules', 'check', @options, "$work/rules.json");
}

sub rule {
    my ($trigger, $action, $more) = @_;

    return qq({"rules":[\n{"id":"a",\n"trigger":{$trigger},\n)
        . qq("action":{$action}\n@{[$more // '']}}]});
}

my $system = '"event":"chat.system.transform"';
my $append = '"type":"append","content":"Be kind."';


# usage

{
    my ($status, $out, $err) = run('', '--help');
    is($status, 0, '--help');
    like($out, qr/rules check.*rules test.*rules status/s, 'names the commands');

    ($status, $out) = run('', '--version');
    like($out, qr/\Ahoody-ai \d+\.\d+\.\d+\n\z/, '--version');

    for my $case ([], ['nothing'], ['rules'], ['rules', 'nothing'],
                  ['rules', 'check'], ['rules', 'check', 'a', 'b'],
                  ['rules', 'check', '-o', 'xml', 'a'],
                  ['rules', 'test', 'a'], ['rules', 'status', 'a'],
                  ['rules', 'status', '--timeout', '0'])
    {
        ($status, $out, $err) = run('', @$case);
        is($status, 2, "usage: @$case");
        isnt($err, '', 'with a word about it');
    }

    for my $name (qw(check test status)) {
        ($status, $out) = run('', 'rules', $name, '--help');
        is($status, 0, "rules $name --help");
        like($out, qr/Exit status: 0 .* 2 wrong\s+usage/s, 'tells of the exit');
    }
}


# check

{
    my ($status, $out, $err) = check(rule($system, $append));
    is($status, 0, 'a good file');
    is($out, "$work/rules.json: fine, 1 rules, 1 of them enabled\n", 'says so');
    is($err, '', 'and nothing else');

    ($status, $out, $err)
        = check(rule("$system,\"tag\":[\"x\"]", $append, ',"coolDown":1'));
    is($status, 1, 'a bad file');
    is($out, '', 'nothing on standard output');
    is($err, "$work/rules.json:5:2: error: rule \"a\": \"coolDown\" is not "
           . "known\n$work/rules.json:3:44: error: rule \"a\": \"trigger.tag\" "
           . "is not known\n", 'where and why');

    ($status, $out, $err) = check(rule($system, $append, ',"blocking":true'));
    is($status, 0, 'a warning is no error');
    like($err, qr/:5:2: warning: rule "a": "blocking" does nothing/, 'is told');

    ($status, $out, $err) = check("{\"rules\":[\n,]}");
    is($status, 1, 'broken JSON');
    like($err, qr/\A\Q$work\E\/rules\.json:2:\d+: error: /, 'line and column');

    ($status, $out, $err) = run('', 'rules', 'check', "$work/none");
    is($status, 1, 'no file');
    is($err, "$work/none: error: cannot be read: No such file or directory\n",
       'is told');

    ($status, $out, $err) = check(rule($system, '"type":"x"'), '-o', 'json');
    is($status, 1, '-o json');
    is($err, '', 'all of it on standard output');
    my $all = decode_json($out);
    ok(!$all->{ok}, 'not ok');
    is_deeply({ map { $_ => $all->{problems}[0]{$_} } qw(level line column rule) },
              { level => 'error', line => 4, column => 18, rule => 'a' },
              'the problem');

    ($status, $out) = check(rule($system, $append), '--output', 'json');
    $all = decode_json($out);
    ok($all->{ok}, 'a good file as JSON');
    is($all->{enabled}, 1, 'how many');
    like($all->{digest}, qr/\A[0-9a-f]{16}\z/, 'which set');

    # what is in a file does not steer the terminal
    ($status, $out, $err) = check(rule("$system,\"\\u001b[31m\":1", $append));
    unlike($err, qr/\e/, 'no escape sequence of a file');
}


# test

my $chat = '{"model":"gpt-4o","temperature":1.50,"messages":['
    . '{"role":"user","content":"Gr\u00fc\u00dfe"}]}';

sub test {
    my ($rules, $body, @options) = @_;

    spew("$work/rules.json", $rules);
    return run($body, 'rules', 'test', "$work/rules.json", '--container',
               'web-1', @options);
}

{
    my ($status, $out, $err) = test(rule($system, $append), $chat);
    is($status, 0, 'a rule that applies');
    is($err, '', 'nothing on standard error');
    like($out, qr/^\+ a \(chat\.system\.transform, append\): changes the request$/m,
         'fires');
    like($out, qr/^\+ +"content": "Be kind\."$/m, 'what comes is shown');
    unlike($out, qr/^-(?!-- as)/m, 'nothing goes');
    unlike($out, qr/\e/, 'no colours in a file');

    ($status, $out, $err) = test(rule($system, $append), $chat, '--raw');
    is($out, '{"model":"gpt-4o","temperature":1.50,"messages":['
           . '{"role":"system","content":"Be kind."},'
           . '{"role":"user","content":"Gr\u00fc\u00dfe"}]}', 'exact bytes');
    like($err, qr/^\+ a/m, 'the report is on standard error');

    for my $case (['"tags":["prod"]', 'tags', '--tags', 'dev test'],
                  ['"containers":["db-*"]', 'containers'],
                  ['"models":["claude*"]', 'models'])
    {
        my ($filter, $name, @options) = @$case;

        ($status, $out) = test(rule("$system,$filter", $append), $chat, @options);
        is($status, 0, "$name does not match");
        like($out, qr/^- a .*: "$name" does not match$/m, 'is told');
        like($out, qr/^sent as it is$/m, 'nothing changes');
    }

    ($status, $out) = test(rule("$system,\"tags\":[\"prod\"]", $append), $chat,
                           '--tags', 'eu prod', '--depth', '1');
    like($out, qr/^\+ a/m, 'one of the tags is enough');
    ($status, $out) = test(rule($system, $append), $chat, '--depth', '2');
    like($out, qr/"maxDepth" does not match/, 'too deep');
    ($status, $out) = test(rule($system, $append, ',"enabled":false'), $chat);
    like($out, qr/^- a .*: is not enabled$/m, 'off');
    ($status, $out) = test(rule($system, $append), '{"input":"x"}', '--api',
                           'openai.embeddings');
    like($out, qr/does not happen with this API/, 'no prompt there');
    ($status, $out) = test(rule($system, $append), $chat, '--api', 'x');
    is($status, 2, 'no such API');

    # refusals, in the words of the caller's answer
    my $block = '{"rules":['
        . '{"id":"first","trigger":{"event":"chat.message"},"action":{"type":'
        . '"message","content":"Not for {{container.name}}."},"blocking":true},'
        . '{"id":"second","trigger":{"event":"chat.message"},"action":{"type":'
        . '"log","content":"x"}}]}';
    ($status, $out) = test($block, $chat);
    is($status, 1, 'a blocking rule');
    like($out, qr/^refused with 403 blocked_by_rule: Not for web-1\.$/m, 'text');
    like($out, qr/^- second .*: an earlier rule refused the request$/m, 'order');
    ($status, $out) = test($block, $chat, '--raw');
    is($out, '', 'nothing would be sent');

    ($status, $out) = test(rule($system, $append), undef, '--api',
                           'openai.files');
    is($status, 1, 'what cannot be looked into');
    like($out, qr/^refused with 403 blocked_by_rule: /m, 'is refused');

    ($status, $out) = test(rule($system, $append),
                           '{"model":"gpt-4o","prompt":{"id":"pmpt_1"}}',
                           '--api', 'openai.responses');
    like($out, qr/^refused with 403 blocked_by_rule: /m, 'a stored prompt too');

    ($status, $out) = test(rule($system, $append), '{"model":"gpt-4o",}');
    is($status, 1, 'no JSON');
    like($out, qr/^refused with 400 invalid_body: .*, at byte 18$/m, 'is told');
    ($status, $out) = test(rule($system, $append),
                           '{"model":"m","prompt":[1,2]}', '--api',
                           'openai.completions');
    is($status, 1, 'no place for it');
    like($out, qr/^refused with 400 invalid_body: /m, 'is told');

    ($status, $out, $err) = test('{"rules":[{}]}', $chat);
    is($status, 1, 'a bad file');
    like($err, qr/:1:11: error: "id" is missing/, 'is told');
}

# tool results, once each, in both dialects
{
    my $log = rule('"event":"tool.execute.after","toolName":"READ"',
                   '"type":"log","content":"{{tool.name}} {{tool.input.path}}"');
    my ($status, $out) = test($log, encode_json({ model => 'm', messages => [
        { role => 'user', content => 'x' },
        { role => 'assistant', content => undef, tool_calls => [
            map { { id => "c$_", type => 'function', function => {
                name => $_ == 3 ? 'bash' : 'read',
                arguments => "{\"path\":\"/f$_\"}" } } } 1 .. 3 ] },
        map { { role => 'tool', tool_call_id => "c$_", content => 'x' } } 1 .. 3,
    ] }));
    like($out, qr{^\+ a \(.*, tool read\): logs read /f1$}m, 'the first');
    like($out, qr{^\+ a \(.*, tool read\): logs read /f2$}m, 'the second');
    like($out, qr{^- a \(.*, tool bash\): "toolName" does not match$}m,
         'another tool');

    ($status, $out) = test($log, encode_json({ model => 'm', max_tokens => 1,
        messages => [
            { role => 'user', content => 'x' },
            { role => 'assistant', content => [{ type => 'tool_use', id => 't',
                name => 'Read', input => { path => '/f' } }] },
            { role => 'user', content => [{ type => 'tool_result',
                tool_use_id => 't', content => 'x' }] } ] }),
        '--api', 'anthropic.messages');
    like($out, qr{^\+ a \(.*, tool Read\): logs Read /f$}m, 'Anthropic');

    ($status, $out) = test($log, $chat);
    like($out, qr/^- a .*: no new result of a tool$/m, 'none');
}

# only the place of a change is shown of a long line
{
    my $long = 'x' x 5000;
    my ($status, $out) = test(rule($system, $append), encode_json({
        model => 'm', messages => [{ role => 'system', content => $long }] }));
    like($out, qr/^-\[\d+ bytes\] x{10,80}",?$/m, 'the end of what was');
    like($out, qr/^\+\[\d+ bytes\] x{10,80}\\n\\nBe kind\.",?$/m,
         'the end of what is');
}


# status

# A FastCGI program of one answer: [content for STDOUT], or a code.  Keeps the
# parameters that it was asked with.
sub serve {
    my ($answer) = @_;
    my $path = "$work/engine.sock";

    unlink $path;
    my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 5)
        or die "$path: $!\n";
    my $pid = fork() // die "fork: $!\n";
    return ($pid, $path) if $pid;

    $SIG{ALRM} = sub { _exit(1) };
    alarm 30;
    my $c = $listen->accept or _exit(1);
    my ($asked, $type) = ('', 0);
    while ($type != 5) {
        read($c, my $head, 8) == 8 or _exit(1);
        ($type, my $len, my $pad) = (unpack 'CCnnCC', $head)[1, 3, 4];
        my $content = '';
        read($c, $content, $len + $pad) if $len + $pad;
        $asked .= $content if $type == 4;
    }
    spew("$work/asked", $asked);
    $answer->($c);
    close $c;
    _exit(0);
}

sub record {
    my ($type, $content) = @_;

    return pack('CCnnCC', 1, $type, 1, length $content, 0, 0) . $content;
}

sub ask {
    my ($answer, @options) = @_;
    my ($pid, $path) = serve($answer);
    my @result = run('', 'rules', 'status', '--socket', $path, @options);

    kill 'TERM', $pid;
    waitpid($pid, 0);
    return @result;
}

my $end = record(3, pack('NCx3', 0, 0));
my %engine = (
    epoch => '1764069000123-9f2c51d2a0b1c3e4', file => '/etc/hoody.json',
    rules => 3, enabled => 2, overlay => 1, loaded_at => 1764069000123,
    last_error => undef, redis => 'connected',
    questions => { plan => 7, body => 9 }, answers => { 204 => 5, 200 => 11 },
    fired => { guardrail => 4 }, dropped_entries => 0,
);

sub answer {
    my ($json, $status) = @_;
    my $text = ($status // '') . "Content-Type: application/json\r\n\r\n$json";

    # in two records, another kind between them
    return sub {
        my ($c) = @_;
        print $c record(6, substr($text, 0, 20)), record(7, 'a message'),
            record(6, substr($text, 20)), record(6, ''), $end;
    };
}

{
    my ($status, $out, $err) = ask(answer(encode_json(\%engine)));
    is($status, 0, 'status');
    is($err, '', 'nothing on standard error');
    for my $line (qr/^epoch +1764069000123-9f2c51d2a0b1c3e4$/m,
                  qr/^file +\/etc\/hoody\.json$/m, qr/^rules +3$/m,
                  qr/^enabled +2$/m, qr/^overlay +1$/m,
                  qr/^loaded +2025-11-25 11:10:00 UTC$/m,
                  qr/^Redis +connected$/m, qr/^dropped entries +0$/m,
                  qr/^fired +guardrail 4$/m)
    {
        like($out, $line, "a line $line");
    }
    like($out, qr/^questions .*plan 7/m, 'questions');
    like(slurp("$work/asked"), qr/HOODY_ASKstatus/, 'what was asked');

    ($status, $out) = ask(answer(encode_json(\%engine)), '-o', 'json');
    is_deeply(decode_json($out), \%engine, 'status as JSON');

    ($status, $out) = ask(answer(encode_json({ %engine, last_error => {
        at => 1764069000123, where => '/etc/hoody.json', line => 7,
        column => 3, rule => 'a', reason => "\"x\" is \e[1m" } })));
    is($status, 1, 'the last reload failed');
    like($out, qr{^last error +/etc/hoody\.json:7:3: rule "a": "x" is \?}m,
         'is told');
    unlike($out, qr/\e/, 'without what steers a terminal');

    for my $case (['a 503' => answer('{}', "Status: 503 x\r\n")],
                  ['no JSON' => answer('<html>')],
                  ['no header' => sub { print {$_[0]} record(6, 'x'), $end }],
                  ['nothing' => sub { }],
                  ['garbage' => sub { print {$_[0]} 'HTTP/1.1 400 Bad' }],
                  ['half a record' =>
                       sub { print {$_[0]} substr(record(6, 'x' x 99), 0, 50) }],
                  ['overload' => sub { print {$_[0]} record(3,
                                                   pack('NCx3', 0, 2)) }])
    {
        my ($name, $code) = @$case;

        ($status, $out, $err) = ask($code);
        is($status, 3, "an engine that answers $name");
        like($err, qr/\Ahoody-ai rules status: \Q$work\E.*: \S/, 'says why');
    }

    my $began = time;
    ($status, $out, $err) = ask(sub { sleep 20 }, '--timeout', '300');
    is($status, 3, 'an engine that does not answer');
    cmp_ok(time - $began, '<', 10, 'in time');
    like($err, qr/no answer in time/, 'is told');

    ($status, $out, $err) = run('', 'rules', 'status', '--socket',
                                "$work/none.sock");
    is($status, 3, 'no engine');
    like($err, qr/No such file/, 'is told');
}


# the manual

my $manual = slurp("$root/docs/RULES.md");
my @examples = $manual =~ /^```json\n(.*?)^```$/msg;

cmp_ok(scalar @examples, '>', 12, 'the manual has examples');

my %seen;
for my $example (@examples) {
    my $document = eval { decode_json($example) };
    ok(ref $document, 'an example is JSON') or diag($example);
    my $whole = exists $document->{rules} || exists $document->{mitm};
    my ($status, $out, $err)
        = check($whole ? $example : "{\"rules\":[$example]}");
    is("$status$err", '0', 'an example is right') or diag($example);
    for my $rule ($whole ? @{ $document->{rules} // [] } : $document) {
        $seen{"event $rule->{trigger}{event}"} = 1;
        $seen{"action $rule->{action}{type}"} = 1;
    }
}

for my $thing ((map { "event $_" } qw(chat.system.transform chat.message
                chat.params tool.execute.before tool.execute.after
                session.error session.idle)),
               (map { "action $_" } qw(append prepend message set log webhook)))
{
    ok($seen{$thing}, "the manual has an example of the $thing");
}

{
    my ($body) = $manual =~ /^echo '(.*?)' \\$/m;
    my ($shown) = $manual =~ /^```diff\n(.*?)^```$/ms;
    my ($status, $out) = test($examples[0], $body, '--tags', 'prod');
    is($out, "$shown", 'what the manual shows is what comes');

    my ($entry) = $manual =~ /freeze \\\n +'(.*?)'\n/s;
    ($status) = check("{\"rules\":[$entry]}");
    is($status, 0, 'the entry of the overlay is right');
}

{
    my ($status, $out, $err)
        = run('', 'rules', 'check', "$root/conf/hoody.json.sample");
    is("$status$err", '0', 'the sample is right');
}


# the schema: both say the same of each of these

my @documents = (
    [1, slurp("$root/conf/hoody.json.sample")],
    (map { [1, $_] } map { /"(?:rules|mitm)"/ ? $_ : "{\"rules\":[$_]}" }
        @examples),
    [1, rule($system, $append, ',"x-note":{},"source":"base"')],
    [1, '{"rules":[],"tags":[{"id":"a","color":"#fff"},"b"],"version":{}}'],
    [1, '{"mitm":{"rules":[],"$comment":""},"agent":{}}'],
    [0, '[]'], [0, '{}'], [0, '{"mitm":{}}'], [0, '{"mitm":[]}'],
    [0, '{"rules":[],"mitm":{"rules":[]}}'], [0, '{"rules":{}}'],
    [0, '{"rules":[],"rule":[]}'], [0, '{"rules":[5]}'],
    [0, '{"rules":[],"tags":[{"label":"a"}]}'],
    [0, '{"rules":[],"tags":[{"id":"a","colour":"#fff"}]}'],
    (map { [0, $_] }
        rule("$system,\"tag\":[\"x\"]", $append),
        rule("$system,\"tags\":[]", $append),
        rule("$system,\"tags\":\"x\"", $append),
        rule("$system,\"tags\":[\"a b\"]", $append),
        rule("$system,\"models\":[1]", $append),
        rule("$system,\"containers\":[\"" . 'x' x 129 . '"]', $append),
        rule("$system,\"toolName\":\"x\"", $append),
        rule('"event":"chat.completion"', $append),
        rule('"tags":["x"]', $append),
        rule('"event":"session.error"', $append),
        rule('"event":"session.idle"', '"type":"set","field":"x","value":1'),
        rule('"event":"tool.execute.before"', '"type":"message","content":"x"',
             ',"blocking":true'),
        rule('"event":"chat.params"', $append),
        rule('"event":"chat.params"', '"type":"message","content":"x"'),
        rule($system, '"content":"x"'),
        rule($system, '"type":"replace","content":"x"'),
        rule($system, '"type":"append"'),
        rule($system, '"type":"append","content":""'),
        rule($system, "$append,\"url\":\"https://h\""),
        rule($system, $append, ',"enabled":"yes"'),
        rule($system, $append, ',"cooldownMs":-1'),
        rule($system, $append, ',"cooldownMs":1.5'),
        rule($system, $append, ',"maxDepth":0'),
        rule($system, $append, ',"maxDepth":101'),
        rule($system, $append, ',"blocking":null'),
        rule($system, $append, ',"enabledOverride":true'),
        (map { rule('"event":"chat.params"', "\"type\":\"set\",$_") }
            '"value":1', '"field":"x"', '"field":"stream","value":true',
            '"field":"messages","value":[]', '"field":"x","value":1,"max":2',
            '"field":"x","remove":false', '"field":"x","min":"1"',
            '"field":"x","value":1,"fallback":1', '"field":"model","max":1',
            '"field":"model","value":7', '"field":"model","value":""',
            '"field":"x","remove":true,"value":1'),
        (map { rule('"event":"session.error"', "\"type\":\"webhook\"$_") }
            '', ',"url":"ftp://h"', ',"url":"https:///x"',
            ',"url":"https://u@h/"', ',"url":"https://h/ "',
            ',"url":"https://h:0"', ',"url":"https://h:1234567/"',
            ',"url":"https://h:/"', ',"url":"https://[::1]:x/"',
            ',"url":"https://h","headers":{"Upgrade":"x"}',
            ',"url":"https://h","secretFile":"x"',
            ',"url":"https://h","headers":[]',
            ',"url":"https://h","headers":{"A":1}',
            ',"url":"https://h","headers":{"A b":"x"}',
            ',"url":"https://h","headers":{"host":"x"}',
            ',"url":"https://h","headers":{"A":"x\r\nB: y"}',
            ',"url":"https://h","content":"x"')),
    (map { [1, $_] }
        rule('"event":"chat.params"', '"type":"message","content":"x"',
             ',"blocking":true'),
        rule('"event":"tool.execute.after"', $append),
        (map { rule('"event":"chat.params"', "\"type\":\"set\",$_") }
            '"field":"x","value":null', '"field":"x","min":1',
            '"field":"x","max":1e3,"min":-0.5,"fallback":null',
            '"field":"model","remove":true', '"field":"model","value":"m"'),
        (map { rule('"event":"session.idle"', "\"type\":\"webhook\",$_") }
            '"url":"HTTPS://example.com:8443/a?b#c"',
            '"url":"https://[2001:db8::1]:443/x"', '"url":"https://[::1]"',
            '"url":"http://192.0.2.1/","headers":{"X-A":""}')),
);

for my $i (0 .. $#documents) {
    my ($good, $text) = @{ $documents[$i] };
    my ($status, $out, $err) = check($text);

    is($status, $good ? 0 : 1, "document $i: the program")
        or diag("$text\n$err");
    spew(sprintf('%s/%03d.json', $work, $i), $text);
}

# What cannot be written, and what could be taken for another message

{
    my $file = "$work/good.json";
    my $request = '{"model":"m","messages":[{"role":"user","content":"x"}]}';

    spew($file, '{"rules":[]}');
    spew("$work/in", $request);

    for my $command ("check '$file'", "check -o json '$file'",
        "test '$file' --container c <'$work/in'",
        "test --raw '$file' --container c <'$work/in'")
    {
        my $err = `'$program' rules $command 2>&1 >/dev/full`;

        is($? >> 8, 1, "$command: a full disk") or diag($err);
        like($err, qr/standard output cannot be written/, 'with a message');
    }

    my ($status, undef, $err) = run($request, 'rules', 'test',
        "$work/missing", '--container', 'c');

    is($status, 1, 'test: a file that is not there');
    is($err, "$work/missing: error: cannot be read: "
        . "No such file or directory\n", 'a message as that of check');

    ($status, undef, $err) = check(rule('"event":"session.error"',
        '"type":"webhook","url":"https://x.example/",'
        . '"headers":{"A\\nb.json:1:1: error: forged":"x"}'));
    is($status, 1, 'a name with a line feed');
    like($err, qr/forged/, 'is told');
    unlike($err, qr/^b\.json/m, 'it makes no line of its own');

    ($status, undef, $err) = run('', 'rules', 'status', '--socket',
        '127.0.0.1:65537');
    is($status, 3, 'status: a port that is none');
    like($err, qr/65535/, 'with a message');
}

SKIP: {
    skip('no python3 with jsonschema', scalar @documents)
        if system('python3 -c "import jsonschema" 2>/dev/null') != 0;

    spew("$work/schema.py", <<'END');
import json, sys
import jsonschema

schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for name in sys.argv[2:]:
    errors = list(validator.iter_errors(json.load(open(name))))
    print(errors[0].message.replace("\n", " ")[:100] if errors else "valid")
END
    my @said = split /\n/, join '', qx{python3 '$work/schema.py' \\
        '$root/fcgi-backend/rules.schema.json' $work/???.json};

    is(scalar @said, scalar @documents, 'the schema is one');
    for my $i (0 .. $#documents) {
        my ($good, $text) = @{ $documents[$i] };

        is(($said[$i] // '') eq 'valid' ? 1 : 0, $good,
           "document $i: the schema") or diag("$text\n$said[$i]");
    }
}

done_testing();
