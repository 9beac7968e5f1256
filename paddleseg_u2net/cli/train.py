"""`python train.py`: train, and with --do_eval keep the best model."""

from __future__ import annotations

import argparse
import logging
import secrets
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.cli.flags import (
    DEVICE_FLAGS,
    add_flags,
    augmentation_from,
    count,
    number,
    parser,
    positive,
)
from paddleseg_u2net.config.loader import class_count, in_file, load_config, section
from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.evaluation.model import LOG_NAMES, EvaluationSettings
from paddleseg_u2net.io.files import remove_partial_files, require_writable
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.training.settings import PRECISIONS, Settings, amp_options

if TYPE_CHECKING:
    from paddleseg_u2net.data.dataset import Dataset
    from paddleseg_u2net.training.trainer import Trainer

log = logging.getLogger(__name__)

EXAMPLES = """\
  python train.py --config configs/RGB/U2Net/u2net.yaml --save_interval 200 --do_eval
  python train.py --config configs/RGB/U2Net/u2netp_duts.yaml --do_eval --use_vdl --num_workers 4
  python train.py --config configs/RGB/U2Net/u2net.yaml --resume_model output/iter_400 --do_eval
  python train.py --config configs/RGB/U2Net/u2netp.yaml --overfit
  python -m paddle.distributed.launch train.py --config configs/RGB/U2Net/u2net_duts.yaml --do_eval
"""


FLAGS: dict[str, dict[str, Any]] = {
    "config": {"required": True, "help": "YAML file of model, data, loss and schedule"},
    **DEVICE_FLAGS,
    "save_dir": {"type": Path, "default": "./output", "help": "checkpoints and records (%(default)s)"},
    "iters": {"type": positive, "help": "steps; replaces the config's"},
    "batch_size": {"type": positive, "help": "images a step and process; replaces the config's"},
    "learning_rate": {"type": number, "help": "replaces that of lr_scheduler"},
    "save_interval": {"type": positive, "default": 1000, "help": "steps between checkpoints (%(default)s)"},
    "log_iters": {"type": positive, "default": 10, "help": "steps between log lines (%(default)s)"},
    "num_workers": {"type": count, "default": 0, "help": "processes that load data (%(default)s)"},
    "do_eval": {"action": "store_true", "help": "evaluate at each checkpoint and keep the best model"},
    "early_stop_intervals": {"type": positive, "help": "stop after so many evaluations without a better one"},
    "keep_checkpoint_max": {
        "type": count,
        "default": 5,
        "help": "iter_N folders kept; 0 for all (%(default)s)",
    },
    "resume_model": {"type": Path, "help": "iter_N folder to go on from, exactly as if never stopped"},
    "use_ema": {"action": "store_true", "help": "keep a running average of the weights too"},
    "use_vdl": {"action": "store_true", "help": "record for VisualDL: visualdl --logdir output"},
    "seed": {"type": count, "help": "of data order and augmentation; drawn and printed where it is left out"},
    "precision": {"choices": list(PRECISIONS), "default": "fp32", "help": "half precision needs a GPU"},
    "overfit": {
        "action": "store_true",
        "help": "only try whether the network learns two pairs by heart, in --iters steps, with --seed (0 "
        "where it is left out) and --precision (docs/data/check_dataset.md)",
    },
    "amp_level": {"choices": ["O1", "O2"], "help": "how much is half precision (O1)"},
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; see `train.py --help`."""
    flags = parser("train.py", "Train a network on your images and masks.", EXAMPLES)
    add_flags(flags, FLAGS)
    args = flags.parse_args(argv)
    if args.early_stop_intervals and not args.do_eval:
        flags.error("--early_stop_intervals needs --do_eval: there is nothing to compare without it")
    if args.resume_model and args.seed is not None:
        flags.error("--seed: a resumed run goes on with its own")
    if args.overfit and (args.do_eval or args.resume_model or this_rank().count > 1):
        flags.error("--overfit tries new weights in one process: without --do_eval, --resume_model, launcher")
    if args.amp_level and args.precision == "fp32":
        flags.error("--amp_level needs --precision fp16 or bf16")
    args.resume_model = args.resume_model and args.resume_model.resolve()
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit code."""
    args = parse(argv)
    config = _load(args)
    device = _set_device(args)
    if args.overfit:
        return _overfit(args, config)
    trainer = _build(args, config, device)
    progress, iters = trainer.progress, trainer.settings.iters
    if trainer.finished:
        log.info("Nothing to do: %s is at iter %d of %d", args.resume_model, progress.iter, iters)
        return 0
    data = _admit(trainer)
    if trainer.rank == 0:
        _prepare_folder(args, config, trainer.settings, progress)
    if not args.resume_model:
        log.info("Seed %d: --seed %d repeats this run", progress.seed, progress.seed)
    trainer.run(*data)
    if trainer.interrupted and not trainer.finished:
        log.info("Go on with: --resume_model %s", args.save_dir / f"iter_{progress.iter}")
        return 130
    log.info("Done at iter %d of %d: %s", progress.iter, iters, args.save_dir)
    return 0


def _load(args: argparse.Namespace) -> dict[str, Any]:
    config = load_config(
        args.config,
        learning_rate=args.learning_rate,
        batch_size=args.batch_size,
        iters=args.iters,
        opts=args.opts,
    )
    for key in ("iters", "batch_size"):
        if key not in config:
            raise ConfigError(f"{args.config}: {key} is missing. Fix: add it, or --{key}")
    return config


def _set_device(args: argparse.Namespace) -> str:
    """Choose it, and refuse a precision that it cannot compute and a folder that takes no results."""
    from paddleseg_u2net.environment.devices import set_device

    device = set_device(args.device)
    amp_options(args.precision, args.amp_level or "O1", device)
    require_writable(args.save_dir)
    return device


def _build(args: argparse.Namespace, config: dict[str, Any], device: str) -> Trainer:
    """All that takes part, with nothing read of the data and nothing written."""
    views = augmentation_from(config.get("test_config", {}))
    metric = choose_metric(config, args.do_eval)
    ranks = start_ranks()

    import paddle

    from paddleseg_u2net import builders
    from paddleseg_u2net.training import trainer

    model = {
        k: v for k, v in section(config, "model").items() if not (args.resume_model and k == "pretrained")
    }
    settings = Settings(**_settings(args, config) | {"metric": metric, "seed": _seed(args, ranks)})
    paddle.seed(settings.seed)  # what starts at random, alike in every process
    with in_file(args.config):
        losses = builders.build_losses(config)
        train_spec = builders.build_dataset_spec(config, "train_dataset")
        val_spec = builders.build_dataset_spec(config, "val_dataset") if args.do_eval else None
        network = builders.build_network(model)
        optimizer = builders.build_optimizer(config, network)
    log.info("Training on %s, %d process(es)", device, ranks)
    return trainer.Trainer(network, optimizer, losses, train_spec, val_spec, config, settings, views)


def _admit(trainer: Trainer) -> list[Dataset]:
    """Check training and validation data; all ranks wait for each other."""
    from paddleseg_u2net.data.dataset import Dataset
    from paddleseg_u2net.data_check.checks import check_before_training

    specs = [spec for spec in (trainer.train_spec, trainer.val_spec) if spec]
    data = [Dataset.from_inspection(inspection) for inspection in check_before_training(specs)]
    data[0][0, 0]  # transforms that cannot work fail before an earlier run is moved
    if trainer.ranks > 1:
        import paddle.distributed as dist

        dist.barrier()
    return data


def _overfit(args: argparse.Namespace, config: dict[str, Any]) -> int:
    """Try two pairs in place of training; returns the exit code, 1 where they cannot be learned."""
    from paddleseg_u2net import builders
    from paddleseg_u2net.data_check.checks import check_before_training
    from paddleseg_u2net.training.overfit import overfit

    with in_file(args.config):
        spec = builders.build_dataset_spec(config, "train_dataset")
    run = {"seed": args.seed or 0, "precision": args.precision, "amp_level": args.amp_level or "O1"}
    (inspection,) = check_before_training([spec])
    outcome = overfit(config, inspection, args.save_dir, args.device, args.iters, args.learning_rate, **run)
    return 0 if outcome.learned else 1


def _prepare_folder(
    args: argparse.Namespace, config: dict[str, Any], settings: Settings, progress: checkpoint.Progress
) -> None:
    """Make room for a run: keep what is there, bring what it goes on from."""
    remove_partial_files(args.save_dir)
    source = args.resume_model.parent if args.resume_model else None
    here = source is not None and source == args.save_dir.resolve()
    earlier = checkpoint.keep_earlier_run(args.save_dir, progress if here else None)
    if earlier:
        log.info("What was in %s before is kept in %s", args.save_dir, earlier)
    if source and not here:
        checkpoint.bring_best(source, args.save_dir, progress)
    settings.seed = progress.seed
    checkpoint.write_run_record(args.save_dir, config, settings)


def _settings(args: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """The flags, and what the config says where they are left out."""
    flags = {field.name: getattr(args, field.name) for field in fields(Settings) if hasattr(args, field.name)}
    return flags | {
        "iters": config["iters"],
        "batch_size": config["batch_size"],
        "amp_level": args.amp_level or "O1",
    }


def choose_metric(config: dict[str, Any], do_eval: bool) -> str:
    """What the best model is chosen by: `metric:`, else maxF for saliency and mIoU for classes."""
    metric = config.get("metric", "maxF" if class_count(config) == 1 else "mIoU")
    if do_eval:
        EvaluationSettings.from_config(config, metric)  # refuses what cannot be measured, before training
    return str(LOG_NAMES.get(metric, metric))


def start_ranks() -> int:
    """Join the other processes of `paddle.distributed.launch`, where there are any; returns their number."""
    ranks = this_rank().count
    if ranks > 1:
        import paddle.distributed as dist

        dist.init_parallel_env()
    return ranks


def _seed(args: argparse.Namespace, ranks: int) -> int:
    """The seed given, or a drawn one that all ranks share."""
    if args.seed is not None:
        return args.seed
    drawn = secrets.randbelow(2**31)
    if ranks > 1:
        import paddle.distributed as dist

        shared: list[int] = []
        dist.all_gather_object(shared, drawn)
        drawn = shared[0]
    return drawn
