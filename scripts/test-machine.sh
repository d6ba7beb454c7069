#!/bin/sh
# Installs the Debian packages that the tests need and this machine lacks; quick and offline when all are there.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

missing=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}
need chromium chromium
need firefox-esr firefox-esr
need ip iproute2
need unshare util-linux
# shellcheck disable=SC2086  # one word a package
[ -z "$missing" ] || scripts/apt-install.sh $missing
