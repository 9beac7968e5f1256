"""Each example of docs/extending.md applies as a patch to a copy of the project, and its commands run."""

from __future__ import annotations

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


@pytest.mark.parametrize("title", SECTIONS)
def test_example_runs(project, title):
    env = environment(PYTHONPATH=str(project))
    env["PATH"] = f"{project / 'bin'}:{env['PATH']}"
    for name in ("result", "exported"):  # of earlier examples
        shutil.rmtree(project / name, ignore_errors=True)
    for commands in blocks(SECTIONS[title], "bash"):
        outcome = subprocess.run(
            ["bash", "-e", "-c", commands], capture_output=True, text=True, cwd=project, env=env
        )
        assert outcome.returncode == 0, f"{commands}\n{outcome.stdout}\n{outcome.stderr}"
