"""Measure what each config of this project costs to train on this CPU: a step, memory, and the whole run.

python -m tools.benchmarks.training_cost
python -m tools.benchmarks.training_cost --configs u2netp_finetune u2netp_drishti --steps 10

A step is that of `tools.benchmarks.training` by the engine that `u2net train` chooses for U²-Net on a CPU,
with the network, the batch size and the input size of the config, on random images. Reading and augmenting
images is not part of it, nor are evaluations. Ctrl-C ends it with the table of the configs measured so far.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.benchmark import table
from paddleseg_u2net.cli.flags import positive_int
from paddleseg_u2net.config.loader import CONFIGS, load_config
from tools.benchmarks.measuring import benchmark_parser
from tools.benchmarks.training import Worker, machine

FOLDER = CONFIGS / "RGB" / "U2Net"
ENGINE = "onednn"


def input_size(config: Mapping[str, Any]) -> int:
    """Height and width of the images of a batch: those of the last transform that sets a size."""
    sizes = [
        step[key]
        for step in config["train_dataset"]["transforms"]
        for key in ("target_size", "crop_size")
        if key in step
    ]
    return sizes[-1][0]


def measure(name: str, threads: int, steps: int) -> dict[str, str | float]:
    """The row of a config."""
    config = load_config(FOLDER / f"{name}.yaml")
    flags = argparse.Namespace(
        network=config["model"]["type"],
        num_classes=config["model"]["num_classes"],
        batch_size=config["batch_size"],
        size=input_size(config),
        threads=threads,
    )
    with Worker(ENGINE, flags) as worker:
        worker.wait_until_ready()
        for _ in range(1 + steps):  # memory is allocated in the first
            worker.step()
    seconds = float(np.median([reply["ms"] for reply in worker.replies[1:]])) / 1e3
    return {
        "config": name,
        "network": flags.network,
        "batch": f"{flags.batch_size} x {flags.size}",
        "s a step": f"{seconds:.2f}",
        "images/s": f"{flags.batch_size / seconds:.2f}",
        "peak MiB": f"{worker.replies[-1]['peak_mib']:.0f}",
        "steps": f"{config['iters']:,}",
        "hours": f"{config['iters'] * seconds / 3600:,.1f}",
    }


def report(args: argparse.Namespace) -> None:
    """Measure the configs and print the table; an interruption ends it with those that are measured.

    Raises:
        KeyboardInterrupt: interrupted before the first config was measured.
    """
    rows = []
    try:
        for config in tqdm(args.configs, disable=None):
            rows.append(measure(config, args.threads, args.steps))
    except KeyboardInterrupt:
        if not rows:
            raise
    print(f"{machine()}, {args.threads} threads\n")
    print(table(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    parser = benchmark_parser("training_cost", __doc__)
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    parser.add_argument("--configs", nargs="+", choices=names, default=names, help="(all)", metavar="NAME")
    parser.add_argument("--threads", type=positive_int, default=2, help="threads of the engine (%(default)s)")
    parser.add_argument("--steps", type=positive_int, default=3, help="steps to measure (%(default)s)")
    args = parser.parse_args(argv)
    return guarded(lambda: report(args))


if __name__ == "__main__":
    sys.exit(main())
