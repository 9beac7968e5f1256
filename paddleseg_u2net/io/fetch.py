"""Images by their address, of bounded size and time.

`fetch` contacts the public internet only, by https; `fetch_from` a server that the user has named.
"""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import quote

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.connections import Network, Pace, opener
from paddleseg_u2net.io.download import Transfer
from paddleseg_u2net.io.urls import LOOPBACK, OTHER_WAY, PRIVATE, PUBLIC, check_address, parts_of, shown

MAX_BYTES = 128 << 20  # of an image; 100 million pixels as JPEG have some 50 MB
MAX_SECONDS = 120
INSTEAD = "save the image yourself, and give its path"


def fetch(
    url: str, max_bytes: int = MAX_BYTES, seconds: float = MAX_SECONDS, network: Network | None = None
) -> bytes:
    """Return what an address serves.

    Nothing is kept on the disk. Redirects are followed on the public internet only.

    Args:
        url: https.
        max_bytes: of the content.
        seconds: for all of it.
        network: how names are resolved and connections made; None for the system's way.

    Raises:
        DownloadError: another scheme, an address that is not public, too large, too slow, or no answer.
    """
    if parts_of(url)[0] != "https":
        raise DownloadError(f"{shown(url.rpartition('@')[2])}: expected an https address. Fix: {INSTEAD}")
    pace = Pace(url, seconds)
    return _transfer(
        url, opener(url, False, pace, network or Network(), {PUBLIC}), pace, max_bytes, trusted=False
    )


def fetch_from(
    server: str,
    path: str,
    authorization: str | None = None,
    max_bytes: int = MAX_BYTES,
    seconds: float = MAX_SECONDS,
    network: Network | None = None,
) -> bytes:
    """Return a file of a server that the user has named, which may be in a private network.

    Args:
        server: http or https address, of which `path` is appended.
        path: of the file, from `/`, with its query.
        authorization: value of this header, which is sent to this server alone: redirects are not followed.
        max_bytes: of the content.
        seconds: for all of it.
        network: see `fetch`.

    Raises:
        DownloadError: a path of another form; too large, too slow, or no answer.
    """
    if not path.startswith("/"):
        raise DownloadError(f"{shown(path)}: expected a path from /. Fix: /data/…")
    url = server.rstrip("/") + quote(path, safe="/?&=%+:@,;!*()'~", errors="replace")
    pace = Pace(url, seconds)
    if parts_of(url)[0] not in ("http", "https"):
        raise DownloadError(f"{shown(server)}: expected an http or https address. Fix: https://…")
    reader = opener(url, True, pace, network or Network(), {PUBLIC, PRIVATE, LOOPBACK}, redirects=False)
    if authorization:
        reader.addheaders = [("Authorization", authorization)]
    return _transfer(url, reader, pace, max_bytes, trusted=True)


def _transfer(
    url: str, reader: urllib.request.OpenerDirector, pace: Pace, max_bytes: int, trusted: bool
) -> bytes:
    try:
        check_address(url, trusted)
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / "image"
            Transfer(reader, pace, partial, max_bytes, resume=False).run()
            return partial.read_bytes()
    except DownloadError as error:
        raise DownloadError(str(error).replace(OTHER_WAY, INSTEAD)) from error
