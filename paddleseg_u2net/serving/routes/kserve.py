"""The Open Inference Protocol (KServe v2), by which clients of OpenVINO Model Server and Triton ask."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from paddleseg_u2net.environment.provenance import package_versions
from paddleseg_u2net.export.repositories import VERSION
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.server import Server
from paddleseg_u2net.serving.tensors import HEADER, Limits, describe, parse_request, write_answer


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of this module."""
    router = APIRouter(prefix="/v2", tags=["kserve"])

    @router.get("", summary="The server")
    async def metadata() -> dict[str, Any]:
        name, version = next(iter(package_versions().items()))
        return {"name": name, "version": version, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", summary="Whether the process answers")
    async def live() -> Response:
        return Response()

    @router.get("/health/ready", summary="Whether models are in memory")
    async def ready() -> Response:
        return Response(status_code=200 if server.models.loaded else 503)

    # addresses without a version mean the only one that there is
    for path in ("/models/{model}", "/models/{model}/versions/{version}"):
        shown = "version" not in path  # in /docs

        @router.get(path, summary="Names, types and shapes of a model's tensors", include_in_schema=shown)
        async def model_metadata(request: Request, model: str) -> dict[str, Any]:
            check_version(request)
            predictor = (await server.models.get(model)).predictor
            return describe(model, predictor.channels, predictor.num_classes)

        @router.get(f"{path}/ready", summary="Whether a model may be asked", include_in_schema=shown)
        async def model_ready(request: Request, model: str) -> Response:
            check_version(request)
            await server.models.get(model)  # it is in memory then
            return Response()

        @router.post(
            f"{path}/infer",
            summary="Probabilities of photographs (N, H, W, 3) uint8",
            include_in_schema=shown,
        )
        async def infer(request: Request, model: str) -> Response:
            check_version(request)
            check_encoding(request)
            body = await request.body()
            async with server.job(model) as job:
                predictor, settings = job.model.predictor, server.settings
                limits = Limits(predictor.channels, settings.max_files, settings.max_pixels)
                asked = await job.run("decode", parse_request, body, request.headers.get(HEADER), limits)
                found = await job.predict(list(asked.images))
                content, length = await job.run("encode", write_answer, model, asked, found)
            if length is None:
                return Response(content, media_type="application/json")
            return Response(content, headers={HEADER: str(length)}, media_type="application/octet-stream")

    app.include_router(router)


def check_version(request: Request) -> None:
    """Raise ApiFault for another version than there is."""
    version = request.path_params.get("version", VERSION)
    if version != VERSION:
        raise ApiFault(
            "not_found", f"version '{version[:40]}': unknown. Fix: {VERSION}, or an address without one"
        )


def check_encoding(request: Request) -> None:
    """Raise ApiFault for a compressed body, whose size would not be bounded by that of the request."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiFault(
            "unsupported_type", f"Content-Encoding {encoding[:40]}: not read. Fix: send it uncompressed"
        )
