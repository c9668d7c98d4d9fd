# Files of secrets: every fault is a configuration error that names the file
# and the cause, never the content.
#
# asan: no, most of it is starting nginx with files that are wrong

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

our $folder = secret_folder();
our %canary = map { $_ => "sk-hai-fixture-$_-" . int(rand(1e9)) . 'q' }
    qw(good one two binary mode);

# looked for like every other key
fixture_key($_, $canary{$_}) for sort keys %canary;

sub file {
    my ($name, $content, $mode, $in) = @_;
    my $path = ($in // $folder) . "/$name";

    open(my $out, '>', $path) or die "$path: $!\n";
    binmode $out;
    print $out $content;
    close($out) or die "$path: $!\n";
    chmod($mode // 0600, $path) or die "$path: $!\n";
}

sub folder {
    my ($name, $mode, $owner) = @_;
    my $path = "$folder/$name";

    mkdir $path or die "$path: $!\n";
    file('good', "$canary{good}\n", 0600, $path);
    chmod($mode, $path) or die "$path: $!\n";
    chown($owner, $owner, $path) or die "$path: $!\n" if $owner;
}

my $is_root = $> == 0;

file('good', "$canary{good}\n");
file('bare', $canary{good});
file('crlf', "$canary{good}\r\n");
file('read-only', "$canary{good}\n", 0400);
file('long', 'k' x 8192 . "\n");
file('empty', '');
file('newline', "\n");
file('two-newlines', "$canary{one}\n\n");
file('two-lines', "$canary{one}\n$canary{two}\n");
file('cr', "$canary{one}\r$canary{two}\n");
file('nul', "$canary{binary}\0\n");
file('tab', "$canary{binary}\tx\n");
file('latin', "$canary{binary}\xe9\n");
file('bom', "\xef\xbb\xbf$canary{binary}\n");
file('space-before', " $canary{binary}\n");
file('space-behind', "$canary{binary} \n");
file('too-long', 'k' x 8193 . "\n");
file('far-too-long', 'k' x 1000000);
file(sprintf('mode-%04o', $_), "$canary{mode}\n", $_)
    for 0604, 0640, 0644, 0660, 0666, 0610, 0601, 0620, 0602;
file('nobody', "$canary{mode}\n");
chown(65534, 65534, "$folder/nobody") if $is_root;

mkdir "$folder/folder";
system("mkfifo -m 600 $folder/fifo") == 0 or die "mkfifo\n";
symlink('good', "$folder/link");
symlink("$folder/link", "$folder/link-to-link");
symlink('loop', "$folder/loop");
symlink('missing', "$folder/dangling");
symlink('mode-0644', "$folder/link-to-bad");

folder('open', 0700);
folder('readable', 0755);
folder('group-writable', 0770);
folder('world-writable', 0777);
folder('sticky', 01777);
folder('of-nobody', 0700, $is_root ? 65534 : 0);
symlink("$folder/world-writable", "$folder/way-in");
symlink("$folder/world-writable/../good", "$folder/way-through");
symlink("$folder/open", "$folder/way");

# a symbolic link that somebody else owns
symlink('good', "$folder/foreign");
system("chown -h 65534 $folder/foreign") if $is_root;

repeat_each(2);
run_tests();

__DATA__

=== TEST 1: files that are as they should be
--- http_config eval
my $i = 0;
CORE::join "\n", map { "hoody_ai_secret x" . $i++ . " $main::folder/$_;" }
    qw(good bare crlf read-only long link link-to-link open/good readable/good
       sticky/good way/good open/../good ./good open//good)
--- cases
200



=== TEST 2: a path that is relative to the configuration
--- http_config eval
my $up = '../' x 20;
"hoody_ai_secret x $up$main::folder/good;"
--- cases
200



=== TEST 3: the end of line does not belong to the key
--- http_config eval
"hoody_ai_secret x $main::folder/crlf;"
--- config eval
HoodyAI::config() =~ s/credential openai/credential x/r
--- request
GET /v1/models
--- more_headers
Authorization: Bearer container-dev-env
--- error_code: 401
--- provider
GET /v1/models
authorization: Bearer {key:good}



=== TEST 4: no such file
--- http_config eval
"hoody_ai_secret x $main::folder/missing;"
--- must_die
--- error_log eval
qq{stat() "missing" of secret file "$main::folder/missing" failed (2: No such file or directory)}



=== TEST 5: a folder that is not there
--- http_config eval
"hoody_ai_secret x $main::folder/none/missing;"
--- must_die
--- error_log eval
qq{stat() "none" of secret file "$main::folder/none/missing" failed (2: No such file or directory)}



=== TEST 6: a file where a folder should be
--- http_config eval
"hoody_ai_secret x $main::folder/good/x;"
--- must_die
--- error_log eval
qq{folder "good" of secret file "$main::folder/good/x" failed (20: Not a directory)}



=== TEST 7: an empty file
--- http_config eval
"hoody_ai_secret x $main::folder/empty;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/empty" is empty}



=== TEST 8: an empty line
--- http_config eval
"hoody_ai_secret x $main::folder/newline;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/newline" is empty}



=== TEST 9: two lines
--- http_config eval
"hoody_ai_secret x $main::folder/two-lines;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/two-lines" has more than one line}



=== TEST 10: an empty second line
--- http_config eval
"hoody_ai_secret x $main::folder/two-newlines;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/two-newlines" has more than one line}



=== TEST 11: lines of an old kind
--- http_config eval
"hoody_ai_secret x $main::folder/cr;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/cr" has more than one line}



=== TEST 12: a NUL
--- http_config eval
"hoody_ai_secret x $main::folder/nul;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/nul" has a byte at offset}



=== TEST 13: a tab
--- http_config eval
"hoody_ai_secret x $main::folder/tab;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/tab" has a byte at offset}



=== TEST 14: a letter that is not ASCII
--- http_config eval
"hoody_ai_secret x $main::folder/latin;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/latin" has a byte at offset}



=== TEST 15: a byte order mark
--- http_config eval
"hoody_ai_secret x $main::folder/bom;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/bom" has a byte at offset 0 that is not printable ASCII}



=== TEST 16: a space in front
--- http_config eval
"hoody_ai_secret x $main::folder/space-before;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/space-before" begins or ends with a space}



=== TEST 17: a space behind
--- http_config eval
"hoody_ai_secret x $main::folder/space-behind;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/space-behind" begins or ends with a space}



=== TEST 18: a byte too many
--- http_config eval
"hoody_ai_secret x $main::folder/too-long;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/too-long" is larger than 8192 bytes}



=== TEST 19: far too long
--- http_config eval
"hoody_ai_secret x $main::folder/far-too-long;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/far-too-long" is larger than 8192 bytes}



=== TEST 20: mode 0604
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0604;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0604" has mode 0604, group and others must have no access}



=== TEST 21: mode 0640
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0640;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0640" has mode 0640, group and others must have no access}



=== TEST 22: mode 0644
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0644;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0644" has mode 0644, group and others must have no access}



=== TEST 23: mode 0660
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0660;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0660" has mode 0660, group and others must have no access}



=== TEST 24: mode 0666
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0666;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0666" has mode 0666, group and others must have no access}



=== TEST 25: mode 0610
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0610;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0610" has mode 0610, group and others must have no access}



=== TEST 26: mode 0601
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0601;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0601" has mode 0601, group and others must have no access}



=== TEST 27: mode 0620
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0620;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0620" has mode 0620, group and others must have no access}



=== TEST 28: mode 0602
--- http_config eval
"hoody_ai_secret x $main::folder/mode-0602;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0602" has mode 0602, group and others must have no access}



=== TEST 29: a folder
--- http_config eval
"hoody_ai_secret x $main::folder/folder;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/folder" is not a regular file}



=== TEST 30: a pipe, which nobody waits for
--- http_config eval
"hoody_ai_secret x $main::folder/fifo;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/fifo" is not a regular file}



=== TEST 31: a device
--- http_config eval
"hoody_ai_secret x $main::folder/../../../../../../dev/null;"
--- must_die
--- error_log eval
qq{null" is not a regular file}



=== TEST 32: a link to itself
--- http_config eval
"hoody_ai_secret x $main::folder/loop;"
--- must_die
--- error_log eval
qq{too many or too long symbolic links on the path of secret file "$main::folder/loop"}



=== TEST 33: a link to nothing
--- http_config eval
"hoody_ai_secret x $main::folder/dangling;"
--- must_die
--- error_log eval
qq{of secret file "$main::folder/dangling" failed (2: No such file or directory)}



=== TEST 34: a link to a file with a fault
--- http_config eval
"hoody_ai_secret x $main::folder/link-to-bad;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/link-to-bad" has mode 0644}



=== TEST 35: a folder that its group may write to
--- http_config eval
"hoody_ai_secret x $main::folder/group-writable/good;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/group-writable/good" has mode 0770}



=== TEST 36: a folder that everybody may write to
--- http_config eval
"hoody_ai_secret x $main::folder/world-writable/good;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/world-writable/good" has mode 0777}



=== TEST 37: a link into such a folder
--- http_config eval
"hoody_ai_secret x $main::folder/way-in/good;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/way-in/good" has mode 0777}



=== TEST 38: a link that leads through such a folder
--- http_config eval
"hoody_ai_secret x $main::folder/way-through;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/way-through" has mode 0777, others than its owner may write to it: "$main::folder/world-writable"}



=== TEST 39: a path that leads through such a folder
--- http_config eval
"hoody_ai_secret x $main::folder/world-writable/../good;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/world-writable/../good" has mode 0777}



=== TEST 40: an empty name
--- http_config eval
"hoody_ai_secret x $main::folder/;"
--- must_die
--- error_log eval
qq{does not name a secret file}



=== TEST 41: a file of another user
--- http_config eval
"hoody_ai_secret x $main::folder/nobody;"
--- must_die
--- error_log eval
qq{secret file "$main::folder/nobody" belongs to user 65534, not to root}
--- skip_eval: 4: $> != 0



=== TEST 42: a folder of another user
--- http_config eval
"hoody_ai_secret x $main::folder/of-nobody/good;"
--- must_die
--- error_log eval
qq{a folder on the path of secret file "$main::folder/of-nobody/good" belongs to user 65534, not to root}
--- skip_eval: 4: $> != 0



=== TEST 43: a link of another user
--- http_config eval
"hoody_ai_secret x $main::folder/foreign;"
--- must_die
--- error_log eval
qq{symbolic link "foreign" on the path of secret file "$main::folder/foreign" belongs to user 65534, not to root}
--- skip_eval: 4: $> != 0



=== TEST 44: the password of Redis is a secret like the others
--- redis_conf eval
"unix:$ENV{TEST_NGINX_REDIS_SOCKET} password_file=$main::folder/mode-0644"
--- must_die
--- error_log eval
qq{secret file "$main::folder/mode-0644" has mode 0644}



=== TEST 45: a key is not a word of the message about its parameters
--- http_config eval
"hoody_ai_secret x $main::folder/good nonsense;"
--- must_die
--- error_log
invalid parameter "nonsense"



=== TEST 46: one secret too many
--- http_config eval
CORE::join "\n", map { "hoody_ai_secret x$_ $main::folder/good;" } 1 .. 1000
--- must_die
--- error_log
is one secret too many
