"""Compare training steps of several engines on a CPU: time, memory, and share of what the processor can do.

python -m tools.benchmarks.training --engines paddle onednn
python -m tools.benchmarks.training --torch_python torch-venv/bin/python --engines paddle torch_channels_last

A step is the same for all: forward, the summed losses of the seven outputs (binary cross-entropy of logits;
cross-entropy for several classes), backward, Adam, zero gradients, on one batch of random images and masks,
in fp32 unless the engine's name says bf16. Each engine is a process of its own. They take turns, a step each,
so that other load on the machine affects all of them. Ratios are medians over the turns; above 1 is faster.

A step is counted as three times the multiplications and additions of the forward convolutions. The peak of
the processor is the best float32 product of two matrices by numpy with as many threads, one a turn; bf16 can
exceed it.

PyTorch is no dependency of this project: install it into another environment and give its Python. The first
step of torch_compile needs a C++ compiler and takes minutes. Ctrl-C ends the measurement early; the table
then covers the complete turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.benchmark import table
from paddleseg_u2net.cli.flags import positive_int
from paddleseg_u2net.models.architecture import IMAGE, NETWORKS, Node, dataflow
from tools.benchmarks.measuring import ROOT, benchmark_parser
from tools.benchmarks.training_worker import ENGINES, PRODUCT, SIDE, add_step_flags

REFERENCE = "torch_channels_last"  # the engine to beat; the table has a column for it
UNITS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
WARM_UP = 2  # first turns, in which memory is allocated and kernels are chosen; not counted
# Seconds between two steps. OpenMP threads of Paddle wait actively for 0.2 s after a step, those of numpy for
# 0.1 s; without a pause they would slow down the next engine.
PAUSE = 0.3

Reply = Mapping[str, Any]  # what `training_worker` writes


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the flags."""
    parser = benchmark_parser("training", __doc__)
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        default=["paddle", "onednn"],
        metavar="ENGINE",
        help=f"{', '.join(ENGINES)} (paddle onednn); ratios are relative to the first",
    )
    parser.add_argument("--torch_python", type=Path, help="Python of an environment with PyTorch")
    add_step_flags(parser, positive_int)
    parser.add_argument("--steps", type=positive_int, default=8, help="steps to measure (%(default)s)")
    parser.add_argument("--output", type=Path, help="JSON file for all results")
    args = parser.parse_args(argv)
    args.engines = [*dict.fromkeys(args.engines)]
    needs_torch = any(ENGINES[name].library == "torch" for name in args.engines)
    if needs_torch and not (args.torch_python and args.torch_python.is_file()):
        parser.error(
            f"--torch_python: expected a file, got {args.torch_python}. Fix: the Python of an environment "
            "with `pip install torch numpy`"
        )
    return args


class Worker:
    """A process that makes a step when it is asked to.

    Args:
        engine: a key of `ENGINES`, or `PRODUCT`.
        args: the flags.
    """

    def __init__(self, engine: str, args: argparse.Namespace):
        self.engine = engine
        torch = engine in ENGINES and ENGINES[engine].library == "torch"
        # absolute but not resolved: the link in a virtual environment is what selects it
        python = args.torch_python.absolute() if torch else sys.executable
        command = [python, "-m", "tools.benchmarks.training_worker", "--engine", engine]
        for flag in ("network", "batch_size", "size", "threads", "num_classes"):
            command += [f"--{flag}", str(getattr(args, flag))]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(names, str(args.threads))},
        )
        self.replies: list[Reply] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def wait_until_ready(self) -> None:
        """Wait for the process to start; raises as `step` does."""
        self.version = self._read()["version"]

    def step(self) -> None:
        """Make a step and keep its measurements.

        Raises:
            OSError: the process ended; the message has its last output.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.replies.append(self._read())
        time.sleep(PAUSE)

    def _read(self) -> Reply:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.errors.seek(0)
        raise OSError(f"{self.engine}: exit code {self.process.wait()}: {self.errors.read()[-1000:].strip()}")


def forward_operations(flow: Sequence[Node], height: int, width: int) -> int:
    """Count the multiplications and additions of all convolutions of a network, for one image.

    Args:
        flow: its operations.
        height: of the image, pixels.
        width: of the image, pixels.
    """
    sizes, count = {IMAGE: (height, width)}, 0
    for node in flow:
        # `resize` takes the size of its second input; the inputs of other operations have one size
        rows, columns = sizes[node.inputs[-1]]
        if node.operation == "pool":
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        sizes[node.name] = rows, columns
        if node.weight:
            count += 2 * int(np.prod(node.weight)) * rows * columns
    return count


def measure(args: argparse.Namespace) -> dict[str, Worker]:
    """Run all engines in turns; returns their finished workers by name, with equally many steps each.

    Raises:
        KeyboardInterrupt: interrupted before the first turn that counts was complete.
    """
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:
        for name in (*args.engines, PRODUCT):
            workers[name] = stack.enter_context(Worker(name, args))
            workers[name].wait_until_ready()
        try:
            for _ in tqdm(range(WARM_UP + args.steps), "turns", disable=None):
                for worker in workers.values():
                    worker.step()
        except KeyboardInterrupt:
            turns = min(len(worker.replies) for worker in workers.values())
            if turns <= WARM_UP:
                raise
            for worker in workers.values():
                del worker.replies[turns:]
    return workers


def peak_of(steps: Mapping[str, Sequence[Reply]]) -> float:
    """Peak of the processor, GFLOP/s."""
    return 2 * SIDE**3 / min(reply["ms"] for reply in steps[PRODUCT]) / 1e6


def results_of(steps: Mapping[str, Sequence[Reply]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of results for each engine.

    Args:
        steps: of each engine and of `PRODUCT`, warm-up included.
        args: the flags.
    """
    flow = dataflow(NETWORKS[args.network], num_classes=args.num_classes)
    operations = 3 * args.batch_size * forward_operations(flow, args.size, args.size)
    counted = {name: steps[name][WARM_UP:] for name in args.engines}
    times = {name: np.array([reply["ms"] for reply in replies]) for name, replies in counted.items()}
    rows = []
    for name, ms in times.items():
        median = np.median(ms)
        row = {"engine": name, "median ms": median, "min ms": ms.min(), "max ms": ms.max()}
        row["CPU ms"] = np.median([reply["cpu_ms"] for reply in counted[name]])
        row["images/s"] = args.batch_size / median * 1e3
        for other in dict.fromkeys((args.engines[0], REFERENCE)):
            if other in times:
                row[f"speed vs {other}"] = np.median(times[other] / ms)
        row["peak MiB"] = steps[name][-1]["peak_mib"]
        row["GFLOP/s"] = operations / median / 1e6
        row["share of peak"] = row["GFLOP/s"] / peak_of(steps)
        row["loss"] = steps[name][-1]["loss"]
        rows.append({key: value if key == "engine" else float(value) for key, value in row.items()})
    return rows


def shown(row: Mapping[str, Any]) -> dict[str, str | float]:
    """A result with numbers as the table shows them: three digits, no exponent; shares in percent."""
    cells: dict[str, str | float] = {}
    for name, value in row.items():
        if name == "share of peak":
            cells[name] = f"{value:.0%}"
        elif isinstance(value, float):
            cells[name] = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        else:
            cells[name] = value
    return cells


def processor() -> tuple[str, list[str]]:
    """Name of this machine's processor and those of `UNITS` that it has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    flags = found.get("flags", "").split()
    return found.get("model name", platform.machine()), [unit for unit in UNITS if unit in flags]


def machine() -> str:
    """This machine in words."""
    name, units = processor()
    return f"{name}, {os.cpu_count()} processors, {', '.join(units) or 'no known units'}"


def report(args: argparse.Namespace) -> None:
    """Measure, and print the machine and the table."""
    name, units = processor()
    workers = measure(args)
    steps = {engine: worker.replies for engine, worker in workers.items()}
    versions = sorted({worker.version for worker in workers.values()})
    rows, peak = results_of(steps, args), peak_of(steps)
    load = os.getloadavg()[1]  # near --threads where nothing else ran
    print(machine())
    print(f"load average of the last 5 minutes: {load:.1f}")
    print(", ".join(versions))
    turns = len(steps[PRODUCT]) - WARM_UP
    print(
        f"{args.network}, {args.batch_size} x {args.size} x {args.size}, num_classes {args.num_classes}, "
        f"{args.threads} threads, {turns} steps; peak {peak:.0f} GFLOP/s ({SIDE} x {SIDE} by numpy)\n"
    )
    print(table([shown(row) for row in rows]))
    if args.output:
        flags = {key: value for key, value in vars(args).items() if not isinstance(value, Path)}
        conditions = {"processor": name, "units": units, "processors": os.cpu_count(), "load": load}
        content = {"flags": flags, "machine": conditions, "versions": versions, "peak GFLOP/s": peak}
        content |= {"results": rows, "steps": steps}
        args.output.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    args = parse(argv)
    return guarded(lambda: report(args))


if __name__ == "__main__":
    sys.exit(main())
