"""The server in a thread of the tests' process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from paddleseg_u2net.serving.app import create_app
from paddleseg_u2net.serving.settings import ServerSettings

TOKEN = "a token of the tests"


@contextmanager
def serve(**settings: Any) -> Iterator[str]:
    """Serve two names of the small model; yields the address.

    Args:
        settings: of `ServerSettings`.
    """
    models = {"small": "u2netp_msra", "full": "u2netp_msra"}
    app = create_app(ServerSettings(**{"models": models, **settings}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield "http://127.0.0.1:{}".format(listener.getsockname()[1])
        server.should_exit = True
        thread.join()
