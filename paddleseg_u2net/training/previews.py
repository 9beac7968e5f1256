"""Pictures of a few validation images with their masks and predictions, one for each evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.visualize import IGNORED_COLOR, make_palette
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.result import to_8bit
from paddleseg_u2net.io.bands import as_rgb
from paddleseg_u2net.io.files import atomic_bytes

IMAGES = 6  # columns
HEIGHT, MIN_WIDTH, MAX_WIDTH, GAP = 112, 56, 224, 4  # pixels, of a picture and around it
LABEL_WIDTH, CAPTION_HEIGHT = 82, 18  # pixels
BACKGROUND, INK = 255, (60, 60, 60)
COLORS = 256  # of a file
LABELS = {"model": "prediction", "ema_model": "EMA"}

Predict = Callable[[Sequence[np.ndarray]], Sequence[Prediction]]


def chosen_images(count: int) -> list[int]:
    """Indices of the images shown: the same in every preview, evenly spread over the list."""
    return sorted({int(index) for index in np.linspace(0, count - 1, IMAGES).round()})


def draw_preview(data: Dataset, networks: Mapping[str, Predict]) -> np.ndarray:
    """Draw images, their masks, and what networks predict; a row each.

    Args:
        data: validation data.
        networks: for each key of `LABELS`, a function that predicts images (H, W, 3) uint8 RGB.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    indices = chosen_images(len(data))
    columns = []
    palette = make_palette(data.spec.colors)
    for index in indices:
        image, mask = data.load_classes(index)
        cells = [as_rgb(image), colored(mask, palette)]
        for predict in networks.values():  # one at a time: images of a batch need equal sizes
            (prediction,) = predict([image])
            single = data.spec.num_classes == 1
            cells.append(colored(prediction.saliency if single else prediction.classes, palette))
        width = int(np.clip(round(image.shape[1] * HEIGHT / image.shape[0]), MIN_WIDTH, MAX_WIDTH))
        caption = _text(data.spec.pairs[index].image.stem, width, CAPTION_HEIGHT, 0.33)
        columns.append(np.vstack([caption, *(_cell(cell, width) for cell in cells)]))
    names = ["image", "mask", *(LABELS[name] for name in networks)]
    labels = [_text(name, LABEL_WIDTH, HEIGHT + GAP, 0.42) for name in names]
    labels = np.vstack([_text("", LABEL_WIDTH, CAPTION_HEIGHT, 0.33), *labels])
    gap = np.full((len(labels), GAP, 3), BACKGROUND, np.uint8)
    return np.hstack([labels, *(part for column in columns for part in (column, gap))])


def write_preview(path: Path, preview: np.ndarray) -> None:
    """Write a preview as a PNG of 256 colours, a third of the size of one with all colours.

    Args:
        path: file to write; its folder is created.
        preview: (h, w, 3) uint8, RGB.
    """
    with atomic_bytes(path, durable=False) as buffer:
        Image.fromarray(preview).quantize(COLORS).save(buffer, "PNG", optimize=True)


def colored(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """A mask as a picture.

    Args:
        mask: (H, W); float32 in [0, 1] is drawn in grey, uint8 class ids in the colours of their classes;
            `IGNORE` in magenta.
        palette: (256, 3) uint8, RGB.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    ignored = mask == IGNORE
    if mask.dtype == np.uint8:
        picture = palette[mask]
    else:
        picture = np.repeat(to_8bit(np.where(ignored, 0, mask))[..., None], 3, axis=2)
    picture[ignored] = IGNORED_COLOR
    return picture


def _cell(picture: np.ndarray, width: int) -> np.ndarray:
    """A picture in a cell of the given width: as large as fits, centred, with a gap below."""
    scale = min(HEIGHT / picture.shape[0], width / picture.shape[1])
    h, w = (max(round(size * scale), 1) for size in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    cell = np.full((HEIGHT + GAP, width, 3), BACKGROUND, np.uint8)
    top, left = (HEIGHT - h) // 2, (width - w) // 2
    cell[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=method)
    return cell


def _text(text: str, width: int, height: int, scale: float) -> np.ndarray:
    """A picture of a line of text, as much of it as fits; OpenCV draws ASCII only."""
    text, font = text.encode("ascii", "replace").decode(), cv2.FONT_HERSHEY_SIMPLEX
    while text and cv2.getTextSize(text, font, scale, 1)[0][0] > width - 4:
        text = text[:-1]
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    drawn = cv2.getTextSize(text, font, scale, 1)[0][1]
    cv2.putText(picture, text, (3, (height + drawn) // 2), font, scale, INK, 1, cv2.LINE_AA)
    return picture
