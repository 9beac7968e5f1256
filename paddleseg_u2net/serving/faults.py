"""Faults of requests: each has a code that programs can rely on, and a message for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddleseg_u2net.errors import terminal_safe

KSERVE = "/v2/"  # addresses of the Open Inference Protocol
STATUS = {
    "bad_request": 400,
    "bad_parameter": 400,
    "unknown_parameter": 400,
    "empty_body": 400,
    "token_needed": 401,
    "origin_refused": 403,
    "urls_off": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "upload_too_slow": 408,
    "body_too_large": 413,
    "image_too_large": 413,
    "too_many_files": 413,
    "unsupported_type": 415,
    "host_refused": 421,
    "bad_image": 422,
    "url_failed": 422,
    "internal": 500,
    "bad_output": 500,
    "busy": 503,
    "model_unavailable": 503,
    "no_memory": 503,
    "too_slow": 504,
}


class ApiFault(Exception):
    """A request that cannot be answered.

    Args:
        code: a key of STATUS; stable.
        message: what was found, what was expected, and a fix; without paths of this machine.
        headers: of the answer.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.code, self.message, self.headers = code, terminal_safe(message), dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def body(self, request_id: str, path: str) -> dict[str, Any]:
        """The answer, as JSON is made of it.

        Args:
            request_id: of the request.
            path: of its address; below KSERVE clients expect `error` to be the message.
        """
        facts = {"code": self.code, "message": self.message, "request_id": request_id}
        return {"error": facts.pop("message"), **facts} if f"{path}/".startswith(KSERVE) else {"error": facts}


def busy(what: str, seconds: float) -> ApiFault:
    """The fault of a server that has no room now.

    Args:
        what: has no room.
        seconds: after which it is worth asking again.
    """
    wait = max(1, round(seconds))
    return ApiFault("busy", f"{what}. Fix: ask again in {wait} s", {"Retry-After": str(wait)})


def internal(request_id: str) -> ApiFault:
    """The fault of a mistake in the server; its log has the traceback."""
    return ApiFault("internal", f"a fault of the server. Fix: report it with the request_id {request_id}")
