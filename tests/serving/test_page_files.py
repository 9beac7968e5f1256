"""The files of the page and the description of the API, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from served import serving

import paddleseg_u2net
from paddleseg_u2net.serving.routes.docs import render, type_text

FOLDER = Path(paddleseg_u2net.__file__).parent / "serving" / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture(scope="module")
def client():
    with (
        serving() as found,
        httpx.Client(base_url=f"http://127.0.0.1:{found.port}", trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/page/style.css", "text/css"), ("/page/page.js", "text/javascript")],
)
def test_files_have_a_type_a_policy_and_an_etag(client, path, kind):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    etag = answer.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == answer.content
    head = client.head(path)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(answer.content)))


def test_nothing_else_of_the_package_is_served(client):
    for path in ("/page/", "/page/docs.html.j2", "/page/../app.py", "/page/%2e%2e/app.py", "/index.html"):
        assert client.get(path).status_code == 404


def luminance(color: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_that_of_wcag_in_both_colour_schemes():
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", block)) for block in style.split("@media", 2)[:2])
    for colors in (light, dark):
        values = {name: luminance(color) for name, color in colors.items()}
        for front, back, least in [
            *((ink, on, 4.5) for ink in ("ink", "muted", "accent", "error") for on in ("page", "card")),
            ("on_accent", "accent", 4.5),
            ("edge", "page", 3),
            ("edge", "field", 3),
        ]:
            dim, bright = sorted((values[front], values[back]))
            assert (bright + 0.05) / (dim + 0.05) >= least, (front, back)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "any"),
        ({"type": "integer", "minimum": 0, "maximum": 9}, "integer ≥ 0 ≤ 9"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"enum": ["png", 1]}, "png | 1"),
        ({"const": "UP"}, "UP"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Model"}}, "array of Model"),
        ({"type": "string", "format": "binary"}, "file"),
    ],
)
def test_types_are_put_into_words(schema, text):
    assert type_text(schema) == text


def test_the_description_of_the_api_is_escaped_and_follows_references():
    body = {"$ref": "#/components/schemas/Body"}
    call = {
        "summary": "<script>1</script>",
        "operationId": "call",
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "Well", "content": {"application/json": {"schema": body}}}},
    }
    properties = {"count": {"type": "integer", "default": 3, "description": "of images"}}
    page = render(
        {
            "info": {"title": "T", "version": "1"},
            "paths": {"/a": {"post": call}},
            "components": {"schemas": {"Body": {"properties": properties, "required": ["count"]}}},
        }
    )
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("of images") == 2  # as the body, and as a schema
    assert 'href="#schema-Body"' in page
    assert "required" in page
