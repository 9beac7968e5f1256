"""Checkpoints: the complete state of a training run, written atomically and loaded to resume it."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.io.exchange import restore, take_place
from paddleseg_u2net.io.files import atomic_write, remove_folder, write_text
from paddleseg_u2net.models.pretrained import load_strict
from paddleseg_u2net.models.run_folders import (
    BEST,
    EMA,
    MODEL,
    OPTIMIZER,
    SHA256,
    STATE,
    checksums,
    numbered,
    read_json,
    verify_unchanged,
)
from paddleseg_u2net.models.safe_pickle import read_pickle

if TYPE_CHECKING:
    from paddle import nn

log = logging.getLogger(__name__)

CONFIG, START = "config.yaml", "start.pdparams"


@dataclass
class Progress:
    """Progress of a training run.

    Args:
        iter: number of steps done.
        samples: number of images drawn so far over all ranks; the data order continues from here.
        seed: seed of data order and augmentation.
        best: per network (`model`, `ema_model`), the best score and its iteration.
        stale: number of evaluations since the best score last improved.
        pending: whether the checkpoint has not been evaluated yet.
        metric: the measure of `best`.
        optimizer: type of the optimizer.
        engine: what computed the steps, and its precision; empty in checkpoints that do not say.
        sha256: checksums of the files of the checkpoint, by name; empty in older ones.
    """

    iter: int = 0
    samples: int = 0
    seed: int = 0
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    stale: int = 0
    pending: bool = False
    metric: str = ""
    optimizer: str = ""
    engine: str = ""
    sha256: dict[str, str] = field(default_factory=dict)


def save_best(run: Path, name: str, network: nn.Layer, config: Mapping[str, Any], progress: Progress) -> None:
    """Write the best network so far, its config, and a record of its score; they replace the earlier at once.

    Args:
        run: folder of the run.
        name: `model` or `ema_model`; its score is in `progress.best`.
        network: the network.
        config: what it was trained with.
        progress: of the run.
    """
    import paddle

    folder, weights = run / BEST[name], f"{name}.pdparams"
    score, at = progress.best[name]
    with atomic_write(folder, move=take_place) as partial:
        partial.mkdir()
        paddle.save(network.state_dict(), str(partial / weights))
        record = {"metric": progress.metric, "score": score, "iter": at}
        record[SHA256] = checksums(partial, [weights])
        (partial / STATE).write_text(json.dumps(record, indent=1), encoding="utf-8")
        (partial / CONFIG).write_text(dump_config(config), encoding="utf-8")
        for path in folder.glob("*"):  # what a user has put there stays
            if path.name not in (weights, STATE, CONFIG):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, partial / path.name)


def _best_iter(folder: Path) -> int | None:
    """The iteration of the model in a `best_model` folder; None without one."""
    try:
        return read_json(folder / STATE).get("iter") if (folder / STATE).is_file() else None
    except ValueError:
        return None


def save_progress(folder: Path, progress: Progress) -> None:
    """Replace the progress stored in a checkpoint folder."""
    write_text(folder / STATE, json.dumps(asdict(progress), indent=1))


def _to_numpy(state: Any) -> Any:
    """Tensors as arrays, also those of nested master weights, which Paddle would pickle as objects."""
    if isinstance(state, Mapping):
        return {key: _to_numpy(value) for key, value in state.items()}
    return state.numpy() if hasattr(state, "numpy") else state


def save_checkpoint(
    folder: Path,
    network: nn.Layer,
    optim: Any,
    ema: nn.Layer | None,
    scaler: Any | None,
    progress: Progress,
    config: Mapping[str, Any],
) -> None:
    """Write everything that resuming needs; the folder appears only once it is complete.

    Args:
        folder: `iter_N` folder to create.
        network: the network.
        optim: its optimizer, with the learning rate schedule.
        ema: network of averaged weights, or None.
        scaler: `GradScaler` of mixed precision, or None.
        progress: of the run; the type of the optimizer is added.
        config: of the run.
    """
    import paddle

    with atomic_write(folder) as partial:
        partial.mkdir()
        paddle.save(network.state_dict(), str(partial / MODEL))
        state = dict(optim.state_dict())
        if scaler is not None:
            state["GradScaler"] = scaler.state_dict()
        paddle.save(_to_numpy(state), str(partial / OPTIMIZER))
        if ema is not None:
            paddle.save(ema.state_dict(), str(partial / EMA))
        progress.optimizer = type(optim).__name__
        progress.sha256 = checksums(partial, [path.name for path in partial.iterdir()])
        (partial / STATE).write_text(json.dumps(asdict(progress), indent=1), encoding="utf-8")
        (partial / CONFIG).write_text(dump_config(config), encoding="utf-8")


def load_checkpoint(
    folder: Path, network: nn.Layer, optim: Any, ema: nn.Layer | None, scaler: Any | None, metric: str
) -> Progress:
    """Load a checkpoint into the objects of a run.

    The best score is reset, with a warning, if the metric is another one now or if the run folder no longer
    has that best model.

    Args:
        folder: `iter_N` folder.
        network: see `save_checkpoint`, also for the next three.
        optim: the optimizer.
        ema: network of averaged weights.
        scaler: of mixed precision.
        metric: measure of the best score now.

    Returns:
        The progress of the run.

    Raises:
        FileNotFoundError: the folder is not a complete checkpoint.
        ValueError: it belongs to another network or optimizer.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--resume_model {folder}: no such folder. Fix: give an iter_N folder of a run"
        )
    if not (folder / STATE).is_file() and (inside := numbered(folder)):
        raise FileNotFoundError(
            f"--resume_model {folder}: is the folder of a run. Fix: --resume_model {inside[-1]}"
        )
    needed = [MODEL, OPTIMIZER, STATE, *([EMA] if ema is not None else [])]
    absent = [name for name in needed if not (folder / name).is_file()]
    if STATE in absent and MODEL not in absent:
        raise FileNotFoundError(
            f"--resume_model {folder}: has no {STATE}, as checkpoints of PaddleSeg, and cannot be resumed. "
            f"Fix: start a new run from its weights: --opts model.pretrained={folder}"
        )
    if absent:
        raise FileNotFoundError(
            f"--resume_model {folder}: holds no {', '.join(absent)}. Fix: give an iter_N folder of a run"
            + (" that used --use_ema" if absent == [EMA] else "")
        )
    progress = _read_progress(folder / STATE)
    if progress.optimizer != type(optim).__name__:
        raise ValueError(
            f"--resume_model {folder}: was trained by {progress.optimizer}, the config says "
            f"{type(optim).__name__}. Fix: use the same optimizer, or start a new run with model.pretrained"
        )
    load_strict(network, folder / MODEL)
    if ema is not None:
        load_strict(ema, folder / EMA)
    _load_optimizer(folder / OPTIMIZER, optim, network, scaler)
    _reset_best(progress, folder.parent, metric)
    return progress


def _read_progress(path: Path) -> Progress:
    content = read_json(path)
    try:
        progress = Progress(**content)
        progress.best = {name: (float(score), int(at)) for name, (score, at) in progress.best.items()}
        if unknown := [name for name in progress.best if name not in BEST]:
            raise ValueError(f"best: {unknown[0]!r}, expected {' or '.join(BEST)}")
        for name in ("iter", "samples", "seed", "stale"):
            value = getattr(progress, name)
            if type(value) is not int or not 0 <= value < 2**63:
                raise ValueError(f"{name} is {value!r}, expected a whole number from 0")
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: is not the record of a run: {error}. Fix: resume from another checkpoint"
        ) from None
    return progress


def _reset_best(progress: Progress, run: Path, metric: str) -> None:
    """Remove best scores of another metric, and those whose model the run folder no longer has."""
    if progress.metric != metric:
        log.warning("The best score was of %s; for %s it is reset", progress.metric, metric)
        progress.best, progress.stale, progress.metric = {}, 0, metric
    for name, (score, at) in list(progress.best.items()):
        stored = _best_iter(restore(run / BEST[name]))
        if stored == at:
            continue
        del progress.best[name]
        if not (progress.pending and stored == progress.iter):  # otherwise this checkpoint is evaluated again
            log.warning(
                "%s no longer holds the best model (%s %.4f at iter %d); the best score is reset",
                run,
                metric,
                score,
                at,
            )


def _load_optimizer(path: Path, optim: Any, network: nn.Layer, scaler: Any | None) -> None:
    import paddle

    verify_unchanged(path)
    state = read_pickle(path)
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"{path}: is not the state of an optimizer. Fix: resume from another checkpoint")
    scaling = state.pop("GradScaler", None)
    if scaler is not None and scaling is not None:
        scaler.load_state_dict(scaling)
    names = tuple(parameter.name for parameter in network.parameters())
    known = (*names, "LR_Scheduler", "StructuredTo", "master_w")
    if foreign := [key for key in state if not key.startswith(known)]:
        raise ValueError(
            f"{path}: holds {foreign[0]}, which is not a parameter of this network. "
            "Fix: use the model section that the run was started with"
        )
    if "master_weights" in state:
        masters = state["master_weights"].items()
        state["master_weights"] = {key: paddle.to_tensor(value) for key, value in masters}
    with warnings.catch_warnings():
        # of Paddle's LinearWarmup, about what it stores itself
        warnings.filterwarnings("ignore", "There are some unused values in state_dict")
        optim.set_state_dict(state)


def copy_best(run: Path, save_dir: Path, progress: Progress) -> None:
    """Copy the best models of a resumed run from its earlier folder.

    Args:
        run: folder that the checkpoint is in.
        save_dir: folder of the resumed run.
        progress: of the resumed run; names the best models.
    """
    for name in progress.best:
        with atomic_write(save_dir / BEST[name]) as partial:
            shutil.copytree(restore(run / BEST[name]), partial)


def prune_checkpoints(run: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints of a run; 0 keeps all."""
    for oldest in numbered(run)[:-keep] if keep else ():
        remove_folder(oldest)
