"""`python tools/convert_weights.py` is the command `u2net convert-weights`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("convert-weights"))
