"""Label Studio's machine-learning backend: brush masks for the images of its tasks.

Source: label_studio_ml/api.py of HumanSignal/label-studio-ml-backend; what Label Studio sends and how it
takes answers: label_studio/ml/api_connector.py and models.py of HumanSignal/label-studio.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response

from paddleseg_u2net.errors import counted
from paddleseg_u2net.io.fetch import fetch_from
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.labelling import (
    Click,
    Control,
    clicks_of,
    match_labels,
    parse_config,
    to_label_studio,
)
from paddleseg_u2net.serving.server import Server
from paddleseg_u2net.serving.tensors import read_json

log = logging.getLogger(__name__)

BASES = (
    "",
    "/label_studio/{model}",
)  # of the address that Label Studio is given; the second one names a model
MAX_TASKS = 1000  # of a request; Label Studio sends 100 at most
AT_ONCE = 2  # tasks of a request: one is decoded while another one is predicted
STORED = re.compile(r"/(data|storage-data)/")  # paths of Label Studio's own files
UPWARDS = re.compile(r"(^|[/\\=])\.\.?([/\\&]|$)|%2e|%5c|\\", re.IGNORECASE)


def add_routes(app: FastAPI, server: Server) -> None:
    """Add `/setup`, `/predict` and `/webhook`, and the same for a named model below `/label_studio/NAME`."""

    async def json_of(request: Request) -> dict[str, Any]:
        return await server.in_thread(read_json, await request.body(), "what Label Studio sends")

    async def setup(request: Request, model: str | None = None) -> dict[str, Any]:
        body = await json_of(request)
        backend = await _backend(server, model, body.get("schema"))
        return {"model_version": backend.version, "labels": backend.named}

    async def predict(request: Request, model: str | None = None) -> Response:
        body = await json_of(request)
        backend = await _backend(server, model, body.get("label_config"))
        params = body.get("params")
        clicks = clicks_of(params.get("context") if isinstance(params, Mapping) else None)
        found = await backend.predict(_tasks(body), clicks)
        # in a thread, and without FastAPI's own encoder: a mask is a list of thousands of numbers
        return Response(await server.in_thread(json.dumps, found), media_type="application/json")

    async def webhook(request: Request) -> dict[str, str]:
        body = await json_of(request)
        if body.get("action") == "START_TRAINING":
            raise ApiFault(
                "bad_request", "this server does not train. Fix: export the annotations, then u2net train"
            )
        return {"status": "ignored"}  # Label Studio tells every backend of each annotation

    async def health(model: str) -> dict[str, str]:
        await server.models.get(model)
        return {"status": "UP", "model_class": model}

    for base in BASES:
        for name, answer in (("setup", setup), ("predict", predict), ("webhook", webhook)):
            app.add_api_route(f"{base}/{name}", answer, methods=["POST"], tags=["Label Studio"])
    app.add_api_route(f"{BASES[1]}/health", health, methods=["GET"], tags=["Label Studio"])


def _tasks(body: Mapping[str, Any]) -> list[Any]:
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise ApiFault(
            "bad_request", 'tasks: expected a list with at least one. Fix: [{"id": 1, "data": {…}}]'
        )
    if len(tasks) > MAX_TASKS:
        raise ApiFault(
            "too_many_files", f"{len(tasks)} tasks, expected at most {MAX_TASKS}. Fix: smaller batches"
        )
    return tasks


async def _backend(server: Server, model: str | None, config: Any) -> _Backend:
    """What answers a request: a model, and the labelling config of the project."""
    if not isinstance(config, str):
        raise ApiFault("bad_request", "label_config: expected the labelling config of the project, as text")
    served = await server.models.get(model)
    control = await server.in_thread(parse_config, config)
    predictor = served.predictor
    labels = match_labels(control.labels, predictor.class_names, predictor.multilabel)
    return _Backend(server, served.name, predictor.class_names, control, labels)


@dataclass(frozen=True)
class _Backend:
    """One model for one labelling config."""

    server: Server
    version: str
    names: list[str]
    control: Control
    labels: Mapping[int, str]

    @property
    def named(self) -> dict[str, str]:
        """The label of each class that has one, by its name."""
        return {self.names[index]: label for index, label in self.labels.items()}

    async def predict(self, tasks: list[Any], clicks: list[Click]) -> dict[str, Any]:
        """Predict tasks; the result of one that failed is an empty list, so that Label Studio stores nothing.

        Raises:
            ApiFault: all of them failed; the fault of the first one.
        """
        limit = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(*(self._guarded(task, clicks, limit) for task in tasks))
        faults = [(task, one) for task, one in zip(tasks, found, strict=True) if isinstance(one, ApiFault)]
        if len(faults) == len(tasks):
            raise faults[0][1]
        if faults:
            log.warning("%s of %d failed; first: %s", counted(len(faults), "task"), len(tasks), faults[0][1])
        return {
            "results": [[] if isinstance(one, ApiFault) else one for one in found],
            "model_version": self.version,
            "errors": [
                {"task": _number(task), "code": fault.code, "message": fault.message}
                for task, fault in faults
            ],
        }

    async def _guarded(
        self, task: Any, clicks: list[Click], limit: asyncio.Semaphore
    ) -> dict[str, Any] | ApiFault:
        async with limit:
            try:
                return await self._predict(task, clicks)
            except ApiFault as fault:
                return fault

    async def _predict(self, task: Any, clicks: list[Click]) -> dict[str, Any]:
        data = await _image(self.server, task, self.control.field)
        async with self.server.job(self.version) as job:
            photograph = await job.decode(data)
            (prediction,) = await job.predict([photograph.image])
            found = await job.run("encode", to_label_studio, prediction, self.control, self.labels, clicks)
        return found | {"model_version": self.version}


def _number(task: Any) -> int | None:
    number = task.get("id") if isinstance(task, Mapping) else None
    return number if isinstance(number, int) else None


async def _image(server: Server, task: Any, field: str) -> bytes:
    """The content of a task's image: of a data: address, the web, or the Label Studio of the settings.

    Raises:
        ApiFault: none of these, or it could not be fetched.
    """
    data = task.get("data") if isinstance(task, Mapping) else None
    source = data.get(field) if isinstance(data, Mapping) else None
    if not isinstance(source, str):
        raise ApiFault(
            "bad_request", f"data.{field[:80]}: expected the address of an image, got {type(source).__name__}"
        )
    if source.startswith("data:"):
        return await server.in_thread(_inline, source)
    home = (server.settings.label_studio or "").rstrip("/")
    path = source.removeprefix(home) if home else source
    if STORED.match(path):
        return await _stored(server, home, path)
    if source.lower().startswith(("http:", "https:")):
        return await server.fetch(source)
    raise ApiFault(
        "bad_request",
        f"data.{field[:80]}: expected https://…, data:image/…;base64,… or a file of Label Studio (/data/…), "
        f"got {source[:80]}. Fix: images that Label Studio serves itself, or by https",
    )


def _inline(source: str) -> bytes:
    """The content of a data: address."""
    head, _, text = source.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError(head)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ApiFault(
            "bad_image", "a data: address that is not base64. Fix: data:image/png;base64,…"
        ) from error


async def _stored(server: Server, home: str, path: str) -> bytes:
    """The content of a file of the Label Studio that the operator has named."""
    if not home:
        raise ApiFault(
            "urls_off",
            f"{path[:80]}: a file of Label Studio, which this server does not know. "
            "Fix: u2net serve --label_studio https://ADDRESS --label_studio_token_file FILE",
        )
    if UPWARDS.search(path):
        raise ApiFault("bad_request", f"{path[:80]}: no path of a file in Label Studio")
    return await server.download(fetch_from, home, path, _authorization(server.settings.label_studio_token))


def _authorization(token: str | None) -> str | None:
    """The header for a token; those of three parts are JSON Web Tokens."""
    return f"{'Bearer' if token.count('.') == 2 else 'Token'} {token}" if token else None
