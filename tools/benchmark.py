"""Measure prediction on a CPU: engines inside one process, and whole commands beside rembg.

python tools/benchmark.py --image_path photos/
python tools/benchmark.py --image_path photos/ --against rembg-venv/bin/rembg --repeats 5 --plot speed.png

Rows that are compared are run in turn, so that what else the machine does meets all of them.
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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddleseg_u2net.__main__ import guarded
from paddleseg_u2net.images import list_images, read_image

ROOT = Path(__file__).resolve().parents[1]
ENGINES = (
    ("paddle", "fp32"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "int8"),
)
CALLS = 15


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmark.py"
    )
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--model_path", default="u2netp", help="known name or weight file (%(default)s)")
    parser.add_argument("--config", help="YAML file; may be left out where the model carries its own")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each whole command (%(default)s)")
    parser.add_argument("--against", type=Path, help="the rembg command of an environment of its own")
    parser.add_argument("--plot", type=Path, help="write a bar chart of images a second")
    parser.add_argument(
        "--engine", nargs=3, metavar=("BACKEND", "PRECISION", "BATCH"), help=argparse.SUPPRESS
    )
    return parser.parse_args(argv)


def measure_engine(args: argparse.Namespace) -> dict[str, float]:
    """One engine in this process: seconds to load, milliseconds a call."""
    from paddleseg_u2net.prediction import Predictor

    backend, precision, batch = args.engine
    started = time.perf_counter()
    predictor = Predictor(args.model_path, args.config, "cpu", backend=backend, precision=precision)
    loaded = time.perf_counter()
    image = predictor.preprocessing(read_image(list_images(args.image_path)[0]))[0]
    tensor = np.repeat(image[None], int(batch), axis=0)
    times = []
    for _ in range(CALLS + 1):
        before = time.perf_counter()
        predictor.runtime(tensor)
        times.append((time.perf_counter() - before) * 1e3)
    first, *rest = times
    return {
        "load s": loaded - started,
        "first ms": first,
        "median ms": float(np.median(rest)),
        "p95 ms": float(np.percentile(rest, 95)),
        "images/s": int(batch) * 1e3 / float(np.median(rest)),
    }


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


def engines(args: argparse.Namespace) -> list[dict[str, str | float]]:
    """A row per engine, precision and batch, each in a process of its own."""
    rows: list[dict[str, str | float]] = []
    for backend, precision in ENGINES:
        for batch in args.batches:
            own = ["--image_path", args.image_path, "--model_path", args.model_path]
            own += ["--config", args.config] if args.config else []
            command = [
                sys.executable,
                "-m",
                "tools.benchmark",
                *own,
                "--engine",
                backend,
                precision,
                str(batch),
            ]
            try:
                _, memory, text = run(command, PYTHONPATH=str(ROOT))
            except OSError as error:
                print(f"{backend} {precision}: left out: {str(error).strip().splitlines()[-1]}")
                break
            found = json.loads(text.strip().splitlines()[-1])
            row = {"backend": backend, "precision": precision, "batch": batch, **found, "peak MiB": memory}
            rows.append(row)
    return rows


def commands(args: argparse.Namespace, folder: Path) -> list[dict[str, str | float]]:
    """A row per whole command and number of photographs: median and best seconds, peak memory."""
    single = folder / "one"
    single.mkdir()
    shutil.copy(list_images(args.image_path)[0], single)
    predict = [sys.executable, ROOT / "predict.py", "--model_path", args.model_path, "--outputs", "saliency"]
    predict += ["--config", args.config] if args.config else []
    entries = []
    for source in (args.image_path, single):
        count = len(list_images(source))
        for precision in ("fp32", "auto"):
            own = [*predict, "--precision", precision, "--image_path", source]
            entries.append((f"predict.py, {precision}", count, own, "--save_dir"))
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


def table(rows: Sequence[dict[str, str | float]]) -> str:
    """Rows as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads)]
    lines += [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(path: Path, rows: Sequence[dict[str, str | float]]) -> None:
    """A bar chart of the whole commands: photographs a second."""
    import cv2

    rows = [row for row in rows if int(row["photos"]) > 1]
    speeds = [int(row["photos"]) / float(row["median s"]) for row in rows]
    canvas = np.full((60 + 44 * len(rows), 760, 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(
        canvas, "photographs a second, whole command", (12, 30), font, 0.6, (40, 40, 40), 1, cv2.LINE_AA
    )
    for index, (row, speed) in enumerate(zip(rows, speeds, strict=True)):
        top = 50 + 44 * index
        color = (90, 90, 90) if "rembg" in str(row["command"]) else (90, 180, 0)
        cv2.rectangle(canvas, (190, top), (190 + int(480 * speed / max(speeds)), top + 30), color, -1)
        cv2.putText(canvas, str(row["command"]), (12, top + 21), font, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        end = (198 + int(480 * speed / max(speeds)), top + 21)
        cv2.putText(canvas, f"{speed:.1f}", end, font, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), canvas)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = parse(argv)
    if args.engine:
        return guarded(lambda: print(json.dumps(measure_engine(args))))
    return guarded(lambda: report(args))


def report(args: argparse.Namespace) -> None:
    """Measure and print both tables."""
    if not list_images(args.image_path):
        raise ValueError(f"--image_path {args.image_path}: holds no images")
    print(f"{table(engines(args))}\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = commands(args, Path(folder))
    print(table(rows))
    if args.plot:
        plot(args.plot, rows)


if __name__ == "__main__":
    sys.exit(main())
