#!/usr/bin/env bash
# Sets up the same environment as run_all.sh and runs the tests; --all runs the long ones too, with freshly drawn cases;
# --long draws many more hostile files than --all: minutes instead of seconds of them.
# Other arguments go to pytest. Every process computes on one thread: as many tests run at once as there are cores.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
select=(-m "not long") arguments=()
for argument in "$@"; do
    case "$argument" in
        --all) select=(--hypothesis-profile=all) ;;
        --long) select=(--hypothesis-profile=long) ;;
        *) arguments+=("$argument") ;;
    esac
done
./run_all.sh --setup
# This folder's package, whatever PYTHONPATH names; text is UTF-8.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUTF8=1
unset PYTHONHOME PYTHONIOENCODING
# DeepSpeed compiles a part of itself on its first use: once for this folder, beside the other temporary files.
export TORCH_EXTENSIONS_DIR="${TMPDIR:-/tmp}/torch-extensions-$(pwd | cksum | cut -d' ' -f1)"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "${select[@]}" ${arguments[@]+"${arguments[@]}"}
