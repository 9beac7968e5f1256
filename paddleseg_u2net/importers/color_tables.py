"""Tables of colours and labels, for masks that store the class of a pixel as a colour."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.data.visualize import paddleseg_palette
from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.importers.annotations import BACKGROUND_LABEL, IGNORE_LABEL, read_any_json
from paddleseg_u2net.importers.labels import is_background, label_key
from paddleseg_u2net.importers.references import check_size, read_lines

MAX_BYTES = 1 << 20  # of a label map; known ones have a few kB
IGNORED_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled")  # in any spelling
FORMATS = "'name:R,G,B::' (CVAT), 'R G B name', 'name R G B' or 'name #rrggbb'"
AS_CVAT = "write the name and a colon before the numbers: 'lane 2:0,128,0'"
MAX_LINE = 1000  # characters
RGB = r"(\d{1,3})\s*[\s,;]\s*(\d{1,3})\s*[\s,;]\s*(\d{1,3})"
NAME_FIRST = re.compile(rf"(?P<name>.*?[^\s,:;=])\s*[\s,:;=]\s*\(?{RGB}\)?\s*(?::.*)?")
COLOR_FIRST = re.compile(rf"\(?{RGB}\)?\s*[\s,:;=]\s*(?P<name>\S.*)")
COLOR_ALONE = re.compile(rf"\(?{RGB}\)?|#(?P<hex>[0-9a-fA-F]{{6}})")
# is the fourth number opacity, or a part of the name?
FOUR_NUMBERS = re.compile(r"(?<![^\s,;])\d+([\s,;]+\d+){3}(?![^\s,;])")
HEX = re.compile(r"(?P<before>.*?)[\s,:;=]*#(?P<hex>[0-9a-fA-F]{6})\b[\s,:;=]*(?P<after>.*)")
COLUMNS = {"name": ("name", "label", "class"), "r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue")}
VOC_NAMES = """
aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant
sheep sofa train tvmonitor
"""
VOC_VOID = (224, 224, 192)  # outlines and difficult objects; index 255 of the masks
# the labels with a trainId, in its order
CITYSCAPES = """
128 64 128 road; 244 35 232 sidewalk; 70 70 70 building; 102 102 156 wall; 190 153 153 fence; 153 153 153 pole
250 170 30 traffic light; 220 220 0 traffic sign; 107 142 35 vegetation; 152 251 152 terrain; 70 130 180 sky
220 20 60 person; 255 0 0 rider; 0 0 142 car; 0 0 70 truck; 0 60 100 bus; 0 80 100 train; 0 0 230 motorcycle
119 11 32 bicycle; 0 0 0 void; 111 74 0 void; 81 0 81 void; 250 170 160 void; 230 150 140 void
180 165 180 void; 150 100 100 void; 150 120 90 void; 0 0 90 void; 0 0 110 void
"""

Color = tuple[int, int, int]


class LabelColor(NamedTuple):
    """One row of a table: a label and one of its colours, R, G, B in 0 .. 255."""

    where: str
    label: str
    color: Color


class ColorTable(NamedTuple):
    """Colours and what they mean.

    Args:
        where: file or flag, for messages.
        codes: (K,) int32, the colours as R * 65536 + G * 256 + B, sorted.
        labels: the label of each colour; BACKGROUND_LABEL and IGNORE_LABEL under these names.
        order: the labels in the order of the table.
    """

    where: str
    codes: np.ndarray
    labels: list[str]
    order: list[str]


def indexed_colors(names: Sequence[str]) -> list[tuple[str, Color]]:
    """Return the VOC colour of class 0, 1, … with its name, and the colour of ignored pixels."""
    flat = [0, 0, 0, *paddleseg_palette(max(len(names) - 1, 0))]
    colors = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [*zip(names, colors, strict=True), ("void", VOC_VOID)]


def _cityscapes() -> list[tuple[str, Color]]:
    rows = [row.split(maxsplit=3) for row in re.split("[;\n]", CITYSCAPES.strip())]
    return [(name, (int(r), int(g), int(b))) for r, g, b, name in rows]


# Sources: VOC devkit VOClabelcolormap.m; cityscapesScripts helpers/labels.py
KNOWN = {"voc": indexed_colors(["background", *VOC_NAMES.split()]), "cityscapes": _cityscapes()}


def make_table(where: str, rows: Iterable[LabelColor]) -> ColorTable:
    """Make a table of its rows.

    Args:
        where: file or flag, for messages.
        rows: at least one; a label may have several colours, and differ by case and blanks.

    Raises:
        DataError: there are no rows, or one colour has two labels.
    """
    found: dict[Color, str] = {}
    spellings: dict[str, str] = {}
    faults, order = [], []
    for row in rows:
        label = spellings.setdefault(label_key(row.label), _meaning(row.label))
        order.append(label)
        if (known := found.setdefault(row.color, label)) != label:
            what = f"{row.color} is '{row.label}', but '{known}' in an earlier row"
            faults.append(Fault(row.where, what, "give each label a colour of its own"))
    if not found:
        faults = [Fault(where, f"names no colour, expected lines of {FORMATS}")]
    if faults:
        raise DataError(faults)
    codes = {(r << 16) + (g << 8) + b: label for (r, g, b), label in found.items()}
    keys = sorted(codes)
    return ColorTable(
        where, np.array(keys, np.int32), [codes[key] for key in keys], list(dict.fromkeys(order))
    )


def _meaning(label: str) -> str:
    """Return a label, or the special label that stands for background or ignored pixels."""
    if is_background(label):
        return BACKGROUND_LABEL
    return IGNORE_LABEL if label_key(label).strip("_-") in IGNORED_NAMES else label.strip()


def read_label_map(path: Path) -> ColorTable:
    """Read a label map: CVAT's labelmap.txt, a text or CSV file of names and colours, or JSON.

    Args:
        path: the file, in UTF-8. JSON is an object of names and colours, or a list of objects with `name` or
            `title` and `color` (CVAT), alone or as `classes` or `labels` of an object.

    Raises:
        DataError: the file does not exist, is too large, or has lines that name no colour.
    """
    rows, faults = [], []
    for where, name, color in _json_rows(path) if path.suffix.lower() == ".json" else _text_rows(path):
        if name and color:
            rows.append(LabelColor(where, name, color))
        else:
            faults.append(Fault(where, f"expected {FORMATS}, with numbers of 0 to 255", AS_CVAT))
    if faults:
        raise DataError(faults)
    return make_table(str(path), rows)


def _text_rows(path: Path) -> Iterator[tuple[str, str, Color | None]]:
    """Yield place, name and colour of the lines of a text or CSV file; no colour if a line has none."""
    lines = read_lines(path, MAX_BYTES)
    columns = _csv_columns(lines[0]) if lines else None
    for number, line in enumerate(lines, start=1):
        text, where = line.strip(), f"{path}:{number}"
        if len(text) > MAX_LINE:
            yield where, "", None
        elif columns and number > 1 and text:
            cells = next(csv.reader([text]))
            name, *color = (cells[i].strip() if i < len(cells) else "" for i in columns)
            yield where, name, read_color(",".join(color))
        elif not columns and text and not (text[0] == "#" and not re.match("#[0-9a-fA-F]{6}\\b", text)):
            yield where, *parse_color(text)


def _csv_columns(header: str) -> list[int] | None:
    """Return the columns of name, red, green and blue if a line is the header of a CSV file."""
    cells = [cell.strip().lower() for cell in header.split(",")]
    found = [[cells.index(word) for word in words if word in cells] for words in COLUMNS.values()]
    return [columns[0] for columns in found] if all(found) else None


def read_color(text: str) -> Color | None:
    """Read `R,G,B` or `#rrggbb`; None if the text is neither."""
    found = COLOR_ALONE.fullmatch(text.strip())
    if found is None:
        return None
    red, green, blue = bytes.fromhex(found["hex"]) if found["hex"] else map(int, found.groups()[:3])
    return (red, green, blue) if max(red, green, blue) <= 255 else None


def parse_color(text: str) -> tuple[str, Color | None]:
    """Read one name and one colour in any of FORMATS; the colour is None if the text is none of them."""
    text = " ".join(text.split())  # many blanks would take the patterns long
    if FOUR_NUMBERS.search(text):
        return "", None
    if (found := HEX.fullmatch(text)) and not (found["before"] and found["after"]):
        return found["before"] or found["after"], read_color(f"#{found['hex']}")
    readings = [
        (found["name"].strip(), read_color(",".join(found.group(*numbers))))
        for pattern, numbers in ((COLOR_FIRST, (1, 2, 3)), (NAME_FIRST, (2, 3, 4)))
        if (found := pattern.fullmatch(text)) and not found["name"].strip().isdecimal()
    ]
    return readings[0] if len(readings) == 1 else ("", None)


def _json_rows(path: Path) -> Iterator[tuple[str, str, Color | None]]:
    """Yield place, name and colour of the entries of a JSON file."""
    check_size(path, MAX_BYTES)
    content = read_any_json(path)
    listed = content.get("classes", content.get("labels")) if isinstance(content, dict) else content
    rows: list[tuple[Any, Any]] = list(content.items()) if isinstance(content, dict) else [("", None)]
    if isinstance(listed, list):
        rows = [
            (row.get("name", row.get("title")), row.get("color")) if isinstance(row, dict) else ("", None)
            for row in listed
        ]
    for index, (name, color) in enumerate(rows):
        text = ",".join(map(str, color[:3])) if isinstance(color, list) else color
        valid = isinstance(name, str) and isinstance(text, str)
        yield f"{path}: entry {index}", name if valid else "", read_color(text) if valid else None


def parse_colors(words: Sequence[str]) -> ColorTable:
    """Read the value of --colors: names of KNOWN tables, and NAME=R,G,B or NAME=#rrggbb.

    Raises:
        DataError: words that are neither.
    """
    rows, faults = [], []
    for word in words:
        where = f"--colors {word}"
        if word.lower() in KNOWN:
            rows += [LabelColor(where, *row) for row in KNOWN[word.lower()]]
            continue
        name, equals, text = word.rpartition("=")
        if equals and name and (color := read_color(text)):
            rows.append(LabelColor(where, name, color))
        else:
            what = f"expected NAME=R,G,B, NAME=#rrggbb or one of {', '.join(KNOWN)}"
            faults.append(Fault(where, what, "--colors background=0,0,0 cat=255,0,0"))
    if faults:
        raise DataError(faults)
    return make_table("--colors", rows)
