"""What surrounds every request: its identifier, who may ask, its limits, its log line.

Plain ASGI, so that it sees each message of a request and of its answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import re
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paddleseg_u2net.serving.faults import ApiFault, busy, internal
from paddleseg_u2net.serving.server import Server

log = logging.getLogger(__name__)

# answered without a token
OPEN = ("/", "/docs", "/openapi.json", "/health", "/ready", "/v2/health/live", "/v2/health/ready")
OPEN_BELOW = "/page/"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
GONE = "http.disconnect"
ABORT = "abort"  # in the state of a connection: closes it without waiting for a slow reader
DRAIN = "drain"  # in the state of a connection: waits until the client has taken nearly all that was sent
ANSWER_SECONDS = 5  # for a fault to be taken, after the time of the request has passed


def _host_of(text: str) -> str:
    """The name in a Host header, without its port; empty if it cannot be read."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


class _Gone(Exception):
    """The client has closed the connection."""


def token_of(authorization: str) -> bytes:
    """The token of a bearer, or the password of a user of any name, as Label Studio sends it."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(token).partition(b":")[2]
    return b""


class Guard:
    """Surrounds an application.

    Args:
        app: what answers.
        server: its settings and counts.
    """

    def __init__(self, app: ASGIApp, server: Server):
        self.app, self.server = app, server
        self.body_memory = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(self, scope, receive, send)
        try:
            await exchange.run()
        finally:
            self.body_memory -= exchange.held


class Exchange:
    """One request and its answer."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send):
        self.guard, self.settings, self.scope = guard, guard.server.settings, scope
        self._receive, self._send = receive, send
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = self.headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id
        self.start = time.perf_counter()
        self.received = self.sent = self.held = self.status = 0
        self.complete = self.answered = False  # the body and the answer are
        self.has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Answer within the limits, then count and log."""
        fault: ApiFault | None = None
        try:
            self.check()
            answer = self._answer_preflight() if self.scope["method"] == "OPTIONS" else self._answer()
            await asyncio.wait_for(answer, self.settings.seconds)
        except ApiFault as error:
            fault = error
        except asyncio.TimeoutError:
            fault = self._too_slow()
        except _Gone:
            self.status = self.status or 499  # as nginx logs it
        except Exception:
            log.exception("request %s failed", self.id)
            fault = None if self.status else internal(self.id)
        if fault:
            await self._send_fault(fault)
        self._record(fault)

    def check(self) -> None:
        """Raise ApiFault unless the request may be answered."""
        host = _host_of(self.headers.get("host", ""))
        if self.settings.hosts and host not in self.settings.hosts:
            raise ApiFault(
                "host_refused", f"Host {host[:80]}: not a name of this server. Fix: --allowed_hosts"
            )
        origin = self.headers.get("origin")
        if origin and not self._is_own(origin) and not {origin, "*"} & set(self.settings.cors):
            raise ApiFault("origin_refused", f"Origin {origin[:80]}: another site. Fix: u2net serve --cors")
        if self.scope["method"] != "OPTIONS" and not self._may_enter():
            header = {"WWW-Authenticate": "Bearer"}
            raise ApiFault(
                "token_needed", "no valid token. Fix: the header Authorization: Bearer TOKEN", header
            )
        length = self.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:18]) > self.settings.max_bytes:
            raise self._too_large()

    def _is_own(self, origin: str) -> bool:
        return origin.partition("://")[2] == self.headers.get("host")

    def _may_enter(self) -> bool:
        path = self.scope["path"]
        if not self.settings.tokens or path in OPEN or path.startswith(OPEN_BELOW):
            return True
        given = token_of(self.headers.get("authorization", ""))
        # all of them, so that the time does not tell which one is like it
        matches = [hmac.compare_digest(given, known.encode()) for known in self.settings.tokens]
        return any(matches)

    def _too_large(self) -> ApiFault:
        most = self.settings.max_bytes
        return ApiFault("body_too_large", f"a body of more than {most:,} bytes. Fix: smaller or fewer images")

    def _too_slow(self) -> ApiFault:
        seconds = f"{self.settings.seconds:g} s"
        if not self.complete:
            return ApiFault("upload_too_slow", f"the request was not complete after {seconds}")
        return ApiFault("too_slow", f"no answer within {seconds}. Fix: a smaller image, or ask again later")

    async def _answer(self) -> None:
        """Run the application, and stop it when the client goes."""
        app = asyncio.ensure_future(self.guard.app(self.scope, self.receive, self.send))
        try:
            await asyncio.wait({app, self.gone}, return_when=asyncio.FIRST_COMPLETED)
            if not app.done():
                raise _Gone
            await app
            await self._drain()
        finally:
            app.cancel()
            for waiting in (self.gone, getattr(self, "_watcher", None)):
                if waiting is not None:
                    waiting.cancel()

    async def _drain(self) -> None:
        """Wait for the reader: uvicorn calls an answer complete that is in the memory of the connection."""
        if drain := self.scope["state"].get(DRAIN):
            await drain()

    async def _answer_preflight(self) -> None:
        """What a browser asks before it sends a request of another site."""
        headers = [(b"content-length", b"0"), (b"allow", b"GET, POST")]
        await self.send({"type": "http.response.start", "status": 204, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    async def receive(self) -> Message:
        """The next message of the request; once it is complete, only the end of the connection is left."""
        if self.complete:
            await asyncio.shield(self.gone)
            return {"type": GONE}
        message = await self._receive()
        if message["type"] == GONE:
            self._leave()
            await asyncio.Event().wait()  # until `_answer` cancels; an exception would be answered
        size = len(message.get("body", b""))
        self.received += size
        self._hold(size)
        if self.received > self.settings.max_bytes:
            raise self._too_large()
        if self.guard.body_memory > self.settings.max_body_memory:
            raise busy("too many bytes are being received", 2)
        if not message.get("more_body"):
            self.complete = True
            self._watcher = asyncio.ensure_future(self._watch())
        return message

    def _hold(self, size: int) -> None:
        self.held += size
        self.guard.body_memory += size

    async def _watch(self) -> None:
        while (await self._receive())["type"] != GONE:
            pass
        self._leave()

    def _leave(self) -> None:
        if not (self.answered or self.gone.done()):  # uvicorn says so after each answer too
            self.gone.set_result(None)

    async def send(self, message: Message) -> None:
        """Send a message of the answer, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            more = {**HEADERS, **self._cors(), "X-Request-Id": self.id}
            if self.has_body and not self.complete:
                more["Connection"] = "close"  # the rest of the body is not read
            extra = [(k.lower().encode(), v.encode("latin-1")) for k, v in more.items()]
            message = {
                **message,
                "headers": [*message["headers"], *(row for row in extra if row[0] not in present)],
            }
        size = len(message.get("body", b""))
        self.answered = message["type"] == "http.response.body" and not message.get("more_body")
        self.sent += size
        self._hold(size)  # until the reader has it
        await self._send(message)
        if message.get("more_body"):
            await self._drain()
            self._hold(-size)

    def _cors(self) -> dict[str, str]:
        origin = self.headers.get("origin")
        if not origin or not {origin, "*"} & set(self.settings.cors):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept, X-Request-Id",
            "Access-Control-Expose-Headers": "X-Request-Id, X-Presence, X-Width, X-Height, Retry-After",
            "Vary": "Origin",
        }

    async def _send_fault(self, fault: ApiFault) -> None:
        if self.status:  # the answer has begun: breaking it off is the only way to say so
            await self._abort()
            return
        body = json.dumps(fault.body(self.id, self.scope["path"])).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **fault.headers}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        try:
            await self.send({"type": "http.response.start", "status": fault.status, "headers": raw})
            await asyncio.wait_for(self.send({"type": "http.response.body", "body": body}), ANSWER_SECONDS)
        except (OSError, asyncio.TimeoutError):
            await self._abort()

    async def _abort(self) -> None:
        """Close the connection, which a client that does not read would keep open."""
        if abort := self.scope["state"].get(ABORT):
            abort()
            await asyncio.sleep(0)  # until the connection knows

    def _record(self, fault: ApiFault | None) -> None:
        seconds = time.perf_counter() - self.start
        route = getattr(self.scope.get("route"), "path", "none")
        metrics, method = self.guard.server.metrics, self.scope["method"]
        metrics.requests.labels(route, method if method in ("GET", "POST") else "other", self.status).inc()
        metrics.seconds.labels(route).observe(seconds)
        facts: dict[str, Any] = {
            "request_id": self.id,
            "method": method,
            "path": self.scope["path"][:200],
            "status": self.status,
            "ms": round(1000 * seconds, 1),
            "bytes_in": self.received,
            "bytes_out": self.sent,
        }
        if code := fault.code if fault else self.scope["state"].get("code"):
            facts["code"] = code
        log.info("request", extra={"facts": facts})
