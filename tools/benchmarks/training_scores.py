"""Compare the scores that training on a CPU ends with, by engine: several runs each, from different seeds.

python -m tools.benchmarks.training_scores
python -m tools.benchmarks.training_scores --engines onednn onednn_bf16 --seeds 5

Each run trains U²-Net† from random weights on drawn fundus photographs and measures the last weights on those
held out. Runs of one seed start from the same weights and see the same images. Differences between engines
should lie within the spread between seeds, since rounding alone makes runs drift apart.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.benchmark import table
from paddleseg_u2net.cli.flags import positive_int
from paddleseg_u2net.cli.train import main as train
from paddleseg_u2net.datasets.synthetic import draw_dataset
from paddleseg_u2net.training.history import HISTORY, read_history
from tools.benchmarks.measuring import benchmark_parser

ENGINES = {
    "paddle": ("paddle", "fp32"),
    "onednn": ("onednn", "fp32"),
    "onednn_bf16": ("onednn", "bf16"),
}
SCORES = ("mIoU", "Dice")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags."""
    parser = benchmark_parser("training_scores", __doc__)
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=["paddle", "onednn"], help="(paddle onednn)"
    )
    parser.add_argument("--seeds", type=positive_int, default=3, help="runs of each engine (%(default)s)")
    parser.add_argument("--iters", type=positive_int, default=100, help="steps of a run (%(default)s)")
    parser.add_argument("--size", type=positive_int, default=64, help="height and width (%(default)s)")
    parser.add_argument("--images", type=positive_int, default=60, help="drawn photographs (%(default)s)")
    return parser.parse_args(argv)


def run(folder: Path, data: Path, engine: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """Train once; returns the scores on the images held out, and the seconds."""
    kind, precision = ENGINES[engine]
    resize = {"type": "Resize", "target_size": [args.size, args.size]}
    opts = [f"{section}.dataset_root={data}" for section in ("train_dataset", "val_dataset")]
    opts += [f"{section}.transforms.0={resize}" for section in ("train_dataset", "val_dataset")]
    flags = ["--config", "RGB/U2Net/u2netp.yaml", "--save_dir", str(folder), "--seed", str(seed), "--do_eval"]
    flags += ["--iters", str(args.iters), "--save_interval", str(args.iters), "--cpu_engine", kind]
    flags += ["--precision", precision, "--opts", "model.pretrained=null", *opts]
    started = time.perf_counter()
    if train(flags):
        raise ValueError(f"{engine}, seed {seed}: training failed")
    seconds = time.perf_counter() - started
    last = [row for row in read_history(folder / HISTORY) if row["source"] == "model"][-1]
    return {**{name: float(last[name]) for name in SCORES}, "seconds": seconds}


def summary(runs: Sequence[dict[str, float]]) -> dict[str, str]:
    """The columns of an engine: each score of each run, their mean and standard deviation."""
    columns = {}
    for name in SCORES:
        values = [found[name] for found in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        columns[name] = " ".join(f"{value:.4f}" for value in values)
        columns[f"{name}, mean ± std"] = f"{statistics.mean(values):.4f} ± {spread:.4f}"
    return {**columns, "seconds": f"{statistics.median(found['seconds'] for found in runs):.0f}"}


def main(argv: Sequence[str] | None = None) -> int:
    """Train all runs and print a table."""
    args = parse(argv)
    logging.getLogger("paddleseg_u2net").setLevel(logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = draw_dataset(Path(folder) / "discs", args.images, 2 * args.size, seed=0)
        for engine in args.engines:
            runs = []
            for seed in range(args.seeds):
                runs.append(run(Path(folder) / f"{engine}_{seed}", data, engine, seed, args))
                print(engine, seed, runs[-1], flush=True)
            rows.append({"engine": engine, **summary(runs)})
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
