"""Each fix for a data set, its masks and its transforms is followed, and then the data are read."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from support import draw_pair, write_mask

from paddleseg_u2net.data.dataset import collate, open_datasets
from paddleseg_u2net.data.masks import read_raw
from paddleseg_u2net.data.multi_scale import read_sizes
from paddleseg_u2net.data.pairs import Pair, list_pairs, pair_folders, read_list
from paddleseg_u2net.data.palettes import read_colors
from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.data.section import check_channels, read_keys
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data.stock_transforms import check_transforms
from paddleseg_u2net.errors import DataError

BAND = np.zeros((8, 8), np.uint8)
BAND[:4] = 1
BLACK, RED, BLUE = (0, 0, 0), (255, 0, 0), (0, 0, 255)


def words(name: str, **arguments) -> dict:
    return {"type": name, **arguments}


def raised(found) -> None:
    """Raise the faults that a function returned beside its result."""
    if found[1]:
        raise DataError(found[1])


def rejected_then_read(attempt, wrong, message: str, right) -> None:
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        attempt(wrong)
    attempt(right)


# -- lists and folders ------------------------------------------------------------------------------------


def attempt_list(root: Path, content, separator: str | None = None) -> None:
    (root / "l.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    raised(read_list(root / "l.txt", root, separator))


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        ("a.png\n", "Fix: separate the two paths by a space", "a.png b.png\n"),
        ("my a.png b.png\n", "(or a tab, where paths hold spaces)", "my a.png\tb.png\n"),
        ("ä.png b.png\n".encode("latin-1"), "Fix: save it as UTF-8", "ä.png b.png\n"),
    ],
)
def test_lists(tmp_path, wrong, message, right):
    rejected_then_read(partial(attempt_list, tmp_path), wrong, message, right)


def test_lists_with_a_separator(tmp_path):
    message = "Fix: separate the two paths by ',', or remove the key separator"
    rejected_then_read(partial(attempt_list, tmp_path, separator=","), "a b", message, "a,b")
    attempt_list(tmp_path, "a b")


def files(root: Path, *names: str) -> Path:
    for name in names:
        write_mask(root / name, BAND)
    return root


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        (["i/a.png", "i/b.png", "m/b.png"], "Fix: add it, or remove the image", ["i/b.png", "m/b.png"]),
        (
            ["i/a.png", "m/a_mask.png"],
            "Fix: use the same name without suffix; there is",
            ["i/a.png", "m/a.png"],
        ),
        (["i/a.png", "m/a.png", "m/a.bmp"], "Fix: rename it", ["i/a.png", "m/a.png", "m/b.bmp"]),
        (["m/a.png"], "i: no such folder. Fix: correct the path", ["i/a.png", "m/a.png"]),
    ],
)
def test_folders(tmp_path, wrong, message, right):
    def attempt(names):
        root = files(tmp_path / str(len(list(tmp_path.iterdir()))), *names)
        raised(pair_folders(root / "i", root / "m"))

    rejected_then_read(attempt, wrong, message, right)


def test_suffixes_of_folders(tmp_path):
    files(tmp_path, "i/a_rgb.png", "m/a.png")
    attempt = lambda suffix: raised(pair_folders(tmp_path / "i", tmp_path / "m", suffix))  # noqa: E731
    rejected_then_read(attempt, "_image", "no image name ends with '_image'. Fix: use another suffix", "_rgb")


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        ({"image_dir": "images", "mask_dir": "masks"}, "as train_path: null", {"train_path": None}),
        ({"dataset_root": "no"}, "Fix: prepare the data, or --opts train_dataset.dataset_root=…", {}),
        ({"train_path": "no.txt"}, "no such list, in the working directory or in", {"train_path": "l.txt"}),
        ({"train_path": "empty.txt"}, "Fix: list at least one pair of image and mask", {}),
    ],
)
def test_sections(tmp_path, wrong, message, right):
    draw_pair(tmp_path, "a")
    (tmp_path / "l.txt").write_text("images/a.png masks/a.png")
    (tmp_path / "empty.txt").write_text("")
    given = {"mode": "train", "dataset_root": str(tmp_path), "train_path": "l.txt"}
    right = wrong | right if None in right.values() else right
    rejected_then_read(lambda keys: raised(list_pairs(**given | keys)), wrong, message, right)


# -- mask files -------------------------------------------------------------------------------------------


def store(path: Path, mask, **tiff) -> None:
    tifffile.imwrite(path, mask, metadata=None, **tiff) if tiff else write_mask(path, mask)


CLEAR = np.dstack([BAND * 0] * 3 + [BAND * 255])


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        ({"mask": CLEAR}, "Fix: save that as a grey mask", {"mask": CLEAR[..., 3]}),
        (
            {"mask": BAND.astype(np.uint16), "photometric": "miniswhite"},
            "Fix: save it as PNG, or with 8 bits",
            {"mask": BAND, "photometric": "miniswhite"},
        ),
        (
            {"mask": BAND.astype(np.int32) * 99999, "photometric": "minisblack"},
            "Fix: save it with 8 or 16 bits",
            {"mask": BAND.astype(np.uint16) * 65535, "photometric": "minisblack"},
        ),
        (
            {"mask": np.dstack([BAND * 255, BAND, BAND])},
            "Fix: store the class id or the brightness",
            {"mask": BAND},
        ),
    ],
)
def test_mask_files(tmp_path, wrong, message, right):
    path = tmp_path / ("m.tif" if "photometric" in wrong else "m.png")

    def attempt(content):
        store(path, **content)
        return read_raw(path)

    rejected_then_read(attempt, wrong, message, right)
    assert np.ptp(read_raw(path).values)


# -- masks of a data set ----------------------------------------------------------------------------------


def opened(root: Path, masks, num_classes: int = 1, transforms=None, labels: int = 0, **options):
    """Open a data set with an image for each mask, (H, W) values or (values, palette)."""
    pairs = []
    for number, mask in enumerate(masks):
        image, path = root / f"{number}.jpg", root / f"{number}.png"
        values, palette = mask if isinstance(mask, tuple) else (mask, None)
        write_mask(image, np.full((8, 8, 3), 7 + 20 * number, np.uint8))
        stored = Image.fromarray(values.astype(np.uint8))
        if palette:
            stored.putpalette([part for color in palette for part in color])
        stored.save(path)
        pairs.append(Pair(image, path))
    spec = DatasetSpec(pairs, num_classes, transforms=transforms or [], labels=labels, **options)
    return open_datasets([spec])[0]


def give(*masks, **options) -> dict:
    return {"masks": masks, **options}


@pytest.mark.parametrize(
    ("wrong", "message", "right"),
    [
        (
            give(BAND * 2, num_classes=2),
            "mask_encoding: grey where values are brightness (0/255, JPEG); else set num_classes, or",
            [give(BAND * 200, num_classes=2, mask_encoding="grey"), give(BAND * 2, num_classes=3)],
        ),
        (
            give(BAND * 9, BAND, num_classes=3),
            "Fix: set num_classes, or ignore_index if a value marks ignored pixels",
            [give(BAND * 9, BAND, num_classes=10), give(BAND * 9, BAND, num_classes=3, ignore_index=9)],
        ),
        (
            give(BAND, BAND * 255),
            "Fix: make all masks alike: 0 and 1, or 0 and 255",
            [give(BAND, BAND), give(BAND * 255, BAND * 255)],
        ),
        (
            give((BAND, [BLACK, RED]), mask_encoding="grey"),
            "a palette is not brightness. Fix: make all masks alike",
            [give(BAND * 255, mask_encoding="grey")],
        ),
        (
            give(BAND * 3),
            "set num_classes, or ignore_index: 255 if white marks ignored pixels, or mask_encoding: grey",
            [give(BAND * 3, num_classes=4), give(BAND * 3, mask_encoding="grey")],
        ),
        (
            give(BAND * 0),
            "Fix: check the masks, mask_encoding and ignore_index",
            [give(BAND * 0, BAND)],
        ),
        (
            give((BAND, [BLACK, RED]), (BAND, [BLACK, BLUE]), num_classes=2),
            "Fix: store all masks with one palette",
            [give((BAND, [BLACK, RED]), (BAND, [BLACK, RED]), num_classes=2)],
        ),
        (
            give((BAND, [BLACK, BLUE]), num_classes=3, mask_colors={0: BLACK, 1: RED}),
            "Fix: add it to mask_colors",
            [give((BAND, [BLACK, BLUE]), num_classes=3, mask_colors={0: BLACK, 1: RED, 2: BLUE})],
        ),
        (give(BAND[:5]), "Fix: make them the same size", [give(BAND)]),
        (
            give(np.hstack([BAND] * 2), num_classes=2),
            "or set use_multilabel: true in the config if it is one mask for each class",
            [give(np.hstack([BAND] * 2), num_classes=2, labels=2)],
        ),
        (
            give(BAND, num_classes=2, labels=2),
            "Fix: store 2 masks beside each other",
            [give(np.hstack([BAND] * 2), num_classes=2, labels=2)],
        ),
        (
            give(BAND, num_classes=3, mask_encoding="grey"),
            "Fix: mask_encoding: index",
            [give(BAND, num_classes=3, mask_encoding="index")],
        ),
    ],
)
def test_masks(tmp_path, wrong, message, right):
    with pytest.raises(ValueError, match=re.escape(message)):
        opened(tmp_path, **wrong)
    for keys in right:
        assert opened(tmp_path, **keys).load(len(keys["masks"]) - 1)[1].any()


def test_samples(tmp_path):
    def spoil(sample):
        sample["img"][:] /= np.float32(0) if sample["img"].max() < 10 else np.float32(1)
        return sample

    to_float = lambda sample: sample | {"img": sample["img"].astype(np.float32) - 7}  # noqa: E731
    with (
        pytest.raises(ValueError, match="Fix: correct its transforms, or remove the image"),
        np.errstate(all="ignore"),
    ):
        opened(tmp_path, [BAND, BAND], transforms=[to_float, spoil])[0, 0]
    opened(tmp_path, [BAND, BAND], transforms=[to_float])[0, 0]
    with np.errstate(all="ignore"):
        opened(tmp_path, [BAND, BAND], transforms=[to_float, spoil])[1, 0]  # the other image


def test_batches_of_one_size():
    small, large = ({"img": np.zeros((3, n, n), np.float32)} for n in (4, 6))
    assert (
        "Fix: add a Resize or a crop to its transforms, or batch_size: 1"
        in bytes(collate([small, large])["fault"]).decode()
    )
    resized = {"img": cv2.resize(large["img"].transpose(1, 2, 0), (4, 4)).transpose(2, 0, 1)}
    assert collate([small, resized])["img"].shape == (2, 3, 4, 4)
    assert collate([large])["img"].shape == (1, 3, 6, 6)


def test_a_pair_without_a_mask(tmp_path):
    data = opened(tmp_path, [BAND, BAND])
    data.spec.pairs[0] = Pair(data.spec.pairs[0].image, None)
    with pytest.raises(ValueError, match="has no mask. Fix: add one, or remove the image"):
        data.load(0)
    data.spec.pairs[0] = Pair(data.spec.pairs[0].image, tmp_path / "0.png")
    data.load(0)


# -- keys and transforms ----------------------------------------------------------------------------------


def transforms(num_classes: int, *items: dict, labels: int = 0) -> None:
    check_transforms("train_dataset", items, num_classes, training=True, labels=labels)


def channels(count: int, *items: dict) -> None:
    check_channels("train_dataset", items, count)


def keys(in_channels: int = 3, **section) -> None:
    read_keys("train_dataset", section, in_channels)


def prepared(*items: dict) -> None:
    Preprocessing.from_transforms(items)(np.zeros((8, 8, 3), np.uint8))


FOUR = [0.5] * 4
NORMALIZE, BY_MAX = words("Normalize"), words("NormalizeByMax")
SHORT = partial(words, "ResizeByShort", short_size=20)
CONFIGS = [
    (
        partial(transforms, 1, words("RandomAffine")),
        "Fix: use RandomRotation, ResizeStepScaling",
        [partial(transforms, 1, words("RandomRotation"), words("ResizeStepScaling"))],
    ),
    (
        partial(transforms, 3, words("ResizeSoftMask")),
        "Fix: use Resize",
        [partial(transforms, 3, words("Resize"))],
    ),
    (
        partial(transforms, 3, words("ScalePadding")),
        "Fix: use Resize and Padding",
        [partial(transforms, 3, words("Resize"), words("Padding", target_size=[9, 9]))],
    ),
    (
        partial(transforms, 3, words("RandomPaddingCrop", category_max_ratio=0.5)),
        "Fix: leave category_max_ratio out",
        [partial(transforms, 3, words("RandomPaddingCrop"))],
    ),
    (
        partial(transforms, 1, words("ResizeByShort", short_size=[20, 30])),
        "Fix: use multi_scale, or ResizeStepScaling",
        [partial(read_sizes, "train_dataset", [20, 30]), partial(transforms, 1, words("ResizeStepScaling"))],
    ),
    (
        partial(transforms, 1, SHORT(max_size=30)),
        "Fix: leave max_size out, or use LimitLong",
        [partial(transforms, 1, SHORT()), partial(transforms, 1, SHORT(), words("LimitLong", max_long=30))],
    ),
    (
        partial(transforms, 2, words("CropForeground"), labels=2),
        "Fix: use RandomCrop",
        [partial(transforms, 2, words("RandomCrop"), labels=2)],
    ),
    (
        partial(transforms, 1, BY_MAX, words("RandomDistort")),
        "Fix: put it before NormalizeByMax",
        [partial(transforms, 1, words("RandomDistort"), BY_MAX)],
    ),
    (
        partial(transforms, 3, words("RandomRotation", label_padding_value=7)),
        "Fix: leave it out, or a class id",
        [
            partial(transforms, 3, words("RandomRotation")),
            partial(transforms, 3, words("RandomRotation", label_padding_value=2)),
        ],
    ),
    (
        partial(channels, 4, BY_MAX),
        "Fix: mean: a list of 4 numbers",
        [partial(channels, 4, words("NormalizeByMax", mean=FOUR, std=FOUR))],
    ),
    (partial(channels, 4, words("RandomDistort")), "Fix: remove RandomDistort", [partial(channels, 4)]),
    (
        partial(channels, 5, words("Padding", target_size=[9, 9])),
        "Fix: remove Padding",
        [partial(channels, 5)],
    ),
    (
        partial(keys, 3, img_channels=4),
        "Fix: set img_channels and in_channels alike",
        [partial(keys, 4, img_channels=4), partial(keys, 3)],
    ),
    (
        partial(read_colors, "train_dataset", {0: [0, 0], 1: [0, 0, 0]}),
        "Fix: correct it, or leave it out",
        [
            partial(read_colors, "train_dataset", {0: [0, 0, 0], 1: [255, 0, 0]}),
            partial(read_colors, "t", None),
        ],
    ),
    (
        partial(read_sizes, "val_dataset", [320]),
        "Fix: leave it out",
        [partial(read_sizes, "val_dataset", None)],
    ),
    (
        partial(read_sizes, "train_dataset", [0]),
        "Fix: sizes such as 320 or [320, 256]",
        [partial(read_sizes, "train_dataset", [320, [320, 256]])],
    ),
    (
        partial(prepared, words("Padding", target_size=[4, 4]), NORMALIZE),
        "Fix: a larger target_size, or a Resize before",
        [
            partial(prepared, words("Padding", target_size=[9, 9]), NORMALIZE),
            partial(
                prepared, words("Resize", target_size=[4, 4]), words("Padding", target_size=[4, 4]), NORMALIZE
            ),
        ],
    ),
    (partial(prepared, words("RandomRotation")), "Fix: use Normalize", [partial(prepared, NORMALIZE)]),
    (
        partial(prepared, words("ResizeByLong"), NORMALIZE),
        "long_size is missing. Fix: add it",
        [partial(prepared, words("ResizeByLong", long_size=16), NORMALIZE)],
    ),
    (
        partial(prepared, words("Normalize", std=[1, 0, 1])),
        "none of them 0",
        [partial(prepared, words("Normalize", std=[1, 0.5, 1]))],
    ),
]


@pytest.mark.parametrize(("wrong", "message", "right"), CONFIGS)
def test_keys_and_transforms(wrong, message, right):
    with pytest.raises(ValueError, match=re.escape(message)):
        wrong()
    for attempt in right:
        attempt()
