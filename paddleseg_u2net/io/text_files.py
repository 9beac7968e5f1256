"""Lists and JSON files of others, read within bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddleseg_u2net.bounds import JSON_BYTES, JSON_CONTAINERS, RECORD_BYTES, TEXT_BYTES, TEXT_LINES

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # those of `str.splitlines`


def text_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        ValueError: it exceeds the bounds; with the name of the file.
    """
    TEXT_BYTES.check(path.stat().st_size, str(path))
    text = path.read_text(encoding="utf-8-sig")
    TEXT_LINES.check(sum(map(text.count, LINE_ENDS)), str(path))
    return text.splitlines()


def parse_json(path: Path, hook: Callable[[dict], Any] | None = None) -> Any:
    """The content of a JSON file, which may be an annotation file of many images.

    Args:
        path: the file.
        hook: see `object_hook` of `json.loads`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or exceeds the bounds; without the name of the file.
    """
    JSON_BYTES.check(path.stat().st_size)
    data = path.read_bytes()
    JSON_CONTAINERS.check(data.count(b"[") + data.count(b"{"))
    try:
        return json.loads(data, object_hook=hook)
    except RecursionError:
        raise ValueError("values are nested too deep") from None


def parse_record(path: Path) -> dict[str, Any]:
    """The object in a small JSON file such as `state.json`; raises as `parse_json`."""
    RECORD_BYTES.check(path.stat().st_size)
    content = parse_json(path)
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    return content
