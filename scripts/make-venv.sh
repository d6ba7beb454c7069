#!/bin/sh
# Makes the virtual environment .venv with the interpreter named by PYTHON (default python3).
# Debian's python3 comes without ensurepip and without certificates; both are installed where they are missing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
    echo "No $python here; peerbus needs Python 3.11 or newer." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$("$python" --version) is too old; peerbus needs Python 3.11 or newer (set PYTHON to another one)." >&2
    exit 1
fi

missing=
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $("$python" -c '
import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
[ -e /etc/ssl/certs/ca-certificates.crt ] || ! command -v apt-get >/dev/null || missing="$missing ca-certificates"
# shellcheck disable=SC2086  # one word a package
[ -z "$missing" ] || scripts/apt-install.sh $missing

"$python" -m venv --clear .venv
