"""Chromium without a window, driven over a pipe by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]


class Page:
    """One page of a browser.

    Attributes:
        problems: what the console of the browser reports: errors, and what the policy of the page blocks.
        requests: addresses that were loaded.
    """

    def __init__(self, commands: int, answers: int):
        self.commands, self.answers = commands, answers
        self.numbers, self.rest, self.session = itertools.count(1), b"", ""
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{name}.enable")

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            self.rest += os.read(self.answers, 1 << 20)
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        found = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.problems.append(found["entry"]["text"])
        if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.problems.append(json.dumps(found))
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Load a page at a width in pixels, in the `light` or `dark` colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium and yield its page.

    Args:
        profile: folder for its files.
    """
    (read_command, commands), (answers, write_answer) = os.pipe(), os.pipe()
    # Chromium reads its commands from descriptor 3 and writes to 4
    shell = f'exec "$@" 3<&{read_command} 4>&{write_answer}'
    words = ["bash", "-c", shell, "bash", str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        words, pass_fds=(read_command, write_answer), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        os.close(read_command)
        os.close(write_answer)
        try:
            yield Page(commands, answers)
        finally:
            os.close(commands)  # it ends
            process.kill()
            os.close(answers)
