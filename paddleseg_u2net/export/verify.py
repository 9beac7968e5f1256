"""What an export has to prove: on real images it predicts like the network it was made from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.config.loader import class_count, preprocessing_of
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import Preprocessing, resize
from paddleseg_u2net.engines.base import Engine, PaddleEngine, choose, engines_for, open_engine
from paddleseg_u2net.engines.deploy_config import RECORD, read_record
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.segmentation import SegmentationMeasures
from paddleseg_u2net.metrics.table import MapMeasures

# what the model takes of an image; truth (H, W): in [0, 1] for saliency, else class ids, with IGNORE; or None
Pair = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from the Paddle model.

    Args:
        max_difference: of any pixel on any image.
        mean_difference: of the pixels of any image.
        mae: for saliency, change of MAE over all images that have a truth.
        agreement: for classes, share of all pixels that have to keep their most probable class.
        miou: for classes, change of mIoU over all images that have a truth.
    """

    max_difference: float
    mean_difference: float
    mae: float
    agreement: float
    miou: float


TOLERANCES = {
    "fp32": Tolerance(1 / 255, 1e-4, 1e-4, 0.999, 1e-3),
    "fp16": Tolerance(0.1, 2e-3, 1e-3, 0.999, 1e-3),
    "bf16": Tolerance(1.0, 0.02, 0.004, 0.98, 0.005),
    "int8": Tolerance(1.0, 0.04, 0.002, 0.98, 0.005),
}


def compare(
    folder: Path, network: Any, images: Sequence[Pair], preprocessing: Preprocessing | None = None
) -> dict[str, Any]:
    """Run an exported folder beside its network.

    Returns:
        Largest and mean difference, for classes the agreement, scores of both where there is truth, size,
        milliseconds an image.
    """
    deployment = read_record(folder / RECORD)
    path = folder / deployment.model
    backend = choose("auto", engines_for(path.suffix, deployment.precision), str(path))
    exported = open_engine(backend, path, "cpu", deployment.precision)
    original = PaddleEngine(network)
    if preprocessing is not None:
        original = _with_preprocessing(original, preprocessing)
    scores: dict[str, Any] = {}
    differences, kept, times = [], [], []
    exported(images[0][0])  # the first call sets things up
    for tensor, truth in tqdm(images, "compare", disable=None, delay=1, leave=False):
        started = time.perf_counter()
        maps = exported(tensor)
        times.append(time.perf_counter() - started)
        expected = original(tensor)
        difference = np.abs(maps - expected)
        differences.append((difference.max(), difference.mean()))
        kept.append((maps.argmax(axis=1) == expected.argmax(axis=1)).ravel())
        if truth is not None:
            for name, own in (("paddle", expected[0]), ("exported", maps[0])):
                _score(scores.setdefault(name, _measures(len(own))), own, truth)
    largest, mean = np.max(differences, axis=0)
    report: dict[str, Any] = {
        "backend": backend,
        "precision": deployment.precision,
        "images": len(images),
        "max_difference": float(largest),
        "mean_difference": float(mean),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "median_ms": round(float(np.median(times)) * 1e3, 2),
    }
    if deployment.output_op == "softmax":
        report["agreement"] = float(np.concatenate(kept).mean())
    for name, measures in scores.items():  # one number each; per-class scores are for val.py
        report[name] = {key: value for key, value in measures.compute().items() if np.ndim(value) == 0}
    return report


def _with_preprocessing(engine: Engine, preprocessing: Preprocessing) -> Engine:
    """What a network and its preprocessing make of one photograph (1, H, W, 3) uint8: (1, C, H, W)."""

    def whole(batch: np.ndarray) -> np.ndarray:
        tensor, changes = preprocessing(batch[0])
        return preprocessing.restore(engine(tensor[None])[0], changes)[None]

    return whole


def _measures(channels: int) -> MapMeasures | SegmentationMeasures:
    if channels == 1:
        return MapMeasures(("mae", "max_f"), measure_stretch=MeasureStretch.NONE)
    return SegmentationMeasures(channels, IGNORE)


def _score(measures: MapMeasures | SegmentationMeasures, maps: np.ndarray, truth: np.ndarray) -> None:
    """Add one image: probabilities (C, h, w) and its truth (h, w)."""
    if isinstance(measures, SegmentationMeasures):
        measures.update(maps.argmax(axis=0), truth)
    elif (counts := truth != IGNORE).any():
        measures.update(maps[0][counts][None].clip(0, 1), truth[counts][None])  # 8-bit engines overshoot


def check(report: Mapping[str, Any], tolerance: Tolerance, fix: str = "") -> None:
    """Raise VerificationError where a report is beyond a tolerance; NaN is. `fix` ends the message."""
    found = [
        ("a pixel differs by", report["max_difference"], tolerance.max_difference),
        (
            "the pixels of an image differ in the mean by",
            report["mean_difference"],
            tolerance.mean_difference,
        ),
    ]
    if "agreement" in report:
        share, bound = 1 - report["agreement"], 1 - tolerance.agreement
        found.append(("pixels of another class are a share of", share, bound))
    for name, bound in (("mae", tolerance.mae), ("mIoU", tolerance.miou)):
        if name in report.get("paddle", {}):
            found.append(
                (f"{name} changes by", abs(report["exported"][name] - report["paddle"][name]), bound)
            )
    wrong = [f"{what} {value:.2g}, at most {bound:.2g}" for what, value, bound in found if not value <= bound]
    if wrong:
        raise VerificationError(f"the export is not good enough: {'; '.join(wrong)}. It is not kept{fix}")


def prepare(
    config: Mapping[str, Any], image: np.ndarray, mask: np.ndarray | None, shape: Sequence[int]
) -> Pair:
    """An image as the network sees it, and its truth at that size.

    Args:
        config: with the val transforms.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) as `Dataset.load` gives it, or None.
        shape: of the export; a fixed height and width is resized to.
    """
    tensor = preprocessing_of(config)(image)[0]
    sizes = zip(tensor.shape[1:], shape[2:], strict=True)
    height, width = (have if want == -1 else want for have, want in sizes)
    tensor = np.ascontiguousarray(resize(tensor.transpose(1, 2, 0), (height, width)).transpose(2, 0, 1)[None])
    if mask is None:
        return tensor, None
    single = class_count(config) == 1
    soft = single and not (mask == IGNORE).any()  # between ids, and towards IGNORE, there is nothing
    mask = mask.astype(np.float32 if single else np.uint8)
    return tensor, resize(mask, (height, width), cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST)
