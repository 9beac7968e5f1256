"""`make demo`: official weights on real photographs, then train, validate and predict from one YAML.

Everything lies in output/demo; a second run reuses what is there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from Benckmark_data_prepare.synthetic_disc import draw_dataset
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.io.images import list_images, read_image, write_image

ROOT = Path(__file__).resolve().parents[2]
SALIENCY_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "flower.jpg")
FUNDUS_PHOTO = "retina.jpg"
CONFIG = "configs/RGB/U2Net/u2netp.yaml"
CELL = (150, 200)  # (H, W) of a picture on the contact sheet
COLUMNS = {"input": None, "saliency": "saliency", "added": "added_prediction"}
COLUMNS |= {"pseudo colour": "pseudo_color_prediction", "cut-out": "cutout"}


def say(title: str) -> None:
    """Print the headline of a step."""
    print(f"\n== {title}", flush=True)


def command(*words: str | Path) -> None:
    """Show and run one of the project's commands."""
    shown = shlex.join(["python", *map(str, words)])
    print(f"$ {shown}", flush=True)
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True)


def photographs(folder: Path) -> list[Path]:
    """Copy the photographs that scikit-image and scikit-learn ship into `folder`."""
    shipped = [Path(need(f"{name}").__path__[0]) for name in ("skimage", "sklearn")]
    sources = [shipped[0] / "data", shipped[1] / "datasets" / "images"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*SALIENCY_PHOTOS, FUNDUS_PHOTO):
        source = next(path / name for path in sources if (path / name).is_file())
        shutil.copyfile(source, folder / name)
    return [folder / name for name in SALIENCY_PHOTOS]


def baseline(data: Path, size: int) -> float:
    """MIoU on the validation images before training: official weights with fresh heads."""
    registry = need("paddleseg_u2net.builders")
    from paddleseg_u2net.config.loader import load_config
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.engines.base import PaddleEngine
    from paddleseg_u2net.evaluation.model import evaluate
    from paddleseg_u2net.inference.predictor import Predictor

    config = load_config(ROOT / CONFIG, opts=options(data, size))
    (dataset,) = open_datasets([registry.build_dataset_spec(config, "val_dataset")])
    need("paddle").seed(0)  # the fresh heads that train.py --seed 0 starts from
    network = registry.build_network(config["model"])
    return evaluate(Predictor(PaddleEngine(network), config), dataset).compute()["mIoU"]


def options(data: Path, size: int) -> list[str]:
    """`--opts` that point the optic-disc config to the drawn data, at a size a CPU can train."""
    target = f"transforms.0.target_size=[{size},{size}]"
    return [
        f"{key}_dataset.{option}" for key in ("train", "val") for option in (f"dataset_root={data}", target)
    ]


def fit(image: np.ndarray) -> np.ndarray:
    """Shrink a picture into a cell, centred on white; transparency becomes a checkerboard."""
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
    """A picture with its transparency, where it has one: (H, W, 3 or 4) uint8 RGB(A)."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is not None and stored.ndim == 3 and stored.shape[2] == 4:
        return cv2.cvtColor(stored, cv2.COLOR_BGRA2RGBA)
    return read_image(path)


def contact_sheet(path: Path, rows: list[tuple[Path, Path]]) -> None:
    """Write one picture: a row per image, a column per output.

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


def main() -> int:
    """The demo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "output" / "demo", help="where all of it is written"
    )
    parser.add_argument("--iters", type=int, default=40, help="training steps (%(default)s)")
    parser.add_argument("--size", type=int, default=96, help="pixels a side in training (%(default)s)")
    parser.add_argument("--images", type=int, default=60, help="synthetic fundus photographs (%(default)s)")
    args = parser.parse_args()
    started, out = time.time(), args.out.resolve()

    say("1/4  Official U²-Net† weights on real photographs")
    photos = photographs(out / "photos")
    cut = out / "photos_result"
    if all((cut / "cutout" / f"{photo.stem}.png").is_file() for photo in photos):
        print(f"{cut} is there already")
    else:
        photo_list = out / "photos" / "list.txt"
        photo_list.write_text("".join(f"{photo.name}\n" for photo in photos))
        command("predict.py", "--model_path", "u2netp", "--image_path", photo_list, "--save_dir", cut)

    say("2/4  Fine-tuning on drawn fundus photographs: find the optic disc")
    data, run = out / "synthetic_disc", out / "disc"
    if not data.is_dir():
        draw_dataset(data, args.images, 256, seed=0)
    opts = ["--opts", *options(data, args.size)]
    if (run / "best_model").is_dir():
        print(f"{run} is there already")
    else:
        before = baseline(data, args.size)
        print(f"validation mIoU before training: {before:.4f}", flush=True)
        flags = ["--iters", args.iters, "--save_interval", args.iters, "--batch_size", 4, "--seed", 0]
        flags += ["--learning_rate", 0.002, "--do_eval", "--save_dir", run]
        command("train.py", "--config", CONFIG, *map(str, flags), *opts)
        state = json.loads((run / f"iter_{args.iters}" / "state.json").read_text())
        print(f"validation mIoU: {before:.4f} before, {state['best']['model'][0]:.4f} after", flush=True)

    say("3/4  Validation of the best model")
    command("val.py", "--model_path", run)

    say("4/4  The disc model on drawn images and on a real fundus photograph")
    drawn = [data / line.split()[0] for line in (data / "val_list.txt").read_text().splitlines()[:2]]
    found = out / "disc_result"
    fundus_list = out / "photos" / "fundus.txt"
    fundus = [out / "photos" / FUNDUS_PHOTO, *drawn]
    for path in fundus[1:]:
        shutil.copyfile(path, out / "photos" / path.name)
    fundus = [out / "photos" / path.name for path in fundus]
    fundus_list.write_text("".join(f"{path.name}\n" for path in fundus))
    command("predict.py", "--model_path", run, "--image_path", fundus_list, "--save_dir", found)

    sheet = out / "contact_sheet.png"
    contact_sheet(sheet, [(photo, cut) for photo in photos] + [(path, found) for path in fundus])
    print(f"\nDone in {time.time() - started:.0f} s. Look at {sheet}")
    print(f"  photographs  {cut}\n  disc model   {run}\n  disc results {found}")
    print(f"  {len(list_images(cut)) + len(list_images(found))} pictures in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
