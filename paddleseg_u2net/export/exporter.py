"""Exports a model into a folder that predicts without Paddle's training code, and verifies it.

The folder holds the model file, its record `deploy.yaml`, and a report of how the model compares with the
network it was made from. Beyond the tolerance nothing is left behind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.data.preprocessing import Preprocessing
from paddleseg_u2net.engines.deploy_config import OUTPUT_OPS, PHOTOGRAPH, PREPARED, describe, write_record
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.export.formats import FORMATS, ExportOptions
from paddleseg_u2net.export.paddle2onnx import PADDLE_FORMAT
from paddleseg_u2net.export.quantization import Quantization
from paddleseg_u2net.export.repositories import Repository
from paddleseg_u2net.export.verify import TOLERANCES, VerificationSample, check, compare
from paddleseg_u2net.io.files import atomic_write, flush

REPORT = "export_report.json"
FROM_WEIGHTS_ONLY = ("int8", "fp16")  # precisions that need a graph written by onnx_network.py
CONVERTED = (
    f". {PADDLE_FORMAT}, or another --input_shape: paddle2onnx pools to a number of cells exactly only where "
    "they divide the pixels"
)


def export(
    network: Any,
    config: Mapping[str, Any],
    folder: Path,
    images: Sequence[VerificationSample],
    file_format: str = "onnx",
    precision: str = "fp32",
    shape: Sequence[int] = (-1, 3, -1, -1),
    quantization: Quantization | None = None,
    preprocessing: Preprocessing | None = None,
    output_op: str = "softmax",
    repository: Repository | None = None,
) -> dict[str, Any]:
    """Write an exported folder and compare it with the network it was made from.

    Args:
        network: Paddle layer filled with weights, in eval mode.
        config: the config it was made from.
        folder: folder to create.
        images: real images to compare on; photographs where `preprocessing` is given.
        file_format: key of FORMATS.
        precision: see `ExportOptions`, also for the next four.
        shape: of the input.
        quantization: for int8.
        preprocessing: applied by the model.
        output_op: last operation of the model.
        repository: of another server, which the folder becomes; the files of the model then lie deeper in it.

    Returns:
        The report, which `export_report.json` holds too.

    Raises:
        FileExistsError: the folder exists; nothing is overwritten.
        VerificationError: the export is beyond its tolerance; nothing is kept.
        ValueError: this combination of options is not supported.
    """
    kind, row = type(network).__name__, FORMATS[file_format]
    check_options(folder, file_format, precision, kind, preprocessing is not None, output_op)
    options = ExportOptions(precision, shape, output_op, quantization, preprocessing)
    with atomic_write(folder) as partial:
        inner = partial / repository.place if repository else partial
        inner.mkdir(parents=True)
        row.write(inner / row.model, network, options)
        deployment = describe(
            model=row.model,
            precision=precision,
            input_shape=shape,
            num_classes=config["model"]["num_classes"],
            folder=inner,
            image=PHOTOGRAPH if preprocessing else PREPARED,
            output_op=output_op,
        )
        write_record(inner, deployment, config)
        report = compare(inner, network, images, preprocessing)
        (inner / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if repository:
            repository.write_config(partial, deployment)
            for path in partial.rglob("*"):
                flush(path)  # `atomic_write` flushes the files directly in the folder
        check(report, TOLERANCES[precision], CONVERTED if row.converts(kind) else "")
    return report


def check_options(
    folder: Path,
    file_format: str,
    precision: str,
    network: str,
    with_preprocessing: bool = False,
    output_op: str = "softmax",
    why: str = "--with_preprocessing",
) -> None:
    """Raise where an export cannot be made, before anything is read.

    Args:
        folder: folder to create.
        file_format: key of FORMATS.
        precision: see `ExportOptions`.
        network: type of the network.
        with_preprocessing: whether the model is to apply the preprocessing.
        output_op: see `ExportOptions`.
        why: the flag that asks for the preprocessing, for messages.

    Raises:
        FileExistsError: the folder exists.
        MissingPackage: paddle2onnx is needed and not installed.
        ValueError: this combination of options is not supported.
    """
    row = FORMATS[file_format]
    if output_op not in OUTPUT_OPS:
        raise ValueError(f"--output_op {output_op}: unknown, expected {', '.join(OUTPUT_OPS)}")
    if with_preprocessing and not row.applies_preprocessing(network):
        raise ValueError(f"{why}: supported for U²-Net as onnx and openvino only. Fix: leave it out")
    if precision not in row.precisions:
        raise ValueError(
            f"--precision {precision}: not supported by --format {file_format}. "
            f"Fix: {' or '.join(row.precisions)}"
        )
    if row.converts(network):
        if precision in FROM_WEIGHTS_ONLY:
            raise ValueError(
                f"--precision {precision}: supported for U²-Net only, not for {network}. Fix: fp32"
            )
        need("paddle2onnx")
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already. Fix: choose another --save_dir, or remove it")
