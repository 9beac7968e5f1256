"""Device selection, and what the processors of this machine can do.

Paddle is imported only where it has to be asked.
"""

from __future__ import annotations

import functools
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paddleseg_u2net.environment.distributed import launched_together, this_rank
from paddleseg_u2net.environment.interruptions import handle_again
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.errors import printable

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")
MOST_THREADS = 1024  # more would take memory alone
MAX_PARALLEL = 4  # concurrent predictions; each needs memory for one more image and its activations


def device_name(kind: str | None, index: int | None = None) -> str | None:
    """The device that `--device` and `--device_id` mean together.

    Args:
        kind: one of DEVICES; None leaves the choice open, or means gpu if there is a number.
        index: number of the device, from 0, or None.

    Returns:
        `gpu:1`, as Paddle writes it; `kind` without a number.

    Raises:
        ValueError: `kind` has a number already; or see `split_device`.
    """
    if index is None:
        return kind
    if kind and ":" in kind:
        raise ValueError(f"--device {kind} --device_id {index}: two numbers. Fix: leave --device_id out")
    name = f"{kind or 'gpu'}:{index}"
    split_device(name)
    return name


def split_device(name: str) -> tuple[str, int | None]:
    """Kind and number of a device: `gpu:1` -> (gpu, 1); `gpu` -> (gpu, None).

    Raises:
        ValueError: unknown kind, a number that is not a whole number, or a number for a CPU.
    """
    kind, separator, index = name.partition(":")
    if kind not in DEVICES:
        raise ValueError(f"--device {name}: unknown, expected one of {', '.join(DEVICES)}")
    if not separator:
        return kind, None
    if not index.isdecimal():
        raise ValueError(f"--device_id {index}: expected a whole number, 0 for the first {kind}")
    if kind == "cpu":
        raise ValueError(
            f"--device_id {index}: a CPU has no number. Fix: --device gpu, or leave --device_id out"
        )
    return kind, int(index)


def choose_device(name: str | None) -> str:
    """The device to predict on: the one asked for, else a GPU if Paddle can use one, else the CPU.

    Paddle is imported only if a GPU build of it is installed.

    Raises:
        ValueError: see `split_device`; or a number that all ranks of this machine would share.
    """
    if name is not None:
        _check_shared(name, split_device(name)[1])
        return name
    try:
        version("paddlepaddle-gpu")
    except PackageNotFoundError:
        return "cpu"
    return set_device(None)


def set_device(name: str | None) -> str:
    """Make Paddle compute on a device.

    Args:
        name: cpu, gpu, xpu, npu or mlu, with a number where there are several (`gpu:1`); None takes a GPU if
            there is one, else the CPU.

    Returns:
        The device in use.

    Raises:
        ValueError: unknown, not usable here, or a number that all ranks of this machine would share; no other
            device is used instead.
    """
    paddle = need("paddle")
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if name is None:
        name = "gpu" if gpus else "cpu"
    kind, index = split_device(name)
    _check_shared(name, index)
    if kind == "gpu":
        usable = (index or 0) < gpus
    elif kind == "xpu":
        usable = paddle.is_compiled_with_xpu()
    else:
        usable = kind == "cpu" or kind in (paddle.device.get_all_custom_device_type() or ())
    if not usable:
        found = f"sees {gpus} GPU(s)" if kind == "gpu" and gpus else "has none to use"
        raise ValueError(
            f"--device {name}: this Paddle ({paddle.__version__}) {found}. "
            "Fix: leave --device out, or install the build for it (docs/install.md)"
        )
    _restore_signals()
    paddle.set_device(name)
    return name


@functools.cache
def _restore_signals() -> None:
    """Remove Paddle's handlers of fatal signals.

    That of SIGTERM allocates memory, so a process that was just allocating hangs instead of ending.
    """
    need("paddle").disable_signal_handler()
    handle_again()


def _check_shared(name: str, index: int | None) -> None:
    """Raise ValueError if several ranks, which get the same flags, would use one device."""
    rank = this_rank()
    if index is not None and launched_together(rank):
        kind = name.split(":")[0]
        raise ValueError(
            f"--device {name}: all {rank.local_count} processes on this machine would use this one {kind}. "
            f"Fix: --device {kind} without a number; the launcher's --devices gives each process its own"
        )


def gpu_index(device: str = "gpu") -> int:
    """The number of the GPU to use: that of `device` (`gpu:1`), else that of this rank, else 0.

    The launcher sets an environment variable to the GPU of each rank.
    """
    _, index = split_device(device)
    if index is not None:
        return index
    chosen = os.environ.get("FLAGS_selected_gpus", "").split(",")[0]  # noqa: SIM112 - Paddle's own name
    return int(chosen) if chosen.isdecimal() else 0


def processors() -> int:
    """Number of processors this process may use; ranks on one machine share them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(here // this_rank().local_count, 1)


def training_threads() -> int:
    """Number of threads of a training step on a CPU: U2NET_THREADS if that is set, else one per processor.

    OMP_NUM_THREADS cannot tell: Paddle sets it to 1 when it is imported, for child processes too.

    Raises:
        ValueError: U2NET_THREADS is not a whole number from 1 to MOST_THREADS.
    """
    wanted = os.environ.get("U2NET_THREADS", "")
    if not wanted:
        return processors()
    if not wanted.isdecimal() or len(wanted) > 4 or not 0 < int(wanted) <= MOST_THREADS:
        expected = f"a whole number from 1 to {MOST_THREADS}"
        raise ValueError(f"U2NET_THREADS={printable(wanted)}: expected {expected}. Fix: unset it, or 1")
    return int(wanted)


def threads_for(images: int | None = None) -> int:
    """Number of threads worth starting to predict a number of images; None stands for very many."""
    most = min(processors(), MAX_PARALLEL)
    return most if images is None else max(min(images // 2, most), 1)


def has_int8_units() -> bool:
    """Whether this CPU multiplies 8-bit integers faster than floats; False where that cannot be read."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"})


def last_line(error: Exception) -> str:
    """The last informative line of an engine's error message, without the stack that some engines print."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    informative = [line for line in lines if not line.startswith("Please fix")]
    return (informative or lines or [type(error).__name__])[-1]
