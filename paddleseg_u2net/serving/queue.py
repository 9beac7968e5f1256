"""The queue in front of each model: bounded, in order, and left by requests that are given up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.serving.faults import busy

Predict = Callable[[Sequence[np.ndarray]], list[Prediction]]
SMOOTHING = 0.2  # weight of the newest request in the mean time of a request


class WorkQueue:
    """Requests for one model.

    A request holds a place from before its image is decoded until its answer is encoded. Only so many of them
    have decoded images in memory as keep the engine and the threads at work; the others wait in order. One
    that is cancelled leaves.

    Args:
        most: places.
        active: requests that are worked on at once.
    """

    def __init__(self, most: int, active: int):
        self.most, self.active, self.held = most, active, 0
        self.seconds = 0.5  # mean time of a request at work
        self._turn = asyncio.Semaphore(active)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place and wait for its turn.

        Raises:
            ApiFault: no place is free.
        """
        if self.held >= self.most:
            wait = self.held * self.seconds / self.active
            raise busy(f"all {self.most} places of the queue are taken", wait)
        self.held += 1
        try:
            async with self._turn:
                start = time.monotonic()
                yield
                self.seconds += SMOOTHING * (time.monotonic() - start - self.seconds)
        finally:
            self.held -= 1


class Batcher:
    """Predicts images in the order in which they come, those that wait as one batch.

    Args:
        predict: takes images (H, W, C) uint8 and gives one prediction for each.
        streams: calls of `predict` at once.
        most: images of a batch.
    """

    def __init__(self, predict: Predict, streams: int, most: int = 1):
        self._predict, self._streams, self._most = predict, streams, most
        self._waiting: dict[asyncio.Future[Prediction], np.ndarray] = {}  # in order
        self._pool = ThreadPoolExecutor(streams, "predict")
        self._running: set[asyncio.Task] = set()

    async def __call__(self, image: np.ndarray) -> Prediction:
        """Predict an image (H, W, C) uint8; the errors of `predict` are raised here."""
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting[future] = image
        if len(self._running) < self._streams:
            self._running.add(asyncio.create_task(self._run()))
        try:
            return await future
        finally:
            self._waiting.pop(future, None)  # where the request is given up

    async def _run(self) -> None:
        while batch := self._take():
            futures, images = zip(*batch, strict=True)
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._pool, self._predict, images)
            except Exception as error:  # whatever an engine raises
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future, prediction in zip(futures, found, strict=True):
                    if not future.done():
                        future.set_result(prediction)
        # not when the task is done, which is later: an image that comes between would wait for ever
        self._running.discard(asyncio.current_task())

    def _take(self) -> list[tuple[asyncio.Future[Prediction], np.ndarray]]:
        """The images of the next batch."""
        return [(future, self._waiting.pop(future)) for future in [*self._waiting][: self._most]]

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
