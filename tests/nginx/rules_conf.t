#!/usr/bin/perl

# hoody_ai_rules in odd company: whatever else nginx is told to do in the
# gateway's location or in the internal one, a request has its rule or goes
# nowhere.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use HoodyAI::Engine;
use HoodyAI::System qw(chat wait_for free_port slurp spew);

my $s = HoodyAI::System->new;
my $guard = 'Never delete anything.';
my $nowhere = free_port();

$s->redis;
$s->container('dev-env', addresses => '127.0.0.1', tags => 'prod');

my $provider = $s->provider;
my %engine;

for my $name (qw(plan body)) {
    $engine{$name} = HoodyAI::Engine->new($s, name => $name, rules => [
        { id => 'guard', trigger => { event => 'chat.system.transform' },
          action => { type => 'append', content => $guard } }],
        args => $name eq 'body' ? ['--no-plan'] : []);
    chmod 0777, $engine{$name}{socket};
}

# An engine that changes nothing: who asks it has got around the rule.
my $epoch = $s->cmd('GET', $s->rkey('rules:epoch'));
my $evil = $s->fake('evil', sub {
    my ($socket) = @_;
    my $in = '';

    # until the empty record of STDIN
    while ($in !~ /\x01\x05\0\x01\0\0..\z/s) {
        sysread $socket, $in, 65536, length $in or return;
    }

    my $out = "Status: 204\r\nX-Hoody-Epoch: $epoch\r\n\r\n";
    syswrite $socket, pack('CCnnxx', 1, 6, 1, length $out) . $out
        . pack('CCnnxx', 1, 6, 1, 0) . pack('CCnnxxNx4', 1, 3, 1, 8, 0);
}, raw => 1);

my $fastcgi = 'internal;
    include ' . $s->root . '/conf/hoody_ai_rules_params;
    fastcgi_keep_conn on;';

# name, status expected ("good": with the rule; "closed": 503 and nothing
# sent; "any": one of both), in the gateway's location, in the internal one,
# in the server
my @cases = (
    ['plain', 'good', '', ''],
    ['if', 'good', 'if ($request_method = POST) { add_header x-if 1; }', ''],
    ['if with a key', 'good',
        'if ($http_x_none = "") { set $x 1; }', ''],
    ['limit_except', 'good', 'limit_except GET { allow all; }', ''],
    ['a mirror', 'good', 'mirror /mirror-NAME;', '',
        'location = /mirror-NAME { internal; return 204; }'],
    ['a mirror without bodies', 'good',
        'mirror /mirror-NAME; mirror_request_body off;', '',
        'location = /mirror-NAME { internal; return 204; }'],
    ['a mirror that fails', 'good', 'mirror /mirror-NAME;', '',
        "location = /mirror-NAME { internal;
            proxy_pass http://127.0.0.1:$nowhere; }"],
    ['auth_request', 'good', 'auth_request /auth-NAME;', '',
        'location = /auth-NAME { internal; return 204; }'],
    ['auth_request that asks', 'good', 'auth_request /auth-NAME;', '',
        "location = /auth-NAME { internal; fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }", 'any'],
    ['SSI', 'good', 'ssi on; ssi_types *;', 'ssi on; ssi_types *;'],
    ['gzip', 'good', 'gzip on; gzip_types *; gzip_min_length 1;',
        'gzip on; gzip_types *; gzip_min_length 1;'],
    ['gunzip', 'good', 'gunzip on;', 'gunzip on;'],
    ['sub_filter', 'good', '',
        'sub_filter Never Always; sub_filter_types *; sub_filter_once off;'],
    ['addition', 'any', '', 'add_before_body /mirror-NAME;
        addition_types *;', 'location = /mirror-NAME { return 200 x; }'],
    ['limit_req', 'good', 'limit_req zone=many burst=1000 nodelay;',
        'limit_req zone=few;'],
    ['limit_conn', 'good', 'limit_conn conns 100;', 'limit_conn conns 1;'],
    ['limit_rate', 'good', 'limit_rate 1m;', 'limit_rate 1;'],
    ['postpone_output', 'good', 'postpone_output 0;', 'postpone_output 9000;'],
    ['an error page', 'good', 'error_page 503 =200 /page-NAME;',
        'error_page 403 404 500 502 503 504 =200 /page-NAME;',
        'location = /page-NAME { return 200 "{}"; }'],
    ['an error page for a broken engine', 'closed', '',
        "error_page 502 =200 /other-NAME; fastcgi_pass 127.0.0.1:$nowhere;",
        "location = /other-NAME { internal; fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }"],
    ['a named error page for a broken engine', 'closed', '',
        "error_page 502 =200 \@other-NAME; fastcgi_pass 127.0.0.1:$nowhere;",
        "location \@other-NAME { fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }"],
    ['rewrite away', 'closed', '', 'rewrite ^ /other-NAME last;',
        "location = /other-NAME { internal; fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }"],
    ['rewrite in place', 'good', '', 'rewrite ^ /x break;'],
    ['return 204', 'closed', '', 'return 204;'],
    ['return 200', 'closed', '', 'return 200 "{}";'],
    ['return 403', 'closed', '', 'return 403;'],
    ['return 444', 'closed', '', 'return 444;'],
    ['return 499', 'any', '', 'return 499;'],
    ['if in the internal one', 'any', '',
        'if ($uri) { set $y 1; }'],
    ['if with another engine', 'closed', '',
        'if ($uri) { fastcgi_pass EVIL; }'],
    ['try_files', 'any', '', 'try_files /nothing =403;'],
    ['try_files to another', 'closed', '', 'try_files /nothing /other-NAME;',
        "location = /other-NAME { internal; fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }"],
    ['deny', 'any', '', 'deny all;'],
    ['satisfy', 'any', '', 'satisfy any; deny all;'],
    ['log_subrequest', 'good', 'log_subrequest on;', 'log_subrequest on;'],
    ['a mirror of the question', 'any', '', 'mirror /mirror-NAME;',
        'location = /mirror-NAME { internal; return 204; }'],
    ['auth_request for the question', 'any', '', 'auth_request /auth-NAME;',
        'location = /auth-NAME { internal; return 403; }'],
    ['the way of the answer', 'closed', '', 'fastcgi_hide_header X-Hoody-Epoch;
        fastcgi_hide_header Content-Type; fastcgi_ignore_headers Expires;'],
    ['a parameter twice', 'any', '', 'fastcgi_param HOODY_ASK "";'],
    ['small buffers', 'any', '', 'fastcgi_buffer_size 1k;
        fastcgi_buffers 2 1k; fastcgi_busy_buffers_size 1k;
        fastcgi_max_temp_file_size 0;'],
    ['not buffered', 'good', 'proxy_request_buffering off;',
        'fastcgi_request_buffering off; fastcgi_buffering off;'],
    ['body off', 'good', '', 'fastcgi_pass_request_body off;'],
    ['a body of its own', 'any', '', 'fastcgi_pass_request_body off;
        client_body_in_file_only on; client_body_buffer_size 8;'],
    ['slow in pieces', 'good', '', 'sendfile_max_chunk 1; output_buffers 1 1k;'],
    ['index', 'good', '', 'etag on; chunked_transfer_encoding off;
        max_ranges 1; if_modified_since before; expires 1h;
        add_header X-Hoody-Epoch evil always; add_trailer a b always;'],
    ['charset', 'good', 'charset utf-8;', 'charset utf-8;
        source_charset utf-8; charset_types *;'],
    ['a regex that is nearer', 'closed', '', '',
        "location ~ ^/rules-NAME { fastcgi_pass EVIL;
            include " . $s->root . "/conf/hoody_ai_rules_params; }", 'prefix'],
    ['nested in the internal one', 'closed', '',
        "location ~ rules { fastcgi_pass EVIL; }", '', 'prefix'],
    ['a rewrite of the gateway', 'any',
        'rewrite ^/[^/]*/v1/(.*)$ /plain-plan/v1/$1 last;', ''],
    ['a rewrite in the gateway', 'any', 'rewrite ^(.*)$ $1 break;', ''],
    ['try_files of the gateway', 'any', 'try_files /nothing @open-NAME;', '',
        'location @open-NAME { proxy_pass http://provider; }'],
    ['post_action', 'good', 'post_action /mirror-NAME;', '',
        'location = /mirror-NAME { return 204; }'],
    ['slices', 'good', 'slice 1k;', ''],
);

# what this nginx was built without
my %module = (auth_request => 'auth_request', sub_filter => 'sub',
    add_before_body => 'addition', slice => 'slice', gunzip => 'gunzip');
my $built = do { my $nginx = $s->nginx_binary; `$nginx -V 2>&1` };

@cases = grep {
    my $text = join ' ', map { $_ // '' } @$_;

    !grep { $text =~ /\b$_ / && $built !~ /--with-http_$module{$_}_module/ }
        keys %module;
} @cases;

my (@locations, %kind);

for my $i (0 .. $#cases) {
    my ($text, $status, $gateway, $internal, $server, $more) = @{$cases[$i]};

    for my $way (qw(plan body)) {
        my $name = $i ? "case-$i-$way" : "plain-$way";
        my $modifier = ($more // '') eq 'prefix' ? '' : '=';
        my $pass = $internal =~ /fastcgi_pass (?:EVIL|127)/
            && $internal !~ /if \(|location/ ? ''
            : "fastcgi_pass unix:$engine{$way}{socket};";
        my $all = "
            location /$name/v1/ {
                hoody_ai on;
                hoody_ai_credential openai;
                hoody_ai_rules /rules-NAME timeout=1s;
                proxy_pass http://provider/v1/;
                $gateway
            }
            location $modifier /rules-NAME { $fastcgi $pass $internal }
            " . ($server // '') . "\n";

        push @locations, $all =~ s/NAME/$name/gr
            =~ s/EVIL/$evil/gr;
        $kind{$name} = ["$text, $way", $status];
    }
}

$s->nginx(http => "
    upstream provider { server %%PROVIDER%%; keepalive 8; }
    limit_req_zone \$server_port zone=many:1m rate=1000r/s;
    limit_req_zone \$server_port zone=few:1m rate=1r/m;
    limit_conn_zone \$server_port zone=conns:1m;
    server {
        listen 127.0.0.1:%%PORT%%;
        @locations
    }");

for my $name (map { my $i = $_; map { $i ? "case-$i-$_" : "plain-$_" }
    qw(plan body) } 0 .. $#cases)
{
    my ($text, $status) = @{$kind{$name}};

    # a plan is kept for a model, whatever the location
    for my $round (1, 2) {
        my $answer = $s->ask('POST', "/$name/v1/chat/completions",
            token => "dev-env", body => chat(model => "$name-$round"));
        my @seen = map { $_->{body} // '' } $provider->requests;
        my $bare = grep { index($_, $guard) < 0 } @seen;

        $provider->forget;
        is($bare, 0, "$text: nothing without the rule") or diag("@seen");

        if ($status eq 'good') {
            is($answer->{status}, 200, "$text: 200") or diag($answer->{body});
            is(scalar @seen, 1, "$text: sent");

        } elsif ($status eq 'closed') {
            is($answer->{status}, 503, "$text: 503");
            is($answer->{json}{error}{code}, 'rules_unavailable',
                "$text: why");
            is(scalar @seen, 0, "$text: nothing sent");

        } else {
            note("$text: $answer->{status}, ", scalar @seen, ' sent');
        }
    }
}

$s->finish;
