"""Answers of hostile web servers, kind by kind: generators of bytes to send and seconds to wait."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

CONTENT = bytes(range(256)) * 400
COMPLETE, REFUSED, EITHER = "complete", "refused", "complete or refused"
LONG_S = 30.0  # far beyond what the tests set as limits
PAUSE_S = 0.03
Answer = Iterator[bytes | float]


class Request(NamedTuple):
    """What is asked: the path, the first byte wanted, and the number of the request in its case."""

    path: str
    start: int
    visit: int


def head(status: str = "200 OK", **headers: object) -> bytes:
    """A status line and headers; `_` in a name stands for `-`."""
    lines = [f"HTTP/1.1 {status}", *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def full(**headers: object) -> bytes:
    return head(Content_Length=len(CONTENT), **headers)


def drip(content: bytes, seconds: float = PAUSE_S) -> Answer:
    for byte in content:
        yield bytes([byte])
        yield seconds


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


KINDS: dict[str, tuple[str, Callable[[Random, Request], Answer]]] = {}


def kind(expected: str):
    def add(function):
        KINDS[function.__name__] = expected, function
        return function

    return add


@kind(COMPLETE)
def whole_file(rng, request):
    yield full() + CONTENT


@kind(COMPLETE)
def small_pieces(rng, request):
    yield full()
    size = rng.randrange(500, 5000)
    for at in range(0, len(CONTENT), size):
        yield CONTENT[at : at + size]


@kind(REFUSED)
def silence(rng, request):
    yield LONG_S


@kind(REFUSED)
def silence_in_the_body(rng, request):
    yield full() + CONTENT[: rng.randrange(len(CONTENT))]
    yield LONG_S


@kind(REFUSED)
def dripping_body(rng, request):
    yield full() + CONTENT[: rng.randrange(3)]
    yield from drip(CONTENT, rng.uniform(PAUSE_S / 3, PAUSE_S))


@kind(REFUSED)
def dripping_body_without_length(rng, request):
    yield head()
    yield from drip(CONTENT)


@kind(REFUSED)
def dripping_status_line(rng, request):
    yield from drip(full() * 9)


@kind(REFUSED)
def dripping_headers(rng, request):
    yield b"HTTP/1.1 200 OK\r\n"
    for number in itertools.count():
        yield b"X-%d: y\r\n" % number
        yield PAUSE_S


@kind(REFUSED)
def endless_headers(rng, request):
    yield b"HTTP/1.1 200 OK\r\n"
    for number in itertools.count():
        yield b"X-%d: %b\r\n" % (number, b"y" * rng.randrange(60000))


@kind(REFUSED)
def endless_header_line(rng, request):
    yield rng.choice([b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX: ", b""])
    while True:
        yield b"y" * 5000


@kind(REFUSED)
def endless_continue(rng, request):
    while True:
        yield head("100 Continue", X="y" * rng.randrange(999)) * 99


@kind(REFUSED)
def endless_body(rng, request):
    yield head(Server=rng.random())
    while True:
        yield CONTENT


@kind(REFUSED)
def endless_chunks(rng, request):
    yield head(Transfer_Encoding="chunked")
    piece = chunk(rng.randbytes(rng.randrange(1, 5000))) * 50
    while True:
        yield piece


@kind(REFUSED)
def endless_chunk_size(rng, request):
    yield head(Transfer_Encoding="chunked")
    while True:
        yield rng.choice([b"0", b"f"]) * 5000


@kind(REFUSED)
def long_chunk_extensions(rng, request):
    yield head(Transfer_Encoding="chunked")
    while True:
        yield chunk(b"x", b";" + b"y" * rng.randrange(30000, 60000))


@kind(EITHER)
def endless_trailers(rng, request):
    yield head(Transfer_Encoding="chunked") + chunk(CONTENT) + b"0\r\n"
    while True:
        yield b"X: y\r\n" * 99


@kind(REFUSED)
def dripping_chunks(rng, request):
    yield head(Transfer_Encoding="chunked")
    for byte in CONTENT:
        yield chunk(bytes([byte]))
        yield PAUSE_S


# -- lengths ----------------------------------------------------------------------------------------------


@kind(COMPLETE)
def longer_than_announced(rng, request):
    yield full() + CONTENT + b"more" * rng.randrange(1, 9999)


@kind(REFUSED)
def shorter_than_announced(rng, request):
    yield full() + CONTENT[: rng.randrange(len(CONTENT))]


@kind(REFUSED)
def shorter_without_length(rng, request):
    yield head() + CONTENT[: rng.randrange(len(CONTENT))]


@kind(REFUSED)
def wrong_length(rng, request):
    yield head(Content_Length=rng.choice([10**17, 2**63, len(CONTENT) - 1, 5, 0])) + CONTENT


@kind(EITHER)
def length_that_is_no_number(rng, request):
    yield (
        head(
            Content_Length=rng.choice(["-1", "1e9", "0x10", "²", "", "1, 2", "+5", "1_0", "9" * 5000, 10**30])
        )
        + CONTENT
    )


@kind(EITHER)
def two_lengths(rng, request):
    yield (
        head(**{"Content_Length": len(CONTENT), "content_length": rng.randrange(2 * len(CONTENT))}) + CONTENT
    )


@kind(COMPLETE)
def length_and_chunks(rng, request):
    yield head(Content_Length=rng.randrange(10**6), Transfer_Encoding="chunked")
    yield chunk(CONTENT[:999]) + chunk(CONTENT[999:]) + b"0\r\n\r\n"


@kind(REFUSED)
def bad_chunk_size(rng, request):
    sizes = [b"-5", b"zz", b"", b"f" * 17, b"99999999999", b"0x10", b" "]
    yield head(Transfer_Encoding="chunked") + chunk(CONTENT[:99]) + rng.choice(sizes) + b"\r\n" + CONTENT


@kind(REFUSED)
def truncated_chunks(rng, request):
    yield head(Transfer_Encoding="chunked") + chunk(CONTENT)[: rng.randrange(len(CONTENT))]


# -- contents ---------------------------------------------------------------------------------------------


@kind(REFUSED)
def compressed_bomb(rng, request):
    body = gzip.compress(bytes(rng.randrange(1, 40) << 20), 1)
    yield (
        head(Content_Length=len(body), Content_Encoding=rng.choice(["gzip", "deflate", "br", "x-gzip"]))
        + body
    )


@kind(COMPLETE)
def encoding_that_is_not_decoded(rng, request):
    yield full(Content_Encoding=rng.choice(["gzip", "zstd", "identity", "\x1b[2J"])) + CONTENT


@kind(REFUSED)
def web_page(rng, request):
    body = rng.choice([b"<html>", b"\xef\xbb\xbf \n<!DOCTYPE html>", b"<script>"]) + CONTENT
    yield head(Content_Length=len(body)) + body[:3]
    yield PAUSE_S
    yield body[3:]


@kind(REFUSED)
def other_content(rng, request):
    at = rng.randrange(len(CONTENT))
    yield full() + CONTENT[:at] + bytes([CONTENT[at] ^ 1 << rng.randrange(8)]) + CONTENT[at + 1 :]


@kind(REFUSED)
def other_status(rng, request):
    codes = [
        "103 Early",
        "201 Created",
        "202 Accepted",
        "204 No",
        "206 Part",
        "300 Many",
        "304 Not",
        "305 Proxy",
    ]
    codes += [
        "401 Who",
        "403 No",
        "404 \x1b[31mno",
        "416 No",
        "429 Later",
        "500 Oh",
        "503 Busy",
        "999 ?",
        "099 ?",
    ]
    yield head(rng.choice(codes), Content_Length=len(CONTENT), Retry_After=10**9) + CONTENT


@kind(REFUSED)
def no_http(rng, request):
    starts = [
        b"",
        b"\r\n",
        b"\0" * 99,
        b"SSH-2.0-x\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/9 x y\r\n\r\n",
    ]
    yield rng.choice([*starts, b"HTTP/1.1 \xff\xff\r\n\r\n", rng.randbytes(rng.randrange(2000))])


@kind(EITHER)
def odd_headers(rng, request):
    odd = [b"X\0Y: z", b": empty", b"no colon", b"ETag: " + b"e" * 60000, b"X: \x1b]0;title\x07", b" folded"]
    yield full()[:-2] + rng.choice([*odd, b"\xff: \xfe", b"Set-Cookie: a=b"]) + b"\r\n\r\n" + CONTENT


# -- redirects; the tests name the hosts ------------------------------------------------------------------


def moved(rng, to: str) -> bytes:
    return head(f"{rng.choice([301, 302, 303, 307, 308])} Moved", Location=to, Content_Length=0)


@kind(REFUSED)
def redirect_to_itself(rng, request):
    yield moved(rng, request.path)


@kind(REFUSED)
def endless_redirects(rng, request):
    yield moved(rng, f"/{rng.randrange(10**9)}/{request.visit}")


@kind(REFUSED)
def slow_redirects(rng, request):
    yield 0.2
    yield moved(rng, f"/{request.visit}")


@kind(REFUSED)
def redirect_with_endless_body(rng, request):
    yield head(f"{rng.choice([301, 302, 307])} Moved", Location="/" if request.visit else "/next")
    while True:
        yield bytes(1 << 20)


@kind(COMPLETE)
def one_redirect(rng, request):
    yield (
        full() + CONTENT if request.visit else moved(rng, rng.choice(["/next", "?x", "a/../b", "//{host}/x"]))
    )


@kind(REFUSED)
def redirect_elsewhere(rng, request):
    targets = [
        "http://{other}/x",
        "//{other}",
        "https://{other}/",
        "HTTP://{other}:80",
        "http://{other}:22/x",
    ]
    yield moved(rng, rng.choice(targets))


@kind(REFUSED)
def redirect_to_another_scheme(rng, request):
    targets = [
        "file:///etc/hostname",
        "ftp://{host}/x",
        "data:,x",
        "gopher://{host}",
        "javascript:1",
        "file:x",
    ]
    yield moved(rng, rng.choice([*targets, "http:", "http://", "jar:http://{host}!/", "\\\\{host}\\x"]))


@kind(REFUSED)
def redirect_to_a_bad_address(rng, request):
    targets = ["http://[::1", "http://{host}:99999/", "http://a:b@{host}/x", "http://x@{host}", "//{host}:x/"]
    targets += [
        "http://%00/",
        "http://" + "a" * 70 + "/",
        "http://" + "a." * 2000,
        "http://.../",
        "http:///x",
    ]
    targets += ["http://\x1b[31m/", "http://" + "y" * 60000, "http://*/", "http://a b/"]
    yield moved(rng, rng.choice(targets))


@kind(REFUSED)
def redirect_to_nowhere(rng, request):
    yield head("302 Moved", **rng.choice([{}, {"Location": ""}, {"Location": "#"}, {"URI": "x:y"}]))


# -- parts ------------------------------------------------------------------------------------------------


def part(request: Request, content: bytes = CONTENT, shift: int = 0, etag: str = '"one"') -> bytes:
    span = f"bytes {request.start + shift}-{len(content) - 1}/{len(content)}"
    rest = content[request.start :]
    return head("206 Part", Content_Range=span, ETag=etag, Content_Length=len(rest)) + rest


def cut(rng, request: Request) -> bytes:
    return full(ETag='"one"') + CONTENT[: rng.randrange(1, len(CONTENT))]


@kind(COMPLETE)
def cut_and_resumed(rng, request):
    answer = part(request) if request.start else full(ETag='"one"') + CONTENT
    body = answer.index(b"\r\n\r\n") + 5
    yield answer if request.visit == 3 else answer[: rng.randrange(body, len(answer) + 1)]


@kind(REFUSED)
def cut_for_ever(rng, request):
    yield part(request)[: 200 + rng.randrange(9)] if request.start else cut(rng, request)


@kind(REFUSED)
def resumed_with_another_file(rng, request):
    other = rng.choice([CONTENT[::-1], CONTENT[1:], CONTENT * 2])
    yield part(request, other, etag=rng.choice(['"one"', '"two"'])) if request.start else cut(rng, request)


@kind(REFUSED)
def part_from_elsewhere(rng, request):
    yield part(request, shift=rng.choice([-1, 1, 999])) if request.visit else cut(rng, request)


@kind(REFUSED)
def part_that_was_not_asked_for(rng, request):
    yield part(request._replace(start=rng.randrange(1, 999)))


@kind(REFUSED)
def range_that_cannot_be_read(rng, request):
    spans = [
        "bytes */*",
        "bytes 5-1/9",
        "",
        "items 0-1/2",
        f"bytes {request.start}-9/x",
        "bytes " + "9" * 6000,
    ]
    if request.visit:
        yield head("206 Part", Content_Range=rng.choice(spans), Content_Length=len(CONTENT)) + CONTENT
    else:
        yield cut(rng, request)


@kind(REFUSED)
def range_not_satisfiable(rng, request):
    yield head("416 No", Content_Range="bytes */5", Content_Length=0) if request.visit else cut(rng, request)


@kind(COMPLETE)
def range_ignored(rng, request):
    yield full(ETag='"one"') + CONTENT if request.visit else cut(rng, request)
