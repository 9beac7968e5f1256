"""Bring a known data set into `data/`: download, verify, unpack, check its lists.

python -m Benckmark_data_prepare.prepare optic_disc_seg
python -m Benckmark_data_prepare.prepare optic_disc_seg --archive Downloads/optic_disc_seg.zip
"""

from __future__ import annotations

import argparse
import shutil
import stat
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from paddleseg_u2net.__main__ import guarded
from paddleseg_u2net.download import download
from paddleseg_u2net.files import arriving, digest
from paddleseg_u2net.pairs import read_list

MAX_RATIO = 200  # of an archive member's size to its packed size; images do not pack that well


@dataclass(frozen=True)
class DataSet:
    """A row of the table.

    Args:
        about: what it shows, and who made it.
        licence: as published.
        url: where it is.
        verified: the date on which the address served it, or `never`.
        max_bytes: bound on the download and on what it unpacks to.
        counts: pairs per list, as published.
        checksum: `sha256:HEX` or `md5:HEX`; None where none is published.
    """

    about: str
    licence: str
    url: str
    verified: str
    max_bytes: int
    counts: dict[str, int]
    checksum: str | None = None


DATA_SETS = {
    "optic_disc_seg": DataSet(
        about="optic disc in fundus photographs, from iChallenge-AMD",
        licence="research use (iChallenge-AMD)",
        url="https://paddleseg.bj.bcebos.com/dataset/optic_disc_seg.zip",
        verified="never",
        max_bytes=1 << 30,
        counts={"train": 267, "val": 76, "test": 38},
    ),
}


def check_members(archive: zipfile.ZipFile, max_bytes: int) -> None:
    """Raise ValueError where an archive holds anything but plain files of reasonable size inside it."""
    total = 0
    for info in archive.infolist():
        path = Path(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        total += info.file_size
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
            raise ValueError(f"{archive.filename}: {info.filename} would be written outside the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{archive.filename}: {info.filename} is a link or a device")
        if total > max_bytes or info.file_size > MAX_RATIO * max(info.compress_size, 1 << 16):
            raise ValueError(f"{archive.filename}: {info.filename} unpacks to more than a data set would")


def unpack(path: Path, destination: Path, max_bytes: int) -> None:
    """Unpack a zip whose only folder is named like `destination`; it appears there whole or not at all.

    Raises:
        ValueError: not a zip, unsafe, or of another layout.
    """
    try:
        with zipfile.ZipFile(path) as archive, arriving(destination) as partial:
            check_members(archive, max_bytes)
            for info in tqdm(archive.infolist(), "unpack", disable=None, delay=1, leave=False):
                archive.extract(info, partial)
            inner = partial / destination.name
            if not inner.is_dir():
                raise ValueError(f"{path}: holds no folder {destination.name}")
            for entry in list(inner.iterdir()):
                entry.rename(partial / entry.name)
            inner.rmdir()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a whole zip file: {error}. Fix: download it anew") from None


def check_lists(root: Path, row: DataSet) -> None:
    """Print how many pairs each list names; say where that differs from what was published.

    Raises:
        ValueError: a list is absent, or names files that are.
    """
    for name, expected in row.counts.items():
        path = root / f"{name}_list.txt"
        if not path.is_file():
            raise ValueError(f"{root}: holds no {path.name}")
        pairs, faults = read_list(path, root)
        if faults:
            raise ValueError("\n".join(faults))
        absent = [file for pair in pairs for file in (pair.image, pair.mask) if file and not file.is_file()]
        if absent:
            raise ValueError(f"{path}: names {len(absent)} files that are absent, first: {absent[0]}")
        note = "" if len(pairs) == expected else f" (published: {expected})"
        print(f"  {path.name}: {len(pairs)} pairs{note}")


def prepare(name: str, data_root: Path, archive: Path | None = None) -> None:
    """Make `data_root/name` of one data set; does nothing where it is.

    Args:
        name: key of DATA_SETS.
        data_root: folder of all data sets.
        archive: a file to use instead of downloading.
    """
    row, root = DATA_SETS[name], data_root / name
    if root.is_dir():
        print(f"{root} is there already")
        return
    print(f"{name}: {row.about}; licence: {row.licence}")
    with tempfile.TemporaryDirectory() as folder:
        fetched = archive or Path(folder) / f"{name}.zip"
        if archive is None:
            download(row.url, fetched, checksum=row.checksum, max_bytes=row.max_bytes)
        if row.checksum is None:
            print(f"  no checksum is published; this file's is sha256:{digest(fetched, 'sha256')}")
        unpack(fetched, root, row.max_bytes)
    try:
        check_lists(root, row)
    except ValueError:
        shutil.rmtree(root)
        raise
    print(f"Ready in {root}")


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="prepare"
    )
    parser.add_argument("name", choices=list(DATA_SETS))
    parser.add_argument("--archive", type=Path, help="use this file instead of downloading")
    parser.add_argument("--data_root", type=Path, default=Path("data"), help="%(default)s")
    args = parser.parse_args(argv)
    return guarded(lambda: prepare(args.name, args.data_root, args.archive))


if __name__ == "__main__":
    sys.exit(main())
