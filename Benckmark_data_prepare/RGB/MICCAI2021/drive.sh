#!/usr/bin/env bash
# Blood vessels -> data/DRIVE. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" DRIVE "$@"
