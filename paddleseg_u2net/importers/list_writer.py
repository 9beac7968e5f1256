"""A data set that is split -> the text of its lists and of a config over them."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.loader import BASE, HERE, dump_config
from paddleseg_u2net.data.masks import MaskEncoding
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.errors import DataError

PARTS = ("train", "val", "test")
SALIENCY_BASE, CLASSES_BASE = (f"configs/RGB/U2Net/{name}.yaml" for name in ("u2netp_finetune", "u2netp"))


def absolute(path: Path) -> Path:
    """A path from the top; links stay what they are: they are how people move data."""
    return Path(os.path.abspath(path))


def find_root(paths: Sequence[Path], save_dir: Path) -> Path:
    """The deepest folder that holds all files, `save_dir` where that is the whole disk."""
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return save_dir if root == Path(root.anchor) else root


def entry_text(path: Path, root: Path) -> str:
    """A path as a list names it: below `root` where it lies there.

    Raises:
        ValueError: a name that no line of a list can hold.
    """
    text = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    if len(text.splitlines()) != 1 or "\t" in text:
        raise ValueError(f"{text!r}: a list cannot hold a name with a tab or a line break. Fix: rename it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r}: a name that is not UTF-8. Fix: rename it") from None
    return f"./{text}" if text[0] == "#" or text[0].isspace() else text


def list_texts(parts: Sequence[Sequence[Pair]], root: Path) -> dict[str, str]:
    """Text of the list of each part that has images; raises DataError with all names that none can hold."""
    rows: dict[str, list[list[str]]] = {}
    faults = []
    for part, pairs in zip(PARTS, parts, strict=True):
        for pair in pairs:
            rows.setdefault(part, []).append([])
            for path in filter(None, pair[:2]):
                try:
                    rows[part][-1].append(entry_text(absolute(path), root))
                except ValueError as error:
                    faults.append(str(error))
    if faults:
        raise DataError(faults)
    spaces = any(text != "".join(text.split()) for pairs in rows.values() for row in pairs for text in row)
    separator = "\t" if spaces else " "
    return {part: "".join(f"{separator.join(row)}\n" for row in pairs) for part, pairs in rows.items()}


def anchored(path: Path, config: Path, save_dir: Path) -> str:
    """A path as the config says it: from its own folder where both move together, else absolute."""
    for anchor in (absolute(Path()), save_dir.parent):
        together = path.is_relative_to(anchor) and config.parent.is_relative_to(anchor)
        if together and anchor != Path(anchor.anchor):
            way = Path(os.path.relpath(path, config.parent)).as_posix()
            return HERE if way == "." else f"{HERE}/{way}"
    return str(path)


def _printable(text: str) -> str:
    """Without line breaks and what else would end a comment."""
    return "".join(character if character.isprintable() else " " for character in text)


def config_text(root: str, lists: Mapping[str, str], encoding: MaskEncoding, header: Sequence[str]) -> str:
    """A config over one of the project's, which paths of data it replaces.

    Args:
        root: `dataset_root`.
        lists: path of the list of each part.
        encoding: how its masks are read.
        header: lines of its comment.
    """
    single, classes = encoding.num_classes == 1, {"num_classes": encoding.num_classes}
    data: dict[str, Any] = {"dataset_root": root}
    data |= {"image_dir": None, "mask_dir": None} if single else classes
    data["mask_encoding"] = encoding.name
    if encoding.ignore_index is not None:
        data["ignore_index"] = encoding.ignore_index
    config: dict[str, Any] = {BASE: SALIENCY_BASE if single else CLASSES_BASE}
    for part in ("train", "val"):
        config[f"{part}_dataset"] = {**data, f"{part}_path": lists[part]}
    if not single:
        config["model"] = classes
    wrap = partial(textwrap.wrap, width=106, break_long_words=False, break_on_hyphens=False)
    comment = [line for text in header for line in wrap(_printable(text), subsequent_indent=" " * 10)]
    return "".join(f"# {line}\n" for line in comment) + dump_config(config)
