"""A worker process of tools.benchmarks.training: makes one training step per line of stdin.

It writes one line of JSON when it is ready and one after each step.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.environment.optional_imports import need, quiet
from paddleseg_u2net.environment.processes import peak_memory
from paddleseg_u2net.models.architecture import NETWORKS

# This module is also imported in an environment with PyTorch alone: Paddle and PyTorch are imported inside.


class Engine(NamedTuple):
    """How a step is computed.

    Args:
        library: a key of `LIBRARIES`.
        options: arguments of its step.
    """

    library: str
    options: Mapping[str, Any]


ENGINES = {
    "paddle": Engine("paddle", {}),
    "onednn": Engine("paddle", {"onednn": "fp32"}),
    "onednn_bf16": Engine("paddle", {"onednn": "bf16"}),
    "torch": Engine("torch", {}),
    "torch_channels_last": Engine("torch", {"channels_last": True}),
    "torch_bf16": Engine("torch", {"channels_last": True, "bf16": True}),
    "torch_compile": Engine("torch", {"channels_last": True, "compiled": True}),
}
# the worker that measures what the processor can do at most
PRODUCT = "product"
SIDE = 2048  # of its square matrices


def random_batch(batch_size: int, size: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (N, 3, size, size) float32 and labels (N, 1, size, size), the same in every process.

    Labels are float32 0 or 1 for one class, else int64 class ids.
    """
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, 3, size, size), dtype=np.float32)
    labels = rng.integers(0, max(num_classes, 2), (batch_size, 1, size, size))
    return images, labels.astype(np.float32) if num_classes == 1 else labels


def paddle_step(args: argparse.Namespace, onednn: str | None = None) -> tuple[Callable[[], float], str]:
    """Prepare a training step of this project.

    Args:
        args: the flags.
        onednn: precision of the oneDNN engine; None leaves the network to Paddle.

    Returns:
        A function that trains on a batch once and returns the loss, and the version of Paddle.
    """
    quiet()
    paddle = need("paddle")
    from paddleseg_u2net.losses.cross_entropy import CrossEntropyLoss
    from paddleseg_u2net.losses.saliency import SaliencyLoss
    from paddleseg_u2net.models import u2net
    from paddleseg_u2net.training.gradients import PaddleGradients
    from paddleseg_u2net.training.precision import amp_options

    set_device("cpu")
    paddle.seed(0)
    network = getattr(u2net, args.network)(args.num_classes)
    model = network
    if onednn:
        from paddleseg_u2net.onednn.network import OneDnnNetwork

        model = OneDnnNetwork(network, precision=onednn, threads=args.threads)
    model.train()
    types = [SaliencyLoss() if args.num_classes == 1 else CrossEntropyLoss()] * 7
    add_gradients = PaddleGradients(
        model, {"types": types, "coef": [1] * len(types)}, amp_options("fp32", "O1", "cpu")
    )
    optimizer = paddle.optimizer.Adam(1e-3, parameters=network.parameters())
    images, labels = random_batch(args.batch_size, args.size, args.num_classes)
    batch = {"img": paddle.to_tensor(images), "label": paddle.to_tensor(labels)}

    def step() -> float:
        loss, _ = add_gradients(batch)
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step, f"Paddle {paddle.__version__} (oneDNN {onednn_version()})"


def onednn_version() -> str:
    """The version of the oneDNN library that Paddle's wheel carries; `unknown` where it cannot be loaded."""
    from paddleseg_u2net.onednn.library import Unavailable, version

    try:
        return version()
    except Unavailable:
        return "unknown"


def torch_step(args: argparse.Namespace, **options: bool) -> tuple[Callable[[], float], str]:
    """Prepare the same step in PyTorch."""
    from tools.benchmarks import training_torch

    images, labels = random_batch(args.batch_size, args.size, args.num_classes)
    step = training_torch.torch_step(args.network, images, labels, args.num_classes, args.threads, **options)
    return step, training_torch.torch_version()


def product_step(args: argparse.Namespace) -> tuple[Callable[[], float], str]:
    """Prepare a product of two float32 matrices, which reaches most of a processor's peak."""
    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    result = np.empty_like(matrix)

    def step() -> float:
        np.matmul(matrix, matrix, out=result)
        return float(result[0, 0])

    return step, f"numpy {np.__version__}"


LIBRARIES: dict[str, Callable[..., tuple[Callable[[], float], str]]] = {
    "paddle": paddle_step,
    "torch": torch_step,
    PRODUCT: product_step,
}


def serve(step: Callable[[], float], version: str, answer: Callable[[dict], None]) -> None:
    """Make a step for each line of stdin."""
    answer({"version": version})
    for _ in sys.stdin:
        started, cpu_started = time.perf_counter(), time.process_time()
        loss = step()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        answer({"ms": seconds * 1e3, "cpu_ms": cpu_seconds * 1e3, "loss": loss, "peak_mib": peak_memory()})


def add_step_flags(parser: argparse.ArgumentParser, number: Callable[[str], int]) -> None:
    """Add the flags that describe a step; `number` converts the text of a number."""
    parser.add_argument("--network", choices=NETWORKS, default="U2Netp", help="(%(default)s)")
    parser.add_argument("--batch_size", type=number, default=4, help="images in a step (%(default)s)")
    parser.add_argument(
        "--size", type=number, default=160, help="height and width of an image, pixels (%(default)s)"
    )
    parser.add_argument("--threads", type=number, default=2, help="threads of each engine (%(default)s)")
    parser.add_argument("--num_classes", type=number, default=1, help="channels of an output (%(default)s)")


def main() -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=[*ENGINES, PRODUCT], required=True)
    add_step_flags(parser, int)
    args = parser.parse_args()
    # what libraries print goes to stderr
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = ENGINES.get(args.engine, Engine(PRODUCT, {}))
    step, version = LIBRARIES[engine.library](args, **engine.options)
    serve(step, version, lambda reply: print(json.dumps(reply), file=replies))
    return 0


if __name__ == "__main__":
    sys.exit(main())
