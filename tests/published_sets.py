"""Small copies of known data sets, packed as their authors publish them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

# layout of the published archives, according to their authors or to public code that reads them
PUBLISHED = {
    "optic_disc_seg": {
        "optic_disc_seg.zip": [
            *(f"optic_disc_seg/{kind}" for kind in ("JPEGImages/P0193.jpg", "Annotations/P0193.png")),
            *(f"optic_disc_seg/{kind}" for kind in ("JPEGImages/N1.jpg", "Annotations/N1.png")),
            "optic_disc_seg/train_list.txt=JPEGImages/P0193.jpg Annotations/P0193.png\n",
            "optic_disc_seg/val_list.txt=JPEGImages/N1.jpg Annotations/N1.png\n",
            "optic_disc_seg/test_list.txt=JPEGImages/N1.jpg Annotations/N1.png\n",
        ]
    },
    "mini_supervisely": {
        "mini_supervisely.zip": [
            *("mini_supervisely/Images/a.jpg", "mini_supervisely/Annotations/a.png"),
            *(f"mini_supervisely/{k}.txt=Images/a.jpg Annotations/a.png\n" for k in ("train", "val", "test")),
        ]
    },
    "DUTS-TR": {"DUTS-TR.zip": ["DUTS-TR/DUTS-TR-Image/n1_2.jpg", "DUTS-TR/DUTS-TR-Mask/n1_2.png"]},
    "DUTS-TE": {
        "DUTS-TE.zip": [
            f"DUTS-TE/DUTS-TE-{kind}"
            for kind in ("Image/sun.jpg", "Mask/sun.png", "Image/b.jpg", "Mask/b.png")
        ]
    },
    "ECSSD": {
        "images.zip": ["images/0001.jpg", "images/Thumbs.db="],
        "ground_truth_mask.zip": ["ground_truth_mask/0001.png"],
    },
    "SOD": {"images.zip": ["3096.jpg"], "masks.zip": ["3096.png"]},
    "PASCAL-S": {
        "salObj.zip": [
            *("datasets/imgs/pascal/1.jpg", "datasets/masks/pascal/1.png", "algmaps/pascal/gbvs/1.png"),
            *("datasets/imgs/bruce/2.jpg", "datasets/masks/bruce/2.png", "code/a.m="),
        ]
    },
    "HKU-IS": {"HKU-IS.tar": ["HKU-IS/imgs/0004.png", "HKU-IS/gt/0004.png"]},
    "DUT-OMRON": {
        "DUT-OMRON-image.zip": ["DUT-OMRON-image/im005.jpg", "__MACOSX/DUT-OMRON-image/._im005.jpg=x"],
        "DUT-OMRON-gt-pixelwise.zip.zip": [
            *("pixelwiseGT-new-PNG/im005.png", "__MACOSX/pixelwiseGT-new-PNG/._im005.png=x"),
        ],
    },
    "MSRA10K": {
        "MSRA10K_Imgs_GT.zip": [
            *(f"MSRA10K_Imgs_GT/Imgs/{i:02}.{end}" for i in range(12) for end in ("jpg", "png")),
            "MSRA10K_Imgs_GT/Readme.txt=x",
        ]
    },
    "Drishti-GS": {
        "Drishti-GS1_files.zip": [
            "Drishti-GS1_files/Training/Images/GLAUCOMA/drishtiGS_002.png",
            "Drishti-GS1_files/Training/GT/drishtiGS_002/SoftMap/drishtiGS_002_ODsegSoftmap.png",
            "Drishti-GS1_files/Training/GT/drishtiGS_002/SoftMap/drishtiGS_002_cupsegSoftmap.png",
            "Drishti-GS1_files/Test/Images/drishtiGS_001.png",
            "Drishti-GS1_files/Test/Test_GT/drishtiGS_001/SoftMap/drishtiGS_001_ODsegSoftmap.png",
        ]
    },
    "DRIVE": {
        "training.zip": [f"training/{p}" for p in ("images/21_training.tif", "1st_manual/21_manual1.gif")]
        + ["training/mask/21_training_mask.gif"],
        "test.zip": ["test/images/01_test.tif", "test/mask/01_test_mask.gif"],
    },
    "P3M-10k": {
        "P3M-10k.tar.gz": [
            *("P3M-10k/train/blurred_image/p_1.jpg", "P3M-10k/train/mask/p_1.png"),
            *(f"P3M-10k/validation/P3M-500-P/{p}" for p in ("blurred_image/p_2.jpg", "mask/p_2.png")),
            *(f"P3M-10k/validation/P3M-500-NP/{p}" for p in ("original_image/p_3.jpg", "mask/p_3.png")),
            *(f"P3M-10k/validation/P3M-500-NP/{p}" for p in ("trimap/p_3.png",)),
        ]
    },
}


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4  # 0 .. 252


def write_member(root: Path, member: str) -> None:
    """`name=text`, or an image of 8 x 8 pixels by its suffix."""
    name, equals, text = member.partition("=")
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if equals:
        path.write_text(text)
    else:
        Image.fromarray(GREY).save(path)


def build(folder: Path, members: dict[str, list[str]]) -> list[Path]:
    """The archives of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (archive, names) in enumerate(members.items()):
        for name in names:
            write_member(folder / f"tree{number}", name)
        stem, kind = re.fullmatch(r"(.*?)\.((?:zip\.)?zip|tar|tar\.gz)", archive).groups()
        kind = {"tar.gz": "gztar"}.get(kind, kind.split(".")[-1])
        packed = Path(shutil.make_archive(str(folder / f"{stem}.packed"), kind, folder / f"tree{number}"))
        made.append(packed.rename(folder / archive))
        shutil.rmtree(folder / f"tree{number}")
    return made


TWELVE = [f"images/{i:02}.jpg masks/{i:02}.png" for i in range(12)]
LISTS = {
    "optic_disc_seg": {
        "train": ["JPEGImages/P0193.jpg Annotations/P0193.png"],
        "val": ["JPEGImages/N1.jpg Annotations/N1.png"],
        "test": ["JPEGImages/N1.jpg Annotations/N1.png"],
    },
    "mini_supervisely": dict.fromkeys(("train", "val", "test"), ["Images/a.jpg Annotations/a.png"]),
    "DUTS-TR": {"train": ["DUTS-TR-Image/n1_2.jpg DUTS-TR-Mask/n1_2.png"]},
    "DUTS-TE": dict.fromkeys(
        ("val", "test"), [f"DUTS-TE-Image/{name}.jpg DUTS-TE-Mask/{name}.png" for name in ("b", "sun")]
    ),
    "ECSSD": dict.fromkeys(("val", "test"), ["images/0001.jpg masks/0001.png"]),
    "SOD": dict.fromkeys(("val", "test"), ["images/3096.jpg masks/3096.png"]),
    "PASCAL-S": dict.fromkeys(("val", "test"), ["images/1.jpg masks/1.png"]),
    "HKU-IS": dict.fromkeys(("val", "test"), ["images/0004.png masks/0004.png"]),
    "DUT-OMRON": dict.fromkeys(("val", "test"), ["images/im005.jpg masks/im005.png"]),
    "MSRA10K": {
        "train": [*TWELVE[1:10], TWELVE[11]],
        **dict.fromkeys(("val", "test"), [TWELVE[0], TWELVE[10]]),
    },
    "Drishti-GS": {
        "train": ["train/images/drishtiGS_002.png train/masks/drishtiGS_002.png"],
        **dict.fromkeys(("val", "test"), ["val/images/drishtiGS_001.png val/masks/drishtiGS_001.png"]),
    },
    "DRIVE": {"train": ["training/images/21.tif training/masks/21.png"]},
    "P3M-10k": {
        "train": ["train/images/p_1.jpg train/masks/p_1.png"],
        "val": ["P3M-500-P/images/p_2.jpg P3M-500-P/masks/p_2.png"],
        "test": ["P3M-500-NP/images/p_3.jpg P3M-500-NP/masks/p_3.png"],
    },
}


def lists_of(root: Path) -> dict[str, list[str]]:
    found = {key: root / f"{key}_list.txt" for key in ("train", "val", "test")}
    return {key: path.read_text().splitlines() for key, path in found.items() if path.is_file()}
