"""`python tools/export.py` is the command `u2net export`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
