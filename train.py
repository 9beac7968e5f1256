"""`python train.py` is the command `u2net train`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
