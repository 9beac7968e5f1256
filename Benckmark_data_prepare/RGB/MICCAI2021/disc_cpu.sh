#!/usr/bin/env bash
# Optic disc -> data/optic_disc_seg. Flags are passed on: --archive FILE, --help
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../prepare.sh" optic_disc_seg "$@"
