"""Images of 12 bits and of several bands, and indexed masks of several palettes, as a user trains on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from annotation_files import labelme_shape, write_labelme
from PIL import Image
from support import make_config, pixels, write_mask

from paddleseg_u2net.config.loader import load_config, preprocessing_of
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.inference.predictor import Predictor

NORMALIZE = {"type": "Normalize", "mean": [0.5], "std": [0.5]}


def draw_set(root: Path, bands: int = 3, white: int = 4095, count: int = 6) -> Path:
    """Pairs of 16-bit TIFF files whose largest value is `white` in the first one only."""
    rng, lines = np.random.default_rng(0), []
    for index in range(count):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 4 + index : 20 + index] = 255
        image = rng.integers(0, white // 8, (32, 32, bands)).astype(np.uint16)
        image[mask > 0] += white // 4
        image[0, 0] = white if index == 0 else 0
        (root / "images").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / "images" / f"p{index}.tif", image, photometric="rgb", metadata=None)
        write_mask(root / "masks" / f"p{index}.png", mask)
        lines.append(f"images/p{index}.tif masks/p{index}.png\n")
    (root / "train_list.txt").write_text("".join(lines[:4]))
    (root / "val_list.txt").write_text("".join(lines[4:]))
    return root


def config_of(path: Path, data: Path, channels: int = 3, **options) -> Path:
    """A config of TinyNet for images of so many channels."""
    make_config(path, data)
    config = yaml.safe_load(path.read_text())
    for key in ("train_dataset", "val_dataset"):
        config[key] |= {"img_channels": channels, "transforms": [NORMALIZE], **options}
    config["model"]["in_channels"] = channels
    path.write_text(yaml.safe_dump(config))
    return path


def test_white_is_decided_over_the_training_data_and_carried_by_the_model(run, tmp_path):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data"))
    words = ["--config", config, "--do_eval", "--save_dir", "out"]
    code, *text = run("train", *words, "--iters", 2)
    assert code == 0
    said = "train_dataset, val_dataset: 6 16-bit images with values up to 4095: white is 4095 (12 bits). An"
    assert said in "".join(text)
    saved = load_config("out/config.yaml")
    assert [saved[key]["img_max"] for key in ("train_dataset", "val_dataset")] == [4095, 4095]
    assert preprocessing_of(load_config("out/best_model/config.yaml")).white == 4095
    dark = tmp_path / "data" / "images" / "p1.tif"  # its own range has 11 bits
    expected = np.rint(tifffile.imread(dark) / 4095 * 255)
    assert np.abs(Predictor("out/best_model").read(dark) - expected).max() <= 1
    code, *text = run("train", *words, "--iters", 4, "--resume_model", "out/iter_2")
    assert code == 0
    assert "img_max" not in "".join(text).replace("Another one: img_max", "")
    code, *text = run("val", "--config", config, "--model_path", "out/best_model")
    assert code == 0
    assert "val_dataset: img_max: 4095, as in the training of out/best_model" in "".join(text)


def test_rgb_and_infrared_are_trained_validated_and_predicted(run, tmp_path):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data", bands=4), channels=4)
    assert run("check-dataset", "--config", config, "--save_dir", "report")[0] == 0
    words = ["--config", config, "--iters", 4, "--do_eval", "--save_dir", "out"]
    assert run("train", *words, "--save_interval", 2)[0] == 0
    assert run("val", "--model_path", "out/best_model", "--save_dir", "val")[0] == 0
    outputs = ["--outputs", "saliency,added,cutout", "--no_foreground", "--save_dir", "cut"]
    images = tmp_path / "data" / "images"
    assert run("predict", images, "--model_path", "out/best_model", *outputs)[0] == 0
    cut = pixels("cut/cutout/p0.png")
    assert np.abs(cut[..., :3] - tifffile.imread(images / "p0.tif")[..., :3] / 4095 * 255).max() <= 1
    Image.fromarray(cut[..., :3]).save("rgb.png")
    code, _, err = run("predict", "rgb.png", "--model_path", "out/best_model", "--save_dir", "cut")
    assert code == 1
    assert "rgb.png: holds 3 channels, expected 4 (img_channels). Fix: " in err


def test_files_with_fewer_channels_are_an_error_before_training(run, tmp_path):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data", bands=4), channels=5)
    code, _, err = run("train", "--config", config, "--iters", 2)
    assert code != 0
    assert "p0.tif: holds 4 channels, expected 5 (img_channels)" in err
    fixed = ["--opts", "train_dataset.img_channels=4", "model.in_channels=4"]
    assert run("train", "--config", config, "--iters", 1, *fixed)[0] == 0


@pytest.mark.parametrize("name", ["Normalize", "NormalizeByMax"])
@pytest.mark.parametrize("argument", ["mean", "std"])
def test_mean_and_std_of_another_length_are_an_error_at_the_start(run, tmp_path, name, argument):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data", bands=4), channels=4)
    normalize = {**NORMALIZE, "type": name, argument: [0.5] * 3}
    option = f"train_dataset.transforms=[{normalize}]".replace("'", "")
    code, _, err = run("train", "--config", config, "--iters", 1, "--opts", option)
    assert code != 0
    found = f"train_dataset.transforms[0]: {name}: {argument}: [0.5, 0.5, 0.5]"
    assert f"{found}. Fix: a list of 4 numbers, one per channel" in err
    fixed = option.replace("[0.5, 0.5, 0.5]", "[0.5, 0.5, 0.5, 0.5]")
    assert run("train", "--config", config, "--iters", 1, "--opts", fixed)[0] == 0


def test_default_mean_and_std_for_other_channels_are_an_error_at_the_start(run, tmp_path):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data", bands=4), channels=4)
    words = ["train", "--config", config, "--iters", 1, "--opts"]
    code, _, err = run(*words, "train_dataset.transforms=[{type: NormalizeByMax}]")
    assert code != 0
    assert "NormalizeByMax: mean: the default has 3 numbers, but img_channels is 4. Fix: mean: a list" in err
    levels = "[0.5, 0.5, 0.5, 0.5]"
    fixed = f"train_dataset.transforms=[{{type: NormalizeByMax, mean: {levels}, std: {levels}}}]"
    assert run(*words, fixed)[0] == 0


@pytest.mark.parametrize(
    ("transform", "channels", "limit"),
    [("{type: RandomDistort}", 4, "RGB images only"), ("{type: RandomRotation}", 5, "up to 4 channels")],
)
def test_transforms_for_fewer_channels_are_an_error_at_the_start(run, tmp_path, transform, channels, limit):
    config = config_of(tmp_path / "c.yaml", draw_set(tmp_path / "data", bands=5), channels=channels)
    option = f"train_dataset.transforms=[{transform}]"
    code, _, err = run("train", "--config", config, "--iters", 1, "--opts", option)
    assert code != 0
    assert f"is for {limit}, and img_channels is {channels}. Fix: remove Random" in err


def test_masks_of_12_bits_are_white_at_4095(run, tmp_path):
    root = draw_set(tmp_path / "data")
    for index in range(6):
        mask = pixels(root / "masks" / f"p{index}.png")
        write_mask(root / "masks" / f"p{index}.png", (mask > 0).astype(np.uint16) * 4095)
    out = run("check-dataset", "--dataset_root", root)[1]
    assert "mask_encoding: grey (0 .. white -> 0 .. 1, 16-bit files: white is 4095 (12 bits))" in out


def test_make_dataset_reads_swapped_palettes_by_colour_and_writes_that_into_the_config(run, tmp_path):
    rng, expected = np.random.default_rng(0), {}
    for index in range(6):
        mask = np.zeros((16, 16), np.uint8)
        mask[2:6, 3 + index :] = 1
        stored = mask if index < 3 else 1 - mask
        picture = Image.frombytes("P", (16, 16), stored.tobytes())
        picture.putpalette([255, 0, 0, 0, 255, 0] if index < 3 else [0, 255, 0, 255, 0, 0])
        for folder in ("images", "masks"):
            (tmp_path / "my" / folder).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "my" / "masks" / f"p{index}.png")
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(
            tmp_path / "my" / "images" / f"p{index}.png"
        )
        expected[f"p{index}"] = mask
    words = ["--image_dir", "my/images", "--mask_dir", "my/masks", "--split", 0.5, 0.5, 0]
    code, *text = run("make-dataset", *words)
    assert code == 0
    assert "3 masks hold the same colours in another order" in "".join(text)
    from paddleseg_u2net.builders import build_dataset_spec

    config = load_config("data/mine/config.yaml")
    assert config["train_dataset"]["mask_colors"] == {0: [255, 0, 0], 1: [0, 255, 0]}
    for key in ("train_dataset", "val_dataset"):  # each alone, as `val` opens it
        (dataset,) = open_datasets([build_dataset_spec(config, key)])
        for index, pair in enumerate(dataset.spec.pairs):
            np.testing.assert_array_equal(dataset.load(index)[1], expected[pair.image.stem])


def test_make_dataset_counts_what_it_does_not_use(run, tmp_path):
    root = draw_set(tmp_path / "data")
    (root / "images" / "old.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (root / "images" / "notes.txt").touch()
    write_mask(root / "masks" / "old.png", np.zeros((32, 32), np.uint8))
    words = ["--image_dir", root / "images", "--mask_dir", root / "masks"]
    code, *text = run("make-dataset", *words)
    assert code == 0
    assert "1 mask has no image, first: " in "".join(text)
    rows = json.loads(Path("data/mine/dataset.json").read_text())["items"]
    assert {row["reason"]: row["first"] for row in rows if row["items"] == "files"} == {
        "not read (HEIC image)": [str(root / "images" / "old.heic")],
        "in no pair": [str(root / "masks" / "old.png")],
        "not an image": [str(root / "images" / "notes.txt")],
    }
    assert "left out  files       1  not read (HEIC image)  " in text[0]


def test_make_dataset_counts_labelme_images_without_json(run, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        (tmp_path / "my").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8)).save(tmp_path / "my" / f"{name}.jpg")
        if name != "c":
            write_labelme(tmp_path / "my" / f"{name}.json", labelme_shape("cat", [[1, 1], [4, 1], [4, 3]]))
    code, *text = run("make-dataset", "--labelme", tmp_path / "my")
    assert code == 0
    assert "left out  files            1  in no pair  " in text[0]
