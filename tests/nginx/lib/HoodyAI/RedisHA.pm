package HoodyAI::RedisHA;

=head1 NAME

HoodyAI::RedisHA - Redis with Sentinel, and Redis Cluster, of real processes

=head1 SYNOPSIS

    HoodyAI::RedisHA->own_network;     # first of all in a test that cuts

    my $s = HoodyAI::System->new;
    my $ha = HoodyAI::RedisHA->new($s);

    $ha->sentinel;                     # m0, replicas r1 r2, sentinels s1 s2 s3
    $ha->cluster;                      # c1 c2 c3, replicas d1 d2 d3 when asked

    $s->container('dev-env', addresses => '127.0.0.1');  # to the master
    $s->nginx(redis => $ha->words);

    $ha->kill($ha->master);
    $ha->failed_over;
    $ha->end;                          # before $s->finish

=head1 CALLS

=over

=item own_network

Starts the test again in a network namespace without a name, where cut() is
possible.  Without root it does nothing and can_cut() is false.

=item new($system, %option)

C<args>: lines for the configuration of each node; C<acl>: text of an ACL file
for each node; C<user>: [name, password] for the test itself, the replicas and
the sentinels; C<sentinel_password>: what the sentinels ask for.

=item sentinel(replicas => 2, sentinels => 3, down_after => 500,
failover_timeout => 5000)

Starts a master, its replicas and the sentinels, which watch it under the name
"hai", and returns when all have found each other.  Times in milliseconds.

=item cluster(masters => 3, replicas => 0, node_timeout => 1000)

Starts nodes, deals the slots out and returns when each says that all is well.

=item words(@options)

What C<hoody_ai_redis> and C<--redis> get: C<sentinel=hai host:port ...>.

=item names($kind), node($name), address($name)

Names of all "node"s or "sentinel"s; a node: name, host, port, pid, up.

=item cmd($name, @words), try($name, @words)

A command to one process.  An error reply dies; with try() it is undef.

=item master, follow, failed_over($old, $seconds, $each)

The node that the sentinels name as the master, or, in a cluster, that owns the
system's keys.  follow() has the system's own commands go there from now on.
failed_over() waits until it is another one, and a master, calls C<each> again
and again meanwhile, and follows.

=item write($call, $name), acts($most)

A call of the system, C<enable> or C<disable>, as soon as the master takes it.
acts() lets the container "other", at 127.0.0.2, lose its access and have it
back, and returns the seconds from a write to the first answer that obeys it:
the median of six, and the best of eight tries where it is more than $most.

=item followed

The master that the page C</status> of the system's gateway names; "": none.

=item kill($name), start($name), pause($name), resume($name)

SIGKILL; once more with the same files; SIGSTOP and SIGCONT.

=item rejoin($name), replicated

With Sentinel: the node becomes a replica of the master, started if need be,
and this waits until all replicas are there.  replicated() waits until what the
system has written is on all replicas that the master has at the moment.

=item cut($name), heal($name), can_cut

Nothing goes between this node, one at a time, and the others or the sentinels.
The gateway (user "nobody") and cmd() still reach it.

=item hide(@names), show(@names)

The gateway reaches these processes no more; all others do.

=item slot($key), owner($slot), move_slot($slot, $to, %sub)

In a cluster.  move_slot() moves a slot with its keys; C<importing>, C<moved>
are subs called when both sides are told, and when the keys have gone over.

=item end

The address of the system's commands is forgotten, the paused go on, and all
that is in the nodes is written to files, for finish() to search.

=back

=cut

use strict;
use warnings;

use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(sleep time);

use HoodyAI::Pace;
use HoodyAI::System qw(wait_for free_port spew slurp);

# where cut() cannot reach
my $observer = '127.0.0.9';

my $nodes = '127.0.1.0/24';


sub own_network {
    return if $> != 0 || $ENV{HAI_OWN_NETWORK};

    $ENV{HAI_OWN_NETWORK} = 1;
    exec 'unshare', '--net', 'sh', '-c', 'ip link set lo up'
        . ' && ip rule add pref 100 lookup local && ip rule del pref 0'
        . ' && ip rule add pref 5 uidrange 65534-65534 lookup local'
        . " && ip rule add pref 5 from $observer lookup local"
        . ' && exec "$@"', 'sh', $^X, $0, @ARGV
        or die "unshare: $!\n";
}


sub can_cut { $ENV{HAI_OWN_NETWORK} }


sub new {
    my ($class, $system, %option) = @_;

    return bless {
        system => $system,
        option => \%option,
        nodes => {},
        order => [],
        hosts => 0,
        connection => {},
    }, $class;
}


sub node { $_[0]{nodes}{$_[1]} }
sub address { "$_[0]{nodes}{$_[1]}{host}:$_[0]{nodes}{$_[1]}{port}" }


sub names {
    my ($self, $kind) = @_;

    return grep { $self->{nodes}{$_}{kind} eq $kind } @{$self->{order}};
}


# Makes the files of a process and starts it.
sub _add {
    my ($self, $name, $kind, @lines) = @_;

    my $dir = "$self->{system}{dir}/redis-$name";
    my $host = '127.0.1.' . ++$self->{hosts};
    my $port = free_port();
    my @acl;

    mkdir $dir or die "$dir: $!\n";

    if (defined $self->{option}{acl} && $kind eq 'node') {
        spew("$dir/users.acl", $self->{option}{acl}, 0600);
        @acl = ("aclfile $dir/users.acl");
    }

    spew("$dir/redis.conf", join('', map { "$_\n" }
        "port $port", "bind $host", "bind-source-addr $host", "dir $dir",
        "logfile $dir/redis.txt", 'daemonize no',
        'protected-mode no',
        $kind eq 'node' ? ('save ""', 'appendonly no', 'rdbcompression no',
            'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1', @acl,
            @{$self->{option}{args} || []}) : (), @lines), 0600);

    $self->{nodes}{$name} = { name => $name, kind => $kind, host => $host,
        port => $port, dir => $dir };
    push @{$self->{order}}, $name;

    $self->start($name);
}


sub start {
    my ($self, $name) = @_;
    my $node = $self->{nodes}{$name};

    $node->{pid} = $self->{system}->spawn("redis-$name",
        ['/usr/bin/env', 'redis-server', "$node->{dir}/redis.conf",
         $node->{kind} eq 'sentinel' ? '--sentinel' : ()]);
    $node->{up} = 1;

    wait_for { $self->try($name, 'PING') }
        or die "$name did not start:\n" . slurp("$node->{dir}/redis.txt");
}


sub kill {
    my ($self, $name) = @_;

    delete $self->{connection}{$name};
    $self->{nodes}{$name}{up} = 0;
    $self->{system}->stop("redis-$name", 'KILL');
}


sub pause {
    my ($self, $name) = @_;

    $self->{nodes}{$name}{paused} = 1;
    HoodyAI::System::suspend($self->{nodes}{$name}{pid});
}


sub resume {
    my ($self, $name) = @_;

    $self->{nodes}{$name}{paused} = 0;
    CORE::kill('CONT', $self->{nodes}{$name}{pid});
}


# What is not answered within three seconds is an error.
sub cmd {
    my ($self, $name, @words) = @_;

    my $node = $self->{nodes}{$name};

    if (!$self->{connection}{$name}) {
        my $socket = IO::Socket::INET->new(PeerAddr => $node->{host},
            PeerPort => $node->{port}, LocalAddr => $observer, Timeout => 3)
            or die "$name: $!\n";

        $socket->setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', 3, 0);

        my @auth = $node->{kind} eq 'node'
            ? @{$self->{option}{user} || []}
            : grep { defined } $self->{option}{sentinel_password};

        HoodyAI::System::command($socket, 'AUTH', @auth) if @auth;

        $self->{connection}{$name} = $socket;
    }

    my $reply = eval {
        HoodyAI::System::command($self->{connection}{$name}, @words)
    };

    if ($@) {
        delete $self->{connection}{$name} if $@ !~ /^redis error/;
        die $@;
    }

    return $reply;
}


sub try {
    my ($self, $name, @words) = @_;

    return scalar eval { $self->cmd($name, @words) };
}


sub follow {
    my ($self) = @_;

    my $name = $self->master // return;
    my $at = $self->{system}{redis_at};

    $self->_use($name) if !$at || $at->[0] ne $self->{nodes}{$name}{host};
}


# The system's own commands go where $name is.
sub _use {
    my ($self, $name) = @_;

    $self->{system}{redis_at} = [$self->{nodes}{$name}{host},
        $self->{nodes}{$name}{port}, $observer];
    $self->{system}{redis_user} = $self->{option}{user};
    delete $self->{system}{redis_connection};
}


sub sentinel {
    my ($self, %option) = @_;

    my $replicas = $option{replicas} // 2;
    my $sentinels = $option{sentinels} // 3;
    my $user = $self->{option}{user};
    my $quorum = int($sentinels / 2) + 1;
    my $password = $self->{option}{sentinel_password};
    my @auth = $user
        ? ("masteruser $user->[0]", "masterauth $user->[1]") : ();

    $self->{mode} = 'sentinel';

    $self->_add('m0', 'node', @auth);

    my $m = $self->{nodes}{m0};

    $self->_add("r$_", 'node', @auth, "replicaof $m->{host} $m->{port}")
        for 1 .. $replicas;

    # a sentinel looks for new replicas only every ten seconds
    $self->_synced('m0', map { "r$_" } 1 .. $replicas);

    for my $n (1 .. $sentinels) {
        $self->_add("s$n", 'sentinel',
            "sentinel monitor hai $m->{host} $m->{port} $quorum",
            'sentinel down-after-milliseconds hai '
                . ($option{down_after} // 500),
            'sentinel failover-timeout hai '
                . ($option{failover_timeout} // 5000),
            $user ? ("sentinel auth-user hai $user->[0]",
                "sentinel auth-pass hai $user->[1]") : (),
            defined $password ? ("requirepass $password",
                "sentinel sentinel-pass $password") : ());
    }

    for my $name ($self->names('sentinel')) {
        wait_for {
            my %state = @{$self->cmd($name, 'SENTINEL', 'MASTER', 'hai')};
            $state{'num-other-sentinels'} == $sentinels - 1
                && $state{'num-slaves'} == $replicas
                && $state{flags} eq 'master';
        } 20 or die "$name did not find the others\n";
    }

    $self->_use('m0');
}


# Waits until these follow this master, and it knows.
sub _synced {
    my ($self, $master, @replicas) = @_;

    wait_for {
        (() = ($self->try($master, 'INFO', 'replication') // '')
            =~ /state=online/g) >= @replicas
        && !grep { ($self->try($_, 'INFO', 'replication') // '')
                   !~ /master_link_status:up/ } @replicas;
    } 20 or die "the replicas did not come\n";
}


sub rejoin {
    my ($self, $name) = @_;

    my $master = $self->master;
    my $node = $self->{nodes}{$master};
    my @replicas = grep { $_ ne $master && $self->{nodes}{$_}{up} }
        $self->names('node');

    if (!$self->{nodes}{$name}{up}) {
        $self->start($name);
        push @replicas, $name;
    }

    $self->cmd($name, 'REPLICAOF', $node->{host}, $node->{port});
    $self->_synced($master, @replicas);

    # else the next failover may find no replica good enough
    for my $sentinel ($self->names('sentinel')) {
        wait_for {
            my $seen = $self->try($sentinel, 'SENTINEL', 'REPLICAS', 'hai');

            $seen && @replicas == grep {
                my %state = @$_;
                $state{flags} eq 'slave'
                    && $state{'master-link-status'} eq 'ok'
                    && $state{'master-port'} == $node->{port};
            } @$seen;
        } 20 or die "$sentinel does not see the replicas\n";
    }
}


sub replicated {
    my ($self) = @_;

    my $count = () = $self->cmd($self->master, 'INFO', 'replication')
        =~ /state=online/g;

    $self->{system}->cmd('WAIT', $count, 5000) >= $count
        or die "the replicas do not follow\n";
}


sub cluster {
    my ($self, %option) = @_;

    my $masters = $option{masters} // 3;
    my $replicas = $option{replicas} // 0;
    my $user = $self->{option}{user};
    my (%id, %of);

    $self->{mode} = 'cluster';

    my @names = ((map { "c$_" } 1 .. $masters), map { "d$_" } 1 .. $replicas);

    for my $name (@names) {
        $self->_add($name, 'node', 'cluster-enabled yes',
            'cluster-port ' . free_port(),
            'cluster-node-timeout ' . ($option{node_timeout} // 1000),
            'cluster-replica-validity-factor 0',
            $user ? ("masteruser $user->[0]", "masterauth $user->[1]") : ());
        $id{$name} = $self->cmd($name, 'CLUSTER', 'MYID');
        $self->{nodes}{$name}{id} = $id{$name};
    }

    for my $n (1 .. $masters) {
        my $from = int 16384 * ($n - 1) / $masters;
        my $to = int(16384 * $n / $masters) - 1;

        $self->cmd("c$n", 'CLUSTER', 'SET-CONFIG-EPOCH', $n);
        $self->cmd("c$n", 'CLUSTER', 'ADDSLOTSRANGE', $from, $to);
    }

    my $first = $self->{nodes}{c1};

    for my $name (@names[1 .. $#names]) {
        my ($port) = slurp("$first->{dir}/redis.conf")
            =~ /^cluster-port (\d+)/m;

        $self->cmd($name, 'CLUSTER', 'MEET', $first->{host}, $first->{port},
            $port);
    }

    for my $name (@names) {
        wait_for {
            $self->cmd($name, 'CLUSTER', 'INFO') =~ /cluster_state:ok/
                && $self->cmd($name, 'CLUSTER', 'NODES')
                    !~ /handshake|noaddr|fail/
                && @names == (() = $self->cmd($name, 'CLUSTER', 'NODES')
                    =~ /\n/g);
        } 30 or die "$name: no cluster:\n"
            . $self->cmd($name, 'CLUSTER', 'NODES');
    }

    for my $n (1 .. $replicas) {
        my $to = 'c' . (($n - 1) % $masters + 1);

        $self->cmd("d$n", 'CLUSTER', 'REPLICATE', $id{$to});
        push @{$of{$to}}, "d$n";
    }

    $self->_synced($_, @{$of{$_}}) for keys %of;

    $self->_use($self->master);
}


sub words {
    my ($self, @options) = @_;

    return join ' ', $self->{mode} eq 'cluster'
        ? ('cluster=on', map { $self->address($_) } $self->names('node'))
        : ('sentinel=hai', map { $self->address($_) }
               $self->names('sentinel')), @options;
}


sub _at {
    my ($self, $host, $port) = @_;

    my ($name) = grep { $self->{nodes}{$_}{host} eq $host
                        && $self->{nodes}{$_}{port} == $port }
        $self->names('node');

    return $name;
}


# What most of those say that can be asked.
sub master {
    my ($self) = @_;
    my %said;

    return $self->owner($self->slot("{$self->{system}{server}}"))
        if $self->{mode} eq 'cluster';

    for my $name ($self->names('sentinel')) {
        my $node = $self->{nodes}{$name};

        next if !$node->{up} || $node->{paused};

        my $reply = $self->try($name, 'SENTINEL',
            'GET-MASTER-ADDR-BY-NAME', 'hai') or next;

        $said{$self->_at(@$reply) // next}++;
    }

    my ($most) = sort { $said{$b} <=> $said{$a} } keys %said;

    return $most;
}


# Waits for another master than this, which the system's commands use then.
sub failed_over {
    my ($self, $old, $timeout, $each) = @_;

    my $new = wait_for {
        $each->() if $each;

        my $name = $self->master // return 0;

        return $name ne $old
            && ($self->try($name, 'ROLE') || [''])->[0] eq 'master'
            && $name;
    } $timeout // 30;

    $self->_use($new) if $new;

    return $new;
}


# Replicas that are busy may be behind for a moment, and the slot's new owner
# may not know it yet: then a write is refused.
sub write {
    my ($self, $call, $name) = @_;

    wait_for { eval { $self->follow; $self->{system}->$call($name); 1 } } 20
        or die "$call: $@";
}


sub acts {
    my ($self, $most) = @_;

    return at_best(8, $most, sub {
        my @took;

        for my $n (1 .. 6) {
            my ($call, $status) = $n % 2 ? ('disable', 403) : ('enable', 200);

            $self->write($call, 'other');

            my $begin = time;
            wait_for {
                $self->{system}->chat_ask(token => 'other',
                    local => '127.0.0.2')->{status} == $status
            } 5;
            push @took, time - $begin;
        }

        return (sort { $a <=> $b } @took)[3];
    });
}


sub followed {
    my ($self) = @_;

    return $self->{system}->ask('GET', '/status')->{body}
        =~ /^hoody_ai_registry_master\{worker="\d+",address="(.*)"\} 1/m
        ? $1 : '';
}


sub cut {
    my ($self, $name) = @_;
    $self->_rules('add', $name);
}


sub heal {
    my ($self, $name) = @_;
    $self->_rules('del', $name);
}


# A process that cannot connect from its own address tries the first one of the
# interface.  One node can be cut at a time.
sub _rules {
    my ($self, $what, $name) = @_;

    my $host = $self->{nodes}{$name}{host};

    for my $rule (['from', $host, 'to', $nodes],
                  ['from', '127.0.0.1', 'to', $nodes], ['to', $host])
    {
        system('ip', 'rule', $what, 'pref', 10, @$rule, 'blackhole') == 0
            or die "ip rule $what failed\n";
    }
}


sub hide { $_[0]->_hide('add', @_[1 .. $#_]) }
sub show { $_[0]->_hide('del', @_[1 .. $#_]) }


sub _hide {
    my ($self, $what, @names) = @_;

    for my $name (@names) {
        system('ip', 'rule', $what, 'pref', 4, 'uidrange', '65534-65534',
            'to', $self->{nodes}{$name}{host}, 'blackhole') == 0
            or die "ip rule $what failed\n";
    }
}


# CRC16 of what is between the braces.
sub slot {
    my ($self, $key) = @_;
    my $crc = 0;

    $key = $1 if $key =~ /\{(.+?)\}/;

    for my $byte (unpack 'C*', $key) {
        $crc ^= $byte << 8;
        $crc = ($crc & 0x8000 ? $crc << 1 ^ 0x1021 : $crc << 1) & 0xffff
            for 1 .. 8;
    }

    return $crc % 16384;
}


sub owner {
    my ($self, $slot) = @_;
    my %said;

    for my $name ($self->names('node')) {
        my $node = $self->{nodes}{$name};

        next if !$node->{up} || $node->{paused};

        for my $range (@{$self->try($name, 'CLUSTER', 'SLOTS') || []}) {
            next if $slot < $range->[0] || $slot > $range->[1];
            $said{$self->_at(@{$range->[2]}[0, 1]) // next}++;
        }
    }

    my ($most) = sort { $said{$b} <=> $said{$a} } keys %said;

    return $most;
}


sub move_slot {
    my ($self, $slot, $to, %sub) = @_;

    my $from = $self->owner($slot);
    my ($old, $new) = map { $self->{nodes}{$_} } $from, $to;
    my $user = $self->{option}{user};

    $self->cmd($to, 'CLUSTER', 'SETSLOT', $slot, 'IMPORTING', $old->{id});
    $self->cmd($from, 'CLUSTER', 'SETSLOT', $slot, 'MIGRATING', $new->{id});
    $sub{importing}->() if $sub{importing};

    while (1) {
        my $keys = $self->cmd($from, 'CLUSTER', 'GETKEYSINSLOT', $slot, 100);

        last if !@$keys;
        $self->cmd($from, 'MIGRATE', $new->{host}, $new->{port}, '', 0, 3000,
            $user ? ('AUTH2', @$user) : (), 'KEYS', @$keys);
    }

    $sub{moved}->() if $sub{moved};

    for my $name ($to, $from, grep { $_ ne $to && $_ ne $from }
                  $self->names('node'))
    {
        # replicas learn it from their masters
        $self->try($name, 'CLUSTER', 'SETSLOT', $slot, 'NODE', $new->{id})
            if $self->{nodes}{$name}{up};
    }

    $self->_use($self->master);
}


sub end {
    my ($self) = @_;

    for my $name (@{$self->{order}}) {
        my $node = $self->{nodes}{$name};

        $self->resume($name) if $node->{paused};
        $self->try($name, 'SAVE') if $node->{up} && $node->{kind} eq 'node';
    }

    $self->{connection} = {};
    delete @{$self->{system}}{qw(redis_at redis_connection)};
}


1;
