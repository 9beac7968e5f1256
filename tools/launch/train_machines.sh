#!/usr/bin/env bash
# Train on the GPUs of several machines. Run it on each of them, with the same words but RANK.
#
# usage: tools/launch/train_machines.sh MASTER:PORT MACHINES RANK GPUS [flags of u2net train]
#   tools/launch/train_machines.sh 10.0.0.1:8090 2 0 0,1,2,3 --config configs/RGB/U2Net/u2net_duts.yaml
#   tools/launch/train_machines.sh 10.0.0.1:8090 2 1 0,1,2,3 --config configs/RGB/U2Net/u2net_duts.yaml
#
# MASTER is the address of the machine with RANK 0, PORT a free port there. Data, config and a checkpoint to
# resume must lie under the same paths on all machines; rank 0 writes --save_dir.
# DRY_RUN=1 prints the command instead of running it; PYTHON=… replaces the Python of .venv.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need '[^ ]+:[0-9]+' '[1-9][0-9]*' '[0-9]+' '[0-9]+(,[0-9]+)*' -- "$@"
if (($3 >= $2)); then
    echo "error: RANK $3: expected 0 to $(($2 - 1)), as there are $2 machines" >&2
    exit 2
fi
launch --master "$1" --nnodes "$2" --rank "$3" --devices "$4" -- "${@:5}"
