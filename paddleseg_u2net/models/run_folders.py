"""The files of a run folder, which of them are its weights, and whether they are as they were written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paddleseg_u2net.io.exchange import restore
from paddleseg_u2net.io.files import digest
from paddleseg_u2net.io.text_files import parse_record

MODEL, EMA, OPTIMIZER, STATE = "model.pdparams", "ema_model.pdparams", "model.pdopt", "state.json"
BEST = {"model": "best_model", "ema_model": "ema_best_model"}
WEIGHT_FILES = (MODEL, EMA)
SHA256 = "sha256"  # key of STATE, and the algorithm


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
    best = (restore(folder / name) for name in BEST.values())
    for place in (folder, *best, *reversed(numbered(folder))):
        for name in WEIGHT_FILES:
            if (place / name).is_file():
                return place / name
    raise FileNotFoundError(
        f"{folder}: holds no {' or '.join(WEIGHT_FILES)}, and is neither a run nor an export. "
        "Fix: the path of a weight file, a run or an export"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a record of a run.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return parse_record(path)
    except ValueError as error:
        raise ValueError(f"{path}: is damaged: {error}. Fix: use another checkpoint") from None


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The checksums of files in a folder, for the record beside them."""
    return {name: digest(folder / name, SHA256) for name in names}


def verify_unchanged(path: Path) -> None:
    """Compare a file of a run with its checksum in the record beside it.

    Nothing is compared where the record has no checksum, as those of PaddleSeg and of earlier versions.

    Raises:
        ValueError: they differ, or the record is damaged.
    """
    record = path.with_name(STATE)
    if path.name not in (*WEIGHT_FILES, OPTIMIZER) or not record.is_file():
        return
    known = read_json(record).get(SHA256)
    expected = known.get(path.name) if isinstance(known, dict) else None
    if expected is not None and digest(path, SHA256) != expected:
        raise ValueError(
            f"{path}: is damaged: its SHA-256 is not the one in {STATE}. Fix: use another checkpoint, or, if "
            "this file was replaced on purpose, move it to another folder"
        )
