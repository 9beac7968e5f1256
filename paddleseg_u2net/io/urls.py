"""Rules for addresses: which may be downloaded from, and which redirects are followed.

The environment variable `U2NET_MIRROR` replaces every address by a file of the same name below it. It may be
an https:// or file:// address, or http:// where a checksum is known or the server is this machine.
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
    """Return the address to use for `url`: itself, or its file name below the mirror."""
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
    """Whether the host name currently resolves to this machine or a private network."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname or "", None)
    except (OSError, ValueError):
        return False  # it cannot be downloaded from either
    numbers = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    return any(not (getattr(number, "ipv4_mapped", None) or number).is_global for number in numbers)


def check_address(url: str, trusted: bool) -> None:
    """Raise DownloadError unless an address may be downloaded from.

    Args:
        url: the address.
        trusted: the content will be verified by a checksum, or the user accepts it unverified.
    """
    scheme, site = _parts(url)
    if "@" in site:
        raise DownloadError(
            f"{url.rpartition('@')[2]}: a user name or password in an address would end up in record files. "
            f"Fix: leave them out, or download the file yourself and set {MIRROR}=file:///folder"
        )
    if scheme in ("https", "file") or (scheme == "http" and (trusted or _is_local(url))):
        return
    if scheme == "http":
        raise DownloadError(
            f"{url}: plain http can be tampered with, and no checksum of this file is known. "
            "Fix: u2net prepare NAME --accept-unverified accepts it and prints its sha256"
        )
    hint = f". Fix: {MIRROR}=file:///folder" if os.environ.get(MIRROR) else ""
    raise DownloadError(
        f"{url}: only https and file addresses are supported, and http from this machine{hint}"
    )


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, except into private networks or to addresses that are not allowed."""

    def __init__(self, trusted: bool):
        self.trusted = trusted

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request to make instead; DownloadError if the redirect is not allowed."""
        inwards = _is_inside(newurl) and not _is_inside(req.full_url)
        if urlsplit(newurl).scheme not in ("http", "https") or inwards:
            raise DownloadError(f"{req.full_url}: redirects to {newurl}, which is not allowed")
        check_address(newurl, self.trusted)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
