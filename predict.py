"""`python predict.py --help` tells all; the command itself is paddleseg_u2net/commands/predict.py."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
