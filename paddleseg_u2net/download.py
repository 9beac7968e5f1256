"""Public files -> the user's disk: bounded, verified, atomic.

`U2NET_MIRROR` (https://, file:// or http://127.0.0.1) redirects every address to a file of the same name
below it.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from paddleseg_u2net.files import CHUNK, arriving, digest

MIRROR = "U2NET_MIRROR"
TIMEOUT_S = 20


class DownloadError(OSError):
    """A file could not be fetched whole and right."""


def redirect(url: str) -> str:
    """The address to use for `url`: itself, or its file name below the mirror."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{url.rsplit('/', 1)[-1]}" if mirror else url


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme not in ("https", "file") and not local:
        hint = f". Fix: {MIRROR}=file:///folder" if os.environ.get(MIRROR) else ""
        raise DownloadError(
            f"{url}: only https and file addresses are fetched, or http from this machine{hint}"
        )


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """A server may send us on, but not to another scheme."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def verify(path: Path, checksum: str, called: str | None = None) -> None:
    """Raise DownloadError unless the file has this checksum.

    Args:
        path: an existing file.
        checksum: `sha256:HEX` or `md5:HEX`.
        called: what the message names instead of the path.
    """
    name, _, expected = checksum.partition(":")
    found = digest(path, name)
    if found != expected:
        raise DownloadError(f"{called or path}: {name} is {found}, expected {expected}")


def download(url: str, destination: Path, *, checksum: str | None, max_bytes: int) -> None:
    """Fetch one file; it appears at `destination` only when it is whole and verified.

    Args:
        url: https or file address; redirected where the mirror is set.
        destination: file to write; its folder is created.
        checksum: `sha256:HEX` or `md5:HEX`; None where the publisher gives none.
        max_bytes: a larger answer is refused.

    Raises:
        DownloadError: unreachable, too large, or another content than expected.
    """
    url = redirect(url)
    _check_scheme(url)
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        with arriving(destination) as partial:
            with opener.open(url, timeout=TIMEOUT_S) as answer, partial.open("wb") as file:
                _copy(answer, file, url, max_bytes)
            if checksum:
                verify(partial, checksum, url)
    except DownloadError:
        raise
    except (OSError, ValueError, HTTPException) as error:
        raise DownloadError(f"{url}: {getattr(error, 'reason', error)}") from error


def _copy(answer, file, url: str, max_bytes: int) -> None:
    from tqdm import tqdm  # here, as predicting with an export does without

    total = int(answer.headers.get("Content-Length") or 0)
    name = url.rsplit("/", 1)[-1]
    received = 0
    with tqdm(total=total or None, unit="B", unit_scale=True, desc=name, disable=None, leave=False) as bar:
        while chunk := answer.read(CHUNK):
            received += len(chunk)
            if received > max_bytes:
                raise DownloadError(f"{url}: larger than the {max_bytes} bytes expected")
            file.write(chunk)
            bar.update(len(chunk))
    if received < total:
        raise DownloadError(f"{url}: ended after {received} of {total} bytes")
