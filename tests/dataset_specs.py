"""Data sets of the folder that the `data` fixture draws."""

from __future__ import annotations

from paddleseg_u2net.data.dataset import Dataset, open_datasets
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec


def spec_of(root, mode="train", num_classes=1, **options) -> DatasetSpec:
    pairs, faults = list_pairs(mode, str(root), "train_list.txt", "val_list.txt")
    return DatasetSpec(pairs, num_classes, mode=mode, faults=faults, **options)


def open_dataset(root, *args, **options) -> Dataset:
    return open_datasets([spec_of(root, *args, **options)])[0]
