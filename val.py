"""`python val.py --help` tells all; the command itself is paddleseg_u2net/commands/val.py."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["val", *sys.argv[1:]]))
