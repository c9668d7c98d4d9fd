#!/bin/bash
#
# Makes what the services of compose.yaml are trusted with: passwords for Redis
# and its ACL file, a token for the control API, and for the demonstration a
# key, an authority and a certificate.
#
#   docker/init.sh [--rootless] [<folder>]      default: docker/state
#
# Run as root: each file belongs to the number that its service runs as (see
# Dockerfile), mode 0400.  What is there stays; the real key goes to
# <folder>/openai.key before or after.  --rootless: the gateway's files belong
# to 10003, for compose.rootless.yaml.

set -euo pipefail

cd "$(dirname "$0")"

gateway=0
if [ "${1:-}" = --rootless ]; then
    gateway=10003
    shift
fi

state=${1:-state}

if [ "$(id -u)" -ne 0 ]; then
    printf 'init.sh: run this as root, the files belong to several users\n' >&2
    exit 1
fi

umask 077
mkdir -p "$state"

for user in gateway engine events control; do
    if [ ! -s "$state/$user.password" ]; then
        openssl rand -hex 32 >"$state/$user.password"
    fi
done

# the control API, as well as Redis, is told hashes only
if [ ! -s "$state/operator.token" ]; then
    printf 'hdy_%s\n' "$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')" \
        >"$state/operator.token"
fi

hash=$(tr -d '\n' <"$state/operator.token" | sha256sum | cut -d ' ' -f 1)
printf '{"tokens": [{"id": "tok-operator", "sha256": "%s", "name": "%s",
  "scopes": ["write"], "created_at": "%s", "expires_at": null}],
  "uids": []}\n' \
    "$hash" operator "$(date -u +%Y-%m-%dT%H:%M:%S.000Z)" >"$state/tokens.json"

cp ../redis-schema/acl/default.acl "$state/redis.acl.new"
for user in gateway engine events control; do
    hash=$(tr -d '\n' <"$state/$user.password" | sha256sum | cut -d ' ' -f 1)
    sed -e 's/@SERVER@/docker/g' \
        -e "s/@${user^^}_PASSWORD_SHA256@/$hash/" \
        "../redis-schema/acl/$user.acl" >>"$state/redis.acl.new"
done
mv "$state/redis.acl.new" "$state/redis.acl"

if [ ! -s "$state/openai.key" ]; then
    printf 'sk-sample-%s\n' "$(openssl rand -hex 24)" >"$state/openai.key"
    cp "$state/openai.key" "$state/provider.key"
fi

# a private authority, whose key is thrown away, in place of the public ones
if [ ! -s "$state/ca.pem" ]; then
    ec=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365)

    openssl req -x509 "${ec[@]}" -subj '/CN=Hoody AI demo authority' \
        -keyout "$state/ca.key" -out "$state/ca.pem" 2>"$state/log"
    openssl req -x509 "${ec[@]}" -subj '/CN=sample provider' \
        -CA "$state/ca.pem" -CAkey "$state/ca.key" \
        -addext 'subjectAltName=DNS:api.openai.com' \
        -addext 'basicConstraints=critical,CA:false' \
        -keyout "$state/provider.tls" -out "$state/provider.crt" \
        2>>"$state/log"
    rm "$state/ca.key" "$state/log"
fi

# own <user> <file>...
own() {
    local user=$1 file
    shift

    for file in "$@"; do
        if [ -e "$state/$file" ]; then
            chown "$user:0" "$state/$file"
            chmod 0400 "$state/$file"
        fi
    done
}

own "$gateway" gateway.password openai.key
own 10001 engine.password events.password control.password \
    operator.token tokens.json \
    provider.key provider.crt provider.tls
own 10002 redis.acl
chmod 0444 "$state/ca.pem"
