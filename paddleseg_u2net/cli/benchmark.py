"""Measure prediction on a CPU: every export in every engine, and whole commands beside rembg.

python tools/benchmark.py --image_path photos/
python tools/benchmark.py --image_path photos/ --mask_path masks/ --calibration other_photos/ --plot speed.png
python tools/benchmark.py --image_path photos/ --against rembg-venv/bin/rembg --repeats 5

Each row of the first table is a process of its own. Whole commands are run in turn, so that what else the
machine does meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.data.pairs import pair_folders
from paddleseg_u2net.io.images import list_images, read_image
from paddleseg_u2net.models.pretrained import KNOWN

if TYPE_CHECKING:
    from paddleseg_u2net.inference.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]
CALLS = 15
Table = list[dict[str, str | float]]


class Kind(NamedTuple):
    """A row of the first table: a format of `tools/export.py`, or none for the network as it is trained."""

    format: str
    precision: str
    backend: str


KINDS = (
    Kind("none", "fp32", "paddle"),
    Kind("paddle", "fp32", "paddle_inference"),
    *(Kind("onnx", precision, "onnxruntime") for precision in ("fp32", "fp16", "int8")),
    *(Kind("openvino", precision, "openvino") for precision in ("fp32", "fp16", "bf16", "int8")),
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmark.py"
    )
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--mask_path", type=Path, help="folder of their masks: measures MAE and maxF too")
    parser.add_argument("--model_path", default="u2netp", help="known name or weight file (%(default)s)")
    parser.add_argument("--config", help="YAML file; may be left out where the model carries its own")
    parser.add_argument(
        "--calibration",
        type=Path,
        help="photographs to measure the ranges of int8 on; default image_path",
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each whole command (%(default)s)")
    parser.add_argument("--against", type=Path, help="the rembg command of an environment of its own")
    parser.add_argument("--plot", type=Path, help="write bar charts of images a second")
    parser.add_argument("--engine", nargs=2, metavar=("BACKEND", "BATCH"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure_engine(args: argparse.Namespace) -> dict[str, float]:
    """One engine in this process: seconds to load, milliseconds a call, memory, scores."""
    from paddleseg_u2net.inference.predictor import Predictor

    backend, batch = args.engine
    precision = "fp32" if backend == "paddle" else "auto"  # a folder has one
    started = time.perf_counter()
    predictor = Predictor(args.model_path, args.config, "cpu", backend=backend, precision=precision)
    loaded = time.perf_counter()
    image = predictor.preprocessing(read_image(list_images(args.image_path)[0]))[0]
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


def peak_memory() -> float:
    """Of this process, in MiB; other than getrusage's it does not begin with that of the parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def scores(args: argparse.Namespace, predictor: Predictor) -> dict[str, float]:
    """MAE and maxF of a predictor on the photographs."""
    from paddleseg_u2net.data.dataset import open_datasets
    from paddleseg_u2net.data.spec import DatasetSpec
    from paddleseg_u2net.evaluation.model import evaluate

    pairs, faults = pair_folders(args.image_path, args.mask_path)
    (dataset,) = open_datasets([DatasetSpec(pairs, num_classes=1, mode="val", faults=faults)])
    measured = evaluate(predictor, dataset).compute()
    return {name: measured[name] for name in ("MAE", "maxF")}


def run(command: Sequence[str | Path], **environment: str) -> tuple[float, float, str]:
    """Run a command: seconds, peak memory in MiB, its output.

    Raises:
        OSError: it failed; the message is what it said.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)  # `wait4` has taken it from Popen
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise OSError(f"{command[0]}: exit code {child.returncode}: {text[-500:]}")
    return seconds, usage.ru_maxrss / 1024, text


def export_all(args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Export the model in all kinds; "format-precision" -> folder. What fails is said and left out."""
    made = {}
    for name in dict.fromkeys(f"{kind.format}-{kind.precision}" for kind in KINDS if kind.format != "none"):
        file_format, precision = name.split("-")
        words = ["--format", file_format, "--precision", precision, "--save_dir", folder / name]
        words += ["--image_path", args.image_path, "--calibration", args.calibration or args.image_path]
        try:
            run([sys.executable, ROOT / "tools" / "export.py", *model_words(args), *words])
        except OSError as error:
            print(f"{file_format} {precision}: left out: {str(error).strip().splitlines()[-1]}", flush=True)
        else:
            made[name] = folder / name
    return made


def model_words(args: argparse.Namespace, model: Path | None = None) -> list[str | Path]:
    """The words of a command that name the model."""
    config = ["--config", args.config] if args.config and model is None else []
    return ["--model_path", model or args.model_path, *config]


def engines(args: argparse.Namespace, exports: Mapping[str, Path]) -> Table:
    """A row per kind and batch, each in a process of its own."""
    rows: Table = []
    measure = [sys.executable, "-m", "paddleseg_u2net.cli.benchmark", "--image_path", args.image_path]
    for kind in KINDS:
        model = exports.get(f"{kind.format}-{kind.precision}")
        if model is None and kind.format != "none":
            continue
        for batch in args.batches:
            command = [*measure, *model_words(args, model), "--engine", kind.backend, str(batch)]
            if args.mask_path and batch == args.batches[0]:  # which is the same for every batch
                command += ["--mask_path", args.mask_path]
            _, _, text = run(command, PYTHONPATH=str(ROOT))
            found = json.loads(text.strip().splitlines()[-1])
            size = {"MiB": model_size(model)} if model else {"MiB": "-"}
            rows.append({**kind._asdict(), "batch": batch, **size, **found})
    return rows


def model_size(folder: Path) -> float:
    """MiB of the model files of an exported folder."""
    return sum(path.stat().st_size for path in folder.glob("model.*")) / 2**20


def commands(args: argparse.Namespace, exports: Mapping[str, Path], folder: Path) -> Table:
    """A row per whole command and number of photographs: median and best seconds, peak memory."""
    single = folder / "one"
    single.mkdir()
    shutil.copy(list_images(args.image_path)[0], single)
    predict = [sys.executable, ROOT / "predict.py", "--outputs", "saliency"]
    models = {"fp32": [*model_words(args), "--precision", "fp32"]}
    if args.model_path in KNOWN:
        models["auto"] = model_words(args)
    elif "onnx-int8" in exports:
        models["int8"] = model_words(args, exports["onnx-int8"])
    entries = []
    for source in (args.image_path, single):
        count = len(list_images(source))
        for name, words in models.items():
            entries.append(
                (f"predict.py, {name}", count, [*predict, *words, "--image_path", source], "--save_dir")
            )
        if args.against:
            theirs = [args.against, "p", "-m", Path(args.model_path).stem, "-om", source]
            entries.append(("rembg p -om", count, theirs, None))
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for turn in range(args.repeats + 1):  # the first turn fills caches and is not counted
        for name, count, command, flag in entries:
            out = folder / f"out_{turn}_{len(found)}_{name[:3]}_{count}_{time.monotonic_ns()}"
            target = [flag, out] if flag else [out]
            seconds, memory, _ = run([*command, *target], MODEL_CHECKSUM_DISABLED="1")
            if turn:
                found.setdefault((name, count), []).append((seconds, memory))
    return [
        {
            "command": name,
            "photos": count,
            "median s": float(np.median([s for s, _ in runs])),
            "best s": min(s for s, _ in runs),
            "peak MiB": max(m for _, m in runs),
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
    """Bar charts, one below the other: title -> label -> images a second."""
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
    cv2.imwrite(str(path), canvas)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = parse(argv)
    if args.engine:
        return guarded(lambda: print(json.dumps(measure_engine(args))))
    return guarded(lambda: report(args))


def report(args: argparse.Namespace) -> None:
    """Measure and print both tables."""
    photographs = len(list_images(args.image_path))
    if not photographs:
        raise ValueError(f"--image_path {args.image_path}: holds no images")
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
            "inside one process, batch 1, images a second": {
                f"{row['backend']} {row['precision']}": float(row["images/s"])
                for row in inside
                if row["batch"] == 1
            },
            f"whole command, {photographs} photographs, images a second": {
                str(row["command"]): photographs / float(row["median s"])
                for row in whole
                if row["photos"] == photographs
            },
        }
        plot(args.plot, {title: bars for title, bars in charts.items() if bars})


if __name__ == "__main__":
    sys.exit(main())
