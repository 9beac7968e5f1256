"""The page at `/`: three files of the package, read once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

FOLDER = Path(__file__).parents[1] / "page"
# path -> file and content type
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",  # photographs and results in the browser; the icon
    "connect-src": "'self'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time whether the ETag is still valid
}


def add_content(app: FastAPI, path: str, content: bytes, content_type: str) -> None:
    """Serve content that stays the same while the server runs.

    Args:
        app: gets a route for GET and HEAD.
        path: of the route.
        content: body of the answer; clients that have it, by its ETag, get 304 without it.
        content_type: of the answer.
    """
    from starlette.requests import Request
    from starlette.responses import Response

    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}

    async def answer(request: Request) -> Response:
        known = request.headers.get("If-None-Match", "")
        if etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=content_type, headers=headers)

    app.add_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)


def add_routes(app: FastAPI, server: Any) -> None:
    """Serve the page; `server` is not used, as the page sends its requests to the API."""
    for path, (name, content_type) in FILES.items():
        add_content(app, path, (FOLDER / name).read_bytes(), content_type)
