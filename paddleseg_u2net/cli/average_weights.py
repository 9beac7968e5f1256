"""`u2net average-weights`: average the weights of several checkpoints of one network."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.convert_weights import require_new, write_weights
from paddleseg_u2net.cli.flags import INPUT, OUTPUT, Flags, add_group, parser
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.inference.model_source import config_of, find_weights
from paddleseg_u2net.io.files import write_text
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.models.averaging import average_states
from paddleseg_u2net.models.checkpoint import CONFIG
from paddleseg_u2net.models.pretrained import read_weights

ABOUT = "Average the weights and BatchNorm statistics of checkpoints of one network."
EXAMPLES = """\
  u2net average-weights output/start.pdparams output --alpha 0.5 --save_path wise/model.pdparams
  u2net average-weights u2netp output --alpha 0.7 --save_path wise/model.pdparams
  u2net average-weights run_1 run_2 run_3 --save_path soup/model.safetensors
"""


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got '{text}'")


INPUT_FLAGS: Flags = {
    "weights": {
        "nargs": "+",
        "type": _number,
        "help": "share of each in the average, with a sum of 1; equal shares by default",
    },
    "alpha": {
        "type": _number,
        "help": "of two, (1 - alpha) * first + alpha * second: start and end of a run",
    },
    "config": {"help": "YAML file to write beside the weights; by default the one of the last model"},
}
ANOTHER_FOLDER = "choose another folder for --save_path"
OUTPUT_FLAGS: Flags = {
    "save_path": {
        "type": Path,
        "required": True,
        "help": "file to write: .pdparams, .safetensors, .npz; its config is written beside it",
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net average-weights`."""
    flags = parser("u2net average-weights", ABOUT, EXAMPLES)
    group = add_group(flags, INPUT, INPUT_FLAGS)
    group.add_argument("models", nargs="+", help="two or more: known names, weight files or run folders")
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run `u2net average-weights`; returns the exit code."""
    flags = build_parser()
    args = flags.parse_args(argv)
    if args.alpha is not None and (len(args.models) != 2 or args.weights):
        flags.error("--alpha: needs two models, and no --weights. Fix: --weights, one number per model")
    shares = [1 - args.alpha, args.alpha] if args.alpha is not None else args.weights
    target, config_path = args.save_path, args.save_path.with_name(CONFIG)
    with path_lock(config_path, ANOTHER_FOLDER), path_lock(target, ANOTHER_FOLDER):
        require_new(target)
        require_new(config_path, any_format=True)
        config = config_of(args.models[-1], args.config)
        states = {str(model): read_weights(find_weights(model)) for model in args.models}
        averaged = average_states(states, shares)
        line = write_weights(target, averaged)
        write_text(config_path, dump_config(config))
    print(f"{line}, averaged over {len(states)}, BatchNorm statistics included")
    return 0
