"""`python val.py --help` tells all; the command itself is paddleseg_u2net/commands/val.py."""

import sys

from paddleseg_u2net.commands.val import main

if __name__ == "__main__":
    sys.exit(main())
