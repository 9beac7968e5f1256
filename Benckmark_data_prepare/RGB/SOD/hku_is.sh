#!/usr/bin/env bash
# Salient objects -> data/HKU-IS. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" HKU-IS "$@"
