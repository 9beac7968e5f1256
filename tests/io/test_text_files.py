"""Lists and JSON files of others."""

from __future__ import annotations

import os

import pytest

from paddleseg_u2net.config.yaml_text import read_yaml
from paddleseg_u2net.io.text_files import parse_json, parse_record, text_lines


@pytest.mark.parametrize("read", [text_lines, parse_json, parse_record, read_yaml])
def test_what_may_have_no_end_is_refused(tmp_path, read):
    """A data set or run of others may hold links to devices, whose size is 0."""
    (tmp_path / "a").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "b")
    for name in "ab":
        with pytest.raises(ValueError, match="is a device or a pipe. Fix: save it as a file"):
            read(tmp_path / name)
