"""Reading data needs neither metrics, configs nor Paddle."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import environment


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("data.pairs", ("metrics", "config", "data.masks")),
        ("data.masks", ("metrics", "config", "data.pairs")),
        ("data.inspection", ("metrics", "config", "data.preprocessing")),
        ("data.dataset", ("metrics", "config", "data.transforms")),
        ("config.schema", ("metrics.table", "metrics.saliency", "data")),
        ("config.loader", ("metrics.table", "metrics.saliency", "data.masks")),
    ],
)
def test_importing_a_module_loads_only_what_it_needs(module, forbidden):
    code = f"import sys, paddleseg_u2net.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    loaded = done.stdout.split()
    assert f"paddleseg_u2net.{module}" in loaded
    assert not {"paddle", "paddleseg"} & set(loaded)
    names = [f"paddleseg_u2net.{name}" for name in forbidden]
    assert not [name for name in loaded if name in names or name.startswith(tuple(f"{n}." for n in names))]
