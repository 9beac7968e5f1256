"""`python -m Benckmark_data_prepare.prepare` is the command `u2net prepare`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
