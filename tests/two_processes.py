"""What each of two launched processes runs for `training/test_distributed.py`; asserts what both must see.

One launch for all tests, as three processes that import Paddle take seconds.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import paddle
from paddleseg.cvlibs import manager
from support import TinyNet
from training_runs import trainer

from paddleseg_u2net import builders
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.export import cache
from paddleseg_u2net.training import records
from paddleseg_u2net.training.distributed import (
    average_statistics,
    draw_seed,
    gather,
    mean_over_ranks,
    start_processes,
)

OPTIONS = {"iters": 4, "seed": 5}


@manager.MODELS.add_component
class FrozenTinyNet(TinyNet):
    """`TinyNet` whose BatchNorm always uses its stored statistics."""

    def forward(self, x):
        self.norm.eval()  # `train` of the wrapper for several processes does not call that of this class
        return super().forward(x)


def frozen_run(config, folder: Path, batch_size: int):
    """A run whose result does not depend on how a step's images are spread over processes."""
    run = trainer(config, folder, ["model.type=FrozenTinyNet"], batch_size=batch_size, **OPTIONS)
    run.run()
    return run


ENGINE_OPTS = [
    "model.type=U2Netp",
    "loss.coef=[1, 1, 1, 1, 1, 1, 1]",
    "lr_scheduler.learning_rate=1e-3",
    "finetune={freeze_batch_norm: statistics}",
]


def engine_run(config, folder: Path, batch_size: int):
    """A step of U²-Net† through oneDNN, whose result does not depend on the number of processes either."""
    options = {"iters": 1, "seed": 5, "accumulate": 2, "cpu_engine": "onednn"}
    trainer(config, folder, ENGINE_OPTS, batch_size=batch_size, **options).run()


def scores_of(config, folder: Path) -> dict:
    """The scores of the last checkpoint of `frozen_run`, over the images of all processes."""
    resume = folder / "iter_4"
    run = trainer(config, folder, ["model.type=FrozenTinyNet"], do_eval=True, iters=4, resume_model=resume)
    data = open_datasets([builders.build_dataset_spec(run.config, "val_dataset")])[0]
    found = run.validation.measure(run.validation.predictor(run.network), data).compute()
    return {name: value for name, value in found.items() if isinstance(value, float)}


def command(*words: str) -> int:
    """Run `u2net` in this process; what it prints goes to `<command>.<rank>.log`."""
    path = Path(f"{words[0]}.{this_rank().index}.log")
    with path.open("w") as log, redirect_stdout(log), redirect_stderr(log):
        code = main(words)
    logging.getLogger("paddleseg_u2net").handlers.clear()  # of this file
    return code


def train(root: Path) -> None:
    """Train in both processes; each has a folder of its own, and rank 0 alone may write."""
    config = root / "tiny.yaml"
    rank = start_processes()
    assert rank.count == 2
    assert gather(rank.index, 2) == [0, 1]
    assert len(set(gather(draw_seed(2), 2))) == 1
    assert mean_over_ranks(paddle.to_tensor(float(rank.index)), 2).item() == 0.5
    network = TinyNet(1)
    statistics = [network.norm._mean, network.norm._variance]
    for value in statistics:
        value.set_value(paddle.full([4], float(rank.index)))
    average_statistics(network, 2)
    assert [value.tolist() for value in statistics] == [[0.5] * 4] * 2

    own = root / f"rank_{rank.index}"
    run = frozen_run(config, own / "frozen", batch_size=2)
    engine_run(config, own / "engine", batch_size=2)
    digests = gather(run.network.first.weight.numpy().tobytes(), 2)
    assert digests[0] == digests[1]
    whole, options = own / "whole", {"do_eval": True, "use_ema": True, "num_workers": rank.index, **OPTIONS}
    trainer(config, whole, **options).run()
    middle = root / "rank_0" / "whole" / "iter_2"
    trainer(config, own / "resumed", resume_model=middle, **options).run()
    scores = scores_of(config, root / "rank_0" / "frozen")
    assert len({json.dumps(found) for found in gather(scores, 2)}) == 1
    if rank.index == 0:
        (root / "scores.json").write_text(json.dumps(scores))


def run_all(root: Path) -> int:
    """Train by the command with the flags of this process, by the functions, and predict; the exit code."""
    records.draw_curves = lambda path, rows, metric: path.touch()  # drawing takes long
    drawn = cache.drawn_object
    cache.drawn_object = lambda channels: drawn(channels)[:, :, ::3, ::3]  # so does Paddle on all of it
    assert command("train", *sys.argv[1:]) == 0
    train(root)
    words = ["--config", "my config.yaml", "--model_path", "w.pdparams", "--image_path", "some photos"]
    return command("predict", *words, "--save_dir", "two")
