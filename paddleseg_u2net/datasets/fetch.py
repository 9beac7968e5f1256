"""Download or verify the archives that a data set is made from."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from paddleseg_u2net.datasets.description import Archive, DataSet
from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.download import download_first, origin_of
from paddleseg_u2net.io.files import digest, verify
from paddleseg_u2net.io.urls import check_address

log = logging.getLogger(__name__)


class ArchiveFile(NamedTuple):
    """An archive on disk, or a folder with the content of one.

    Args:
        path: the file or folder.
        origin: address it was downloaded from, or the user's file name.
        sha256: checksum in hexadecimal; None for a folder.
    """

    path: Path
    origin: str
    sha256: str | None


def fetch_archives(name: str, row: DataSet, folder: Path, accept_unverified: bool) -> list[ArchiveFile]:
    """Download the archives of a data set into `folder`, unless they are there from an earlier run.

    Raises:
        DownloadError: an archive cannot be downloaded; the message says how to get it by hand.
        ValueError: a file from an earlier run is not the published one.
    """
    found = []
    for archive in row.archives:
        path = folder / archive.file
        if not path.is_file():
            _download(name, row, archive, path, accept_unverified)
        elif not archive.checksum and "://" in origin_of(path):
            check_address(origin_of(path), accept_unverified)  # an earlier run may have used the flag
        checksums = [archive.checksum] if archive.checksum else []
        found.append(_verified(path, origin_of(path), checksums, accept_unverified, "run the command again"))
    return found


def command_for(name: str, data_root: Path) -> str:
    """The command line that prepares a data set."""
    return f"u2net prepare {name}" + (f" --data_root {data_root}" if data_root != Path("data") else "")


def _download(name: str, row: DataSet, archive: Archive, path: Path, accept_unverified: bool) -> None:
    urls = [address.url for address in archive.addresses] or [archive.file]  # a name suffices for a mirror
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
        files = " ".join(archive.file for archive in row.archives)
        raise DownloadError(
            f"{name}: {archive.file} cannot be downloaded:\n{error}\nFix: try again, or download it from "
            f"{row.page}, then {command_for(name, path.parents[2])} --archive {files}"
        ) from error


def verify_given(row: DataSet, path: Path, accept_unverified: bool) -> ArchiveFile:
    """Verify an archive given by the user against the published checksums, whatever its name.

    Folders are taken as they are.

    Raises:
        ValueError: the archive has none of the published checksums.
    """
    path = Path(os.path.abspath(path))  # not resolve(): the name of a link chooses the checksum
    if path.is_dir():
        return ArchiveFile(path, path.name, None)
    archives = [archive for archive in row.archives if archive.file == path.name] or row.archives
    checksums = [archive.checksum for archive in archives if archive.checksum]
    others = [
        f"rename it to {archive.file} if it is that file" for archive in archives if not archive.checksum
    ]
    fix = ", ".join(["download it again", *others, "or --accept-unverified if you trust it"])
    return _verified(path, path.name, checksums, accept_unverified, fix)


def _verified(
    path: Path, origin: str, checksums: Sequence[str], accept_unverified: bool, fix: str
) -> ArchiveFile:
    """Verify a file; log its checksum where none is published or another one is accepted."""
    sha256 = digest(path, "sha256")
    try:
        if checksums:
            verify(path, *checksums)
        else:
            log.info("No checksum of %s is published; this file has sha256:%s", path.name, sha256)
    except DownloadError as error:
        if not accept_unverified:
            raise ValueError(f"{error}: not the published file. Fix: {fix}") from error
        log.warning(
            "%s is not the published file, but accepted; its checksum is sha256:%s", path.name, sha256
        )
    return ArchiveFile(path, origin, sha256)
