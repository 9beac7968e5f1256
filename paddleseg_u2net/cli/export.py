"""Export a model, compare the export with it on real images, and keep it only where it is as good.

python tools/export.py --model_path output --save_dir exported --format onnx
python tools/export.py --model_path u2netp --save_dir u2netp_onnx --image_path photos/
python tools/export.py --model_path output --save_dir small --precision int8 --calibration photos/
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.cli.app import configure_log, guarded
from paddleseg_u2net.config.loader import preprocessing_of, section
from paddleseg_u2net.export.exporter import FORMATS, REPORT, check_wish, export
from paddleseg_u2net.export.onnx_preprocessing import check_writable
from paddleseg_u2net.export.verify import prepare
from paddleseg_u2net.inference.model_source import build, config_of
from paddleseg_u2net.io.images import list_images, read_image

log = logging.getLogger("paddleseg_u2net.export.exporter")

IMAGES, CALIBRATION_IMAGES = 20, 24


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="export.py"
    )
    parser.add_argument("--config", help="YAML file; may be left out where the model carries its own")
    parser.add_argument("--model_path", required=True, help="known name, weight file or folder of a run")
    parser.add_argument("--save_dir", type=Path, default=Path("output/inference_model"), help="(%(default)s)")
    parser.add_argument("--format", choices=list(FORMATS), default="onnx", help="(%(default)s)")
    parser.add_argument("--precision", default="fp32", help="fp32, fp16, bf16 or int8 (%(default)s)")
    parser.add_argument(
        *("--input_shape",),
        nargs=4,
        type=int,
        metavar=("N", "C", "H", "W"),
        help="of the input, -1 where any is legal; default -1 C -1 -1",
    )
    parser.add_argument(
        "--image_path",
        type=Path,
        help="folder of images to compare on; default the val_dataset, with its masks",
    )
    parser.add_argument(
        *("--calibration",),
        type=Path,
        help=f"int8: folder of {CALIBRATION_IMAGES} images or more to measure; default the train_dataset",
    )
    parser.add_argument(
        "--with_preprocessing",
        action="store_true",
        help="the model takes photographs (N, H, W, 3) uint8 RGB of any size and gives maps of their size",
    )
    parser.add_argument("--opts", nargs="+", metavar="KEY=VALUE", help="change the config")
    return parser.parse_args(argv)


def load_images(
    config: dict[str, Any], key: str, folder: Path | None, count: int
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Images of a folder, or of a section of the config with their masks.

    Raises:
        ValueError: there are none.
    """
    if folder is not None:
        found = list_images(folder)[:count]
        if not found:
            raise ValueError(f"{folder}: holds no images")
        return [(read_image(path), None) for path in found]
    from paddleseg_u2net.builders import build_dataset_spec
    from paddleseg_u2net.data.dataset import open_datasets

    try:
        spec = build_dataset_spec(config, key)
    except FileNotFoundError as error:
        flag = "--image_path" if key == "val_dataset" else "--calibration"
        raise ValueError(f"{key}: {error}, or {flag} with a folder of images") from None
    (dataset,) = open_datasets([replace(spec, pairs=spec.pairs[:count])])
    return [dataset.load(index) for index in range(len(dataset))]


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = parse(argv)
    configure_log()
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Export as the flags say."""
    config = config_of(args.model_path, args.config, args.opts)
    model = section(config, "model")
    channels = model.get("in_channels", 3)
    shape = args.input_shape or [-1, channels, -1, -1]
    if any(size != -1 and size < 1 for size in shape) or shape[1] not in (-1, channels):
        raise ValueError(f"--input_shape {shape}: expected N C H W above 0 or -1, and C {channels}")
    if shape[0] not in (-1, 1):
        raise ValueError(f"--input_shape: N {shape[0]}: images are predicted one by one. Fix: -1 or 1")
    check_wish(args.save_dir, args.format, args.precision, model["type"], args.with_preprocessing)
    preprocessing = preprocessing_of(config) if args.with_preprocessing else None
    if preprocessing:
        check_writable(preprocessing)
        if shape[2:] != [-1, -1]:
            raise ValueError("--with_preprocessing: photographs have any size. Fix: --input_shape N C -1 -1")
    photographs = load_images(config, "val_dataset", args.image_path, IMAGES)
    network = build(args.model_path, model)
    quantization = None
    if args.precision in ("int8", "fp16"):
        from paddleseg_u2net.export.quantization import calibrate

        if args.precision == "int8":
            measured = load_images(config, "train_dataset", args.calibration, CALIBRATION_IMAGES)
        else:  # only which convolutions cancel large terms
            measured = photographs[:4]
        state = {key: value.numpy() for key, value in network.state_dict().items()}
        quantization = calibrate(state, [prepare(config, *pair, shape)[0] for pair in measured])
        log.info("Kept in float32: %s", ", ".join(sorted(quantization.kept)))
    if preprocessing:
        images = [(image[None], mask) for image, mask in photographs]
    else:
        images = [prepare(config, *pair, shape) for pair in photographs]
    kind = (args.format, args.precision, shape, quantization, preprocessing)
    report = export(network, config, args.save_dir, images, *kind)
    log.info("%s", json.dumps(report))
    log.info("Exported to %s; the comparison is in %s", args.save_dir, args.save_dir / REPORT)


if __name__ == "__main__":
    sys.exit(main())
