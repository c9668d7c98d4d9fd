package HoodyAI::Schema;

# A Redis as redis-schema/ wants it: redis.conf and all files of acl/ with
# their places filled in, and a user "admin" who may do everything.
#
#     my $schema = HoodyAI::Schema->start($s);
#
#     $schema->be('admin');                  # who $s->cmd is; undef: nobody
#     $schema->words('gateway');             # for hoody_ai_redis and --redis
#
#     HoodyAI::Schema::acl($s, $password);   # the text of an ACL file

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);

use HoodyAI::System qw(slurp spew wait_for);


sub start {
    my ($class, $s) = @_;

    my $schema = $s->root . '/redis-schema';
    my $dir = "$s->{dir}/redis";
    my $password = 'hai-schema-'
        . join '', map { sprintf '%x', rand 16 } 1 .. 20;
    my $conf = slurp("$schema/redis.conf");

    for (["/var/lib/hoody-ai/redis", $dir],
        ["/run/hoody-ai/redis.sock", "$dir/redis.sock"],
        ["/etc/hoody-ai/redis.acl", "$dir/redis.acl"])
    {
        my ($from, $to) = @$_;

        $conf =~ s/\Q$from\E$/$to/m or die "redis.conf has no $from\n";
    }

    mkdir $dir or die "$dir: $!\n";
    spew("$dir/redis.acl", acl($s, $password), 0600);
    spew("$dir/redis.conf", $conf, 0600);

    my $file = "$s->{secrets}/redis.password";

    spew($file, "$password\n", 0600);

    $s->{redis_socket} = "$dir/redis.sock";
    $s->spawn('redis', ['/usr/bin/env', 'redis-server', "$dir/redis.conf"]);

    my $self = bless { s => $s, password => $password, file => $file },
        $class;

    $self->be('admin');
    wait_for { eval { $s->cmd('PING') } }
        or die "Redis does not take the files:\n"
            . slurp("$s->{dir}/redis.out.log");

    # nginx' user is in no group of ours
    chmod 0777, $s->{redis_socket};

    return $self;
}


# The files of acl/ with one password for all users, and "admin".
sub acl {
    my ($s, $password) = @_;

    my $hash = sha256_hex($password);
    my $acl = join '', map { slurp($_) }
        sort glob $s->root . '/redis-schema/acl/*.acl';

    $acl =~ s/\@\w+_PASSWORD_SHA256@/$hash/g;
    $acl =~ s/\@SERVER@/$s->{server}/g;
    die "something else has to be filled in: $&\n" if $acl =~ /\@[A-Z]\S*/;

    return $acl . "user admin on #$hash allkeys allchannels allcommands\n";
}


# All that $s->cmd does is done by this user from now on.
sub be {
    my ($self, $user) = @_;

    delete $self->{s}{redis_connection};
    $self->{s}{redis_user} = $user && [$user, $self->{password}];
}


sub words {
    my ($self, $user) = @_;

    return "unix:$self->{s}{redis_socket} user=$user"
        . " password_file=$self->{file}";
}


1;
