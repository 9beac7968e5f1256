"""Which other files an exported model makes its engine read, and whether it may.

An engine follows the names in a model file to any path, and the content of what it finds reaches the maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paddleseg_u2net.engines.deploy_config import RECORD, lies_inside, read_record
from paddleseg_u2net.errors import printable
from paddleseg_u2net.io.onnx_files import external_files
from paddleseg_u2net.io.text_files import parse_json

FIX = "Fix: export the model again"
# suffix of a model file -> that of the file with its weights, which the engine looks for beside it
WEIGHTS = {".xml": ".bin", ".json": ".pdiparams"}
# operations of Paddle that read or write files, call Python, or talk to other machines
FOREIGN = re.compile(r"(^|[._])(load|save|read_file|py_func|p_send|p_recv|send_v2|recv_v2)(_|$)")


def check_references(model: Path) -> None:
    """Check that an engine which opens a model reads nothing but files of its folder that its record lists.

    The weights beside a model (`.bin`, `.pdiparams`) need no record, other files that it names do.

    Args:
        model: `.onnx`, `.xml` or `.json` file.

    Raises:
        ValueError: it refers to another file, or is not of the kind that its suffix says.
        ConfigError: the record beside it cannot be read.
    """
    named = _named_files(model)
    weights = model.with_suffix(WEIGHTS.get(model.suffix, model.suffix))
    read = [weights.name, *named] if weights != model and weights.is_file() else named
    outside = [name for name in (model.name, *read) if not lies_inside(model.parent, name)]
    if outside:
        raise ValueError(f"{model}: refers to '{outside[0]}', which lies outside of its folder. {FIX}")
    record = model.parent / RECORD
    if named and not record.is_file():
        raise ValueError(
            f"{model}: refers to '{named[0]}', and there is no {RECORD} with its checksum. {FIX}"
        )
    listed = read_record(record).sha256 if read and record.is_file() else read
    unknown = [name for name in read if name not in listed]
    if unknown:
        raise ValueError(f"{model}: refers to '{unknown[0]}', whose checksum is not in {record}. {FIX}")


def _named_files(model: Path) -> list[str]:
    """Other files that a model names; ValueError if it is of another kind than its suffix says.

    OpenVINO chooses its reader by the content.
    """
    try:
        if model.suffix == ".onnx":
            return external_files(model)
        if model.suffix == ".xml":
            with model.open("rb") as file:
                if file.read(1) != b"<":
                    raise ValueError("is not an XML file")
        if model.suffix == ".json":
            for name in _operations(parse_json(model)):
                if FOREIGN.search(name):
                    raise ValueError(f"has the operation {printable(name[:99])}, which reads other files")
    except OSError as error:
        raise ValueError(f"{model}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        what = f"{model}: {error}"
        raise ValueError(what if "Fix: " in what else f"{what}. {FIX}") from None
    return []


def _operations(program: Any) -> Iterator[str]:
    """The names of all operations in a program of Paddle, and of whatever else has its key for names."""
    waiting = [program]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(name := value.get("#"), str):
                yield name
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
