"""Running the server by uvicorn: connections with limits, worker processes, an orderly end."""

from __future__ import annotations

import logging
import os
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from paddleseg_u2net.serving.app import create_app
from paddleseg_u2net.serving.guard import ABORT
from paddleseg_u2net.serving.settings import SETTINGS, ServerSettings

log = logging.getLogger(__name__)

HEADER_SECONDS = 15  # until the headers of a request are complete; uvicorn itself waits for ever
HEADER_BYTES = 32 << 10
KEEP_ALIVE_SECONDS = 10
MAX_CONNECTIONS = 1000  # of a worker
BACKLOG = 512  # connections that the system holds until they are accepted


class Connection(H11Protocol):
    """A connection that is closed if its headers do not come, or if there are too many connections."""

    _timer: Any = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._no_headers)

    def _no_headers(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and self._timer:
            self._timer.cancel()
            self._timer = None

    def on_response_complete(self) -> None:
        """Wait for the headers of the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS + KEEP_ALIVE_SECONDS, self._no_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()


def run(settings: ServerSettings, workers: int = 1) -> None:
    """Serve until a signal; requests that were accepted are answered first.

    Args:
        settings: models, limits, and where to listen.
        workers: processes.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "http": Connection,
        "ws": "none",
        "loop": "asyncio",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": int(settings.seconds) + 5,
        "h11_max_incomplete_event_size": HEADER_BYTES,
    }
    if workers == 1:
        uvicorn.run(create_app(settings), **options)
        return
    os.environ[SETTINGS] = settings.to_json()
    factory = "paddleseg_u2net.serving.app:from_environment"
    uvicorn.run(factory, factory=True, workers=workers, **options)
