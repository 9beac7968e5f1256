"""Prepare known data sets: download, verify, unpack, arrange the files, write lists.

All work is done in the hidden folder `.NAME.preparing` beside the final folder and renamed at the end. So the
data set is either complete or absent, however the process ends; only partial downloads are kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.pairs import Pair, read_list
from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.description import DataSet
from paddleseg_u2net.datasets.fetch import ArchiveFile, command_for, fetch_archives, verify_given
from paddleseg_u2net.datasets.layout import NOT_PART, NamedFile, arrange, find_files, is_wanted
from paddleseg_u2net.datasets.synthetic import draw_into
from paddleseg_u2net.errors import DataError, DownloadError, Fault
from paddleseg_u2net.io.archives import unpack
from paddleseg_u2net.io.files import digest, disk_errors_named, require_writable
from paddleseg_u2net.io.listing import HIDDEN
from paddleseg_u2net.io.locks import lock_file, path_lock
from paddleseg_u2net.io.paths import local_path
from paddleseg_u2net.io.text_files import parse_record
from paddleseg_u2net.io.urls import MIRROR

log = logging.getLogger(__name__)

RECORD = "dataset.json"
LISTS = ("train", "val", "test")


def prepare(
    name: str, data_root: Path, sources: Sequence[Path] = (), *, accept_unverified: bool = False
) -> Path:
    """Create `data_root/name` with a known data set; do nothing if it exists already.

    Args:
        name: key of DATA_SETS.
        data_root: folder that holds all data sets.
        sources: archives, or folders with their content, to use instead of downloading; they are only read.
        accept_unverified: accept an archive with another checksum, or without one over plain http, and print
            its sha256.

    Returns:
        The folder, with list files and `dataset.json`.

    Raises:
        DownloadError: an archive cannot be downloaded; the message says how to get it by hand.
        DataError: the files are not those of this data set; names all faults.
        ValueError: an archive is damaged, unsafe, or not the published one.
        OSError: the disk is full or read-only, or the folder exists and was not made by this program.
    """
    row, root = DATA_SETS[name], data_root / name
    work = data_root / f".{name}.preparing"
    if not _is_prepared(root):
        _check_obtainable(name, row, data_root, sources)
        log.info("%s: %s, %s; licence: %s", name, row.task, row.about, row.licence)
        require_writable(data_root, "choose another --data_root")
    elif not any(path.exists() for path in (work, lock_file(root))):  # left by a process that was killed
        log.info("%s exists already", root)
        return root
    if inside := [path for path in sources if path.resolve().is_relative_to(work.resolve())]:
        raise ValueError(
            f"--archive {inside[0]}: is inside {work}, which will be cleared. Fix: move it elsewhere"
        )
    with path_lock(root, None), _work_folder(work, downloading=not sources), disk_errors_named(root):
        if _is_prepared(root):  # by another process, while this one waited for the lock
            log.info("%s exists already", root)
        else:
            _fill(name, row, work, sources, accept_unverified)
            os.rename(work / "set", root)
            log.info("Prepared %s", root)
    return root


def _is_prepared(root: Path) -> bool:
    taken = os.path.lexists(root)  # checked first: another process may rename its folder to `root` in between
    if (root / RECORD).is_file():
        return True
    if taken:
        aside = root.with_name(f"{root.name}.own")
        raise FileExistsError(
            f"{root}: exists, but this program did not create it (it has no {RECORD}), so it is left "
            f"untouched. Fix: mv {root} {aside}, then {command_for(root.name, root.parent)} --archive {aside}"
        )
    return False


@contextlib.contextmanager
def _work_folder(work: Path, downloading: bool) -> Iterator[None]:
    """Create a folder to work in; remove it afterwards, except for partial downloads."""

    def clear(*names: str) -> None:
        for name in names:
            shutil.rmtree(work / name, ignore_errors=True)
        for folder in (work / "downloads", work):
            with contextlib.suppress(OSError):  # not empty, or absent
                folder.rmdir()

    clear("unpacked", "set")  # left behind by a process that was killed
    work.mkdir(exist_ok=True)
    try:
        yield
    except BaseException as error:
        wrong = downloading and isinstance(error, ValueError)  # a wrong file is not worth keeping
        clear("unpacked", "set", *(["downloads"] if wrong else []))
        if work.exists():
            log.info("The partial download is kept in %s; the next run resumes it", work / "downloads")
        raise
    clear("downloads", "unpacked", "set")


def _check_obtainable(name: str, row: DataSet, data_root: Path, sources: Sequence[Path]) -> None:
    """Raise unless the given sources exist, or the data set can be downloaded or drawn."""
    if sources and not row.archives:
        raise ValueError(f"{name}: is generated, not unpacked from archives. Fix: leave out --archive")
    absent = [f"{p}: no such file or folder" for p in sources if not (p.is_file() or p.is_dir())]
    if absent:
        raise FileNotFoundError(
            "\n".join(absent) + "\nFix: pass paths of existing archives or folders to --archive"
        )
    unknown = [archive.file for archive in row.archives if not archive.addresses]
    if unknown and not sources and not os.environ.get(MIRROR):
        note = f" Note: {row.note}." if row.note else ""
        given = " ".join(file.removesuffix(".rar") for file in unknown)  # .rar is not supported: a folder
        raise DownloadError(
            f"{name}: no download address is known for {' and '.join(unknown)}. Fix: get it from {row.page}, "
            f"then {command_for(name, data_root)} --archive {given}.{note}"
        )


def _fill(name: str, row: DataSet, work: Path, sources: Sequence[Path], accept_unverified: bool) -> None:
    """Create the data set in `work/set`."""
    target = work / "set"
    target.mkdir()
    items = ItemCounts()
    if not row.archives:
        draw_into(target)
        found: list[ArchiveFile] = []
        pairs = {key: read_list(target / f"{key}_list.txt", target)[0] for key in LISTS}
    else:
        found = [verify_given(row, path, accept_unverified) for path in sources]
        found = found or fetch_archives(name, row, work / "downloads", accept_unverified)
        files = _files(row, found, work / "unpacked", items)
        pairs, faults = arrange(row, files, target, work, items)
        if faults:
            note = f" Note: {row.note}." if row.note else ""
            raise DataError([Fault(name, f"these files are not this data set.{note}"), *faults])
    for key, listed in pairs.items():
        items.add("kept", f"pairs of {key}", count=len(listed))
    _write_record(name, row, target, found, pairs, items)
    for line in items.table():
        log.info("%s", line)


def find_data(keys: Mapping[str, Any], download: bool) -> dict[str, Any]:
    """Return the keys of a dataset section after making sure that the known data set they name exists.

    If a prepared data set lacks the folders that the keys name, its list file is used instead, so that one
    config can be measured on all of them.

    Args:
        keys: arguments of `list_pairs`; `dataset_root` may end in the name of a known data set.
        download: prepare the data set if it is absent.

    Raises:
        FileNotFoundError: a known data set is absent and `download` is false; the message says how to get it.
        ValueError: `download` is true, but the folder is absent and names no known data set.
    """
    keys = {**keys, "dataset_root": keys.get("dataset_root") or "."}
    root = local_path(str(keys["dataset_root"]))
    row = DATA_SETS.get(root.name)
    if not root.is_dir() and row:
        if not download:
            raise FileNotFoundError(
                f"dataset_root: {root}: no such folder. It is a known data set ({row.task}: {row.about}). "
                f"Fix: {command_for(root.name, root.parent)}, or set download: true beside dataset_root"
            )
        prepare(root.name, root.parent)
    elif download and not root.is_dir():
        raise ValueError(f"download: true, but {root} is no known data set. Known: {', '.join(DATA_SETS)}")
    image_dir, mode = keys.get("image_dir"), keys.get("mode", "train")
    if image_dir and (root / RECORD).is_file() and not (root / str(image_dir)).is_dir():
        log.info("%s has no folder %s; using its %s_list.txt", root, image_dir, mode)
        listed = str(root / f"{mode}_list.txt")  # and not a file of that name in the working folder
        return {**keys, "image_dir": None, "mask_dir": None, f"{mode}_path": listed}
    return keys


# -- unpacking --------------------------------------------------------------------------------------------


def _files(
    row: DataSet, sources: Sequence[ArchiveFile], unpacked: Path, items: ItemCounts
) -> list[NamedFile]:
    """List all files of the sources, after unpacking those members of archives that the row mentions."""
    files = []
    for index, source in enumerate(sources):
        folder = source.path
        if not folder.is_dir():
            stem = folder.name.split(".")[0]
            wanted = functools.partial(_is_wanted, row, stem, items)
            folder = unpacked / str(index) / stem
            unpack(source.path, folder, row.max_bytes, wanted)
        files += find_files(folder, items)
    return files


def _is_wanted(row: DataSet, stem: str, items: ItemCounts, name: str) -> bool:
    """Whether a member of an archive is unpacked; counts the others."""
    path = PurePosixPath(stem, name)
    is_hidden = any(part.startswith(".") for part in path.parts[1:])
    wanted = is_wanted(row, path) and not is_hidden
    items.add("left out", "files", HIDDEN if is_hidden else NOT_PART, path, count=not wanted)
    return wanted


# -- recording --------------------------------------------------------------------------------------------


def _write_record(
    name: str,
    row: DataSet,
    root: Path,
    sources: Sequence[ArchiveFile],
    pairs: Mapping[str, Sequence[Pair]],
    items: ItemCounts,
) -> None:
    """Write `dataset.json`: name, origin, licence, counts and a checksum of all files."""
    record = {
        "name": name,
        "about": f"{row.task}: {row.about}",
        "paper": row.paper,
        "licence": row.licence,
        "page": row.page,
        "sources": [{"from": s.origin, "sha256": s.sha256} for s in sources] or "drawn",
        "pairs": {key: len(listed) for key, listed in pairs.items()},
        "items": items.to_json(),
        "published": {key: part.pairs for part in row.parts for key in part.lists},
        "contents": contents(root),
    }
    (root / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def contents(root: Path) -> str:
    """Compute one checksum over all files of a data set except `dataset.json`.

    It is the sha256 of the lines that `sha256sum` prints for the files, sorted by the bytes of their names.

    Args:
        root: folder of the data set; names are relative to it.

    Returns:
        `sha256:HEX`.
    """
    names = sorted(
        (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()), key=os.fsencode
    )
    names = [name for name in names if name != RECORD]
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        found = pool.map(lambda name: digest(root / name, "sha256"), names)
        digests = list(tqdm(found, "checksums", len(names), disable=None, delay=1, leave=False))
    lines = "".join(f"{sha256}  {name}\n" for sha256, name in zip(digests, names, strict=True))
    return f"sha256:{hashlib.sha256(os.fsencode(lines)).hexdigest()}"


def check(root: Path) -> None:
    """Raise ValueError if the files of a prepared data set have changed since it was prepared."""
    if not (root / RECORD).is_file():
        raise ValueError(f"{root}: has no {RECORD}. Fix: prepare it first")
    try:
        expected = parse_record(root / RECORD).get("contents")
    except ValueError as error:
        raise ValueError(f"{root / RECORD}: is damaged: {error}. Fix: prepare it again") from None
    if (found := contents(root)) != expected:
        raise ValueError(
            f"{root}: its files have changed (checksum {found}, expected {expected}). Fix: move it away and "
            "prepare it again"
        )
    log.info("%s is unchanged: %s", root, expected)
