#!/usr/bin/env bash
# Optic disc -> data/synthetic_disc. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" synthetic_disc "$@"
