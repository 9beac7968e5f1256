"""Which addresses may be fetched, and which a server may send us on to.

`U2NET_MIRROR` (https:// or file://; http:// where a checksum is known, or from this machine) redirects every
address to a file of the same name below it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.request
from urllib.parse import urlsplit

from paddleseg_u2net.errors import DownloadError

MIRROR = "U2NET_MIRROR"


def redirect(url: str) -> str:
    """The address to use for `url`: itself, or its file name below the mirror."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{url.rsplit('/', 1)[-1]}" if mirror else url


def _parts(url: str) -> tuple[str, str]:
    """Scheme and site of an address."""
    try:
        return urlsplit(url)[:2]
    except ValueError as error:
        raise DownloadError(f"{url.rpartition('@')[2]}: {error}") from error


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _is_inside(url: str) -> bool:
    """Whether an address leads into this machine or its own network, as far as its name is resolved now."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname or "", None)
    except (OSError, ValueError):
        return False  # then it cannot be fetched either
    numbers = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    return any(not (getattr(number, "ipv4_mapped", None) or number).is_global for number in numbers)


def check_address(url: str, trusted: bool) -> None:
    """Raise DownloadError unless it may be fetched; `trusted` where what comes is checked or accepted."""
    scheme, site = _parts(url)
    if "@" in site:
        raise DownloadError(
            f"{url.rpartition('@')[2]}: an address with a user name or password would end up in records. "
            f"Fix: leave them out, or fetch the file yourself and set {MIRROR}=file:///folder"
        )
    if scheme in ("https", "file") or (scheme == "http" and (trusted or _is_local(url))):
        return
    if scheme == "http":
        raise DownloadError(
            f"{url}: plain http can be changed on its way, and no checksum of this file is known. "
            "Fix: --accept-unverified takes it as it comes, and prints its sha256"
        )
    hint = f". Fix: {MIRROR}=file:///folder" if os.environ.get(MIRROR) else ""
    raise DownloadError(f"{url}: only https and file addresses are fetched, or http from this machine{hint}")


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """A server may send us on, but not into this machine, nor to what may not be fetched."""

    def __init__(self, trusted: bool):
        self.trusted = trusted

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """The request to make instead."""
        inwards = _is_inside(newurl) and not _is_inside(req.full_url)
        if urlsplit(newurl).scheme not in ("http", "https") or inwards:
            raise DownloadError(f"{req.full_url}: redirects to {newurl}, which is not allowed")
        check_address(newurl, self.trusted)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
