"""Known data sets: obtained, verified, unpacked, laid out, listed, and there in one step or not at all.

While it works everything lies in the hidden folder `.NAME.preparing` beside the set to be. Whatever ends it,
the set is then whole or absent; only what came of a download stays, for the next time.
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

from paddleseg_u2net.data.pairs import read_list
from paddleseg_u2net.datasets.catalog import DATA_SETS, DataSet
from paddleseg_u2net.datasets.fetch import Source, fetch, given
from paddleseg_u2net.datasets.layout import Found, find_files, is_wanted, lay_out
from paddleseg_u2net.datasets.synthetic import draw_into
from paddleseg_u2net.errors import DataError, DownloadError
from paddleseg_u2net.io.archives import unpack
from paddleseg_u2net.io.files import digest, disk_errors_named, file_lock, require_writable
from paddleseg_u2net.io.urls import MIRROR

log = logging.getLogger(__name__)

RECORD = "dataset.json"
LISTS = ("train", "val", "test")
PROGRAM = "python -m Benckmark_data_prepare.prepare"


def prepare(
    name: str, data_root: Path, sources: Sequence[Path] = (), *, accept_unverified: bool = False
) -> Path:
    """Make `data_root/name` of a known data set; does nothing where it is.

    Args:
        name: key of DATA_SETS.
        data_root: folder of all data sets.
        sources: archives, or folders of what is in them, to use instead of downloading; they are only read.
        accept_unverified: take an archive of another checksum, or over plain http without one, and print its
            own.

    Returns:
        The folder, with its lists and `dataset.json`.

    Raises:
        DownloadError: it cannot be fetched; the message says how a person does.
        DataError: what came is not this data set; all faults.
        ValueError: an archive is damaged or unsafe, or not what is published.
        OSError: the disk is full or may not be written to, or the folder's name is taken.
    """
    row, root = DATA_SETS[name], data_root / name
    work, lock = (data_root / f".{name}.{end}" for end in ("preparing", "lock"))
    if not _is_there(root):
        _say_how(name, row, data_root, sources)
        log.info("%s: %s, %s; licence: %s", name, row.task, row.about, row.licence)
        require_writable(data_root, "choose another --data_root")
    elif not work.exists() and not lock.exists():  # as a process leaves them that is killed at the very end
        log.info("%s is there already", root)
        return root
    if inside := [path for path in sources if path.resolve().is_relative_to(work.resolve())]:
        raise ValueError(
            f"--archive {inside[0]}: lies in {work}, which is cleared. Fix: move it out of there"
        )
    with file_lock(lock), _workplace(work, fetching=not sources), disk_errors_named(root):
        if _is_there(root):  # another process may have made it meanwhile
            log.info("%s is there already", root)
        else:
            _make(name, row, work, sources, accept_unverified)
            os.rename(work / "set", root)
            log.info("Ready in %s", root)
    return root


def _is_there(root: Path) -> bool:
    taken = os.path.lexists(root)  # asked first, as another process may bring it to its place in between
    if (root / RECORD).is_file():
        return True
    if taken:
        aside = root.with_name(f"{root.name}.own")
        raise FileExistsError(
            f"{root}: exists, and is not a set that this program finished (it has no {RECORD}). It is left "
            f"as it is. Fix: mv {root} {aside}, and give that to --archive"
        )
    return False


@contextlib.contextmanager
def _workplace(work: Path, fetching: bool) -> Iterator[None]:
    """A folder to work in; afterwards nothing of it is there but what came of a download that broke."""

    def clear(*names: str) -> None:
        for name in names:
            shutil.rmtree(work / name, ignore_errors=True)
        for folder in (work / "downloads", work):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()

    clear("unpacked", "set")  # of a process that was killed
    work.mkdir(exist_ok=True)
    try:
        yield
    except BaseException as error:
        wrong = fetching and isinstance(error, ValueError)  # what came, which is no use to keep then
        clear("unpacked", "set", *(["downloads"] if wrong else []))
        if work.exists():
            log.info("What came is kept in %s; the next download goes on from there", work / "downloads")
        raise
    clear("downloads", "unpacked", "set")


def command_for(name: str, data_root: Path) -> str:
    """What a person types to get a data set."""
    return f"{PROGRAM} {name}" + (f" --data_root {data_root}" if data_root != Path("data") else "")


def _say_how(name: str, row: DataSet, data_root: Path, sources: Sequence[Path]) -> None:
    """Raise unless the sources exist, or the set can be fetched or drawn."""
    if sources and not row.archives:
        raise ValueError(f"{name}: is drawn, not unpacked. Fix: leave --archive out")
    absent = [f"{p}: no such file or folder" for p in sources if not (p.is_file() or p.is_dir())]
    if absent:
        raise FileNotFoundError("\n".join(absent) + "\nFix: --archive takes archives and folders")
    unknown = [archive.file for archive in row.archives if not archive.addresses]
    if unknown and not sources and not os.environ.get(MIRROR):
        note = f" Note: {row.note}." if row.note else ""
        given = " ".join(file.removesuffix(".rar") for file in unknown)  # a folder, as .rar is not read here
        raise DownloadError(
            f"{name}: no address is known for {' and '.join(unknown)}. Fix: get it from {row.page}, then "
            f"{command_for(name, data_root)} --archive {given}.{note}"
        )


def _make(name: str, row: DataSet, work: Path, sources: Sequence[Path], accept_unverified: bool) -> None:
    """Fill `work/set`."""
    target = work / "set"
    target.mkdir()
    if not row.archives:
        draw_into(target)
        found: list[Source] = []
        pairs = {key: read_list(target / f"{key}_list.txt", target)[0] for key in LISTS}
    else:
        found = [given(row, path, accept_unverified) for path in sources]
        found = found or fetch(name, row, work / "downloads", accept_unverified)
        files = _files(row, found, work / "unpacked")
        pairs, faults = lay_out(row, files, target, movable=work)
        if faults:
            note = f" Note: {row.note}." if row.note else ""
            raise DataError([f"{name}: what came is not this data set.{note}", *faults])
    _write_record(name, row, target, found, {key: len(listed) for key, listed in pairs.items()})


def find_data(keys: Mapping[str, Any], download: bool) -> dict[str, Any]:
    """The keys of a data section, once the known data set that they name is there.

    A set that is prepared and lacks the folders the keys name is read by its list, so that one config
    measures on all of them.

    Args:
        keys: those of `list_pairs`; `dataset_root` may end in the name of a known data set.
        download: get the set where it is absent.

    Raises:
        FileNotFoundError: a known set is absent, and `download` is not set; the message says how to get it.
        ValueError: `download` is set, and the folder is absent and of no known set.
    """
    root = Path(str(keys.get("dataset_root", ".")))
    row = DATA_SETS.get(root.name)
    if not root.is_dir() and row:
        if not download:
            raise FileNotFoundError(
                f"dataset_root: {root}: no such folder. It is a known data set ({row.task}: {row.about}). "
                f"Fix: {command_for(root.name, root.parent)}, or download: true beside dataset_root"
            )
        prepare(root.name, root.parent)
    elif download and not root.is_dir():
        raise ValueError(f"download: true, but {root} is no known data set. Known: {', '.join(DATA_SETS)}")
    image_dir, mode = keys.get("image_dir"), keys.get("mode", "train")
    if image_dir and (root / RECORD).is_file() and not (root / str(image_dir)).is_dir():
        log.info("%s has no %s; its %s_list.txt is taken", root, image_dir, mode)
        listed = str(root / f"{mode}_list.txt")  # not one of that name in the working folder
        return {**keys, "image_dir": None, "mask_dir": None, f"{mode}_path": listed}
    return dict(keys)


# -- unpacking --------------------------------------------------------------------------------------------


def _files(row: DataSet, sources: Sequence[Source], unpacked: Path) -> list[Found]:
    """All files of the sources; archives are unpacked first, as far as the row speaks of what is in them."""
    files = []
    for index, source in enumerate(sources):
        folder = source.path
        if not folder.is_dir():
            stem = folder.name.split(".")[0]
            wanted = functools.partial(_is_wanted, row, stem)
            folder = unpacked / str(index) / stem
            unpack(source.path, folder, row.max_bytes, wanted)
        files += find_files(folder)
    return files


def _is_wanted(row: DataSet, stem: str, name: str) -> bool:
    return is_wanted(row, PurePosixPath(stem, name))


# -- recording --------------------------------------------------------------------------------------------


def _write_record(
    name: str, row: DataSet, root: Path, sources: Sequence[Source], counts: Mapping[str, int]
) -> None:
    """Write `dataset.json`: what this is, from where, how much, and its checksum."""
    record = {
        "name": name,
        "about": f"{row.task}: {row.about}",
        "paper": row.paper,
        "licence": row.licence,
        "page": row.page,
        "sources": [{"from": s.origin, "sha256": s.sha256} for s in sources] or "drawn",
        "pairs": dict(counts),
        "published": {key: part.pairs for part in row.parts for key in part.lists},
        "contents": contents(root),
    }
    (root / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def contents(root: Path) -> str:
    """`sha256:HEX` over all files of a set but its record: of the lines that `sha256sum` prints for them.

    Args:
        root: folder of the set; paths are relative to it, and sorted as bytes.
    """
    names = sorted(
        (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()), key=os.fsencode
    )
    names = [name for name in names if name != RECORD]
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter
        found = pool.map(lambda name: digest(root / name, "sha256"), names)
        digests = list(tqdm(found, "checksums", len(names), disable=None, delay=1, leave=False))
    lines = "".join(f"{sha256}  {name}\n" for sha256, name in zip(digests, names, strict=True))
    return f"sha256:{hashlib.sha256(os.fsencode(lines)).hexdigest()}"


def check(root: Path) -> None:
    """Raise ValueError unless a prepared set still is as it was made."""
    if not (root / RECORD).is_file():
        raise ValueError(f"{root}: holds no {RECORD}. Fix: prepare it first")
    expected = json.loads((root / RECORD).read_text(encoding="utf-8")).get("contents")
    if (found := contents(root)) != expected:
        raise ValueError(
            f"{root}: its files are not those it was made of ({found}, expected {expected}). Fix: move it "
            "away, and prepare it anew"
        )
    log.info("%s is as it was made: %s", root, expected)
