#!/usr/bin/env bash
# Salient objects -> data/DUTS-TR, data/DUTS-TE. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" DUTS-TR DUTS-TE "$@"
