"""An exported folder: a model file, and `deploy.yaml`, which says all that predicting with it needs.

Light: numpy, OpenCV, YAML and the engine predict from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddleseg_u2net.config.loader import dump_config, load_config
from paddleseg_u2net.config.schema import check_arguments
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.io.files import digest

RECORD = "deploy.yaml"
PADDLE_MODEL = "model.json"
PREPARED, PHOTOGRAPH = "prepared", "photograph"
CARRIED = ("model", "val_dataset", "test_config", "metric")  # sections of the config that predicting needs


@dataclass(frozen=True)
class Deployment:
    """What `Deploy:` in `deploy.yaml` holds.

    Args:
        model: name of the model file.
        precision: fp32, fp16, bf16 or int8.
        input_shape: N, C, H, W; -1 where any is legal.
        output_op: sigmoid or softmax, part of the model.
        labels: names of the classes, background first.
        sha256: checksum of each file.
        image: `prepared` for (N, C, H, W) float32 that went through the val transforms, or `photograph` for
            (N, H, W, 3) uint8 RGB, which the model prepares itself.
    """

    model: str
    precision: str
    input_shape: Sequence[int]
    output_op: str
    labels: Sequence[str]
    sha256: Mapping[str, str]
    image: str = PREPARED


def write_record(folder: Path, deployment: Deployment, config: Mapping[str, Any]) -> None:
    """Write `deploy.yaml` into a folder that holds the files it names."""
    carried = {key: config[key] for key in CARRIED if key in config}
    carried["model"] = {key: value for key, value in carried["model"].items() if key != "pretrained"}
    record = asdict(deployment)
    record |= {"input_shape": list(deployment.input_shape), "sha256": dict(deployment.sha256)}
    if deployment.image == PHOTOGRAPH:  # nothing is left to do outside
        carried["val_dataset"] = {**carried["val_dataset"], "transforms": []}
    (folder / RECORD).write_text(dump_config({"Deploy": record, **carried}), encoding="utf-8")


def describe(
    model: str,
    precision: str,
    input_shape: Sequence[int],
    num_classes: int,
    folder: Path,
    image: str = PREPARED,
) -> Deployment:
    """The record of the files in a folder.

    Args:
        model: name of the file to load.
        precision: fp32, fp16, bf16 or int8.
        input_shape: N, C, H, W; -1 where any is legal.
        num_classes: 1 for saliency.
        folder: whose files are all meant.
        image: see `Deployment`.
    """
    sums = {path.name: digest(path, "sha256") for path in sorted(folder.iterdir())}
    single = num_classes == 1
    labels = ["background", "object"] if single else [str(label) for label in range(num_classes)]
    return Deployment(model, precision, input_shape, "sigmoid" if single else "softmax", labels, sums, image)


def find_record(model_path: str | Path) -> Path | None:
    """The `deploy.yaml` of an exported folder, or of a file in it; None where there is none."""
    path = Path(model_path)
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    record = path.parent / RECORD
    if not path.is_file() or not record.is_file():
        return None
    named = load_config(record).get("Deploy", {}).get("model")
    return record if path.name in (RECORD, named) else None


def read_record(record: Path) -> Deployment:
    """Read and verify an exported folder.

    Raises:
        ConfigError: the record is incomplete.
        ValueError: a file is absent or not the one that was exported.
    """
    found = load_config(record).get("Deploy", {})
    check_arguments(f"{record}: Deploy", Deployment, found)
    deployment = Deployment(**found)
    if deployment.image not in (PREPARED, PHOTOGRAPH):
        raise ConfigError(f"{record}: Deploy: image {deployment.image}: expected {PREPARED} or {PHOTOGRAPH}")
    if not isinstance(deployment.sha256, Mapping) or not isinstance(deployment.model, str):
        raise ConfigError(f"{record}: Deploy: expected 'model' as a name and 'sha256' as a mapping")
    for name, expected in deployment.sha256.items():
        path = record.parent / name
        if Path(name).name != name:
            raise ConfigError(f"{record}: {name} lies outside of the folder")
        if not path.is_file() or digest(path, "sha256") != expected:
            raise ValueError(f"{path}: absent, or not the file that was exported. Fix: export it anew")
    if deployment.model not in deployment.sha256:
        raise ConfigError(f"{record}: sha256 lacks {deployment.model}")
    return deployment
