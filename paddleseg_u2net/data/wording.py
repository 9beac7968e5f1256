"""How the running command sets the keys of a data set, for the fixes in messages about its masks.

The code that reads masks knows no commands, so its fixes name keys (`mask_encoding: grey`). A `DatasetSpec`
carries one of the functions below, which turns them into what the user of that command can type.
"""

from __future__ import annotations

import re

SETTING = re.compile(r"\b(num_classes|ignore_index|mask_encoding)\b(?::? (\d+|grey|index)\b)?")
GREY_MASKS = "store objects as 255 and background as 0"


def as_flags(fix: str) -> str:
    """Name settings as flags of the same names: `--mask_encoding grey`."""
    return SETTING.sub(lambda found: f"--{found[1]}{f' {found[2]}' if found[2] else ''}", fix)


def as_options(fix: str, section: str) -> str:
    """Name settings as changes of the config: `--opts train_dataset.mask_encoding=grey`.

    Args:
        fix: the text.
        section: section of the data set. The number of classes is the model's.
    """

    def option(found: re.Match[str]) -> str:
        key = f"{'model' if found[1] == 'num_classes' else section}.{found[1]}"
        return f"--opts {key}={found[2] or '…'}"

    return SETTING.sub(option, fix)


def as_files(fix: str) -> str:
    """What to do to the files, for a command that has no settings for masks."""
    return GREY_MASKS if SETTING.search(fix) else fix
