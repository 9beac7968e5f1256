"""Rules for addresses: which may be downloaded from, and which redirects are followed.

The environment variable `U2NET_MIRROR` replaces every address by a file of the same name below it. It may be
an https:// or file:// address, or http:// where a checksum is known or the server is this machine.

Which machines are contacted:

- a published address: those on the public internet only;
- a mirror, or an address that is written as a number or `localhost`: also this machine or a private network,
  as the user has named it;
- a redirect: those of the class (public, private network, this machine) of the first one only, and never
  from https to http;
- none that is link-local, shared (100.64.0.0/10), multicast, reserved or where a cloud keeps its secrets.

The numbers that a name resolves to decide, however it is written, and the connection is made to the very
numbers that were checked (`connections.py`). An http proxy of the environment (`https_proxy`) is contacted
wherever it is; it resolves names itself, so a name is checked only where this machine can resolve it too.
"""

from __future__ import annotations

import os
import urllib.request
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from paddleseg_u2net.errors import DownloadError, printable

MIRROR = "U2NET_MIRROR"
PUBLIC, PRIVATE, LOOPBACK = "on the public internet", "in a private network", "on this machine"
CLASSES = {
    PRIVATE: ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    LOOPBACK: ("127.0.0.0/8", "::1/128"),
}
REFUSED = (
    ("fd00:ec2::/32", "fd20:ce::/32", "168.63.129.16/32")  # metadata of AWS, Google, Azure
    + ("2002::/16", "192.88.99.0/24")  # 6to4
    + ("192.0.0.0/24", "64:ff9b:1::/48", "3fff::/20")  # partly global for some versions of Python
)
UNICAST, NAT64 = ip_network("2000::/3"), ip_network("64:ff9b::/96")
OTHER_WAY = f"download it yourself and set {MIRROR}=file:///folder"
SHOWN = 200  # characters of what a server answered in a message


def redirect(url: str) -> str:
    """Return the address to use for `url`: itself, or its file name below the mirror."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{url.rsplit('/', 1)[-1]}" if mirror else url


def shown(text: object) -> str:
    """What a server answered, as messages show it: one line of bounded length."""
    return printable(str(text)[:SHOWN])


def class_of(number: str) -> str | None:
    """Return PUBLIC, PRIVATE or LOOPBACK for an IP address; None for one that is never contacted.

    Raises:
        ValueError: not an IP address.
    """
    address: IPv4Address | IPv6Address = ip_address(number.split("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address in ip_network(network) for network in REFUSED):
        return None
    for name, networks in CLASSES.items():
        if any(address in ip_network(network) for network in networks):
            return name
    if address in NAT64:  # how networks without IPv4 reach the public IPv4 addresses
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    usual = address.version == 4 or address in UNICAST
    return PUBLIC if usual and address.is_global and not address.is_multicast else None


def allowed_classes(url: str) -> set[str | None]:
    """Return the classes that the host of a download's first address may have."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return {LOOPBACK}
    try:
        return {class_of(host)} - {None}
    except ValueError:
        return {PUBLIC, PRIVATE, LOOPBACK} if os.environ.get(MIRROR) else {PUBLIC}


def parts_of(url: str) -> tuple[str, str]:
    """Scheme, in small letters, and site of an address; DownloadError if it cannot be parsed."""
    try:
        return urlsplit(url)[:2]
    except ValueError as error:
        raise DownloadError(f"{shown(url.rpartition('@')[2])}: {error}") from error


def check_address(url: str, trusted: bool) -> None:
    """Raise DownloadError unless an address may be downloaded from.

    Args:
        url: the address.
        trusted: the content will be verified by a checksum, or the user accepts it unverified.
    """
    scheme, site = parts_of(url)
    if "@" in site:
        raise DownloadError(
            f"{shown(url.rpartition('@')[2])}: a user name or password in an address would end up in record "
            f"files. Fix: leave them out, or {OTHER_WAY}"
        )
    if not site.isascii():
        raise DownloadError(f"{shown(url)}: a host with other letters than ASCII. Fix: its form xn--…")
    if scheme == "https" or (scheme == "file" and not site):
        return
    if scheme == "http" and (trusted or allowed_classes(url) == {LOOPBACK}):
        return
    if scheme == "http":
        raise DownloadError(
            f"{shown(url)}: plain http can be tampered with, and no checksum of this file is known. "
            "Fix: u2net prepare NAME --accept-unverified accepts it and prints its sha256"
        )
    if scheme == "file":
        raise DownloadError(
            f"{shown(url)}: names the host {shown(site)}. Fix: file:///folder, of this machine"
        )
    hint = f". Fix: {MIRROR}=file:///folder" if os.environ.get(MIRROR) else ""
    raise DownloadError(
        f"{shown(url)}: only https and file addresses are supported, and http from this machine{hint}"
    )


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, except to other schemes, from https to http, or to addresses that are not allowed."""

    inf_msg = "redirected in a circle, or too often; the last answer was: "

    def __init__(self, trusted: bool):
        self.trusted = trusted

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request to make instead; DownloadError if the redirect is not allowed."""
        if fp:
            fp.close()  # urllib would read all of its body, however long it is
        schemes = ("https",) if req.type == "https" else ("https", "http")
        if urlsplit(newurl).scheme not in schemes:
            raise DownloadError(
                f"{shown(req.full_url)}: redirects to {shown(newurl)}, which is not allowed. Fix: {OTHER_WAY}"
            )
        try:
            check_address(newurl, self.trusted)
        except DownloadError as error:
            raise DownloadError(f"{shown(req.full_url)}: redirects to {error}") from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)
