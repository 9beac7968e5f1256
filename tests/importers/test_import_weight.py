"""Importing a module of `importers` loads only the folders it needs: no measures, models or engines."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import environment

READERS = {"errors", "bounds", "io", "data", "importers"}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("splits", {"importers"}),
        ("coco", READERS),
        ("labelme", READERS),
        ("list_writer", READERS),
        ("sources", READERS | {"environment"}),
        ("config_writer", READERS | {"config"}),
        ("build", READERS | {"environment", "config"}),
    ],
)
def test_importers_load_only_the_folders_they_need(name, allowed):
    code = f"import sys, paddleseg_u2net.importers.{name}\n"
    light = "{'paddleseg_u2net.metrics', 'paddleseg_u2net.metrics.protocol'}"  # the enumerations of options
    code += f"names = {{n for n in sys.modules if n.startswith('paddleseg_u2net.')}} - {light}\n"
    code += "print(*{name.split('.')[1] for name in names})"
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert set(outcome.stdout.split()) <= allowed
