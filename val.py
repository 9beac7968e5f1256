"""`python val.py` is the command `u2net val`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["val", *sys.argv[1:]]))
