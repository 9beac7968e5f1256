"""Verification of an export: on real images it predicts like the network it was made from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from paddleseg_u2net.config.loader import class_count, preprocessing_of
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.data.preprocessing import Preprocessing, resize
from paddleseg_u2net.engines.adapters import to_probabilities
from paddleseg_u2net.engines.base import Engine, choose, engines_for, open_engine
from paddleseg_u2net.engines.deploy_config import RECORD, Deployment, read_record
from paddleseg_u2net.engines.paddle import PaddleEngine
from paddleseg_u2net.errors import VerificationError
from paddleseg_u2net.metrics.protocol import MeasureStretch
from paddleseg_u2net.metrics.segmentation import SegmentationMeasures
from paddleseg_u2net.metrics.table import MapMeasures

# the model's input for one image; truth (H, W): in [0, 1] for saliency, else class ids, with IGNORE; or None
VerificationSample = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from the Paddle model.

    Args:
        max_difference: of any pixel of any image, in probability, or in the range of an image's logits.
        mean_difference: of the pixels of any image, in the same unit.
        mae: for saliency, change of MAE over all images that have a truth.
        agreement: for classes, share of all pixels that have to keep their class.
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


@dataclass
class _Comparison:
    """Accumulates how the outputs of an exported model differ from those of its network."""

    output_op: str
    num_classes: int
    differences: list[tuple[float, float]] = field(default_factory=list)
    same_class: list[np.ndarray] = field(default_factory=list)
    scores: dict[str, MapMeasures | SegmentationMeasures] = field(default_factory=dict)

    def update(self, exported: np.ndarray, original: np.ndarray, truth: np.ndarray | None) -> None:
        """Add one image: the outputs of both, as `output_op` gives them, and its truth."""
        if self.output_op != "argmax":
            difference = np.abs(exported - original)
            if self.output_op == "none":  # logits have no unit: relative to their range
                difference = difference / max(np.ptp(original), 1e-6)
            self.differences.append((float(difference.max()), float(difference.mean())))
        maps = {"paddle": self._probabilities(original), "exported": self._probabilities(exported)}
        self.same_class.append((_classes(maps["paddle"]) == _classes(maps["exported"])).ravel())
        if truth is not None:
            for name, probabilities in maps.items():
                _score(self.scores.setdefault(name, _measures(self.num_classes)), probabilities[0], truth)

    def report(self) -> dict[str, Any]:
        """Largest and mean difference, share of pixels of the same class, scores where there is truth."""
        found: dict[str, Any] = {}
        if self.differences:
            found["max_difference"], found["mean_difference"] = map(float, np.max(self.differences, axis=0))
        if self.num_classes > 1 or self.output_op == "argmax":
            found["agreement"] = float(np.concatenate(self.same_class).mean())
        for name, measures in self.scores.items():  # one number each; val.py gives scores per class
            found[name] = {key: value for key, value in measures.compute().items() if np.ndim(value) == 0}
        return found

    def _probabilities(self, output: np.ndarray) -> np.ndarray:
        return to_probabilities(output, self.output_op, self.num_classes)


def compare(
    folder: Path,
    network: Any,
    images: Sequence[VerificationSample],
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any]:
    """Run an exported folder beside its network.

    Args:
        folder: holds the model and its record.
        network: the Paddle layer it was made from.
        images: see `export`.
        preprocessing: what the exported model applies itself.

    Returns:
        Largest and mean difference (not for class ids), share of pixels of the same class (for classes),
        scores of both where there is truth, size in bytes, milliseconds per image.
    """
    deployment = read_record(folder / RECORD)
    path = folder / deployment.model
    backend = choose("auto", engines_for(path.suffix, deployment.precision), str(path))
    exported = open_engine(backend, path, "cpu", deployment.precision)
    original = _reference(network, deployment, preprocessing)
    comparison, times = _Comparison(deployment.output_op, deployment.num_classes), []
    exported(images[0][0])  # the first call compiles the model
    for tensor, truth in tqdm(images, "compare", disable=None, delay=1, leave=False):
        started = time.perf_counter()
        output = exported(tensor)
        times.append(time.perf_counter() - started)
        comparison.update(output, original(tensor), truth)
    return {
        "backend": backend,
        "precision": deployment.precision,
        "images": len(images),
        **comparison.report(),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "median_ms": round(float(np.median(times)) * 1e3, 2),
    }


def _reference(network: Any, deployment: Deployment, preprocessing: Preprocessing | None) -> Engine:
    """The network with the preprocessing and the last operation of an export, in Paddle."""
    engine = PaddleEngine(network, logits=deployment.output_op == "none")

    def run(batch: np.ndarray) -> np.ndarray:
        if preprocessing is None:
            maps = engine(batch)
        else:
            tensor, changes = preprocessing(batch[0])
            maps = preprocessing.restore(engine(tensor[None])[0], changes)[None]
        return _classes(maps) if deployment.output_op == "argmax" else maps

    return run


def _classes(probabilities: np.ndarray) -> np.ndarray:
    """(N, C, h, w) -> class ids (N, h, w)."""
    return probabilities.argmax(axis=1) if probabilities.shape[1] > 1 else probabilities[:, 0] >= 0.5


def _measures(num_classes: int) -> MapMeasures | SegmentationMeasures:
    if num_classes == 1:
        return MapMeasures(("mae", "max_f"), measure_stretch=MeasureStretch.NONE)
    return SegmentationMeasures(num_classes, IGNORE)


def _score(measures: MapMeasures | SegmentationMeasures, maps: np.ndarray, truth: np.ndarray) -> None:
    """Add one image: probabilities (C, h, w) and its truth (h, w)."""
    if isinstance(measures, SegmentationMeasures):
        measures.update(maps.argmax(axis=0), truth)
    elif (counts := truth != IGNORE).any():
        measures.update(maps[0][counts][None].clip(0, 1), truth[counts][None])  # 8-bit engines overshoot


def check(report: Mapping[str, Any], tolerance: Tolerance, fix: str = "") -> None:
    """Check a report of `compare` against a tolerance.

    Args:
        report: see `compare`.
        tolerance: a value of TOLERANCES.
        fix: end of the message.

    Raises:
        VerificationError: a value is beyond the tolerance or not a number.
    """
    found = []
    if "max_difference" in report:
        found = [
            ("a pixel differs by", report["max_difference"], tolerance.max_difference),
            ("the mean difference of an image is", report["mean_difference"], tolerance.mean_difference),
        ]
    if "agreement" in report:
        share, bound = 1 - report["agreement"], 1 - tolerance.agreement
        found.append(("the share of pixels of another class is", share, bound))
    # the agreement bounds the MAE of maps of 0 and 1
    mae = [("mae", tolerance.mae)] if "max_difference" in report else []
    for name, bound in (*mae, ("mIoU", tolerance.miou)):
        if name in report.get("paddle", {}):
            change = abs(report["exported"][name] - report["paddle"][name])
            found.append((f"{name} changes by", change, bound))
    # `not value <= bound` holds for NaN too
    wrong = [f"{what} {value:.2g}, at most {bound:.2g}" for what, value, bound in found if not value <= bound]
    if wrong:
        raise VerificationError(f"the export is not good enough: {'; '.join(wrong)}. It is not kept{fix}")


def make_sample(
    config: Mapping[str, Any], image: np.ndarray, mask: np.ndarray | None, shape: Sequence[int]
) -> VerificationSample:
    """Make the network's input of an image, and its truth at that size.

    Args:
        config: with the val transforms.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) as `Dataset.load` gives it, or None.
        shape: N, C, H, W of the export; both are resized to a fixed height and width.
    """
    tensor = preprocessing_of(config)(image)[0]
    sizes = zip(tensor.shape[1:], shape[2:], strict=True)
    height, width = (have if want == -1 else want for have, want in sizes)
    tensor = np.ascontiguousarray(resize(tensor.transpose(1, 2, 0), (height, width)).transpose(2, 0, 1)[None])
    if mask is None:
        return tensor, None
    single = class_count(config) == 1
    soft = single and not (mask == IGNORE).any()  # class ids and IGNORE must not be mixed
    mask = mask.astype(np.float32 if single else np.uint8)
    return tensor, resize(mask, (height, width), cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST)
