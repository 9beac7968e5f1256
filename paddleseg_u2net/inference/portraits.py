"""Pencil drawings of faces, and composites with their photographs, as the authors' portrait demos make them.

Source: u2net_portrait_demo.py, u2net_portrait_test.py and u2net_portrait_composite.py of
xuebinqin/U-2-Net@ac7e1c8. Differences from them, each with its reason, are in docs/prediction.md.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.data.preprocessing import PADDINGS, RESIZES, Size, resize
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.outputs import Output, OutputSettings
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.result import Result, to_8bit
from paddleseg_u2net.io.appearance import Note
from paddleseg_u2net.io.images import Photograph, pillow
from paddleseg_u2net.metrics.saliency import stretch

SIZE = 512  # height and width that faces are drawn at, in pixels
WHOLE_SIDE = 1024  # longer side, at most, that a photograph without a face is drawn at
CASCADE = "haarcascade_frontalface_default.xml"
SCALE, NEIGHBOURS = 1.1, 4  # of the search for faces
LEFT_RIGHT, UP, DOWN = 0.4, 0.6, 0.2  # what the box of a face is widened by, as shares of its width or height
WHITE = 255
MAX_SIGMA = 200.0  # the time of blurring grows with it

Face = tuple[int, int, int, int]  # x, y, width, height in pixels


class FaceCrop(np.ndarray):
    """A crop around a face, (H, W, 3) uint8 RGB: drawn at SIZE, other images at their own size."""


def open_cascade() -> cv2.CascadeClassifier:
    """The detector of frontal faces that comes with OpenCV's wheels; not to be shared by threads.

    Raises:
        ValueError: this installation of OpenCV has none.
    """
    try:  # some distributions of OpenCV have no `data`, or no cascades
        path = Path(cv2.data.haarcascades, CASCADE)
        cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    except (AttributeError, SystemError, cv2.error):
        cascade = None
    if cascade is None or cascade.empty():
        raise ValueError(
            f"OpenCV {cv2.__version__} is installed without {CASCADE}, which finds faces, or with a damaged "
            "one. Fix: pip install --force-reinstall 'opencv-python-headless<5', or --no_face_crop"
        )
    return cascade


def find_face(image: np.ndarray) -> Face | None:
    """Find the largest face that looks into the camera; of equal ones the topmost.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        Its box; None if there is none.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    faces = open_cascade().detectMultiScale(grey, SCALE, NEIGHBOURS)
    boxes: list[Face] = [(int(x), int(y), int(w), int(h)) for x, y, w, h in faces]
    return max(boxes, key=lambda box: (box[2] * box[3], -box[1], -box[0]), default=None)


def crop_face(image: np.ndarray, face: Face) -> np.ndarray:
    """Crop the square around a face, with hair and neck; white where it exceeds the image.

    Sides that differ by one or two pixels are left as they are, as in the authors' script.

    Args:
        image: (H, W, 3) uint8.
        face: its box, inside the image.
    """
    x, y, width, height = face
    left, right = x - int(LEFT_RIGHT * width), x + width + int(LEFT_RIGHT * width)
    top, bottom = y - int(UP * height), y + height + int(DOWN * height)
    inside = image[max(top, 0) : bottom, max(left, 0) : right]
    rows = max(-top, 0), max(bottom - image.shape[0], 0)
    columns = max(-left, 0), max(right - image.shape[1], 0)
    crop = np.pad(inside, (rows, columns, (0, 0)), constant_values=WHITE)
    longer = crop.shape[0] - crop.shape[1]
    half = abs(longer) // 2 if abs(longer) > 2 else 0
    rows, columns = ((0, 0), (half, half)) if longer > 0 else ((half, half), (0, 0))
    return np.pad(crop, (rows, columns, (0, 0)), constant_values=WHITE)


def resize_drawing(drawing: np.ndarray, size: Size) -> np.ndarray:
    """Resize a drawing (h, w) float32 in [0, 1] to `size` (H, W), bicubically, anti-aliased where it shrinks.

    Of Pillow's and OpenCV's interpolations this is the nearest to the splines of order 2 of the composite
    script when a drawing is enlarged: docs/prediction.md.
    """
    pil = pillow()
    resized = pil.fromarray(drawing).resize(size[::-1], pil.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0, 1)


def blend(photograph: np.ndarray, drawing: np.ndarray, sigma: float, alpha: float) -> np.ndarray:
    """Blend a photograph, blurred, with its drawing: blurred · alpha + drawing · (1 - alpha).

    Args:
        photograph: (H, W, 3) uint8.
        drawing: (H, W) float in [0, 1]; it is divided by its maximum.
        sigma: of the Gaussian, in pixels; 0 leaves the photograph sharp. Beyond 4 sigma it is cut off, and
            pixels at the border are repeated, as in scikit-image.
        alpha: share of the photograph, in [0, 1].

    Returns:
        (H, W, 3) uint8, rounded to the nearest.

    Source: `save_output`, u2net_portrait_composite.py@ac7e1c8.
    """
    side = 2 * int(4 * sigma + 0.5) + 1
    blurred = cv2.GaussianBlur(
        photograph.astype(np.float32), (side, side), sigma, borderType=cv2.BORDER_REPLICATE
    )
    scaled = drawing[..., None] / (drawing.max() + 1e-8) * 255
    return np.clip(np.rint(blurred * alpha + scaled * (1 - alpha)), 0, 255).astype(np.uint8)


class PortraitPredictor(SourcePredictor):
    """Draw faces with one model. Of a `Result` the saliency is the drawing: 1 is white paper.

    Args:
        predictor: of a network that draws white lines on black. Its val transforms are followed except
            those that change the size.
        face_crop: draw the crop around the largest face, and where no face is found the whole image at its
            own size, its longer side at most WHOLE_SIDE; False draws all of them whole, at SIZE x SIZE.

    Raises:
        ValueError: the model does not draw, or no detector of faces is installed.

    Example:
        >>> drawing = PortraitPredictor(Predictor("u2net_portrait"))("me.jpg")  # doctest: +SKIP
    """

    def __init__(self, predictor: Predictor, face_crop: bool = True):
        channels = predictor.preprocessing.image_channels
        if predictor.num_classes != 1 or predictor.multilabel or channels != 3:
            raise ValueError(
                f"portraits: the model has num_classes: {predictor.num_classes}, and takes images of "
                f"{channels} channels. Fix: --model_path u2net_portrait, or another one with num_classes: 1 "
                "for RGB images"
            )
        if face_crop:
            open_cascade()
        steps = [step for step in predictor.preprocessing.steps if step[0] not in RESIZES | PADDINGS]
        self.predictor, self.face_crop = copy.copy(predictor), face_crop
        self.predictor.preprocessing = replace(predictor.preprocessing, steps=tuple(steps))

    @property
    def channels(self) -> int:
        """Channels of the photographs: RGB."""
        return 3

    def open(self, path: str | Path, max_pixels: int = MAX_PIXELS, data: bytes | None = None) -> Photograph:
        """Read an image, and crop it around the largest face; see `Predictor.open`.

        Returns:
            The crop, or the whole image, in that case with a note if no face was found.
        """
        return self.adapt(self.predictor.open(path, max_pixels, data))

    def adapt(self, photograph: Photograph) -> Photograph:
        """Crop a photograph around the largest face; see `open`."""
        if not self.face_crop:
            return photograph
        face = find_face(photograph.image)
        if face is None:
            note = Note("face", "the whole image is drawn")
            return photograph._replace(notes=(*photograph.notes, note))
        crop = crop_face(photograph.image, face).view(FaceCrop)
        return photograph._replace(image=crop, alpha=None, colors=None, profile=None)

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Draw images of `open`; of each prediction the saliency is the drawing."""
        return [Prediction(self._draw(image)[None]) for image in images]

    def _draw(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]."""
        size: Size = (image.shape[0], image.shape[1])
        interpolation = cv2.INTER_AREA if self.face_crop else cv2.INTER_LINEAR
        small = resize(np.asarray(image), self._drawn_size(image), interpolation)
        lines = self.predictor.predict([np.ascontiguousarray(small)])[0].saliency
        return resize_drawing(1 - stretch(lines), size)

    def _drawn_size(self, image: np.ndarray) -> Size:
        if not self.face_crop or isinstance(image, FaceCrop):
            return SIZE, SIZE
        height, width = image.shape[:2]
        scale = min(WHOLE_SIDE / max(height, width), 1)
        return max(round(height * scale), 1), max(round(width * scale), 1)


def portrait_outputs(sigma: float | None = None, alpha: float | None = None) -> dict[str, Output]:
    """The files made of a drawing: the drawing, and the composite if both numbers of `blend` are given."""

    def draw_lines(result: Result, settings: OutputSettings) -> np.ndarray:
        return to_8bit(result.saliency)

    table = {"portrait": Output("portrait", draw_lines)}
    if sigma is None or alpha is None:
        return table

    def draw_composite(result: Result, settings: OutputSettings) -> np.ndarray:
        return blend(result.image, result.saliency, sigma, alpha)

    return {**table, "composite": Output("composite", draw_composite)}
