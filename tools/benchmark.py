"""`python tools/benchmark.py` is the command `u2net benchmark`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
