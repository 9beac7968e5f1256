#!/usr/bin/env bash
# Runs `u2net prepare` for the scripts below RGB/: prepare.sh NAME … [flags] puts data sets into data/
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m paddleseg_u2net prepare --data_root "$root/data" "$@"
