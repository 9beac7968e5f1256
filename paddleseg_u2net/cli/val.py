"""`python val.py`: measure a model on validation data."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Any

from paddleseg_u2net.cli.flags import (
    MODEL_FLAGS,
    add_flags,
    add_view_flags,
    count,
    parser,
    positive,
    views_from,
)
from paddleseg_u2net.config.loader import in_file
from paddleseg_u2net.environment.devices import threads_for

log = logging.getLogger(__name__)

EXAMPLES = """\
  python val.py --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams
  python val.py --model_path output
  python val.py --model_path u2netp --opts val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  python val.py --model_path u2netp --opts metrics=all val_dataset.dataset_root=data/ECSSD \\
      val_dataset.image_dir=images val_dataset.mask_dir=masks
  python val.py --model_path output --aug_eval --scales 0.75 1.0 1.25 --flip_horizontal
"""


FLAGS: dict[str, dict[str, Any]] = {
    **MODEL_FLAGS,
    "num_workers": {
        "type": count,
        "default": 0,
        "help": "threads that read and measure while the model predicts (0: one a core)",
    },
    "batch_size": {"type": positive, "default": 1, "help": "images at once, where sizes allow (%(default)s)"},
    "auc_roc": {"action": "store_true", "help": "measure the area under the ROC curve too"},
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags; see `val.py --help`."""
    flags = parser("val.py", "Measure a model on the val_dataset of a config.", EXAMPLES)
    add_flags(flags, FLAGS)
    add_view_flags(flags, "aug_eval")
    return flags.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit code."""
    args = parse(argv)
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.evaluation.model import Protocol, evaluate
    from paddleseg_u2net.inference.model_source import config_of
    from paddleseg_u2net.inference.predictor import Predictor, maps_of

    config = config_of(args.model_path, args.config, args.opts)
    test = config.get("test_config", {})
    views = views_from(test, args)
    protocol = Protocol.of(config, auc_roc=args.auc_roc)
    predictor = Predictor(
        *(args.model_path, config, args.device, views, args.backend, args.precision, threads_for()),
        maps=maps_of(vars(args) if args.minmax or args.official else test),
    )

    from paddleseg_u2net.builders import build_dataset_spec

    with in_file(args.config or args.model_path):
        spec = build_dataset_spec(config, "val_dataset")
        protocol.check(spec)
    (dataset,) = open_datasets([spec])
    scores = evaluate(predictor, dataset, protocol, batch_size=args.batch_size, workers=args.num_workers)
    for line in scores.report():
        log.info(line)
    return 0
