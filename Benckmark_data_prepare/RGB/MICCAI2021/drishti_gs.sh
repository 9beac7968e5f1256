#!/usr/bin/env bash
# Optic disc -> data/Drishti-GS. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" Drishti-GS "$@"
