"""An HTTP server on the loopback interface that tests download from."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = bytes(range(256)) * 2000


TARGETS = {"moved.bin": "/whole.bin", "lured.bin": "file:///etc/hostname", "loop.bin": "/loop.bin"}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if name == "absent.bin":
            self.send_error(404)
            return
        if name in TARGETS:
            self.send_response(302)
            self.send_header("Location", TARGETS[name])
            self.end_headers()
            return
        if name == "nonsense.bin":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        body = {"html.bin": b"<html>sorry</html>", "other.bin": b"other"}.get(name, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if name == "cut.bin" else body)

    def log_message(self, *_):
        """Keep the server's log out of the tests' output."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]):
    """Its address."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=lambda: httpd.serve_forever(0.01), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()


class Site:
    """A server of one file that breaks connections and records requests."""

    def __init__(self, content=CONTENT, mark='"one"', ranges=True, cuts=()):
        self.content, self.mark, self.ranges, self.cuts = content, mark, ranges, list(cuts)
        self.mark_name, self.asked, self.shift = "ETag", [], 0

    def handler(site):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def log_message(self, *_):
                """Quiet."""

        return Handler

    def answer(self, to):
        wanted = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.asked.append(start)
        if start and (not self.ranges or to.headers["If-Range"] != self.mark) and self.ranges != "careless":
            start = 0
        if start >= len(self.content):
            to.send_error(416)
            return
        to.send_response(206 if start else 200)
        total = len(self.content)
        if start:
            to.send_header("Content-Range", f"bytes {start + self.shift}-{total - 1}/{total}")
        if self.mark:
            to.send_header(self.mark_name, self.mark)
        to.send_header("Content-Length", str(total - start))
        to.end_headers()
        end = self.cuts.pop(0) if self.cuts else total
        to.wfile.write(self.content[start:end])
