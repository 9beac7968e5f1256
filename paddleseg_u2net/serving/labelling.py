"""What Label Studio's labelling configs ask for, and predictions as it stores them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.parsers import expat

import cv2
import numpy as np

from paddleseg_u2net.bounds import MIB, Bound
from paddleseg_u2net.inference.prediction import Prediction
from paddleseg_u2net.serving.brush import encode_brush
from paddleseg_u2net.serving.faults import ApiFault

CONFIG_BYTES = Bound(MIB, "characters", "1,203 labels, as LVIS has, in about 100 kB")
CONFIG_DEPTH = Bound(50, "levels of nested tags", "about 6")
CONFIG_TAGS = Bound(20_000, "tags", "about 1,210 for 1,203 labels")
CLICK = "keypointlabels"
EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Object"/></BrushLabels></View>'
)


@dataclass(frozen=True)
class Control:
    """The brush of a labelling config, and the image that it paints on.

    Args:
        brush: name of the BrushLabels.
        image: name of the Image.
        field: of a task's data, in which the image is named.
        labels: of the brush, in order.
    """

    brush: str
    image: str
    field: str
    labels: tuple[str, ...]


def parse_config(text: str) -> Control:
    """The first brush for an image of a labelling config, which is XML.

    Raises:
        ApiFault: no XML, too large, with a document type or entities, or without such a brush.
    """
    try:
        reader = _Tags()
        reader.read(text)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise ApiFault(
            "bad_request", f"label_config: cannot be read as XML: {error}. Fix: {EXAMPLE}"
        ) from error
    for brush, labels in reader.brushes:
        image = reader.images.get(brush.get("toname", ""))
        if image is None or not brush.get("name"):
            continue
        if not labels:
            raise ApiFault(
                "bad_request", f"label_config: the brush '{brush['name']}' has no labels. Fix: {EXAMPLE}"
            )
        if not image.startswith("$") or len(image) < 2:
            raise ApiFault(
                "bad_request",
                f"label_config: the value of <Image> is '{image[:80]}', expected $ and the name of a field. "
                'Fix: value="$image"',
            )
        return Control(brush["name"], brush["toname"], image[1:], tuple(dict.fromkeys(labels)))
    raise ApiFault(
        "bad_request",
        f"label_config: no <BrushLabels> whose toName is the name of an <Image>. Fix: {EXAMPLE}",
    )


class _Tags:
    """The images and brushes among the tags of a config; their names are compared in small letters."""

    def __init__(self):
        self.images: dict[str, str] = {}  # name -> value
        self.brushes: list[tuple[dict[str, str], list[str]]] = []  # attributes and labels
        self._open: list[str] = []
        self._count = 0

    def read(self, text: str) -> None:
        """Parse a config; ValueError beyond the bounds, and where entities could be declared."""
        CONFIG_BYTES.check(len(text))
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = lambda _tag: self._open.pop()
        parser.Parse(text, True)

    @staticmethod
    def _refuse(*_: object) -> None:
        raise ValueError("it has a document type (<!DOCTYPE …>), which may declare entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag, found = tag.lower(), {name.lower(): value for name, value in attributes.items()}
        self._open.append(tag)
        self._count += 1
        CONFIG_DEPTH.check(len(self._open))
        CONFIG_TAGS.check(self._count)
        if tag == "image" and "name" in found:
            self.images[found["name"]] = found.get("value", "")
        elif tag == "brushlabels":
            self.brushes.append((found, []))
        elif tag == "label" and "brushlabels" in self._open:
            label = found.get("alias") or found.get("value")
            if label:
                self.brushes[-1][1].append(label)


def match_labels(labels: Sequence[str], names: Sequence[str], multilabel: bool = False) -> dict[int, str]:
    """The label of each class of a model; classes without one are not returned as regions.

    Labels with the name of a class, in small or large letters, belong to it. If there are none: a model with
    one class besides the background takes the first label; others take all of them in order.

    Args:
        labels: of the labelling config.
        names: of the model's classes, background first; see `class_names`.
        multilabel: the classes overlap, and none is background.

    Returns:
        Class id, or number of the channel of a multi-label model, -> label.

    Raises:
        ApiFault: neither fits.
    """
    known = {label.strip().casefold(): label for label in labels}
    named = {index: known[name.casefold()] for index, name in enumerate(names) if name.casefold() in known}
    if named:
        return named
    first = 0 if multilabel else 1
    objects = range(first, len(names))
    if len(objects) == 1 or len(objects) == len(labels):
        return dict(zip(objects, labels, strict=False))
    raise ApiFault(
        "bad_request",
        f"label_config: its labels {', '.join(labels[:20])} do not fit the model's classes "
        f"{', '.join(names[first:][:20])}. Fix: labels with these names",
    )


class Click(NamedTuple):
    """A point that a person has clicked on.

    Args:
        x: in percent of the width.
        y: in percent of the height.
        positive: whether the object there is wanted.
        label: that was chosen.
    """

    x: float
    y: float
    positive: bool
    label: str | None

    def pixel(self, mask: np.ndarray) -> tuple[int, int]:
        """Its row and column in a mask (H, W)."""
        height, width = mask.shape
        return min(int(self.y / 100 * height), height - 1), min(int(self.x / 100 * width), width - 1)


def clicks_of(context: Any) -> list[Click]:
    """The points of an interactive request; none where nothing was clicked.

    Raises:
        ApiFault: another kind of region.
    """
    regions = context.get("result") if isinstance(context, Mapping) else None
    return [_click(region) for region in regions] if isinstance(regions, list) else []


def _click(region: Any) -> Click:
    try:
        value = region["value"]
        labels = value.get(CLICK) or [None]
        click = Click(float(value["x"]), float(value["y"]), bool(region.get("is_positive", True)), labels[0])
        if region["type"] != CLICK or not (0 <= click.x <= 100 and 0 <= click.y <= 100):
            raise ValueError(region["type"])
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise ApiFault(
            "bad_request",
            f'context: expected points ({CLICK}) on the image. Fix: <KeyPointLabels smart="true" …>',
        ) from error
    return click


def to_label_studio(
    prediction: Prediction, control: Control, labels: Mapping[int, str], clicks: Sequence[Click] = ()
) -> dict[str, Any]:
    """A prediction as Label Studio stores it: one region for each label that occurs.

    The score of a region is the mean probability of its pixels; that of all is the mean of the regions.

    Args:
        prediction: of an image.
        control: see `parse_config`.
        labels: see `match_labels`.
        clicks: choose the objects that are returned; of none all are.
    """
    regions = []
    for index, label in labels.items():
        mask, probability = _class_map(prediction, index)
        if clicks:
            mask = _chosen(mask, clicks)
            asked = next((click.label for click in clicks if click.positive), None)
            label = asked if len(labels) == 1 and asked in control.labels else label
        if mask.any():
            regions.append(_region(mask, float(probability[mask].mean()), label, control))
    scores = [region["score"] for region in regions]
    return {"result": regions, "score": sum(scores) / len(scores) if scores else 0.0}


def _class_map(prediction: Prediction, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a class is, (H, W) bool, and its probability, (H, W) float32."""
    if prediction.multilabel:
        return prediction.labels[index], prediction.probabilities[index]
    if len(prediction.probabilities) > 1:
        return prediction.classes == index, prediction.probabilities[index]
    saliency = prediction.saliency if index else 1 - prediction.saliency
    return prediction.classes == index, saliency


def _chosen(mask: np.ndarray, clicks: Sequence[Click]) -> np.ndarray:
    """The connected objects of a mask (H, W) bool on which a click says yes, and none says no."""
    _, objects = cv2.connectedComponents(mask.astype(np.uint8))
    yes, no = (
        {int(objects[click.pixel(mask)]) for click in clicks if click.positive is says}
        for says in (True, False)
    )
    return np.isin(objects, list(yes - no - {0}))


def _region(mask: np.ndarray, score: float, label: str, control: Control) -> dict[str, Any]:
    height, width = mask.shape
    return {
        "id": secrets.token_hex(5),
        "from_name": control.brush,
        "to_name": control.image,
        "type": "brushlabels",
        "origin": "prediction",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": score,
        "value": {"format": "rle", "rle": list(encode_brush(mask)), "brushlabels": [label]},
    }
