"""Memory that is available."""

from __future__ import annotations

import pytest

from paddleseg_u2net.environment import memory


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 3_000 * 1024), ("max", 3_000 * 1024), ("2000000", 1_500_000 + 120_000)]
)
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, limit, expected):
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   3000 kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("500000\n")
        stat = "anon 300000\nfile 130000\nshmem 10000\ninactive_file 20000\nactive_file 100000\n"
        (tmp_path / "memory.stat").write_text(stat)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_memory() == expected


def test_where_nothing_can_be_read_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "missing")
    assert memory.available_memory() is None
