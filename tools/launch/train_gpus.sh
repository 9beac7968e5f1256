#!/usr/bin/env bash
# Train on several GPUs of this machine, one process each.
#
# usage: tools/launch/train_gpus.sh GPUS [flags of u2net train]
#   tools/launch/train_gpus.sh 0,1,2,3 --config configs/RGB/U2Net/u2net_duts.yaml --do_eval
#
# DRY_RUN=1 prints the command instead of running it; PYTHON=… replaces the Python of .venv.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need '[0-9]+(,[0-9]+)*' -- "$@"
launch --devices "$1" -- "${@:2}"
