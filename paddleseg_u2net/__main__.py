"""`python -m paddleseg_u2net` is the command `u2net`."""

import sys

from paddleseg_u2net.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
