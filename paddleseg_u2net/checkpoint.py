"""The complete state of a training run on disk, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.config import dump_config
from paddleseg_u2net.files import arriving
from paddleseg_u2net.formats import read_pickle
from paddleseg_u2net.weights import load_strict

if TYPE_CHECKING:
    from paddle import nn

MODEL, OPTIMIZER, EMA = "model.pdparams", "model.pdopt", "ema_model.pdparams"
STATE, CONFIG = "state.json", "config.yaml"


@dataclass
class Progress:
    """Where a run stands.

    Args:
        iter: steps done.
        samples: images drawn so far over all ranks; the data order goes on from here.
        seed: of data order and augmentation.
        best: per network (`model`, `ema_model`), the best score and its iteration.
        stale: evaluations since the best score last rose.
    """

    iter: int = 0
    samples: int = 0
    seed: int = 0
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    stale: int = 0


def save_weights(path: Path, network: nn.Layer, config: Mapping[str, Any]) -> None:
    """Write one network's weights and its config into a folder of their own."""
    import paddle

    with arriving(path.parent) as folder:
        folder.mkdir()
        paddle.save(network.state_dict(), str(folder / path.name))
        (folder / CONFIG).write_text(dump_config(config), encoding="utf-8")


def save_checkpoint(
    folder: Path,
    network: nn.Layer,
    optim: Any,
    ema: nn.Layer | None,
    scaler: Any | None,
    progress: Progress,
    config: Mapping[str, Any],
) -> None:
    """Write everything that resuming needs; the folder appears when it is complete."""
    import paddle

    with arriving(folder) as partial:
        partial.mkdir()
        paddle.save(network.state_dict(), str(partial / MODEL))
        state = optim.state_dict()
        if scaler is not None:
            state["GradScaler"] = scaler.state_dict()
        paddle.save(state, str(partial / OPTIMIZER))
        if ema is not None:
            paddle.save(ema.state_dict(), str(partial / EMA))
        (partial / STATE).write_text(json.dumps(asdict(progress), indent=1), encoding="utf-8")
        (partial / CONFIG).write_text(dump_config(config), encoding="utf-8")


def load_checkpoint(
    folder: Path, network: nn.Layer, optim: Any, ema: nn.Layer | None, scaler: Any | None
) -> Progress:
    """Put a run back to where a checkpoint left it.

    Raises:
        FileNotFoundError: the folder is not a complete checkpoint.
        ValueError: it belongs to another network or optimizer.
    """
    needed = [MODEL, OPTIMIZER, STATE, *([EMA] if ema is not None else [])]
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"--resume_model {folder}: holds no {', '.join(absent)}. Fix: give an iter_N folder of a run"
            + (" that used --use_ema" if absent == [EMA] else "")
        )
    load_strict(network, folder / MODEL)
    if ema is not None:
        load_strict(ema, folder / EMA)
    state = read_pickle(folder / OPTIMIZER)
    scaling = state.pop("GradScaler", None)
    if scaler is not None and scaling is not None:
        scaler.load_state_dict(scaling)
    _check_optimizer(folder, state, network)
    optim.set_state_dict(state)
    progress = Progress(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    progress.best = {name: (score, at) for name, (score, at) in progress.best.items()}
    return progress


def _check_optimizer(folder: Path, state: Mapping[str, Any], network: nn.Layer) -> None:
    names = tuple(parameter.name for parameter in network.parameters())
    foreign = [
        key for key in state if not key.startswith((*names, "LR_Scheduler", "StructuredTo", "master_w"))
    ]
    if foreign:
        raise ValueError(f"{folder / OPTIMIZER}: holds {foreign[0]}, which is no parameter of this network")


def prune(run: Path, folders: list[Path], keep: int) -> None:
    """Remove the oldest of a run's own checkpoints; 0 keeps all."""
    while 0 < keep < len(folders):
        oldest = folders.pop(0)
        if oldest.parent == run:
            shutil.rmtree(oldest, ignore_errors=True)
