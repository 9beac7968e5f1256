"""Versions, and the state of a git checkout."""

from __future__ import annotations

import subprocess
import sys

import paddle
import pytest

from paddleseg_u2net.environment.provenance import git_state, package_versions


def git(folder, *words) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "a checkout"
    root.mkdir()
    git(root, "init", "-q")
    (root / "code.py").write_text("x = 1\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def test_versions_are_those_of_the_modules():
    versions = package_versions()
    assert versions["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions.get("paddlepaddle", versions.get("paddlepaddle-gpu")) == paddle.__version__
    assert {"u2net", "paddleseg"} <= set(versions)


def test_checkout_is_dirty_only_where_a_tracked_file_changed(checkout):
    commit = (checkout / ".git" / git(checkout, "symbolic-ref", "HEAD")).read_text().strip()
    assert git_state(checkout) == {"commit": commit, "dirty": False}
    (checkout / "output").mkdir()
    (checkout / "output" / "run.json").touch()  # a run's own files do not count
    assert git_state(checkout) == {"commit": commit, "dirty": False}
    (checkout / "code.py").write_text("x = 2\n")
    assert git_state(checkout) == {"commit": commit, "dirty": True}


def test_outside_of_a_checkout_there_is_no_state(checkout, tmp_path, monkeypatch):
    assert git_state(tmp_path) is None
    (checkout / "site-packages").mkdir()  # in a checkout, but not under version control
    (checkout / "site-packages" / "module.py").touch()
    assert git_state(checkout / "site-packages") is None
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert git_state(checkout) is None
