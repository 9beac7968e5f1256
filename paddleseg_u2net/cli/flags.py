"""What the flags of several commands share: rows of tables, and what they mean."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from paddleseg_u2net.config.schema import TEST_KEYS
from paddleseg_u2net.engines.base import BACKENDS
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.inference.predictor import TestTimeAugmentation
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.models.pretrained import KNOWN


class _Parser(argparse.ArgumentParser):
    """Errors are one line, with the flag that may have been meant."""

    def error(self, message: str) -> NoReturn:
        known = self._option_string_actions
        if message.startswith("unrecognized arguments") and (wrong := re.search(r"--\S+", message)):
            near = difflib.get_close_matches(wrong[0], known, n=1)
            message += f". Did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message}   (--help shows all flags)\n")


def parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose --help ends with examples."""
    return _Parser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def number(text: str) -> float:
    """A number above 0, for argparse."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def some_path(text: str) -> Path:
    """A path that is not empty, for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return Path(text)


DEVICE_FLAGS: dict[str, dict[str, Any]] = {
    "device": {"help": "cpu, gpu, xpu, npu or mlu; without it a GPU where there is one"},
    "opts": {
        "nargs": "+",
        "metavar": "KEY=VALUE",
        "help": "change the config: batch_size=2 model.num_classes=3",
    },
}
MODEL_FLAGS: dict[str, dict[str, Any]] = {
    "config": {"help": "YAML file; may be left out where the model carries its own"},
    "model_path": {
        "required": True,
        "help": f"known name ({', '.join(KNOWN)}), weight file, folder of a run or an export",
    },
    "backend": {"default": "auto", "help": f"auto (fastest that is installed), {', '.join(BACKENDS)}"},
    "precision": {
        "default": "auto",
        "help": "auto (fastest of proven quality for these weights and this CPU), fp32, int8, bf16",
    },
    **DEVICE_FLAGS,
}
AUGMENTED = {
    "scales": {"nargs": "+", "type": number, "help": "factors on the input, averaged"},
    "flip_horizontal": {"action": "store_true", "help": "look at the mirror image too"},
    "flip_vertical": {"action": "store_true", "help": "look at it upside down too"},
}
WINDOW = {
    "crop_size": {"nargs": 2, "type": positive, "metavar": ("W", "H"), "help": "window, with --is_slide"},
    "stride": {"nargs": 2, "type": positive, "metavar": ("W", "H"), "help": "step, with --is_slide"},
}
VIEW_FLAGS: dict[str, dict[str, Any]] = {
    **AUGMENTED,
    "is_slide": {"action": "store_true", "help": "slide a window over the input and average"},
    **WINDOW,
    "map_protocol": {
        "choices": [protocol.value for protocol in MapProtocol],
        "help": "saliency maps as predicted (plain), stretched to 0 .. 1 (minmax), or as the authors' script "
        "saves them: stretched, 8-bit, resized by Pillow (official)",
    },
    # None, not False, where they are not given: see `MapProtocol.from_options`
    "minmax": {"action": "store_true", "default": None, "help": "short for --map_protocol minmax"},
    "official": {"action": "store_true", "default": None, "help": "short for --map_protocol official"},
}


def add_flags(flags: argparse.ArgumentParser, table: Mapping[str, Mapping[str, Any]]) -> None:
    """Add a flag per row of a table."""
    for name, options in table.items():
        flags.add_argument(f"--{name}", **options)


def add_view_flags(flags: argparse.ArgumentParser, augment: str) -> None:
    """Test-time augmentation, switched on by `augment` (aug_eval or aug_pred), and the sliding window."""
    about = "use --scales and --flip_*, and average what they show"
    flags.add_argument(f"--{augment}", dest="aug_eval", action="store_true", help=about)
    add_flags(flags, VIEW_FLAGS)


def views_from(
    test_config: Mapping[str, Any], args: argparse.Namespace | None = None
) -> TestTimeAugmentation:
    """TestTimeAugmentation of a config's `test_config`, changed by flags.

    Raises:
        ConfigError: an option without the one that switches it on.
    """
    given = {key: value for key, value in (vars(args) if args else {}).items() if value and key in TEST_KEYS}
    options = {**test_config, **given}
    looks = {key: options[key] for key in AUGMENTED if options.get(key)}
    window = {key: options[key] for key in WINDOW if options.get(key)}
    if looks.get("scales") in (1, [1]):
        del looks["scales"]
    if getattr(args, "aug_eval", False) and not looks:
        raise ConfigError("--aug_eval and --aug_pred need --scales or --flip_*: what to average")
    if looks and not options.get("aug_eval"):
        idle = ", ".join(f"--{key}" if key in given else f"test_config: {key}" for key in looks)
        raise ConfigError(
            f"{idle}: of no effect alone. Fix: add --aug_eval (val) or --aug_pred (predict), or "
            "test_config: {aug_eval: true}"
        )
    if len(window) != 2 * bool(options.get("is_slide")):
        raise ConfigError("a sliding window needs --is_slide, --crop_size W H and --stride W H, all three")
    if "scales" in looks and not isinstance(looks["scales"], list):
        looks["scales"] = [looks["scales"]]
    return TestTimeAugmentation(**looks, **window)
