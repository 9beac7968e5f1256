#!/usr/bin/env bash
# Optic disc in fundus photographs -> data/optic_disc_seg. Flags are passed on: --archive FILE, --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" -m Benckmark_data_prepare.prepare optic_disc_seg "$@"
