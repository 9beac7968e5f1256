"""What a training run leaves, as values that can be compared bit for bit."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TIMES = ("batch_cost", "reader_cost", "ips")  # columns of history.csv that differ from run to run


def step_of(checkpoint: Path) -> int:
    """The step of an `iter_N` folder."""
    return int(checkpoint.name.removeprefix("iter_"))


class History:
    """Losses by step and scores by evaluated step, from the log lines of a run and of its continuations."""

    def __init__(self) -> None:
        self.losses: dict[int, str] = {}
        self.scores: dict[int, list[str]] = {}

    def read(self, output: str, resumed: Path | None) -> None:
        """Add the lines of one process; a step that is repeated replaces what it was before.

        Args:
            output: stdout.
            resumed: checkpoint that the process started from.
        """
        step = step_of(resumed) if resumed else 0
        evaluated: dict[int, list[str]] = {}
        for line in output.splitlines():
            if found := re.search(r"\[TRAIN\] (.*iter: (\d+)/.*), batch_cost", line):
                step = int(found[2])
                self.losses[step] = found[1]
            elif "[EVAL]" in line:
                evaluated.setdefault(step, []).append(line.split("[EVAL]")[1])
        self.scores.update(evaluated)


def load_step(folder: Path) -> dict[str, Any]:
    """Everything in a checkpoint that depends on its step alone.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    from paddleseg_u2net.config.loader import load_config
    from paddleseg_u2net.models.safe_pickle import read_pickle
    from paddleseg_u2net.models.weight_files import read_state

    progress = json.loads((folder / "state.json").read_text())
    return {
        "weights": read_state(folder / "model.pdparams"),
        "average": read_state(folder / "ema_model.pdparams"),
        "optimizer": read_pickle(folder / "model.pdopt"),
        "progress": {name: progress[name] for name in ("iter", "samples", "seed", "metric", "optimizer")},
        "config": load_config(folder / "config.yaml"),
    }


def load_run(folder: Path, step: int, history: History) -> dict[str, Any]:
    """Everything that a finished run leaves, without times.

    Args:
        folder: of the run.
        step: its last one.
        history: of its log lines.
    """
    from paddleseg_u2net.models.weight_files import read_state

    last = folder / f"iter_{step}"
    best = {name: folder / name for name in ("best_model", "ema_best_model")}
    found = {
        "last": load_step(last),
        "progress": {**json.loads((last / "state.json").read_text()), "sha256": {}},  # of what is in "last"
        "losses": history.losses,
        "scores": history.scores,
        "partial files": sorted(path.name for path in folder.rglob("*.part")),
        "checkpoints": sorted(path.name for path in folder.glob("iter_*")),
    }
    for name, path in best.items():
        (weights,) = path.glob("*.pdparams")
        score = {**json.loads((path / "state.json").read_text()), "sha256": {}}
        found[name] = {"weights": read_state(weights), "score": score}
    if (path := folder / "history.csv").is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found["history.csv"] = [{key: row[key] for key in row if key not in TIMES} for row in rows]
    return found


def all_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, also those that were moved aside."""
    return sorted([*folder.glob("iter_*"), *folder.glob("earlier_*/iter_*")])


class Differences:
    """Lines that say where two results differ."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def compare(self, where: str, found: Any, expected: Any) -> None:
        """Compare nested values, arrays bit for bit."""
        if isinstance(expected, Mapping) and isinstance(found, Mapping):
            if missing := set(found) ^ set(expected):
                self.add(f"{where}: only one of the two has {sorted(map(str, missing))}")
            for key in set(found) & set(expected):
                self.compare(f"{where}: {key}", found[key], expected[key])
        elif not _same(found, expected):
            self.add(f"{where}: {_short(found)} instead of {_short(expected)}")


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return (
            isinstance(found, np.ndarray)
            and (found.shape, found.dtype) == (expected.shape, expected.dtype)
            and found.tobytes() == expected.tobytes()
        )
    return found == expected


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) < 60 else f"{text[:60]} …"
