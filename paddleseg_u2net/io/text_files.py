"""Lists and JSON files of others, read within bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddleseg_u2net.bounds import JSON_BYTES, JSON_CONTAINERS, RECORD_BYTES, TEXT_BYTES, TEXT_LINES, Bound

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # those of `str.splitlines`


def check_file(path: Path, bound: Bound, where: str = "") -> None:
    """Raise ValueError for more bytes than a bound, and for a device or a pipe, which may have no end.

    Args:
        path: a file or folder that exists.
        bound: of its bytes.
        where: the file, for messages, where the caller does not name it.
    """
    bound.check(path.stat().st_size, where)
    if not (path.is_file() or path.is_dir()):
        raise ValueError(f"{where}{': ' * bool(where)}is a device or a pipe. Fix: save it as a file")


def text_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        ValueError: it exceeds the bounds, or is no file; with its name.
    """
    check_file(path, TEXT_BYTES, str(path))
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
        ValueError: it is not JSON, exceeds the bounds, or is no file; without its name.
    """
    check_file(path, JSON_BYTES)
    data = path.read_bytes()
    JSON_CONTAINERS.check(data.count(b"[") + data.count(b"{"))
    try:
        return json.loads(data, object_hook=hook)
    except RecursionError:
        raise ValueError("values are nested too deep") from None


def parse_record(path: Path) -> dict[str, Any]:
    """The object in a small JSON file such as `state.json`; raises as `parse_json`."""
    check_file(path, RECORD_BYTES)
    content = parse_json(path)
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    return content
