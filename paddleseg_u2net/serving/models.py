"""The models of the server: loaded once, by name, and no more in memory than is allowed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.errors import suggest
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.serving.faults import ApiFault, busy
from paddleseg_u2net.serving.queue import Batcher, WorkQueue
from paddleseg_u2net.serving.settings import ServerSettings

log = logging.getLogger(__name__)

THREADS_PER_STREAM = 4  # beyond, one image at 320 x 320 gains little by more threads


@dataclass(frozen=True)
class ServedModel:
    """A model in memory.

    Args:
        name: in requests.
        predictor: reads and predicts images.
        queue: of its requests.
        batcher: predicts.
        palette: (256, 3) uint8 RGB, the colour of each class.
    """

    name: str
    predictor: Predictor
    queue: WorkQueue
    batcher: Batcher
    palette: np.ndarray


class ModelStore:
    """The models that requests may name.

    Args:
        settings: of the server.
        load: path, settings, streams -> predictor; tests hand in another.
    """

    def __init__(
        self,
        settings: ServerSettings,
        load: Callable[[str, ServerSettings, int], Predictor] | None = None,
    ):
        self.settings, self._load = settings, load or _load
        self.streams = settings.streams or max(1, processors() // THREADS_PER_STREAM)
        self.loaded: OrderedDict[str, ServedModel] = OrderedDict()  # the last used one last
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    @property
    def names(self) -> list[str]:
        """What requests may name; the first is the default."""
        return list(self.settings.models)

    def open_first(self) -> None:
        """Load models until `max_models` are in memory; raises what `Predictor` raises."""
        for name in self.names[: self.settings.max_models]:
            self.loaded[name] = self._open(name)

    async def get(self, name: str | None = None) -> ServedModel:
        """The model of a name, which is loaded if it is not in memory.

        Args:
            name: None for the default.

        Raises:
            ApiFault: an unknown name, a model that cannot be loaded now, or no room for it.
        """
        name = name or self.settings.default_model
        if name not in self.settings.models:
            found = name[:80]
            raise ApiFault("unknown_model", f"model '{found}': unknown.{suggest(found, self.names)}")
        while not (model := self.loaded.get(name)):
            if name not in self._loading:
                self._loading[name] = asyncio.create_task(self._load_named(name))
            # goes on where this request is given up: else each retry would begin again, beside the last one
            await asyncio.shield(self._loading[name])
        self.loaded.move_to_end(name)
        return model

    async def _load_named(self, name: str) -> None:
        try:
            async with self._lock:
                self._make_room()
                loop = asyncio.get_running_loop()
                self.loaded[name] = await loop.run_in_executor(None, self._open, name)
        except (OSError, ValueError, ImportError, RuntimeError) as error:  # the last one of engines
            log.error("model %s: %s", name, error)
            message = f"model '{name}' cannot be loaded. Fix: the log of the server says why"
            raise ApiFault("model_unavailable", message, {"Retry-After": "60"}) from error
        finally:
            del self._loading[name]

    def _make_room(self) -> None:
        """Drop the model that was not used for longest, if there are as many as allowed."""
        if len(self.loaded) < self.settings.max_models:
            return
        idle = next((name for name, model in self.loaded.items() if not model.queue.held), None)
        if idle is None:
            raise busy(f"all {self.settings.max_models} models in memory are at work", 5)
        self.loaded.pop(idle).batcher.close()
        log.info("Model %s left the memory, to make room", idle)

    def _open(self, name: str) -> ServedModel:
        settings, streams = self.settings, self.streams
        predictor = self._load(settings.models[name], settings, streams)
        # as many more as decode and encode while the engine works
        queue = WorkQueue(settings.queue, active=streams + processors())
        batcher = Batcher(predictor.predict, streams, settings.max_batch)
        return ServedModel(name, predictor, queue, batcher, make_palette(predictor.colors))

    def close(self) -> None:
        """Let all threads end."""
        for model in self.loaded.values():
            model.batcher.close()
        self.loaded.clear()


def _load(path: str, settings: ServerSettings, streams: int) -> Predictor:
    return Predictor(
        path,
        device=settings.device,
        backend=settings.backend,
        precision=settings.precision,
        parallel=streams,
    )
