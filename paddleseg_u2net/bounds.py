"""The most that is read from files of others: of depth, count and bytes, in one table.

Memory and time grow with the size of a file. Within these bounds a small file takes some hundred MiB and some
seconds at most, whatever it holds.

A bound of one reader alone stands beside it, such as that of archives in `io/archives.py`.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class TooMany(ValueError):
    """A file that holds more of something than is read."""


class Bound(NamedTuple):
    """The most of something that a file may hold.

    Args:
        most: the largest number that is accepted.
        what: what is counted, for messages.
        known: the largest honest file that is known; counted, or from documentation where it says about.
    """

    most: int
    what: str
    known: str

    def check(self, found: int, where: str = "") -> None:
        """Raise TooMany if there is more; `where` is the file, where the caller does not name it."""
        if found > self.most:
            prefix = f"{where}: " if where else ""
            what = f"holds {found:,} {self.what}, expected at most {self.most:,}"
            raise TooMany(f"{prefix}{what}. Fix: give a file with fewer")


# configs, `deploy.yaml` and the YAML of data sets
YAML_BYTES = Bound(MIB, "bytes", "1,203 class names, as LVIS has, in 38 kB; PaddleSeg's configs, about 6 kB")
YAML_DEPTH = Bound(50, "levels of nested values", "6 here; about 7 in PaddleSeg")
YAML_VALUES = Bound(20_000, "values, aliases written out", "2,415 for 1,203 class names")
YAML_TEXT = Bound(10_000, "characters in one text", "paths, 4,096 on Linux")
CONFIG_FILES = Bound(50, "files that are read for one config by _base_", "3 here; about 4 in PaddleSeg")
# annotations, records and lists
JSON_BYTES = Bound(2 << 30, "bytes", "LVIS train, about 1.1 GB")
JSON_CONTAINERS = Bound(10_000_000, "lists and objects", "COCO instances_train2017, about 3 million")
RECORD_BYTES = Bound(16 * MIB, "bytes", "dataset.json of 4 kB; it names what was left out")
TEXT_BYTES = Bound(256 * MIB, "bytes", "a list of a million pairs, 67 MB")
TEXT_LINES = Bound(5_000_000, "lines", "a million pairs")
LIST_FAULTS = Bound(10_000, "lines that are not 'image mask'", "none")
LONGEST = 32766  # pixels of a side that a config asks for; warping by OpenCV takes no longer one
# images
MAX_PIXELS = 64 << 20  # that an image has, or that a config asks for; `predict --max_pixels` changes it
JPEG_SCANS = Bound(50, "scans, each of which costs a pass over all pixels", "10; of mozjpeg about 17")
JPEG_SEGMENTS = Bound(10_000, "segments and filling bytes before its pixels", "255 of an ICC profile")
PNG_CHUNKS = Bound(100_000, "chunks", "65,536 of 8 KiB, as libpng writes 64 million pixels of 8 bytes")
GIF_BLOCKS = Bound(100_000, "blocks beside its pixels", "about 10 for each kB of XMP")
GIF_COMMENTS = Bound(2_000, "blocks of comments", "a program's name; each block has up to 255 letters")
TIFF_TAGS = Bound(50_000, "tags of all pages", "about 60 of a page, of which up to 256 are compared")
# weights and exported models
WEIGHT_BYTES = Bound(4 << 30, "bytes of tensors", "U²-Net with the state of its optimizer, 0.5 GB")
SMALL_WEIGHT_BYTES = 256 * MIB  # of tensors that any file may unpack to
WEIGHT_RATIO = 20  # bytes of tensors for each byte of a larger file; compressed weights have 1.1
WEIGHT_OBJECTS = Bound(100_000, "nested objects", "a checkpoint of PyTorch with its optimizer, 9,099")
WEIGHT_NAME = Bound(1024, "characters in a name", "a TorchScript of U²-Net, 67")
WEIGHT_SETS = Bound(100, "networks in one mapping", "3, in a checkpoint of MindSpore")
PICKLE_STEPS = Bound(1_000_000, "steps", "U²-Net with the state of its optimizer, 103,139")
AXES = Bound(32, "axes of an array", "4 axes in U²-Net; 5 in networks of volumes")
HEADER_BYTES = Bound(16 * MIB, "bytes of a header", "safetensors of 686 tensors, 63 kB")
HEAP_BYTES = Bound(64 << 10, "bytes of texts in one piece of HDF5", "as many; HDF5 then starts another one")
HEAP_NAMES = Bound(4096, "names in one list of HDF5", "U²-Net of Keras, 686")
ONNX_FIELDS = Bound(300_000, "fields of Protocol Buffers", "official U²-Net†, 14,703")
ONNX_DEPTH = Bound(50, "levels of nested messages", "4 levels; a graph in a graph has 3 more")
ARCHIVE_MEMBERS = Bound(20_000, "members of an archive", "a checkpoint of PyTorch, 1,602")


class Budget:
    """The bytes that the tensors of one file may take.

    Args:
        stored: bytes of the file.
    """

    def __init__(self, stored: int):
        self.most = min(WEIGHT_BYTES.most, max(SMALL_WEIGHT_BYTES, WEIGHT_RATIO * stored))
        self.taken = 0

    def take(self, count: int) -> None:
        """Count bytes; ValueError beyond the budget."""
        self.taken += count
        if self.taken > self.most:
            raise ValueError(f"its tensors take more than {self.most / MIB:,.0f} MiB")
