"""How far composites of `u2net portrait` are from those of scikit-image, which the authors' script calls.

python -m tools.benchmarks.portraits

Stands in for the drawing: edges of a photograph (Sobel), 512 x 512. It is resized by
`transform.resize(order=2)`, with and without anti-aliasing, and by interpolations of OpenCV and Pillow; each
result is divided by its maximum, times 255, as before blending. The photograph is blurred by both libraries.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import cv2
import numpy as np
from skimage import data, filters, transform

from paddleseg_u2net.inference.portraits import SIZE, blend, resize_drawing
from tools.benchmarks.measuring import benchmark_parser

SIZES = ((1500, 2000), (1024, 1024), (700, 650), (300, 260), (100, 80))  # (H, W)
SIGMAS = (0.5, 2.0, 20.0)
WAYS: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "Pillow bicubic (ours)": resize_drawing,
    "OpenCV cubic": lambda image, size: cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC),
    "OpenCV linear": lambda image, size: cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR),
}


def draw() -> np.ndarray:
    """(SIZE, SIZE) float32 in [0, 1]: dark edges of a face on white."""
    face = cv2.cvtColor(data.astronaut()[:256, 100:356], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    edges = filters.sobel(filters.gaussian(cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA), 1))
    return ((1 - (edges - edges.min()) / np.ptp(edges)) ** 3).astype(np.float32)


def levels(drawing: np.ndarray) -> np.ndarray:
    """The drawing as it is blended: its maximum is 255."""
    drawing = np.clip(drawing, 0, 1)
    return drawing / drawing.max() * 255


def main() -> int:
    """Print two tables: mean and largest differences in levels of 255."""
    benchmark_parser("portraits", __doc__).parse_args()
    drawing = draw()
    print("| resized to | anti-aliasing | " + " | ".join(WAYS) + " |\n" + "|---" * (2 + len(WAYS)) + "|")
    for size in SIZES:
        for smooth in (False, True) if size[0] < SIZE else (False,):
            expected = levels(transform.resize(drawing, size, order=2, anti_aliasing=smooth))
            found = [np.abs(levels(way(drawing, size)) - expected) for way in WAYS.values()]
            cells = " | ".join(f"{own.mean():.2f}, {own.max():.0f}" for own in found)
            print(f"| {size[1]} x {size[0]} | {'yes' if smooth else 'no'} | {cells} |")
    photograph = data.astronaut()
    print("\n| sigma | largest difference of the blurred photograph | values that differ |\n|---|---|---|")
    for sigma in SIGMAS:
        expected = filters.gaussian(photograph, sigma, preserve_range=True, channel_axis=-1)
        found = blend(photograph, np.ones(photograph.shape[:2], np.float32), sigma, 1.0)
        wrong = np.abs(found - np.rint(expected))
        print(f"| {sigma:g} | {wrong.max():.0f} | {(wrong > 0).mean():.5%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
