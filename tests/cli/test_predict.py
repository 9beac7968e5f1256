"""`u2net predict` as a whole: every flag changes the files that it writes."""

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
from support import PREDICTION_FLAGS, draw_pair, environment, make_config, pixels, scores, tree, write_mask

from paddleseg_u2net.inference.predictor import Predictor


def test_folder_is_mirrored_into_all_outputs(run, trained, photos_dir):
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


def test_single_image_and_list_and_default_save_dir(run, trained, photos_dir):
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


def test_list_may_name_images_anywhere_and_with_spaces(run, trained, photos_dir):
    (photos_dir / "sub" / "list").write_text("../a.png\nü b.png\n")
    words = ["--image_path", photos_dir / "sub" / "list", "--save_dir", "out", "--outputs", "saliency"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert tree("out/saliency") == ["a.png", "sub/ü b.png"]


def test_files_of_other_formats_are_logged(run, trained, photos_dir):
    (photos_dir / "old.heic").touch()
    words = ["--image_path", photos_dir, "--save_dir", "out", "--outputs", "saliency"]
    code, text, _ = run("predict", "--model_path", trained, *words)
    assert code == 0
    assert "1 file is not used: 1 not read (HEIC image): old.heic" in text


def test_files_folders_and_lists_together_and_one_that_is_missing(run, trained, photos_dir, tmp_path):
    draw_pair(tmp_path / "other", "a")
    (tmp_path / "list.txt").write_text("other/masks/a.png\n")
    flags = ["--model_path", trained, "--save_dir", "out", "--outputs", "saliency"]
    words = ["--image_path", photos_dir, "gone.png", "other/images/a.png", "--image_path", "list.txt"]
    code, text, error = run("predict", *words, *flags)
    assert (code, error) == (1, "error: gone.png: no such file or folder\n")
    assert "Predicted 5 of 5 images into out" in text
    folder = photos_dir.name
    expected = [f"{folder}/a.jpg.png", f"{folder}/a.png.png", f"{folder}/sub/ü b.png"]
    assert tree("out/saliency") == ["other/images/a.png", "other/masks/a.png", *expected]


def test_missing_path_is_reported_by_the_first_rank_alone(run, trained, photos_dir, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    for rank, code in enumerate((1, 0)):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        outcome = run("predict", photos_dir, "gone.png", "--model_path", trained, "--save_dir", "out")
        assert (outcome[0], "gone.png" in outcome[2]) == (code, bool(code))


def test_paths_without_a_flag_are_accepted_between_flags(run, trained, photos_dir):
    (photos_dir / "a.png").rename("-dash.png")
    flags = ["--model_path", trained, "--outputs", "saliency"]
    words = [photos_dir / "a.jpg", *flags, photos_dir / "sub", "--save_dir", "out", "--", "-dash.png"]
    assert run("predict", *words)[0] == 0
    folder = photos_dir.name
    assert tree("out/saliency") == ["-dash.png", f"{folder}/a.png", f"{folder}/sub/ü b.png"]
    assert run("predict", *flags, "--image_path=-dash.png", "--save_dir", "again")[0] == 0
    code, _, error = run("predict", *flags, "-dash.png")
    assert (code, "Fix: ./-dash.png for a file whose name starts with a dash" in error) == (2, True)


def test_default_model_is_u2netp_and_is_logged(run, known_weights, photos_dir):
    code, text, _ = run("predict", photos_dir / "a.png", "--outputs", "saliency")
    assert code == 0
    assert "No --model_path: the model is u2netp" in text
    assert pixels("output/result/saliency/a.png").shape == (32, 32)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no images are given. Fix: add paths of images, folders or list files"),
        (["a.png", "--config", "a.yaml"], "--config needs --model_path: the weights of that model"),
        (["a.png", "--device_id", -1], "--device_id: expected a whole number, 0 or more, got '-1'"),
        (["a.png", "--image_pth", "b.png"], "Did you mean --image_path?"),
        (["a.png", "--scales", "big"], "--scales: expected a number above 0, got 'big'"),
    ],
)
def test_wrong_flags_are_rejected(run, words, message):
    code, _, error = run("predict", *words)
    assert code == 2
    assert error.startswith("u2net predict: error: ")
    assert message in error


@pytest.mark.parametrize("device", [[], ["--device", "gpu"]])
def test_device_id_selects_a_gpu(run, trained, photos_dir, device, monkeypatch):
    def chosen(*args, **options):
        raise ValueError(f"device {args[2]}")

    monkeypatch.setattr("paddleseg_u2net.cli.predict.open_predictor", chosen)
    words = [photos_dir / "a.png", "--model_path", trained, *device, "--device_id", 1]
    assert run("predict", *words)[::2] == (1, "error: device gpu:1\n")


def test_resume_leaves_out_images_with_complete_results(run, trained, photos_dir):
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
    assert "1 of 1 image is done already" in run("predict", *words, "--resume")[1]


def test_rank_without_images_succeeds_and_impossible_rank_fails(run, trained, photos_dir, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "4")
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", "out"]
    for rank, code in ((3, 0), (4, 1)):
        monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
        assert run("predict", *words)[0] == code
    assert tree("out") == []


def test_progress_bar_shows_images_per_second_below_one(trained, photos_dir):
    """On a terminal of 100 columns, with a clock that runs ten times as fast."""
    script = "import time; clock = time.time; time.time = lambda: 10 * clock()\n"
    script += "from paddleseg_u2net.cli.predict import report\n"
    script += "report((time.sleep(0.12) or [] for _ in range(2)), 2, 'out')"
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


@pytest.mark.usefixtures("small_drawing", "warm_cache")
def test_backends_of_predict_write_the_same_maps(run, data, random_weight_file, tmp_path):
    config = make_config(tmp_path / "u2netp.yaml", data, model="U2Netp")
    words = [data / "images" / "p0.png", data / "images" / "p1.png", "--outputs", "saliency"]
    words += ["--config", config, "--model_path", random_weight_file]
    backends = ("auto", "onnxruntime", "openvino", "paddle")
    for name in backends:
        code, text, _ = run("predict", *words, "--save_dir", name, "--backend", name)
        assert code == 0
        assert ("backend onnxruntime on cpu (auto" in text) == (name == "auto")
    assert len(tree("auto")) == 2
    for path in Path("auto").rglob("*.png"):
        maps = [pixels(Path(name, *path.parts[1:])).astype(int) for name in backends]
        assert np.ptp(maps, axis=0).max() <= 1


def test_only_chosen_outputs_are_written(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--save_dir", "out", "--outputs", "saliency,cutout"]
    assert run("predict", "--model_path", trained, *words)[0] == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["cutout", "saliency"]


@pytest.mark.parametrize("flags", PREDICTION_FLAGS)
def test_flags_of_predict_change_the_map(run, trained, photos_dir, flags):
    flags = ["--aug_pred" if flag == "--aug" else flag for flag in flags]
    for folder, more in (("plain", []), ("changed", flags)):
        words = ["--image_path", photos_dir / "a.png", "--outputs", "saliency", "--save_dir", folder]
        assert run("predict", "--model_path", trained, *words, *more)[0] == 0
    plain, changed = (pixels(f"{folder}/saliency/a.png") for folder in ("plain", "changed"))
    assert not np.array_equal(plain, changed)
    if flags == ["--minmax"]:
        assert (changed.min(), changed.max()) == (0, 255)


def test_custom_color_sets_the_palette(run, trained, photos_dir):
    words = ["--image_path", photos_dir / "a.png", "--outputs", "pseudo_color", "--save_dir", "out"]
    assert run("predict", "--model_path", trained, *words, "--custom_color", 1, 2, 3, 4, 5, 6)[0] == 0
    colors = pixels("out/pseudo_color_prediction/a.png", "RGB").reshape(-1, 3)
    assert {tuple(color) for color in colors.tolist()} <= {(1, 2, 3), (4, 5, 6)}
    for colors in ((1, 2), (1, 2, 3)):  # half a colour; no colour for the object
        code, _, error = run("predict", "--model_path", trained, *words, "--custom_color", *colors)
        assert code == 1
        assert "expected R G B of each of the 2 classes, background first" in error


def test_broken_files_are_reported_and_all_others_are_done(run, trained, photos_dir):
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
    assert "truncated.png: a PNG image that is truncated" in error
    assert len(tree("out/saliency")) == 3


def test_every_image_format_gets_a_map_of_its_size(run, trained, tmp_path):
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


def test_image_that_needs_too_much_memory_does_not_stop_the_others(run, trained, photos_dir, monkeypatch):
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
    assert "png: not enough memory" in error
    assert "g: not enough memory" in error


def test_output_that_cannot_be_written_does_not_stop_the_others(run, trained, tmp_path):
    picture = Image.fromarray(np.zeros((2, 66000, 3), np.uint8))
    picture.save(tmp_path / "wide.jpg", "PNG")  # JPEG ends at 65,500 columns
    words = ["--image_path", tmp_path / "wide.jpg", "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert (code, "wide.jpg: added: " in error, len(error.splitlines())) == (1, True, 1)
    assert [path.parent.name for path in sorted(Path("out").rglob("wide.*"))] == [
        *("cutout", "pseudo_color_prediction", "saliency")
    ]


def test_missing_image_of_a_list_is_reported_with_its_line(run, trained, photos_dir):
    (photos_dir / "list.txt").write_text("a.png\nabsent.png\n")
    words = ["--image_path", photos_dir / "list.txt", "--save_dir", "out"]
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert re.search(r"list.txt:2: \S.*absent.png: no such image file", error)
    assert tree("out/saliency") == ["a.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image_path", "nothing"], "error: nothing: no such file or folder"),
        (["nothing"], "error: nothing: no such file or folder"),
        (["--image_path", "*.jpg"], "error: *.jpg: no file matches this pattern"),
        (["--image_path", "hollow"], "hollow: no images (JPEG, "),
        (["--image_path", "empty.txt"], "empty.txt: this list names no images that exist"),
        (["--image_path", "utf16.txt"], "utf16.txt: the list is not valid UTF-8. Fix: save it"),
        (["--image_path", "p.png", "--outputs", "masks"], "--outputs masks: unknown. Fix: any of added"),
        (["p.png", "--device", "cpu", "--device_id", 0], "--device_id 0: a CPU has no number. Fix: "),
        (["--image_path", "p.png", "--save_dir", "p.png/x"], "p.png: expected a folder, found a file"),
    ],
)
def test_wrong_input_is_rejected(run, trained, words, message):
    Path("hollow").mkdir()
    Path("empty.txt").touch()
    Path("utf16.txt").write_text("bö.png", encoding="latin-1")
    write_mask(Path("p.png"), np.zeros((4, 4), np.uint8))
    code, _, error = run("predict", "--model_path", trained, *words)
    assert code == 1
    assert message in error


def test_result_that_would_overwrite_an_image_is_rejected(run, trained, photos_dir):
    folder = photos_dir / "added_prediction"
    folder.mkdir()
    (photos_dir / "a.png").rename(folder / "a.png")
    before = (folder / "a.png").read_bytes()
    code, _, error = run("predict", "--model_path", trained, "--image_path", folder, "--save_dir", photos_dir)
    assert code == 1
    assert "would be overwritten. Fix: another --save_dir" in error
    assert (folder / "a.png").read_bytes() == before


def test_results_of_earlier_runs_are_not_predicted(run, trained, photos_dir):
    words = ["--model_path", trained, "--image_path", photos_dir, "--save_dir", photos_dir / "out"]
    assert run("predict", *words)[0] == 0
    code, text, _ = run("predict", *words)
    assert code == 0
    assert "Predicted 3 of 3 images" in text


def test_damaged_and_changed_images_are_summed_up(run, trained, photos_dir):
    with Image.open(photos_dir / "a.png") as image:
        picture = image.convert("RGB").resize((200, 150), Image.Resampling.NEAREST)
    picture.save(photos_dir / "damaged.jpg", quality=95)
    content = bytearray((photos_dir / "damaged.jpg").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 900] = bytes(900)
    (photos_dir / "damaged.jpg").write_bytes(content)
    (photos_dir / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    cut = picture.copy()
    cut.putalpha(Image.linear_gradient("L").resize(picture.size))
    cut.save(photos_dir / "cut.png")
    picture.resize((20, 15)).save(photos_dir / "scan.tif", save_all=True, append_images=[picture.copy()])
    code, text, error = run("predict", "--model_path", trained, photos_dir, "--save_dir", "out")
    assert code == 1
    assert "Predicted 5 of 7 images" in text
    first, second = error.splitlines()
    assert "damaged.jpg: a JPEG image that is truncated or damaged" in first
    assert "phone.jpg: holds a HEIC image. Fix: convert it to JPEG or PNG" in second
    assert f"1 of 7 images has transparent pixels, first: {photos_dir}/cut.png: seen over light grey" in text
    assert "1 of 7 images holds more than one picture, first: " in text
    assert "scan.tif: page 2 of 2, the largest (200 x 150) is read" in text
    assert pixels("out/saliency/scan.png").shape == (150, 200)
