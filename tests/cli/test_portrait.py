"""`u2net portrait`, and people by `u2net predict`: the authors' demos with weights at random."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import torch_writer
from PIL import Image
from safetensors.numpy import save_file
from scipy import ndimage
from skimage import transform
from support import few_random_numbers, pixels, tree

from paddleseg_u2net.inference import portraits
from paddleseg_u2net.inference.portraits import crop_face, find_face
from paddleseg_u2net.io.files import digest
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.models.u2net import U2Net, U2Netp

SIDE = 64  # of the network's input here
SMALL = ["--opts", "model.type=U2Netp", f"val_dataset.transforms.0.target_size=[{SIDE},{SIDE}]"]


def network(kind=U2Netp):
    """A network whose weights are drawn at random by a seed, in eval mode."""
    paddle.seed(0)
    with few_random_numbers():
        net = kind(num_classes=1)
    net.eval()
    return net


def state_of(net) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in net.state_dict().items()}


@pytest.fixture
def weights(tmp_path) -> Path:
    save_file(state_of(network()), str(tmp_path / "drawing.safetensors"))
    return tmp_path / "drawing.safetensors"


@pytest.fixture
def faces(tmp_path, photos, monkeypatch, small_drawing, warm_cache) -> Path:
    """A folder of a photograph with a face in it, one in a sub-folder of the same name, and one without."""
    monkeypatch.setattr(portraits, "SIZE", SIDE)
    monkeypatch.setattr(portraits, "WHOLE_SIDE", SIDE)
    folder = tmp_path / "my photos"
    (folder / "sub").mkdir(parents=True)
    photo = Image.fromarray(photos["astronaut.png"]).resize((256, 256), Image.Resampling.BOX)
    photo.save(folder / "a b.png")
    photo.crop((40, 0, 220, 150)).save(folder / "sub" / "a b.jpg", quality=95)
    Image.fromarray(photos["coffee.png"][:90, :120]).save(folder / "coffee.v2.png")
    return folder


def drawing_by_paddle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Min-max of (1 - d0) at `size` (H, W), by the network in Paddle."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    tensor = (small / small.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = network()(paddle.to_tensor(tensor.transpose(2, 0, 1)[None].astype(np.float32)))[0]
    drawn = 1 - 1 / (1 + np.exp(-logits.numpy()[0, 0].astype(np.float64)))
    return (drawn - drawn.min()) / (drawn.max() - drawn.min())


def test_faces_are_cropped_drawn_and_blended(run, weights, faces):
    words = [faces, "--model_path", weights, *SMALL, "--sigma", 3, "--alpha", 0.25, "--save_dir", "out"]
    code, text, error = run("portrait", *words)
    assert (code, error) == (0, "")
    assert f"{weights} carries no config: that of RGB/U2Net/u2net_portrait.yaml is used" in text
    assert "1 of 3 images has no face that was found, first: " in text
    assert "coffee.v2.png: the whole image is drawn" in text
    names = ["a b.png", "coffee.v2.png", "sub/a b.png"]
    assert tree("out") == [*(f"composite/{name}" for name in names), *(f"portrait/{name}" for name in names)]
    crop = crop_face(pixels(faces / "a b.png"), find_face(pixels(faces / "a b.png")))
    drawn = pixels("out/portrait/a b.png")
    assert drawn.shape == crop.shape[:2]
    expected = drawing_by_paddle(crop, (SIDE, SIDE))
    assert np.abs(drawn / 255 - transform.resize(expected, drawn.shape, order=2)).mean() < 0.01
    blurred = ndimage.gaussian_filter(crop.astype(float), (3, 3, 0), mode="nearest")
    composite = blurred * 0.25 + drawn[..., None] / drawn.max() * 255 * 0.75
    assert np.abs(pixels("out/composite/a b.png") - composite).max() < 2


def test_photograph_without_a_face_is_drawn_at_its_own_size(run, weights, faces):
    words = ["--model_path", weights, *SMALL, "--save_dir", "out"]
    code, text, _ = run("portrait", faces / "coffee.v2.png", *words)
    assert code == 0
    assert "1 of 1 image has no face that was found" in text
    drawn = pixels("out/portrait/coffee.v2.png")
    assert drawn.shape == (90, 120)
    expected = drawing_by_paddle(pixels(faces / "coffee.v2.png"), (48, 64))
    assert np.abs(drawn / 255 - transform.resize(expected, (90, 120), order=2)).mean() < 0.01


def test_whole_photographs_without_the_search_for_faces(run, weights, faces, monkeypatch):
    monkeypatch.setattr(portraits, "open_cascade", lambda: pytest.fail("no face is to be found"))
    words = [faces, "--model_path", weights, *SMALL, "--no_face_crop", "--save_dir", faces / "out"]
    for resume, line in (([], "Predicted 3 of 3"), (["--resume"], "3 of 3 images are done already")):
        code, text, _ = run("portrait", *words, *resume)  # the second run does not draw the drawings
        assert (code, line in text, "no face" in text) == (0, True, False)
    assert tree(faces / "out") == [f"portrait/{name}" for name in ("a b.png", "coffee.v2.png", "sub/a b.png")]
    assert pixels(faces / "out/portrait/a b.png").shape == (256, 256)


def test_earlier_results_are_announced_and_photographs_never_replaced(run, weights, faces):
    words = [faces / "a b.png", "--model_path", weights, *SMALL, "--no_face_crop"]
    assert run("portrait", *words)[0] == 0
    assert "Results of 1 image exist in output/portrait and are replaced" in run("portrait", *words)[1]
    (faces / "a b.png").rename(faces / "portrait")
    (faces / "portrait").rename(faces / "a b.png")
    (faces / "portrait").mkdir()
    (faces / "a b.png").rename(faces / "portrait" / "a b.png")
    before = digest(faces / "portrait" / "a b.png", "sha256")
    words[0] = faces / "portrait" / "a b.png"
    code, _, error = run("portrait", *words, "--save_dir", faces)
    assert code == 1
    assert "would be overwritten. Fix: another --save_dir" in error
    assert digest(words[0], "sha256") == before
    assert run("portrait", *words, "--save_dir", faces / "other")[0] == 0


def test_unreadable_photograph_is_named_and_the_others_are_drawn(run, weights, faces):
    (faces / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    words = [faces, "gone.png", "--model_path", weights, *SMALL, "--save_dir", "out"]
    code, text, error = run("portrait", *words)
    assert code == 1
    assert "Predicted 3 of 4 images" in text
    assert "gone.png: no such file or folder" in error
    assert "bad.png" in error
    assert len(tree("out/portrait")) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no images are given"),
        (["a.png", "--sigma", 2], "--sigma: a composite needs --alpha too. Fix: --sigma 20 --alpha 0.5"),
        (["a.png", "--alpha", 0], "--alpha: a composite needs --sigma too"),
        (["a.png", "--sigma", 2, "--alpha", 1.01], "--alpha: expected a number from 0 to 1, got '1.01'"),
        (["a.png", "--sigma=-1", "--alpha", 1], "--sigma: expected a number from 0 to 200, got '-1'"),
        (["a.png", "--sigma", "nan", "--alpha", 1], "--sigma: expected a number from 0 to 200, got 'nan'"),
        (["a.png", "--sigma", 1e9, "--alpha", 1], "--sigma: expected a number from 0 to 200"),
    ],
)
def test_wrong_flags_are_rejected(run, words, message):
    code, _, error = run("portrait", *words)
    assert code == 2
    assert error.startswith("u2net portrait: error: ")
    assert message in error


SIZES = [pytest.param(U2Netp, id="u2netp"), pytest.param(U2Net, id="u2net", marks=pytest.mark.slow)]


def put_into_cache(monkeypatch, name: str, kind) -> None:
    """Put random weights where those of a known name are kept, and their checksum into its row."""
    home = Path(os.environ["U2NET_HOME"])
    home.mkdir(exist_ok=True)
    path = home / KNOWN[name].file
    save = torch_writer.save if path.suffix == ".pth" else lambda state, path: save_file(state, str(path))
    save(state_of(network(kind)), path)
    monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], checksum=f"sha256:{digest(path, 'sha256')}"))


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(
    ("words", "results"),
    [
        (["portrait"], "portrait"),
        (["predict", "--model_path", "u2net_human_seg", "--outputs", "saliency", "--official"], "saliency"),
    ],
)
def test_each_demo_is_one_command_once_its_weights_are_there(run, faces, monkeypatch, words, results, kind):
    name = "u2net_human_seg" if "predict" in words else "u2net_portrait"
    put_into_cache(monkeypatch, name, kind)
    changes = [*SMALL[:1], f"model.type={kind.__name__}", *SMALL[2:]]
    code, text, error = run(*words, faces / "a b.png", *changes, "--save_dir", "out")
    assert (code, error) == (0, "")
    assert ("the model is u2net_portrait" in text) == (results == "portrait")
    assert tree("out") == [f"{results}/a b.png"]
    assert np.ptp(pixels(f"out/{results}/a b.png")) > 100


def test_weights_of_the_authors_for_people_need_a_config_and_the_message_names_it(run, faces, tmp_path):
    torch_writer.save(state_of(network()), tmp_path / "u2net_human_seg.pth")
    words = ["predict", faces / "a b.png", "--model_path", tmp_path / "u2net_human_seg.pth"]
    code, _, error = run(*words)
    assert code == 1
    assert "(for published weights RGB/U2Net/u2net_duts.yaml)" in error
    assert run(*words, "--config", "RGB/U2Net/u2net_duts.yaml", *SMALL, "--outputs", "saliency")[0] == 0
