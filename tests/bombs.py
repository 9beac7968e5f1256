"""Small files that took for ever or gigabytes, and a program that reads each of them within limits.

Run as a program, it reads every file below the folder that it is given, with as much address space as
`MEMORY` more than it has once everything is imported, and prints a line of JSON for each.
"""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

MEMORY = 1 << 30  # bytes
SECONDS = 5  # of CPU time for a file


def doubling(line: str, levels: int = 40) -> str:
    """Lines of YAML, each of which holds the one above twice."""
    return "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {line.format(f'*a{i - 1}', f'*a{i - 1}')}\n" for i in range(1, levels)
    )


YAML = {
    "aliases": doubling("[{}, {}]"),
    "merge keys": doubling("{{<<: [{}, {}]}}"),
    "an alias of itself": "model: &a [*a]",
    "a chain of aliases": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300)),
    "lists 5,000 deep": f"model: {'[' * 5000}{']' * 5000}",
    "lists in lines 5,000 deep": f"model: {'- ' * 5000}x",
    "mappings 5,000 deep": "{a: " * 5000,
    "many values": f"iters: [{'1,' * 25_000}]",
    "a long text": f"iters: 1{':59' * 9000}",
    "a long number": f"iters: 0x{'f' * 300_000}",
    "many digits": f"iters: {'9' * 5000}",
    "a large file": "#" * (2 << 20),
}
CHAIN, DOUBLED = 1200, 24


def write_configs(folder: Path) -> Iterator[Path]:
    """Configs, and the first one of chains by `_base_`."""
    for name, text in YAML.items():
        (folder / f"{name}.yaml").write_text(text)
        yield folder / f"{name}.yaml"
    for prefix, count, line in (("chain", CHAIN, "[{0}]"), ("doubling", DOUBLED, "[{0}, {0}]")):
        for number in range(count):
            base = line.format(f"{prefix}{number + 1}.part")
            name = f"{prefix}{number}.part" if number else f"{prefix}.yaml"
            (folder / name).write_text(f"_base_: {base}\n")
        (folder / f"{prefix}{count}.part").write_text("iters: 1\n")
        yield folder / f"{prefix}.yaml"


NESTED = b"2\x86" * 60  # a tuple that holds the one below twice


def nested(levels: int) -> list:
    """Lists that hold the one below twice."""
    inner: list = []
    for _ in range(levels):
        inner = [inner, inner]
    return inner


def many_names() -> bytes:
    """One mapping of 50,000 entries, under 10,000 names."""
    inner = dict.fromkeys(range(50_000))
    return pickle.dumps({str(number): inner for number in range(10_000)}, 2)


def long_name() -> bytes:
    """A name of a megabyte on each of 2,000 paths to arrays."""
    import numpy as np

    inner = {"n" * (1 << 20): {"w": np.ones(1, np.float32)}}
    return pickle.dumps({str(number): inner for number in range(2000)}, 2)


def many_widened() -> bytes:
    """One array of half precision under 2,000 names."""
    import numpy as np

    array = np.ones(1 << 20, np.float16)
    return pickle.dumps({f"w{number}": array for number in range(2000)}, 2)


PICKLES: dict[str, Callable[[], bytes]] = {
    "nested shared lists": lambda: pickle.dumps({"w": nested(60)}, 2),
    "nested shared tuples": lambda: b"\x80\x02]" + NESTED + b".",
    "a large index of the memo": lambda: b"\x80\x02Nr\xff\xff\xff\x7f.",
    "steps": lambda: b"\x80\x02" + b"}" * 1_100_000 + b".",
    "marks": lambda: b"\x80\x02" + b"(" * 1_100_000 + b".",
    "tuples 100,000 deep": lambda: b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "a claimed length": lambda: b"\x80\x02B\xff\xff\xff\x7f.",
    "one mapping of many names": many_names,
    "a long name": long_name,
    "one array of many names": many_widened,
    "a long number": lambda: b"\x80\x02\x8b" + struct.pack("<i", 8 << 20) + b"\x7f" * 1_100_000 + b".",
}


def zipped(name: str, content: bytes) -> bytes:
    """A zip of one member."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """A numpy file that claims a shape."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + data


def many_members() -> bytes:
    """A zip of 21,000 empty members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(21_000):
            archive.writestr(f"{number}.npy", b"")
    return target.getvalue()


def hdf5(fill: Callable) -> bytes:
    """An HDF5 file."""
    import h5py

    target = io.BytesIO()
    with h5py.File(target, "w") as file:
        fill(file)
    return target.getvalue()


def unwritten(file) -> None:
    file.create_dataset("layers/side1/vars/0", (1 << 29,), "f4", chunks=(1 << 16,))


def repeated_text(file) -> None:
    """A list of 4,000 names, each of which is one text of a megabyte; HDF5 stores it once for each."""
    import h5py

    file.attrs.create("layer_names", ["n" * (1 << 20)] * 9, dtype=h5py.string_dtype())


def cycle(file) -> None:
    file["layers"] = file["/"]
    for number in range(9):
        file[f"layers/{number}"] = file["/"]


def safetensors(head: bytes) -> bytes:
    return len(head).to_bytes(8, "little") + head


def onnx_of(field: bytes, count: int) -> bytes:
    """An ONNX file whose graph has one field many times."""
    graph = field * count
    length, size = b"", len(graph)
    while size:
        length, size = length + bytes([size & 127 | (128 if size > 127 else 0)]), size >> 7
    return b"\x08\x08\x3a" + length + graph


WEIGHTS: dict[str, Callable[[], bytes]] = {
    "a zip of zeros": lambda: zipped("w.npy", npy((257 << 18,), bytes(257 << 20))),
    "a claimed shape": lambda: zipped("w.npy", npy((1 << 40,))),
    "many members": many_members,
    "a header of brackets": lambda: safetensors(b'{"a":' + b"[" * 1_000_000),
    "a header of 17 MiB": lambda: safetensors(b'{"a":"' + b"x" * (17 << 20) + b'"}'),
    "fields": lambda: onnx_of(b"\x0a\x00", 400_000),
    "empty names": lambda: onnx_of(b"\x0a\x02\x0a\x00", 200_000),
    "MindSpore values": lambda: b"\x0a\x00" * 400_000,
}
HDF5 = {"data that was never written": unwritten, "long texts": repeated_text, "a group in itself": cycle}


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG of 1,000 x 1,000 pixels whose last scan is repeated."""
    import numpy as np
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(np.zeros((1000, 1000), np.uint8)).save(target, "JPEG", progressive=True)
    data = target.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def with_parts(kind: str, parts: bytes) -> bytes:
    """A picture of 8 x 8 pixels with more parts before its pixels."""
    import numpy as np
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(target, kind)
    data = target.getvalue()
    start = {"JPEG": 2, "PNG": 33, "GIF": 13 + (6 << (data[10] & 7))}[kind]
    return data[:start] + parts + data[start:]


def shared_tags(pages: int = 256, count: int = 65_535) -> bytes:
    """A TIFF whose pages share their tags: each begins in the padding of a tag of the one before it."""
    numbers = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 8, 279: 64}
    tags = [(0x9999, 0)] * pages + list(numbers.items()) + [(0x9998, 0)] * (count - pages - len(numbers))
    body = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, count) for tag, value in tags)
    nexts = b"".join(struct.pack("<I8x", 8 + 12 * page) for page in range(1, pages))
    return struct.pack("<2sHIH", b"II", 42, 8, count) + body + nexts + bytes(12)


CHUNK = bytes(4) + b"IDAT\x35\xaf\x06\x1e"
IMAGES = {
    "400 scans": lambda: jpeg_of_scans(400),
    "empty segments": lambda: with_parts("JPEG", b"\xff\xfe\0\2" * 500_000),
    "filling bytes": lambda: with_parts("JPEG", b"\xff" * 500_000),
    "empty chunks": lambda: with_parts("PNG", CHUNK * 500_000),
    "a comment of many blocks": lambda: with_parts("GIF", b"!\xfe" + b"\1a" * 300_000 + b"\0"),
    "many comments": lambda: with_parts("GIF", b"!\xfe\1a\0" * 300_000),
    "empty extensions": lambda: with_parts("GIF", b"!\1\0" * 300_000),
    "shared tags": shared_tags,
}
TEXTS = {
    "lists 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "objects 100,000 deep": '{"a":' * 100_000,
    "a long number": f'{{"images": {"9" * 1_000_000}}}',
    "empty objects": "[" + "{}," * 11_000_000 + "{}]",
}
LISTS = {"lines of one column": "x\n" * 4_000_000, "empty lines": "\n" * 6_000_000}


def write(folder: Path) -> None:
    """Write all of them; the suffix says which reader gets a file."""
    list(write_configs(folder))
    for name, make in PICKLES.items():
        (folder / f"{name}.pdparams").write_bytes(make())
    for name, make in WEIGHTS.items():
        (folder / f"{name}.weights").write_bytes(make())
    for name, fill in HDF5.items():
        (folder / f"{name}.weights").write_bytes(hdf5(fill))
    for name, make in IMAGES.items():
        (folder / f"{name}.jpg").write_bytes(make())
    for suffix, texts in (("json", TEXTS), ("list", LISTS)):
        for name, text in texts.items():
            (folder / f"{name}.{suffix}").write_text(text)


def readers() -> dict[str, Callable[[Path], object]]:
    """The reader of files of each suffix."""
    from paddleseg_u2net.config.loader import load_config
    from paddleseg_u2net.data.pairs import read_list
    from paddleseg_u2net.importers.annotations import read_json
    from paddleseg_u2net.importers.yolo import read_yolo
    from paddleseg_u2net.io.bands import read_picture
    from paddleseg_u2net.io.text_files import parse_record
    from paddleseg_u2net.models.weight_files import read_state

    def both(*readers: Callable[[Path], object]) -> Callable[[Path], None]:
        """Read by each; the last fault counts, but a file that one of them accepts is named."""

        def read(path: Path) -> None:
            faults = []
            for reader in readers:
                try:
                    reader(path)
                except ValueError as error:
                    faults.append(error)
            if len(faults) == len(readers):
                raise faults[-1]

        return read

    return {
        ".yaml": both(read_yolo, load_config),
        ".pdparams": read_state,
        ".weights": read_state,
        ".jpg": read_picture,
        ".json": both(parse_record, read_json),
        ".list": lambda path: read_list(path, path.parent),
    }


def main(folder: Path) -> None:
    """Read every file of the folder; see the module."""
    read = readers()
    import google.protobuf.message_factory  # noqa: F401 - imported before memory is limited
    import h5py  # noqa: F401
    import onnx  # noqa: F401
    import simplejpeg  # noqa: F401
    from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for path in sorted(folder.iterdir()):
        if path.suffix not in read:
            continue
        started, fault = time.process_time(), "was read"
        try:
            read[path.suffix](path)
        except (ValueError, OSError) as error:
            fault = f"{type(error).__name__}: {error}"[:300]
        except BaseException as error:  # MemoryError and RecursionError among them
            fault = f"NOT CAUGHT {type(error).__name__}: {error}"[:300]
        print(json.dumps([path.name, time.process_time() - started, fault]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
