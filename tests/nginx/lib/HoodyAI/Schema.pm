package HoodyAI::Schema;

# A Redis as redis-schema/ wants it: redis.conf and all files of acl/ with
# their places filled in, and a user "admin" who may do everything.
#
#     my $schema = HoodyAI::Schema->start($s);
#
#     $schema->be('admin');                  # who $s->cmd is
#     $schema->words('gateway');             # for hoody_ai_redis and --redis

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
    my $hash = sha256_hex($password);
    my $acl = join '', map { slurp($_) } sort glob "$schema/acl/*.acl";
    my $conf = slurp("$schema/redis.conf");

    $acl =~ s/\@\w+_PASSWORD_SHA256@/$hash/g;
    $acl =~ s/\@SERVER@/$s->{server}/g;
    $acl .= "user admin on #$hash allkeys allchannels allcommands\n";
    $conf =~ s{/var/lib/hoody-ai/redis$}{$dir}m;
    $conf =~ s{/run/hoody-ai/redis\.sock$}{$dir/redis.sock}m;
    $conf =~ s{/etc/hoody-ai/redis\.acl$}{$dir/redis.acl}m;

    mkdir $dir or die "$dir: $!\n";
    spew("$dir/redis.acl", $acl, 0600);
    spew("$dir/redis.conf", $conf, 0600);

    my $file = "$s->{secrets}/redis.password";

    spew($file, "$password\n", 0600);

    $s->{redis_socket} = "$dir/redis.sock";
    $s->spawn('redis', ['/usr/bin/env', 'redis-server', "$dir/redis.conf"]);

    my $self = bless { s => $s, password => $password, file => $file },
        $class;

    $self->be('admin');
    wait_for { eval { $s->cmd('PING') } }
        or die "Redis did not start:\n" . slurp("$s->{dir}/redis.out.log");

    # nginx' user is in no group of ours
    chmod 0777, $s->{redis_socket};

    return $self;
}


# All that $s->cmd does is done by this user from now on.
sub be {
    my ($self, $user) = @_;

    delete $self->{s}{redis_connection};
    $self->{s}{redis_user} = [$user, $self->{password}];
}


sub words {
    my ($self, $user) = @_;

    return "unix:$self->{s}{redis_socket} user=$user"
        . " password_file=$self->{file}";
}


1;
