"""Flags that several commands share, and their conversion to the objects of the package."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.config.runtime import flag_values
from paddleseg_u2net.config.schema import LARGEST, MAX_BATCH, TEST_KEYS
from paddleseg_u2net.engines.base import BACKENDS
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.models.known_weights import KNOWN

Flags = Mapping[str, dict[str, Any]]  # name without dashes -> keyword arguments of `add_argument`
# titles of groups of flags
INPUT, OUTPUT, HOW = "input", "output", "settings"
MAX_WORKERS = 1024
REFINE = "second pass on a crop, for small objects"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that suggests the flag that may have been meant."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += self._hint(message)
        self.exit(2, f"{self.prog}: error: {message}   (--help shows all flags)\n")

    def _hint(self, message: str) -> str:
        wrong = re.search(r"--\S+", message)
        near = difflib.get_close_matches(wrong[0], self._option_string_actions, n=1) if wrong else []
        if near:
            return f". Did you mean {near[0]}?"
        files = [word for word in message.split() if word.startswith("-") and os.path.exists(word)]
        return f". Fix: ./{files[0]} for a file whose name starts with a dash" if files else ""


def parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser whose --help ends with examples."""
    return _Parser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive_int(text: str) -> int:
    """Convert the value of a flag to a whole number above 0, at most LARGEST."""
    return _whole_number(text, "a whole number above 0", 1, LARGEST)


def non_negative_int(text: str) -> int:
    """Convert the value of a flag to a whole number from 0 to LARGEST."""
    return _whole_number(text, "a whole number, 0 or more", 0, LARGEST)


def batch_count(text: str) -> int:
    """Convert the value of a flag to a number of images, batches or processes, from 1 to MAX_BATCH."""
    return _whole_number(text, "a whole number above 0", 1, MAX_BATCH)


def worker_count(text: str) -> int:
    """Convert the value of a flag to a number of processes or threads, from 0 to MAX_WORKERS."""
    return _whole_number(text, "a whole number, 0 or more", 0, MAX_WORKERS)


def small_count(text: str) -> int:
    """Convert the value of a flag to a whole number from 0 to 100."""
    return _whole_number(text, "a whole number, 0 or more", 0, 100)


def _whole_number(text: str, expected: str, low: int, high: int) -> int:
    """Convert text to a whole number in a range."""
    if not text.isdecimal() or len(text) > 20 or int(text) > high:
        expected += f", at most {high}" if text.isdecimal() else ""
    elif int(text) >= low:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected {expected}, got '{text[:40]}'")


def positive_float(text: str) -> float:
    """Convert the value of a flag to a finite number above 0."""
    return _number(text, "a number above 0", lambda value: 0 < value < math.inf)


def share(text: str) -> float:
    """Convert the value of a flag to a number between 0 and 1, both excluded."""
    return _number(text, "a number above 0 and below 1", lambda value: 0 < value < 1)


def unit_float(text: str) -> float:
    """Convert the value of a flag to a number from 0 to 1."""
    return _number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def non_negative_float(text: str) -> float:
    """Convert the value of a flag to a finite number, 0 or more."""
    return _number(text, "a number, 0 or more", lambda value: 0 <= value < math.inf)


def number_between(low: float, high: float) -> Callable[[str], float]:
    """A function that converts the value of a flag to a number from `low` to `high`."""
    expected = f"a number from {low:g} to {high:g}"
    return lambda text: _number(text, expected, lambda value: low <= value <= high)


def _number(text: str, expected: str, accepts: Callable[[float], bool]) -> float:
    """Convert text to a number in a range; `expected` names the range in the message."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accepts(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got '{text}'")
    return value


def nonempty_path(text: str) -> Path:
    """Convert the value of a flag to a path; an empty text would mean the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


DEVICE_FLAGS: Flags = {
    "device": {"help": "cpu, gpu, xpu, npu or mlu; default: a GPU if there is one, else the CPU"},
    "opts": {
        "nargs": "+",
        "metavar": "KEY=VALUE",
        "help": "change the config: batch_size=2 model.num_classes=3",
    },
}
MODEL_FLAGS: Flags = {
    "config": {"help": "YAML file; not needed if the model carries its own"},
    "model_path": {
        "required": True,
        "help": f"known name ({', '.join(KNOWN)}), weight file, folder of a run or of an export",
    },
    "backend": {
        "default": "auto",
        "help": f"engine that runs the model: {', '.join(BACKENDS)}, or auto for the fastest installed",
    },
    "precision": {
        "default": "auto",
        "help": "fp32, int8, bf16, or auto for the fastest whose accuracy is verified for these weights and "
        "this CPU",
    },
    **DEVICE_FLAGS,
}
MULTILABEL: Flags = {
    "use_multilabel": {
        "action": "store_true",
        "help": "the classes are labels that may overlap, by a sigmoid each; masks are num_classes times as "
        "wide as their images; short for --opts use_multilabel=true, which the config of a run keeps",
    },
}
AUGMENTED: Flags = {
    "scales": {"nargs": "+", "type": positive_float, "help": "factors on the size of the input"},
    "flip_horizontal": {"action": "store_true", "help": "predict the mirrored input too"},
    "flip_vertical": {"action": "store_true", "help": "predict the upside-down input too"},
}
WINDOW: Flags = {
    "crop_size": {
        "nargs": 2,
        "type": positive_int,
        "metavar": ("W", "H"),
        "help": "size of the window, with --is_slide",
    },
    "stride": {
        "nargs": 2,
        "type": positive_int,
        "metavar": ("W", "H"),
        "help": "step of the window, with --is_slide",
    },
}
MAP_FLAGS: Flags = {
    "map_protocol": {
        "choices": [protocol.value for protocol in MapProtocol],
        "help": "saliency maps as predicted (plain), stretched to 0 .. 1 (minmax), or as the authors' script "
        "saves them: stretched, 8-bit, resized by Pillow (official)",
    },
    # None, not False, where they are not given: see `MapProtocol.from_options`
    "minmax": {"action": "store_true", "default": None, "help": "short for --map_protocol minmax"},
    "official": {"action": "store_true", "default": None, "help": "short for --map_protocol official"},
}


def config_defaults(target: argparse.ArgumentParser, values: Mapping[str, Any], config: str | Path) -> None:
    """Make the values of flags that a config gives the defaults of these flags; exit code 2 for wrong ones.

    Args:
        target: the parser; flags that it does not have are left out.
        values: from `config.runtime.flag_values`.
        config: the file, for messages.
    """
    for name, value in values.items():
        action = target._option_string_actions.get(f"--{name}")
        if action is None:
            continue
        if action.choices and value not in action.choices:
            target.error(f"{config}: {name}: expected {', '.join(map(str, action.choices))}, got {value!r}")
        if action.nargs == 0 and not isinstance(value, bool):
            target.error(f"{config}: {name}: expected true or false, got {value!r}")
        if callable(action.type):
            try:
                action.type(str(value))
            except (argparse.ArgumentTypeError, ValueError) as error:
                target.error(f"{config}: {name}: {error}")
        # argparse converts defaults that are text
        target.set_defaults(**{name: value if action.nargs == 0 else str(value)})


def options(args: argparse.Namespace) -> list[str]:
    """The changes of the config that the flags ask for: `--opts` and `--use_multilabel`."""
    return [*(args.opts or ()), *(["use_multilabel=true"] if args.use_multilabel else [])]


def parse_with_config(target: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags of a training; those that are not given have the values of its config."""
    args = target.parse_args(argv)
    values = flag_values(load_config(args.config, opts=options(args)))
    if args.resume_model or "resume_model" in values:
        values.pop("seed", None)  # the run keeps its own
    config_defaults(target, values, args.config)
    level, args = args.amp_level, target.parse_args(argv)
    if args.precision == "fp32":
        args.amp_level = level  # that of the config has no effect
    return args


def add_flags(target: argparse._ActionsContainer, flags: Flags) -> None:
    """Add the flags of a table to a parser or to one of its groups."""
    for name, options in flags.items():
        target.add_argument(f"--{name}", **options)


def add_group(target: argparse.ArgumentParser, title: str, *tables: Flags) -> argparse._ArgumentGroup:
    """Add a group of flags to a parser.

    Args:
        target: the parser.
        title: heading in --help: INPUT, OUTPUT, HOW, or another.
        tables: the flags, in the order of --help.

    Returns:
        The group, for what is not a flag of a table.
    """
    group = target.add_argument_group(title)
    for flags in tables:
        add_flags(group, flags)
    return group


def add_augmentation_flags(target: argparse.ArgumentParser, switch: str) -> None:
    """Add the group of test-time augmentation and sliding window.

    Args:
        target: the parser.
        switch: name of the flag that switches augmentation on, `aug_eval` or `aug_pred`.
    """
    group = target.add_argument_group("test-time augmentation and sliding window")
    about = "average the predictions of --scales and --flip_*"
    group.add_argument(f"--{switch}", dest="aug_eval", action="store_true", help=about)
    target.set_defaults(switch=f"--{switch}")
    add_flags(group, AUGMENTED)
    group.add_argument("--is_slide", action="store_true", help="average the predictions of a sliding window")
    add_flags(group, WINDOW)


def augmentation_from(
    test_config: Mapping[str, Any], args: argparse.Namespace | None = None
) -> TestTimeAugmentation:
    """Test-time augmentation of a config, changed by flags.

    Args:
        test_config: section `test_config` of the config.
        args: flags of `add_augmentation_flags`.

    Raises:
        ConfigError: an option without the one that switches it on.
    """
    given = {key: value for key, value in (vars(args) if args else {}).items() if value and key in TEST_KEYS}
    options = {**test_config, **given}
    augmented = {key: options[key] for key in AUGMENTED if options.get(key)}
    window = {key: options[key] for key in WINDOW if options.get(key)}
    if augmented.get("scales") in (1, [1]):
        del augmented["scales"]
    in_config, switch = "test_config: {aug_eval: true}", getattr(args, "switch", None)
    if getattr(args, "aug_eval", False) and not augmented:
        raise ConfigError(f"{switch}: nothing to average. Fix: add --scales or --flip_horizontal")
    if augmented and not options.get("aug_eval"):
        idle = ", ".join(f"--{key}" if key in given else f"test_config: {key}" for key in augmented)
        raise ConfigError(f"{idle}: no effect alone. Fix: add {switch or in_config}")
    if len(window) != (len(WINDOW) if options.get("is_slide") else 0):
        keys = "test_config: {is_slide: true, crop_size: [W, H], stride: [W, H]}"
        fix = "--is_slide, --crop_size W H and --stride W H" if args else keys
        raise ConfigError(f"a sliding window is incomplete. Fix: {fix}")
    if "scales" in augmented and not isinstance(augmented["scales"], list):
        augmented["scales"] = [augmented["scales"]]
    return TestTimeAugmentation(**augmented, **window)
