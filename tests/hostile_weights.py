"""Weight files that try to run code, to read other files, or to take all memory, and damaged real ones."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from support import GOLDEN

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
OUTSIDE = 1234.5  # the number in the file outside, which no result may hold
COMMAND = "touch RAN"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
# names that a pickle may call to run code, to read or remove files, or to end the process
NAMES = (
    *("os system", "posix system", "nt system", "os popen", "os execv", "os spawnl", "os remove", "os _exit"),
    *("os kill", "os fork", "os putenv", "os listdir", "subprocess Popen", "subprocess check_output"),
    *("subprocess getoutput", "builtins eval", "builtins exec", "builtins open", "builtins compile"),
    *("builtins getattr", "builtins __import__", "builtins breakpoint", "builtins input", "__builtin__ eval"),
    *("importlib import_module", "runpy run_path", "shutil rmtree", "shutil copy", "webbrowser open"),
    *("pty spawn", "code interact", "timeit timeit", "cProfile run", "pdb run", "bdb Bdb.run", "trace Trace"),
    *("marshal loads", "pickle loads", "_pickle loads", "dill loads", "joblib load", "numpy load"),
    *("torch load", "torch.hub load", "paddle load", "ctypes CDLL", "socket create_connection", "sys exit"),
    *("urllib.request urlopen", "types FunctionType", "types CodeType", "functools partial", "io open"),
    *("operator attrgetter", "operator methodcaller", "codecs open", "logging.config listen", "_io FileIO"),
    *(
        "tempfile mktemp",
        "multiprocessing.util spawnv_passfds",
        "asyncio.unix_events _UnixSubprocessTransport",
    ),
    *("numpy.testing._private.utils runstring", "distutils.file_util write_file", "signal alarm"),
)


def text(value: str) -> bytes:
    """The opcode of a text in a pickle."""
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def beside(payload: bytes) -> bytes:
    """A pickle of {"w": WEIGHT, "x": what the payload leaves on the stack}."""
    weight = pickle.dumps(WEIGHT, 2)[2:-1]
    return b"\x80\x04}(" + text("w") + weight + text("x") + payload + b"u."


def calls(name: str) -> Iterator[tuple[str, bytes]]:
    """The ways in which a pickle can call a name with one text."""
    module, attribute = name.split(" ")
    by_line = f"c{module}\n{attribute}\n".encode()
    by_stack = text(module) + text(attribute) + b"\x93"
    yield "REDUCE", by_line + text(COMMAND) + b"\x85R"
    yield "NEWOBJ", by_stack + text(COMMAND) + b"\x85\x81"
    yield "INST", b"(" + text(COMMAND) + f"i{module}\n{attribute}\n".encode()
    yield "BUILD", by_stack + b")\x81}" + text("__setstate__") + by_stack + b"sb" + text(COMMAND) + b"b"


DEPTH = 200_000
# offset, shape and strides of a tensor of PyTorch
TENSORS = {
    "negative offset": b"J\xff\xff\xff\xffK\x02K\x03\x86K\x03K\x01\x86",
    "offset at the end": b"K\x06K\x02K\x03\x86K\x03K\x01\x86",
    "huge shape": b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x03\x86K\x00K\x00\x86",
    "strides of 0": b"K\x00J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86K\x00K\x00\x86",
    "negative strides": b"K\x00K\x02K\x03\x86J\xff\xff\xff\xffK\x01\x86",
    "text as shape": b"K\x00" + text("ab") + b"K\x03K\x01\x86",
    "no strides": b"K\x00K\x02K\x03\x86)",
}
# what a pickle leaves on the stack
PAYLOADS = {
    "nested lists": b"]" * DEPTH + b"a" * (DEPTH - 1),
    "nested tuples": b")" + b"\x85" * DEPTH,
    "nested mappings": b"".join([b"}", (text("a") + b"}") * 9, b"s" * 9]) * 1000 + b"0" * 999,
    "doubled lists": b"]" + b"q\x00" + b"".join(b"](h\x00h\x00eq\x00" for _ in range(5000)),
    "doubled tuples": b")" + b"q\x00" + b"h\x00h\x00\x86q\x00" * 5000,
    "list in itself": b"]q\x00h\x00a",
    "mapping in itself": b"}q\x00" + text("a") + b"h\x00s",
    "memo index": b"Nr\xff\xff\xff\x7f",
    "absent memo": b"j\xff\xff\xff\x7f",
    "long integer": b"\x8b\xff\xff\xff\x7f" + b"\xff" * 100,
    "integer of digits": b"I" + b"9" * 100_000 + b"\n",
    "bytes of 4 EiB": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x3f",
    "text of 4 GiB": b"X\xff\xff\xff\xff",
    "bytearray of 4 EiB": b"\x96\xff\xff\xff\xff\xff\xff\xff\x3f",
    "persistent id": b"Pos.system\n",
    "persistent id of a class": text("os") + b"Q",
    "negative storage": b"("
    + text("storage")
    + b"ctorch\nFloatStorage\n"
    + text("0")
    + b"NJ\xff\xff\xff\xfftQ",
    "extension": b"\x82\x01",
    "out of band": b"\x97",
    "text that is no text": b"X\x02\x00\x00\x00\xff\xfe",
    "surrogates": text("\ud800"),
    "key that cannot be hashed": b"}]Ns",
    "object array": RECONSTRUCT + b"(K\x01K\x02\x85cnumpy\ndtype\n" + text("O8") + b"\x89\x88\x87R\x89]NNetb",
    "array of too few bytes": RECONSTRUCT + b"(K\x01"
    b"J\xff\xff\xff\x7f\x85cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R\x89C\x04aaaatb",
    "pickle in bytes": b"ctorch.storage\n_load_from_bytes\n"
    + b"B"
    + struct.pack("<I", 20)
    + b"\x80" * 20
    + b"\x85R",
}
DAMAGED = (
    b"\x80\x04",
    b"\x80\x04.",
    b"\x80\x04N.",
    b"\x80\xff}.",
    b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
)


def _pickles() -> Iterator[tuple[str, bytes]]:
    for number, name in enumerate(NAMES):
        ways = list(calls(name))
        for way, payload in (ways[number % 4], ways[(number + 1) % 4]):
            yield f"pickle {way} {name}", beside(payload)
    torch = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06tQ"
    for what, numbers in TENSORS.items():
        yield f"zip tensor with {what}", _torch(torch + b"(" + storage + numbers + b"\x89NtR")
    for what, payload in PAYLOADS.items():
        yield f"pickle {what}", beside(payload)
        yield f"pickle {what} alone", b"\x80\x04" + payload + b"."
    yield "pickle NaN", pickle.dumps({"w": np.full((2, 3), np.nan, np.float32)})
    yield "pickle infinity", pickle.dumps({"w": np.float32([np.inf])})
    yield "pickle names with escapes", pickle.dumps({"a\n\x1b[31merror: forged": WEIGHT})
    yield "pickle name of 1 MB", pickle.dumps({"a" * 1_000_000: WEIGHT})
    for what in DAMAGED:
        yield f"pickle {what!r}", what


def _torch(content: bytes, **members: bytes) -> bytes:
    return _zip(
        {"a/data.pkl": b"\x80\x02}" + text("w") + content + b"s.", "a/data/0": WEIGHT.tobytes(), **members}
    )


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members.items():
            archive.writestr(name.removesuffix("#"), content)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npy_with(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) % 65536) + header.encode() + content


def _archives() -> Iterator[tuple[str, bytes]]:
    good, evil = pickle.dumps({"w": WEIGHT}, 2), beside(next(calls("os system"))[1])
    zeros = bytes(300 << 20)
    for name, method in (("deflate", zipfile.ZIP_DEFLATED), ("bzip2", zipfile.ZIP_BZIP2)):
        yield f"zip bomb {name} pickle", _zip({"a/data.pkl": zeros}, method)
        yield f"zip bomb {name} npy", _zip({"w.npy": _npy(WEIGHT)[:-24] + zeros}, method)
    del zeros
    yield "zip without data.pkl", _zip({"a/version": b"3"})
    yield "zip two pickles", _zip({"a/data.pkl": good, "a/data.pkl#": evil})
    yield "zip path upwards", _zip({"../data.pkl": good, "../../RAN": b"1"})
    yield "zip absolute path", _zip({"/data.pkl": good})
    yield "zip storages missing", _zip({"a/data.pkl": good.replace(b"w", b"v")})
    yield "zip of 70,000 members", _zip({f"a/{n}": b"" for n in range(70_000)} | {"a/data.pkl": good})
    whole = _zip({"a/data.pkl": good})
    local, central = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    for what, place, value in (
        ("method 99", 10, b"\x63\x00"),
        ("encrypted", 8, b"\x01\x00"),
        ("checksum", 16, b"\0\0\0\0"),
        ("size", 24, b"\xff\xff\xff\x7f"),
        ("packed size", 20, b"\xff\xff\xff\x7f"),
        ("offset", 42, b"\xff\xff\0\0"),
        ("length of name", 28, b"\xff\xff"),
        ("zip64", 24, b"\xff\xff\xff\xff"),
    ):
        yield f"zip {what}", whole[: central + place] + value + whole[central + place + len(value) :]
    yield "zip local header", whole[:local] + b"PK\x03\x05" + whole[local + 4 :]
    yield "zip without its end", whole[:-10]
    header = "{'descr': %s, 'fortran_order': False, 'shape': %s, }\n"
    for what, row in {
        "code": header % ("__import__('os').system('touch RAN')", "(2, 3)"),
        "objects": header % ("'|O'", "(1,)"),
        "huge shape": header % ("'<f4'", "(1000000, 1000000, 1000000)"),
        "negative": header % ("'<f4'", "(-2, 3)"),
        "long": header % ("'<f4'", f"({'1,' * 20000})"),
        "digits": header % ("'<f4'", f"({'9' * 5000},)"),
        "text": header % ("'<U9'", "(1,)"),
        "fields": header % ("[('a', '<f4')]", "(1,)"),
        "deep": "(" * 9000 + "\n",
        "no mapping": "[1]\n",
        "bool as shape": header % ("'<f4'", "True"),
        "dates": header % ("'<M8[s]'", "(1,)"),
    }.items():
        yield f"npy {what}", _zip({"w.npy": _npy_with(row, WEIGHT.tobytes())})
    yield "npy version", _zip({"w.npy": b"\x93NUMPY\x09\x09" + bytes(100)})
    yield "npy of objects", _zip({"w.npy": _objects()})
    yield "npy too short", _zip({"w.npy": _npy(WEIGHT)[:-4]})


def _objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    return file.getvalue()


def _safetensors() -> Iterator[tuple[str, bytes]]:
    def file(head, content: bytes = WEIGHT.tobytes(), length: int | None = None) -> bytes:
        head = head if isinstance(head, bytes) else json.dumps(head).encode()
        return struct.pack("<Q", len(head) if length is None else length) + head + content

    def tensor(**changes) -> dict:
        return {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}}

    yield "safetensors as it is", file(tensor())
    for length in (0, 1, 1 << 31, (1 << 62) - 1, (1 << 64) - 1):
        yield f"safetensors header of {length}", file(tensor(), length=length)
    for what, head in {
        "other dtype": tensor(dtype="F99"),
        "shape": tensor(shape=[1 << 40, 1 << 40]),
        "holes": tensor(data_offsets=[4, 24]),
        "negative shape": tensor(shape=[-2, -3]),
        "backwards": tensor(data_offsets=[24, 0]),
        "text": tensor(shape="ab"),
        "beyond": tensor(data_offsets=[0, 1 << 50]),
        "negative offsets": tensor(data_offsets=[-24, 0]),
        "overlap": {**tensor(), "v": tensor()["w"]},
        "no offsets": {"w": {"dtype": "F32"}},
        "list": [1],
        "null": {"w": None},
        "metadata": {"__metadata__": {"a": 1}, **tensor()},
        "escapes": {"\x1b[31m\n": tensor()["w"]},
        "deep": b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "digits": b'{"w":' + b"9" * 100_000 + b"}",
        "not UTF-8": b'{"\xff\xfe": 1}',
        "twice": json.dumps(tensor())[:-1].encode() + b"," + json.dumps(tensor())[1:].encode(),
        "many": {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)},
        "empty": {},
        "NaN as shape": tensor(shape=[float("nan")]),
        "many axes": tensor(shape=[1] * 5000 + [2, 3]),
    }.items():
        yield f"safetensors {what}", file(head)


def _onnx() -> Iterator[tuple[str, bytes]]:
    from onnx import TensorProto, helper

    def model(tensor, nodes=()) -> bytes:
        graph = helper.make_graph(list(nodes), "g", [], [], [tensor])
        return helper.make_model(graph).SerializeToString()

    def outside(place: str) -> TensorProto:
        tensor = TensorProto(name="w", data_type=1, dims=[2, 3], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=place)
        return tensor

    for place in (
        "outside.bin",
        "/etc/passwd",
        "../outside.bin",
        "..\\outside.bin",
        "file:///etc/passwd",
        "/dev/zero",
    ):
        yield f"onnx external data {place}", model(outside(place))
        constant = helper.make_node("Constant", [], ["w"], value=outside(place))
        yield (
            f"onnx external data in an attribute {place}",
            model(TensorProto(name="v", data_type=1), [constant]),
        )
        branch = helper.make_graph([constant], "b", [], [], [outside(place)])
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        yield f"onnx external data in a subgraph {place}", model(TensorProto(name="v", data_type=1), [node])
    for what, changes in {
        "huge shape": {"dims": [1 << 40, 1 << 20]},
        "negative shape": {"dims": [-2, 3], "raw_data": WEIGHT.tobytes()},
        "too few bytes": {"dims": [2, 3], "raw_data": b"abc"},
        "other type": {"dims": [1], "data_type": 99},
        "texts": {"data_type": 8, "dims": [1], "string_data": [b"a"]},
        "no data": {"dims": [9]},
    }.items():
        yield f"onnx {what}", model(TensorProto(**{"name": "w", "data_type": 1, **changes}))
    cycle = [helper.make_node("Conv", ["x", "w"], ["x"]) for _ in range(112)]
    yield "onnx cycle", model(TensorProto(name="w", data_type=1, dims=[6], raw_data=WEIGHT.tobytes()), cycle)
    yield "onnx groups in groups", b"\x08\x07" + b"\x3a\x7f" * 5000
    yield "onnx length", b"\x08\x07\x3a\xff\xff\xff\xff\x07"


def _hdf5(folder: Path) -> Iterator[tuple[str, bytes]]:
    import h5py

    with h5py.File(folder / "outside.h5", "w") as file:
        file["w"] = np.full((2, 3), OUTSIDE, np.float32)

    def external(root) -> None:
        root["kernel:0"] = h5py.ExternalLink(str(folder / "outside.h5"), "w")

    def storage(root) -> None:
        where = [(str(folder / "outside.bin"), 0, 24)]
        root.create_dataset("kernel:0", (2, 3), "<f4", external=where)

    def virtual(root) -> None:
        layout = h5py.VirtualLayout((2, 3), "<f4")
        layout[:] = h5py.VirtualSource(str(folder / "outside.h5"), "w", (2, 3))
        root.create_virtual_dataset("kernel:0", layout)

    def soft(root) -> None:
        root["kernel:0"] = h5py.SoftLink("/nothing")

    def cycle(root) -> None:
        root["again"] = root

    def many(root) -> None:
        for number in range(3000):
            root.create_group(f"g{number}")

    def deep(root) -> None:
        for _ in range(500):
            root = root.create_group("g")

    def bomb(root) -> None:
        root.create_dataset("kernel:0", (1 << 31,), "<f4", chunks=(1 << 20,), compression="gzip")

    def texts(root) -> None:
        root["kernel:0"] = "text"

    def numbers(root) -> None:
        root["kernel:0"] = np.arange(3)

    def names(root) -> None:
        root.attrs["layer_names"] = [b"../..", b"/etc", b"x" * 500]

    for make in (external, storage, virtual, soft, cycle, many, deep, bomb, texts, numbers, names):
        with h5py.File(folder / "made.h5", "w") as file:
            make(file.create_group("model_weights/conv2d/conv2d") if make is not names else file)
        yield f"hdf5 {make.__name__}", (folder / "made.h5").read_bytes()


def _other() -> Iterator[tuple[str, bytes]]:
    yield "gzip bomb", gzip.compress(bytes(200 << 20), 9)
    yield "tar", bytes(257) + b"ustar" + bytes(300)
    for content in (
        b"",
        b"\0" * 99,
        b"<html>",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x02" * 9999,
        b"\x89HDF\r\n\x1a\n",
    ):
        yield f"beginning {content[:9]!r}", content
    yield "mindspore groups", b"\x0a\x80\x80\x80\x80\x08" + b"\x0a\x7f" * 5000


def real_files(shared: Path) -> dict[str, bytes]:
    """A correct file of each kind."""
    files = {name: (GOLDEN / name).read_bytes() for name in ("torch_zip.pth", "torch_legacy.pth")}
    for name in ("keras.h5.xz", "mindspore.ckpt.xz", "reimplementation.pth.xz"):
        files[name.removesuffix(".xz")] = lzma.decompress((GOLDEN / name).read_bytes())
    from safetensors.numpy import save

    files["a.safetensors"], files["a.pdparams"] = save({"w": WEIGHT}), pickle.dumps({"w": WEIGHT}, 2)
    file = io.BytesIO()
    np.savez(file, w=WEIGHT)
    files["a.npz"] = file.getvalue()
    if (onnx := shared / "weights" / "u2netp.onnx").is_file():
        files["u2netp.onnx"] = onnx.read_bytes()
    return files


def damaged(files: dict[str, bytes], count: int) -> Iterator[tuple[str, bytes]]:
    """Each file cut off, and with single bits flipped: half of them in its first kilobyte."""
    draw = random.Random(0)
    for name, content in files.items():
        for number in range(count):
            yield f"{name} cut {number}", content[: draw.randrange(len(content))]
            place = draw.randrange(min(len(content), 1024) if number % 2 else len(content))
            flipped = bytes([content[place] ^ 1 << draw.randrange(8)])
            yield f"{name} flipped at {place}", content[:place] + flipped + content[place + 1 :]


def hostile(folder: Path) -> Iterator[tuple[str, bytes]]:
    """All files by what they try; `folder` holds the file outside that some refer to."""
    (folder / "outside.bin").write_bytes(np.full(6, OUTSIDE, np.float32).tobytes())
    yield from _pickles()
    for number, name in enumerate(NAMES[::4]):
        payload = list(calls(name))[number % 4][1]
        yield f"zip {name}", _torch(payload)
    yield from _archives()
    yield from _safetensors()
    yield from _onnx()
    yield from _hdf5(folder)
    yield from _other()
