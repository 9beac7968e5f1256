"""Running the server by uvicorn: connections with limits, worker processes, an orderly end."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from paddleseg_u2net.serving.app import create_app
from paddleseg_u2net.serving.guard import ABORT, DRAIN
from paddleseg_u2net.serving.logs import configure
from paddleseg_u2net.serving.models import ModelStore
from paddleseg_u2net.serving.settings import ServerSettings

log = logging.getLogger(__name__)

WINDOW_SECONDS = 15  # in which a request has to come, and WINDOW_BYTES of an answer have to be read
WINDOW_BYTES = 64 << 10
HEADER_BYTES = 32 << 10
KEEP_ALIVE_SECONDS = 10
MAX_CONNECTIONS = 1000  # of a worker
SETTINGS = "U2NET_SERVE_SETTINGS"  # environment variable that hands them to worker processes
FACTORY = "paddleseg_u2net.serving.run:worker"  # of a worker process
BACKLOG = 512  # connections that the system holds until they are accepted


class Connection(H11Protocol):
    """A connection that ends if nothing is asked, or if what was answered is not read.

    uvicorn itself waits for ever for the headers of a request, and for the reader of an answer.
    """

    _timer: Any = None
    _cycle: Any = None  # the request at the last look
    _unread = 0  # bytes of answers that the client had not taken then

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort, DRAIN: self.flow.drain}
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._timer = self.loop.call_later(WINDOW_SECONDS, self._look)

    def _look(self) -> None:
        unread = self.transport.get_write_buffer_size()
        slow = unread and 0 < self._unread < unread + WINDOW_BYTES
        silent = not unread and self.conn.their_state is h11.IDLE and self.cycle is self._cycle
        if slow or silent:
            self.transport.abort()
            return
        self._unread, self._cycle = unread, self.cycle
        self._timer = self.loop.call_later(WINDOW_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()


def server_options(settings: ServerSettings) -> dict[str, Any]:
    """The arguments of `uvicorn.Config` beside the application."""
    return {
        "http": Connection,
        "ws": "none",
        "loop": "asyncio",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": int(settings.seconds) + 5,
        "h11_max_incomplete_event_size": HEADER_BYTES,
    }


def run(settings: ServerSettings, workers: int = 1, log_line: Mapping[str, str] | None = None) -> None:
    """Serve until a signal; requests that were accepted are answered first.

    Args:
        settings: models, limits, and where to listen.
        workers: processes.
        log_line: arguments of `logs.configure`, for worker processes.

    Raises:
        OSError: the address cannot be listened on, or a model not be read.
        ValueError: a model that is none.
    """
    models = ModelStore(settings)
    models.open_first()  # here, so that its faults are messages, and exports are written once
    options = server_options(settings)
    with _listening(settings) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.info("Listening on http://%s:%d, models: %s", shown, port, ", ".join(models.names))
        if workers == 1:
            uvicorn.Server(uvicorn.Config(create_app(settings, models), **options)).run([listener])
            return
    models.close()
    os.environ[SETTINGS] = json.dumps({"settings": settings.to_json(), "log": log_line})
    uvicorn.run(FACTORY, factory=True, workers=workers, host=host, port=port, backlog=BACKLOG, **options)


def worker() -> ASGIApp:
    """The application of a worker process, whose settings are in the environment."""
    given = json.loads(os.environ[SETTINGS])
    if given["log"]:
        configure(**given["log"])
    return create_app(ServerSettings.from_json(given["settings"]))


def _listening(settings: ServerSettings) -> socket.socket:
    address, family = (
        (settings.host, settings.port),
        socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
    )
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        why = error.strerror or error
        raise OSError(
            f"--host {settings.host} --port {settings.port}: cannot be listened on: {why}. "
            f"Fix: an address of this machine, such as {ServerSettings.host}; --port 0 takes a free port"
        ) from error
