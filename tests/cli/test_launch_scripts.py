"""The scripts of `tools/launch`; `test_app.py` trains with the one for CPUs."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from support import ROOT, environment

LAUNCH = ROOT / "tools" / "launch"
FLAGS = ["--config", "my configs/a.yaml", "--opts", "model={type: U2Netp}", "loss.coef=[1, 1]"]


def script(name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHON=sys.executable, **variables)
    return subprocess.run([LAUNCH / name, *words], capture_output=True, text=True, env=env)


@pytest.mark.parametrize(
    ("name", "words", "options"),
    [
        ("train_gpus.sh", ["0,3"], ["--devices", "0,3"]),
        (
            "train_machines.sh",
            ["10.0.0.1:8090", "2", "1", "0"],
            ["--master", "10.0.0.1:8090", "--nnodes", "2", "--rank", "1", "--devices", "0"],
        ),
        ("train_cpu.sh", ["2"], ["--nproc_per_node", "2"]),
    ],
)
def test_script_is_a_command_of_the_launcher_and_keeps_spaces(name, words, options):
    outcome = script(name, *words, *FLAGS, DRY_RUN="1")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    found = shlex.split(outcome.stdout)
    device = ["--device", "cpu"] if name == "train_cpu.sh" else []
    launcher = [sys.executable, "-m", "paddle.distributed.launch", *options]
    assert found == [*launcher, str(ROOT / "train.py"), *device, *FLAGS]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train_gpus.sh", []),
        ("train_gpus.sh", FLAGS),
        ("train_gpus.sh", ["0,"]),
        ("train_machines.sh", ["10.0.0.1", "2", "0", "0"]),
        ("train_machines.sh", ["10.0.0.1:8090", "2", "0", *FLAGS]),
        ("train_cpu.sh", ["0"]),
    ],
)
def test_wrong_words_show_the_usage_and_are_named(name, words):
    outcome = script(name, *words)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert f"usage: tools/launch/{name} " in outcome.stderr
    assert "expected a word like" in outcome.stderr.splitlines()[-1]


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("train_*.sh")), ids=lambda path: path.name)
def test_help_is_the_comment_at_the_top(path):
    outcome = script(path.name, "--help")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    head = path.read_text().split("\nset -euo pipefail\n")[0].splitlines()[1:]
    assert outcome.stdout.splitlines() == [line.removeprefix("#").removeprefix(" ") for line in head]


def test_rank_that_no_machine_has_is_refused():
    outcome = script("train_machines.sh", "10.0.0.1:8090", "2", "2", "0", DRY_RUN="1")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr == "error: RANK 2: expected 0 to 1, as there are 2 machines\n"
