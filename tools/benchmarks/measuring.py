"""What the measuring programs share."""

from __future__ import annotations

from pathlib import Path

from paddleseg_u2net.environment.processes import peak_memory, run_measured

__all__ = ["ROOT", "peak_memory", "run_measured"]

ROOT = Path(__file__).resolve().parents[2]
