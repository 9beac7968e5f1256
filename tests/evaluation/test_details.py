"""Files of an evaluation: scores of each image, confusion matrix, pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import pixels, tree, write_mask

from paddleseg_u2net.data.dataset import Dataset, open_datasets
from paddleseg_u2net.data.pairs import list_pairs
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.evaluation.details import Details
from paddleseg_u2net.evaluation.model import EvaluationSettings, Scores, evaluate
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.inference.predictor import Predictor

FILES = ["best.jpg", "confusion.csv", "confusion.png", "metrics.json", "per_image.csv", "worst.jpg"]
NAMES = ["sky", "road, wet", "car", "bus"]
ODD_NAMES = ["$x_", "道路", "a$b$", "\\"]  # no formulas, and characters that fonts may lack


def one_hot(batch: np.ndarray) -> np.ndarray:
    """An engine of four classes: the class is the red channel."""
    return (batch[:, :1] == np.arange(4)[:, None, None]).astype(np.float32)


def make(root: Path, masks: dict[str, np.ndarray], found: dict[str, np.ndarray], **options) -> Dataset:
    """A data set whose images hold what the engines above predict, in their red channel."""
    for name, mask in masks.items():
        image = np.zeros((*mask.shape, 3), np.uint8)
        image[..., 2] = found[name]  # OpenCV writes BGR
        write_mask(root / "images" / f"{name}.png", image)
        write_mask(root / "masks" / f"{name}.png", mask)
    pairs, _ = list_pairs("val", str(root), image_dir="images", mask_dir="masks")
    return open_datasets([DatasetSpec(pairs, mode="val", **options)])[0]


def written(dataset: Dataset, engine, names, folder=Path("out"), **record) -> dict:
    count = dataset.spec.num_classes
    config = {"model": {"num_classes": count}, "val_dataset": {"transforms": []}}
    predictor, details = Predictor(engine, config), Details(dataset, names)
    settings = EvaluationSettings(("mae", "max_f") if count == 1 else ())
    scores = evaluate(predictor, dataset, settings, batch_size=2, workers=2, on_image=details.add)
    details.write(folder, scores, predictor, record)
    assert tree(folder) == sorted([*FILES, *(["curves.csv"] if count == 1 else [])])
    return json.loads((folder / "metrics.json").read_text())


def rows(file: str, folder=Path("out")) -> list[dict[str, str]]:
    with (folder / file).open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> tuple[Path, dict]:
    """Files and metrics.json of three images: right, half wrong, wrong; `bus` is nowhere, 9 is ignored."""
    square = np.zeros((4, 4), np.uint8)
    half, two, part = square.copy(), square.copy(), square.copy()
    half[2:], two[:], part[0] = 1, 2, 9
    masks = {"a": half, "b": part, "c": two}
    root, found = tmp_path_factory.mktemp("classes"), {"a": half, "b": half, "c": square}
    dataset = make(root, masks, found, num_classes=4, ignore_index=9)
    return root / "out", written(dataset, one_hot, NAMES, root / "out", versions={"u2net": "0"})


def test_scores_of_each_image_are_listed_worst_first(classes):
    folder, found = classes
    table = rows("per_image.csv", folder)
    assert [Path(row["image"]).stem for row in table] == ["c", "b", "a"]
    # b: 12 pixels of sky count, of which 4 are found and 8 are taken for road
    right, half, wrong = table[2], table[1], table[0]
    assert [right[f"IoU {name}"] for name in NAMES[:3]] == ["1.0", "1.0", ""]
    assert [float(half[key]) for key in ("IoU sky", "Dice sky")] == pytest.approx([4 / 12, 8 / 16])
    assert [half["IoU road, wet"], wrong["IoU sky"], wrong["IoU car"]] == ["0.0"] * 3
    assert float(half["mIoU"]) == pytest.approx(1 / 6)
    assert "IoU bus" not in right
    means = found["mean_over_images"]
    assert means["IoU sky"] == pytest.approx((1 + 4 / 12 + 0) / 3)
    assert means["Dice road, wet"] == pytest.approx(1 / 2)


def test_pooled_scores_stand_beside_the_means_over_images(classes):
    _, found = classes
    assert found["scores"]["class_IoU"] == pytest.approx(
        {"sky": 12 / (20 + 16), "road, wet": 8 / 16, "car": 0, "bus": 0}
    )
    assert found["scores"]["class_Dice"]["sky"] == pytest.approx(24 / 48)
    assert found["scores"]["mIoU"] == pytest.approx((12 / 36 + 1 / 2) / 3)
    assert (found["classes_in_truth"], found["classes_that_never_occur"]) == (3, ["bus"])
    assert found["rules"]["classes_that_never_occur"].startswith("left out of mIoU and Dice, as in MMSeg")
    assert found["mIoU_of_occurring_classes"] == pytest.approx((12 / 36 + 1 / 2) / 3)
    assert found["images_with_class"] == {"sky": 3, "road, wet": 2, "car": 1, "bus": 0}
    assert (found["images"], found["versions"], found["map_protocol"]) == (3, {"u2net": "0"}, None)


def test_confusion_matrix_has_true_classes_as_rows(classes):
    table = rows("confusion.csv", classes[0])
    assert [list(row.values()) for row in table] == [
        ["sky", "12", "8", "0", "0"],
        ["road, wet", "0", "8", "0", "0"],
        ["car", "16", "0", "0", "0"],
        ["bus", "0", "0", "0", "0"],
    ]
    assert list(table[0])[1:] == NAMES


def test_pictures_show_mask_prediction_and_ignored_pixels(classes):
    colors = pixels(classes[0] / "worst.jpg").reshape(-1, 3).astype(int)
    # half-transparent overlays of sky, road and car on black, and the opaque colour of ignored pixels
    for color in ((51, 0, 0), (0, 51, 0), (51, 51, 0), (255, 0, 255)):
        assert (np.abs(colors - color).max(axis=1) < 16).sum() > 500, color
    assert pixels(classes[0] / "confusion.png").shape[2] == 4


def test_saliency_is_measured_by_image(tmp_path):
    masks, found = {}, {}
    for index, grey in enumerate((255, 128, 0)):
        masks[str(index)] = np.zeros((6, 6), np.uint8)
        masks[str(index)][2:4, 2:4] = 255
        found[str(index)] = (masks[str(index)] // 255) * np.uint8(grey)
    summary = written(
        make(tmp_path, masks, found, num_classes=1),
        lambda batch: batch[:, :1] / np.float32(255),
        ["background", "object"],
    )
    table = rows("per_image.csv")
    assert [Path(row["image"]).stem for row in table] == ["2", "0", "1"]  # 0 and 1 are equal once stretched
    assert [float(row["MAE"]) for row in table] == pytest.approx([4 / 36, 0, 0])
    assert [float(row["IoU object"]) for row in table] == [0, 1, 1]
    assert summary["mean_over_images"]["MAE"] == pytest.approx(summary["scores"]["MAE"])
    assert (summary["map_protocol"], summary["measure_stretch"]) == ("plain", "reference")


def test_images_that_are_ignored_altogether_are_not_ranked(tmp_path):
    masks = {"a": np.full((3, 3), 9, np.uint8), "b": np.ones((3, 3), np.uint8)}
    summary = written(
        make(tmp_path, masks, {"a": masks["b"], "b": masks["b"]}, num_classes=4, ignore_index=9),
        one_hot,
        NAMES,
    )
    assert [Path(row["image"]).stem for row in rows("per_image.csv")] == ["b"]
    assert (summary["images"], summary["mean_over_images"]["mIoU"]) == (2, 1)


def test_long_images_and_odd_names_are_drawn(tmp_path):
    masks = {"wide": np.zeros((4, 900), np.uint8), "high": np.zeros((900, 4), np.uint8)}
    masks["high"][:5] = masks["wide"][0] = 1
    written(make(tmp_path / "$_ ü 道", masks, masks, num_classes=4), one_hot, ODD_NAMES)
    assert [row["true class, by predicted class"] for row in rows("confusion.csv")] == ODD_NAMES
    height, width = cv2.imread("out/best.jpg").shape[:2]
    assert (width, height < 1600) == (1100, True)


def one_image(mask: list, absent_classes: str | None = None) -> Scores:
    """Scores of a model of three classes that predicts 0, 1, … in the pixels of a mask."""
    config = {"model": {"num_classes": 3}}
    scores = Scores(3, EvaluationSettings.from_config(config, absent_classes=absent_classes))
    prediction = Prediction(np.eye(3, dtype=np.float32)[:, None, : len(mask)])
    scores.merge(scores.score_image(prediction, np.array([mask])))
    return scores


def test_report_says_how_many_classes_occur_and_whether_the_others_count():
    scores = one_image([0, 1, 1])
    lines = scores.report_over_images()
    titles = ["Class Dice: ", "Class IoU (mean over images): ", "Class Dice (mean over images): "]
    assert [line.split("\n")[0] for line in lines] == [f"[EVAL] {title}" for title in titles]
    assert lines[1].split("\n")[1] == "[1.  0.5 0. ]"
    occur = "[EVAL] 2 of 3 classes occur in the truth, 1 in predictions only, with an IoU of 0"
    assert scores.report()[1] == occur
    lines = one_image([0, 1]).report()
    assert "mIoU: 1.0000" in lines[0]
    assert lines[1] == (
        "[EVAL] 2 of 3 classes occur in the truth; in neither, and left out of mIoU and Dice, as in "
        "MMSegmentation (PaddleSeg counts 0: absent_classes zero): 2"
    )
    assert lines[2] == "[EVAL] Class IoU: \n[ 1.  1. nan]"
    lines = one_image([0, 1], "zero").report()
    assert "mIoU: 0.6667" in lines[0]
    assert lines[1].endswith(
        "; in neither, and counted as 0 in mIoU and Dice, as in PaddleSeg (absent_classes zero): 2"
    )
    assert lines[2] == "[EVAL] Class IoU: \n[1. 1. 0.]"
