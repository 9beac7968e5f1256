"""`u2net benchmark`: measure prediction on a CPU, every export in every engine, and whole commands."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paddleseg_u2net.cli import flags
from paddleseg_u2net.data.pairs import pair_folders
from paddleseg_u2net.environment.processes import (
    Outcome,
    peak_memory,
    run_measured,
    u2net_command,
    u2net_environment,
)
from paddleseg_u2net.io.images import write_image
from paddleseg_u2net.io.listing import list_images
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.models.known_weights import KNOWN

if TYPE_CHECKING:
    from paddleseg_u2net.inference.predictor import Predictor

ABOUT = """\
Measure prediction on a CPU: every export in every engine, and whole commands, optionally against rembg.

Each row of the first table is measured in its own process. Runs of the whole commands alternate, so that
other load on the machine affects all of them.
"""
EXAMPLES = """\
  u2net benchmark --image_path photos/
  u2net benchmark --image_path photos/ --mask_path masks/ --calibration other_photos/ --plot speed.png
  u2net benchmark --image_path photos/ --against rembg-venv/bin/rembg --repeats 5
"""
CALLS = 15  # measured calls of an engine, after one that is not counted
Table = list[dict[str, str | float]]

INPUT_FLAGS: flags.Flags = {
    "image_path": {"type": flags.nonempty_path, "required": True, "help": "folder of photographs"},
    "mask_path": {"type": flags.nonempty_path, "help": "folder of their masks, to measure MAE and maxF too"},
    "model_path": {"default": "u2netp", "help": "known name or weight file (%(default)s)"},
    "config": flags.MODEL_FLAGS["config"],
    "calibration": {
        "type": flags.nonempty_path,
        "help": "photographs that int8 is calibrated on; default: those of --image_path",
    },
    "against": {"type": flags.nonempty_path, "help": "the rembg command of another environment"},
}
OUTPUT_FLAGS: flags.Flags = {"plot": {"type": Path, "help": "write bar charts of images per second"}}
RUN_FLAGS: flags.Flags = {
    "batches": {
        "type": flags.positive_int,
        "nargs": "+",
        "default": [1, 4],
        "help": "batch sizes (%(default)s)",
    },
    "repeats": {"type": flags.positive_int, "default": 3, "help": "runs of each whole command (%(default)s)"},
    "engine": {"nargs": 2, "help": argparse.SUPPRESS},  # BACKEND BATCH: one row, in this process
}


class Kind(NamedTuple):
    """A row of the first table.

    Args:
        format: of `u2net export`, or `none` for the Paddle network itself.
        precision: of `u2net export`.
        backend: engine that runs it.
    """

    format: str
    precision: str
    backend: str


KINDS = (
    Kind("none", "fp32", "paddle"),
    Kind("paddle", "fp32", "paddle_inference"),
    *(Kind("onnx", precision, "onnxruntime") for precision in ("fp32", "fp16", "int8")),
    *(Kind("openvino", precision, "openvino") for precision in ("fp32", "fp16", "bf16", "int8")),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net benchmark`."""
    command = flags.parser("u2net benchmark", ABOUT, EXAMPLES)
    flags.add_group(command, flags.INPUT, INPUT_FLAGS)
    flags.add_group(command, flags.OUTPUT, OUTPUT_FLAGS)
    flags.add_group(command, flags.HOW, RUN_FLAGS)
    return command


def measure_engine(args: argparse.Namespace) -> dict[str, float]:
    """Measure one engine in this process: seconds to load, milliseconds per call, memory, scores."""
    from paddleseg_u2net.inference.predictor import Predictor

    backend, batch = args.engine
    precision = "fp32" if backend == "paddle" else "auto"  # an export has its own
    started = time.perf_counter()
    predictor = Predictor(args.model_path, args.config, "cpu", backend=backend, precision=precision)
    loaded = time.perf_counter()
    image = predictor.preprocessing(predictor.read(list_images(args.image_path)[0]))[0]
    tensor = np.repeat(image[None], int(batch), axis=0)
    times = []
    for _ in range(CALLS + 1):
        before = time.perf_counter()
        predictor.engine(tensor)
        times.append((time.perf_counter() - before) * 1e3)
    first, *rest = times
    found = {
        "load s": loaded - started,
        "first ms": first,
        "median ms": float(np.median(rest)),
        "p95 ms": float(np.percentile(rest, 95)),
        "images/s": int(batch) * 1e3 / float(np.median(rest)),
        "peak MiB": peak_memory(),
    }
    return found | (scores(args, predictor) if args.mask_path else {})


def scores(args: argparse.Namespace, predictor: Predictor) -> dict[str, float]:
    """MAE and maxF of a predictor on the photographs."""
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.data.spec import DatasetSpec
    from paddleseg_u2net.data.wording import as_files
    from paddleseg_u2net.evaluation.model import evaluate

    pairs, faults = pair_folders(args.image_path, args.mask_path)
    (dataset,) = open_datasets([DatasetSpec(pairs, 1, mode="val", faults=faults, fix_as=as_files)])
    measured = evaluate(predictor, dataset).compute()
    return {name: measured[name] for name in ("MAE", "maxF")}


def export_all(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Export the model in all kinds: "format-precision" -> folder. Those that fail are left out."""
    made = {}
    for name in dict.fromkeys(f"{kind.format}-{kind.precision}" for kind in KINDS if kind.format != "none"):
        file_format, precision = name.split("-")
        words = ["--format", file_format, "--precision", precision, "--save_dir", folder / name]
        words += ["--image_path", args.image_path, "--calibration", args.calibration or args.image_path]
        try:
            run_measured(u2net_command("export", *model_words(args), *words), u2net_environment())
        except OSError as error:
            print(f"{file_format} {precision}: left out: {str(error).strip().splitlines()[-1]}", flush=True)
        else:
            made[name] = folder / name
    return made


def model_words(args: argparse.Namespace, model: Path | None = None) -> list[str | Path]:
    """The flags of a command that name the model."""
    config = ["--config", args.config] if args.config and model is None else []
    return ["--model_path", model or args.model_path, *config]


def engines(args: argparse.Namespace, exports: Mapping[str, Path]) -> Table:
    """One row per kind and batch size, each measured in its own process."""
    rows: Table = []
    measure = u2net_command("benchmark", "--image_path", args.image_path)
    for kind in KINDS:
        model = exports.get(f"{kind.format}-{kind.precision}")
        if model is None and kind.format != "none":
            continue
        for batch in args.batches:
            command = [*measure, *model_words(args, model), "--engine", kind.backend, str(batch)]
            if args.mask_path and batch == args.batches[0]:  # scores are the same for every batch size
                command += ["--mask_path", args.mask_path]
            printed = run_measured(command, u2net_environment()).text
            found = json.loads(printed.strip().splitlines()[-1])
            size = {"MiB": model_size(model)} if model else {"MiB": "-"}
            rows.append({**kind._asdict(), "batch": batch, **size, **found})
    return rows


def model_size(folder: Path) -> float:
    """Size of the model files of an exported folder, MiB."""
    return sum(path.stat().st_size for path in folder.glob("model.*")) / 2**20


def commands(args: argparse.Namespace, exports: Mapping[str, Path], folder: Path) -> Table:
    """One row per whole command and number of photographs: median and best seconds, peak memory."""
    single = folder / "one"
    single.mkdir()
    shutil.copy(list_images(args.image_path)[0], single)
    models = {"fp32": [*model_words(args), "--precision", "fp32"]}
    if args.model_path in KNOWN:
        models["auto"] = model_words(args)
    elif "onnx-int8" in exports:
        models["int8"] = model_words(args, exports["onnx-int8"])
    predict = ["predict", "--outputs", "saliency"]
    rembg = [args.against, "p", "-m", Path(args.model_path).stem, "-om"]
    entries = []  # name, number of photographs, command without its output folder, environment
    for source in (args.image_path, single):
        count = len(list_images(source))
        for name, words in models.items():
            command = u2net_command(*predict, *words, "--image_path", source, "--save_dir")
            entries.append((f"u2net predict, {name}", count, command, u2net_environment()))
        if args.against:
            entries.append(("rembg p -om", count, [*rembg, source], {"MODEL_CHECKSUM_DISABLED": "1"}))
    found: dict[tuple[str, int], list[Outcome]] = {}
    for turn in range(args.repeats + 1):  # the first turn fills caches and is not counted
        for index, (name, count, command, environment) in enumerate(entries):
            outcome = run_measured([*command, folder / f"out_{turn}_{index}"], environment)
            if turn:
                found.setdefault((name, count), []).append(outcome)
    return [
        {
            "command": name,
            "photos": count,
            "median s": float(np.median([run.seconds for run in runs])),
            "best s": min(run.seconds for run in runs),
            "peak MiB": max(run.peak_mib for run in runs),
        }
        for (name, count), runs in found.items()
    ]


def table(rows: Table) -> str:
    """Rows as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        values = [row.get(head, "") for head in heads]
        lines.append([f"{value:.3g}" if isinstance(value, float) else str(value) for value in values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(path: Path, charts: Mapping[str, Mapping[str, float]]) -> None:
    """Draw bar charts, one below the other: title -> label -> images per second."""
    import cv2

    def write(text: str, left: int, top: int, size: float) -> None:
        cv2.putText(canvas, text, (left, top), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)

    bar, label, longest = 36, 260, 440
    canvas = np.full((sum(60 + bar * len(bars) for bars in charts.values()), 780, 3), 255, np.uint8)
    top = 0
    for title, bars in charts.items():
        write(title, 12, top + 34, 0.6)
        top += 50
        for name, speed in bars.items():
            width = int(longest * speed / max(bars.values()))
            color = (120, 120, 120) if "rembg" in name else (90, 180, 0)
            cv2.rectangle(canvas, (label, top), (label + width, top + bar - 8), color, -1)
            write(name, 12, top + 19, 0.5)
            write(f"{speed:.1f}", label + width + 8, top + 19, 0.5)
            top += bar
        top += 10
    write_image(path, canvas[..., ::-1])  # OpenCV draws in BGR


def report(args: argparse.Namespace) -> None:
    """Measure and print both tables."""
    photographs = len(list_images(args.image_path))
    if not photographs:
        raise ValueError(
            f"--image_path {args.image_path}: no images in this folder. Fix: a folder with images"
        )
    if args.against and args.model_path not in KNOWN:
        raise ValueError(f"--against: rembg has no model {args.model_path}. Fix: {', '.join(KNOWN)}")
    if args.mask_path and not args.calibration:
        raise ValueError(
            "--mask_path: int8 would be scored on the images it is calibrated on. Fix: --calibration OTHERS"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exports = export_all(args, folder)
        inside = engines(args, exports)
        print(f"{table(inside)}\n", flush=True)
        whole = commands(args, exports, folder)
    print(table(whole))
    if args.plot:
        charts = {
            "inside one process, batch 1, images per second": {
                f"{row['backend']} {row['precision']}": float(row["images/s"])
                for row in inside
                if row["batch"] == 1
            },
            f"whole command, {photographs} photographs, images per second": {
                str(row["command"]): photographs / float(row["median s"])
                for row in whole
                if row["photos"] == photographs
            },
        }
        plot(args.plot, {title: bars for title, bars in charts.items() if bars})


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit code."""
    args = build_parser().parse_args(argv)
    if args.engine:
        print(json.dumps(measure_engine(args)))
        return 0
    with path_lock(args.plot, "choose another --plot") if args.plot else contextlib.nullcontext():
        report(args)
    return 0
