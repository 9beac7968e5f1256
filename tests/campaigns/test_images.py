"""Thousands of damaged images through the readers of predict, of masks, and of check-dataset.

A case is lost if a reader raises anything but one line with the file's name, or returns pixels of a file that
an independent decoding calls damaged. Run: pytest -m slow tests/campaigns/test_images.py
"""

from __future__ import annotations

import io
import random
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from campaign import Campaign
from damaged_images import PNG, chunks_of, damaged, whole_images
from PIL import Image

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.data.inspection import read_pair
from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.inference.batch import BatchPredictor, Job
from paddleseg_u2net.inference.calls import SourcePredictor
from paddleseg_u2net.inference.outputs import OutputSettings
from paddleseg_u2net.io.bands import open_picture, tiff_layout
from paddleseg_u2net.io.file_kinds import READ
from paddleseg_u2net.io.images import turn

SEED, FULL = 14, 4000
SMALL = 1 << 20  # damaged headers claim any size
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"tRNS"}
DEFLATE, COMPRESSION, PARTS = {8, 32946}, 259, ((273, 279), (324, 325))
# of libjpeg, about files that decode as they should
HARMLESS = re.compile("Invalid SOS parameters|.*unknown JFIF|Unknown Adobe")


class Reading(SourcePredictor):
    """Stands for a model: keeps the image that it is asked to predict."""

    channels = 3  # pyright: ignore[reportAssignmentType]

    def open(self, path, max_pixels=SMALL, data=None):
        return open_picture(path, 3, None, max_pixels)

    def predict(self, images):
        self.image = images[0]
        return [None]


def predict(path: Path, max_pixels: int = SMALL) -> np.ndarray | str:
    """What a model gets of a file, or the fault that `u2net predict` reports."""
    model = Reading()
    faults = BatchPredictor(model, OutputSettings(), max_pixels).run_job(Job(path, {}))
    return str(faults[0]) if faults else model.image


def read_mask(path: Path) -> np.ndarray | str:
    """The values of a mask, as training and evaluation read it, or the fault."""
    try:
        return read_raw(path).values
    except (OSError, ValueError) as error:
        return str(error)


def wrong_message(path: Path, text: str) -> str | None:
    """Why a fault does not say what is wrong with the file; None if it does."""
    if str(path) not in text or "\n" in text:
        return f"the message is {text!r}"
    return None


# -- independent decoding --------------------------------------------------------------------------------


def unpack(part: bytes) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(part, 1 << 27)
    if not stream.eof:
        raise ValueError("the zlib stream does not end")
    return unpacked


def check_png(data: bytes) -> None:
    packed, start = b"", len(PNG)
    for name, part in chunks_of(data):
        start += 12 + len(part)
        if name in PIXEL_CHUNKS and zlib.crc32(name + part) != int.from_bytes(data[start - 4 : start], "big"):
            raise ValueError(f"checksum of {name}")
        packed += part if name == b"IDAT" else b""
        if name == b"IEND":
            break
    unpack(packed)


def proven(data: bytes) -> Image.Image | None:
    """Decode strictly; any error proves that the file is damaged. Returns the image, of bands None."""
    layout = tiff_layout(data)
    if layout and not layout.plain:  # Pillow does not read TIFF files of other channels
        return proven_bands(data, layout.page)
    image = Image.open(io.BytesIO(data), formats=[kind.reader[0] for kind in READ if kind.reader])
    if layout and layout.page:
        image.seek(layout.page)
    if image.format in ("JPEG", "MPO"):
        try:
            simplejpeg.decode_jpeg(data)
        except ValueError as error:
            if not HARMLESS.match(str(error)):
                raise
    if image.format == "PNG":
        check_png(data)
    if image.format == "TIFF" and image.tag_v2.get(COMPRESSION) in DEFLATE:
        for starts, lengths in PARTS:
            for start, length in zip(
                image.tag_v2.get(starts, ()), image.tag_v2.get(lengths, ()), strict=False
            ):
                unpack(data[start : start + length])
    image.load()
    return image


def proven_bands(data: bytes, page: int) -> None:
    """As `proven`, of a TIFF file of other channels: its parts, by their tags."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[page]
        for start, length in zip(tags.dataoffsets, tags.databytecounts, strict=True):
            if tags.compression in DEFLATE:
                unpack(data[start : start + length])
            if start + length > len(data):
                raise ValueError("a part is behind the end")


def as_seen(image: Image.Image) -> np.ndarray | None:
    """The pixels by Pillow, of images where nothing is converted."""
    plain = image.mode in ("1", "L", "P", "RGB") and not image.has_transparency_data
    if not plain or "icc_profile" in image.info or image.format in ("JPEG2000", "PPM", "TIFF"):
        return None
    return np.asarray(image.convert("RGB"), int)


def wrong_pixels(data: bytes, found: np.ndarray, orientation: int | None) -> str | None:
    """Why pixels cannot be those of a file; None if nothing speaks against them.

    Args:
        data: the file.
        found: what a reader returned.
        orientation: of a photograph, which is compared with Pillow's pixels; None for a mask.
    """
    try:
        image = proven(data)
    except Exception as error:  # Pillow's readers raise any kind of error
        return f"read, although {error!r}"
    expected = as_seen(image) if image and orientation is not None else None
    if expected is None:
        return None
    expected = turn(expected, orientation or 1)
    if expected.shape != found.shape:
        return f"shape {found.shape}, by Pillow {expected.shape}"
    most = np.abs(expected - found).max()
    return f"differs from Pillow by {most}" if most > 2 else None


# -- the campaign ----------------------------------------------------------------------------------------


def fault_of(path: Path, data: bytes, read, original) -> str | None:
    """What a reader did wrong with a damaged file; None if nothing."""
    try:
        found = read(path)
    except Exception as error:  # whatever it is, it would end the command
        return f"raised {error!r}"
    if isinstance(found, str):
        return wrong_message(path, found)
    if isinstance(original, np.ndarray) and np.array_equal(found, original):
        return None
    orientation = open_picture(path, 3, None, SMALL).orientation if read is predict else None
    return wrong_pixels(data, found, orientation)


def fault_of_check(path: Path, *_) -> str | None:
    """What check-dataset did wrong with a file that is image and mask; None if nothing."""
    try:
        found = [str(fault) for fault in read_pair(Pair(path, path, "list.txt:1")).broken]
    except Exception as error:
        return f"raised {error!r}"
    refused = [text for text in (predict(path, MAX_PIXELS), read_mask(path)) if isinstance(text, str)]
    if len(found) != len(refused):
        return f"it names {found}, but the readers refuse {refused}"
    return next((fault for text in found if (fault := wrong_message(path, text))), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's and NumPy's, about the damage
@pytest.mark.parametrize(
    ("reader", "judge", "read"),
    [
        ("predict", fault_of, predict),
        ("masks", fault_of, read_mask),
        ("check-dataset", fault_of_check, None),
    ],
)
def test_damaged_images_are_refused_or_read_rightly(request, tmp_path, reader, judge, read):
    campaign = Campaign(f"damaged images, {reader}", request)
    whole, rng, path = whole_images(), random.Random(SEED), tmp_path / "a file.img"
    originals = {}
    for name, data in whole.items():
        path.write_bytes(data)
        assert isinstance(predict(path), np.ndarray), f"{name}: {predict(path)}"
        originals[name] = read(path) if read else None
    for number in range(campaign.size(FULL)):
        name = rng.choice(list(whole))
        damage, data = damaged(rng, name, whole)
        path.write_bytes(data)
        campaign.record(f"{number} ({name}, {damage})", judge(path, data, read, originals[name]))
    campaign.finish()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_damaged_images_is_checked_to_its_end(request, tmp_path, capfd):
    campaign = Campaign("files of one damaged data set", request)
    whole, rng = whole_images(), random.Random(SEED)
    (tmp_path / "good.png").write_bytes(whole["png ids"])
    paths = [tmp_path / f"{number}.png" for number in range(campaign.size(FULL) // 10)]
    for path in paths:
        path.write_bytes(damaged(rng, rng.choice(list(whole)), whole)[1])
    (tmp_path / "list.txt").write_text("".join(f"{path.name} good.png\n" for path in paths))
    assert main(["check-dataset", "--list", str(tmp_path / "list.txt")]) == 1
    shown = "".join(capfd.readouterr())
    assert "Traceback" not in shown
    named = int((re.search(r"broken files +(\d+)", shown) or ["", "0"])[1])
    for path in paths:
        refused = isinstance(predict(path, MAX_PIXELS), str)
        campaign.record(path.name, "is not named" if refused and named < 1 else None)
        named -= refused
    campaign.finish()
