"""A server in a thread of this process, and raw requests to it."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import uvicorn

from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.serving.app import create_app
from paddleseg_u2net.serving.models import ModelStore
from paddleseg_u2net.serving.run import server_options
from paddleseg_u2net.serving.settings import ServerSettings

MODEL = "u2netp_msra"  # comes with the package
SMALL = "{type: Resize, target_size: [64, 64]}, {type: Normalize, mean: [.5, .5, .5], std: [.2, .2, .2]}"


@functools.cache
def _shared() -> Predictor:
    return Predictor(MODEL, config_of(MODEL, opts=[f"val_dataset.transforms=[{SMALL}]"]))


def small_predictor(*_: Any) -> Predictor:
    """The weights that come with the package, on images of 64 x 64, so that requests take milliseconds."""
    return _shared()


def photograph(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a bright disc before noise."""
    picture = np.random.default_rng(seed).integers(0, 80, (height, width, 3), np.uint8)
    cv2.circle(picture, (width // 2, height // 2), min(height, width) // 3, (250, 200, 60), -1)
    return picture


def png(picture: np.ndarray) -> bytes:
    """The content of a PNG file of RGB or grey."""
    return cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)[1].tobytes()


def pixels(data: bytes) -> np.ndarray:
    """The pixels of an image file as OpenCV reads them, RGB or RGBA."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    order = {4: cv2.COLOR_BGRA2RGBA, 3: cv2.COLOR_BGR2RGB}
    return found if found.ndim == 2 else cv2.cvtColor(found, order[found.shape[2]])


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of its fault."""
        assert self.headers["content-type"] == "application/json", (self.status, self.body[:200])
        error = self.json["error"]
        assert error["request_id"] == self.headers["x-request-id"]
        assert "Traceback" not in error["message"]
        assert ".py" not in error["message"]
        return f"{self.status} {error['code']}"


def form(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """The body and header of a form of (name, file name, content)."""
    body = b""
    for name, file, content in parts:
        more = f'; filename="{file}"' if file is not None else ""
        body += f'--edge\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + b"--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


@dataclass
class Served:
    """A running server."""

    port: int
    settings: ServerSettings
    models: ModelStore
    connections: set[Any]  # of uvicorn

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request of its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        """Send a body; `Accept` and others are keywords with _ for -."""
        return self.ask("POST", path, body, {name.replace("_", "-"): v for name, v in headers.items()})

    def send(self, path: str, *parts: tuple[str, str | None, bytes], **headers: str) -> Answer:
        """Send a form."""
        body, kind = form(*parts)
        return self.ask("POST", path, body, {**kind, **headers})

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send_raw(self, data: bytes) -> bytes:
        """What is answered until the connection is closed."""
        with self.connect() as raw:
            raw.sendall(data)
            return b"".join(iter(lambda: raw.recv(65536), b""))

    def works(self) -> bool:
        """Whether an image is still answered."""
        return self.post("/v1/predict", png(photograph())).status == 200


@contextlib.contextmanager
def serving(network: Network | None = None, load: Any = small_predictor, **changes: Any) -> Iterator[Served]:
    """A server on a free port of the loopback, in a thread, which ends with the block."""
    settings = ServerSettings(**{"models": {MODEL: MODEL}, "seconds": 20, **changes})
    models = ModelStore(settings, load)
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings, models, network), port=0, **server_options(settings))
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    try:
        yield Served(
            server.servers[0].sockets[0].getsockname()[1], settings, models, server.server_state.connections
        )
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
