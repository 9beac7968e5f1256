"""Log lines of the server: JSON for programs, or plain text for a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time

from paddleseg_u2net.environment.interruptions import LogHandler
from paddleseg_u2net.errors import printable

KINDS = ("json", "plain")


def configure(kind: str, line: str) -> None:
    """Let this package and uvicorn log to stdout in one form.

    Args:
        kind: one of KINDS.
        line: format of a plain line.
    """
    own, engine = logging.getLogger("paddleseg_u2net"), logging.getLogger("uvicorn")
    own.handlers = own.handlers or [LogHandler(sys.stdout)]  # a worker process has none
    own.propagate = engine.propagate = False
    own.setLevel(logging.INFO)
    engine.setLevel(logging.WARNING)
    for handler in own.handlers:
        handler.setFormatter(PlainLines(line, "%Y-%m-%d %H:%M:%S") if kind == "plain" else JsonLines())
    engine.handlers[:] = own.handlers


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, message, and the facts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{stamp}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line["message"] = record.getMessage()
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class PlainLines(logging.Formatter):
    """The project's log line; of a request its method, path, status and time."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        facts = getattr(record, "facts", None)
        if facts is None:
            return super().format(record)
        code = f" {facts['code']}" if "code" in facts else ""
        record = logging.makeLogRecord(record.__dict__)
        path = printable(facts["path"])
        record.msg = f"{facts['method']} {path} {facts['status']}{code} {facts['ms']:.0f} ms"
        return super().format(record)
