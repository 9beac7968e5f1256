"""SIGINT and SIGTERM during training."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Context manager that records SIGINT (Ctrl-C) and SIGTERM instead of ending the process.

    The training loop reads `received` after each step; `number` is the signal. A second
    signal ends the process at once. The previous handlers are restored on exit.

    Args:
        enabled: False leaves the handlers as they are. A distributed run needs that: the other processes
            would wait forever for one that stops by itself.
    """

    def __init__(self, enabled: bool = True):
        self.received, self.enabled = False, enabled
        self.number = int(signal.SIGINT)

    def __enter__(self) -> StopSignals:
        self.process = os.getpid()
        signals = SIGNALS if self.enabled else ()
        self.previous = {number: signal.signal(number, self._handle) for number in signals}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        error = exception[1]
        # Paddle turns what is raised in the backward of a PyLayer, as that of the oneDNN engine, into this
        if isinstance(error, OSError) and "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a data loader's worker process, which ends with the parent
            return
        self.received, self.number = True, number
        log.warning("Interrupted: finishing this step and saving. A second signal stops at once")
        signal.signal(number, signal.default_int_handler)
