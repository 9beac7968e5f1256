#!/usr/bin/env bash
# Portraits -> data/P3M-10k. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" P3M-10k "$@"
