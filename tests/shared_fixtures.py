"""Fixtures that the tests of all folders use."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import SHARED, draw_pair, make_config

from paddleseg_u2net.builders import build_network
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.export import cache
from paddleseg_u2net.training import records


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    """Keep tests from reading the user's cache, mirror or proxy, and from writing into the project."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net_home"))
    monkeypatch.delenv("U2NET_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _reset_random_numbers(monkeypatch, request):
    """Reset a module's generator RNG before each test, so that no test depends on those before it."""
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0))


@pytest.fixture(autouse=True)
def _no_handlers():
    """Remove the log handler of commands that ran in this process: its stream ends with the test."""
    yield
    logger = logging.getLogger("paddleseg_u2net")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch):
    """Leave `curves.png` empty: drawing takes five times as long as all else of a small training run."""
    monkeypatch.setattr(records, "draw_curves", lambda path, rows, metric: path.touch())


@pytest.fixture
def shared() -> Path:
    """The folder of real data and published weights; tests that need it are skipped if it does not exist."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED


@pytest.fixture
def official_weights(shared) -> Path:
    """The published U²-Net† weights in the test's own cache, as if they had been downloaded."""
    home = Path(os.environ["U2NET_HOME"])
    home.mkdir(exist_ok=True)
    (home / "u2netp.onnx").symlink_to(shared / "weights" / "u2netp.onnx")
    return home / "u2netp.onnx"


@pytest.fixture
def warm_cache(tmp_path_factory) -> None:
    """Share the exports and compiled models of the cache among all tests that use this fixture."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home = Path(os.environ["U2NET_HOME"])
    home.mkdir(exist_ok=True)
    for name in ("exports", "openvino"):
        (base / "u2net_home" / name).mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(base / "u2net_home" / name)


@pytest.fixture
def known_weights(official_weights, warm_cache, small_drawing) -> Path:
    """The published weights, with the exports that earlier tests have made."""
    return official_weights


@pytest.fixture(scope="session")
def random_weight_file(tmp_path_factory) -> Path:
    """Random weights of U²-Net† for one class, the same in all processes, which share their exports."""
    import paddle  # at the top, it would be imported before `support` keeps it quiet

    paddle.seed(1)
    path = tmp_path_factory.mktemp("weights") / "w.pdparams"
    paddle.save(build_network({"type": "U2Netp", "num_classes": 1}).state_dict(), str(path))
    return path


@pytest.fixture
def small_drawing(monkeypatch) -> None:
    """Compare exports of the cache on few pixels, as all of them take Paddle a second."""
    drawn = cache.drawn_object
    monkeypatch.setattr(cache, "drawn_object", lambda channels: drawn(channels)[:, :, ::3, ::3])


def draw_data(root: Path) -> Path:
    """Draw a data set of six 32 x 32 pairs, four to train and two to validate."""
    for index in range(6):
        draw_pair(root, f"p{index}")
    lines = [f"images/p{index}.png\tmasks/p{index}.png\n" for index in range(6)]
    (root / "train_list.txt").write_text("".join(lines[:4]))
    (root / "val_list.txt").write_text("".join(lines[4:]))
    return root


@pytest.fixture
def data(tmp_path) -> Path:
    """The data set of `draw_data`; its path has a space."""
    return draw_data(tmp_path / "my data")


@pytest.fixture
def config(tmp_path, data) -> Path:
    """A saliency config of `TinyNet` and `data`."""
    return make_config(tmp_path / "tiny.yaml", data)


@pytest.fixture(scope="session")
def photos() -> dict[str, np.ndarray]:
    """Real photographs that scikit-image ships, (H, W, 3) uint8 RGB."""
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    names = ("astronaut.png", "coffee.png", "chelsea.png")
    return {name: cv2.imread(str(folder / name))[..., ::-1].copy() for name in names}


@pytest.fixture
def run(capsys):
    """A function that runs `u2net` with some words in this process: (exit code, stdout, stderr)."""

    def call(name: str, *words) -> tuple[int, str, str]:
        try:
            code = main([name, *(str(word) for word in words)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A folder with a finished training run in `run`; see `trained`."""
    root = tmp_path_factory.mktemp("finished")
    config = make_config(root / "tiny.yaml", draw_data(root / "my data"))
    words = ["--iters", "2", "--do_eval", "--seed", "0"]
    assert main(["train", "--config", str(config), "--save_dir", str(root / "run"), *words]) == 0
    return root


@pytest.fixture
def trained(finished_run, config, tmp_path, capsys) -> Path:
    """The folder of a finished training run of `config`; trained once, and copied for each test."""
    capsys.readouterr()
    shutil.copytree(finished_run / "run", tmp_path / "run")
    for path in [*tmp_path.glob("run/**/*.yaml"), *tmp_path.glob("run/**/*.json")]:
        path.write_text(path.read_text().replace(str(finished_run), str(tmp_path)))
    return tmp_path / "run"


def draw_photos(root: Path) -> Path:
    """Draw images with a sub-folder, a space, and two names that differ in their suffix only."""
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


@pytest.fixture
def photos_dir(tmp_path) -> Path:
    """The folder of `draw_photos`; its path has a space."""
    return draw_photos(tmp_path / "some photos")
