"""`u2net demo`: published weights on real photographs, then train, validate and predict from one YAML.

A second run reuses the results of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.flags import HOW, OUTPUT, Flags, add_group, parser, positive_int
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.datasets.synthetic import draw_dataset
from paddleseg_u2net.environment.optional_imports import need, require
from paddleseg_u2net.environment.processes import u2net_command, u2net_environment
from paddleseg_u2net.errors import counted
from paddleseg_u2net.io.contents import read_bytes
from paddleseg_u2net.io.images import opened, read_image, write_image
from paddleseg_u2net.io.listing import list_images
from paddleseg_u2net.io.locks import folder_lock

ABOUT = "Predict real photographs with published weights, then train, validate and predict from one YAML."
EXAMPLES = """\
  u2net demo
  u2net demo --out somewhere --iters 400 --size 256

A second run reuses the results of the first.
"""
OUTPUT_FLAGS: Flags = {
    "out": {"type": Path, "default": "./output/demo", "help": "folder of all results (%(default)s)"},
}
RUN_FLAGS: Flags = {
    "iters": {"type": positive_int, "default": 40, "help": "training steps (%(default)s)"},
    "size": {
        "type": positive_int,
        "default": 96,
        "help": "height and width in training, pixels (%(default)s)",
    },
    "images": {
        "type": positive_int,
        "default": 60,
        "help": "number of synthetic fundus photographs (%(default)s)",
    },
}
PACKAGES = ("skimage", "sklearn", "paddle", "paddleseg", "visualdl")
SALIENCY_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "flower.jpg")
FUNDUS_PHOTO = "retina.jpg"
CONFIG = "RGB/U2Net/u2netp.yaml"  # comes with the package
CELL = (150, 200)  # (H, W) of a picture on the contact sheet
COLUMNS = {
    "input": None,
    "saliency": "saliency",
    "added": "added_prediction",
    "pseudo colour": "pseudo_color_prediction",
    "cut-out": "cutout",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net demo`."""
    flags = parser("u2net demo", ABOUT, EXAMPLES)
    add_group(flags, OUTPUT, OUTPUT_FLAGS)
    add_group(flags, HOW, RUN_FLAGS)
    return flags


def say(title: str) -> None:
    """Print the headline of a step."""
    print(f"\n== {title}", flush=True)


def run(*words: str | Path) -> None:
    """Print and run a command of this package.

    Raises:
        OSError: it failed.
    """
    print(f"$ u2net {shlex.join(map(str, words))}", flush=True)
    done = subprocess.run(u2net_command(*words), env={**os.environ, **u2net_environment()})
    if done.returncode:
        raise OSError(f"u2net {words[0]} failed with exit code {done.returncode}")


def photographs(folder: Path) -> list[Path]:
    """Copy the photographs that scikit-image and scikit-learn ship into `folder`."""
    # found without importing both packages, which takes seconds
    shipped = [Path(str(spec.origin)).parent for name in ("skimage", "sklearn") if (spec := find_spec(name))]
    sources = [shipped[0] / "data", shipped[1] / "datasets" / "images"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*SALIENCY_PHOTOS, FUNDUS_PHOTO):
        source = next(path / name for path in sources if (path / name).is_file())
        shutil.copyfile(source, folder / name)
    return [folder / name for name in SALIENCY_PHOTOS]


def baseline(data: Path, size: int) -> float:
    """Validation mIoU before training: published weights with new heads."""
    from paddleseg_u2net.builders import build_dataset_spec, build_network
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.engines.paddle import PaddleEngine
    from paddleseg_u2net.evaluation.model import evaluate
    from paddleseg_u2net.inference.predictor import Predictor

    config = load_config(CONFIG, opts=options(data, size))
    (dataset,) = open_datasets([build_dataset_spec(config, "val_dataset")])
    need("paddle").seed(0)  # the new heads that `u2net train --seed 0` starts from
    network = build_network(config["model"])
    return evaluate(Predictor(PaddleEngine(network), config), dataset).compute()["mIoU"]


def options(data: Path, size: int) -> list[str]:
    """Values of `--opts` that point the optic-disc config to the drawn data, small enough for a CPU."""
    target = f"transforms.0.target_size=[{size},{size}]"
    return [
        f"{key}_dataset.{option}" for key in ("train", "val") for option in (f"dataset_root={data}", target)
    ]


def fit(image: np.ndarray) -> np.ndarray:
    """Resize a picture to fit a cell, centred on white; transparency becomes a checkerboard."""
    if image.shape[2] == 4:
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] // max(image.shape[0] // 24, 1)
        board = np.where((rows + columns) % 2, 255, 205)[..., None]
        alpha = image[..., 3:] / 255
        image = (image[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)
    scale = min(CELL[0] / image.shape[0], CELL[1] / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((*CELL, 3), 255, np.uint8)
    top, left = (CELL[0] - small.shape[0]) // 2, (CELL[1] - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.pad(cell, ((4, 4), (4, 4), (0, 0)), constant_values=255)


def read_any(path: Path) -> np.ndarray:
    """Read a picture with its transparency, if any: (H, W, 3 or 4) uint8 RGB(A)."""
    with opened(path, read_bytes(path)) as image:
        return np.asarray(image) if image.mode == "RGBA" else read_image(path)


def contact_sheet(path: Path, rows: list[tuple[Path, Path]]) -> None:
    """Write one picture with a row per image and a column per output.

    Args:
        path: PNG to write.
        rows: (image, folder of its outputs).
    """
    header = [np.full((30, CELL[1] + 8, 3), 255, np.uint8) for _ in COLUMNS]
    for cell, title in zip(header, COLUMNS, strict=True):
        cv2.putText(cell, title, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
    lines = [np.hstack(header)]
    for image, outputs in rows:
        found = [
            image if folder is None else next((outputs / folder).glob(f"{image.stem}.*"))
            for folder in COLUMNS.values()
        ]
        lines.append(np.hstack([fit(read_any(file)) for file in found]))
    write_image(path, np.vstack(lines))


def predict_photographs(photos: list[Path], results: Path) -> None:
    """Predict photographs with the published weights; results that exist are kept."""
    if all((results / "cutout" / f"{photo.stem}.png").is_file() for photo in photos):
        print(f"{results} exists already")
    else:
        run("predict", *photos, "--model_path", "u2netp", "--save_dir", results)


def fine_tune(data: Path, folder: Path, size: int, iters: int) -> None:
    """Train on the drawn photographs and print the scores before and after; a finished run is kept."""
    if (folder / "best_model").is_dir():
        print(f"{folder} exists already")
        return
    before = baseline(data, size)
    print(f"validation mIoU before training: {before:.4f}", flush=True)
    flags = ["--iters", iters, "--save_interval", iters, "--batch_size", 4, "--seed", 0]
    flags += ["--learning_rate", 0.002, "--do_eval", "--save_dir", folder]
    run("train", "--config", CONFIG, *map(str, flags), "--opts", *options(data, size))
    state = json.loads((folder / f"iter_{iters}" / "state.json").read_text())
    print(f"validation mIoU: {before:.4f} before, {state['best']['model'][0]:.4f} after", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    args = build_parser().parse_args(argv)
    require(*PACKAGES)
    with folder_lock(args.out, "choose another --out"):
        _show(args.out.resolve(), args)
    return 0


def _show(out: Path, args: argparse.Namespace) -> None:
    """Run all steps of the demo in the folder `out`."""
    started = time.time()
    say("1/4  Published U²-Net† weights on real photographs")
    photos, cut = photographs(out / "photos"), out / "photos_result"
    predict_photographs(photos, cut)

    say("2/4  Fine-tuning on drawn fundus photographs: find the optic disc")
    data, disc = out / "synthetic_disc", out / "disc"
    if not data.is_dir():
        draw_dataset(data, args.images, 256, seed=0)
    fine_tune(data, disc, args.size, args.iters)

    say("3/4  Validation of the best model")
    run("val", "--model_path", disc)

    say("4/4  The disc model on a real fundus photograph and on drawn images")
    fundus, found = [out / "photos" / FUNDUS_PHOTO], out / "disc_result"
    for line in (data / "val_list.txt").read_text().splitlines()[:2]:
        fundus.append(Path(shutil.copy(data / line.split()[0], out / "photos")))
    run("predict", *fundus, "--model_path", disc, "--save_dir", found)

    sheet = out / "contact_sheet.png"
    contact_sheet(sheet, [(photo, cut) for photo in photos] + [(path, found) for path in fundus])
    print(f"\nDone in {time.time() - started:.0f} s. Look at {sheet}")
    print(f"  photographs  {cut}\n  disc model   {disc}\n  disc results {found}")
    print(f"  {counted(len(list_images(cut)) + len(list_images(found)), 'picture')} in all")
