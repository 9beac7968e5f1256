"""Where the values of a run are recorded besides its log: VisualDL, MLflow, Weights & Biases; a row each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from paddleseg_u2net.environment.optional_imports import need

EXPERIMENT = "u2net"  # experiment of MLflow, project of Weights & Biases
# what a row of values is about -> beginning of its names in the loggers
PREFIXES = {"train": "Train/", "model": "Evaluate/", "ema_model": "Evaluate/Ema_"}


class Recorder(Protocol):
    """Receives the values and pictures of a run while it is trained."""

    def record(self, source: str, values: Mapping[str, float], step: int) -> None:
        """Record values by name.

        Args:
            source: a key of `PREFIXES`: training steps, or an evaluation of one of the networks.
            values: by name, such as loss or maxF.
            step: at which they were measured.
        """
        ...

    def picture(self, image: np.ndarray, step: int) -> None:
        """Record a preview, (H, W, 3) uint8 RGB."""
        ...

    def close(self, failed: bool) -> None:
        """End the record; `failed` where the run ended with an error."""
        ...


def named(source: str, values: Mapping[str, float]) -> dict[str, float]:
    """The values with the names that they have in loggers: `Train/loss`, `Evaluate/maxF`."""
    return {f"{PREFIXES[source]}{name}": float(value) for name, value in values.items()}


class VisualDlRecorder:
    """Writes `vdlrecords.*.log` into the folder of a run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        self.writer: Any = need("visualdl").LogWriter(str(folder))

    def record(self, source: str, values: Mapping[str, float], step: int) -> None:
        """See `Recorder`."""
        for name, value in named(source, values).items():
            self.writer.add_scalar(name, value, step)

    def picture(self, image: np.ndarray, step: int) -> None:
        """See `Recorder`."""
        self.writer.add_image("Evaluate/preview", image, step)

    def close(self, failed: bool) -> None:
        """See `Recorder`."""
        self.writer.close()


class MlflowRecorder:
    """Records to the server of `MLFLOW_TRACKING_URI`, or without that variable to `mlruns/` of the run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        # MLflow 3.7 and later refuse to write to a folder without it
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        server = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri()
        self.client: Any = need("mlflow.tracking").MlflowClient(server)
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self.client.create_experiment(EXPERIMENT)
        self.run: str = self.client.create_run(number, run_name=folder.resolve().name).info.run_id
        self.client.log_dict(self.run, dict(config), "config.yaml")

    def record(self, source: str, values: Mapping[str, float], step: int) -> None:
        """See `Recorder`."""
        metric, now = need("mlflow.entities").Metric, int(time.time() * 1000)
        rows = [metric(name, value, now, step) for name, value in named(source, values).items()]
        self.client.log_batch(self.run, metrics=rows)

    def picture(self, image: np.ndarray, step: int) -> None:
        """See `Recorder`."""
        self.client.log_image(self.run, image, artifact_file=f"previews/iter_{step}.png")

    def close(self, failed: bool) -> None:
        """See `Recorder`."""
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


class WandbRecorder:
    """Records to Weights & Biases; `WANDB_MODE=offline` keeps the record in `wandb/` of the run."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        self.wandb: Any = need("wandb")
        project = os.environ.get("WANDB_PROJECT") or EXPERIMENT
        self.run: Any = self.wandb.init(
            project=project, name=folder.resolve().name, dir=str(folder), config=dict(config)
        )

    def record(self, source: str, values: Mapping[str, float], step: int) -> None:
        """See `Recorder`."""
        self.run.log(named(source, values), step=step)

    def picture(self, image: np.ndarray, step: int) -> None:
        """See `Recorder`."""
        self.run.log({"Evaluate/preview": self.wandb.Image(image)}, step=step)

    def close(self, failed: bool) -> None:
        """See `Recorder`."""
        self.run.finish(exit_code=int(failed))


@dataclass(frozen=True)
class LoggerRow:
    """One logger.

    Args:
        module: package that it needs.
        open: starts a record, given the folder of the run and its config.
    """

    module: str
    open: Callable[[Path, Mapping[str, Any]], Recorder]


# the flag of each is --use_NAME
LOGGERS = {
    "vdl": LoggerRow("visualdl", VisualDlRecorder),
    "mlflow": LoggerRow("mlflow", MlflowRecorder),
    "wandb": LoggerRow("wandb", WandbRecorder),
}


def chosen_loggers(settings: Any, config: Mapping[str, Any]) -> list[Callable[[], Recorder]]:
    """Functions that start the records that the flags of a run ask for.

    Args:
        settings: `TrainingSettings`.
        config: of the run.

    Raises:
        MissingPackage: the package of one of them is not installed.
    """
    rows = [row for name, row in LOGGERS.items() if getattr(settings, f"use_{name}")]
    for row in rows:
        need(row.module)
    return [partial(row.open, settings.save_dir, config) for row in rows]
