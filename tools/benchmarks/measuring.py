"""What the measuring programs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from paddleseg_u2net.environment.processes import peak_memory, run_measured

__all__ = ["ROOT", "benchmark_parser", "peak_memory", "run_measured"]

ROOT = Path(__file__).resolve().parents[2]


def benchmark_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of a measuring program.

    Args:
        name: of its module in this package.
        description: the module's docstring, printed as it is.
    """
    return argparse.ArgumentParser(
        prog=f"python -m tools.benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
