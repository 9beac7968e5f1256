"""The files of a run folder, and which of them are its weights."""

from __future__ import annotations

from pathlib import Path

MODEL, EMA = "model.pdparams", "ema_model.pdparams"
BEST = {"model": "best_model", "ema_model": "ema_best_model"}
WEIGHT_FILES = (MODEL, EMA)


def iter_of(folder: Path) -> int:
    """The step of an iter_N folder."""
    return int(folder.name.removeprefix("iter_"))


def numbered(run: Path) -> list[Path]:
    """List the iter_N folders of a run, oldest first."""
    found = [path for path in run.glob("iter_*") if path.name.removeprefix("iter_").isdigit()]
    return sorted(found, key=iter_of)


def best_file(folder: Path) -> Path:
    """The weight file of a run, of its best model if there is one; or of one of its checkpoints.

    Runs and checkpoints of PaddleSeg have the same files.

    Args:
        folder: of a run, or one inside it (`iter_N`, `best_model`).

    Raises:
        FileNotFoundError: it has none.
    """
    for place in (folder, *(folder / name for name in BEST.values()), *reversed(numbered(folder))):
        for name in WEIGHT_FILES:
            if (place / name).is_file():
                return place / name
    raise FileNotFoundError(
        f"{folder}: holds no {' or '.join(WEIGHT_FILES)}, and is neither a run nor an export. "
        "Fix: the path of a weight file, a run or an export"
    )
