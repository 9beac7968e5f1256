"""Data set types of PaddleSeg read as data sets of this project, compared with paddleseg's own classes."""

from __future__ import annotations

import re

import numpy as np
import paddleseg.datasets
import pytest
from support import make_config, pixels, write_mask

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.config.runtime import CLASSES_OF_TYPE
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.datasets.stock import CITYSCAPES
from paddleseg_u2net.errors import ConfigError

RNG = np.random.default_rng(0)


def picture(path) -> None:
    write_mask(path, RNG.integers(0, 255, (8, 10, 3), dtype=np.uint8))


def opened(tmp_path, kind: str, mode: str = "train"):
    """The data set of a section with nothing but a type and a folder, and its config."""
    section = {"type": kind, "dataset_root": str(tmp_path / "set"), "mode": mode, "transforms": []}
    path = make_config(tmp_path / "c.yaml", tmp_path, train_dataset=section, val_dataset=section)
    path.write_text(path.read_text().replace("model:\n  num_classes: 1\n", "model:\n"))
    config = load_config(path)
    (data,) = open_datasets([build_dataset_spec(config, "train_dataset")])
    return data, config


def stock(tmp_path, kind: str, mode: str = "train"):
    return getattr(paddleseg.datasets, kind)(transforms=[], dataset_root=str(tmp_path / "set"), mode=mode)


def test_class_counts_of_types_are_those_of_paddleseg():
    found = {
        name: kind.NUM_CLASSES for name, kind in vars(paddleseg.datasets).items() if name in CLASSES_OF_TYPE
    }
    assert found == CLASSES_OF_TYPE


@pytest.mark.parametrize(("mode", "part"), [("train", "training"), ("val", "validation")])
def test_ade20k_has_the_pixels_that_paddleseg_trains_on(tmp_path, caplog, mode, part):
    caplog.set_level("INFO")
    for name in ("b", "a"):
        picture(tmp_path / "set" / "images" / part / f"{name}.jpg")
        mask = RNG.integers(0, 151, (8, 10)).astype(np.uint8)
        write_mask(tmp_path / "set" / "annotations" / part / f"{name}.png", mask)
    data, config = opened(tmp_path, "ADE20K", mode)
    assert config["model"]["num_classes"] == 150
    theirs = stock(tmp_path, "ADE20K", mode)
    expected = {path: np.squeeze(theirs[index]["label"]) for index, (path, _) in enumerate(theirs.file_list)}
    assert len(expected) == len(data) == 2
    for index, pair in enumerate(data.spec.pairs):
        np.testing.assert_array_equal(data.load(index)[1], expected[str(pair.image)])
    assert "type: ADE20K is read as type: Dataset, image_dir: " in caplog.text


@pytest.mark.parametrize("ending", ["labelTrainIds", "labelIds"])
def test_cityscapes_is_read_converted_and_as_published(tmp_path, ending):
    ids = RNG.choice([0, 3, 7, 11, 24, 33], (8, 10)).astype(np.uint8)
    classes = np.vectorize(lambda value: {7: 0, 11: 2, 24: 11, 33: 18}.get(value, 255))(ids).astype(np.uint8)
    root = tmp_path / "set"
    picture(root / "leftImg8bit" / "train" / "aachen" / "aachen_0_1_leftImg8bit.png")
    mask = ids if ending == "labelIds" else classes
    write_mask(root / "gtFine" / "train" / "aachen" / f"aachen_0_1_gtFine_{ending}.png", mask)
    write_mask(root / "gtFine" / "train" / "aachen" / "aachen_0_1_gtFine_color.png", ids)
    data, config = opened(tmp_path, "Cityscapes")
    assert config["model"]["num_classes"] == 19
    np.testing.assert_array_equal(data.load(0)[1], classes)
    if ending == "labelTrainIds":
        assert stock(tmp_path, "Cityscapes").file_list == [[str(path) for path in data.spec.pairs[0][:2]]]


def test_published_label_ids_of_cityscapes_become_19_classes():
    assert sorted(CITYSCAPES.values()) == list(range(19))
    assert (CITYSCAPES[26], CITYSCAPES[28], CITYSCAPES[23]) == (13, 15, 10)  # car, bus, sky


def test_optic_disc_seg_reads_its_lists(tmp_path):
    picture(tmp_path / "set" / "JPEGImages" / "a.jpg")
    write_mask(tmp_path / "set" / "Annotations" / "a.png", np.eye(8, 10, dtype=np.uint8))
    (tmp_path / "set" / "train_list.txt").write_text("JPEGImages/a.jpg Annotations/a.png\n")
    data, config = opened(tmp_path, "OpticDiscSeg", "Train")
    assert config["model"]["num_classes"] == 2
    assert stock(tmp_path, "OpticDiscSeg").file_list == [[str(path) for path in data.spec.pairs[0][:2]]]
    np.testing.assert_array_equal(data.load(0)[1], pixels(tmp_path / "set" / "Annotations" / "a.png"))


def test_wrong_numbers_of_classes_and_unknown_keys_are_rejected_and_the_fix_works(tmp_path):
    picture(tmp_path / "set" / "a.png")
    write_mask(tmp_path / "set" / "m.png", np.eye(8, 10, dtype=np.uint8))
    (tmp_path / "set" / "train_list.txt").write_text("a.png m.png\n")
    section = {"type": "OpticDiscSeg", "dataset_root": str(tmp_path / "set"), "mode": "train"}
    path = make_config(tmp_path / "c.yaml", tmp_path, num_classes=3, train_dataset={**section, "edge": True})
    with pytest.raises(
        ConfigError, match=re.escape("edge: True: labels of edges are not supported. Fix: edge: f")
    ):
        build_dataset_spec(load_config(path), "train_dataset")
    opts = ["train_dataset.edge=false"]
    with pytest.raises(ConfigError, match="type: OpticDiscSeg has 2. Fix: num_classes: 2"):
        build_dataset_spec(load_config(path, opts=opts), "train_dataset")
    opts += ["model.num_classes=2"]
    assert len(build_dataset_spec(load_config(path, opts=opts), "train_dataset")) == 1
    (tmp_path / "child.yaml").write_text("_base_: c.yaml\ntrain_dataset: {train_path: x}\n")
    opts += [f"train_dataset.dataset_root={tmp_path / 'set'}"]
    with pytest.raises(ConfigError, match="train_path: no such key.*add _inherited_: false to train_dataset"):
        build_dataset_spec(load_config(tmp_path / "child.yaml", opts=opts), "train_dataset")
    section = "{_inherited_: false, type: OpticDiscSeg, mode: train}"
    (tmp_path / "child2.yaml").write_text(f"_base_: child.yaml\ntrain_dataset: {section}\n")
    assert len(build_dataset_spec(load_config(tmp_path / "child2.yaml", opts=opts), "train_dataset")) == 1


@pytest.mark.parametrize(("kind", "mode"), [("ADE20K", "test"), ("Cityscapes", "trainval")])
def test_an_unknown_mode_is_rejected(tmp_path, kind, mode):
    with pytest.raises(ConfigError, match=f"train_dataset: mode: {mode}. Fix: one of train, val"):
        opened(tmp_path, kind, mode)
