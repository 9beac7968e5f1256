"""Write the config of a new data set as YAML text."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.yaml_text import BASE, HERE, dump_config
from paddleseg_u2net.data.masks import MaskEncoding
from paddleseg_u2net.importers.list_writer import absolute

SALIENCY_BASE, CLASSES_BASE = (f"configs/RGB/U2Net/{name}.yaml" for name in ("u2netp_finetune", "u2netp"))


def path_text(path: Path, config: Path, save_dir: Path) -> str:
    """Return a path as the config names it.

    It is relative to the config's own folder (`${here}/…`) if both lie below the working folder or beside
    `save_dir`, so that they can be moved together; else it is absolute.

    Args:
        path: the path to name, absolute.
        config: the config file, absolute.
        save_dir: folder of the new data set, absolute.
    """
    for anchor in (absolute(Path()), save_dir.parent):
        together = path.is_relative_to(anchor) and config.parent.is_relative_to(anchor)
        if together and anchor != Path(anchor.anchor):
            relative = Path(os.path.relpath(path, config.parent)).as_posix()
            return HERE if relative == "." else f"{HERE}/{relative}"
    return str(path)


def _printable(text: str) -> str:
    """Replace line breaks and other characters that would end a comment by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def config_text(
    root: str,
    lists: Mapping[str, str],
    encoding: MaskEncoding,
    header: Sequence[str],
    class_names: Sequence[str],
) -> str:
    """Write a config that inherits one of the project's configs and replaces its data.

    Args:
        root: `dataset_root`.
        lists: path of the list of each part.
        encoding: how the masks are decoded.
        header: lines of the comment at the top.
        class_names: one per class, background included; written for classes, if they are all different.

    Returns:
        YAML text that `load_config` reads.
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
        if encoding.colors:  # one mapping for both parts would be written with an anchor
            colors = {value: list(color) for value, color in sorted(encoding.colors.items())}
            config[f"{part}_dataset"]["mask_colors"] = colors
    if not single:
        config["model"] = classes
        if len(set(class_names)) == len(class_names):
            config["class_names"] = list(class_names)
    wrap = partial(textwrap.wrap, width=106, break_long_words=False, break_on_hyphens=False)
    comment = [line for text in header for line in wrap(_printable(text), subsequent_indent=" " * 10)]
    return "".join(f"# {line}\n" for line in comment) + dump_config(config)
