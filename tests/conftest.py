"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import SHARED, draw_pair, make_config

from paddleseg_u2net.cli.app import main


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


@pytest.fixture
def run(capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*words) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
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
