#!/bin/sh
# Runs a command where the only network is loopback: nothing it starts can reach, or be reached from, anywhere else.
#   scripts/in-loopback-namespace.sh COMMAND...
set -eu
PATH=$PATH:/usr/sbin:/sbin

for namespace in "unshare --net" "unshare --map-current-user --keep-caps --net"; do
    if $namespace ip link set lo up 2>/dev/null; then
        # shellcheck disable=SC2086,SC2016  # words of a command; "$@" belongs to the inner shell
        exec $namespace sh -c 'ip link set lo up && exec "$@"' sh "$@"
    fi
done
echo "Cannot make a network namespace here: run as root, or allow unprivileged user namespaces." >&2
exit 1
