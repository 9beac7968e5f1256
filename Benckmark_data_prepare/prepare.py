"""`u2net prepare`; `python -m Benckmark_data_prepare.prepare --help` shows its flags."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
