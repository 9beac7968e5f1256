"""Archives that mean harm: built at random from hostile parts, in all formats that are read."""

from __future__ import annotations

import io
import json
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from random import Random

import pytest
from campaign import Campaign
from support import environment

CASES = 800
MAX_BYTES, MEMORY, LONGEST_S = 8 << 20, 96 << 20, 10.0
NAMES = [
    "../x",
    "a/../../x",
    "/tmp/x",
    "//x",
    "..",
    "C:x",
    "C:\\x",
    "\\\\host\\x",
    "a\\..\\..\\x",
    "~/x",
    "CON",
    "nul.png",
]
NAMES += [
    "a\x1b[2J",
    "a\nb",
    "a\rb",
    "\u202egnp",
    "n" * 300,
    "ü" * 200,
    "a/" * 900 + "x",
    "A.PNG",
    "a.png/b",
    "",
    ".",
    "./",
]
NAMES += [
    "a.png",
    "u\u0308",
    "ü",
    "a/./b",
    "a//b",
    "-rf",
    " ",
    "a ",
    "a.",
    "x:y",
    "\ufeff",
    "a\x7f",
    "*",
    "%2e%2e/x",
    "ﬀ",
    "ff",
]
SUFFIXES = (".zip", ".tar", ".tar.gz")


def members(rng):
    """Names and contents: harmless ones, hostile names, bombs, archives in the archive."""
    found = [("a.png", b"x" * 99), ("deep/b.png", rng.randbytes(rng.randrange(5000)))]
    kind = rng.choice(["name", "bomb", "many", "deep", "nested", "none"])
    if kind == "name":
        found += [(rng.choice(NAMES), b"y") for _ in range(rng.randrange(1, 4))]
    elif kind == "bomb":
        found += [
            (f"bomb{index}", bytes(rng.randrange(1 << 20, 6 << 20))) for index in range(rng.randrange(1, 4))
        ]
    elif kind == "many":
        found += [(f"{index % 7}/{index}", b"") for index in range(rng.randrange(2000))]
    elif kind == "deep":
        found += [("d/" * rng.randrange(600) + "x", b"z")]
    elif kind == "nested":
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../x", bytes(1 << 20))
        found += [("inner.zip", inner.getvalue())]
    rng.shuffle(found)
    return found


def write_zip(path, rng):
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])) as archive:
        for name, content in members(rng):
            info = zipfile.ZipInfo(name)
            if rng.random() < 0.05:
                info.external_attr = (
                    rng.choice([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK]) << 16
                )
            if rng.random() < 0.05:
                info.extra = struct.pack("<HH", rng.choice([1, 0x7075, 0x9999]), 4) + rng.randbytes(4)
            archive.writestr(info, content, archive.compression)


def write_tar(path, rng):
    mode, style = ("w:gz", "w")[path.suffix == ".tar"], rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    types = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S", b"Z"]
    lies = [
        ("path", "../x"),
        ("size", "-5"),
        ("size", "9" * 30),
        ("linkpath", "/etc"),
        ("GNU.sparse.map", "0,1"),
    ]
    lies += [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.name", "../x"),
        ("x", "y" * (2 << 20)),
        ("hdrcharset", "BINARY"),
    ]
    with tarfile.open(path, mode, format=style) as archive:
        for name, content in members(rng):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if rng.random() < 0.05:
                info.type, info.linkname, info.size = rng.choice(types), rng.choice(NAMES), 0
            if rng.random() < 0.1 and style == tarfile.PAX_FORMAT:
                info.pax_headers = dict([rng.choice(lies)])
            archive.addfile(info, io.BytesIO(content[: info.size]))


def damage(content, rng):
    """Cut, change or exchange bytes, sizes and signatures of an archive, or leave it."""
    data = bytearray(content)
    kind = rng.choice(["none", "none", "cut", "flip", "size", "copy", "append"])
    if kind == "cut":
        del data[rng.randrange(len(data)) :]
    elif kind == "flip":
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "size":
        at = data.rfind(rng.choice([b"PK\1\2", b"PK\5\6", b"PK\3\4"]))
        at = at + rng.randrange(4, 46) if at >= 0 else rng.choice([124, 136, 148, 156])
        data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\0\0\0\x7f", rng.randbytes(4)])
    elif kind == "copy":
        start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        data[end:end] = data[start:end]
    elif kind == "append":
        data += rng.choice([b"x", bytes(data), bytes(99999)])
    return bytes(data)


UNPACK = """
import json, sys, time
from pathlib import Path
import resource
import tqdm
from paddleseg_u2net.io.archives import unpack
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]), size + int(sys.argv[2])))
for line in sys.stdin:
    started, error = time.monotonic(), None
    try:
        unpack(Path(line.strip()), Path("deep/out"), int(sys.argv[1]))
    except ValueError as caught:
        error = str(caught)
    except BaseException as caught:
        error = f"\\n{caught!r}"
    print(json.dumps([error, time.monotonic() - started]), flush=True)
"""


def fault_of(folder, path, error, seconds):
    """What went wrong, or None."""
    left = {str(found.relative_to(folder)) for found in folder.rglob("*")} - {path.name, "deep"}
    if outside := [name for name in left if not name.startswith("deep/out")]:
        return f"wrote {outside}"
    if seconds > LONGEST_S:
        return f"took {seconds:.1f} s"
    if error:
        short = error.isprintable() and len(error) < 600 and path.name in error
        return f"left {left}" if left else None if short else f"reported as {error!r}"
    files = [
        found for found in (folder / "deep" / "out").rglob("*") if not found.is_dir() or found.is_symlink()
    ]
    if any(found.is_symlink() or not found.is_file() for found in files):
        return "wrote a link or a device"
    return "wrote too much" if sum(found.stat().st_size for found in files) > MAX_BYTES else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives(request, tmp_path):
    campaign = Campaign("hostile archives", request)
    run = [sys.executable, "-c", UNPACK, str(MAX_BYTES), str(MEMORY)]
    (tmp_path / "deep").mkdir()
    child = subprocess.Popen(
        run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
    )
    try:
        for number in range(campaign.size(CASES)):
            rng = Random(number)
            path = tmp_path / f"{number}{SUFFIXES[number % 3]}"
            (write_zip if path.suffix == ".zip" else write_tar)(path, rng)
            path.write_bytes(damage(path.read_bytes(), rng))
            child.stdin.write(f"{path.name}\n")
            child.stdin.flush()
            error, seconds = json.loads(child.stdout.readline())
            campaign.record(path.name, fault_of(tmp_path, path, error, seconds))
            path.unlink()
            subprocess.run(["rm", "-rf", str(tmp_path / "deep" / "out")], check=True)
    finally:
        child.kill()
        child.communicate()
    campaign.finish()
