"""The settings of the server: models, limits, and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from paddleseg_u2net.bounds import MIB


@dataclass(frozen=True)
class ServerSettings:
    """How the server works and what a request may cost.

    Args:
        models: name in requests -> known name, weight file, run folder or exported folder; the first is the
            default.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        max_models: models that are in memory at once.
        queue: requests for one model that are computed or wait; more are answered 503.
        streams: predictions of one model at once; None chooses by the processors.
        max_batch: images that wait which are predicted as one batch.
        max_bytes: of the body of a request.
        max_body_memory: bytes of all bodies, and of answers that are not read yet, above which no further
            body is received: 503.
        max_pixels: of an image.
        max_files: of a request.
        seconds: for a request, from the end of its headers until its answer is read.
        allow_urls: fetch images by their https address.
        tokens: a request must bring one of them; empty asks for none.
        cors: origins of other sites whose pages may use the server; `*` for all.
        hosts: names by which the server may be addressed; empty allows any.
        label_studio: address of a Label Studio server, whose images are fetched; None for none.
        label_studio_token: its access token.
        backend: see `load_engine`.
        precision: see `load_engine`.
        device: see `load_engine`.
    """

    models: Mapping[str, str] = field(default_factory=lambda: {"u2netp": "u2netp"})
    host: str = "127.0.0.1"
    port: int = 7000
    max_models: int = 4
    queue: int = 32
    streams: int | None = None
    max_batch: int = 1
    max_bytes: int = 32 * MIB
    max_body_memory: int = 256 * MIB
    max_pixels: int = 32 << 20
    max_files: int = 16
    seconds: float = 60
    allow_urls: bool = False
    tokens: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    label_studio: str | None = None
    label_studio_token: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    device: str | None = None

    @property
    def default_model(self) -> str:
        """The model of requests that name none."""
        return next(iter(self.models))

    def to_json(self) -> str:
        """As text, for `from_json`."""
        return json.dumps(asdict(self) | {"models": dict(self.models)})

    @classmethod
    def from_json(cls, text: str) -> ServerSettings:
        """The settings that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        for name in ("tokens", "cors", "hosts"):
            values[name] = tuple(values[name])
        return cls(**values)
