"""The predictor that the flags of `u2net val` and `u2net predict` ask for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from paddleseg_u2net.cli.flags import Flags, augmentation_from, non_negative_float, positive_int
from paddleseg_u2net.config.loader import in_file, preprocessing_of
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import Refinement, TwoPassPredictor
from paddleseg_u2net.metrics.protocol import MapProtocol

REFINE_FLAGS: Flags = {
    "refine": {
        "metavar": "MODEL",
        "help": "model that predicts a crop around what was found; its result is pasted; may be the same",
    },
    "refine_margin": {
        "type": non_negative_float,
        "metavar": "SHARE",
        "help": f"margin around the objects' box, as a share of its longer side ({Refinement.margin})",
    },
    "refine_size": {
        "type": positive_int,
        "metavar": "PIXELS",
        "help": f"smallest side of the crop ({Refinement.min_size})",
    },
}


def open_predictor(
    args: argparse.Namespace,
    config: Mapping[str, Any],
    device: str | None,
    parallel: int,
    map_protocol: MapProtocol,
) -> Predictor | TwoPassPredictor:
    """Open the model of the flags, and that of the second pass if they or the config ask for one.

    Args:
        args: flags of MODEL_FLAGS, of REFINE_FLAGS and of `add_augmentation_flags`.
        config: of the model; its `test_config` is followed where a flag is not given.
        device: see `load_engine`.
        parallel: number of threads that will call the predictor at once.
        map_protocol: how saliency maps are post-processed.
    """
    with in_file(args.config or args.model_path):
        preprocessing_of(config)  # raises for wrong values; the predictor does not know their file
    test_config = config.get("test_config", {})
    options: dict[str, Any] = {
        "device": device,
        "augmentation": augmentation_from(test_config, args),
        "backend": args.backend,
        "precision": args.precision,
        "parallel": parallel,
    }
    refinement = Refinement.from_options(test_config, vars(args))
    if refinement is None:
        return Predictor(args.model_path, config, map_protocol=map_protocol, **options)
    first = Predictor(args.model_path, config, **options)
    same = refinement.model_path == str(args.model_path)
    second = first if same else Predictor(refinement.model_path, **options)
    return TwoPassPredictor(first, second, refinement.margin, refinement.min_size, map_protocol)
