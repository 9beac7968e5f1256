"""Our own API: one image, or several."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from paddleseg_u2net.io.encoding import FORMATS
from paddleseg_u2net.matting.ground import Background
from paddleseg_u2net.serving.answers import (
    JSON,
    JSON_LINES,
    MEDIA,
    ZIP,
    Picture,
    as_json,
    choose,
    draw,
    facts_of,
    mask_facts,
    picture_format,
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
Row = tuple[dict[str, Any], dict[str, Picture]]  # what is said and drawn of an image
PAUSE = 0.1  # seconds until an image of a batch asks again for a place in the queue
NEWLINE = b"\n"
UNSAFE = re.compile(r"[^\w.-]+")


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of this module."""

    @app.post(
        "/v1/predict",
        tags=["v1"],
        summary="Predict an image: a picture, or JSON with mask, presence, classes and timing",
        openapi_extra={"parameters": described(V1), "requestBody": IMAGE_BODY},
        response_class=Response,
    )
    async def predict(request: Request) -> Response:
        upload = await read_upload(request, server)
        accept = request.headers.get("accept", "")
        wanted = read_v1(parameters_of(request, upload.fields), upload.background)
        as_text = choose(accept, [*_pictures(wanted), JSON]) == JSON
        if not as_text:
            wanted = wanted.but(format=picture_format(accept, wanted))
        async with server.job(wanted.model) as job:
            facts, pictures = await _predict(job, upload.image, wanted, as_text)
            if as_text:
                return Response(await server.in_thread(as_json, facts, pictures), media_type=JSON)
        ((kind, content),) = pictures.values()
        return Response(content, media_type=MEDIA[kind], headers=_headers(facts))

    @app.post(
        "/v1/batch",
        tags=["v1"],
        summary="Predict several images: a ZIP file, or JSON lines, sent as they are ready",
        openapi_extra={"parameters": described(V1), "requestBody": FILES_BODY},
        response_class=Response,
    )
    async def batch(request: Request) -> Response:
        upload = await read_upload(request, server)
        wanted = read_v1(parameters_of(request, upload.fields), upload.background)
        if not upload.files:
            raise ApiFault("bad_request", "no images. Fix: a form with a part 'file' for each")
        await server.models.get(wanted.model)  # an unknown one is a fault of the whole request
        media = choose(request.headers.get("accept", ""), [ZIP, JSON_LINES])
        rows = _rows(server, upload, wanted)
        body = (_zipped if media == ZIP else _lines)(server, rows)
        return StreamingResponse(body, media_type=media)


def _pictures(wanted: Wanted) -> list[str]:
    """The media types of a picture; none of several outputs, which only JSON holds."""
    return list(MEDIA.values()) if len(wanted.outputs) == 1 else []


async def _predict(job: Job, data: bytes, wanted: Wanted, as_text: bool = True) -> Row:
    """What is said and drawn of an image; without `as_text` what the headers of a picture say."""
    cutout = wanted.settings.cutout
    if wanted.background is not None:  # here, as requests without a turn hold no decoded image
        background = await job.decode(wanted.background)
        cutout = replace(cutout, background=Background(background.image))
    result = await job.result(data, cutout, wanted.min_presence)
    wanted = wanted.but(palette=job.model.palette)

    def drawn() -> Row:
        facts = facts_of(result, job.model.name) | (mask_facts(result, wanted) if as_text else {})
        return facts, draw(result, wanted)

    facts, pictures = await job.encode(drawn)
    return {**facts, "timing_ms": {name: round(ms, 2) for name, ms in job.milliseconds.items()}}, pictures


def _headers(facts: dict[str, Any]) -> dict[str, str]:
    """What a picture cannot say of itself."""
    notes = "; ".join(facts["notes"]).encode("ascii", "replace").decode()[:500]
    return {
        "X-Presence": f"{facts['presence']:.4f}",
        "X-Width": str(facts["width"]),
        "X-Height": str(facts["height"]),
        "Server-Timing": ", ".join(f"{name};dur={ms:.1f}" for name, ms in facts["timing_ms"].items()),
        **({"X-Notes": notes} if notes else {}),
    }


async def _rows(server: Server, upload: Upload, wanted: Wanted) -> AsyncIterator[Row]:
    """The results of several images in their order; a fault of one is in its row."""
    # as many as keep the engine at work; the others wait until the client has taken these
    ahead = asyncio.Semaphore(server.models.streams + 1)

    async def row(name: str, data: bytes) -> Row:
        await ahead.acquire()
        try:
            facts, pictures = await _when_free(server, data, wanted)
        except ApiFault as fault:
            return {"file": name, "error": {"code": fault.code, "message": fault.message}}, {}
        return {"file": name, **facts}, pictures

    tasks = [asyncio.ensure_future(row(name, data)) for name, data in upload.files]
    try:
        for task in tasks:
            yield await task
            ahead.release()
    finally:
        for task in tasks:
            task.cancel()


async def _when_free(server: Server, data: bytes, wanted: Wanted) -> Row:
    """Predict an image as soon as a place is free, within the time of the request."""
    while True:
        try:
            async with server.job(wanted.model) as job:
                return await _predict(job, data, wanted)
        except ApiFault as fault:
            if fault.code != "busy":
                raise
        await asyncio.sleep(PAUSE)


async def _lines(server: Server, rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    async for facts, pictures in rows:
        yield await server.in_thread(as_json, facts, pictures) + NEWLINE


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


async def _zipped(server: Server, rows: AsyncIterator[Row]) -> AsyncIterator[bytes]:
    """A ZIP file with the pictures, and `results.jsonl` with the rest."""
    sink, lines = _Sink(), []
    with zipfile.ZipFile(sink, "w") as archive:  # stored: pictures are compressed already
        async for facts, pictures in rows:
            facts["outputs"] = {}
            for name, (kind, content) in pictures.items():
                path = f"{name}/{len(lines) + 1:04d}_{_plain(facts['file'])}{FORMATS[kind].suffix}"
                await server.in_thread(archive.writestr, path, content)
                facts["outputs"][name] = path
            lines.append((await server.in_thread(json.dumps, facts)).encode() + NEWLINE)
            yield sink.take()
        archive.writestr("results.jsonl", b"".join(lines))
    yield sink.take()


def _plain(name: str) -> str:
    """The stem of a file's name, of letters that are safe in an archive."""
    stem = re.split(r"[/\\]", name)[-1].rsplit(".", 1)[0]
    return UNSAFE.sub("_", stem).strip("._")[:60] or "image"
