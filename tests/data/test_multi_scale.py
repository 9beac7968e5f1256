"""Batches whose size is drawn for each of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from training_runs import assert_equal_states, saved_state, trainer

from paddleseg_u2net.data.multi_scale import ResizedDataset, SizedBatches, read_sizes
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.errors import ConfigError

SIZES = ((16, 16), (24, 24), (20, 36))


def sizes_of(**stream) -> list[tuple[int, int]]:
    found = []
    for batch in SizedBatches(BatchStream(**{"length": 7, "batch_size": 2, "seed": 3, **stream}), SIZES):
        (size,) = {size for _, _, size in batch}
        found.append(size)
    return found


def test_a_batch_has_one_size_and_all_sizes_are_drawn_alike():
    found = sizes_of(batches=600)
    assert all(150 < found.count(size) < 250 for size in SIZES)
    assert found != sizes_of(batches=600, seed=4)


def test_resuming_draws_the_same_sizes_and_ranks_agree():
    whole = sizes_of(batches=20)
    assert sizes_of(batches=12, start=16) == whole[8:]
    ranks = [sizes_of(batches=9, rank=rank, ranks=2) for rank in range(2)]
    assert ranks[0] == ranks[1] == whole[:18:2]


def test_keys_are_those_of_the_stream():
    stream = BatchStream(7, 2, seed=1, batches=5)
    sized = SizedBatches(stream, SIZES)
    assert [[key[:2] for key in batch] for batch in sized] == list(stream)
    assert len(sized) == 5


class OneSample:
    """Stands in for `Dataset`; the image repeats the mask, so that both can be compared."""

    def __init__(self, mask: np.ndarray, image: np.ndarray):
        self.mask, self.image = mask, image

    def __getitem__(self, key):
        return {"img": np.repeat(self.image[None].astype(np.float32), 3, axis=0), "label": self.mask[None]}


def test_soft_masks_are_interpolated_like_the_image_and_ignored_pixels_stay():
    soft = np.random.default_rng(0).random((12, 16)).astype(np.float32)
    sample = ResizedDataset(OneSample(soft, soft))[0, 0, (18, 40)]
    assert (sample["img"].shape, sample["label"].shape) == ((3, 18, 40), (1, 18, 40))
    np.testing.assert_allclose(sample["label"][0], sample["img"][0], atol=1e-6)
    mask = soft.copy()
    mask[:, :8] = 255
    label = ResizedDataset(OneSample(mask, soft))[0, 0, (18, 40)]["label"][0]
    assert (label[:, :20] == 255).all()
    np.testing.assert_allclose(label[:, 22:], sample["img"][0][:, 22:], atol=1e-6)
    assert label.dtype == np.float32


def test_class_ids_are_not_mixed_and_ignored_pixels_stay():
    ids = np.kron([[0, 7, 255], [3, 10, 254]], np.ones((4, 4))).astype(np.int64)  # 8 x 12
    label = ResizedDataset(OneSample(ids, ids))[0, 0, (16, 24)]["label"][0]
    np.testing.assert_array_equal(label, np.kron(ids, np.ones((2, 2))))
    assert label.dtype == np.int64
    smaller = ResizedDataset(OneSample(ids, ids))[0, 0, (5, 7)]["label"]
    assert set(np.unique(smaller)) <= set(np.unique(ids))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_sees_the_sizes_and_resumes_exactly(config, tmp_path, num_workers):
    opts = ["train_dataset.multi_scale=[16, [36, 20], 24]"]
    options = {"iters": 6, "save_interval": 3, "num_workers": num_workers}
    run, seen = trainer(config, tmp_path / "whole", opts, **options), []
    run.network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    run.run()
    assert set(seen) <= {(16, 16), (20, 36), (24, 24)}
    assert len(set(seen)) > 1
    resumed = {**options, "resume_model": tmp_path / "whole" / "iter_3", "seed": 9}
    trainer(config, tmp_path / "again", opts, **resumed).run()
    assert_equal_states(*(saved_state(tmp_path / name / "iter_6") for name in ("whole", "again")))


def test_images_of_different_sizes_fit_into_one_batch(config, data, tmp_path):
    import cv2

    for name in ("images/p0.png", "masks/p0.png"):
        cv2.imwrite(str(data / name), cv2.resize(cv2.imread(str(data / name)), (40, 28)))
    assert trainer(config, tmp_path, ["train_dataset.multi_scale=[16]"], iters=2).run().iter == 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train_dataset", 320, "train_dataset: multi_scale: expected a list of sizes in pixels, got 320"),
        ("train_dataset", [], "expected a list of sizes in pixels, got []"),
        ("train_dataset", [320, "a"], "expected [W, H] in pixels, got 'a'. Fix: sizes such as 320"),
        ("train_dataset", [[320]], "expected [W, H] in pixels, got [320]"),
        ("train_dataset", [0], "expected [W, H] in pixels, got [0, 0]"),
        ("val_dataset", [320], "val_dataset: multi_scale: for train_dataset only. Fix: leave it out"),
    ],
)
def test_wrong_sizes_are_rejected(key, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_sizes(key, value)
