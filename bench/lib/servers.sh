# The servers that the benchmarks measure.  Sourced by the scripts of bench/,
# which call bench_begin first.
# shellcheck shell=bash
# shellcheck disable=SC2034  # what the scripts that source this file read

. "$(dirname "${BASH_SOURCE[0]}")/../../util/lib.sh"

BENCH_ROOT=$HAI_ROOT/bench
BENCH_NGINX=${NGINX:-$(hai_find_nginx)}
BENCH_KEY=sk-bench-0123456789abcdef0123456789abcdef0123456789abcdef
BENCH_PIDS=()
BENCH_WRAPPER=()    # a command that runs nginx, valgrind for instance
BENCH_CLIENT=()     # one that runs the client
BENCH_FIRST=(nice -n -15)   # for those that share a CPU with what disturbs them

declare -A BENCH_ADDRESS BENCH_WORKER BENCH_MASTER BENCH_ENGINE


# bench_help <argument>...: the calling script's first comment for -h
bench_help() {
    case ${1:-} in
        '') ;;
        -h | --help)
            sed -n '3,/^$/s/^#\( \|$\)//p' "$0"
            exit 0
            ;;
        *) hai_die "unknown argument \"$1\", -h shows what there is" ;;
    esac
}


# bench_rotate <round> <word>...: the words, each round begins with another
bench_rotate() {
    local first=$((($1 - 1) % ($# - 1) + 1))
    shift

    printf '%s\n' "${@:first}" "${@:1:first-1}"
}


# A folder of its own, and the CPUs: the worker that is measured has one to
# itself, clients, provider and Redis share the others.
bench_begin() {
    [ -n "$BENCH_NGINX" ] || hai_die "no nginx found: run 'make setup'"
    [ -x "$HAI_BUILD/bench/load_client" ] || hai_die "run 'make bench' first"

    # the gateway's workers let nobody but root look at their memory
    [ "$(id -u)" -eq 0 ] || hai_die "this has to be run as root"

    # a stream takes a file here and two in nginx
    ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -H -n)"

    # folders of secrets must be root's from the root down, which /tmp is not
    BENCH_WORK=$(mktemp -d /run/hai-bench.XXXXXX)
    chmod 755 "$BENCH_WORK"
    trap bench_end EXIT
    trap 'exit 130' INT TERM

    BENCH_ON_FIRST=()
    BENCH_ON_OTHERS=()
    if [ "$(nproc)" -gt 1 ]; then
        BENCH_ON_FIRST=(taskset -c 0)
        BENCH_ON_OTHERS=(taskset -c "1-$(($(nproc) - 1))")
    fi
}


# From now on no CPU sleeps: a virtual machine gets one that slept back late.
# Not for what leaves no CPU idle anyhow.
bench_awake() {
    local cpu

    for cpu in $(seq 0 $(($(nproc) - 1))); do
        taskset -c "$cpu" "$HAI_BUILD/bench/awake" &
        BENCH_PIDS+=($!)
    done
}


bench_end() {
    local status=$?

    trap - EXIT

    if [ ${#BENCH_PIDS[@]} -gt 0 ]; then
        kill "${BENCH_PIDS[@]}" 2>/dev/null || true
        wait "${BENCH_PIDS[@]}" 2>/dev/null || true
    fi

    if [ $status -ne 0 ] && [ $status -ne 130 ]; then
        tail -n 5 "$BENCH_WORK"/*/error.log >&2 2>/dev/null || true
    fi

    rm -rf "$BENCH_WORK"
    exit $status
}


# bench_stop <pid>...: ends processes that were started here
bench_stop() {
    local pid left=()

    kill "$@"
    wait "$@" 2>/dev/null || true

    for pid in "${BENCH_PIDS[@]}"; do
        case " $* " in
            *" $pid "*) ;;
            *) left+=("$pid") ;;
        esac
    done

    BENCH_PIDS=("${left[@]+"${left[@]}"}")
}


# shellcheck disable=SC2120  # commands come as arguments or as standard input
bench_redis() {
    redis-cli -s "$BENCH_WORK/redis.sock" "$@"
}


# Redis, with one container that is allowed to ask.
bench_start_redis() {
    "${BENCH_ON_OTHERS[@]}" redis-server --port 0 --dir "$BENCH_WORK" \
        --unixsocket "$BENCH_WORK/redis.sock" --unixsocketperm 777 \
        --save '' --appendonly no --logfile "$BENCH_WORK/redis.log" \
        </dev/null &
    BENCH_PIDS+=($!)

    hai_wait_for redis-server bench_redis ping

    bench_register bench
}


# bench_register <server>: the container, in the registry of that name
bench_register() {
    # shellcheck disable=SC2119
    bench_registration "$1" | bench_redis >/dev/null
}


# bench_registration <server>: what that takes
bench_registration() {
    cat <<END
HSET hoody:{$1}:container:dev-env number 1 addresses "127.0.0.1 ::1"
HSET hoody:{$1}:container:dev-env id 0123456789abcdef01234567
HSET hoody:{$1}:container:dev-env tags "dev bench" status running
SADD hoody:{$1}:containers dev-env
SADD hoody:{$1}:ai:enabled dev-env
END
}


# bench_customers <number>: many more of them, for redis-cli --pipe
bench_customers() {
    perl -e '
        sub command {
            print "*", scalar @_, "\r\n",
                map { "\$" . length . "\r\n$_\r\n" } @_;
        }

        for my $i (1 .. shift) {
            my $name = sprintf "customer-%06d", $i;
            my @address = ($i >> 16, $i >> 8 & 255, $i & 255);

            command("HSET", "hoody:{bench}:container:$name",
                    id => sprintf("%024x", $i), number => 1000 + $i,
                    addresses => sprintf("10.%d.%d.%d fd00::%x", @address, $i),
                    mac => sprintf("02:00:00:%02x:%02x:%02x", @address),
                    host_interface => "veth$i", tags => "customer prod",
                    project_id => sprintf("%024x", $i % 1000),
                    status => "running", created_at => "2026-01-01T00:00:00Z",
                    updated_at => "2026-01-01T00:00:00Z");
            command("SADD", "hoody:{bench}:containers", $name);
            command("SADD", "hoody:{bench}:ai:enabled", $name);
        }' "$1"
}


# bench_start_churn <kind> <customers> <a second>: changes them until
# bench_stop_churn, which puts into BENCH_CHANGES how many a second it were;
# "hash" their hashes only, "gate" the set of those that are enabled as well,
# "other" the hashes of a server that is not this gateway's
bench_start_churn() {
    rm -f "$BENCH_WORK/churn"
    "${BENCH_ON_OTHERS[@]}" perl -MTime::HiRes=time,sleep \
        -MIO::Socket::UNIX -e '
        my ($path, $file, $kind, $customers, $rate) = @ARGV;
        my $redis = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!\n";
        my ($n, $start, $word) = (0, time);
        my $running = 1;
        my $server = $kind eq "other" ? "other" : "bench";

        $SIG{TERM} = sub { $running = 0 };

        while ($running) {
            my $due = $rate * (time - $start);

            if ($n >= $due) {
                sleep 0.0005;
                next;
            }

            my $i = 1 + $n * 7919 % $customers;
            my $name = sprintf "customer-%06d", $i;
            my $key = "hoody:{$server}:container:$name";
            my @all = (
                "HSET $key tags changed-$n",
                "HSET $key status stopped", "HSET $key status running",
                sprintf("HSET $key addresses 10.%d.%d.%d", $i >> 16,
                        $i >> 8 & 255, $i & 255),
                "SREM hoody:{bench}:ai:enabled $name",
                "SADD hoody:{bench}:ai:enabled $name",
            );

            print $redis $all[$n % ($kind eq "gate" ? 6 : 4)], "\r\n";
            $redis->flush;
            <$redis>;
            $n++;
        }

        open(my $out, ">", $file) or die "$file: $!\n";
        printf $out "%.0f\n", $n / (time - $start);
        close $out or die "$file: $!\n";
    ' "$BENCH_WORK/redis.sock" "$BENCH_WORK/churn" "$@" </dev/null &
    BENCH_CHURN=$!
    BENCH_PIDS+=("$BENCH_CHURN")
}


bench_stop_churn() {
    bench_stop "$BENCH_CHURN"
    BENCH_CHANGES=$(<"$BENCH_WORK/churn")
}


# bench_rules <kind>: a document of rules
#
#   append    a static rule: a kept plan
#   look      a rule that has to see each body; it finds nothing to log
#   fresh     the same
#   hundred   a hundred rules, of which one applies
bench_rules() {
    local i

    printf '{"rules":['

    if [ "$1" = hundred ]; then
        for i in $(seq 99); do
            printf '%s' '{"id":"other-'"$i"'","trigger":{"event":' \
                '"chat.system.transform","containers":["customer-'"$i"'-*"]},' \
                '"action":{"type":"append","content":"Not for you."}},'
        done
    fi

    if [ "$1" = look ] || [ "$1" = fresh ]; then
        printf '%s' '{"id":"reads","trigger":{"event":"tool.execute.after",' \
            '"toolName":"read"},"action":{"type":"log","content":"read"}},'
    fi

    printf '%s' '{"id":"guard","trigger":{"event":"chat.system.transform",' \
        '"tags":["bench"]},"action":{"type":"append","content":' \
        '"Never execute destructive commands without asking first."}}]}'
}


# bench_start_engine <kind>: a registry and an engine of that kind's name
bench_start_engine() {
    local root=$BENCH_WORK/$1

    mkdir -p "$root"
    bench_register "$1"
    bench_rules "$1" >"$root/hoody.json"

    "${BENCH_ON_OTHERS[@]}" "$HAI_BUILD/hoody-ai-rules" --server "$1" \
        --redis "unix:$BENCH_WORK/redis.sock" --rules "$root/hoody.json" \
        --socket "$root/rules.sock" --socket-mode 666 \
        >"$root/engine.log" 2>&1 </dev/null &
    BENCH_PIDS+=($!)
    BENCH_ENGINE[$1]=$!

    # it publishes what it loaded, then it answers
    hai_wait_for "the rule engine ($1)" bench_has_epoch "$1"
}


bench_has_epoch() {
    [ -n "$(bench_redis get "hoody:{$1}:rules:epoch")" ]
}


# bench_start_provider [<command>...]: BENCH_FIRST, for instance, runs it
bench_start_provider() {
    BENCH_PROVIDER_PORT=$(hai_free_port)

    "${BENCH_ON_OTHERS[@]}" "$@" "$HAI_BUILD/hoody-ai-sample-provider" \
        --listen "127.0.0.1:$BENCH_PROVIDER_PORT" --key "$BENCH_KEY" \
        --no-record --quiet >"$BENCH_WORK/provider.log" 2>&1 </dev/null &
    BENCH_PIDS+=($!)

    hai_wait_for "the sample provider" hai_port_open "$BENCH_PROVIDER_PORT"
}


# What all servers have in common.  Connections stay open for as long as a
# round takes; answers of every server go to the same provider.  nginx closes
# connections that wait for a request when the last sixteenth is taken, so there
# are more of them than files.
bench_write_common() {
    local root=$1 load=$2

    cat <<END
$load
worker_processes 1;
error_log $root/error.log notice;
pid $root/pid;
events { worker_connections 32768; }
END
}


bench_write_http() {
    local root=$1

    cat <<END
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $root/client_body;
    proxy_temp_path $root/proxy;
    fastcgi_temp_path $root/fastcgi;
    uwsgi_temp_path $root/uwsgi;
    scgi_temp_path $root/scgi;

    upstream provider {
        server 127.0.0.1:$BENCH_PROVIDER_PORT;
        keepalive 2048;
        keepalive_requests 1000000000;
    }
END
}


# bench_location <kind>: the directives of the location that is measured
#
#   bare      nginx's defaults, a fixed key
#   memory    the same, request bodies stay in memory
#   stream    the same, answers unbuffered
#   gateway   the module
#   append, look, hundred   the module with rules, see bench_rules
#   fresh     as look, a connection to the engine for each question
#   lua       a look-up in Redis for each request, bodies stay in memory
bench_location() {
    local key="proxy_set_header Authorization \"Bearer $BENCH_KEY\";"

    case $1 in
        bare) printf '%s\n' "$key" ;;
        memory) printf '%s\n' "$key" 'client_body_buffer_size 2m;' ;;
        stream) printf '%s\n' "$key" 'proxy_buffering off;' ;;
        gateway) printf '%s\n' 'hoody_ai on;' 'hoody_ai_credential openai;' ;;
        append | look | hundred | fresh)
            printf '%s\n' 'hoody_ai on;' 'hoody_ai_credential openai;' \
                'hoody_ai_rules /hoody-ai-rules;'
            ;;
        lua)
            cat <<END
client_body_buffer_size 2m;
            access_by_lua_block {
                local redis = require "nginx.redis"

                local name = string.match(ngx.var.http_authorization or "",
                                          "^Bearer container%-([%w_-]+)\$")
                if not name then
                    return ngx.exit(401)
                end

                local red = redis:new()
                red:set_timeout(1000)

                local ok = red:connect("unix:$BENCH_WORK/redis.sock")
                if not ok then
                    return ngx.exit(503)
                end

                red:init_pipeline()
                red:sismember("hoody:{bench}:ai:enabled", name)
                red:hmget("hoody:{bench}:container:" .. name,
                          "addresses", "status")
                local answers = red:commit_pipeline()
                if not answers then
                    return ngx.exit(503)
                end
                red:set_keepalive(60000, 64)

                local addresses, status = unpack(answers[2])
                if addresses == ngx.null
                   or not string.find(" " .. addresses .. " ",
                                      " " .. ngx.var.remote_addr .. " ",
                                      1, true)
                then
                    return ngx.exit(401)
                end

                if answers[1] ~= 1 or status ~= "running" then
                    return ngx.exit(403)
                end

                ngx.req.set_header("Authorization", "Bearer $BENCH_KEY")
            }
END
            ;;
        *) hai_die "unknown kind \"$1\"" ;;
    esac
}


# bench_own_locations <kind>: what the gateway has besides
bench_own_locations() {
    case $1 in
        gateway)
            printf '\n        location = /status {\n'
            printf '            hoody_ai_status;\n        }\n'
            ;;
        append | look | hundred | fresh)
            printf '\n        include hoody-ai/hoody_ai_rules.conf;\n'
            ;;
    esac
}


# bench_write_gateway <root> <kind>: the http level of the module
bench_write_gateway() {
    local root=$1 server=bench

    case $2 in
        gateway) ;;
        append | look | hundred | fresh)
            server=$2
            mkdir -p "$root/hoody-ai"
            cp "$HAI_ROOT"/conf/hoody_ai_rules* "$root/hoody-ai/"
            sed -i "s,/run/hoody-ai/rules.sock,$root/rules.sock," \
                "$root/hoody-ai/hoody_ai_rules_upstream.conf"
            if [ "$2" = fresh ]; then
                sed -i 's/\(keep_conn  *\)on;/\1off;/' \
                    "$root/hoody-ai/hoody_ai_rules.conf"
                sed -i '/keepalive/d' \
                    "$root/hoody-ai/hoody_ai_rules_upstream.conf"
            fi
            printf '\n    include hoody-ai/hoody_ai_rules_upstream.conf;\n'
            ;;
        *) return 0 ;;
    esac

    cat <<END

    hoody_ai_server $server;
    hoody_ai_redis unix:$BENCH_WORK/redis.sock;
    hoody_ai_secret openai $root/openai.key;
END
}


# bench_start_nginx <name> <kind>: sets its address, master and worker;
# BENCH_LISTEN has further parameters of its "listen"
bench_start_nginx() {
    local name=$1 kind=$2 root=$BENCH_WORK/$1 load='' port modules

    port=$(hai_free_port)
    mkdir -p "$root"

    case $kind in
        gateway | append | look | hundred | fresh)
            load="load_module $HAI_BUILD/ngx_http_hoody_ai_module.so;"
            (umask 077; printf '%s\n' "$BENCH_KEY" >"$root/openai.key")
            ;;
        lua)
            modules=$(bench_modules)
            load="load_module $modules/ndk_http_module.so;
load_module $modules/ngx_http_lua_module.so;"
            ;;
    esac

    {
        bench_write_common "$root" "$load"
        printf 'http {\n'
        bench_write_http "$root"
        bench_write_gateway "$root" "$kind"

        cat <<END

    server {
        listen 127.0.0.1:$port backlog=4096 ${BENCH_LISTEN:-};

        location /v1/ {
            $(bench_location "$kind")
            proxy_pass http://provider/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
$(bench_own_locations "$kind")
    }
}
END
    } >"$root/nginx.conf"

    "${BENCH_ON_FIRST[@]}" "${BENCH_WRAPPER[@]}" "$BENCH_NGINX" -p "$root" \
        -e "$root/error.log" -c "$root/nginx.conf" -g 'daemon off;' \
        >"$root/output" 2>&1 </dev/null &
    BENCH_PIDS+=($!)
    BENCH_MASTER[$name]=$!

    hai_wait_for "nginx ($name)" hai_port_open "$port"
    hai_wait_for "nginx ($name)" bench_has_worker "${BENCH_MASTER[$name]}"

    BENCH_WORKER[$name]=$(bench_worker "${BENCH_MASTER[$name]}")
    BENCH_ADDRESS[$name]=127.0.0.1:$port
}


# bench_renew <name>: another worker, whose memory lies elsewhere
bench_renew() {
    local name=$1

    kill -HUP "${BENCH_MASTER[$name]}"
    hai_wait_for "another worker ($name)" bench_has_other_worker "$name"

    BENCH_WORKER[$name]=$(bench_worker "${BENCH_MASTER[$name]}")
}


# bench_has_other_worker <name>: than it had, and that one has ended
bench_has_other_worker() {
    [[ $(bench_worker "${BENCH_MASTER[$1]}") =~ ^[0-9]+$ ]] \
        && ! kill -0 "${BENCH_WORKER[$1]}" 2>/dev/null
}


# bench_worker <master>
bench_worker() {
    tr -d ' ' <"/proc/$1/task/$1/children"
}


bench_has_worker() {
    [ -n "$(bench_worker "$1")" ]
}


# the folder of the dynamic modules of this nginx
bench_modules() {
    local path

    path=$("$BENCH_NGINX" -V 2>&1 \
               | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    printf '%s' "${path:-/usr/lib/nginx/modules}"
}


bench_has_lua() {
    local modules

    modules=$(bench_modules)
    [ -e "$modules/ndk_http_module.so" ] \
        && [ -e "$modules/ngx_http_lua_module.so" ] \
        && [ -e /usr/share/lua/5.1/nginx/redis.lua ]
}


# bench_load <name> <request file> <option>...: one line of load_client
bench_load() {
    local name=$1 file=$2
    shift 2

    "${BENCH_ON_OTHERS[@]}" "${BENCH_CLIENT[@]}" \
        "$HAI_BUILD/bench/load_client" \
        --connect "${BENCH_ADDRESS[$name]}" --request "$file" \
        --pid "${BENCH_WORKER[$name]}" "$@"
}
