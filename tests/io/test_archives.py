"""Archives that mean harm, that are broken, and that are as they should be."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from support import environment, small_files, tree

from paddleseg_u2net.io.archives import MAX_RATIO, kind_of, unpack
from tools.benchmarks.data_loading import main as benchmark

CONTENT = {
    "a/ü b.png": bytes(range(256)) * 999,
    "a/empty.txt": b"",
    "b.txt": b"x",
    "c/図\u3000می\u200cش": b"",
}
MAX = 8 << 20


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """Create an archive in the format of its suffix, with a member for the folder a."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr("a/", "")
            for name, content in members.items():
                target.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as target:
        target.addfile(folder_info("a"))
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return path


def folder_info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


def assert_refused(path: Path, tmp_path: Path, message: str, max_bytes: int = MAX) -> None:
    """A refused archive leaves nothing behind, and nothing is written beside it."""
    (tmp_path / "deep").mkdir(exist_ok=True)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=message):
        unpack(path, tmp_path / "deep" / "out", max_bytes)
    assert tree(tmp_path) == before
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_unpacked_files_equal_those_of_shutil(tmp_path, suffix):
    path = pack(tmp_path / f"ä ö{suffix}", CONTENT)
    unpack(path, tmp_path / "ours", MAX)
    shutil.unpack_archive(path, tmp_path / "theirs")
    assert tree(tmp_path / "ours") == tree(tmp_path / "theirs") == sorted(CONTENT)
    for name, content in CONTENT.items():
        assert (tmp_path / "ours" / name).read_bytes() == content


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_only_wanted_members_are_written_and_the_format_is_read_from_the_content(tmp_path, suffix):
    path = pack(tmp_path / f"x{suffix}", CONTENT).rename(tmp_path / "renamed")
    unpack(path, tmp_path / "ours", MAX, wanted=lambda name: name == "b.txt")
    assert tree(tmp_path / "ours") == ["b.txt"]


NAMES = [
    ("../outside.txt", "would be written outside the folder"),
    ("a/../../outside.txt", "would be written outside the folder"),
    ("/tmp/outside.txt", "would be written outside the folder"),
    ("C:outside.txt", "would be written outside the folder"),
    ("a\\..\\outside.txt", "would be written outside the folder"),
    ("a/\x1b[2Jcleared.png", r"a/\\x1b\[2Jcleared.png has unprintable characters in its name"),
    ("a/\u202egnp.exe", "unprintable characters"),
    ("new\nline.png", "unprintable characters"),
    ("n" * 256, "name too long for a file system"),
    ("ü" * 128, "name too long for a file system"),
    ("a/" * 600 + "x", "name too long for a file system"),
    ("B.TXT", "clashes with another member"),
    ("a", "clashes with another member"),
    ("b.txt/c", "clashes with another member"),
    ("A/u\u0308 b.png", "clashes with another member"),
    ("a/.", "clashes with another member"),
    ("a//empty.txt", "clashes with another member"),
    (".", "is a link or a device, not a file"),
]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(("name", "message"), NAMES, ids=[str(i) for i in range(len(NAMES))])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_names_are_refused(tmp_path, suffix, name, message):
    path = pack(tmp_path / f"x{suffix}", {**CONTENT, name: b"y"})
    assert_refused(path, tmp_path, message)
    with pytest.raises(ValueError, match="Nothing was unpacked"):
        unpack(path, tmp_path / "out", MAX, wanted=lambda name: name == "b.txt")  # all are checked


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_names_with_dots_and_double_slashes_are_normalised(tmp_path, suffix):
    names = ("./b.txt", "./a//c.txt", "a/./d.txt", "e/.")
    path = pack(tmp_path / f"x{suffix}", dict.fromkeys(names, b"x"))
    unpack(path, tmp_path / "out", MAX)
    assert tree(tmp_path / "out") == ["a/c.txt", "a/d.txt", "b.txt", "e"]


@pytest.mark.parametrize(("name", "other"), [("a.png", "../b.png"), ("../b.png", "a.png")])
def test_unicode_name_field_of_a_zip_is_checked_too(tmp_path, name, other):
    """Newer Pythons read the name from the unicode path extra field, older ones ignore it."""
    info = zipfile.ZipInfo(name)
    second = struct.pack("<BL", 1, zlib.crc32(name.encode())) + other.encode()
    info.extra = struct.pack("<HH", 0x7075, len(second)) + second
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        target.writestr(info, b"x")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        taken = archive.namelist()
    if taken == ["a.png"]:
        unpack(tmp_path / "x.zip", tmp_path / "out", MAX)
        assert tree(tmp_path) == ["out/a.png", "x.zip"]
    else:
        assert_refused(tmp_path / "x.zip", tmp_path, r"../b.png would be written outside the folder")


def test_name_with_nul_byte_is_refused(tmp_path):
    """zipfile cuts names there, so the rest would not be checked."""
    path = pack(tmp_path / "x.zip", {"a/b?c.png": b"x"})
    path.write_bytes(path.read_bytes().replace(b"b?c", b"b\0c"))
    assert_refused(path, tmp_path, "unprintable characters")


def test_member_without_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        target.writestr(zipfile.ZipInfo(""), "")
    assert_refused(tmp_path / "x.zip", tmp_path, "is a link or a device, not a file")


def test_unknown_zip_flag_is_reported_as_damage(tmp_path):
    path = pack(tmp_path / "x.zip", {"b.txt": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1) + 8] |= 1 << 5
    path.write_bytes(data)
    assert_refused(path, tmp_path, r"x.zip: damaged or incomplete: .*compressed patched data")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as target:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = (kind | 0o777) << 16
        target.writestr(info, "/etc")
        target.writestr("a/link/x", "y")
    assert_refused(tmp_path / "x.zip", tmp_path, "a/link is a link or a device")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"S"]
)
def test_links_devices_and_sparse_files_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as target:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        target.addfile(info)
    assert_refused(tmp_path / "x.tar", tmp_path, "link is a link or a device")


def test_encryption_and_rare_compression_methods_are_refused(tmp_path):
    path = pack(tmp_path / "x.zip", CONTENT)
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    assert_refused(path, tmp_path, "is encrypted")
    with zipfile.ZipFile(tmp_path / "y.zip", "w", zipfile.ZIP_BZIP2) as target:
        target.writestr("x", bytes(100))
    assert_refused(tmp_path / "y.zip", tmp_path, r"compressed by an unsupported method")


# -- bombs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_excessive_compression_ratio_is_refused(tmp_path, suffix):
    bomb = pack(tmp_path / f"x{suffix}", {"bomb": bytes(MAX_RATIO * (1 << 16) + 1)})
    assert bomb.stat().st_size < 1 << 17
    assert_refused(bomb, tmp_path, "unpacks to more than the allowed size|larger than the limit", 1 << 40)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_total_size_beyond_limit_is_refused(tmp_path, suffix):
    path = pack(tmp_path / f"x{suffix}", {name: bytes(range(256)) * 40 for name in "cdefg"})
    assert_refused(path, tmp_path, "unpacks to more than the allowed size", max_bytes=5 * 10240 - 1)
    unpack(path, tmp_path / "out", 5 * 10240)


def test_zip_with_understated_sizes_is_refused(tmp_path):
    """Written bytes are counted, whatever the directory claims."""
    path = pack(tmp_path / "x.zip", {"bomb": bytes(1 << 20)})
    data = path.read_bytes()
    lie = data.replace(struct.pack("<L", 1 << 20), struct.pack("<L", 100))
    assert lie != data
    path.write_bytes(lie)
    assert_refused(path, tmp_path, "damaged or incomplete: Bad CRC-32")


def test_zip_with_overlapping_members_is_refused(tmp_path):
    """The zip bomb of David Fifield: many directory entries share one compressed kernel."""
    kernel, names = zlib.compress(bytes(1 << 20))[2:-4], [f"f{i}" for i in range(50)]
    header = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, len(kernel), 1 << 20, 2, 0) + b"f0"
    directory = b"".join(
        b"PK\x01\x02"
        + struct.pack("<6H3L5H2L", 20, 20, 0, 8, 0, 0, 0, len(kernel), 1 << 20, len(name), 0, 0, 0, 0, 0, 0)
        + name.encode()
        for name in names
    )
    body = header + kernel
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 50, 50, len(directory), len(body), 0)
    (tmp_path / "x.zip").write_bytes(body + directory + end)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.infolist()) == 50
    assert_refused(tmp_path / "x.zip", tmp_path, "overlaps another member", 1 << 30)


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(body: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header(kind, len(body)) + body + bytes(-len(body) % 512)


def pax(entries: dict[str, str]) -> bytes:
    """A PAX header; each line begins with its own length."""
    body = b""
    for key, value in entries.items():
        line, length = f" {key}={value}\n", 0
        while length != (length := len(f"{length}{line}")):
            pass
        body += f"{length}{line}".encode()
    return extended(body)


def old_sparse() -> bytes:
    """The first header of an old GNU sparse file, which announces more headers."""
    block = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    block[482] = 1
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(block)[0]
    return bytes(block)


FULL = 4 << 20
SPARSE_1_0 = pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
GLOBAL = extended(b"".join(b"12 x.%05d=\n" % number for number in range(1 << 15)), tarfile.XGLTYPE)
GREEDY = {
    "a long name of 4 GiB": header(tarfile.GNUTYPE_LONGNAME, 4 << 30) + bytes(FULL),
    "a PAX header of 4 GiB": header(tarfile.XHDTYPE, 4 << 30) + bytes(FULL),
    "a sparse map": pax({"GNU.sparse.map": "0," * (FULL // 2) + "0"}) + header(b"0", 0),
    "a sparse map in a file": SPARSE_1_0 + header(b"0", FULL) + b"%d\n" % FULL + b"1\n" * (FULL // 2),
    "sparse headers without end": old_sparse() + (b"00000000001\0" * 42 + b"\1" * 8) * (FULL // 512),
    "headers for all": b"".join(
        GLOBAL.replace(b" x.", b" %c." % letter) + header(tarfile.DIRTYPE, 0) for letter in b"abcdefghijkl"
    ),
}


def test_headers_that_need_much_memory_are_refused(tmp_path):
    """tarfile and zipfile would take hundreds of megabytes to read these small files."""
    for name, content in GREEDY.items():
        with gzip.open(tmp_path / f"{name}.tar.gz", "wb", compresslevel=1) as target:
            target.write(content + bytes(1024))
    entry = b"PK\x01\x02" + struct.pack("<6H3L5H2L", 20, *[0] * 8, 1, *[0] * 6) + b"x"
    directory = entry * (5 * FULL // len(entry))
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 9, 9, len(directory), 30, 0)
    (tmp_path / "a directory.zip").write_bytes(b"PK\x03\x04" + bytes(26) + directory + end)
    code = (
        "import resource, sys; from pathlib import Path; from paddleseg_u2net.io.archives import unpack\n"
        "bound = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + (48 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (bound, bound))\n"
        "for name in sys.argv[1:]:\n"
        "    try: unpack(Path(name), Path('out'), 1 << 40)\n"
        "    except (ValueError, MemoryError) as error: print(repr(error))"
    )
    names = [path.name for path in sorted(tmp_path.iterdir())]
    run = [sys.executable, "-c", code, *names]
    done = subprocess.run(
        run, capture_output=True, text=True, cwd=tmp_path, env=environment(OPENBLAS_NUM_THREADS="1")
    )
    message = "damaged or incomplete: headers longer than the limit. Fix: download it again"
    assert done.stdout.splitlines() == [f"ValueError('{name}: {message}')" for name in names], done.stderr


@pytest.mark.parametrize(
    "content",
    [
        pax({"GNU.sparse.size": "abc"}) + header(b"0", 0),  # not a number
        pax({"size": "-512"}) + header(b"0", 0),  # the next member would be this one again
        pax({"size": "-99999999999999999999"}) + header(b"0", 0),
        SPARSE_1_0 + header(b"0", 512) + b"more\n".ljust(512),
        old_sparse() + b"00000000001\0" * 42,  # cut short
    ],
)
def test_invalid_headers_are_reported(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    assert_refused(tmp_path / "x.tar", tmp_path, r"x.tar: (damaged or incomplete|x clashes)")


def test_sparse_file_is_refused(tmp_path):
    sparse = pax({"GNU.sparse.map": "0,1"}) + header(b"0", 512) + b"y" * 512
    (tmp_path / "x.tar").write_bytes(sparse + bytes(1024))
    assert_refused(tmp_path / "x.tar", tmp_path, "x is a link or a device, not a file")


def test_nested_headers_are_reported(tmp_path):
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "y"}
    pax = info.tobuf(tarfile.PAX_FORMAT)[:-512]
    (tmp_path / "x.tar").write_bytes(pax * 5000 + bytes(1024))
    assert_refused(tmp_path / "x.tar", tmp_path, "damaged or incomplete")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.io.archives.MAX_MEMBERS", 3)
    assert_refused(pack(tmp_path / "x.zip", CONTENT), tmp_path, "has more than 3 files")


def test_nested_archives_are_not_unpacked(tmp_path):
    inner = pack(tmp_path / "inner.zip", CONTENT).read_bytes()
    unpack(pack(tmp_path / "x.zip", {"a/inner.zip": inner}), tmp_path / "out", MAX)
    assert (tmp_path / "out/a/inner.zip").read_bytes() == inner


# -- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_damaged_archives_are_reported_or_unpack_correctly(tmp_path, suffix):
    """Truncated at many places, or with one byte changed."""
    data = pack(tmp_path / f"x{suffix}", CONTENT).read_bytes()
    changed = [data[:at] for at in range(0, len(data) - 1025, max(len(data) // 20, 1))]
    for at in [*range(0, min(len(data), 1200), 41), *range(max(len(data) - 500, 0), len(data), 11)]:
        changed.append(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
    path, refusals = tmp_path / f"broken{suffix}", []
    for number, content in enumerate(changed):
        path.write_bytes(content)
        try:
            unpack(path, tmp_path / f"out{number}", MAX)
        except ValueError as error:
            refusals.append((str(error), (tmp_path / f"out{number}").exists()))
    assert not [message for message, left in refusals if left or str(path) not in message]
    assert len(refusals) > len(changed) * {".zip": 0.5, ".tar": 0.4, ".tar.gz": 0.95}[suffix]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "not a zip, tar or tar.gz archive. Fix: download it again"),
        (b"Rar!\x1a\x07\x00", "a RAR archive. Fix: unpack it yourself and pass the folder"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive. Fix: unpack it yourself"),
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><title>Sign in", "a web page, not an archive"),
        (b"<?xml version='1.0'?><Error>", "a web page, not an archive"),
        (b"<!-- sign in --><head>", "a web page, not an archive"),
        (
            b"<html>",
            "a web page, not an archive. as cloud drives often send. Fix: open the address in a browser",
        ),
    ],
)
def test_other_formats_are_named(tmp_path, head, message):
    (tmp_path / "x.zip").write_bytes(head)
    assert_refused(tmp_path / "x.zip", tmp_path, f"x.zip: {message}")


def test_format_is_decided_by_content(tmp_path):
    kinds = {kind_of(pack(tmp_path / f"x{suffix}", CONTENT)) for suffix in (".zip", ".tar", ".tar.gz")}
    assert kinds == {"zip", "tar", "tar.gz"}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_full_disk_leaves_nothing_behind(tmp_path, suffix):
    path = pack(tmp_path / f"x{suffix}", CONTENT)
    message = r"out: cannot be written \(File too large\)\. .*Fix: free some space, or choose another folder"
    with small_files(1000), pytest.raises(OSError, match=message):
        unpack(path, tmp_path / "out", 1 << 30)
    assert tree(tmp_path) == [path.name]


def test_benchmark_prints_a_row_per_format(tmp_path, capsys):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "b.png").write_bytes(bytes(range(256)))
    assert benchmark(["--folder", str(tmp_path / "set"), "--repeats", "1", "--work", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| .zip", "| .tar", "| .tar.gz"]
    assert benchmark(["--folder", str(tmp_path / "absent")]) == 1
    assert "absent: no such folder. Fix: the folder of a data set" in capsys.readouterr().err
    assert tree(tmp_path) == ["set/a/b.png"]
