"""Self-contained HTML pages: one style, no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.files import atomic_write

HERE = Path(__file__).parent
STYLE = HERE / "web_page.css"
JPEG_QUALITY = 85


def render(template: Path, **values: Any) -> str:
    """Fill a template that extends `web_page.html.j2`.

    Values are escaped. The policy of the page lets browsers load nothing, run nothing, and apply no style but
    that of `web_page.css`, whose checksum it names.

    Args:
        template: the file.
        values: what it shows.

    Raises:
        MissingPackage: jinja2 is not installed.
    """
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = STYLE.read_text(encoding="utf-8")
    checksum = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template.name).render(style=style, style_sha256=checksum, **values)


def write_page(path: Path, page: str) -> None:
    """Write a page atomically; what UTF-8 cannot hold, as in names of files, is written as escapes."""
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")


def as_data_uri(picture: np.ndarray) -> str:
    """A picture, (H, W, 3) uint8 RGB, as a JPEG in a data URI."""
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
