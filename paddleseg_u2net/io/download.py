"""Public files -> the user's disk: bounded, verified, atomic, and from where a broken one ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.errors import DiskError, DownloadError
from paddleseg_u2net.io.files import CHUNK, atomic_write, digest, disk_errors_named, flush
from paddleseg_u2net.io.urls import SafeRedirects, check_address, redirect

TIMEOUT_S = 20
PAGE = (b"<!doctype html", b"<html", b"<head", b"<script", b"<!--", b"<?xml")
TRIES = 5  # to go on with a download that breaks and gets further each time
KEPT = ".partial"  # of a name: what a broken download leaves
NOTE = ".json"  # of that name: what it is the start of, and what the whole file came from


class _BrokenOffError(DownloadError):
    """The connection ended before the file did."""


def is_web_page(head: bytes) -> bool:
    """Whether a file that starts so is a page for people, as cloud drives send instead of a file."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGE)


def verify(path: Path, *checksums: str, called: str | None = None) -> None:
    """Raise DownloadError unless the file has one of these checksums.

    Args:
        path: an existing file.
        checksums: `sha256:HEX` or `md5:HEX`.
        called: what the message names instead of the path.
    """
    names = dict.fromkeys(checksum.partition(":")[0] for checksum in checksums)
    found = [f"{name}:{digest(path, name)}" for name in names]
    if not {*found} & {*checksums}:
        told, expected = " and ".join(found), " or ".join(checksums)
        raise DownloadError(f"{called or path}: its checksum is {told}, expected {expected}")


def download_first(urls: Sequence[str], destination: Path, **options: Any) -> str:
    """Fetch a file from the first address that serves it; see `download`.

    Returns:
        The address that did.

    Raises:
        DownloadError: none did; the message has the fault of each.
    """
    failures = []
    for url in dict.fromkeys(map(redirect, urls)):
        try:
            download(url, destination, **options)
        except DownloadError as error:
            failures.append(str(error))
            continue
        return url
    raise DownloadError("\n".join(failures))


def download(
    url: str,
    destination: Path,
    *,
    checksum: str | None,
    max_bytes: int,
    accept_unverified: bool = False,
    resume: bool = False,
) -> None:
    """Fetch one file; it appears at `destination` only when it is whole and verified.

    Args:
        url: https or file address; redirected where the mirror is set.
        destination: file to write; its folder is created.
        checksum: `sha256:HEX` or `md5:HEX`; None where the publisher gives none.
        max_bytes: a larger answer is refused.
        accept_unverified: take plain http without a checksum too.
        resume: keep what came of a broken download as `<name>.partial`, and go on from there; a note beside
            it, which stays, says where it came from.

    Raises:
        DownloadError: unreachable, too large, a web page, or another content than expected.
        DiskError: the disk is full.
    """
    url = redirect(url)
    trusted = bool(checksum) or accept_unverified
    check_address(url, trusted)
    opener = urllib.request.build_opener(SafeRedirects(trusted))
    with (_keeping if resume else atomic_write)(destination) as partial:
        transfer = _Transfer(opener, url, partial, max_bytes, resume)
        try:
            transfer.run()
            if checksum:
                transfer.verify(checksum)
        except DownloadError as error:
            raise DownloadError(f"{error}{transfer.kept()}") from error


@contextmanager
def _keeping(destination: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that stays, under a name of its own, where the block ends badly."""
    partial = destination.with_name(f"{destination.name}{KEPT}")
    with disk_errors_named(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        flush(partial)
        os.replace(partial, destination)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}{NOTE}")


def origin_of(path: Path) -> str:
    """The address that a file was fetched from with `resume`, or `unknown`."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads(_note_of(path.with_name(f"{path.name}{KEPT}")).read_text())["url"])
    return "unknown"


class _Version(NamedTuple):
    """What tells one version of a file on a server from the next, and its length, where they are said."""

    url: str
    mark: str | None
    total: int | None

    @classmethod
    def of(cls, url: str, answer: Any) -> _Version:
        """That of an answer, whether it holds the whole file or the rest of it."""
        etag, length = answer.headers.get("ETag"), answer.headers.get("Content-Length")
        mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        rest = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range") or "")
        total = rest[1] if rest else length
        return cls(url, mark, int(total) if re.fullmatch(r"\d{1,18}", total or "") else None)


class _Transfer:
    """The bytes of one file on their way to `partial`, from where an earlier one ended."""

    def __init__(self, opener: Any, url: str, partial: Path, max_bytes: int, resume: bool):
        self.opener, self.url, self.partial = opener, url, partial
        self.max_bytes, self.resume = max_bytes, resume

    def run(self) -> None:
        """Fetch until the file is whole; a connection that breaks is taken up again while it gets further."""
        for left in reversed(range(TRIES if self.resume else 1)):
            before = self._size()
            try:
                self._fetch()
                break
            except _BrokenOffError:
                if not left or self._size() <= before:
                    raise

    def verify(self, checksum: str) -> None:
        """Check what came; what is not the file is nothing to go on from."""
        try:
            verify(self.partial, checksum, called=self.url)
        except DownloadError:
            self._forget()
            raise

    def kept(self) -> str:
        """What to tell of a download that ended badly."""
        size = self._size() if self.resume else 0
        return (
            f". {size} bytes are kept in {self.partial}; the same command goes on from there" if size else ""
        )

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        _note_of(self.partial).unlink(missing_ok=True)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def _begun(self) -> _Version | None:
        """The version of which `partial` is the start, where that is known for sure."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            version = _Version(**json.loads(_note_of(self.partial).read_text()))
            if self.resume and version.url == self.url and version.mark and version.total and self._size():
                return version
        return None

    def _fetch(self) -> None:
        begun = self._begun()
        start = self._size() if begun else 0
        if begun and start == begun.total:
            return  # a process ended between the last byte and the next step
        with self._ask(start, begun) as answer:
            version, status = _Version.of(self.url, answer), getattr(answer, "status", None)
            rest = status == 206 and begun and _goes_on(answer, version, begun, start)
            if rest or status not in (206, 416):
                self._copy(answer, start if rest else 0, version)
                return
        if not begun:
            raise DownloadError(f"{self.url}: answers with a part (206) where all was asked for")
        self._forget()  # a part, but not the one that is missing; or what came is longer than the file (416)
        self._fetch()

    def _ask(self, start: int, begun: _Version | None) -> Any:
        request = urllib.request.Request(self.url, headers={"User-Agent": "paddleseg_u2net"})
        if start and begun:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", begun.mark or "")
        try:
            return self.opener.open(request, timeout=TIMEOUT_S)
        except DownloadError:
            raise
        except (OSError, ValueError, HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                if start and error.code == 416:
                    return error  # which is an answer as well
                error.close()
            raise DownloadError(f"{self.url}: {getattr(error, 'reason', error)}") from error

    def _read(self, answer: Any) -> bytes:
        try:
            return answer.read(CHUNK)
        except (OSError, ValueError, HTTPException) as error:
            raise _BrokenOffError(f"{self.url}: {getattr(error, 'reason', error)}") from error

    def _copy(self, answer: Any, start: int, version: _Version) -> None:
        from tqdm import tqdm  # here, as predicting with an export does without

        self._check_bound(version.total or 0)
        self._check_room((version.total or 0) - start)
        chunk = self._read(answer)
        if not start and is_web_page(chunk):
            raise DownloadError(
                f"{self.url}: answers with a web page, not the file; cloud drives do. Fix: open it in a "
                "browser and save the file itself"
            )
        received, name = start, self.url.rsplit("/", 1)[-1]
        bar = tqdm(
            total=version.total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=name,
            disable=None,
            leave=False,
        )
        with self.partial.open("ab" if start else "wb") as file, bar:
            if self.resume and not start:
                _note_of(self.partial).write_text(json.dumps(version._asdict()))
            while chunk:
                received += len(chunk)
                self._check_bound(received)
                file.write(chunk)
                bar.update(len(chunk))
                chunk = self._read(answer)
        if received < (version.total or 0):
            raise _BrokenOffError(f"{self.url}: ended after {received} of {version.total} bytes")

    def _check_bound(self, total: int) -> None:
        if total > self.max_bytes:
            self._forget()
            raise DownloadError(f"{self.url}: larger than the {self.max_bytes} bytes expected")

    def _check_room(self, missing: int) -> None:
        free = shutil.disk_usage(self.partial.parent).free
        if missing > free:
            raise DiskError(
                f"{self.url}: {missing} bytes to come, {free} are free in {self.partial.parent}. "
                "Fix: make room, or choose another folder"
            )


def _goes_on(answer: Any, version: _Version, begun: _Version, start: int) -> bool:
    """Whether an answer is the rest of the same version, from the byte asked for."""
    same = version.total == begun.total and version.mark in (begun.mark, None)
    return same and (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")
