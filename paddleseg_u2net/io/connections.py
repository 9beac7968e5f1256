"""Connections of downloads: to the numbers that were checked, and no slower than a limit.

The rules on addresses are in `urls.py`.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import url2pathname

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.urls import (
    LOOPBACK,
    OTHER_WAY,
    PUBLIC,
    SafeRedirects,
    allowed_classes,
    class_of,
    shown,
)

TIMEOUT_S = 20  # without a byte, or to connect
WINDOW_S = 30  # until the headers of the answer, and for each WINDOW_BYTES then
WINDOW_BYTES = WINDOW_S << 12  # 4 kB/s, half of what a modem brings
TLS_FIX = (
    ". Fix: correct this machine's clock; or set SSL_CERT_FILE to the certificates (PEM) of your network; "
    f"or {OTHER_WAY}"
)


class Network(NamedTuple):
    """How names are resolved and connections are made; tests hand in others.

    Args:
        resolve: takes host, port, family and type, as `socket.getaddrinfo`.
        connect: takes (number, port) and a timeout, as `socket.create_connection`.
    """

    resolve: Callable[..., Any] = socket.getaddrinfo
    connect: Callable[..., socket.socket] = socket.create_connection


class Pace:
    """The time that a download has left, in seconds; `seconds` is the most for all of it."""

    def __init__(self, url: str, seconds: float = math.inf):
        self.url, self.end = url, time.monotonic() + seconds
        self.restart()

    def restart(self) -> None:
        """Begin with the headers of another answer."""
        self.received, self.deadline = 0, min(time.monotonic() + WINDOW_S, self.end)

    def count(self, received: int) -> None:
        """Count bytes of the file, not of headers or padding."""
        self.received += received
        if self.received >= WINDOW_BYTES:
            self.restart()

    def left(self) -> float:
        """Return the seconds that may be waited for the next byte; DownloadError if none is left."""
        left = self.deadline - time.monotonic()
        if left <= 0 and self.deadline == self.end:
            raise DownloadError(f"{self.url}: not complete in the time that is allowed. Fix: {OTHER_WAY}")
        if left <= 0:
            raise DownloadError(
                f"{self.url}: too slow: {self.received} bytes in {WINDOW_S} s, expected {WINDOW_BYTES}. "
                f"Fix: try again later, or {OTHER_WAY}"
            )
        return min(left, TIMEOUT_S)


def _paced(kind: type, pace: Pace) -> type:
    """A class of sockets that end with `pace`, however often a byte comes."""

    class Paced(kind):
        def recv_into(self, *args: Any, **options: Any) -> int:
            self.settimeout(pace.left())
            try:
                return super().recv_into(*args, **options)
            except TimeoutError:
                pace.left()
                raise

    return Paced


class _Web(urllib.request.AbstractHTTPHandler):
    """Opens http and https addresses on hosts of the allowed classes."""

    def __init__(self, url: str, pace: Pace, network: Network, allowed: set[str | None]):
        super().__init__()
        self.url, self.pace, self.network, self.allowed = url, pace, network, allowed

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(partial(self._connection, HTTPConnection, req), req)  # pyright: ignore

    def https_open(self, req: urllib.request.Request) -> Any:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = _paced(ssl.SSLSocket, self.pace)
        kind = partial(self._connection, HTTPSConnection, req)
        return self.do_open(kind, req, context=context)  # pyright: ignore

    def _connection(self, kind: type[HTTPConnection], req: Any, host: str, **options: Any) -> HTTPConnection:
        connection = kind(host, **options)
        connection._create_connection = partial(self._connect, req)  # the one way to choose the number
        return connection

    def _connect(self, req: urllib.request.Request, address: tuple[str, int], *_: Any) -> socket.socket:
        direct = urllib.request.Request(req.full_url).host
        if req.host == direct:
            numbers = self._numbers(*address)
        else:
            numbers, target = [address[0]], HTTPConnection(direct)
            try:
                self._numbers(target.host, target.port)
            except socket.gaierror:  # a name that the proxy may know
                if PUBLIC not in self.allowed:
                    raise
        failure = OSError("it has no address")
        for number in numbers:
            try:
                made = self.network.connect((number, address[1]), self.pace.left())
            except DownloadError:
                raise
            except OSError as error:
                failure = error
            else:
                paced = _paced(socket.socket, self.pace)(made.family, made.type, made.proto, made.detach())
                paced.settimeout(self.pace.left())  # of the TLS handshake, which reads by itself
                return paced
        raise failure

    def _numbers(self, host: str, port: int) -> list[str]:
        """Resolve a host; DownloadError unless all of its numbers are of the same allowed class."""
        found = [entry[4][0] for entry in self.network.resolve(host, port, 0, socket.SOCK_STREAM)]
        classes = {class_of(number) for number in found}
        if len(classes) != 1 or not classes <= self.allowed:
            is_at = " and ".join(
                f"{number} ({class_of(number) or 'never contacted'})" for number in found[:3]
            )
            expected = " or ".join(sorted(map(str, self.allowed))) or "none"
            raise DownloadError(
                f"{self.url}: leads to {shown(host)} at {is_at}, expected a host {expected}. Fix: {OTHER_WAY}"
            )
        self.allowed = classes
        return list(dict.fromkeys(found))


class _Proxies(urllib.request.ProxyHandler):
    """The proxies of the environment, for other machines than this one."""

    def proxy_open(self, req: Any, proxy: str, type: str) -> Any:
        if allowed_classes(req.full_url) == {LOOPBACK}:
            return None
        scheme = proxy.partition("://")[0] if "://" in proxy else "http"
        if scheme not in ("http", "https"):
            raise DownloadError(
                f"{type}_proxy: a proxy of the kind {shown(scheme)}, expected http. "
                f"Fix: {type}_proxy=http://…, or {OTHER_WAY}"
            )
        return super().proxy_open(req, proxy, type)


class _LocalFiles(urllib.request.FileHandler):
    """Opens file addresses, without those whose reading may never end."""

    def file_open(self, req: urllib.request.Request) -> Any:
        path = Path(url2pathname(req.selector))
        if path.exists() and not path.is_file():
            raise URLError(f"{path} is not a file")
        return self.open_local_file(req)


def opener(
    url: str,
    trusted: bool,
    pace: Pace,
    network: Network,
    allowed: set[str | None] | None = None,
    redirects: bool = True,
) -> urllib.request.OpenerDirector:
    """Return what opens `url` and its redirects.

    Args:
        url: first address of the download.
        trusted: see `urls.check_address`.
        pace: limits the time.
        network: resolves and connects.
        allowed: classes of the hosts that may be contacted; None decides by `url`.
        redirects: follow them; without, one is an error.
    """
    allowed = allowed_classes(url) if allowed is None else allowed
    director = urllib.request.OpenerDirector()
    for handler in (
        _Proxies(),
        _Web(url, pace, network, allowed),
        _LocalFiles(),
        *([SafeRedirects(trusted)] if redirects else []),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return director
