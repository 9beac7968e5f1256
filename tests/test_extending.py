"""Each example of docs/extending.md applies as a patch to a copy of the project, and its commands run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with all diffs of the page, in which commands may write."""
    copy = tmp_path_factory.mktemp("extending") / "project"
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for name in listed.splitlines():
        if name.split("/")[0] in ("paddleseg_u2net", "configs", "tools", "Benckmark_data_prepare"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for diff in blocks(PAGE, "diff"):
        outcome = subprocess.run(["git", "apply", "-"], input=diff, capture_output=True, text=True, cwd=copy)
        assert outcome.returncode == 0, outcome.stderr
    (copy / "bin").mkdir()
    for name, command in (("u2net", "-m paddleseg_u2net"), ("python", "")):
        script = copy / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        script.chmod(0o755)
    return copy


def test_page_has_an_example_for_each_row_of_contributing():
    rows = re.findall(r"^\| an? (.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) == len(SECTIONS) == 8
    assert all(blocks(section, "diff") and blocks(section, "bash") for section in SECTIONS.values())


# runs examples in order; most commands are run in this one process, which imports Paddle once
RUN = r"""
import json, re, shlex, shutil, subprocess, sys
from paddleseg_u2net.cli import export
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.datasets import prepare, synthetic
from paddleseg_u2net.evaluation import tables
from paddleseg_u2net.training import records

records.draw_curves = lambda path, rows, metric: path.touch()  # takes longer than these runs
tables.draw_curves = lambda *_: None
here = "prepare|train|predict|export|evaluate|make-dataset"
export.IMAGES = 2  # Paddle takes long for more
prepare.draw_into = lambda folder: synthetic.draw_into(folder, size=64)
for example in json.loads(sys.argv[1]):
    for name in ("result", "exported"):  # of earlier examples
        shutil.rmtree(name, ignore_errors=True)
    for part in re.split(rf"^(u2net (?:{here}) (?:.*\\\n)*.*$)", example, flags=re.M):
        if re.match(f"u2net ({here}) ", part) and "|" not in part:
            code = main(shlex.split(part.replace("\\\n", " "))[1:])
        else:
            code = subprocess.run(["bash", "-e", "-c", part]).returncode
        if code:
            sys.exit(f"{part}\nended with exit code {code}")
"""


def test_examples_run(project):
    env = environment(PYTHONPATH=str(project))
    env["PATH"] = f"{project / 'bin'}:{env['PATH']}"
    examples = ["".join(blocks(section, "bash")) for section in SECTIONS.values()]
    command = [sys.executable, "-c", RUN, json.dumps(examples)]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=project, env=env)
    assert outcome.returncode == 0, f"{outcome.stdout}\n{outcome.stderr}"
    assert outcome.stdout.count("Predicted 1 of 1 image ") == 2
