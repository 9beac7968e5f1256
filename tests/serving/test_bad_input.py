"""Bad requests to the running server: each has its answer, and the next request works."""

import contextlib
import io
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from served import form, photograph, png, serving

IMAGE = png(photograph())


def lying_png(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than follow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def real_bomb() -> bytes:
    """100 million white pixels in a PNG of some 100 kB."""
    packed = io.BytesIO()
    Image.new("1", (10_000, 10_000), 1).save(packed, "PNG", optimize=True)
    return packed.getvalue()


BODIES = {
    "empty": (b"", "400 empty_body"),
    "text": (b"hello, this is no image", "422 bad_image"),
    "html": (b"<!doctype html><html></html>", "422 bad_image"),
    "svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "422 bad_image",
    ),
    "truncated": (IMAGE[: len(IMAGE) // 2], "422 bad_image"),
    "one byte": (b"\x89", "422 bad_image"),
    "lying": (lying_png(3000, 3000), "422 bad_image"),
    "lying, 100 million pixels": (lying_png(10_000, 10_000), "413 image_too_large"),
    "lying, 2^62 pixels": (lying_png(2**31 - 1, 2**31 - 1), "422 bad_image"),
    "no pixels": (lying_png(0, 7), "422 bad_image"),
    "100 million pixels": (real_bomb(), "413 image_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(served, name):
    body, code = BODIES[name]
    for answer in (served.post("/v1/predict", body), served.send("/api/remove", ("file", "a.png", body))):
        if name == "lying, 2^62 pixels":
            assert answer.status in (413, 422)
        else:
            assert answer.code == code, answer.body
    assert served.works()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/predict?modle=u2netp", "400 unknown_parameter"),
        ("/v1/predict?model=u2net", "404 unknown_model"),
        ("/v1/predict?model=../../etc/passwd", "404 unknown_model"),
        ("/v1/predict?background=/etc/passwd", "400 bad_parameter"),
        ("/v1/predict?background=file:///etc/passwd", "400 bad_parameter"),
        ("/v1/predict?outputs=everything", "400 bad_parameter"),
        ("/v1/predict?outputs=", "400 bad_parameter"),
        ("/v1/predict?threshold=2", "400 bad_parameter"),
        ("/v1/predict?threshold=nan", "400 bad_parameter"),
        ("/v1/predict?crop=-1", "400 bad_parameter"),
        ("/v1/predict?grow=1&shrink=1", "400 bad_parameter"),
        ("/v1/predict?grow=501", "400 bad_parameter"),
        ("/v1/predict?feather=inf", "400 bad_parameter"),
        ("/v1/predict?quality=0", "400 bad_parameter"),
        ("/v1/predict?drop_specks=100000001", "400 bad_parameter"),
        ("/v1/predict?quality=99999999999999999999", "400 bad_parameter"),
        ("/v1/predict?quality=%C2%B2", "400 bad_parameter"),
        ("/v1/predict?format=exe", "400 bad_parameter"),
        ("/v1/predict?format=jpg", "400 bad_parameter"),
        ("/v1/predict?bits=16&format=webp&outputs=saliency", "400 bad_parameter"),
        ("/v1/predict?quality=9&quality=10", "400 bad_parameter"),
        ("/v1/predict?" + "&".join(f"a{n}=1" for n in range(10_000 // 10)), "400 bad_parameter"),
        ("/v1/predict/..%2f..%2fetc%2fpasswd", "404 not_found"),
        ("/page/..%2f..%2f..%2fetc%2fpasswd", "404 not_found"),
        ("/nothing", "404 not_found"),
    ],
)
def test_parameters(served, path, code):
    answer = served.post(path, IMAGE)
    assert answer.code == code, answer.body
    assert "/etc" not in answer.json["error"]["message"] or path.count("etc")
    assert served.works()


def test_several_wrong_values_are_named_together(served):
    message = served.post("/v1/predict?quality=0&threshold=2&bits=9", IMAGE).json["error"]["message"]
    assert [line.split(":")[0] for line in message.splitlines()] == ["quality", "threshold", "bits"]


def test_a_message_suggests_the_name_that_was_meant(served):
    assert (
        "Did you mean 'threshold'?" in served.post("/v1/predict?treshold=1", IMAGE).json["error"]["message"]
    )


@pytest.mark.parametrize("count", [1000, 10_000])
def test_very_many_fields_of_a_form(served, count):
    fields = [(f"name{n}", None, b"1") for n in range(count)]
    assert served.send("/v1/predict", ("file", "a.png", IMAGE), *fields).code == "400 bad_request"
    assert served.works()


def test_very_long_addresses_are_closed(served):
    with contextlib.suppress(ConnectionError, OSError):
        answer = served.post("/v1/predict?" + "&".join(f"a{n}=1" for n in range(10_000)), IMAGE)
        assert answer.status in (400, 431)
    assert served.works()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
            + b"X: y\r\n" * 100_000,
            None,
        ),
        (
            b'--edge\r\nContent-Disposition: form-data; name="'
            + b"n" * 1_000_000
            + b'"\r\n\r\n1\r\n--edge--\r\n',
            None,
        ),
        (b"--edge\r\nX-" + b"h" * 1_000_000 + b": 1\r\n\r\n1\r\n--edge--\r\n", None),
        (b"--other\r\n\r\n", None),
        (b"--edge\r\nnonsense", None),
        (IMAGE, "multipart/form-data"),
        (IMAGE, "multipart/form-data; boundary=" + "b" * 8000),
        (b"", None),
    ],
    ids=[
        "many headers",
        "long name",
        "long header",
        "other edge",
        "nonsense",
        "no edge",
        "long edge",
        "empty",
    ],
)
def test_broken_forms(served, body, kind):
    start = time.perf_counter()
    answer = served.post(
        "/v1/predict", body, **{"Content-Type": kind or "multipart/form-data; boundary=edge"}
    )
    assert answer.status in (400, 413), answer.body
    assert answer.code
    assert time.perf_counter() - start < 10
    assert served.works()


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "400 bad_request"),
        ([("file", "a", IMAGE), ("file", "b", IMAGE)], "400 bad_request"),
        ([("picture", "a.png", IMAGE)], "400 bad_request"),
        ([("file", "a.png", IMAGE), ("quality", None, b"1"), ("quality", None, b"2")], "400 bad_parameter"),
        ([("file", "a.png", IMAGE), ("background", "b.png", b"no image")], "422 bad_image"),
        (
            [("file", "a", IMAGE), ("background", "b", IMAGE), ("background", None, b"red")],
            "400 bad_parameter",
        ),
        ([("file", str(n), IMAGE) for n in range(17)], "413 too_many_files"),
        ([("file", str(n), IMAGE) for n in range(100)], "413 too_many_files"),
    ],
)
def test_forms_with_other_parts(served, parts, code):
    assert served.send("/v1/predict", *parts).code == code


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"]
)
def test_other_content_types(served, kind):
    assert served.post("/v1/predict", IMAGE, **{"Content-Type": kind}).code == "415 unsupported_type"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(served, method):
    assert served.ask(method, "/v1/predict").code == "405 method_not_allowed"


def test_names_of_files_are_never_opened(served, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(np.full((9, 9, 3), 255, np.uint8)))
    answer = served.send("/v1/predict", ("file", str(secret), IMAGE))
    assert answer.headers["x-width"] == "64"  # of the content, not of the file of that name
    assert [path.name for path in tmp_path.iterdir()] == ["secret.png"]


def test_a_body_that_says_it_is_too_large_is_not_read(served):
    answer = served.send_raw(
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    assert served.works()


def test_a_body_without_length_that_grows_too_large(served):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with served.connect() as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 2 * served.settings.max_bytes:
                raw.sendall(chunk)
                sent += 65536
        assert sent < 1.5 * served.settings.max_bytes
    assert served.works()


def logged(caplog, fact, request_id="mine"):
    """A fact of a request in the log, whose line comes after the answer."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for record in [*caplog.records]:
            if record.facts["request_id"] == request_id:
                return record.facts[fact]
        time.sleep(0.01)
    raise AssertionError("no line of the log")


def chunked(served, path, kind, body):
    """What is answered to a body of chunks, without its length."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with served.connect() as raw:
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(body), 65536):
                part = body[start : start + 65536]
                raw.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        return raw.recv(4096)


def test_a_form_without_length_that_grows_too_large():
    body, kind = form(("file", "a.png", b"x" * 300_000))
    with serving(max_bytes=200_000) as small:
        assert chunked(small, "/v1/predict", kind["Content-Type"], body).startswith(b"HTTP/1.1 413")


def test_a_body_that_is_not_read_ends_the_connection(served):
    """Else the bytes that follow would hold the connection for ever."""
    answer = served.send_raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("path", "body"), [("/v1/predict", b"abc"), ("/v2/models/u2netp_msra/infer", b"{")])
def test_a_client_that_goes_within_its_body_is_no_fault_of_the_server(served, caplog, path, body):
    caplog.set_level("INFO", "paddleseg_u2net")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: mine\r\nContent-Length: 1000\r\n\r\n"
    with served.connect() as raw:
        raw.sendall(head.encode() + body)
    assert logged(caplog, "status") == 499


def test_the_log_names_the_code_of_a_fault(served, caplog):
    caplog.set_level("INFO", "paddleseg_u2net")
    served.post("/v1/predict", b"no image", X_Request_Id="mine")
    assert logged(caplog, "code") == "bad_image"


@pytest.mark.parametrize(
    ("path", "accept"), [("/v1/predict?format=webp", "*/*"), ("/api/remove", "image/webp")]
)
def test_pictures_that_are_too_long_for_their_format(served, path, accept):
    long = png(np.full((2, 17_000, 3), 99, np.uint8))
    answer = served.post(path, long, Accept=accept)
    assert answer.code == "400 bad_parameter"
    assert "Fix: another format" in answer.json["error"]["message"]


def test_connections_that_are_cut(served):
    body, kind = form(("file", "a.png", IMAGE))
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {kind['Content-Type']}\r\n\r\n"
    for end in (10, len(head), len(head) + 50, len(head) + len(body) - 1, len(head) + len(body)):
        with served.connect() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
            raw.sendall((head.encode() + body)[:end])
    assert served.works()
    until = time.monotonic() + 10
    while served.models.loaded["u2netp_msra"].queue.held and time.monotonic() < until:
        time.sleep(0.01)
    assert served.models.loaded["u2netp_msra"].queue.held == 0  # a request that was given up leaves


def test_what_is_no_http(served):
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"\0" * 1000,
    ):
        with served.connect() as raw:
            raw.sendall(nonsense + b"\r\n\r\n")
            assert b"200" not in raw.recv(4096)[:20]
    assert served.works()
