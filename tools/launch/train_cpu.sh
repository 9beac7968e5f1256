#!/usr/bin/env bash
# Train in several processes on the CPU of this machine, which share its cores.
#
# usage: tools/launch/train_cpu.sh PROCESSES [flags of u2net train]
#   tools/launch/train_cpu.sh 2 --config configs/RGB/U2Net/u2netp.yaml --iters 10
#
# DRY_RUN=1 prints the command instead of running it; PYTHON=… replaces the Python of .venv.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need '[1-9][0-9]*' -- "$@"
threads=$(($(getconf _NPROCESSORS_ONLN) / $1))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export PADDLE_DISTRI_BACKEND=gloo # also where Paddle could use GPUs
launch --nproc_per_node "$1" -- --device cpu "${@:2}"
