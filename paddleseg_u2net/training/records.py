"""The records of a run in its folder: history, curves, and what it was made with."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddleseg_u2net
from paddleseg_u2net.data.fingerprint import fingerprint
from paddleseg_u2net.environment.provenance import command_line, git_state, package_versions
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.curves import draw_curves
from paddleseg_u2net.training.history import HISTORY, History, read_history
from paddleseg_u2net.training.loggers import Recorder, chosen_loggers
from paddleseg_u2net.training.saving import CURVES, PROVENANCE
from paddleseg_u2net.training.settings import TrainingSettings

if TYPE_CHECKING:
    from paddleseg_u2net.data.spec import DatasetSpec
    from paddleseg_u2net.training.log import TrainingLog


def run_recorders(
    settings: TrainingSettings, config: Mapping[str, Any], progress: Progress
) -> list[Callable[[], Recorder]]:
    """Functions that start the records of a run: its history, and the loggers that its flags ask for.

    Args:
        settings: of the run.
        config: of the run.
        progress: at the start; where the history is continued.

    Raises:
        MissingPackage: the package of a logger is not installed.
    """
    history = partial(History, settings.save_dir / HISTORY, progress.iter, not progress.pending)
    return [history, *chosen_loggers(settings, config)]


def draw_run_curves(save_dir: Path, metric: str) -> None:
    """Draw the curves of a run from its history.

    Args:
        save_dir: folder of the run.
        metric: score that selects the best model.
    """
    if rows := read_history(save_dir / HISTORY):
        draw_curves(save_dir / CURVES, rows, metric)


def finish_records(log: TrainingLog, settings: TrainingSettings, progress: Progress) -> None:
    """Draw the curves for the last time, and log the summary of a run that ended without an error."""
    draw_run_curves(settings.save_dir, settings.metric)
    log.summary(progress, settings.save_dir)


def provenance(specs: Mapping[str, DatasetSpec]) -> dict[str, Any]:
    """What a run is made with.

    Args:
        specs: data sets by the names of their config sections.

    Returns:
        Command line, start, versions, state of the git checkouts of this package and of the working
        directory (None outside of one), and the fingerprint of each data set.
    """
    return {
        "command": command_line(),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": package_versions(),
        "git": {
            "package": git_state(Path(paddleseg_u2net.__file__).parent),
            "working_directory": git_state(Path.cwd()),
        },
        "data": {name: fingerprint(spec.pairs) for name, spec in specs.items()},
    }


def write_provenance(save_dir: Path, specs: Mapping[str, DatasetSpec]) -> None:
    """Write `run.json`; see `provenance`."""
    with atomic_write(save_dir / PROVENANCE) as partial:
        partial.write_text(json.dumps(provenance(specs), indent=1) + "\n", encoding="utf-8")
