"""The description of the API at `/docs`: plain HTML of the app's OpenAPI document, without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.serving.routes.page import HEADERS

if TYPE_CHECKING:
    from fastapi import FastAPI

TEMPLATE = Path(__file__).parents[1] / "page" / "docs.html.j2"
METHODS = ("get", "post", "put", "patch", "delete")
LIMITS = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}


def type_text(schema: dict[str, Any]) -> str:
    """What values a schema takes, in words: `integer ≥ 0 or null`, `png | webp`, `array of Model`."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(map(type_text, schema[several]))
    text = schema.get("type", "any")
    text = " or ".join(text) if isinstance(text, list) else text
    if text == "array":
        return f"array of {type_text(schema.get('items', {}))}"
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "file"
    return " ".join([text, *(f"{sign} {schema[name]}" for name, sign in LIMITS.items() if name in schema)])


def rows(schema: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """The properties of an object, as rows of a table; none for other schemas."""
    schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return [
        {"name": name, "schema": value, "required": name in schema.get("required", ())}
        for name, value in schema.get("properties", {}).items()
    ]


def render(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document.

    Args:
        document: as `FastAPI.openapi` returns it.

    Raises:
        MissingPackage: jinja2 is not installed.
    """
    jinja2 = need("jinja2")
    schemas = document.get("components", {}).get("schemas", {})
    calls = [
        {"method": method.upper(), "path": path, **item[method]}
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["type_text"] = type_text
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(info=document["info"], calls=calls, schemas=schemas, rows=rows)


def add_routes(app: FastAPI, server: Any) -> None:
    """Serve the page; it is rendered at the first request, when all routes are known."""
    from starlette.requests import Request
    from starlette.responses import HTMLResponse

    pages: list[str] = []

    async def docs(request: Request) -> HTMLResponse:
        if not pages:
            pages.append(render(app.openapi()))
        return HTMLResponse(pages[0], headers=HEADERS)

    app.add_route("/docs", docs, methods=["GET", "HEAD"], include_in_schema=False)
