#!/bin/sh
# Installs the Debian packages that the tests need and this machine lacks; quick and offline when all are there.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

# The tests drive Firefox by WebDriver BiDi; the ESR before this one lacks commands they use.
firefox_needed=153

has_firefox() {
    major=$(firefox-esr --version 2>/dev/null | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "${major:-0}" -ge "$firefox_needed" ]
}

missing=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}
need chromium chromium
need turnserver coturn
need nft nftables
need certutil libnss3-tools
need ip iproute2
need unshare util-linux
has_firefox || missing="$missing firefox-esr"
# shellcheck disable=SC2086  # one word a package
[ -z "$missing" ] || scripts/apt-install.sh $missing
if ! has_firefox; then
    echo "The newest firefox-esr here is $major; the tests need $firefox_needed (are security updates among the sources of apt?)." >&2
    exit 1
fi
