"""Reading every file of a data set once: faults, encoding, contents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dataset_specs import spec_of
from support import draw_pair, write_mask

from paddleseg_u2net.data.dataset import Dataset, open_datasets
from paddleseg_u2net.data.inspection import inspect, read_pairs
from paddleseg_u2net.data.pairs import pair_folders
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.errors import DataError, Fault


def message_of(*specs: DatasetSpec) -> str:
    """What `open_datasets` raises."""
    with pytest.raises(DataError) as caught:
        open_datasets(specs)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes: 0, expected 1 .. 255"),
        ({"num_classes": 1, "mask_encoding": "rgb"}, "mask_encoding: 'rgb', expected index or grey"),
        (
            {"num_classes": 3, "mask_encoding": "grey"},
            "grey means at most two classes, got 3. Fix: mask_encoding: index",
        ),
        (
            {"num_classes": 2, "ignore_index": "255"},
            "ignore_index: '255', expected a value of the mask files",
        ),
        ({"num_classes": 1, "channels": 0}, "img_channels: 0, expected a whole number above 0"),
        ({"num_classes": 1, "white": 0}, "img_max: 0, expected 1 .. 65535"),
    ],
)
def test_specs_with_wrong_values_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        DatasetSpec([], **options)


def test_specs_inspections_and_datasets_cannot_be_changed(data):
    spec = spec_of(data)
    inspection = inspect(spec)
    dataset = Dataset.from_inspection(inspection)
    for instance, name in ((spec, "pairs"), (inspection, "encoding"), (dataset, "encoding")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, name, None)


def test_faults_of_all_data_sets_are_reported_together(data):
    (data / "images" / "p0.png").unlink()
    (data / "masks" / "p1.png").write_bytes(b"no image")
    write_mask(data / "masks" / "p2.png", np.full((32, 16), 255, np.uint8))
    image = data / "images" / "p4.png"
    image.write_bytes(image.read_bytes()[:-100])
    message = message_of(spec_of(data), spec_of(data, "val"))
    for part in (
        f"train_list.txt:1: {data / 'images' / 'p0.png'}: no such image file",
        f"train_list.txt:2: {data / 'masks' / 'p1.png'}: cannot be read as a mask",
        f"train_list.txt:3: {data / 'masks' / 'p2.png'}: mask (H, W) (32, 16) differs from",
        f"val_list.txt:1: {image}: a PNG image that is truncated",
    ):
        assert part in message


def test_faults_of_a_list_and_of_its_files_are_reported_together(data):
    with (data / "train_list.txt").open("a") as file:
        file.write("lonely.png\n")
    (data / "images" / "p1.png").unlink()
    message = message_of(spec_of(data))
    assert "train_list.txt:5: expected 'image mask'" in message
    assert "train_list.txt:2: " in message


def test_faults_of_folders_name_the_file_once(tmp_path):
    for name in ("a", "b"):
        draw_pair(tmp_path, name)
    (tmp_path / "images" / "a.png").write_bytes(b"")
    pairs, _ = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert message_of(DatasetSpec(pairs, 1)) == f"{tmp_path}/images/a.png: the file is empty"


def test_messages_show_a_hundred_faults_and_count_the_rest():
    error = DataError([Fault("", f"f{i}") for i in range(150)])
    assert str(error).endswith("f99\n… and 50 more")
    assert len(error.faults) == 150


def test_training_data_without_foreground_are_rejected(data):
    for path in (data / "masks").iterdir():
        write_mask(path, np.zeros((32, 32), np.uint8))
    fault = inspect(spec_of(data)).no_foreground
    assert fault.what.startswith("none of the 4 masks has any foreground")
    assert message_of(spec_of(data)) == str(fault)
    assert inspect(spec_of(data, "val")).faults == []


def test_0_255_masks_with_ignore_index_255_are_rejected(data):
    message = message_of(spec_of(data, num_classes=2, ignore_index=255))
    assert "none of the 4 masks has any foreground" in message


def test_some_empty_masks_are_a_warning(data, caplog):
    write_mask(data / "masks" / "p0.png", np.zeros((32, 32), np.uint8))
    open_datasets([spec_of(data)])
    assert "1 of 4 masks is empty" in caplog.text


def test_contradictory_masks_are_keyed_by_the_index_of_their_pair(data):
    (data / "masks" / "p0.png").unlink()
    write_mask(data / "masks" / "p2.png", np.full((32, 32), 7, np.uint8))
    for name in ("p1", "p3"):
        write_mask(data / "masks" / f"{name}.png", np.eye(32, dtype=np.uint8))
    inspection = inspect(spec_of(data, num_classes=3))
    (fault,) = inspection.contradictions.values()
    assert list(inspection.contradictions) == [2]
    assert fault.where == inspection.records[2].mask_place
    assert fault.what == "holds 7, expected class ids 0 .. 2 (num_classes: 3)"
    assert [content is None for content in inspection.contents] == [True, False, True, False]
    assert [record.index for record in inspection.records] == [0, 1, 2, 3]
    assert inspection.faults == [*inspection.records[0].faults, fault]


def test_files_that_have_been_read_are_not_read_again(data):
    spec = spec_of(data)
    records = read_pairs(spec.pairs, "first")
    for path in (data / "masks").iterdir():
        path.unlink()
    assert inspect(spec, records).faults == []
    assert len(inspect(spec).faults) == 4


def test_the_encoding_is_logged_unless_there_are_faults(data, caplog):
    caplog.set_level("INFO")
    inspect(spec_of(data, name="train_dataset"))
    assert "train_dataset: 4 images, mask_encoding: grey (0 .. white -> 0 .. 1)" in caplog.text
    caplog.clear()
    (data / "masks" / "p0.png").unlink()
    inspect(spec_of(data))
    assert "mask_encoding" not in caplog.text
