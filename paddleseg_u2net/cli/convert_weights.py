"""`u2net convert-weights`: convert weights between .pdparams, .safetensors, .npz and other formats."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.cli.flags import INPUT, OUTPUT, parser
from paddleseg_u2net.errors import counted
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.models.architecture import identify, state_shapes
from paddleseg_u2net.models.fit import differences
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.models.pretrained import resolve
from paddleseg_u2net.models.weight_files import SUFFIXES, State, read_state

ABOUT = "Convert weights between formats. The result is read back and compared."
ANOTHER_NAME = "choose another name"
EXAMPLES = """\
  u2net convert-weights u2netp u2netp.pdparams
  u2net convert-weights u2net.pth u2net.safetensors
  u2net convert-weights model_best.pth model.pdparams     weights of other implementations: docs/weights.md
"""


def _write_pdparams(path: Path, state: State) -> None:
    path.write_bytes(pickle.dumps(state, protocol=4))  # as paddle.save, without its table of names


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


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net convert-weights`."""
    flags = parser("u2net convert-weights", ABOUT, EXAMPLES)
    about = f"known name ({', '.join(KNOWN)}) or weight file ({SUFFIXES}; the content decides)"
    inputs = flags.add_argument_group(INPUT)
    inputs.add_argument("source", help=about)
    inputs.add_argument("--key", help="which weights to take from a file with several, such as model_ema")
    about = f"file to write: {', '.join(WRITERS)}"
    outputs = flags.add_argument_group(OUTPUT)
    outputs.add_argument("target", type=Path, help=about)
    about = "store kernels as float16, half the size; biases and BatchNorm stay float32"
    outputs.add_argument("--half", action="store_true", help=about)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run `u2net convert-weights`; returns the exit code."""
    args = build_parser().parse_args(argv)
    print(convert(args.source, args.target, args.key, args.half))
    return 0


def convert(source: str, target: Path, key: str | None = None, half: bool = False) -> str:
    """Convert weights, read the result back and compare it.

    Args:
        source: known name or weight file.
        target: .pdparams, .safetensors or .npz file that does not exist yet.
        key: which set of weights to take from a file with several; None for the most likely one.
        half: whether kernels are stored as float16.

    Returns:
        A line that says what was written and which network it fits.

    Raises:
        FileExistsError: the target exists; nothing is overwritten.
        LockedError: another process is writing it.
        ValueError: the format of the target is not supported, it does not read back as it was written, or a
            kernel exceeds the range of float16.
    """
    with path_lock(target, ANOTHER_NAME):
        require_new(target)
        state = read_state(resolve(source), key)
        return write_weights(target, _with_half_kernels(source, state) if half else state)


def _with_half_kernels(source: str, state: State) -> State:
    """Kernels as float16. Vectors are a hundredth of the size, and variances exceed the range of float16."""
    kernels = {name for name, value in state.items() if value.ndim > 1}
    largest = max((float(np.abs(state[name]).max()) for name in kernels), default=0.0)
    if largest > float(np.finfo(np.float16).max):
        raise ValueError(f"{source}: --half: a weight of {largest:g} exceeds float16. Fix: leave --half out")
    return {name: value.astype(np.float16) if name in kernels else value for name, value in state.items()}


def require_new(target: Path, any_format: bool = False) -> None:
    """Raise an error if a file exists, or if weights cannot be written in its format."""
    if target.suffix not in WRITERS and not any_format:
        raise ValueError(f"{target}: cannot write '{target.suffix}'. Fix: one of {', '.join(WRITERS)}")
    if target.exists():
        raise FileExistsError(f"{target}: exists already. Fix: remove it, or {ANOTHER_NAME}")


def write_weights(target: Path, state: State) -> str:
    """Write weights, read them back and compare them; see `convert`.

    Args:
        target: .pdparams, .safetensors or .npz file.
        state: arrays by state-dict key.

    Returns:
        A line that says what was written and which network it fits.
    """
    with atomic_write(target) as partial:
        WRITERS[target.suffix](partial, state)
    written = read_state(target)
    if set(written) != set(state) or any(
        not np.array_equal(written[key], state[key], equal_nan=True) for key in state
    ):
        raise ValueError(
            f"{target}: does not read back as it was written. Fix: check the disk, or another format"
        )
    fits = identify({key: value.shape for key, value in state.items()})
    text = f"{target}: {counted(len(state), 'tensor')} of {fits or 'a network of another family'}"
    if fits and (found := differences(state, state_shapes(fits))):
        text += f", which they do not fit: {counted(len(found), 'difference')}, first: {found[0]}"
    if wrong := [key for key, value in state.items() if not np.isfinite(value).all()]:
        text += f"; {len(wrong)} hold NaN or infinity, first: {wrong[0]}"
    return text
