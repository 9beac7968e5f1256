"""Training runs of the small network, shared by the tests of training."""

from __future__ import annotations

import json

import numpy as np
import paddle

from paddleseg_u2net import builders
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.models.safe_pickle import read_pickle
from paddleseg_u2net.models.weight_files import read_state
from paddleseg_u2net.training.settings import TrainingSettings
from paddleseg_u2net.training.trainer import Trainer


class TrainerWithData(Trainer):
    """A trainer that opens its data itself; `train.py` passes them to `run`."""

    def run(self):
        keys = ("train_dataset", "val_dataset")
        specs = [builders.build_dataset_spec(self.config, key) for key in keys]
        return super().run(*open_datasets(specs))


def trainer(config, save_dir, opts=(), **changes) -> Trainer:
    """A trainer as `train.py` makes it; keyword arguments are settings."""
    paddle.seed(changes.get("seed", 0))
    found = load_config(config, opts=opts, iters=changes.get("iters"))
    network = builders.build_network(found["model"])
    settings = {
        "iters": found["iters"],
        "batch_size": 2,
        "metric": "maxF",
        "save_interval": 2,
        "log_iters": 1,
    }
    settings = TrainingSettings(**{**settings, "save_dir": save_dir, **changes})
    save_dir.mkdir(parents=True, exist_ok=True)
    optimizer = builders.build_optimizer(found, network)
    val_spec = builders.build_dataset_spec(found, "val_dataset")
    return TrainerWithData(network, optimizer, builders.build_losses(found), found, settings, val_spec)


class Scores:
    """Stands in for `Validation.measure`: each call gives the next of the given scores."""

    def __init__(self, metric: str, values: list[float]):
        self.metric, self.values = metric, iter(values)

    def __call__(self, network, data) -> Scores:
        return self

    def compute(self) -> dict[str, float]:
        return {self.metric: next(self.values)}

    def report(self) -> list[str]:
        return []


def saved_state(folder) -> dict[str, np.ndarray]:
    return read_state(folder / "model.pdparams")


def assert_equal_states(first, second) -> None:
    assert set(first) == set(second)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def assert_equal_runs(first, second) -> None:
    """Two checkpoints hold the same weights, optimizer, average and progress, bit for bit."""
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    assert_equal_states(saved_state(first), saved_state(second))
    states = [read_pickle(folder / "model.pdopt") for folder in (first, second)]
    assert states[0]["LR_Scheduler"] == states[1]["LR_Scheduler"]
    assert set(states[0]) == set(states[1])
    for key, value in states[0].items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, states[1][key], err_msg=key)
    progress = [json.loads((folder / "state.json").read_text()) for folder in (first, second)]
    # the values were compared above; the order of keys and the like may differ within one process
    assert {**progress[0], "sha256": {}} == {**progress[1], "sha256": {}}
    if (first / "ema_model.pdparams").is_file():
        averaged = [read_state(folder / "ema_model.pdparams") for folder in (first, second)]
        assert_equal_states(*averaged)


def without_checksums(folder) -> None:
    """Make a checkpoint one of an earlier version, whose files are loaded as they are."""
    record = json.loads((folder / "state.json").read_text())
    del record["sha256"]
    (folder / "state.json").write_text(json.dumps(record))


def run_with_scores(config, folder, monkeypatch, values, **changes):
    """A run with given scores, one evaluation per step."""
    run = trainer(config, folder, save_interval=1, do_eval=True, **changes)
    monkeypatch.setattr(run.validation, "measure", Scores("maxF", values))
    return run
