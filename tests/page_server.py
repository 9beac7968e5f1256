"""The server in a thread of the tests' process, with models that need no weights."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn

from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.serving.app import create_app
from paddleseg_u2net.serving.models import ModelStore
from paddleseg_u2net.serving.settings import ServerSettings


def red(batch: np.ndarray) -> np.ndarray:
    """As slow as a network."""
    time.sleep(0.3)
    return batch[:, :1] / 255


CONFIG = {"model": {"num_classes": 1}, "val_dataset": {"transforms": []}}
# what is salient to each model, by its name: (N, 3, h, w) in [0, 255] -> (N, 1, h, w) in [0, 1]
MODELS = {
    "bright": lambda batch: np.clip(batch.mean(1, keepdims=True) / 128 - 0.5, 0, 1),
    "red": red,
}


@contextmanager
def serve(**settings: Any) -> Iterator[str]:
    """Serve MODELS; yields the address.

    Args:
        settings: of `ServerSettings`.
    """
    given = ServerSettings({name: name for name in MODELS}, **settings)
    models = ModelStore(given, load=lambda path, *_: Predictor(MODELS[path], CONFIG))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(create_app(given, models), log_config=None, timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"  # connections wait until it is started
        finally:
            server.should_exit = True
            thread.join()
