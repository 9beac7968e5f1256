#!/usr/bin/env bash
# Portraits -> data/mini_supervisely. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" mini_supervisely "$@"
