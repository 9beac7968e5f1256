"""Download public files: bounded, verified, atomic and resumable."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.errors import DiskError, DownloadError, printable
from paddleseg_u2net.io.connections import TIMEOUT_S, TLS_FIX, Network, Pace, opener
from paddleseg_u2net.io.files import CHUNK, atomic_write, disk_errors_named, flush, verify
from paddleseg_u2net.io.urls import check_address, redirect, shown

PAGE = (b"<!doctype html", b"<html", b"<head", b"<script", b"<!--", b"<?xml")
TRIES = 5  # attempts to resume a download that breaks off but makes progress
PARTIAL = ".partial"  # suffix of an incomplete download
NOTE = ".json"  # suffix of the note beside it: address and version of the file


class _ConnectionLostError(DownloadError):
    """The connection ended before the end of the file."""


def is_web_page(head: bytes) -> bool:
    """Whether content that begins like this is an HTML page, which cloud drives send instead of a file."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGE)


def download_first(urls: Sequence[str], destination: Path, **options: Any) -> str:
    """Download a file from the first address that serves it; see `download`.

    Returns:
        The address that was used.

    Raises:
        DownloadError: no address served it; the message names the reason of each.
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
    network: Network = Network(),  # noqa: B008 - a tuple of functions
) -> None:
    """Download one file; `destination` is created only when the file is complete and verified.

    A server that sends less than `connections.WINDOW_BYTES` in `WINDOW_S` is given up. The content is taken
    as it is sent: a `Content-Encoding` is not decoded.

    Args:
        url: https or file address; replaced if a mirror is set.
        destination: file to write; its folder is created.
        checksum: `sha256:HEX` or `md5:HEX`; None where none is published.
        max_bytes: larger files are rejected.
        accept_unverified: accept plain http without a checksum.
        resume: keep an incomplete download as `<name>.partial` and resume it next time; a note beside it,
            which is kept, records the address.
        network: how names are resolved and connections made.

    Raises:
        DownloadError: unreachable, too slow, too large, a web page, not the expected content, or at an
            address that may not be contacted (`urls.py`).
        DiskError: the disk is full.
    """
    url = redirect(url)
    trusted = bool(checksum) or accept_unverified
    check_address(url, trusted)
    pace = Pace(url)
    with (_keep_partial if resume else atomic_write)(destination) as partial:
        transfer = Transfer(opener(url, trusted, pace, network), pace, partial, max_bytes, resume)
        try:
            transfer.run()
            if checksum:
                transfer.verify(checksum)
        except DownloadError as error:
            raise DownloadError(f"{error}{transfer.kept()}") from error


@contextmanager
def _keep_partial(destination: Path) -> Iterator[Path]:
    """Like `atomic_write`, but keep the incomplete file if the block fails."""
    partial = destination.with_name(f"{destination.name}{PARTIAL}")
    with disk_errors_named(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        flush(partial)
        os.replace(partial, destination)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}{NOTE}")


def origin_of(path: Path) -> str:
    """Return the address that a file was downloaded from with `resume`, or `unknown`."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return str(json.loads(_note_of(path.with_name(f"{path.name}{PARTIAL}")).read_text())["url"])
    return "unknown"


class _Version(NamedTuple):
    """Identity of a file on a server, to recognise another version: address, ETag or date, and length."""

    url: str
    mark: str | None
    total: int | None

    @classmethod
    def from_answer(cls, url: str, answer: Any) -> _Version:
        """Read the version from the headers of a whole or partial answer."""
        etag, length = answer.headers.get("ETag"), answer.headers.get("Content-Length")
        mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        rest = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range") or "")
        total = rest[1] if rest else None if answer.headers.get("Transfer-Encoding") else length
        known = total is not None and re.fullmatch(r"[0-9]{1,99}", total)
        return cls(url, mark, int(total) if total and known else None)


class Transfer:
    """Transfers one file to `partial`, resuming an earlier transfer."""

    def __init__(
        self, opener: urllib.request.OpenerDirector, pace: Pace, partial: Path, max_bytes: int, resume: bool
    ):
        self.opener, self.pace, self.url, self.partial = opener, pace, pace.url, partial
        self.max_bytes, self.resume = max_bytes, resume

    def run(self) -> None:
        """Download the file; reconnect after a lost connection as long as that makes progress."""
        for left in reversed(range(TRIES if self.resume else 1)):
            before = self._size()
            try:
                self._fetch()
                self._refuse_web_page()
                break
            except _ConnectionLostError:
                if not left or self._size() <= before:
                    raise

    def _refuse_web_page(self) -> None:
        with self.partial.open("rb") as file:
            if not is_web_page(file.read(512)):
                return
        self._forget()
        raise DownloadError(
            f"{self.url}: answered with a web page instead of the file, as cloud drives do. Fix: open it "
            "in a browser and save the file itself"
        )

    def verify(self, checksum: str) -> None:
        """Verify the downloaded file; remove it if it is the wrong one."""
        try:
            verify(self.partial, checksum, called=self.url)
        except DownloadError:
            self._forget()
            raise

    def kept(self) -> str:
        """Return the end of the message about a failed download: what is kept."""
        size = self._size() if self.resume else 0
        return (
            f". {size} bytes are kept in {self.partial}; the same command resumes the download"
            if size
            else ""
        )

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        _note_of(self.partial).unlink(missing_ok=True)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def _begun(self) -> _Version | None:
        """Return the version of which `partial` is the beginning; None if that is uncertain."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            version = _Version(**json.loads(_note_of(self.partial).read_text()))
            if self.resume and version.url == self.url and version.mark and version.total and self._size():
                return version
        return None

    def _fetch(self) -> None:
        begun = self._begun()
        start = self._size() if begun else 0
        if begun and start == begun.total:
            return  # complete: the process was killed before it could rename the file
        with self._ask(start, begun) as answer:
            version, status = _Version.from_answer(self.url, answer), getattr(answer, "status", None)
            rest = status == 206 and begun and _continues(answer, version, begun, start)
            if rest or status in (None, 200):  # None: a file address
                self._copy(answer, start if rest else 0, version)
                return
            if status not in (206, 416):
                raise DownloadError(f"{self.url}: answered with status {status}, expected 200")
        if not begun:
            raise DownloadError(f"{self.url}: answered with a part (206) of the file, not all of it")
        self._forget()  # a part that does not fit, or `partial` is longer than the file (416)
        self._fetch()

    def _ask(self, start: int, begun: _Version | None) -> Any:
        self.pace.restart()
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
                    return error  # an answer too: the range is not satisfiable
                error.close()
            raise self._failure(error) from error

    def _failure(self, error: Exception, kind: type[DownloadError] = DownloadError) -> DownloadError:
        """Return the exception, with one line, for what opening or reading raised."""
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        if isinstance(reason, DownloadError):
            return reason
        if isinstance(reason, ssl.SSLError):
            what = getattr(reason, "verify_message", None) or reason.reason or str(reason)
            return DownloadError(f"{self.url}: no secure connection (TLS): {shown(what)}{TLS_FIX}")
        if isinstance(reason, TimeoutError):
            return kind(f"{self.url}: nothing came for {TIMEOUT_S} s. Fix: try again later")
        said = f"no valid answer: {reason!r}" if isinstance(reason, HTTPException) else reason
        return kind(f"{self.url}: {shown(said)}")

    def _read(self, answer: Any, size: int) -> bytes:
        try:
            return answer.read1(size)
        except (OSError, ValueError, HTTPException) as error:
            raise self._failure(error, _ConnectionLostError) from error

    def _copy(self, answer: Any, start: int, version: _Version) -> None:
        from tqdm import tqdm  # imported here because prediction works without tqdm

        self._check_bound(version.total or 0)
        self._check_room((version.total or 0) - start)
        received, name = start, printable(self.url.rsplit("/", 1)[-1])
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
            end = version.total if version.total is not None else self.max_bytes + 1
            while received < end and (chunk := self._read(answer, min(CHUNK, end - received))):
                received += len(chunk)
                self._check_bound(received)
                self.pace.count(file.write(chunk))
                bar.update(len(chunk))
        if received < (version.total or 0):
            raise _ConnectionLostError(f"{self.url}: ended after {received} of {version.total} bytes")

    def _check_bound(self, total: int) -> None:
        if total > self.max_bytes:
            self._forget()
            raise DownloadError(f"{self.url}: larger than the {self.max_bytes} bytes expected")

    def _check_room(self, missing: int) -> None:
        free = shutil.disk_usage(self.partial.parent).free
        if missing > free:
            raise DiskError(
                f"{self.url}: {missing} bytes are missing, {free} are free in {self.partial.parent}. "
                "Fix: free some space, or choose another folder"
            )


def _continues(answer: Any, version: _Version, begun: _Version, start: int) -> bool:
    """Whether an answer is the rest of the same version, from byte `start` on."""
    same = version.total == begun.total and version.mark in (begun.mark, None)
    return same and (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-")
