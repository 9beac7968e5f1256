"""`u2net val`: measure a model on validation data."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from paddleseg_u2net.cli.flags import (
    HOW,
    INPUT,
    MAP_FLAGS,
    MODEL_FLAGS,
    Flags,
    add_augmentation_flags,
    add_group,
    augmentation_from,
    non_negative_int,
    parser,
    positive_int,
)
from paddleseg_u2net.config.loader import in_file
from paddleseg_u2net.environment.devices import threads_for

log = logging.getLogger(__name__)

EXAMPLES = """\
  u2net val --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams
  u2net val --model_path output
  u2net val --model_path u2netp --opts val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  u2net val --model_path u2netp --opts metrics=all val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  u2net val --model_path output --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
"""
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
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net val`."""
    flags = parser("u2net val", "Measure a model on the val_dataset of a config.", EXAMPLES)
    inputs = ("config", "model_path", "opts")
    add_group(flags, INPUT, {name: MODEL_FLAGS[name] for name in inputs})
    engine = {name: row for name, row in MODEL_FLAGS.items() if name not in inputs}
    add_group(flags, HOW, engine, VAL_FLAGS)
    add_augmentation_flags(flags, "aug_eval")
    add_group(flags, "saliency maps", MAP_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate a model and log its scores; returns the exit code."""
    args = build_parser().parse_args(argv)
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.evaluation.model import EvaluationSettings, evaluate
    from paddleseg_u2net.inference.model_source import config_of
    from paddleseg_u2net.inference.predictor import Predictor
    from paddleseg_u2net.metrics.protocol import MapProtocol

    config = config_of(args.model_path, args.config, args.opts)
    test_config = config.get("test_config", {})
    settings = EvaluationSettings.from_config(config, auc_roc=args.auc_roc)
    predictor = Predictor(
        args.model_path,
        config,
        args.device,
        augmentation_from(test_config, args),
        backend=args.backend,
        precision=args.precision,
        parallel=threads_for(),
        map_protocol=MapProtocol.from_options(vars(args), default=MapProtocol.from_options(test_config)),
    )

    from paddleseg_u2net.builders import build_dataset_spec

    with in_file(args.config or args.model_path):
        spec = build_dataset_spec(config, "val_dataset")
        settings.check(spec)
    (dataset,) = open_datasets([spec])
    scores = evaluate(predictor, dataset, settings, batch_size=args.batch_size, workers=args.num_workers)
    for line in scores.report():
        log.info(line)
    return 0
