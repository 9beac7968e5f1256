"""`python predict.py` is the command `u2net predict`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
