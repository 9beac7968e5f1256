"""Trainings are interrupted at random moments, resumed, and compared with an uninterrupted one.

OMP_NUM_THREADS=1 python -m pytest -m slow tests/campaigns/test_interruptions.py [--campaign_size 6]

U²-Net† learns from drawn images of 32x32, with augmentation, a moving average, evaluation, checkpoints every
second step, and worker processes in some of the runs. Each run is interrupted until it is done, and resumes
from the newest checkpoint, sometimes from an older one. After each interruption no process may be left, and
every checkpoint must be complete and equal that of the same step of the uninterrupted run. At the end the
weights, the optimizer, the moving average, the best models, the progress, and the losses and scores of all
steps must be equal, bit for bit.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from campaign import Campaign
from interrupted_training import INTERRUPTIONS, PHASES, Child, remove_ballast
from run_state import Differences, History, all_checkpoints, load_run, load_step, step_of
from small_disks import small_disk

from paddleseg_u2net.models.run_folders import numbered
from tools.benchmarks.measures import draw

pytestmark = pytest.mark.slow

STEPS, INTERVAL, IMAGES, SIZE = 9, 2, 8, 32
ROOM = 200  # MiB of a small disk, more than a run needs
# number of worker processes, which would inherit a limit on files, by interruption
WORKERS = {"SIGKILL": (0, 2), "SIGKILL of a worker": (2,), "SIGTERM": (0, 2)}


@dataclass
class Uninterrupted:
    """What interrupted runs are compared with.

    Args:
        config: YAML file of the runs.
        seconds: duration.
        run: `load_run` of it.
        steps: `load_step` of every step.
    """

    config: Path
    seconds: float
    run: dict[str, Any]
    steps: dict[int, dict[str, Any]]


@dataclass
class Interrupted:
    """Runs that are interrupted in one way.

    Args:
        kind: key of INTERRUPTIONS.
        expected: an uninterrupted run.
        campaign: counts the interruptions.
        rng: of all choices.
    """

    kind: str
    expected: Uninterrupted
    campaign: Campaign
    rng: np.random.Generator
    phases: Counter[str] = field(default_factory=Counter)

    def run(self, folder: Path, workers: int, at_most: int) -> None:
        """Train in `folder` until done, interrupted until there are so many interruptions in all."""
        history, resumed = History(), None
        for _ in range(10 * STEPS):
            child = Child(training_flags(self.expected.config, folder, workers, resumed))
            left = 1 - (step_of(resumed) if resumed else 0) / STEPS
            tried = self.campaign.tried
            phase = self._interrupt(child, left, folder) if tried < at_most else None
            code, output, orphans = child.finish()
            remove_ballast(folder)
            history.read(output, resumed)
            if code == 0:
                break
            ended = phase and "It hung" not in output and INTERRUPTIONS[self.kind].ended(code, output)
            faults = [] if ended else [f"exit code {code}: {output[-600:]}"]
            faults += [f"{len(orphans)} processes outlived it"] * bool(orphans)
            phase = phase or child.phase
            self.phases[phase] += 1
            faults += self._faults_of_checkpoints(folder)
            self.campaign.record(f"{self.kind}, {folder.name}, {phase}", "; ".join(faults))
            resumed = self._choose_checkpoint(folder)
        differences = Differences()
        differences.compare(folder.name, load_run(folder, STEPS, history), self.expected.run)
        self.campaign.lost += differences.lines

    def _interrupt(self, child: Child, left: float, folder: Path) -> str | None:
        """Interrupt at a random moment; returns the phase, or None if the run ended before.

        Every second moment is in the phase that was interrupted least, as some are short: the first or second
        time that the run is in it. `left` is the share of the run that is left.
        """
        delay = self.rng.uniform(0, self.expected.seconds * left)
        if self.rng.random() < 0.5:
            wanted = min(PHASES, key=lambda name: (self.phases[name], self.rng.random()))
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
        INTERRUPTIONS[self.kind].act(child, folder, self.rng)
        if self.kind == "SIGKILL":  # it may have gone on to another phase in the meantime
            child.running(lambda: False)
            phase = child.phase
        return phase

    def _faults_of_checkpoints(self, folder: Path) -> list[str]:
        differences = Differences()
        for path in all_checkpoints(folder):
            try:
                differences.compare(str(path), load_step(path), self.expected.steps[step_of(path)])
            except (OSError, ValueError) as error:
                differences.add(f"{path}: {error}")
        return differences.lines

    def _choose_checkpoint(self, folder: Path) -> Path | None:
        found = numbered(folder)
        older = len(found) > 1 and self.rng.random() < 0.2
        return found[-2 if older else -1] if found else None


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
    words = ["train", "--config", str(config), "--save_dir", str(folder), "--num_workers", str(workers)]
    words += ["--save_interval", str(INTERVAL), "--keep_checkpoint_max", "2", "--log_iters", "1"]
    words += ["--use_ema", "--do_eval", "--device", "cpu"]
    return words + (["--resume_model", str(resumed)] if resumed else ["--seed", "3"])


def train(config: Path, folder: Path, *more: str) -> str:
    """Train without interruption; returns the output."""
    code, output, _ = Child([*training_flags(config, folder, 0, None), *more]).finish()
    assert code == 0, output[-2000:]
    return output


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Uninterrupted:
    """A run that nothing interrupts, and its state at each step."""
    root = tmp_path_factory.mktemp("uninterrupted")
    config, history = write_data(root), History()
    train(config, root / "steps", "--save_interval", "1", "--keep_checkpoint_max", "0")
    started = time.monotonic()
    history.read(train(config, root / "whole"), None)
    seconds = time.monotonic() - started
    steps = {step: load_step(root / "steps" / f"iter_{step}") for step in range(1, STEPS + 1)}
    return Uninterrupted(config, seconds, load_run(root / "whole", STEPS, history), steps)


@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_interrupted_training_equals_an_uninterrupted_one(kind, uninterrupted, request, tmp_path):
    campaign = Campaign(f"training, {kind}", request)
    size = campaign.size(40)
    runs = Interrupted(kind, uninterrupted, campaign, np.random.default_rng(0))
    with small_disk(tmp_path / "disk", ROOM) as disk:
        if kind == "full disk" and not disk:
            pytest.skip("this user may not mount a file system")
        for index in range(10 * size):
            workers = WORKERS.get(kind, (0,))
            folder = (disk if kind == "full disk" else tmp_path) / f"run_{index}"
            runs.run(folder, workers[index % len(workers)], size)
            shutil.rmtree(folder)
            if campaign.tried >= size:
                break
    print(dict(runs.phases))
    campaign.finish()
