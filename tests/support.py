"""Small data, a small network and paths that the tests of all folders share."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from paddleseg_u2net.environment.optional_imports import quiet

quiet()

import cv2  # noqa: E402 - Paddle must be imported after `quiet`
import numpy as np  # noqa: E402
import paddle  # noqa: E402
import yaml  # noqa: E402
from paddle import nn  # noqa: E402
from paddle.nn.initializer.normal import NormalInitializer  # noqa: E402
from PIL import Image  # noqa: E402

from paddleseg_u2net.builders import register  # noqa: E402
from paddleseg_u2net.cli.app import main  # noqa: E402

register()
from paddleseg.cvlibs import manager  # noqa: E402 - imported faster by `register`

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = Path(__file__).parent / "golden"


@manager.MODELS.add_component
class TinyNet(nn.Layer):
    """A fast stand-in for any registered PaddleSeg network, with one output and a BatchNorm."""

    def __init__(self, num_classes: int, in_channels: int = 3):
        super().__init__()
        self.norm = nn.BatchNorm2D(4)
        self.first, self.last = nn.Conv2D(in_channels, 4, 3, padding=1), nn.Conv2D(4, num_classes, 1)

    def forward(self, x):
        return [self.last(nn.functional.relu(self.norm(self.first(x))))]


def write_mask(path: Path, mask: np.ndarray) -> Path:
    """Write an image file of any dtype that OpenCV writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask)
    return path


def draw_pair(root: Path, name: str, size=(32, 32), white: int = 255, seed: int = 0) -> None:
    """Write an image with a bright rectangle to `root/images` and its mask to `root/masks`."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    image = rng.integers(0, 100, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    top, left = (int(rng.integers(2, max(n // 2, 3))) for n in size)
    rows, columns = slice(top, top + size[0] // 3 + 1), slice(left, left + size[1] // 3 + 1)
    image[rows, columns] += 120
    mask[rows, columns] = white
    write_mask(root / "images" / f"{name}.png", image)
    write_mask(root / "masks" / f"{name}.png", mask)


def make_config(path: Path, data: Path, num_classes: int = 1, model: str = "TinyNet", **changes) -> Path:
    """Write a config of the data set `data`; keyword arguments replace whole sections."""
    outputs = 1 if model == "TinyNet" else 7
    loss = "SaliencyLoss" if num_classes == 1 else "CrossEntropyLoss"
    normalize = {"type": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3}
    dataset = {"type": "Dataset", "dataset_root": str(data), "num_classes": num_classes}
    config = {
        "batch_size": 2,
        "iters": 4,
        "train_dataset": {
            **dataset,
            "mode": "train",
            "train_path": "train_list.txt",
            "transforms": [{"type": "RandomHorizontalFlip"}, normalize],
        },
        "val_dataset": {**dataset, "mode": "val", "val_path": "val_list.txt", "transforms": [normalize]},
        "model": {"type": model, "num_classes": num_classes},
        "loss": {"types": [{"type": loss}], "coef": [1] * outputs},
        "optimizer": {"type": "Adam"},
        "lr_scheduler": {"type": "PolynomialDecay", "learning_rate": 0.01, "end_lr": 0.0, "power": 0.9},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**config, **changes}))
    return path


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child process of a test."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}


def forked(call: Callable[[], int]) -> tuple[int, str]:
    """Run a function in a fork of this process, which need not import Paddle; it must use no threads.

    Args:
        call: returns the exit code of the child.

    Returns:
        The exit code, negative for the number of a signal; and all that the child printed.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where there are threads
            child = os.fork()
        if child == 0:
            code = 70
            try:
                for stream in (1, 2):
                    os.dup2(printed.fileno(), stream)
                sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
                code = call()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
            except BaseException:
                traceback.print_exc()
            finally:
                ctypes.CDLL(None).fflush(None)  # what libraries printed
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        return code, printed.read()


def prepare_command(words: list[str]) -> int:
    """Run `u2net prepare` in this process; returns the exit code."""
    return main(["prepare", *words])


@contextmanager
def small_files(size: int):
    """Make writing files beyond a size fail, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# flags that change a prediction; --aug stands for --aug_eval or --aug_pred
PREDICTION_FLAGS = [
    ["--aug", "--scales", 0.5],
    ["--aug", "--flip_horizontal"],
    ["--aug", "--flip_vertical"],
    ["--is_slide", "--crop_size", 9, 9, "--stride", 5, 5],
    ["--minmax"],
    ["--official"],
    ["--opts", "val_dataset.transforms.0.std=[0.05, 0.05, 0.05]"],
]


def scores(text: str) -> dict[str, float]:
    """The scores of the [EVAL] lines of a log."""
    return {name: float(value) for name, value in re.findall(r"(\w+): (-?\d+\.\d{4}|nan)", text)}


def pixels(path, mode: str | None = None) -> np.ndarray:
    """The pixels of an image file as stored, or converted to `mode`."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode) if mode else picture)


def tree(folder) -> list[str]:
    """The files below a folder, sorted."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


@contextmanager
def few_random_numbers():
    """Draw large weights from few numbers, repeated: all 44 million of U²-Net would take a second."""
    draw = NormalInitializer.forward

    def forward(self, parameter, block=None):
        if parameter.size < 50_000:
            return draw(self, parameter, block)
        numbers = paddle.normal(self._mean, self._std_dev, [49_999]).numpy()
        return parameter.set_value(np.resize(numbers, parameter.shape))

    NormalInitializer.forward = forward
    try:
        yield
    finally:
        NormalInitializer.forward = draw


paddle.set_device("cpu")
cv2.setNumThreads(1)
