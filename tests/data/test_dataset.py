"""Lists and folders -> checked pairs -> samples."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from paddleseg.cvlibs import manager
from PIL import Image
from support import draw_pair, write_mask

from paddleseg_u2net.data.dataset import Dataset, Unraising, collate, inspect_all
from paddleseg_u2net.data.pairs import Pair, list_pairs, pair_folders, read_list
from paddleseg_u2net.errors import DataError


def faults_of(call) -> str:
    with pytest.raises(DataError) as caught:
        call()
    return str(caught.value)


def dataset(root, mode="train", num_classes=1, **options) -> Dataset:
    pairs, faults = list_pairs(mode, str(root), "train_list.txt", "val_list.txt")
    return Dataset(pairs, num_classes, mode=mode, faults=faults, **options)


def test_lists_take_spaces_tabs_comments_and_windows_line_ends(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffa.png b.png\r\n\r\n# old\r\nmy cat.png\tits mask.png\r\n".encode())
    pairs, faults = read_list(path, tmp_path)
    assert not faults
    assert [(p.image.name, p.mask.name, p.where) for p in pairs] == [
        ("a.png", "b.png", f"{path}:1: "),
        ("my cat.png", "its mask.png", f"{path}:4: "),
    ]
    path.write_text("a.png, b.png\n")
    assert read_list(path, tmp_path, separator=",")[0][0].mask == tmp_path / "b.png"


def test_all_wrong_lines_are_named_with_the_way_out(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.png b.png\nonly.png\nmy cat.png mask.png\n")
    pairs, faults = read_list(path, tmp_path)
    assert len(pairs) == 1
    message = "\n".join(faults)
    assert f"{path}:2: expected 'image mask', got 1 column(s): 'only.png'" in message
    assert f"{path}:3: expected 'image mask', got 3 column(s)" in message
    assert "Fix: separate the two paths by a space (or a tab, where paths hold spaces)" in message


def test_folders_are_paired_by_stem_through_sub_folders(tmp_path, caplog):
    for name in ("a", "sub/b"):
        draw_pair(tmp_path, name)
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "a.JPG")
    write_mask(tmp_path / "masks" / "unused.png", np.zeros((4, 4), np.uint8))
    pairs, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert not faults
    assert [(p.image.name, p.mask.name) for p in pairs] == [("a.JPG", "a.png"), ("b.png", "b.png")]
    assert "1 masks have no image" in caplog.text


def test_folders_that_do_not_pair_are_named_all_together(tmp_path):
    for name in ("a", "b", "c"):
        draw_pair(tmp_path, name)
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "images" / "c.jpg").write_bytes(b"")
    pairs, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert [pair.image.name for pair in pairs] == ["c.jpg"]
    message = "\n".join(faults)
    assert message.count("no mask named") == 2
    assert "a second file named 'c'" in message


def test_masks_with_longer_names_are_pointed_out(tmp_path):
    for name in ("a", "b"):
        draw_pair(tmp_path, name)
        (tmp_path / "masks" / f"{name}.png").rename(tmp_path / "masks" / f"{name}_mask.png")
    _, faults = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert faults[0].endswith("Fix: names must be the same without suffix; there is 'a_mask'")
    assert "no mask named 'b'" in faults[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either train_path, or image_dir and mask_dir. Fix: an inherited key"),
        ({"image_dir": "images"}, "give either train_path, or image_dir and mask_dir"),
        ({"train_path": "no.txt"}, "train_path: no.txt: no such list, here or in"),
        ({"train_path": "empty.txt"}, "train images: 0. Fix:"),
        ({"mode": "trian", "train_path": "x"}, "mode: 'trian', expected train, val or test"),
        ({"image_dir": "no", "mask_dir": "masks"}, "no: no such folder"),
        ({"image_dir": "none", "mask_dir": "none"}, "train images: 0"),
        (
            {"dataset_root": "absent", "train_path": "x"},
            r"dataset_root: absent: no such folder \(/.*absent; it is relative to where",
        ),
    ],
)
def test_sections_that_name_no_data_are_refused(data, options, message):
    (data / "empty.txt").write_text("\n")
    (data / "none").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list_pairs(**{"dataset_root": str(data), **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes: 0, expected 1 .. 255"),
        ({"num_classes": 1, "mask_encoding": "rgb"}, "mask_encoding: 'rgb', expected index or grey"),
        ({"num_classes": 3, "mask_encoding": "grey"}, "grey means at most two classes, got 3. Fix: index"),
        (
            {"num_classes": 2, "ignore_index": "255"},
            "ignore_index: '255', expected a value of the mask files",
        ),
        ({"num_classes": 1, "img_channels": 4}, "img_channels: 4, expected 1 or 3"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Dataset([], **options)


def test_all_faults_of_all_sets_come_together(data):
    (data / "images" / "p0.png").unlink()
    (data / "masks" / "p1.png").write_bytes(b"no image")
    write_mask(data / "masks" / "p2.png", np.full((32, 16), 255, np.uint8))
    image = data / "images" / "p4.png"
    image.write_bytes(image.read_bytes()[:-100])
    message = faults_of(lambda: inspect_all([dataset(data), dataset(data, "val")]))
    for part in (
        f"train_list.txt:1: {data / 'images' / 'p0.png'}: no such image file",
        f"train_list.txt:2: {data / 'masks' / 'p1.png'}: cannot be read as a mask",
        "train_list.txt:3: ",
        "mask (H, W) (32, 16) differs from its image's (32, 32)",
        f"val_list.txt:1: {image}: truncated, or not an image",
    ):
        assert part in message


def test_faults_of_a_list_and_of_its_files_come_together(data):
    with (data / "train_list.txt").open("a") as file:
        file.write("lonely.png\n")
    (data / "images" / "p1.png").unlink()
    message = faults_of(lambda: inspect_all([dataset(data)]))
    assert "train_list.txt:5: expected 'image mask'" in message
    assert "train_list.txt:2: " in message


def test_faults_of_folders_name_the_file_once(tmp_path):
    for name in ("a", "b"):
        draw_pair(tmp_path, name)
    (tmp_path / "images" / "a.png").write_bytes(b"")
    pairs, _ = pair_folders(tmp_path / "images", tmp_path / "masks")
    message = faults_of(lambda: inspect_all([Dataset(pairs, 1)]))
    assert message == f"{tmp_path}/images/a.png: the file is empty"


def test_a_sample_that_fails_names_image_and_transform(data):
    crop = manager.TRANSFORMS["RandomCrop"]([64, 64])
    own = Unraising(dataset(data, transforms=[crop], name="train_dataset"))
    own.dataset.inspect()
    batch = collate([own[0, 0], own[1, 0]])
    message = bytes(batch["fault"]).decode()
    assert f"train_list.txt:1: {data}/images/p0.png: train_dataset: RandomCrop: " in message
    assert "train_list.txt:2: " in message


def test_a_batch_of_different_sizes_is_a_fault_with_the_way_out():
    samples = [{"img": np.zeros((3, n, 8)), "label": np.zeros((1, n, 8))} for n in (4, 6, 4)]
    message = bytes(collate(samples)["fault"]).decode()
    assert "different sizes (H, W): (4, 8), (6, 8). Fix: add a Resize" in message
    assert collate(samples[::2])["img"].shape == (2, 3, 4, 8)


def test_faults_beyond_a_hundred_are_counted():
    error = DataError([f"f{i}" for i in range(150)])
    assert str(error).endswith("f99\n… and 50 more")
    assert len(error.faults) == 150


def test_a_training_set_without_foreground_is_refused(data):
    for path in (data / "masks").iterdir():
        write_mask(path, np.zeros((32, 32), np.uint8))
    assert "none of the 4 masks has any foreground" in faults_of(lambda: inspect_all([dataset(data)]))
    assert dataset(data, "val").inspect() == []


def test_0_255_masks_under_ignore_index_255_are_refused(data):
    message = faults_of(lambda: inspect_all([dataset(data, num_classes=2, ignore_index=255)]))
    assert "none of the 4 masks has any foreground" in message


def test_a_single_empty_mask_is_a_warning(data, caplog):
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    assert dataset(data).inspect() == []
    assert "1 of 4 masks are empty" in caplog.text


def test_class_ids_out_of_range_name_their_file(data):
    write_mask(data / "masks" / "p1.png", np.full((32, 32), 7, np.uint8))
    for name in ("p0", "p2", "p3"):
        write_mask(data / "masks" / f"{name}.png", np.eye(32, dtype=np.uint8))
    message = faults_of(lambda: inspect_all([dataset(data, num_classes=3)]))
    assert "train_list.txt:2" in message
    assert "holds 7, expected class ids 0 .. 2 (num_classes: 3)" in message


def test_the_encoding_is_decided_and_logged(data, caplog):
    caplog.set_level("INFO")
    dataset(data, name="train_dataset").inspect()
    assert "train_dataset: 4 images, mask_encoding: grey" in caplog.text


def test_images_and_masks_with_exif_are_both_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((16, 48), np.uint8)
    picture[:8, :24] = 255
    Image.fromarray(np.dstack([picture] * 3)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    pairs = [Pair(tmp_path / "a.jpg", tmp_path / "a.png", "here")]
    turned = Dataset(pairs, 1)
    assert turned.inspect() == []
    image, mask = turned.load(0)
    assert image.shape[:2] == mask.shape == (48, 16)
    assert np.abs(image[..., 0] / 255 - mask).mean() < 0.05


def test_samples_have_their_unit(data):
    for num_classes, dtype in ((1, np.float32), (2, np.int64)):
        own = dataset(data, num_classes=num_classes)
        own.inspect()
        sample = own[0, 0]
        assert sample["img"].shape == (3, 32, 32)
        assert sample["img"].dtype == np.float32
        assert sample["label"].shape == (1, 32, 32)
        assert sample["label"].dtype == dtype
        assert set(np.unique(sample["label"])) == {0, 1}


def test_grey_images_have_one_channel(data):
    own = dataset(data, img_channels=1)
    own.inspect()
    assert own[0, 0]["img"].shape == (1, 32, 32)


def test_augmentation_is_a_function_of_the_seed_and_leaves_the_generators_alone(data):
    transforms = manager.TRANSFORMS
    own = dataset(data, transforms=[transforms["RandomHorizontalFlip"](), transforms["RandomDistort"]()])
    own.inspect()
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    samples = [own[0, seed]["img"] for seed in (1, 1, 2)]
    assert (random.random(), np.random.rand()) == expected
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[0], samples[2])


def test_padding_marks_pixels_that_do_not_count(data):
    padding = manager.TRANSFORMS["Padding"]([40, 36])
    for num_classes in (1, 2):
        own = dataset(data, num_classes=num_classes, transforms=[padding])
        own.inspect()
        label = own[0, 0]["label"]
        assert label.shape == (1, 36, 40)
        assert (label[:, 32:] == 255).all()


def test_loading_before_inspection_is_our_own_mistake(data):
    with pytest.raises(RuntimeError, match="inspect"):
        dataset(data).load(0)


def test_masks_read_by_opencv_and_by_us_agree_on_real_data(shared):
    root = shared / "data" / "drishti_gs_512"
    own = dataset(root, num_classes=2)
    assert own.inspect() == []
    for index in (0, 7):
        expected = cv2.imread(str(own.pairs[index].mask), cv2.IMREAD_GRAYSCALE) > 127
        np.testing.assert_array_equal(own.load(index)[1], expected)


def test_the_1_bit_masks_of_sod_are_read(shared):
    root = shared / "data" / "sod300"
    pairs = list_pairs("val", str(root), val_path="val_list.txt")[0][:40]
    sod = Dataset(pairs, 1, mode="val")
    assert sod.inspect() == []
    assert set(np.unique(sod.load(0)[1])) == {0, 1}
