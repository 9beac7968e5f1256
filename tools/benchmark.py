"""`u2net benchmark`; `python tools/benchmark.py --help` shows its flags."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
