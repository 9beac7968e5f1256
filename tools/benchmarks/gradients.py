"""Compare one training step by each CPU engine with the same step in float64.

OMP_NUM_THREADS=1 python -m tools.benchmarks.gradients

U²-Net† with its initial random weights; the loss is the summed binary cross-entropy of the seven outputs. The
distance of two results is the Euclidean norm of their difference, relative to that of the float64 result: for
the outputs the mean of the seven, for the gradients that of all together. Rounding makes ReLUs change sign,
each time with a jump in the gradients. Their distances therefore differ much from batch to batch.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.benchmark import table
from paddleseg_u2net.cli.flags import positive_int
from paddleseg_u2net.environment.devices import set_device
from paddleseg_u2net.environment.optional_imports import need, quiet
from tools.benchmarks.measuring import benchmark_parser

ENGINES = ("oneDNN", "Paddle")


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Relative distance of two arrays."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def step(
    network: Any, call: Callable[..., Any], images: np.ndarray, masks: np.ndarray
) -> tuple[list, np.ndarray]:
    """The seven outputs of a step, and all gradients together, in the network's dtype."""
    paddle = need("paddle")
    outputs = call(paddle.to_tensor(images))
    target = paddle.to_tensor(masks)
    losses = [paddle.nn.functional.binary_cross_entropy_with_logits(logits, target) for logits in outputs]
    paddle.add_n(losses).backward()
    # the bias of a convolution before BatchNorm has the gradient 0
    trained = [
        p for name, p in network.named_parameters() if p.grad is not None and "conv_s1.bias" not in name
    ]
    return [logits.numpy() for logits in outputs], np.concatenate([p.grad.numpy().ravel() for p in trained])


def compare(size: int, seed: int) -> dict[str, tuple[float, float]]:
    """Distances of the outputs and of the gradients from those in float64, by engine."""
    paddle = need("paddle")
    from paddleseg_u2net.models.u2net import U2Netp
    from paddleseg_u2net.onednn.network import OneDnnNetwork

    def make(dtype: Any) -> Any:
        paddle.seed(seed)
        network: Any = U2Netp(1)
        network.train()
        return network.to(dtype=dtype)

    rng = np.random.default_rng(seed)
    images = rng.standard_normal((2, 3, size, size))
    masks = (rng.random((2, 1, size, size)) > 0.5).astype(np.float64)
    exact = make("float64")
    outputs, gradients = step(exact, exact, images, masks)
    found = {}
    for engine in ENGINES:
        network = make("float32")
        call = OneDnnNetwork(network, threads=1) if engine == "oneDNN" else network
        own, own_gradients = step(network, call, images.astype(np.float32), masks.astype(np.float32))
        found[engine] = float(np.mean([*map(distance, own, outputs)])), distance(own_gradients, gradients)
    return found


def report(size: int, batches: int) -> None:
    """Compare and print the table."""
    quiet()
    set_device("cpu")
    found = [compare(size, seed) for seed in tqdm(range(batches), disable=None)]
    rows = []
    for engine in ENGINES:
        outputs, gradients = zip(*(by_engine[engine] for by_engine in found), strict=True)
        row = {"engine": engine, "outputs, median": f"{statistics.median(outputs):.1e}"}
        row |= {"gradients, median": f"{statistics.median(gradients):.1e}"}
        row |= {"gradients, least": f"{min(gradients):.1e}", "gradients, most": f"{max(gradients):.1e}"}
        rows.append(row)
    print(f"{batches} batches of 2 x {size} x {size}\n")
    print(table(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison and return the exit code."""
    parser = benchmark_parser("gradients", __doc__)
    parser.add_argument("--size", type=positive_int, default=96, help="height and width (%(default)s)")
    parser.add_argument("--batches", type=positive_int, default=8, help="number of batches (%(default)s)")
    args = parser.parse_args(argv)
    return guarded(lambda: report(args.size, args.batches))


if __name__ == "__main__":
    sys.exit(main())
