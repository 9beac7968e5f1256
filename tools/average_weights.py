"""`python tools/average_weights.py` is the command `u2net average-weights`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("average-weights"))
