# The demo's network: as root, a bridge and one network namespace for each
# container; else addresses of the loopback interface.  Sourced by util/run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # "run" and "port" are util/run's
#
# The bridge "haiN" stands for the subnet 198.18.N.0/24 (RFC 2544: for tests,
# used in no real network).  Creating it is what keeps parallel runs apart.
# Firewall and sysctls of the machine stay as they are.

net_bridge=
net_number=
net_gateway=
net_spaces=()


# one namespace, linked to the bridge
net_add() {
    local i=$1 space=$net_bridge-$2 veth=$net_bridge-$1

    ip netns add "$space" || return 1
    net_spaces+=("$space")

    ip link add "$veth" type veth peer name eth0 netns "$space" \
        && ip link set "$veth" master "$net_bridge" up \
        && ip -n "$space" link set lo up \
        && ip -n "$space" addr add "198.18.$net_number.1$i/24" dev eth0 \
        && ip -n "$space" link set eth0 up
}


net_make() {
    local i=0 name

    ip addr add "198.18.$net_number.1/24" dev "$net_bridge" || return 1
    ip link set "$net_bridge" up || return 1

    for name in "$@"; do
        i=$((i + 1))
        net_add $i "$name" || return 1
    done
}


# net_up <name>...: sets net_gateway, or leaves it empty where this system
# does not let us
net_up() {
    command -v ip >/dev/null || return 0

    for net_number in {0..255}; do
        if ip -4 -o addr show to "198.18.$net_number.0/24" | grep -q .; then
            continue
        fi

        if ip link add "hai$net_number" type bridge 2>/dev/null; then
            net_bridge=hai$net_number
            break
        fi
    done

    if [ -z "$net_bridge" ]; then
        return 0
    fi

    if ! net_make "$@" 2>"$run/net.log"; then
        net_down
        return 0
    fi

    net_gateway=198.18.$net_number.1
}


net_down() {
    local space i=0

    # a namespace alone takes its link down a moment later
    for space in "${net_spaces[@]+"${net_spaces[@]}"}"; do
        i=$((i + 1))
        ip link del "$net_bridge-$i" 2>/dev/null || true
        ip netns del "$space" 2>/dev/null || true
    done

    if [ -n "$net_bridge" ]; then
        ip link del "$net_bridge" 2>/dev/null || true
    fi

    net_spaces=()
    net_bridge=
    net_gateway=
}


# net_address <i>: of the i-th container, counted from 1
net_address() {
    if [ -n "$net_gateway" ]; then
        printf '%s' "${net_gateway%.1}.1$1"
    else
        printf '127.0.0.1%s' "$1"
    fi
}


# the gateway as the containers see it
net_url() {
    printf 'http://%s:%s' "${net_gateway:-127.0.0.1}" "$port"
}


# net_in <i> curl <argument>...: curl in the i-th container
net_in() {
    local i=$1
    shift 2

    if [ -n "$net_gateway" ]; then
        ip netns exec "${net_spaces[$((i - 1))]}" curl "$@"
    else
        curl --interface "$(net_address "$i")" "$@"
    fi
}


# the same as words to type
net_in_words() {
    if [ -n "$net_gateway" ]; then
        printf 'ip netns exec %s curl' "${net_spaces[$(($1 - 1))]}"
    else
        printf 'curl --interface %s' "$(net_address "$1")"
    fi
}
