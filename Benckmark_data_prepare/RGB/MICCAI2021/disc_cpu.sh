#!/usr/bin/env bash
# Optic disc in fundus photographs -> data/optic_disc_seg. Flags are passed on: --archive FILE, --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m Benckmark_data_prepare.prepare optic_disc_seg --data_root "$root/data" "$@"
