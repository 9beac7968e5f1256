"""`python tools/make_dataset.py` is the command `u2net make-dataset`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("make-dataset"))
