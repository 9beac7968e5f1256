"""`python tools/report.py` is the command `u2net report`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("report"))
