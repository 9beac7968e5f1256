"""Chromium without a window, driven by Playwright; what its pages load and report is recorded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from paddleseg_u2net.environment.optional_imports import has

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READY = bool(CHROMIUM) and has("playwright")
needs_browser = pytest.mark.skipif(
    not READY, reason="needs Chromium and Playwright: apt-get install chromium; pip install playwright"
)


@dataclass
class Record:
    """What the pages of a browser did.

    Attributes:
        problems: what the console reports: errors, and what the policy of a page blocks. That an answer has
            a status of 400 or above is left out.
        requests: addresses that were requested.
    """

    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, context: Any) -> None:
        """Record what the pages of a context of Playwright do."""
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        context.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "server responded with a status" not in message.text:
            self.problems.append(message.text)


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium: a `Browser` of Playwright.

    While it is open, `asyncio.run` cannot be called in the same thread: keep it no longer than for a module.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()
