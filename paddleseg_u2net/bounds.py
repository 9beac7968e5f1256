"""The most that is read from files of others: of depth, count and bytes, in one table.

Memory and time grow with the size of a file. Within these bounds a small file takes some hundred MiB and some
seconds at most, whatever it holds.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 1 << 20


class Bound(NamedTuple):
    """The most of something that a file may hold.

    Args:
        most: the largest number that is accepted.
        what: what is counted, for messages.
        known: the largest honest file that is known.
    """

    most: int
    what: str
    known: str

    def check(self, found: int, where: str = "") -> None:
        """Raise ValueError if there is more; `where` is the file, where the caller does not name it."""
        if found > self.most:
            prefix = f"{where}: " if where else ""
            what = f"holds {found:,} {self.what}, expected at most {self.most:,}"
            raise ValueError(f"{prefix}{what}. Fix: give a file with fewer")


# configs, `deploy.yaml` and the YAML of data sets
YAML_BYTES = Bound(MIB, "bytes", "a PaddleSeg config of 6 kB; 1,203 class names of LVIS in 30 kB")
YAML_DEPTH = Bound(50, "levels of nested values", "7 levels")
YAML_VALUES = Bound(20_000, "values, aliases written out", "some 2,500 for 1,203 class names")
YAML_TEXT = Bound(10_000, "characters in one text", "paths of 4,096")
CONFIG_FILES = Bound(50, "files that are read for one config by _base_", "5 files")
# annotations, records and lists
JSON_BYTES = Bound(2 << 30, "bytes", "LVIS train, 1.1 GB")
JSON_CONTAINERS = Bound(10_000_000, "lists and objects", "COCO instances_train2017, some 3 million")
RECORD_BYTES = Bound(16 * MIB, "bytes", "state.json of 2 kB; dataset.json, which names what was left out")
TEXT_BYTES = Bound(256 * MIB, "bytes", "a list of a million pairs, 100 MB")
TEXT_LINES = Bound(5_000_000, "lines", "a million pairs")
LIST_FAULTS = Bound(10_000, "lines that are not 'image mask'", "none")
LONGEST = 32766  # pixels of a side that a config asks for; warping by OpenCV takes no longer one
# images; their pixels are bounded by `io.images.MAX_PIXELS`
JPEG_SCANS = Bound(50, "scans, each of which costs a pass over all pixels", "mozjpeg, 17 scans")
# weights and exported models
WEIGHT_BYTES = Bound(4 << 30, "bytes of tensors", "U²-Net with the state of its optimizer, 0.5 GB")
SMALL_WEIGHT_BYTES = 256 * MIB  # of tensors that any file may unpack to
WEIGHT_RATIO = 20  # bytes of tensors for each byte of a larger file; compressed weights have 1.1
WEIGHT_OBJECTS = Bound(100_000, "nested objects", "a checkpoint with its optimizer, some 6,000")
WEIGHT_NAME = Bound(1024, "characters in a name", "about 100")
WEIGHT_SETS = Bound(100, "networks in one mapping", "3, with averages")
PICKLE_STEPS = Bound(1_000_000, "steps", "some 30 for each tensor, 60,000 with the optimizer")
AXES = Bound(32, "axes of an array", "5 axes")
HEADER_BYTES = Bound(16 * MIB, "bytes of a header", "safetensors of 700 tensors, 70 kB")
HEAP_BYTES = Bound(64 << 10, "bytes of texts in one piece of HDF5", "4,096 bytes")
HEAP_NAMES = Bound(4096, "names in one list of HDF5", "some 700")
ONNX_FIELDS = Bound(300_000, "fields of Protocol Buffers", "U²-Net, 15,000")
ONNX_DEPTH = Bound(50, "levels of nested messages", "5 levels; a graph in a graph has 3 more")
ARCHIVE_MEMBERS = Bound(20_000, "members of an archive", "torch.save of 2,000 tensors")


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
