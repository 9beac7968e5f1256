"""`python tools/demo.py` is the command `u2net demo`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
