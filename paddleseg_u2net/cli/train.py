"""`u2net train`, or `python train.py`: train a network, and with --do_eval keep the best model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.cli.flags import (
    DEVICE_FLAGS,
    HOW,
    INPUT,
    MULTILABEL,
    OUTPUT,
    Flags,
    add_group,
    augmentation_from,
    batch_count,
    non_negative_int,
    options,
    parse_with_config,
    parser,
    positive_float,
    positive_int,
    share,
    worker_count,
)
from paddleseg_u2net.config.loader import class_count, in_file, load_config, section
from paddleseg_u2net.data.section import record_decisions
from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.errors import ConfigError, counted
from paddleseg_u2net.evaluation.model import LOG_NAMES, EvaluationSettings
from paddleseg_u2net.io.locks import folder_lock
from paddleseg_u2net.models.pretrained import without_pretrained
from paddleseg_u2net.training.cpu_engine import CPU_ENGINES
from paddleseg_u2net.training.precision import PRECISIONS
from paddleseg_u2net.training.settings import EMA_DECAY, TrainingSettings

if TYPE_CHECKING:
    from paddleseg_u2net.data.dataset import Dataset
    from paddleseg_u2net.data.spec import DatasetSpec
    from paddleseg_u2net.training.trainer import Trainer

log = logging.getLogger(__name__)

EXAMPLES = """\
  u2net train --config configs/RGB/U2Net/u2net.yaml --save_interval 200 --do_eval
  u2net train --config configs/RGB/U2Net/u2netp_duts.yaml --do_eval --use_vdl --num_workers 4
  u2net train --config configs/RGB/U2Net/u2net.yaml --resume_model output/iter_400 --do_eval
  u2net train --config configs/RGB/U2Net/u2netp.yaml --overfit
  python train.py --config configs/RGB/U2Net/u2net.yaml --do_eval
  python -m paddle.distributed.launch train.py --config configs/RGB/U2Net/u2net_duts.yaml --do_eval
"""
FLAGS: dict[str, Flags] = {
    INPUT: {
        "config": {"required": True, "help": "YAML file of model, data, loss and schedule"},
        "opts": DEVICE_FLAGS["opts"],
        **MULTILABEL,
        "resume_model": {"type": Path, "help": "iter_N folder; the result is that of an uninterrupted run"},
    },
    "schedule": {
        "iters": {"type": positive_int, "help": "number of steps; replaces the config's"},
        "batch_size": {"type": batch_count, "help": "images per batch and process; replaces the config's"},
        "accumulate": {
            "type": batch_count,
            "default": 1,
            "help": "batches per step, whose gradients are averaged (%(default)s)",
        },
        "learning_rate": {"type": positive_float, "help": "replaces that of lr_scheduler"},
        "seed": {
            "type": non_negative_int,
            "help": "seed of initial weights, data order and augmentation; drawn and logged by default",
        },
        "overfit": {
            "action": "store_true",
            "help": "overfit two samples (sanity check) instead of training: at most --iters steps; --seed "
            "defaults to 0 (docs/data/check_dataset.md)",
        },
    },
    OUTPUT: {
        "save_dir": {
            "type": Path,
            "default": "./output",
            "help": "folder for checkpoints and records (%(default)s)",
        },
        "save_interval": {
            "type": positive_int,
            "default": 1000,
            "help": "steps between checkpoints (%(default)s)",
        },
        "keep_checkpoint_max": {
            "type": non_negative_int,
            "default": 5,
            "help": "number of iter_N folders to keep; 0 keeps all (%(default)s)",
        },
        "log_iters": {"type": positive_int, "default": 10, "help": "steps between log lines (%(default)s)"},
        "use_vdl": {"action": "store_true", "help": "write records for `visualdl --logdir output`"},
        "use_mlflow": {"action": "store_true", "help": "record to MLflow: its server, else output/mlruns"},
        "use_wandb": {"action": "store_true", "help": "record to Weights & Biases"},
        "use_ema": {"action": "store_true", "help": "also keep an exponential moving average of the weights"},
        "ema_decay": {
            "type": share,
            "help": f"share of the average that a step keeps, less in the first steps ({EMA_DECAY})",
        },
    },
    "evaluation": {
        "do_eval": {"action": "store_true", "help": "evaluate each checkpoint and keep the best model"},
        "early_stop_intervals": {
            "type": positive_int,
            "help": "stop after this number of evaluations without improvement",
        },
    },
    HOW: {
        "device": DEVICE_FLAGS["device"],
        "num_workers": {
            "type": worker_count,
            "default": 0,
            "help": "processes that load data (%(default)s)",
        },
        "precision": {
            "choices": list(PRECISIONS),
            "default": "fp32",
            "help": "fp16 needs a GPU; bf16 a GPU, or a CPU with units for it (%(default)s)",
        },
        "cpu_engine": {
            "choices": CPU_ENGINES,
            "default": "auto",
            "help": "what computes the steps on a CPU: auto takes oneDNN, several times faster than Paddle, "
            "where it works; the log says which (%(default)s)",
        },
        "amp_level": {
            "choices": ["O1", "O2"],
            "help": "half precision for selected operations (O1, the default) or for nearly all (O2)",
        },
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net train`."""
    flags = parser("u2net train", "Train a network on your images and masks.", EXAMPLES)
    for title, table in FLAGS.items():
        add_group(flags, title, table)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Train; return the exit code."""
    args = _parse(argv)
    config, device = _load(args), _set_device(args)
    with folder_lock(args.save_dir):
        if args.overfit:
            return _overfit(args, config)
        trainer, specs = _build(args, config, device)
        if trainer.finished:
            from paddleseg_u2net.training.saving import leave_finished_run

            leave_finished_run(trainer.settings, trainer.progress.iter)
            return 0
        data = _open_data(specs, trainer.rank.count)
        record_decisions(config, data)
        _prepare_folder(trainer, specs)
        trainer.run(*data)
        return _finish(trainer)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags and reject combinations that make no sense."""
    flags = build_parser()
    args = parse_with_config(flags, argv)
    if args.early_stop_intervals and not args.do_eval:
        flags.error("--early_stop_intervals needs --do_eval, which measures the improvement")
    if args.resume_model and args.seed is not None:
        flags.error("--seed: a resumed run keeps its own seed. Fix: leave it out")
    if args.overfit and (args.do_eval or args.resume_model or this_rank().count > 1):
        flags.error("--overfit trains new weights in one process, without --do_eval or --resume_model")
    if args.ema_decay and not args.use_ema:
        flags.error("--ema_decay needs --use_ema, which keeps the average")
    if args.amp_level and args.precision == "fp32":
        flags.error("--amp_level needs --precision fp16 or bf16")
    args.resume_model = args.resume_model and args.resume_model.resolve()
    args.amp_level = args.amp_level or "O1"
    args.ema_decay = args.ema_decay or EMA_DECAY
    return args


def _load(args: argparse.Namespace) -> dict[str, Any]:
    config = load_config(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=options(args),
    )
    for key in ("iters", "batch_size"):
        if key not in config:
            raise ConfigError(f"{args.config}: {key} is missing. Fix: add it, or --{key}")
    return config


def _set_device(args: argparse.Namespace) -> str:
    from paddleseg_u2net.environment.devices import set_device

    return set_device(args.device)


def _build(
    args: argparse.Namespace, config: dict[str, Any], device: str
) -> tuple[Trainer, list[DatasetSpec]]:
    """Build everything that takes part, without reading images or writing files."""
    augmentation = augmentation_from(config.get("test_config", {}))
    with in_file(args.config):
        metric = choose_metric(config)

    import paddle

    from paddleseg_u2net import builders
    from paddleseg_u2net.training import distributed
    from paddleseg_u2net.training.trainer import Trainer

    ranks = distributed.start_processes().count
    seed = distributed.draw_seed(ranks) if args.seed is None else args.seed
    settings = _settings(args, config, metric, seed)
    paddle.seed(seed)  # the same initial weights in every process
    with in_file(args.config):
        model = section(config, "model")
        if args.resume_model:
            model = without_pretrained(model)  # the checkpoint replaces these weights
        losses = builders.build_losses(config)
        keys = ("train_dataset", "val_dataset") if args.do_eval else ("train_dataset",)
        specs = [builders.build_dataset_spec(config, key) for key in keys]
        network = builders.build_network(model)
        optimizer = builders.build_optimizer(config, network)
        log.info("Training on %s, %s", device, counted(ranks, "process", "processes"))
        val_spec = specs[1] if args.do_eval else None
        return Trainer(network, optimizer, losses, config, settings, val_spec, augmentation), specs


def _settings(args: argparse.Namespace, config: dict[str, Any], metric: str, seed: int) -> TrainingSettings:
    """Settings from the flags of the same names, and from the config."""
    flags = {
        field.name: getattr(args, field.name)
        for field in fields(TrainingSettings)
        if hasattr(args, field.name)
    }
    config_values = {"iters": config["iters"], "batch_size": config["batch_size"]}
    return TrainingSettings(**{**flags, **config_values, "metric": metric, "seed": seed})


def choose_metric(config: dict[str, Any]) -> str:
    """Return the metric that selects the best model: `metric:`, else maxF for saliency, mIoU for classes.

    Raises:
        ConfigError: the metrics of the config do not suit its model.
    """
    metric = config.get("metric", "maxF" if class_count(config) == 1 else "mIoU")
    EvaluationSettings.from_config(config, metric)  # raises before training instead of after it
    return str(LOG_NAMES.get(metric, metric))


def _open_data(specs: list[DatasetSpec], ranks: int) -> list[Dataset]:
    """Check and open the data; no process goes on before all of them have found their data correct."""
    from paddleseg_u2net.data.dataset import Dataset
    from paddleseg_u2net.data_check.before_training import check_before_training
    from paddleseg_u2net.training.distributed import barrier

    data = [Dataset.from_inspection(inspection) for inspection in check_before_training(specs)]
    data[0][0, 0]  # transforms that cannot work fail before an earlier run is moved
    barrier(ranks)
    return data


def _prepare_folder(trainer: Trainer, specs: list[DatasetSpec]) -> None:
    from paddleseg_u2net.training.records import write_provenance
    from paddleseg_u2net.training.saving import prepare_run_folder

    if trainer.rank.index == 0:
        prepare_run_folder(trainer.config, trainer.settings, trainer.progress)
        write_provenance(trainer.settings.save_dir, {spec.name: spec for spec in specs})
    if not trainer.settings.resume_model:
        seed = trainer.progress.seed
        log.info("Seed %d: --seed %d repeats this run", seed, seed)


def _finish(trainer: Trainer) -> int:
    """Log how the run ended; return the exit code."""
    save_dir, step = trainer.settings.save_dir, trainer.progress.iter
    if trainer.interrupted and not trainer.finished:
        log.info("Resume with: --resume_model %s", save_dir / f"iter_{step}")
        return 128 + trainer.signals.number
    log.info("Done at iter %d of %d: %s", step, trainer.settings.iters, save_dir)
    return 0


def _overfit(args: argparse.Namespace, config: dict[str, Any]) -> int:
    """Overfit two samples instead of training; return 0 if that works, else 1."""
    from paddleseg_u2net import builders
    from paddleseg_u2net.data_check.before_training import check_before_training
    from paddleseg_u2net.training.overfit import overfit

    with in_file(args.config):
        spec = builders.build_dataset_spec(config, "train_dataset")
    (inspection,) = check_before_training([spec])
    result = overfit(
        config,
        inspection,
        args.save_dir,
        device=args.device,
        steps=args.iters,
        learning_rate=args.learning_rate,
        seed=args.seed or 0,
        precision=args.precision,
        amp_level=args.amp_level,
        cpu_engine=args.cpu_engine,
    )
    return 0 if result.learned else 1
