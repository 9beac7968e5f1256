"""Images by their address: https on the public internet only, of bounded size and time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.connections import Network, Pace, opener
from paddleseg_u2net.io.download import Transfer
from paddleseg_u2net.io.urls import OTHER_WAY, check_address, parts_of, shown

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
    try:
        check_address(url, trusted=False)
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / "image"
            reader = opener(url, False, pace, network or Network(), public=True)
            Transfer(reader, pace, partial, max_bytes, resume=False).run()
            return partial.read_bytes()
    except DownloadError as error:
        raise DownloadError(str(error).replace(OTHER_WAY, INSTEAD)) from error
