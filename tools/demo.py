"""`u2net demo`; `python tools/demo.py --help` shows its flags."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
