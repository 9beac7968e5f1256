"""`u2net convert-weights`; `python tools/convert_weights.py --help` shows its flags."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["convert-weights", *sys.argv[1:]]))
