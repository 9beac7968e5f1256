"""What a data set is made from: archives, fetched or given, and verified; folders, only read."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paddleseg_u2net.datasets.catalog import Archive, DataSet
from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.download import download_first, origin_of, verify
from paddleseg_u2net.io.files import digest
from paddleseg_u2net.io.urls import check_address

log = logging.getLogger(__name__)


class Source(NamedTuple):
    """An archive, or a folder."""

    path: Path
    origin: str  # address, or the user's file name
    sha256: str | None


def fetch(name: str, row: DataSet, folder: Path, accept_unverified: bool) -> list[Source]:
    """The archives of a row of the table, in `folder`, where those may be that came earlier.

    Raises:
        DownloadError: one cannot be fetched; the message says how a person gets it.
        ValueError: what came earlier is not what is published.
    """
    found = []
    for archive in row.archives:
        path = folder / archive.file
        if not path.is_file():  # as it is where a process was killed after it had come
            _download(name, row, archive, path, accept_unverified)
        elif not archive.checksum and "://" in origin_of(path):
            check_address(origin_of(path), accept_unverified)  # it may have come by leave of that flag
        checksums = [archive.checksum] if archive.checksum else []
        found.append(_verified(path, origin_of(path), checksums, accept_unverified, "run the command again"))
    return found


def _download(name: str, row: DataSet, archive: Archive, path: Path, accept_unverified: bool) -> None:
    urls = [address.url for address in archive.addresses] or [archive.file]  # below the mirror
    try:
        download_first(
            urls,
            path,
            checksum=None if accept_unverified else archive.checksum,
            max_bytes=row.max_bytes,
            accept_unverified=accept_unverified,
            resume=True,
        )
    except DownloadError as error:
        raise DownloadError(
            f"{name}: {archive.file} cannot be fetched:\n{error}\nOr get it from {row.page}, and "
            "give it to --archive"
        ) from error


def given(row: DataSet, path: Path, accept_unverified: bool) -> Source:
    """A source of the user's; an archive is compared with the published ones, whatever it is called.

    Raises:
        ValueError: it is none of them.
    """
    path = Path(os.path.abspath(path))  # a link keeps its own name, by which its checksum is known
    if path.is_dir():
        return Source(path, path.name, None)
    archives = [archive for archive in row.archives if archive.file == path.name] or row.archives
    checksums = [archive.checksum for archive in archives if archive.checksum]
    others = [f"call it {archive.file} if it is that" for archive in archives if not archive.checksum]
    way_out = ", ".join(["get it anew", *others, "or --accept-unverified if you trust it"])
    return _verified(path, path.name, checksums, accept_unverified, way_out)


def _verified(
    path: Path, origin: str, checksums: Sequence[str], accept_unverified: bool, way_out: str
) -> Source:
    """A source of one of these checksums; where there are none, or it is accepted, its own is printed."""
    sha256 = digest(path, "sha256")
    try:
        if checksums:
            verify(path, *checksums)
        else:
            log.info("No checksum of %s is published; this one's is sha256:%s", path.name, sha256)
    except DownloadError as error:
        if not accept_unverified:
            raise ValueError(f"{error}: not the file that is published. Fix: {way_out}") from error
        log.warning("%s is not the file that is published, and accepted; it is sha256:%s", path.name, sha256)
    return Source(path, origin, sha256)
