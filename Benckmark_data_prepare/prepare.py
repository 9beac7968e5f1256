"""`python -m Benckmark_data_prepare.prepare` is the command `u2net prepare`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("prepare"))
