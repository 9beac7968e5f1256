"""`python tools/evaluate_folder.py` is the command `u2net evaluate`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
