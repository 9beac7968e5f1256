"""Results -> answers: the format that the client accepts, and results as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.inference.outputs import OUTPUTS, encode_output
from paddleseg_u2net.inference.presence import presence
from paddleseg_u2net.inference.result import Result
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.parameters import Wanted

JSON, JSON_LINES, ZIP = "application/json", "application/jsonl", "application/zip"
# in the order in which they are preferred where the client does not mind
MEDIA = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "avif": "image/avif",
    "tiff": "image/tiff",
}
MAX_ACCEPT = 30  # media ranges of an Accept header that are read


def choose(accept: str, offered: Sequence[str]) -> str:
    """The media type that a client likes best (RFC 9110, 12.5.1).

    Args:
        accept: its Accept header; empty accepts all.
        offered: media types, the preferred one first.

    Raises:
        ApiFault: it accepts none of them.
    """
    ranges = [_media_range(text) for text in accept.split(",")[:MAX_ACCEPT] if text.strip()]
    if not ranges:
        return offered[0]

    def weight(media: str) -> float:
        kind = media.partition("/")[0]
        for pattern in (media, f"{kind}/*", "*/*"):  # the most specific range decides
            if found := [quality for name, quality in ranges if name == pattern]:
                return max(found)
        return 0

    best = max(offered, key=weight)  # the first of equal ones
    if not weight(best):
        raise ApiFault(
            "not_acceptable", f"Accept: {accept[:80]}: this is answered as {', '.join(offered)}. Fix: */*"
        )
    return best


def _media_range(text: str) -> tuple[str, float]:
    name, *options = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for option in options:
        if option.startswith("q="):
            try:
                quality = float(option[2:])
            except ValueError:
                quality = 0
    return name, quality if 0 <= quality <= 1 else 0


def picture_format(accept: str, wanted: Wanted) -> str:
    """The key of FORMATS in which one output is answered.

    Raises:
        ApiFault: the client accepts none that holds it.
    """
    if OUTPUTS[wanted.outputs[0]].exact:
        return _key(choose(accept, [MEDIA["png"]]))
    if wanted.settings.format:
        return wanted.settings.format
    able = [m for name, m in MEDIA.items() if name != "jpg" or not wanted.transparent]
    if wanted.settings.bits == 16 and wanted.outputs == ("saliency",):
        able = [MEDIA["png"], MEDIA["tiff"]]
    return _key(choose(accept, able))


def _key(media: str) -> str:
    return next(name for name, known in MEDIA.items() if known == media)


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """A mask (H, W) bool as COCO writes it: lengths of runs down the columns, the first one of zeros.

    Source: pycocotools `_mask.pyx`, uncompressed RLE.
    """
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1])) if flat.size else []
    counts = np.diff(edges, prepend=0)
    return {"size": list(mask.shape), "counts": [int(count) for count in counts]}


def facts_of(result: Result, model: str) -> dict[str, Any]:
    """What a result says in the headers of its picture.

    Args:
        result: of one image.
        model: its name.
    """
    height, width = result.saliency.shape
    return {
        "model": model,
        "width": width,
        "height": height,
        "presence": round(presence(result.prediction.saliency), 4),
        "notes": [note.text for note in result.photograph.notes],
    }


def mask_facts(result: Result, wanted: Wanted) -> dict[str, Any]:
    """What a result says beside its pictures and headers, as JSON is made of it.

    Args:
        result: of one image.
        wanted: the threshold of its mask.
    """
    mask, pixels = result.mask(wanted.settings.threshold), np.bincount(result.classes.ravel())
    return {
        "foreground": round(float(mask.mean()), 6),
        "box": box_of(mask),
        "classes": {str(n): round(int(pixels[n]) / mask.size, 6) for n in np.flatnonzero(pixels)},
        "mask": run_lengths(mask),
    }


class Picture(NamedTuple):
    """An output as a file: its format, a key of FORMATS, and its content."""

    format: str
    content: bytes


def draw(result: Result, wanted: Wanted) -> dict[str, Picture]:
    """All outputs of a result, by their names."""
    pictures = {}
    for name in wanted.outputs:
        kind = "png" if OUTPUTS[name].exact else wanted.settings.format or "png"
        pictures[name] = Picture(kind, encode_output(name, result, wanted.settings))
    return pictures


def as_json(facts: Mapping[str, Any], pictures: Mapping[str, Picture]) -> bytes:
    """Facts and pictures as one line of JSON."""
    outputs = {
        name: {"type": MEDIA[kind], "base64": base64.b64encode(content).decode()}
        for name, (kind, content) in pictures.items()
    }
    return json.dumps({**facts, "outputs": outputs}).encode()


def box_of(mask: np.ndarray) -> list[int] | None:
    """The box of a mask (H, W) bool: left, top, width, height in pixels; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
