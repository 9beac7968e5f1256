"""predict as people type it; every flag changes what it writes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from support import LOOKS, environment, make_config, pixels, scores, tree, write_mask

from paddleseg_u2net.inference.predictor import Predictor


def test_a_folder_is_mirrored_into_all_outputs(run, trained, photos_dir):
    code, text, error = run(
        "predict", "--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"
    )
    assert (code, error) == (0, "")
    assert "Predicted 3 of 3 images into out" in text
    pngs = ["a.jpg.png", "a.png.png", "sub/ü b.png"]
    assert tree("out/saliency") == tree("out/cutout") == tree("out/pseudo_color_prediction") == pngs
    assert tree("out/added_prediction") == ["a.jpg", "a.png", "sub/ü b.png"]
    assert pixels("out/saliency/sub/ü b.png").shape == (20, 45)
    assert pixels("out/cutout/a.png.png").shape == (32, 32, 4)


def test_a_single_image_a_list_and_the_default_folder(run, trained, photos_dir):
    assert run("predict", "--model_path", trained, "--image_path", photos_dir / "a.png")[0] == 0
    assert tree("output/result/saliency") == ["a.png"]
    (photos_dir / "list.txt").write_text("a.png\tmask.png\nsub/ü b.png\tx\n# a.jpg\n")
    words = ["--image_path", photos_dir / "list.txt", "--save_dir", "out"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert tree("out/saliency") == ["a.png", "sub/ü b.png"]


def test_val_measures_what_predict_writes(run, trained, data):
    (data / "val_images.txt").write_text("images/p4.png\nimages/p5.png\n")
    words = ["--image_path", data / "val_images.txt", "--save_dir", "out", "--outputs", "saliency"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    errors = []
    for name in ("p4", "p5"):
        saliency = pixels(f"out/saliency/{name}.png") / 255
        errors.append(np.abs(saliency - pixels(data / "masks" / f"{name}.png") / 255).mean())
    text = run("val", "--model_path", trained, "--opts", "test_config.as_is=true")[1]
    assert scores(text)["MAE"] == pytest.approx(np.mean(errors), abs=0.5 / 255)


def test_a_list_may_name_images_anywhere_and_with_spaces(run, trained, photos_dir):
    (photos_dir / "sub" / "list").write_text("../a.png\nü b.png\n")
    words = ["--image_path", photos_dir / "sub" / "list", "--save_dir", "out", "--outputs", "saliency"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert tree("out/saliency") == ["a.png", "sub/ü b.png"]


def test_images_of_other_formats_are_mentioned(run, trained, photos_dir):
    (photos_dir / "moving.gif").touch()
    words = ["--image_path", photos_dir, "--save_dir", "out", "--outputs", "saliency"]
    code, text, _ = run("predict", "--model_path", trained, *words)
    assert code == 0
    assert "1 file(s) of other formats are left out, first: " in text


def test_resume_leaves_out_what_is_done_and_whole(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"]
    assert run("predict", *words)[0] == 0
    broken = Path("out/saliency/a.jpg.png")
    broken.write_bytes(broken.read_bytes()[:60])
    before = Path("out/saliency/a.png.png").stat().st_mtime_ns
    code, text, _ = run("predict", *words, "--resume")
    assert code == 0
    assert "2 of 3 images are done already" in text
    assert pixels(broken).shape == (32, 32)
    assert Path("out/saliency/a.png.png").stat().st_mtime_ns == before


def test_resume_does_not_shift_the_shares_of_ranks(run, trained, photos_dir, monkeypatch):
    words = [
        "--model_path",
        trained,
        "--image_path",
        photos_dir,
        "--save_dir",
        "out",
        "--outputs",
        "saliency",
    ]
    shares = (["a.jpg.png", "sub/ü b.png"], ["a.jpg.png", "a.png.png", "sub/ü b.png"])
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    for rank, there in enumerate(shares):  # rank 1 finds what rank 0 has written
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        code, text, _ = run("predict", *words, "--resume")
        assert (code, tree("out/saliency")) == (0, there)
        assert f"Rank {rank} of 2 has {2 - rank} of 3 images" in text
        assert "done already" not in text
    assert "1 of 1 images are done already" in run("predict", *words, "--resume")[1]


def test_a_rank_without_images_ends_well_and_one_that_cannot_be_does_not(
    run, trained, photos_dir, monkeypatch
):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "4")
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"]
    for rank, code in ((3, 0), (4, 1)):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        assert run("predict", *words)[0] == code
    assert tree("out") == []


def test_the_bar_names_images_a_second_however_slow(trained, photos_dir):
    """On a terminal of 100 columns; elsewhere there is no bar."""
    script = "import time; from paddleseg_u2net.cli.predict import report\n"
    script += "report((time.sleep(1.2) or '' for _ in range(2)), 2, 'out')"
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    subprocess.run([sys.executable, "-c", script], stderr=child, env=environment(), check=True)
    shown = os.read(parent, 1 << 16).decode()
    assert re.search(r"1/2 \[00:01<00:01,  0\.8\d images/s\]", shown), shown


def test_max_pixels_refuses_before_decoding(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out", "--max_pixels", 1000]
    code, _, error = run("predict", *words)
    assert (code, "a.png: 32 x 32 pixels, more than 0 million" in error) == (1, True)
    assert tree("out/saliency") == ["sub/ü b.png"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "paddle"])
def test_backends_of_predict_write_the_same_maps(run, data, tmp_path, backend):
    config = make_config(tmp_path / "u2netp.yaml", data, model="U2Netp")
    assert run("train", "--config", config, "--iters", 1, "--save_dir", "run", "--seed", 0)[0] == 0
    words = ["--model_path", "run", "--image_path", data / "images", "--outputs", "saliency"]
    for name in (backend, "auto"):
        code, text, _ = run("predict", *words, "--save_dir", name, "--backend", name)
        assert code == 0
        assert ("backend onnxruntime on cpu (auto" in text) == (name == "auto")
    for path in Path(backend).rglob("*.png"):
        difference = pixels(path).astype(int) - pixels(Path("auto", *path.parts[1:]))
        assert np.abs(difference).max() <= 1


def test_outputs_are_chosen(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--save_dir", "out", "--outputs", "saliency,cutout"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["cutout", "saliency"]


@pytest.mark.parametrize("flags", LOOKS)
def test_flags_of_predict_change_the_map(run, trained, photos_dir, flags):
    flags = ["--aug_pred" if flag == "--aug" else flag for flag in flags]
    for folder, more in (("plain", []), ("changed", flags)):
        words = ["--image_path", photos_dir / "a.png", "--outputs", "saliency", "--save_dir", folder]
        assert run("predict", "--model_path", trained, *words, *more)[0] == 0
    plain, changed = (pixels(f"{folder}/saliency/a.png") for folder in ("plain", "changed"))
    assert not np.array_equal(plain, changed)
    if flags == ["--minmax"]:
        assert (changed.min(), changed.max()) == (0, 255)


def test_custom_color_colours(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--outputs", "pseudo_color", "--save_dir", "out"]
    assert run("predict", "--model_path", trained, *words, "--custom_color", 1, 2, 3, 4, 5, 6)[0] == 0
    colors = pixels("out/pseudo_color_prediction/a.png", "RGB").reshape(-1, 3)
    assert {tuple(color) for color in colors.tolist()} <= {(1, 2, 3), (4, 5, 6)}
    for colors in ((1, 2), (1, 2, 3)):  # half a colour; no colour for the object
        code, _, error = run("predict", "--model_path", trained, *words, "--custom_color", *colors)
        assert code == 1
        assert "expected R G B of each of the 2 classes, background first" in error


def test_broken_files_are_reported_at_the_end_and_all_others_are_done(run, trained, photos_dir):
    (photos_dir / "0 empty.jpg").touch()
    (photos_dir / "truncated.png").write_bytes((photos_dir / "a.png").read_bytes()[:-40])
    (photos_dir / "text.jpg").write_text("no image")
    code, text, error = run(
        "predict", "--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"
    )
    assert code == 1
    assert "Predicted 3 of 6 images" in text
    assert len(error.splitlines()) == 3
    assert "0 empty.jpg: the file is empty" in error
    assert "truncated.png: truncated, or not an image" in error
    assert len(tree("out/saliency")) == 3


def test_every_kind_of_picture_gets_a_map_of_its_size(run, trained, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    turned = Image.Exif()
    turned[0x0112] = 6
    folder = tmp_path / "odd"
    folder.mkdir()
    for mode in ("CMYK", "P", "RGBA", "LA", "1"):
        picture.convert(mode).save(folder / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "16 bit.png")
    picture.save(folder / "animated.webp", save_all=True, append_images=[picture.rotate(180)])
    picture.save(folder / "turned.jpg", exif=turned)
    picture.save(folder / "is a jpeg.png", "JPEG")
    for size in ((1, 1), (1, 5000), (5000, 1)):
        picture.resize(size).save(folder / f"{size[0]} by {size[1]}.png")
    words = ["--image_path", folder, "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert (code, error) == (0, "")
    shapes = {path.stem: pixels(path).shape for path in Path("out/saliency").iterdir()}
    expected = dict.fromkeys(["CMYK", "P", "RGBA", "LA", "1", "16 bit", "animated", "is a jpeg"], (30, 40))
    long = {"1 by 1": (1, 1), "1 by 5000": (5000, 1), "5000 by 1": (1, 5000)}
    assert shapes == expected | long | {"turned": (40, 30)}


def test_one_image_without_room_does_not_end_the_others(run, trained, photos_dir, monkeypatch):
    real = Predictor.predict
    faults = [MemoryError(), cv2.error("Insufficient memory")]

    def hungry(self, images):
        if faults:
            raise faults.pop()
        return real(self, images)

    monkeypatch.setattr(Predictor, "predict", hungry)
    words = ["--image_path", photos_dir, "--save_dir", "out"]
    code, text, error = run("predict", "--model_path", trained, *words)
    assert (code, "Predicted 1 of 3 images" in text) == (1, True)
    assert "png: out of memory" in error
    assert "g: Insufficient memory" in error


def test_one_output_that_cannot_be_written_does_not_end_the_others(run, trained, tmp_path):
    picture = Image.fromarray(np.zeros((2, 66000, 3), np.uint8))
    picture.save(tmp_path / "wide.jpg", "PNG")  # JPEG ends at 65,500 columns
    words = ["--image_path", tmp_path / "wide.jpg", "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert (code, "wide.jpg: added: " in error, len(error.splitlines())) == (1, True, 1)
    assert [path.parent.name for path in sorted(Path("out").rglob("wide.*"))] == [
        *("cutout", "pseudo_color_prediction", "saliency")
    ]


def test_an_image_that_a_list_names_and_nobody_has_is_reported(run, trained, photos_dir):
    (photos_dir / "list.txt").write_text("a.png\nabsent.png\n")
    words = ["--image_path", photos_dir / "list.txt", "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert re.search(r"list.txt:2: \S.*absent.png: no such image file", error)
    assert tree("out/saliency") == ["a.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image_path", "nothing"], "--image_path nothing: no such file or folder"),
        (["--image_path", "hollow"], "--image_path hollow: holds no images"),
        (["--image_path", "empty.txt"], "--image_path empty.txt: lists no images"),
        (["--image_path", "utf16.txt"], "utf16.txt: a list is text in UTF-8, and this is not. Fix: save it"),
        (["--image_path", "p.png", "--outputs", "masks"], "--outputs masks: expected some of added"),
        (["--image_path", "p.png", "--save_dir", "p.png/x"], "p.png/x: cannot be written to"),
    ],
)
def test_predictions_that_cannot_be_are_refused(run, trained, words, message):
    Path("hollow").mkdir()
    Path("empty.txt").touch()
    Path("utf16.txt").write_text("bö.png", encoding="latin-1")
    write_mask(Path("p.png"), np.zeros((4, 4), np.uint8))
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert message in error


def test_output_over_input_is_refused_and_nothing_is_lost(run, trained, photos_dir):
    folder = photos_dir / "added_prediction"
    folder.mkdir()
    (photos_dir / "a.png").rename(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    code, _, error = run("predict", "--model_path", trained, "--image_path", folder, "--save_dir", photos_dir)
    assert code == 1
    assert "would be overwritten. Fix: another --save_dir" in error
    assert (folder / "a.png").read_bytes() == before


def test_earlier_results_are_not_predicted_again(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", photos_dir / "out"]
    assert run("predict", *words)[0] == 0
    code, text, _ = run("predict", *words)
    assert code == 0
    assert "Predicted 3 of 3 images" in text
