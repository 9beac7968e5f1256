"""Interrupt trainings at random moments, resume them, and compare the results with an uninterrupted one.

OMP_NUM_THREADS=1 python -m tools.benchmarks.interruptions --interruptions 10
OMP_NUM_THREADS=1 python -m tools.benchmarks.interruptions --interruptions 100 --small_disk small

U²-Net† learns from drawn images of 32x32, with augmentation, a moving average, evaluation, checkpoints every
second step, and worker processes in some of the runs. Each run is interrupted until it is done: by SIGKILL,
by SIGTERM, by a limit on the size of files (writing fails as on a full disk), and by a disk that is full
(`mount -t tmpfs -o size=200m tmpfs small`). It resumes from the newest checkpoint, sometimes from an older
one. After each interruption every checkpoint must be complete and equal that of the same step of an
uninterrupted run. At the end the weights, the optimizer, the moving average, the best models, the progress,
and the losses and scores of all steps must be equal, bit for bit. Exit code 1 if anything differs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from tools.benchmarks.interrupted_training import INTERRUPTIONS, PHASES, Child, Interruption, remove_ballast
from tools.benchmarks.measures import draw
from tools.benchmarks.measuring import benchmark_parser
from tools.benchmarks.run_state import Differences, History, all_checkpoints, load_run, load_step, step_of

STEPS, INTERVAL, IMAGES, SIZE = 9, 2, 8, 32
ROOM = 150 << 20  # bytes that a run needs on a small disk


@dataclass
class Campaign:
    """Interrupted runs and what was found.

    Args:
        config: YAML file of the runs.
        seconds: duration of an uninterrupted run.
        reference: `load_run` of an uninterrupted run.
        steps: `load_step` of every step of an uninterrupted run.
        rng: of all choices.
    """

    config: Path
    seconds: float
    reference: dict[str, Any]
    steps: dict[int, dict[str, Any]]
    rng: np.random.Generator
    phases: Counter[tuple[str, str]] = field(default_factory=Counter)  # (interruption, phase)
    counts: Counter[str] = field(default_factory=Counter)
    differences: Differences = field(default_factory=Differences)

    @property
    def interruptions(self) -> int:
        """Number of interruptions so far."""
        return sum(self.phases.values())

    def run(self, folder: Path, kinds: list[str], workers: int, at_most: int) -> None:
        """Train in `folder` until done, interrupted at most so many times more."""
        history, resumed = History(), None
        for _ in range(10 * STEPS):
            words = training_flags(self.config, folder, workers, resumed)
            kind = self._rarest(kinds) if self.interruptions < at_most else None
            child = Child(words)
            left = 1 - (step_of(resumed) if resumed else 0) / STEPS
            phase = self._interrupt(child, left, folder, INTERRUPTIONS[kind]) if kind else None
            code, output, orphans = child.finish()
            remove_ballast(folder)
            history.read(output, resumed)
            self.counts["workers that outlived a run"] += orphans
            self._check_checkpoints(folder)
            if code == 0:
                break
            if not kind or not phase or "It hung" in output or not INTERRUPTIONS[kind].ended(code, output):
                self.differences.add(f"{folder.name}: exit code {code} after {kind}: {output[-600:]}")
            self.phases[str(kind), phase or child.phase] += 1
            resumed = self._choose_checkpoint(folder)
            self.counts["resumed" if resumed else "started again"] += 1
        self.counts["runs"] += 1
        found = load_run(folder, STEPS, history)
        self.differences.compare(folder.name, found, self.reference)

    def _rarest(self, names: Sequence[str]) -> str:
        """The interruption or phase that occurred least so far."""
        counts = Counter(name for pair in self.phases.elements() for name in pair)
        return min(names, key=lambda name: (counts[name], self.rng.random()))

    def _interrupt(self, child: Child, left: float, folder: Path, row: Interruption) -> str | None:
        """Interrupt at a random moment; returns the phase, or None if the run ended before.

        Every second moment is in the phase that was interrupted least, as some are short: the first or second
        time that the run is in it. `left` is the share of the run that is left.
        """
        delay = self.rng.uniform(0, self.seconds * left)
        if self.rng.random() < 0.5:
            wanted = self._rarest(PHASES)
            delay = self.rng.uniform(0, 1 if wanted == PHASES[0] else 0.002)
            for _ in range(self.rng.integers(1, 3) if wanted != PHASES[0] else 0):
                if not child.running(lambda: child.phase != wanted) or not child.running(
                    lambda: child.phase == wanted
                ):
                    return None
        end = time.monotonic() + delay
        if not child.running(lambda: time.monotonic() > end):
            return None
        phase = child.phase
        row.act(child, folder, self.rng)
        if row is INTERRUPTIONS["SIGKILL"]:  # it may have gone on to another phase in the meantime
            child.running(lambda: False)
            phase = child.phase
        return phase

    def _check_checkpoints(self, folder: Path) -> None:
        for path in all_checkpoints(folder):
            step = step_of(path)
            self.counts["checkpoints compared"] += 1
            try:
                found = load_step(path)
            except (OSError, ValueError) as error:
                self.differences.add(f"{path}: {error}")
                continue
            self.differences.compare(str(path), found, self.steps[step])

    def _choose_checkpoint(self, folder: Path) -> Path | None:
        from paddleseg_u2net.models.checkpoint import numbered

        found = numbered(folder)
        older = len(found) > 1 and self.rng.random() < 0.2
        self.counts["resumed from an older checkpoint"] += older
        return found[-2 if older else -1] if found else None

    def report(self) -> None:
        """Print the tables."""
        print(f"| interruption | {' | '.join(PHASES)} |\n|---|{'---|' * len(PHASES)}")
        for kind in INTERRUPTIONS:
            print(f"| {kind} | {' | '.join(str(self.phases[kind, phase]) for phase in PHASES)} |")
        print("\n| what | number |\n|---|---|")
        print(f"| interruptions | {self.interruptions} |")
        for name, count in self.counts.items():
            print(f"| {name} | {count} |")
        print(f"| differences | {len(self.differences.lines)} |")
        for line in self.differences.lines[:20]:
            print(f"\n{line}")


def write_data(root: Path) -> Path:
    """Draw the images and write the config of all runs; returns the config."""
    names = []
    for index in range(IMAGES):
        saliency, mask = draw(SIZE, SIZE, index)
        for kind, pixels in (("image", saliency), ("mask", mask)):
            cv2.imwrite(str(root / f"{kind}{index}.png"), pixels)
        names.append(f"image{index}.png\tmask{index}.png\n")
    (root / "train.txt").write_text("".join(names[:6]))
    (root / "val.txt").write_text("".join(names[6:]))
    normalize = {"type": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
    augment = [{"type": "RandomHorizontalFlip"}, {"type": "RandomDistort"}, normalize]
    data = {"type": "Dataset", "dataset_root": str(root), "num_classes": 1}
    config = {
        "batch_size": 2,
        "iters": STEPS,
        "train_dataset": {**data, "mode": "train", "train_path": "train.txt", "transforms": augment},
        "val_dataset": {**data, "mode": "val", "val_path": "val.txt", "transforms": [normalize]},
        "model": {"type": "U2Netp", "num_classes": 1},
        "loss": {"types": [{"type": "SaliencyLoss"}], "coef": [1] * 7},
        "optimizer": {"type": "Adam"},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.001, "end_lr": 0, "power": 0.9},
    }
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def training_flags(config: Path, folder: Path, workers: int, resumed: Path | None) -> list[str]:
    """Flags of `u2net train` for a run or its continuation."""
    words = ["--config", str(config), "--save_dir", str(folder), "--num_workers", str(workers)]
    words += ["--save_interval", str(INTERVAL), "--keep_checkpoint_max", "2", "--log_iters", "1"]
    words += ["--use_ema", "--do_eval", "--device", "cpu"]
    return words + (["--resume_model", str(resumed)] if resumed else ["--seed", "3"])


def uninterrupted(config: Path, folder: Path, *more: str) -> tuple[float, str]:
    """Train without interruption; returns the seconds and the output."""
    started = time.monotonic()
    code, output, _ = Child([*training_flags(config, folder, 0, None), *more]).finish()
    if code:
        raise RuntimeError(f"the uninterrupted run failed: {output[-2000:]}")
    return time.monotonic() - started, output


def start(root: Path, seed: int) -> Campaign:
    """Train without interruption, for comparison."""
    config, history = write_data(root), History()
    seconds, output = uninterrupted(config, root / "whole")
    history.read(output, None)
    uninterrupted(config, root / "steps", "--save_interval", "1", "--keep_checkpoint_max", "0")
    steps = {step: load_step(root / "steps" / f"iter_{step}") for step in range(1, STEPS + 1)}
    reference = load_run(root / "whole", STEPS, history)
    return Campaign(config, seconds, reference, steps, np.random.default_rng(seed))


def small_disk(folder: Path) -> Path:
    """Check that a folder is a file system of its own, small but not too small."""
    disk = os.statvfs(folder)
    room = disk.f_bavail * disk.f_frsize
    if not os.path.ismount(folder) or not ROOM <= room < 10 * ROOM:
        raise OSError(
            f"--small_disk {folder}: expected a mounted file system with {ROOM >> 20} to "
            f"{10 * ROOM >> 20} MiB of room, as it is filled. Fix: mount -t tmpfs -o size=200m tmpfs {folder}"
        )
    return folder


def runs(root: Path, disk: Path | None) -> Iterator[tuple[Path, list[str], int]]:
    """The folder of each run, how it is interrupted, and its number of workers."""
    index = 0
    while True:
        index += 1
        if disk:
            yield disk / f"run_{index}_small", ["SIGKILL", "full disk"], 0
        yield root / f"run_{index}", ["SIGKILL", "SIGTERM"], 2  # workers would inherit a limit on files
        yield root / f"run_{index}_alone", ["SIGKILL", "SIGTERM", "file size limit"], 0


def report(interruptions: int, seed: int, disk: Path | None) -> int:
    """Run the campaign; returns 1 if anything differs."""
    from paddleseg_u2net import builders
    from paddleseg_u2net.training import trainer  # noqa: F401 - imported once, before processes are forked

    builders.register()
    with tempfile.TemporaryDirectory() as folder:
        campaign = start(Path(folder), seed)
        for place, kinds, workers in runs(Path(folder), disk and small_disk(disk)):
            campaign.run(place, kinds, workers, interruptions)
            shutil.rmtree(place)
            if campaign.interruptions >= interruptions:
                break
    campaign.report()
    return 1 if campaign.differences.lines else 0


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    from paddleseg_u2net.cli.app import guarded

    parser = benchmark_parser("interruptions", __doc__)
    parser.add_argument("--interruptions", type=int, default=10, help="number of them (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (%(default)s)")
    parser.add_argument(
        "--small_disk", type=Path, help="mounted file system of 150 MiB or more; it is filled"
    )
    args = parser.parse_args(argv)
    return guarded(lambda: report(args.interruptions, args.seed, args.small_disk))


if __name__ == "__main__":
    sys.exit(main())
