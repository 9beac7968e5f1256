"""Predictions -> files: overlays, pseudo-colour masks, saliency maps, cut-outs; one row per output."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paddleseg_u2net.data.visualize import overlay
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import WRITTEN, write_image

if TYPE_CHECKING:
    from paddleseg_u2net.inference.predictor import Prediction


def _write_added(path: Path, image: np.ndarray, prediction: Prediction, palette: np.ndarray) -> None:
    write_image(path, overlay(image, palette[prediction.classes]))


def _write_pseudo_color(path: Path, image: np.ndarray, prediction: Prediction, palette: np.ndarray) -> None:
    """Write a palette PNG whose pixels are the class ids."""
    from PIL import Image

    classes = prediction.classes
    mask = Image.frombytes("P", classes.shape[::-1], classes.tobytes())
    mask.putpalette(palette.tobytes())
    encoded = io.BytesIO()
    mask.save(encoded, "PNG")
    with atomic_write(path) as partial:
        partial.write_bytes(encoded.getvalue())


def _write_saliency(path: Path, image: np.ndarray, prediction: Prediction, palette: np.ndarray) -> None:
    maps = prediction.saliency
    if prediction.multilabel:  # beside each other, as in mask files
        maps = np.concatenate(list(prediction.probabilities), axis=1)
    write_image(path, to_8bit(maps))


def _write_cutout(path: Path, image: np.ndarray, prediction: Prediction, palette: np.ndarray) -> None:
    write_image(path, np.dstack([image, to_8bit(prediction.saliency)]))


def to_8bit(saliency: np.ndarray) -> np.ndarray:
    """Convert [0, 1] to uint8 in 0 .. 255, rounded to the nearest."""
    return (saliency * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class Output:
    """One kind of file made from a prediction.

    Args:
        folder: name of its folder below the save folder.
        write: writes the file, given (path, image (H, W, 3) uint8 RGB, prediction, palette (256, 3) uint8).
        keeps_name: the file keeps the name and format of the image; otherwise it is a PNG.
    """

    folder: str
    write: Callable[[Path, np.ndarray, Prediction, np.ndarray], None]
    keeps_name: bool = False


OUTPUTS = {
    "added": Output("added_prediction", _write_added, keeps_name=True),
    "pseudo_color": Output("pseudo_color_prediction", _write_pseudo_color),
    "saliency": Output("saliency", _write_saliency),
    "cutout": Output("cutout", _write_cutout),
}


def plan_outputs(
    images: Sequence[Path],
    root: Path,
    save_dir: Path,
    names: Iterable[str],
    table: Mapping[str, Output] = OUTPUTS,
) -> list[dict[str, Path]]:
    """Choose the files of each image: sub-folders mirrored, no two of them the same.

    `a.jpg` becomes `a.png`; where `a.png` exists beside it, both keep their full name (`a.jpg.png`).

    Args:
        images: files below `root`.
        root: folder whose sub-folders are mirrored.
        save_dir: folder that holds the folders of the outputs.
        names: keys of `table`.
        table: the kinds of outputs that there are.

    Returns:
        For each image, output name -> file.

    Raises:
        ValueError: unknown output, or a file would overwrite one of the images.
    """
    names = list(names)
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        raise ValueError(f"--outputs {','.join(unknown)}: unknown. Fix: any of {','.join(table)}")
    relative = [path.relative_to(root) for path in images]
    named = dict(zip(relative, _png_names(relative), strict=True))
    plans = []
    for path in relative:
        same = path if path.suffix.lower() in WRITTEN else path.with_name(f"{path.name}.png")
        files = {name: same if table[name].keeps_name else named[path] for name in names}
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


def _png_names(paths: Sequence[Path]) -> list[Path]:
    """`a.png` for `a.jpg`; the full name (`a.jpg.png`) where two images would share one."""
    full = [path.with_name(f"{path.name}.png") for path in paths]
    chosen = [path.with_suffix(".png") for path in paths]
    while len(set(chosen)) < len(chosen):  # full names are all different, so the loop ends
        count = Counter(chosen)
        chosen = [long if count[short] > 1 else short for short, long in zip(chosen, full, strict=True)]
    return chosen
