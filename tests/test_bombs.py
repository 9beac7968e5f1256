"""Small files that would take for ever or gigabytes: each reader refuses them within its bounds."""

from __future__ import annotations

import json
import subprocess
import sys

import bombs
from support import ROOT, environment

from paddleseg_u2net import bounds


def test_each_is_refused_within_a_gigabyte_and_seconds(tmp_path):
    bombs.write(tmp_path)
    command = [sys.executable, str(ROOT / "tests" / "bombs.py"), str(tmp_path)]
    limits = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # threads reserve address space
    outcome = subprocess.run(
        command, capture_output=True, text=True, env=environment(**limits), timeout=120, check=False
    )
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    read = {path.name for path in tmp_path.iterdir() if path.suffix != ".part"}
    assert {name for name, _, _ in rows} == read
    slow = [(name, seconds) for name, seconds, _ in rows if seconds > bombs.SECONDS]
    assert not slow
    wrong = [(name, fault) for name, _, fault in rows if name not in fault or fault.startswith("NOT CAUGHT")]
    assert not wrong


def test_every_bound_says_what_it_counts_and_what_is_known():
    rows = {name: row for name, row in vars(bounds).items() if isinstance(row, bounds.Bound)}
    assert rows
    for name, row in rows.items():
        assert row.most > 0, name
        assert row.what, name
        assert row.known, name
        users = [
            path.name
            for path in (ROOT / "paddleseg_u2net").rglob("*.py")
            if path.name != "bounds.py" and name in path.read_text(encoding="utf-8")
        ]
        assert users, f"{name} bounds nothing"
