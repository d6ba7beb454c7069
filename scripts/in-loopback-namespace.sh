#!/bin/sh
# Runs a command where the only network is loopback: nothing it starts can reach, or be reached from, anywhere else.
# Where the machine allows it, nothing it starts outlives it, either.
#   scripts/in-loopback-namespace.sh COMMAND...
set -eu
PATH=$PATH:/usr/sbin:/sbin

processes="--pid --fork --kill-child --mount-proc"
user="--map-current-user --keep-caps"
for namespace in "--net $processes" "$user --net $processes" "--net" "$user --net"; do
    # shellcheck disable=SC2086  # several options
    if unshare $namespace ip link set lo up 2>/dev/null; then
        # shellcheck disable=SC2086,SC2016  # "$@" belongs to the inner shell, which stays to collect orphans
        exec unshare $namespace sh -c 'ip link set lo up && "$@"; exit $?' sh "$@"
    fi
done
echo "Cannot make a network namespace here: run as root, or allow unprivileged user namespaces." >&2
exit 1
