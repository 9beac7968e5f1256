"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, within the limit of a container; None if unknown.

    Of the limits of containers only that of cgroup v2 is read.
    """
    found = []
    try:
        rows = dict(line.split(":") for line in MEMINFO.read_text(encoding="utf-8").splitlines())
        found.append(int(rows["MemAvailable"].split()[0]) * 1024)
        limit = (CGROUP / "memory.max").read_text(encoding="utf-8").strip()
        if limit.isdecimal():
            used = int((CGROUP / "memory.current").read_text(encoding="utf-8"))
            lines = (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
            parts = {name: int(size) for name, size in map(str.split, lines)}
            used -= parts["active_file"] + parts["inactive_file"]  # copies of files, dropped when needed
            found.append(max(int(limit) - used, 0))
    except (OSError, ValueError, KeyError):
        pass  # not Linux, or no container: what has been found so far counts
    return min(found, default=None)
