"""Small data, a small network, and where the large real data lie if they do."""

from __future__ import annotations

import os
import re
import resource
from contextlib import contextmanager
from pathlib import Path

from paddleseg_u2net.dependencies import quiet

quiet()

import cv2  # noqa: E402 - Paddle must be imported after `quiet`
import numpy as np  # noqa: E402
import paddle  # noqa: E402
import pytest  # noqa: E402
import yaml  # noqa: E402
from paddle import nn  # noqa: E402
from PIL import Image  # noqa: E402

from paddleseg_u2net.__main__ import main  # noqa: E402
from paddleseg_u2net.registry import register  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = Path(__file__).parent / "golden"

paddle.set_device("cpu")
cv2.setNumThreads(1)


@register().manager.MODELS.add_component
class TinyNet(nn.Layer):
    """A stand-in for any registered PaddleSeg network: one output, a BatchNorm, milliseconds a step."""

    def __init__(self, num_classes: int, in_channels: int = 3):
        super().__init__()
        self.norm = nn.BatchNorm2D(4)
        self.first, self.last = nn.Conv2D(in_channels, 4, 3, padding=1), nn.Conv2D(4, num_classes, 1)

    def forward(self, x):
        return [self.last(nn.functional.relu(self.norm(self.first(x))))]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """No test reads the user's cache, mirror or proxy, or writes into the project."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net_home"))
    monkeypatch.delenv("U2NET_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _same_numbers(monkeypatch, request):
    """A module's random numbers start anew for each test: none depends on which ran before it."""
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0))


@pytest.fixture
def shared() -> Path:
    """The folder of real data and official weights; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED


@pytest.fixture
def official_weights(shared) -> Path:
    """The official U²-Net† weights, in the test's own cache as if they had been fetched."""
    home = Path(os.environ["U2NET_HOME"])
    home.mkdir(exist_ok=True)
    (home / "u2netp.onnx").symlink_to(shared / "weights" / "u2netp.onnx")
    return home / "u2netp.onnx"


@pytest.fixture
def warm_cache(tmp_path_factory) -> None:
    """A cache with the exports and compiled models of all tests of this run that ask for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home = Path(os.environ["U2NET_HOME"])
    home.mkdir(exist_ok=True)
    for name in ("exports", "openvino"):
        (base / "u2net_home" / name).mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(base / "u2net_home" / name)


@pytest.fixture
def known_weights(official_weights, warm_cache) -> Path:
    """The official weights, exported already where an earlier test needed that."""
    return official_weights


def write_mask(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask)
    return path


def draw_pair(root: Path, name: str, size=(32, 32), white: int = 255, seed: int = 0) -> None:
    """An image below `root/images` with a bright square, and its mask below `root/masks`."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    image = rng.integers(0, 100, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    top, left = (int(rng.integers(2, max(n // 2, 3))) for n in size)
    rows, columns = slice(top, top + size[0] // 3 + 1), slice(left, left + size[1] // 3 + 1)
    image[rows, columns] += 120
    mask[rows, columns] = white
    write_mask(root / "images" / f"{name}.png", image)
    write_mask(root / "masks" / f"{name}.png", mask)


@pytest.fixture
def data(tmp_path) -> Path:
    """Six pairs of 32 x 32 with lists of four to train and two to validate; a space in the folder's name."""
    root = tmp_path / "my data"
    for index in range(6):
        draw_pair(root, f"p{index}")
    lines = [f"images/p{index}.png\tmasks/p{index}.png\n" for index in range(6)]
    (root / "train_list.txt").write_text("".join(lines[:4]))
    (root / "val_list.txt").write_text("".join(lines[4:]))
    return root


def make_config(path: Path, data: Path, num_classes: int = 1, model: str = "TinyNet", **changes) -> Path:
    """A config of `data`; keyword arguments replace whole sections."""
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


@pytest.fixture
def config(tmp_path, data) -> Path:
    """A saliency config of the small network and data."""
    return make_config(tmp_path / "tiny.yaml", data)


@pytest.fixture(scope="session")
def photos() -> dict[str, np.ndarray]:
    """Real photographs that scikit-image ships, (H, W, 3) uint8 RGB."""
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    names = ("astronaut.png", "coffee.png", "chelsea.png")
    return {name: cv2.imread(str(folder / name))[..., ::-1].copy() for name in names}


def environment(**changes: str) -> dict[str, str]:
    """What a child process of a test gets."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}


@contextmanager
def small_files(size: int):
    """The system refuses to write files beyond a size, as it does beyond a quota or on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# -- the commands ---------------------------------------------------------------------------------------

# ways to look at an image; --aug is --aug_eval or --aug_pred
LOOKS = [
    ["--aug", "--scales", 0.5],
    ["--aug", "--flip_horizontal"],
    ["--aug", "--flip_vertical"],
    ["--is_slide", "--crop_size", 9, 9, "--stride", 5, 5],
    ["--minmax"],
    ["--official"],
    ["--opts", "val_dataset.transforms.0.std=[0.05, 0.05, 0.05]"],
]


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(name: str, *words) -> tuple[int, str, str]:
        try:
            code = main([name, *(str(word) for word in words)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def trained(run, config, tmp_path) -> Path:
    """A run folder of the small network."""
    code, _, error = run(
        "train", "--config", config, "--save_dir", "run", "--iters", 2, "--do_eval", "--seed", 0
    )
    assert (code, error) == (0, "")
    return tmp_path / "run"


def scores(text: str) -> dict[str, float]:
    """The numbers of the [EVAL] lines."""
    return {name: float(value) for name, value in re.findall(r"(\w+): (-?\d+\.\d{4}|nan)", text)}


@pytest.fixture
def photos_dir(tmp_path) -> Path:
    """Images in sub-folders, with names that clash."""
    root = tmp_path / "some photos"
    draw_pair(root, "a")
    draw_pair(root, "sub/ü b", size=(20, 45))
    for name in ("a.png", "sub/ü b.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / "images" / name).rename(root / name)
    picture = cv2.imread(str(root / "a.png"))
    cv2.imwrite(str(root / "a.jpg"), picture)
    for folder in ("images", "masks"):
        for path in sorted((root / folder).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (root / folder).rmdir()
    return root


def pixels(path, mode: str | None = None) -> np.ndarray:
    """A picture as stored, or converted to `mode`."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode) if mode else picture)


def tree(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())
