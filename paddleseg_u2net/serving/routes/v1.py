"""Our own API: one image, or several."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from paddleseg_u2net.inference.outputs import encode_output
from paddleseg_u2net.inference.presence import presence
from paddleseg_u2net.io.encoding import FORMATS
from paddleseg_u2net.matting.ground import Background
from paddleseg_u2net.serving.answers import (
    JSON,
    JSON_LINES,
    MEDIA,
    ZIP,
    as_json,
    choose,
    picture_format,
    with_format,
)
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.parameters import V1, Wanted, described, read_v1
from paddleseg_u2net.serving.server import Job, Server
from paddleseg_u2net.serving.uploads import Upload, parameters_of, read_upload

BINARY = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": BINARY}, "required": ["file"]}
        },
        "application/octet-stream": {"schema": BINARY},
    },
}
FILES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "array", "items": BINARY}}}
        }
    },
}
UNSAFE = re.compile(r"[^\w.-]+")


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of this module."""

    @app.post(
        "/v1/predict",
        tags=["v1"],
        summary="Predict an image: a picture, or JSON with mask, presence, classes and timing",
        openapi_extra={"parameters": described(V1), "requestBody": IMAGE_BODY},
    )
    async def predict(request: Request) -> Response:
        upload = await read_upload(request, server)
        accept, wanted = request.headers.get("accept", ""), await _wanted(request, upload, server)
        as_text = choose(accept, [*_pictures(wanted), JSON]) == JSON
        if not as_text:
            wanted = with_format(wanted, picture_format(accept, wanted))
        async with server.job(wanted.model) as job:
            if as_text:
                return JSONResponse(await _json(job, upload.image, wanted))
            return await _picture(job, upload.image, wanted)

    @app.post(
        "/v1/batch",
        tags=["v1"],
        summary="Predict several images: a ZIP file, or JSON lines, sent as they are ready",
        openapi_extra={"parameters": described(V1), "requestBody": FILES_BODY},
    )
    async def batch(request: Request) -> Response:
        upload = await read_upload(request, server)
        wanted = await _wanted(request, upload, server)
        if not upload.files:
            raise ApiFault("bad_request", "no images. Fix: a form with a part 'file' for each")
        await server.models.get(wanted.model)  # an unknown one is a fault of the whole request
        media = choose(request.headers.get("accept", ""), [ZIP, JSON_LINES])
        rows = _rows(server, upload, with_format(wanted, wanted.settings.format or "png"))
        body = _zipped(rows) if media == ZIP else _lines(rows)
        return StreamingResponse(body, media_type=media)


def _pictures(wanted: Wanted) -> list[str]:
    """The media types of a picture; none of several outputs, which only JSON holds."""
    return list(MEDIA.values()) if len(wanted.outputs) == 1 else []


async def _wanted(request: Request, upload: Upload, server: Server) -> Wanted:
    """What a request asks for."""
    background = None
    given = parameters_of(request, upload.fields)
    if upload.background is not None:
        async with server.job(given.get("model")) as job:
            photograph = await job.decode(upload.background)
        background = Background(photograph.image)
    return read_v1(given, background)


async def _json(job: Job, data: bytes, wanted: Wanted) -> dict[str, Any]:
    result = await job.result(data, wanted.settings.cutout)
    found = await job.run("encode", as_json, result, wanted, job.model.name)
    return {**found, "timing_ms": {name: round(ms, 2) for name, ms in job.milliseconds.items()}}


async def _picture(job: Job, data: bytes, wanted: Wanted) -> Response:
    result = await job.result(data, wanted.settings.cutout)
    picture = await job.run("encode", encode_output, wanted.outputs[0], result, wanted.settings)
    height, width = result.saliency.shape
    headers = {
        "X-Presence": f"{presence(result.prediction.saliency):.4f}",
        "X-Width": str(width),
        "X-Height": str(height),
        "Server-Timing": ", ".join(f"{name};dur={ms:.1f}" for name, ms in job.milliseconds.items()),
    }
    media = MEDIA["png" if wanted.settings.format is None else wanted.settings.format]
    return Response(picture, media_type=media, headers=headers)


async def _rows(server: Server, upload: Upload, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
    """The results of several images in their order; a fault of one is in its row."""

    async def row(name: str, data: bytes) -> dict[str, Any]:
        try:
            async with server.job(wanted.model) as job:
                return {"file": name, **await _json(job, data, wanted)}
        except ApiFault as fault:
            return {"file": name, "error": {"code": fault.code, "message": fault.message}}

    ahead = asyncio.Semaphore(server.models.streams + 1)  # so that the engine does not wait for this client

    async def limited(name: str, data: bytes) -> dict[str, Any]:
        async with ahead:
            return await row(name, data)

    tasks = [asyncio.ensure_future(limited(name, data)) for name, data in upload.files]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield json.dumps(row).encode() + b"\n"


class _Sink(io.RawIOBase):
    """What a ZIP file is written to: gives back what was written since."""

    def __init__(self):
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self.parts)
        self.parts.clear()
        return data


async def _zipped(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """A ZIP file with the pictures, and `results.jsonl` with the rest."""
    sink, lines, number = _Sink(), [], 0
    with zipfile.ZipFile(sink, "w") as archive:  # stored: pictures are compressed already
        async for row in rows:
            number += 1
            for name, picture in row.pop("outputs", {}).items():
                suffix = next(FORMATS[key].suffix for key, media in MEDIA.items() if media == picture["type"])
                path = f"{name}/{number:04d}_{_plain(row['file'])}{suffix}"
                archive.writestr(path, base64.b64decode(picture["base64"]))
                row.setdefault("outputs", {})[name] = path
            lines.append(json.dumps(row))
            yield sink.take()
        archive.writestr("results.jsonl", "\n".join(lines) + "\n")
    yield sink.take()


def _plain(name: str) -> str:
    """The stem of a file's name, of letters that are safe in an archive."""
    stem = re.split(r"[/\\]", name)[-1].rsplit(".", 1)[0]
    return UNSAFE.sub("_", stem).strip("._")[:60] or "image"
