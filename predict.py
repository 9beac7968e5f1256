"""`python predict.py --help` tells all; the command itself is paddleseg_u2net/cli/predict.py."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
