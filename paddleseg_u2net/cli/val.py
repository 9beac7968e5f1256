"""`u2net val`: measure a model on validation data."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.cli.flags import (
    HOW,
    INPUT,
    MAP_FLAGS,
    MODEL_FLAGS,
    MULTILABEL,
    OUTPUT,
    REFINE,
    Flags,
    add_augmentation_flags,
    add_group,
    config_defaults,
    non_negative_int,
    nonempty_path,
    options,
    parser,
    positive_int,
)
from paddleseg_u2net.config.loader import in_file
from paddleseg_u2net.config.runtime import flag_values
from paddleseg_u2net.engines.deploy_config import CARRIED
from paddleseg_u2net.environment.devices import threads_for
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.locks import folder_lock
from paddleseg_u2net.metrics.protocol import AbsentClasses

if TYPE_CHECKING:
    from paddleseg_u2net.data.spec import DatasetSpec
    from paddleseg_u2net.inference.predictor import Predictor
    from paddleseg_u2net.inference.refine import TwoPassPredictor

log = logging.getLogger(__name__)

EXAMPLES = """\
  u2net val --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams
  u2net val --model_path output
  u2net val --model_path u2netp --opts val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  u2net val --model_path u2netp --opts metrics=all val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  u2net val --model_path output --opts val_dataset.val_path=test_list.txt --save_dir scores
  u2net val --model_path output --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
  u2net val --model_path output --refine output/close --refine_margin 0.5
"""
SAVE_FLAGS: Flags = {
    "save_dir": {
        "type": nonempty_path,
        "metavar": "FOLDER",
        "help": "also write metrics.json, per_image.csv (worst first), the curves, the confusion matrix, and "
        "pictures of the best and the worst images; u2net report makes a page of them",
    },
}
VAL_FLAGS: Flags = {
    "num_workers": {
        "type": non_negative_int,
        "default": 0,
        "help": "threads that read images and compute measures while the model predicts (0: one per core)",
    },
    "batch_size": {
        "type": positive_int,
        "default": 1,
        "help": "images predicted at once if their sizes allow it (%(default)s)",
    },
    "auc_roc": {"action": "store_true", "help": "also compute the area under the ROC curve"},
    "absent_classes": {
        "choices": [rule.value for rule in AbsentClasses],
        "help": "classes in no mask and no prediction: left out of mIoU and Dice (skip, the default), or "
        "counted as 0, as in PaddleSeg (zero)",
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net val`."""
    flags = parser("u2net val", "Measure a model on the val_dataset of a config.", EXAMPLES)
    from paddleseg_u2net.cli.model import REFINE_FLAGS

    inputs = ("config", "model_path", "opts")
    add_group(flags, INPUT, {name: MODEL_FLAGS[name] for name in inputs}, MULTILABEL)
    add_group(flags, OUTPUT, SAVE_FLAGS)
    engine = {name: row for name, row in MODEL_FLAGS.items() if name not in inputs}
    add_group(flags, HOW, engine, VAL_FLAGS)
    add_augmentation_flags(flags, "aug_eval")
    add_group(flags, REFINE, REFINE_FLAGS)
    add_group(flags, "saliency maps", MAP_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a model and log its scores; returns the exit code."""
    flags = build_parser()
    args = flags.parse_args(argv)
    from paddleseg_u2net.cli.model import open_predictor
    from paddleseg_u2net.config.loader import class_names
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.evaluation.details import Details
    from paddleseg_u2net.evaluation.model import EvaluationSettings, evaluate
    from paddleseg_u2net.inference.model_source import config_of
    from paddleseg_u2net.metrics.protocol import MapProtocol

    config = config_of(args.model_path, args.config, options(args))
    config_defaults(flags, flag_values(config, ["global"]), args.config or args.model_path)
    args = flags.parse_args(argv)
    settings = EvaluationSettings.from_config(config, None, args.auc_roc, args.absent_classes)
    in_config = MapProtocol.from_options(config.get("test_config", {}))
    map_protocol = MapProtocol.from_options(vars(args), default=in_config)
    with results_folder(args.save_dir):
        predictor = open_predictor(args, config, args.device, threads_for(), map_protocol)

        from paddleseg_u2net.builders import build_dataset_spec

        with in_file(args.config or args.model_path):
            names, spec = class_names(config), build_dataset_spec(config, "val_dataset")
            settings.check(spec)
        (dataset,) = open_datasets([spec])
        details = Details(dataset, names)
        scores = evaluate(
            predictor,
            dataset,
            settings,
            batch_size=args.batch_size,
            workers=args.num_workers,
            on_image=details.add if args.save_dir else None,
        )
        for line in [*scores.report(), *scores.report_over_images()]:
            log.info(line)
        if args.save_dir:
            details.write(args.save_dir, scores, predictor, record(args, config, predictor, spec))
            log.info("Written to %s", args.save_dir)
    return 0


@contextlib.contextmanager
def results_folder(folder: Path | None) -> Iterator[None]:
    """Lock the folder of --save_dir, if it is given, after checking that its files can be written."""
    if folder is None:
        yield
        return
    need("matplotlib")
    with folder_lock(folder):
        yield


def record(
    args: argparse.Namespace,
    config: Mapping[str, Any],
    predictor: Predictor | TwoPassPredictor,
    spec: DatasetSpec,
) -> dict[str, Any]:
    """What the scores depend on, as plain data: models, how they predict, config, data, versions."""
    from paddleseg_u2net.data.fingerprint import fingerprint
    from paddleseg_u2net.environment.provenance import command_line, package_versions
    from paddleseg_u2net.inference.model_source import describe
    from paddleseg_u2net.inference.refine import Refinement, TwoPassPredictor

    two_passes = isinstance(predictor, TwoPassPredictor)
    first = predictor.first if two_passes else predictor
    refinement = Refinement.from_options(config.get("test_config", {}), vars(args))
    refine = None
    if two_passes and refinement:
        refine = {**asdict(refinement), **describe(refinement.model_path, predictor.second.engine)}
    return {
        "model": describe(args.model_path, first.engine),
        "refine": refine,
        "augmentation": asdict(first.augmentation),
        "config": {key: config[key] for key in CARRIED if key in config},
        "command": command_line(),
        "versions": package_versions(),
        "data": {spec.name: fingerprint(spec.pairs)},
    }
