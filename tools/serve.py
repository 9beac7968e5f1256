"""`python tools/serve.py` is the command `u2net serve`."""

import sys

from paddleseg_u2net.__main__ import main

if __name__ == "__main__":
    sys.exit(main("serve"))
