#!/bin/sh
#
# Registers a container once the control API answers:
#
#   register.sh <name> <address> [<argument of "hoody-ai containers create">...]
#
# One of this name that is there already stays as it is.

set -eu

# containers <command> [<argument>...]
containers() {
    command=$1
    shift

    hoody-ai containers "$command" --api /run/hoody-ai/control/control.sock \
        --token-file /run/secrets/operator.token "$@"
}

name=$1 address=$2
shift 2

tries=0
until found=$(containers list -o name 2>&1); do
    tries=$((tries + 1))
    if [ $tries -gt 60 ]; then
        printf 'register: %s\n' "$found" >&2
        exit 1
    fi
    sleep 1
done

if printf '%s\n' "$found" | grep -qxF -- "$name"; then
    printf 'register: %s is there\n' "$name"
    exit 0
fi

containers create --name "$name" --address "$address" "$@"
