"""Inspected pairs -> samples and batches."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from dataset_specs import open_dataset, spec_of
from paddleseg.cvlibs import manager
from PIL import Image

from paddleseg_u2net.data.dataset import Dataset, ErrorReturningDataset, collate, open_datasets
from paddleseg_u2net.data.inspection import inspect
from paddleseg_u2net.data.masks import MaskEncoding
from paddleseg_u2net.data.pairs import Pair, list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.errors import DataError


def test_a_dataset_loads_from_a_spec_and_an_encoding_alone(data):
    mask = Dataset(spec_of(data), MaskEncoding("grey", 1)).load(0)[1]
    assert (mask.dtype, set(np.unique(mask))) == (np.float32, {0, 1})


def test_an_inspection_with_faults_gives_no_dataset(data):
    (data / "images" / "p0.png").unlink()
    with pytest.raises(DataError, match="p0.png: no such image file"):
        Dataset.from_inspection(inspect(spec_of(data)))


def test_a_failing_sample_names_image_and_transform(data):
    crop = manager.TRANSFORMS["RandomCrop"]([64, 64])
    dataset = ErrorReturningDataset(open_dataset(data, transforms=[crop], name="train_dataset"))
    batch = collate([dataset[0, 0], dataset[1, 0]])
    message = bytes(batch["fault"]).decode()
    assert f"train_list.txt:1: {data}/images/p0.png: train_dataset: RandomCrop: " in message
    assert "train_list.txt:2: " in message


def test_a_batch_of_different_sizes_is_a_fault():
    samples = [{"img": np.zeros((3, n, 8)), "label": np.zeros((1, n, 8))} for n in (4, 6, 4)]
    message = bytes(collate(samples)["fault"]).decode()
    assert "different sizes (H, W): (4, 8), (6, 8). Fix: add a Resize" in message
    assert collate(samples[::2])["img"].shape == (2, 3, 4, 8)


def test_pairs_without_a_mask_cannot_be_loaded(data):
    pair = Pair(data / "images" / "p0.png", None)
    with pytest.raises(ValueError, match="p0.png: has no mask"):
        Dataset(DatasetSpec([pair], 1), MaskEncoding("grey", 1)).load(0)


def test_images_and_masks_are_rotated_upright_by_their_exif_tags(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((16, 48), np.uint8)
    picture[:8, :24] = 255
    Image.fromarray(np.dstack([picture] * 3)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    (dataset,) = open_datasets([DatasetSpec([Pair(tmp_path / "a.jpg", tmp_path / "a.png")], 1)])
    image, mask = dataset.load(0)
    assert image.shape[:2] == mask.shape == (48, 16)
    assert np.abs(image[..., 0] / 255 - mask).mean() < 0.05


def test_samples_have_the_documented_shapes_and_dtypes(data):
    for num_classes, dtype in ((1, np.float32), (2, np.int64)):
        sample = open_dataset(data, num_classes=num_classes)[0, 0]
        assert sample["img"].shape == (3, 32, 32)
        assert sample["img"].dtype == np.float32
        assert sample["label"].shape == (1, 32, 32)
        assert sample["label"].dtype == dtype
        assert set(np.unique(sample["label"])) == {0, 1}


def test_grey_images_have_one_channel(data):
    assert open_dataset(data, channels=1)[0, 0]["img"].shape == (1, 32, 32)


def test_augmentation_depends_on_the_seed_and_leaves_global_generators_unchanged(data):
    transforms = manager.TRANSFORMS
    dataset = open_dataset(
        data, transforms=[transforms["RandomHorizontalFlip"](), transforms["RandomDistort"]()]
    )
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    samples = [dataset[0, seed]["img"] for seed in (1, 1, 2)]
    assert (random.random(), np.random.rand()) == expected
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[0], samples[2])


def test_padding_is_ignored_in_the_label(data):
    padding = manager.TRANSFORMS["Padding"]([40, 36])
    for num_classes in (1, 2):
        label = open_dataset(data, num_classes=num_classes, transforms=[padding])[0, 0]["label"]
        assert label.shape == (1, 36, 40)
        assert (label[:, 32:] == 255).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_image_that_transforms_turn_into_nan_is_named(data, value):
    def spoil(sample):
        sample["img"][3, 5, 1] = value
        return sample

    dataset = open_dataset(data, transforms=[spoil])
    with pytest.raises(ValueError, match=r"p0.png: dataset: the transforms turn it into NaN .*Fix: correct"):
        dataset[0, 0]


def test_masks_equal_those_read_by_opencv_on_real_data(shared):
    dataset = open_dataset(shared / "data" / "drishti_gs_512", num_classes=2)
    for index in (0, 7):
        path = dataset.spec.pairs[index].mask
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
        np.testing.assert_array_equal(dataset.load(index)[1], expected)


def test_the_1_bit_masks_of_sod_are_read(shared):
    root = shared / "data" / "sod300"
    pairs = list_pairs("val", str(root), val_path="val_list.txt")[0][:40]
    (dataset,) = open_datasets([DatasetSpec(pairs, 1, mode="val")])
    assert set(np.unique(dataset.load(0)[1])) == {0, 1}
