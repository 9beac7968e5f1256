"""Predictions -> files: overlays, masks, saliency maps, cut-outs; one row per output."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.data.visualize import make_palette, overlay
from paddleseg_u2net.inference.result import CutoutSettings, Result, to_8bit
from paddleseg_u2net.io.encoding import FORMATS, check_format, encode, exif_of, format_name
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import WRITTEN, write_image

DEFAULT_FORMAT = "png"


@dataclass(frozen=True)
class OutputSettings:
    """How results are drawn and written.

    Args:
        palette: (256, 3) uint8 RGB, the colour of each class.
        threshold: of masks; see `find_threshold`.
        cutout: see `CutoutSettings`.
        format: a key of `FORMATS`, for pictures that are no masks; None keeps the format of the photograph
            where it is shown, and writes PNG otherwise.
        quality: 1 to 100, of formats that lose details; None for their own.
        bits: 8 or 16, of saliency maps.
        keep_exif: write the EXIF data of the photograph into cut-outs.
    """

    palette: np.ndarray = field(default_factory=lambda: make_palette(1))
    threshold: float | str = 0.5
    cutout: CutoutSettings = field(default_factory=CutoutSettings)
    format: str | None = None
    quality: int | None = None
    bits: int = 8
    keep_exif: bool = False


def _draw_added(result: Result, settings: OutputSettings) -> np.ndarray:
    return overlay(result.image, settings.palette[result.classes])


def _draw_contour(result: Result, settings: OutputSettings) -> np.ndarray:
    """Outline each class over the photograph, in lines that are visible at its size."""
    picture, classes = result.image.copy(), result.classes
    width = max(1, round(max(classes.shape) / 300))
    for number in np.unique(classes[classes > 0]):
        shapes = cv2.findContours(
            (classes == number).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )[0]
        color = settings.palette[number].tolist()
        cv2.drawContours(picture, shapes, -1, color, width, cv2.LINE_AA)
    return picture


def _draw_saliency(result: Result, settings: OutputSettings) -> np.ndarray:
    maps = result.saliency
    if result.prediction.multilabel:  # beside each other, as in mask files
        maps = np.concatenate(list(result.prediction.probabilities), axis=1)
    return to_8bit(maps) if settings.bits == 8 else (maps * 65535 + 0.5).astype(np.uint16)


def _draw_mask(result: Result, settings: OutputSettings) -> np.ndarray:
    return result.mask(settings.threshold).astype(np.uint8) * 255


def _draw_classes(result: Result, settings: OutputSettings) -> np.ndarray:
    return result.classes


def _draw_cutout(result: Result, settings: OutputSettings) -> np.ndarray:
    return result.cutout()


@dataclass(frozen=True)
class Output:
    """One kind of file made from a prediction.

    Args:
        folder: name of its folder below the save folder.
        draw: makes the picture, as `encode` takes it.
        keeps_name: the file keeps the name and format of the photograph, unless a format is given.
        exact: its values are numbers, so that it is a PNG in any case.
        palette: its values are shown in the colours of the palette.
        own_colors: it has the colour profile of the photograph.
    """

    folder: str
    draw: Callable[[Result, OutputSettings], np.ndarray]
    keeps_name: bool = False
    exact: bool = False
    palette: bool = False
    own_colors: bool = False


OUTPUTS = {
    "added": Output("added_prediction", _draw_added, keeps_name=True),
    "pseudo_color": Output("pseudo_color_prediction", _draw_classes, exact=True, palette=True),
    "saliency": Output("saliency", _draw_saliency),
    "cutout": Output("cutout", _draw_cutout, own_colors=True),
    "mask": Output("mask", _draw_mask, exact=True),
    "class_ids": Output("class_ids", _draw_classes, exact=True),
    "contour": Output("contour", _draw_contour, keeps_name=True),
}
USUAL = ("added", "pseudo_color", "saliency", "cutout")  # written if no outputs are named


def check_outputs(names: Iterable[str], settings: OutputSettings) -> None:
    """Raise ValueError if an output is unknown, or the format cannot hold it."""
    names = list(names)
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        raise ValueError(f"--outputs {','.join(unknown)}: unknown. Fix: any of {','.join(OUTPUTS)}")
    wanted = settings.format or DEFAULT_FORMAT
    for name in names:
        transparent = name == "cutout" and settings.cutout.background is None
        if not OUTPUTS[name].exact:
            check_format(wanted, transparent, deep=name == "saliency" and settings.bits == 16)


def write_output(
    name: str,
    path: Path,
    result: Result,
    settings: OutputSettings,
    source: Path,
    table: Mapping[str, Output] = OUTPUTS,
) -> None:
    """Draw an output and write it atomically.

    Args:
        name: a key of `table`.
        path: file to write, as `plan_outputs` names it; its folder is created.
        result: what is drawn.
        settings: how.
        source: file of the photograph.
        table: the kinds of outputs that there are.
    """
    if table[name].keeps_name and settings.format is None:
        if settings.quality is None or path.suffix.lower() == ".bmp":
            write_image(path, table[name].draw(result, settings))
            return
        settings = replace(settings, format=format_name(path))
    encoded = encode_output(name, result, settings, exif_of(source) if settings.keep_exif else None, table)
    with atomic_write(path) as partial:
        partial.write_bytes(encoded)


def encode_output(
    name: str,
    result: Result,
    settings: OutputSettings,
    exif: bytes | None = None,
    table: Mapping[str, Output] = OUTPUTS,
) -> bytes:
    """The content of the file of an output.

    Args:
        name: a key of `table`.
        result: what is drawn.
        settings: how; without a format it is a PNG.
        exif: EXIF data of the photograph, for cut-outs; see `encode`.
        table: the kinds of outputs that there are.
    """
    output = table[name]
    pixels = output.draw(result, settings)
    if output.palette:
        return _with_palette(pixels, settings.palette)
    wanted = FORMATS[DEFAULT_FORMAT if output.exact else settings.format or DEFAULT_FORMAT]
    if not output.own_colors:
        return encode(pixels, wanted, settings.quality)
    return encode(pixels, wanted, settings.quality, result.photograph.profile, exif)


def _with_palette(classes: np.ndarray, palette: np.ndarray) -> bytes:
    """A PNG whose pixels are class ids, shown in colours."""
    from PIL import Image

    mask = Image.frombytes("P", classes.shape[::-1], classes.tobytes())
    mask.putpalette(palette.tobytes())
    encoded = io.BytesIO()
    mask.save(encoded, "PNG")
    return encoded.getvalue()


def plan_outputs(
    images: Sequence[Path],
    root: Path,
    save_dir: Path,
    names: Iterable[str],
    wanted: str | None = None,
    table: Mapping[str, Output] = OUTPUTS,
) -> list[dict[str, Path]]:
    """Choose the files of each image: sub-folders mirrored, no two of them the same.

    `a.jpg` becomes `a.png`; where `a.png` exists beside it, both keep their full name (`a.jpg.png`).

    Args:
        images: files below `root`.
        root: folder whose sub-folders are mirrored.
        save_dir: folder that holds the folders of the outputs.
        names: keys of `table`.
        wanted: a key of FORMATS; see `OutputSettings.format`.
        table: the kinds of outputs that there are.

    Returns:
        For each image, output name -> file.

    Raises:
        ValueError: a file would overwrite one of the images.
    """
    names = list(names)
    relative = [path.relative_to(root) for path in images]
    suffixes = {FORMATS[DEFAULT_FORMAT].suffix, FORMATS[wanted or DEFAULT_FORMAT].suffix}
    named = {suffix: dict(zip(relative, _names(relative, suffix), strict=True)) for suffix in suffixes}
    plans = []
    for path in relative:
        files = {}
        for name in names:
            output = table[name]
            if output.keeps_name and wanted is None:
                files[name] = path if path.suffix.lower() in WRITTEN else path.with_name(f"{path.name}.png")
            else:
                chosen = DEFAULT_FORMAT if output.exact else wanted or DEFAULT_FORMAT
                files[name] = named[FORMATS[chosen].suffix][path]
        plans.append({name: save_dir / table[name].folder / file for name, file in files.items()})
    originals = {path.resolve() for path in images}
    seen: set[Path] = set()
    for path in (path for plan in plans for path in plan.values()):
        if path.resolve() in originals:
            raise ValueError(
                f"{path}: is an image to predict and would be overwritten. Fix: another --save_dir"
            )
        if path in seen or ".." in path.relative_to(save_dir).parts:
            raise ValueError(
                f"{path}: two results would be one file, or lie outside {save_dir}. Fix: rename the images"
            )
        seen.add(path)
    return plans


def _names(paths: Sequence[Path], suffix: str) -> list[Path]:
    """`a.png` for `a.jpg`; the full name (`a.jpg.png`) where two images would share one."""
    full = [path.with_name(f"{path.name}{suffix}") for path in paths]
    chosen = [path.with_suffix(suffix) for path in paths]
    while len(set(chosen)) < len(chosen):  # full names are all different, so the loop ends
        count = Counter(chosen)
        chosen = [long if count[short] > 1 else short for short, long in zip(chosen, full, strict=True)]
    return chosen
