"""`python tools/check_dataset.py` is the command `u2net check-dataset`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("check-dataset"))
