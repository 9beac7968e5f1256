"""Convert weights of any format we read into one that others read.

python tools/convert_weights.py u2netp u2netp.pdparams
python tools/convert_weights.py u2net.pth u2net.safetensors
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.models.architecture import identify
from paddleseg_u2net.models.pretrained import KNOWN, resolve
from paddleseg_u2net.models.weight_files import State, read_state


def _write_pdparams(path: Path, state: State) -> None:
    path.write_bytes(pickle.dumps(state, protocol=4))  # what paddle.save writes, less its private table


def _write_safetensors(path: Path, state: State) -> None:
    from safetensors.numpy import save_file

    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)


def _write_npz(path: Path, state: State) -> None:
    with path.open("wb") as file:
        arrays: dict[str, Any] = dict(state)
        np.savez(file, **arrays)


WRITERS: dict[str, Callable[[Path, State], None]] = {
    ".pdparams": _write_pdparams,
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
}


def convert(source: str, target: Path) -> str:
    """Read `source`, write `target`, read it back; returns what the weights are.

    Args:
        source: known name or weight file.
        target: .pdparams, .safetensors or .npz that does not exist yet.

    Raises:
        FileExistsError: the target is there; nothing is overwritten.
        ValueError: a format that is not written, or weights that do not come back alike.
    """
    if target.suffix not in WRITERS:
        raise ValueError(f"{target}: '{target.suffix}' is not written, expected {', '.join(WRITERS)}")
    if target.exists():
        raise FileExistsError(f"{target}: exists already. Fix: remove it, or choose another name")
    state = read_state(resolve(source))
    with atomic_write(target) as partial:
        WRITERS[target.suffix](partial, state)
    back = read_state(target)
    if set(back) != set(state) or any(not np.array_equal(back[key], state[key]) for key in state):
        raise ValueError(f"{target}: does not read back as it was written")
    fits = identify({key: value.shape for key, value in state.items()})
    return f"{target}: {len(state)} tensors of {fits or 'a network of another family'}"


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", help=f"known name ({', '.join(KNOWN)}) or a weight file of any format we read"
    )
    parser.add_argument("target", type=Path, help=f"file to write: {', '.join(WRITERS)}")
    args = parser.parse_args(argv)
    return guarded(lambda: print(convert(args.source, args.target)))


if __name__ == "__main__":
    sys.exit(main())
