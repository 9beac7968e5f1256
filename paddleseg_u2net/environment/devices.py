"""Where computing happens: devices, processors, and what they can do. Light: Paddle comes late."""

from __future__ import annotations

import os
from pathlib import Path

from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.environment.optional_imports import need

DEVICES = ("cpu", "gpu", "xpu", "npu", "mlu")
MAX_PARALLEL = 4  # predictions at once; each costs the memory of one more image and its activations


def set_device(name: str | None) -> str:
    """Choose where Paddle computes.

    Args:
        name: cpu, gpu, xpu, npu, mlu, or None for a GPU where there is one.

    Returns:
        The device in use.

    Raises:
        ValueError: unknown, or not usable here; nothing is replaced silently.
    """
    paddle = need("paddle")
    if name is None:
        name = "gpu" if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() else "cpu"
    check_device_name(name)
    usable = {
        "cpu": lambda: True,
        "gpu": lambda: paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0,
        "xpu": paddle.is_compiled_with_xpu,
    }.get(name, lambda: name in (paddle.device.get_all_custom_device_type() or ()))
    if not usable():
        raise ValueError(
            f"--device {name}: this Paddle ({paddle.__version__}) has none to use. "
            "Fix: leave --device out, or install the build for it (docs/install.md)"
        )
    paddle.set_device(name)
    return name


def check_device_name(name: str) -> None:
    """Raise ValueError for a device that Paddle does not know."""
    if name not in DEVICES:
        raise ValueError(f"--device {name}: unknown, expected one of {', '.join(DEVICES)}")


def processors() -> int:
    """Processors this process may use; ranks on one machine share them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(here // this_rank().local_count, 1)


def threads_for(images: int | None = None) -> int:
    """Threads that are worth their start to predict so many images, or very many."""
    most = min(processors(), MAX_PARALLEL)
    return most if images is None else max(min(images // 2, most), 1)


def gpu_index() -> int:
    """The GPU of this rank among those it sees, as the launcher says it; the first without a launcher."""
    chosen = os.environ.get("FLAGS_selected_gpus", "").split(",")[0]  # noqa: SIM112 - Paddle's own name
    return int(chosen) if chosen.isdecimal() else 0


def has_int8_units() -> bool:
    """Whether this CPU multiplies 8-bit integers faster than floats; False where that cannot be read."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"})


def last_line(error: Exception) -> str:
    """The last line of an engine's message that says something, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Please fix")]
    return (telling or lines or [type(error).__name__])[-1]
