#!/bin/sh
#
# Starts nginx in its image.  A socket that a killed one left behind would keep
# it from starting.

set -eu

rm -f /run/hoody-ai/control/control.sock
umask 0077

exec nginx -e /dev/stderr -g 'daemon off;' "$@"
