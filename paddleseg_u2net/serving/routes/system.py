"""Health, readiness, counts, and the models."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from paddleseg_u2net.serving.server import Server


def add_routes(app: FastAPI, server: Server) -> None:
    """Add the routes of this module."""

    @app.get("/health", tags=["system"], summary="Whether the process answers")
    async def health() -> dict[str, str]:
        return {"status": "UP"}  # Label Studio asks for this word

    @app.get("/ready", tags=["system"], summary="Whether models are in memory")
    async def ready(response: Response) -> dict[str, Any]:
        loaded = list(server.models.loaded)
        response.status_code = 200 if loaded else 503
        return {"ready": bool(loaded), "models": loaded}

    @app.get("/metrics", tags=["system"], summary="Counts, as Prometheus reads them")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", tags=["v1"], summary="The models that requests may name")
    async def models() -> dict[str, list[dict[str, Any]]]:
        rows = []
        for name in server.models.names:
            loaded = server.models.loaded.get(name)
            rows.append(
                {
                    "name": name,
                    "default": name == server.settings.default_model,
                    "loaded": loaded is not None,
                    "classes": loaded.predictor.num_classes if loaded else None,
                }
            )
        return {"models": rows}
