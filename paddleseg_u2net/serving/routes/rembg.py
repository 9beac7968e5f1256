"""The API of `rembg s`, so that its clients need no change.

Source: rembg/commands/s_command.py@2.0.86.
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from paddleseg_u2net.inference.outputs import encode_output
from paddleseg_u2net.serving.answers import MEDIA, picture_format
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.parameters import REMBG, Wanted, described, read_rembg
from paddleseg_u2net.serving.routes.v1 import IMAGE_BODY
from paddleseg_u2net.serving.server import Server
from paddleseg_u2net.serving.uploads import parameters_of, read_upload

URL = {"name": "url", "in": "query", "required": True, "schema": {"type": "string"}}


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of this module."""

    @app.get(
        "/api/remove",
        tags=["rembg"],
        summary="Cut out the objects of an image at an https address, if the server fetches addresses",
        openapi_extra={"parameters": [URL, *described(REMBG)]},
        response_class=Response,
    )
    async def remove_url(request: Request) -> Response:
        given = parameters_of(request)
        url = given.pop("url", "")
        if not url:
            raise ApiFault("bad_parameter", "url: not given. Fix: /api/remove?url=https://…")
        wanted = wanted_of(request, given)  # before anything is fetched
        return await answer(wanted, await server.fetch(url))

    @app.post(
        "/api/remove",
        tags=["rembg"],
        summary="Cut out the objects of an image",
        openapi_extra={"parameters": described(REMBG), "requestBody": IMAGE_BODY},
        response_class=Response,
    )
    async def remove_file(request: Request) -> Response:
        upload = await read_upload(request, server)
        if upload.background is not None:
            raise ApiFault("bad_request", "a file in the part 'background'. Fix: POST /v1/predict, or bgc")
        return await answer(wanted_of(request, parameters_of(request, upload.fields)), upload.image)

    def wanted_of(request: Request, given: dict[str, str]) -> Wanted:
        wanted = read_rembg(given)
        return wanted.but(format=picture_format(request.headers.get("accept", ""), wanted))

    async def answer(wanted: Wanted, data: bytes) -> Response:
        async with server.job(wanted.model) as job:
            result = await job.result(data, wanted.settings.cutout)
            picture = await job.encode(encode_output, wanted.outputs[0], result, wanted.settings)
        return Response(picture, media_type=MEDIA[wanted.settings.format or "png"])
