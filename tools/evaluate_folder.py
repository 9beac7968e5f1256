"""`u2net evaluate`; `python tools/evaluate_folder.py --help` shows its flags."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
