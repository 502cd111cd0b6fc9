#!/usr/bin/env bash
# Sets up the same environment as run_all.sh and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
./run_all.sh --setup
HF_HUB_OFFLINE=1 exec .venv/bin/python -m pytest "$@"
