"""Which page of a file is read: the largest of a TIFF, the first frame of an animation."""

from __future__ import annotations

from typing import Any

import numpy as np

from paddleseg_u2net.io.unsupported import IS_MASK, SUBFILE_TYPE, is_camera_raw

MAX_PAGES = 256  # of a TIFF that are compared
HEADERS = 1 << 16  # bytes that hold the chunks before the pixels of a PNG, large texts aside


def select_page(image: Any, data: bytes) -> str:
    """Go to the page of a file that is read: the largest of a TIFF, the first frame of an animation.

    Args:
        image: opened by `decoders.open_image`.
        data: content of the file.

    Returns:
        What is left out, for messages; empty if nothing is.
    """
    if image.format == "PNG":
        return "the first frame of an animation" if b"acTL" in data[:HEADERS] else ""
    if image.format != "TIFF":
        animated = image.format != "MPO" and getattr(image, "is_animated", False)
        return "the first frame of an animation" if animated else ""
    if is_camera_raw(image.tag_v2):
        raise ValueError
    areas = _page_areas(image)
    largest = int(np.argmax(areas))
    image.seek(largest)
    return page_text(largest, len(areas) if largest or areas.count(areas[0]) > 1 else 1, image.size)


def page_text(page: int, pages: int, size: tuple[int, int]) -> str:
    """The page of a TIFF file that is read, for messages; empty if nothing else matters.

    Args:
        page: its index.
        pages: number of pages, 1 if the others are smaller copies.
        size: (width, height) of the page.
    """
    if page:
        return f"page {page + 1} of {pages}, the largest ({size[0]} x {size[1]})"
    return f"the first of {pages} pages" if pages > 1 else ""


def _page_areas(image: Any) -> list[int]:
    """Pixels of each page of a TIFF; 0 of a transparency mask."""
    areas = []
    for page in range(MAX_PAGES):
        try:
            image.seek(page)
            is_mask = image.tag_v2.get(SUBFILE_TYPE, 0) & IS_MASK
        except Exception:  # the end, or a damaged page, which raises any kind of error
            break
        areas.append(0 if is_mask and page else image.size[0] * image.size[1])
    return areas
