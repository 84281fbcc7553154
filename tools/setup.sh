#!/bin/sh
# Sets up what the project needs: Python packages in .venv, and QEMU. Safe to run again; takes
# milliseconds when nothing has changed.
#
#     tools/setup.sh [--packages]      --packages: leave QEMU out
#
# Packages come from requirements.lock (exact versions, checked by hash). uv is installed by pip
# when it is missing, Python >= 3.12 by uv, QEMU by apt when this user may.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
stamp=.venv/merlion-setup
TOOLS=$root/.venv-tools

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# A command on PATH may be a shim for a version that is not there: run it to know.
find_uv() {
    for candidate in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" "$TOOLS/bin/uv" \
        "$HOME"/.pyenv/versions/*/bin/uv; do
        if "$candidate" --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

install_uv() {
    say "installing uv"
    python3 -m pip install --quiet --user uv >/dev/null 2>&1 && return
    # The system forbids it (PEP 668), or has no pip for users: an environment of its own.
    python3 -m venv "$TOOLS" >/dev/null 2>&1 && "$TOOLS/bin/pip" install --quiet uv && return
    fail "cannot install uv: see https://docs.astral.sh/uv, or: apt-get install python3-venv"
}

find_python() {
    for candidate in python3.13 python3.12 python3.14 \
        "$HOME"/.pyenv/versions/3.13*/bin/python3 "$HOME"/.pyenv/versions/3.12*/bin/python3 \
        /usr/bin/python3.13 /usr/bin/python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

packages() {
    wanted=$(cat pyproject.toml requirements.lock tools/setup.sh | cksum)
    if [ -x .venv/bin/merlion ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    uv=$(find_uv)
    if [ -z "$uv" ]; then
        install_uv
        uv=$(find_uv)
        [ -n "$uv" ] || fail "uv was installed but cannot be found: add ~/.local/bin to PATH"
    fi
    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        python=$(find_python)
        [ -n "$python" ] || say "no Python 3.12 or later here: uv fetches one"
        say "making .venv with ${python:-Python 3.13}"
        "$uv" venv --quiet --clear --python "${python:-3.13}" .venv ||
            fail "cannot get Python 3.12 or later: install one (apt-get install python3.12), try again"
    fi
    say "installing packages"
    VIRTUAL_ENV=$root/.venv "$uv" pip sync --quiet --require-hashes requirements.lock
    VIRTUAL_ENV=$root/.venv "$uv" pip install --quiet --no-deps --no-build-isolation -e .
    printf '%s\n' "$wanted" >$stamp
}

qemu() {
    command -v qemu-system-x86_64 >/dev/null 2>&1 && return
    advice="install QEMU 7 or later; on Debian and Ubuntu: sudo apt-get install qemu-system-x86"
    command -v apt-get >/dev/null 2>&1 || { say "$advice"; return; }
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root=sudo
    else
        say "QEMU is missing and apt needs a password: $advice"
        return
    fi
    say "installing QEMU"
    $as_root apt-get update -qq >/dev/null 2>&1 || true
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        qemu-system-x86 >/dev/null 2>&1 || say "apt could not install QEMU: $advice"
}

packages
[ "${1:-}" = --packages ] || qemu
