"""The record `deploy.yaml` of an exported folder: all that predicting with its model file needs.

Predicting from such a folder needs numpy, OpenCV, YAML and the engine, but neither Paddle nor paddleseg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.config.schema import check_arguments
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.io.files import digest

RECORD = "deploy.yaml"
PADDLE_MODEL = "model.json"
PREPARED, PHOTOGRAPH = "prepared", "photograph"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
OUTPUT_OPS = ("softmax", "argmax", "none")
# sections of the config that predicting and measuring need
CARRIED = ("model", "val_dataset", "test_config", "metric", "class_names")


@dataclass(frozen=True)
class Deployment:
    """The section `Deploy` of `deploy.yaml`.

    Args:
        model: name of the model file.
        precision: fp32, fp16, bf16 or int8.
        input_shape: N, C, H, W; -1 where any is legal.
        output_op: last operation of the model. `sigmoid` (one class) and `softmax` give probabilities
            (N, num_classes, H, W), `argmax` class ids (N, H, W) int32, `none` logits (N, num_classes, H, W).
        labels: names of the classes, background first.
        sha256: checksum of each file.
        image: `prepared` for (N, C, H, W) float32 after the val transforms, or `photograph` for
            (N, H, W, 3) uint8 RGB, to which the model applies them itself.
        num_classes: 1 for saliency; 0 in records of earlier versions, which give probabilities.
    """

    model: str
    precision: str
    input_shape: Sequence[int]
    output_op: str
    labels: Sequence[str]
    sha256: Mapping[str, str]
    image: str = PREPARED
    num_classes: int = 0


def write_record(folder: Path, deployment: Deployment, config: Mapping[str, Any]) -> None:
    """Write `deploy.yaml` into a folder that holds the files it names."""
    carried = {key: config[key] for key in CARRIED if key in config}
    carried["model"] = {key: value for key, value in carried["model"].items() if key != "pretrained"}
    record = asdict(deployment)
    record |= {"input_shape": list(deployment.input_shape), "sha256": dict(deployment.sha256)}
    if deployment.image == PHOTOGRAPH:  # the model applies the transforms
        carried["val_dataset"] = {**carried["val_dataset"], "transforms": []}
    (folder / RECORD).write_text(dump_config({"Deploy": record, **carried}), encoding="utf-8")


def describe(
    model: str,
    precision: str,
    input_shape: Sequence[int],
    num_classes: int,
    folder: Path,
    image: str = PREPARED,
    output_op: str = "softmax",
) -> Deployment:
    """Describe the files in a folder.

    Args:
        model: name of the file to load.
        precision: fp32, fp16, bf16 or int8.
        input_shape: N, C, H, W; -1 where any is legal.
        num_classes: 1 for saliency.
        folder: all of its files get a checksum.
        image: see `Deployment`.
        output_op: one of OUTPUT_OPS; `softmax` is recorded as `sigmoid` for one class.
    """
    sums = {path.name: digest(path, "sha256") for path in sorted(folder.iterdir())}
    single = num_classes == 1
    return Deployment(
        model=model,
        precision=precision,
        input_shape=input_shape,
        output_op="sigmoid" if single and output_op == "softmax" else output_op,
        labels=["background", "object"] if single else [str(label) for label in range(num_classes)],
        sha256=sums,
        image=image,
        num_classes=num_classes,
    )


def find_record(model_path: str | Path) -> Path | None:
    """Return the `deploy.yaml` of an exported folder or of the model file in it, or None without one."""
    path = Path(model_path)
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    record = path.parent / RECORD
    if not path.is_file() or not record.is_file():
        return None
    named = load_config(record).get("Deploy", {}).get("model")
    return record if path.name in (RECORD, named) else None


def lies_inside(folder: Path, name: str) -> bool:
    """Whether a name is that of a file in a folder itself, and not a path or a link to another place."""
    return Path(name).name == name and (folder / name).resolve().parent == folder.resolve()


def read_record(record: Path) -> Deployment:
    """Read a record and check the files it names against their checksums.

    Args:
        record: path of `deploy.yaml`.

    Raises:
        ConfigError: the record is incomplete or has values of another kind.
        ValueError: a file is missing, or is not the one that was exported.
    """
    config = load_config(record)
    found = config.get("Deploy", {})
    check_arguments(f"{record}: Deploy", Deployment, found)
    deployment = Deployment(**found)
    if deployment.image not in (PREPARED, PHOTOGRAPH):
        raise ConfigError(f"{record}: Deploy: image {deployment.image}: expected {PREPARED} or {PHOTOGRAPH}")
    if deployment.output_op not in ("sigmoid", *OUTPUT_OPS):
        raise ConfigError(
            f"{record}: Deploy: output_op {deployment.output_op}: expected sigmoid, {', '.join(OUTPUT_OPS)}"
        )
    if not isinstance(deployment.sha256, Mapping) or not isinstance(deployment.model, str):
        raise ConfigError(
            f"{record}: Deploy: expected 'model' as a name and 'sha256' as a mapping. "
            "Fix: export the model again"
        )
    classes = config.get("model", {}).get("num_classes", deployment.num_classes)
    if wrong := _wrong_values(deployment, classes):
        raise ConfigError(f"{record}: Deploy: {wrong}. Fix: export the model again")
    for name, expected in deployment.sha256.items():
        path = record.parent / name
        if not lies_inside(record.parent, name):
            raise ConfigError(f"{record}: {name} lies outside of the folder. Fix: export the model again")
        if not path.is_file() or digest(path, "sha256") != expected:
            raise ValueError(f"{path}: absent, or not the file that was exported. Fix: export it again")
    if deployment.model not in deployment.sha256:
        raise ConfigError(f"{record}: sha256 lacks {deployment.model}. Fix: export the model again")
    return deployment


def _wrong_values(found: Deployment, classes: int) -> str:
    """The first value that is of another kind than `describe` writes; empty if none is.

    Args:
        found: what the record has.
        classes: `num_classes` of the model's section.
    """
    shape = found.input_shape
    sides = isinstance(shape, list) and len(shape) == 4 and all(type(n) is int and n >= -1 for n in shape)
    rules = (
        (sides, f"input_shape: expected [N, C, H, W], -1 where any is legal, got {shape!r}"),
        (
            found.precision in PRECISIONS,
            f"precision: expected {', '.join(PRECISIONS)}, got {found.precision!r}",
        ),
        (
            isinstance(found.labels, list) and all(isinstance(label, str) for label in found.labels),
            f"labels: expected a list of names, got {found.labels!r}",
        ),
        (
            type(found.num_classes) is int and found.num_classes >= 0,
            f"num_classes: expected a whole number from 0, got {found.num_classes!r}",
        ),
        (
            found.num_classes in (0, classes),
            f"num_classes: expected that of the model, {classes}, got {found.num_classes!r}",
        ),
        (
            all(isinstance(text, str) for row in found.sha256.items() for text in row),
            f"sha256: expected names of files with their checksums, got {dict(found.sha256)!r}",
        ),
    )
    return next((what for valid, what in rules if not valid), "")
