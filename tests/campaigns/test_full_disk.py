"""Commands write to a disk that becomes full, at any point, or is read-only; nothing half-written is left.

python -m pytest -m slow tests/campaigns/test_full_disk.py [--campaign_size 4]

Each command runs with more and more room: on a file system of a few MiB (as root), or with a limit on the size
of files. It must end with exit code 1 and one line that names what could not be written, and every file that
it leaves under its final name must be one that it also writes when there is room. With enough room it must
succeed in the same folder.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from annotation_files import coco_file
from campaign import Campaign
from interrupted_training import Child
from small_disks import make_read_only, small_disk
from support import draw_pair, make_config, tree

pytestmark = pytest.mark.slow

MEBIBYTES = 64  # size of the disk; what a command may use of it is what the ballast leaves
