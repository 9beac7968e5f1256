"""A web server on the loopback interface that gives the answers of `hostile_answers.py`."""

from __future__ import annotations

import itertools
import socketserver
import threading
from contextlib import contextmanager
from random import Random

from hostile_answers import KINDS, Request


class Server(socketserver.ThreadingTCPServer):
    """Answers each connection by one kind; `begin` chooses it."""

    daemon_threads, block_on_close, request_queue_size = True, False, 64

    def begin(self, name: str, seed: int, names: dict[str, str]) -> None:
        """Answer by `name` from now on, with `{key}` in redirects replaced."""
        self.case, self.visits = (KINDS[name][1], Random(seed), names), itertools.count()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline(9999).split(b" ")[1:2]
        start = 0
        while (line := self.rfile.readline(9999)) not in (b"\r\n", b""):
            if line.lower().startswith(b"range: bytes="):
                start = int(line[13:].strip().rstrip(b"-"))
        function, rng, names = self.server.case
        request = Request(path[0].decode() if path else "/", start, next(self.server.visits))
        try:
            for item in function(rng, request):
                if isinstance(item, float):
                    if self.server.stopped.wait(item):
                        return
                    continue
                for key, value in names.items():
                    item = item.replace(b"{%b}" % key.encode(), value.encode())
                self.wfile.write(item)
        except OSError:
            pass  # the client has left


@contextmanager
def hostile_server():
    """A server on a free port of the loopback interface."""
    with Server(("127.0.0.1", 0), _Handler) as server:
        server.stopped = threading.Event()
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
