#!/bin/sh
# Installs Debian packages: as root, or through sudo. Where neither works it says in one line what is missing.
#   scripts/apt-install.sh PACKAGE...
set -eu

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=sudo
else
    as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    echo "Missing on this machine: $*. Install them as root, e.g.: apt-get install $*" >&2
    exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing $* ..."
# The package lists of a fresh machine are missing or old. A source that cannot be reached may not matter.
$as_root apt-get update -q >"$log" 2>&1 || true
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "Could not install: $*. See above; then run make again." >&2
    exit 1
fi
