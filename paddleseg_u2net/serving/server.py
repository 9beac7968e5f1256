"""The work behind all routes: an image is decoded, waits for the engine, and is predicted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np

from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.environment.failures import reason
from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.presence import presence, without_object
from paddleseg_u2net.inference.result import CutoutSettings, Result
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.io.contents import TooManyPixels
from paddleseg_u2net.io.fetch import INSTEAD, fetch
from paddleseg_u2net.io.images import Photograph
from paddleseg_u2net.serving.faults import ApiFault
from paddleseg_u2net.serving.metrics import Metrics
from paddleseg_u2net.serving.models import ModelStore, ServedModel
from paddleseg_u2net.serving.settings import ServerSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

NAME = "image"  # what messages call the image of a request
DOWNLOADS = 8  # addresses that are fetched at once


class Job:
    """A request at work: a place in the queue of a model, and how long its stages took.

    Args:
        server: whose threads are used.
        model: predicts.
    """

    def __init__(self, server: Server, model: ServedModel):
        self.server, self.model = server, model
        self.milliseconds: dict[str, float] = {}

    async def result(self, data: bytes, settings: CutoutSettings, min_presence: float = 0) -> Result:
        """Decode and predict an image file.

        Args:
            data: its content.
            settings: of masks and cut-outs.
            min_presence: the result of an image with a lower `presence` is empty.

        Raises:
            ApiFault: no image, or one that is too large; the network's output is not finite.
        """
        photograph = await self.decode(data)
        (prediction,) = await self.predict([photograph.image])
        if min_presence:
            prediction = await self.run("judge", _judged, prediction, min_presence)
        return Result(photograph, prediction, settings)

    async def decode(self, data: bytes) -> Photograph:
        """See `result`."""
        if not data:
            raise ApiFault("empty_body", "no image: expected the content of an image file, got 0 bytes")
        try:
            return await self.run("decode", self.model.predictor.open, NAME, self._max_pixels, data)
        except TooManyPixels as error:
            raise ApiFault("image_too_large", str(error)) from error
        except (ValueError, OSError) as error:
            raise ApiFault("bad_image", str(error)) from error

    @property
    def _max_pixels(self) -> int:
        return self.server.settings.max_pixels

    async def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict images (H, W, C) uint8 as the model takes them."""
        start = time.perf_counter()
        try:
            found = await asyncio.gather(*map(self.model.batcher, images))
        except TypeError as error:
            raise ApiFault("bad_image", str(error)) from error
        except FloatingPointError as error:
            raise ApiFault("bad_output", str(error)) from error
        self._took("predict", start)
        self.server.metrics.images.labels(self.model.name).inc(len(images))
        return found

    async def encode(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that draws pictures; see `run`.

        Raises:
            ApiFault: a picture that its format cannot hold.
        """
        try:
            return await self.run("encode", function, *args)
        except ValueError as error:  # whose message names flags
            raise ApiFault("bad_parameter", str(error).replace("--", "")) from error

    async def run(self, stage: str, function: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread; the time counts as that of a stage.

        Raises:
            ApiFault: there is not enough memory.
        """
        start = time.perf_counter()
        try:
            found = await self.server.in_thread(function, *args)
        except (MemoryError, cv2.error) as error:
            raise ApiFault("no_memory", f"{stage}: {reason(error)}. Fix: a smaller image") from error
        self._took(stage, start)
        return found

    def _took(self, stage: str, start: float) -> None:
        seconds = time.perf_counter() - start
        self.milliseconds[stage] = self.milliseconds.get(stage, 0) + 1000 * seconds
        self.server.metrics.stages.labels(stage).observe(seconds)


def _judged(prediction: Prediction, least: float) -> Prediction:
    """The prediction, or an empty one if its image shows no object."""
    if presence(prediction.saliency) >= least:
        return prediction
    return replace(prediction, probabilities=without_object(prediction.probabilities, prediction.multilabel))


class Server:
    """What all routes share.

    Args:
        settings: models and limits.
        models: see `ModelStore`; None for those of the settings.
        network: how addresses are resolved and connected; tests hand in another.
    """

    def __init__(
        self, settings: ServerSettings, models: ModelStore | None = None, network: Network | None = None
    ):
        self.settings, self.network = settings, network or Network()
        self.models = models or ModelStore(settings)
        self.metrics = Metrics()
        # one more than processors: a thread that reads a file does not compute
        self._threads = ThreadPoolExecutor(processors() + 1, "image")
        self._downloads = ThreadPoolExecutor(DOWNLOADS, "download")

    @asynccontextmanager
    async def job(self, model: str | None = None) -> AsyncIterator[Job]:
        """Take a place in the queue of a model, and wait for its turn.

        Args:
            model: its name; None for the default.

        Raises:
            ApiFault: an unknown model, or no free place.
        """
        served = await self.models.get(model)
        gauge = self.metrics.queue.labels(served.name)
        with gauge.track_inprogress():
            async with served.queue.place():
                yield Job(self, served)

    async def result(
        self,
        model: str | None,
        data: bytes,
        settings: CutoutSettings = CutoutSettings(),  # noqa: B008
    ) -> Result:
        """Decode and predict an image file; see `Job.result`."""
        async with self.job(model) as job:
            return await job.result(data, settings)

    async def predictions(self, model: str | None, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict images (H, W, C) uint8; see `Job.predict`."""
        async with self.job(model) as job:
            return await job.predict(images)

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that computes outside of the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def fetch(self, url: str) -> bytes:
        """The content of an https address on the public internet.

        Raises:
            ApiFault: addresses are not allowed, or it could not be fetched.
        """
        if not self.settings.allow_urls:
            raise ApiFault("urls_off", "this server fetches no addresses. Fix: send the image itself")
        return await self.download(fetch, url)

    async def download(self, function: Callable[..., bytes], *args: Any) -> bytes:
        """Download by `fetch` or `fetch_from`, within the limits of the settings; see `fetch`."""
        settings, loop = self.settings, asyncio.get_running_loop()
        limits = {"max_bytes": settings.max_bytes, "seconds": settings.seconds / 2, "network": self.network}
        try:
            return await loop.run_in_executor(self._downloads, partial(function, *args, **limits))
        except DownloadError as error:
            raise ApiFault("url_failed", str(error).replace(INSTEAD, "send the image itself")) from error

    def close(self) -> None:
        """Let all threads end."""
        self.models.close()
        self._threads.shutdown(wait=False)
        self._downloads.shutdown(wait=False)
