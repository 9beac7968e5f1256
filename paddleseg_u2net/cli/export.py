"""`u2net export`: write a model as ONNX, OpenVINO or Paddle files and verify them on real images."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.cli.flags import HOW, INPUT, MODEL_FLAGS, OUTPUT, Flags, add_group, parser
from paddleseg_u2net.config.loader import is_multilabel, preprocessing_of, section
from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.engines.deploy_config import OUTPUT_OPS
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.export.exporter import REPORT, check_options, export
from paddleseg_u2net.export.formats import FORMATS
from paddleseg_u2net.export.onnx_preprocessing import check_writable
from paddleseg_u2net.export.quantization import Quantization, calibrate
from paddleseg_u2net.export.repositories import SERVERS, Repository
from paddleseg_u2net.export.verify import make_sample
from paddleseg_u2net.inference.model_source import build, config_of
from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.listing import list_images
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.models.weight_files import state_of

log = logging.getLogger(__name__)

IMAGES, CALIBRATION_IMAGES = 20, 24
# fp16 stores the convolutions that cancel large terms in float32; a few images show which they are
FP16_CALIBRATION_IMAGES = 4
ABOUT = """\
Write a model as ONNX, OpenVINO or Paddle files, compare it with the Paddle network on real images, and keep
it only where it predicts alike. `u2net predict --model_path FOLDER` predicts with the result."""
EXAMPLES = """\
  u2net export --model_path output --save_dir exported --format onnx
  u2net export --model_path u2netp --save_dir u2netp_onnx --image_path photos/
  u2net export --model_path output --save_dir small --precision int8 --calibration photos/
  u2net export --model_path output --save_dir ids --output_op argmax       class ids instead of probabilities
  u2net export --model_path u2netp --save_dir models --format openvino --for ovms --image_path photos/
"""
Photograph = tuple[np.ndarray, np.ndarray | None]  # (H, W, 3) uint8 RGB and its mask, where there is one

INPUT_FLAGS: Flags = {
    "config": MODEL_FLAGS["config"],
    "model_path": {
        "required": True,
        "help": f"known name ({', '.join(KNOWN)}), weight file or folder of a run",
    },
    "opts": MODEL_FLAGS["opts"],
    "image_path": {
        "type": Path,
        "help": "folder of images to compare on; default: the val_dataset, with its masks",
    },
    "calibration": {
        "type": Path,
        "help": f"for int8: folder of {CALIBRATION_IMAGES} or more images to measure; default: train_dataset",
    },
}
OUTPUT_FLAGS: Flags = {
    "save_dir": {
        "type": Path,
        "default": Path("output/inference_model"),
        "help": "folder to create (%(default)s)",
    },
    "format": {"choices": list(FORMATS), "default": "onnx", "help": "of the model file (%(default)s)"},
    "output_op": {
        "choices": OUTPUT_OPS,
        "default": "softmax",
        "help": "last operation: softmax for probabilities (of one class by sigmoid), argmax for class ids "
        "(of one class: 1 where the probability is at least 0.5), none for logits (%(default)s)",
    },
}
OPTION_FLAGS: Flags = {
    "precision": {"default": "fp32", "help": "fp32, fp16, bf16 or int8 (%(default)s)"},
    "input_shape": {
        "nargs": 4,
        "type": int,
        "metavar": ("N", "C", "H", "W"),
        "help": "shape of the input, -1 where any is allowed; default: -1 C -1 -1",
    },
    "with_preprocessing": {
        "action": "store_true",
        "help": "the model takes photographs (N, H, W, 3) uint8 RGB of any size and gives maps of their size",
    },
    "for": {
        "dest": "server",
        "choices": list(SERVERS),
        "help": "write the model repository of OpenVINO Model Server or Triton; implies --with_preprocessing",
    },
    "name": {"help": "of the model in requests to that server; default: after --model_path"},
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net export`."""
    flags = parser("u2net export", ABOUT, EXAMPLES)
    add_group(flags, INPUT, INPUT_FLAGS)
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, OPTION_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run `u2net export`; returns the exit code."""
    args = build_parser().parse_args(argv)
    with path_lock(args.save_dir):
        return _export(args)


def _export(args: argparse.Namespace) -> int:
    config = config_of(args.model_path, args.config, args.opts)
    if is_multilabel(config):
        raise ConfigError("use_multilabel: such models are not exported. Fix: u2net predict with the weights")
    repository = repository_of(args)
    model = section(config, "model")
    shape = input_shape(args.input_shape, model.get("in_channels", 3))
    why = f"--for {args.server}" if repository else "--with_preprocessing"
    inside = args.with_preprocessing or repository is not None
    check_options(args.save_dir, args.format, args.precision, model["type"], inside, args.output_op, why)
    preprocessing = preprocessing_inside(config, shape, why) if inside else None
    photographs = load_images(config, "val_dataset", args.image_path, IMAGES)
    network = build(args.model_path, model)
    if preprocessing:
        images = [(image[None], mask) for image, mask in photographs]
    else:
        images = [make_sample(config, image, mask, shape) for image, mask in photographs]
    report = export(
        network=network,
        config=config,
        folder=args.save_dir,
        images=images,
        file_format=args.format,
        precision=args.precision,
        shape=shape,
        quantization=quantization_for(args, config, network, shape, photographs),
        preprocessing=preprocessing,
        output_op=args.output_op,
        repository=repository,
    )
    log.info("%s", json.dumps(report))
    folder = args.save_dir / repository.place if repository else args.save_dir
    log.info("Exported to %s; the comparison is in %s", args.save_dir, folder / REPORT)
    return 0


def repository_of(args: argparse.Namespace) -> Repository | None:
    """The repository that --for and --name ask for; None without --for.

    Raises:
        ValueError: --name without --for, or no name of a model.
    """
    if args.server is None:
        if args.name is not None:
            raise ValueError("--name: names the model of a repository. Fix: --for with it, or leave it out")
        return None
    own = Path(args.model_path).resolve().stem  # as `u2net serve` names it
    return Repository(args.server, own if args.name is None else args.name)


def input_shape(given: list[int] | None, channels: int) -> list[int]:
    """Check --input_shape; without it any size is legal.

    Args:
        given: N, C, H, W, or None.
        channels: those of the network.

    Raises:
        ValueError: a size that the network cannot have.
    """
    shape = given or [-1, channels, -1, -1]
    if any(size != -1 and size < 1 for size in shape) or shape[1] not in (-1, channels):
        raise ValueError(f"--input_shape {shape}: expected N C H W above 0 or -1, and C {channels}")
    if shape[0] not in (-1, 1):
        raise ValueError(f"--input_shape: N {shape[0]}: images are predicted one at a time. Fix: -1 or 1")
    return shape


def preprocessing_inside(
    config: Mapping[str, Any], shape: Sequence[int], why: str = "--with_preprocessing"
) -> Preprocessing:
    """The val transforms of a config, for a model that applies them itself.

    Args:
        config: with a `val_dataset` section.
        shape: N, C, H, W of the input.
        why: the flag that asks for it, for messages.

    Raises:
        ValueError: they cannot be written into a graph, or the input has a fixed size.
    """
    preprocessing = preprocessing_of(config)
    check_writable(preprocessing)
    if list(shape[2:]) != [-1, -1]:
        raise ValueError(f"{why}: photographs have any size. Fix: --input_shape N C -1 -1")
    return preprocessing


def load_images(config: Mapping[str, Any], key: str, folder: Path | None, count: int) -> list[Photograph]:
    """Read images of a folder, or of a section of the config with their masks.

    Args:
        config: with that section.
        key: `train_dataset` or `val_dataset`.
        folder: used instead of the section.
        count: largest number of images to read.

    Raises:
        ValueError: there are none.
    """
    if folder is not None:
        found = list_images(folder)[:count]
        if not found:
            raise ValueError(f"{folder}: holds no images. Fix: a folder with images")
        own = preprocessing_of(config)
        return [(read_picture(path, own.image_channels, own.white), None) for path in found]
    from paddleseg_u2net.builders import build_dataset_spec
    from paddleseg_u2net.data.dataset import open_datasets

    try:
        spec = build_dataset_spec(config, key)
    except FileNotFoundError as error:
        flag = "--image_path" if key == "val_dataset" else "--calibration"
        raise ValueError(f"{key}: {error}, or {flag} with a folder of images") from None
    (dataset,) = open_datasets([replace(spec, pairs=spec.pairs[:count])])
    return [dataset.load(index) for index in range(len(dataset))]


def quantization_for(
    args: argparse.Namespace,
    config: Mapping[str, Any],
    network: Any,
    shape: Sequence[int],
    photographs: Sequence[Photograph],
) -> Quantization | None:
    """Calibrate on images for int8 and fp16; None for other precisions."""
    if args.precision == "int8":
        photographs = load_images(config, "train_dataset", args.calibration, CALIBRATION_IMAGES)
    elif args.precision == "fp16":
        photographs = photographs[:FP16_CALIBRATION_IMAGES]
    else:
        return None
    quantization = calibrate(
        state_of(network), [make_sample(config, image, None, shape)[0] for image, _ in photographs]
    )
    log.info("Kept in float32: %s", ", ".join(sorted(quantization.kept)))
    return quantization
