#!/usr/bin/perl

# Every snippet, the sample, and every example of the manual, loaded by
# "nginx -t".
#
# What differs from the files as they are shipped: key files and logs lie in
# folders of the test, listeners are on loopback, and where the machine cannot
# resolve the providers' names (or HAI_OFFLINE is set) their upstreams name an
# address instead.  With names that resolve nothing is put in their place.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Socket qw(getaddrinfo);
use Test::More;

my $root = $ENV{HAI_ROOT} // abs_path(dirname(__FILE__) . '/../..');
my $nginx = $ENV{HAI_NGINX} // '/usr/sbin/nginx';
my $module = $ENV{HAI_MODULE} // "$root/build/ngx_http_hoody_ai_module.so";

plan(skip_all => "no $nginx") unless -x $nginx;
plan(skip_all => "no $module") unless $module eq '' || -e $module;

my $work = tempdir('conf.XXXX', DIR => $ENV{HAI_WORK} // '/tmp',
                   CLEANUP => 1);
my $secrets = tempdir('conf.XXXX', DIR => $ENV{HAI_SECRETS} // '/tmp',
                      CLEANUP => 1);
my $key = 'sk-conf-' . join('', map { sprintf '%02x', rand 256 } 1 .. 12);

for my $name (qw(openai.key anthropic.key redis.password)) {
    write_file("$secrets/$name", "$key\n");
    chmod(0600, "$secrets/$name");
}

my %known = map { $_ => resolves("api.$_.com") } qw(openai anthropic);

diag('no address for api.openai.com: upstreams are replaced')
    unless $known{openai};

# the folder of nginx.conf as "make install" leaves it
sub prepare {
    my $prefix = tempdir('nginx.XXXX', DIR => $work);

    make_path("$prefix/hoody-ai", "$prefix/logs");
    for my $file (glob("$root/conf/*")) {
        my ($name) = $file =~ m{([^/]+)\z};

        write_file("$prefix/hoody-ai/$name",
                   adapt($prefix, read_file($file)));
    }
    return $prefix;
}

sub adapt {
    my ($prefix, $text) = @_;

    $text =~ s{/etc/hoody-ai/secrets/}{$secrets/}g;
    $text =~ s{/etc/hoody-ai/redis}{$secrets/redis}g;
    $text =~ s{/var/log/nginx/}{$prefix/logs/}g;
    $text =~ s{unix:/run/hoody-ai/[^;]*}{unix:$prefix/listen.sock}g;
    $text =~ s{^(\s*#?\s*listen )\d+\.\d+\.\d+\.\d+:}{${1}127.0.0.1:}mg;
    for my $api (keys %known) {
        next if $known{$api};
        $text =~ s{server api\.$api\.com:443}{server 127.0.0.1:443};
    }
    return $text;
}

# (exit status 0?, what nginx said)
sub check {
    my ($prefix, $main, $more) = @_;
    my $conf = "$prefix/nginx.conf";

    write_file($conf, $main);
    my $out = `$nginx -t @{[$more // '']} -p $prefix -c $conf -e stderr 2>&1`;
    return ($? == 0, $out);
}

sub loads {
    my ($name, $prefix, $main) = @_;
    my ($ok, $out) = check($prefix, $main);

    ok($ok, $name) or diag($out, "\n", $main);
    unlike($out, qr/\[warn\]|no key will be sent/, "$name, without warnings");
}

# a whole nginx.conf with this at the http level
sub http {
    my ($prefix, $text) = @_;
    my $temp = join("\n", map { "    ${_}_temp_path $prefix/$_;" }
                    qw(client_body proxy fastcgi uwsgi scgi));

    return main($prefix) . "http {\n$temp\n    access_log off;\n$text\n}\n";
}

sub main {
    my ($prefix) = @_;
    my $load = $module ne '' ? "load_module $module;\n" : '';

    return "${load}pid $prefix/nginx.pid;\nevents {}\n";
}

my $server = <<'END';
    server {
        listen 127.0.0.1:8080;
        location /openai/v1/ { include hoody-ai/hoody_ai_openai.conf; }
    }
END

# the sample as it is

{
    my $prefix = prepare();

    rename("$prefix/hoody-ai/hoody-ai.conf.sample",
           "$prefix/hoody-ai/hoody-ai.conf") or die;
    loads('the sample', $prefix,
          http($prefix, "    include hoody-ai/hoody-ai.conf;\n$server"));

    my ($ok, $out) = check($prefix, read_file("$prefix/nginx.conf"), '-T');
    ok($ok, 'nginx -T');
    unlike($out, qr/\Q$key/, 'nginx -T shows no key');
}

# the sample with every line that is commented out; of lines that may stand
# only once the last

{
    my $prefix = prepare();
    my $text = read_file("$prefix/hoody-ai/hoody-ai.conf.sample");

    $text =~ s/^#(?=[a-z}]|$|    [a-z}]|        [a-z}]| {20,}\S)//mg;
    1 while $text =~ s/^hoody_ai_redis [^;]*;\n(?=.*^hoody_ai_redis )//ms;
    write_file("$prefix/hoody-ai/hoody-ai.conf", $text);

    loads('the sample with everything in it', $prefix,
          http($prefix, "    include hoody-ai/hoody-ai.conf;"));

    for my $directive (directives()) {
        next if $directive =~ /^hoody_ai(?:_zone|_status)?$/;
        like($text, qr/^\s*$directive\s/m, "the sample has $directive");
    }
}

# each snippet for its own

{
    my $prefix = prepare();

    for my $api (qw(openai anthropic)) {
        my $header = $api eq 'anthropic' ? ' header=x-api-key' : '';

        loads("$api alone", $prefix, http($prefix, <<"END"));
    hoody_ai_secret $api $secrets/$api.key$header;
    include hoody-ai/hoody_ai_log.conf;
    include hoody-ai/hoody_ai_${api}_upstream.conf;
    server {
        listen 127.0.0.1:8080;
        location /x/v1/ { include hoody-ai/hoody_ai_$api.conf; }
    }
END
    }
}

# what a reader copies out of the manual

for my $file ("$root/README.md", glob("$root/docs/*.md")) {
    my ($name) = $file =~ m{([^/]+)\z};
    my $text = read_file($file);
    my $n = 0;

    while ($text =~ /^```nginx\n(.*?)^```$/msg) {
        my $prefix = prepare();
        my $example = adapt($prefix, $1);

        $n++;
        rename("$prefix/hoody-ai/hoody-ai.conf.sample",
               "$prefix/hoody-ai/hoody-ai.conf") or die;
        loads("$name, example $n", $prefix, around($prefix, $example));
    }
}

# An example is a whole file, a part of http, of a server or of a location.
# What it leaves out is what the sample says.
sub around {
    my ($prefix, $text) = @_;
    my $sample = "    include hoody-ai/hoody-ai.conf;\n";

    if ($text =~ /^http \{/m) {
        $text =~ s{^load_module [^\n]*\n}{}m;
        $text =~ s{^user [^\n]*\n}{}m if $> != 0;
        return main($prefix) . ($text =~ s/^events \{\}\n//mr);
    }
    if ($text =~ /^(?:server|map|upstream|log_format) /m
        || $text =~ /^hoody_ai_(?:redis|server|secret|zone|body_memory) /m)
    {
        if ($text =~ /hoody_ai_secret /) {
            $sample = "include hoody-ai/hoody_ai_log.conf;\n"
                      . "include hoody-ai/hoody_ai_openai_upstream.conf;\n";
        }
        $sample = '' if $text =~ m{include hoody-ai/hoody-ai\.conf;};
        return http($prefix, $sample . $text);
    }
    if ($text =~ /^(?:location|listen) /m) {
        return http($prefix, "$sample server { $text }");
    }
    return http($prefix, <<"END");
$sample
    server { location /x/v1/ { include hoody-ai/hoody_ai_openai.conf; $text } }
END
}

# every directive and every variable has its place in the manual

{
    my $text = read_file("$root/docs/DIRECTIVES.md");

    for my $directive (directives()) {
        like($text, qr/^## $directive$/m, "the manual has $directive");
    }

    my $source = read_file(
        "$root/ngx_http_hoody_ai_module/ngx_http_hoody_ai_variables.c");
    my $variables = read_file("$root/docs/VARIABLES.md");

    my @found = $source =~ /\{ ngx_string\("(hoody_ai_\w+)"\), NULL/g;

    cmp_ok(scalar(my @names = directives()), '>=', 13, 'directives of the source');
    cmp_ok(@found, '>=', 9, 'variables of the source');

    for my $name (@found) {
        like($variables, qr/`\$$name`/, "the manual has \$$name");
    }

    my $routes = read_file("$root/common/hai_route.c");

    @found = $routes =~ /^    ROUTE\("([^"]+)"/mg;
    cmp_ok(@found, '>=', 31, 'routes of the source');

    for my $route (@found) {
        like($text, qr/`\Q$route\E`/, "the manual has the route $route");
    }

    my $errors = read_file(
        "$root/ngx_http_hoody_ai_module/ngx_http_hoody_ai_error.c");

    my $rows = 0;

    while ($errors =~ /row\(([45]\d\d), "(\w+)", "(\w+)"/g) {
        $rows++;
        like($text, qr/^\|[^\n]*\b$1\b[^\n]*`$2`[^\n]*`$3`/m,
             "the manual has the outcome $3");
    }

    cmp_ok($rows, '>=', 20, 'outcomes of the source');
}

done_testing();


sub directives {
    my $source = read_file(
        "$root/ngx_http_hoody_ai_module/ngx_http_hoody_ai_module.c");

    return $source =~ /^    \{ ngx_string\("(hoody_ai\w*)"\),/mg;
}

sub resolves {
    my ($name) = @_;

    return 0 if $ENV{HAI_OFFLINE};

    my ($error, @found) = getaddrinfo($name, '443');
    return !$error && @found > 0;
}

sub read_file {
    my ($file) = @_;

    open(my $in, '<', $file) or die "$file: $!";
    local $/;
    return scalar <$in>;
}

sub write_file {
    my ($file, $text) = @_;

    open(my $out, '>', $file) or die "$file: $!";
    print $out $text;
    close($out) or die "$file: $!";
}
