"""The application: routes, faults as JSON, and the guard around them."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from paddleseg_u2net.environment.provenance import package_versions
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.serving.faults import ApiFault, internal
from paddleseg_u2net.serving.guard import Guard
from paddleseg_u2net.serving.models import ModelStore
from paddleseg_u2net.serving.server import Server
from paddleseg_u2net.serving.settings import ServerSettings

ROUTES = ("system", "rembg", "v1", "kserve", "label_studio", "page", "docs")


def create_app(
    settings: ServerSettings, models: ModelStore | None = None, network: Network | None = None
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        settings: models and limits.
        models: see `Server`.
        network: see `Server`.
    """
    server = Server(settings, models, network)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not server.models.loaded:
            server.models.open_first()
        yield
        server.close()

    app = FastAPI(
        title="u2net",
        description="Salient objects, cut-outs and segmentation by U²-Net.",
        version=next(iter(package_versions().values())),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page loads scripts from elsewhere
        redoc_url=None,
    )
    app.add_exception_handler(ApiFault, _answer_fault)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_mistake)  # which the guard logs
    for name in ROUTES:
        importlib.import_module(f"paddleseg_u2net.serving.routes.{name}").add_routes(app, server)
    return Guard(app, server)


async def _answer_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, ApiFault)
    return _rendered(request, fault, fault.status)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """An address that there is not, or not by this method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    what = f"{request.method} {request.url.path[:80]}: {HTTPStatus(error.status_code).phrase}"
    fault = ApiFault(code, f"{what}. Fix: /docs lists what there is", error.headers)
    return _rendered(request, fault, error.status_code)


async def _answer_mistake(request: Request, error: Exception) -> JSONResponse:
    return await _answer_fault(request, internal(request.state.request_id))


def _rendered(request: Request, fault: ApiFault, status: int) -> JSONResponse:
    request.state.code = fault.code  # for the log
    return JSONResponse(fault.body(request.state.request_id, request.url.path), status, fault.headers)
