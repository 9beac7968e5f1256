"""README and docs tell the truth: commands run, links lead somewhere, tables are complete."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import ROOT, environment

from paddleseg_u2net.cli.app import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# makes a command short enough for a test: small images, the small network; all else is as in the README
SLOW = "--learning_rate 1e-5"  # two large steps may leave maps with no value above 1, which are refused
SMALL = "--opts model.type=U2Netp val_dataset.transforms.0.target_size=[32,32]"
SHORTER = f"--iters 2 --batch_size 1 {SLOW} {SMALL} train_dataset.transforms.0.target_size=[32,32]"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`(python [^`]* --[^`]*)`", README)
    return [line.split("#")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project, in which commands may write."""
    copy = tmp_path_factory.mktemp("clone") / "project"
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "activate").touch()
    (copy / ".venv" / ".ready").touch()
    (copy / ".venv" / ".ready-dev").touch()
    return copy


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    """A generated archive with the layout of the one that the README's commands download."""
    folder = tmp_path_factory.mktemp("mirror")
    draw = ["-m", "Benckmark_data_prepare.synthetic_disc", "--images", "10", "--size", "40", "--zip", "--out"]
    draw.append(str(folder / "optic_disc_seg"))
    subprocess.run([sys.executable, *draw], check=True, capture_output=True, cwd=ROOT, env=environment())
    return folder


@pytest.fixture
def run_line(project, mirror, monkeypatch):
    """A function that runs a line of the README in the copy of the project: its exit code.

    Commands of this package run in this process, which saves the import of Paddle for each.
    """
    monkeypatch.chdir(project)
    env = environment(U2NET_MIRROR=f"file://{mirror}", PYTHON=sys.executable)
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONPATH": ""}

    def call(line: str) -> int:
        program, *words = shlex.split(line)
        if program == "u2net":
            return main(words)
        if program != "python":
            return subprocess.run(["bash", "-c", line], env=env).returncode
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(words[0], run_name="__main__")
        return stop.value.code

    return call


def test_every_command_of_the_readme_runs(project, run_line, known_weights):
    """In order, in one folder, like a reader; training is shortened, downloads come from a mirror."""
    ran = 0
    for line in commands():
        if line.startswith("make"):
            line += " -n"  # the demo and the tests themselves have tests of their own
        elif "…" in line:
            continue  # a pattern, not a command
        elif "--config" in line:
            line += f" {SHORTER if 'train.py' in line else SMALL}"
        assert run_line(line) == 0, line
        ran += 1
    assert ran >= 9
    results = sorted(path.name for path in (project / "output" / "photos").iterdir())
    assert results == ["added_prediction", "cutout", "pseudo_color_prediction", "saliency"]
    assert len(list((project / "output" / "result" / "cutout").iterdir())) == 10


def test_python_of_the_readme_runs(known_weights, monkeypatch, tmp_path):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    names: dict = {}
    exec(code, names)
    assert names["saliency"].ndim == 2
    assert 0 <= names["saliency"].min() <= names["saliency"].max() <= 1
    assert (tmp_path / "output" / "cutout.png").read_bytes() == names["png"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_page_has_a_placeholder(page):
    assert not re.search(r"^[A-Z]{4,}$", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_tree_of_the_readme_names_every_folder_and_module_in_the_order_of_imports():
    from test_architecture import FOLDERS

    tree = README.split("\npaddleseg_u2net/ ")[1].split("```")[0]
    lines = [re.match(r"  ((?:[\w.]+(?:/|\.py) ?)+)", line) for line in tree.splitlines()]
    names = [name.strip("/").removesuffix(".py") for line in lines if line for name in line[1].split()]
    assert names == list(FOLDERS)


def test_tables_of_the_readme_name_every_config_and_known_weight():
    from paddleseg_u2net.models.known_weights import KNOWN

    for path in (ROOT / "configs" / "RGB" / "U2Net").iterdir():
        assert f"`{path.name}`" in README
    for name, row in KNOWN.items():
        kind, digest = row.checksum.split(":")
        assert f"| `{name}` |" in README
        assert f"{kind} `{digest}`" in README


def test_page_on_known_data_sets_has_a_row_for_each():
    from paddleseg_u2net.datasets.catalog import DATA_SETS

    rows = (ROOT / "docs" / "data" / "known_data_sets.md").read_text(encoding="utf-8").splitlines()
    for name, row in DATA_SETS.items():
        (line,) = [line for line in rows if line.startswith(("| [", "| `")) and f"`{name}`" in line]
        assert f"| {row.task} |" in line
        assert all(archive.addresses == () or f"`{archive.file}`" in line for archive in row.archives)
        assert row.archives == () or f"| {row.verified} |" in line
        assert row.archives == () or f"({row.page})" in line
        published = {part.pairs for part in row.parts if part.pairs and not part.held_out}
        assert all(str(pairs) in line for pairs in published)


def test_wheel_contains_the_configs(project, tmp_path):
    """A wheel, built without network, contains them; they are found from any folder."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", tmp_path]
    outcome = subprocess.run([*build, project], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from paddleseg_u2net.config.loader import load_config as l; "
        "print(l('RGB/U2Net/u2netp_duts.yaml')['model'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment(PYTHONPATH=str(tmp_path / "site")),
    )
    assert run.stdout.strip() == "{'type': 'U2Netp', 'num_classes': 1}", run.stderr
    assert (tmp_path / "site" / "paddleseg_u2net" / "configs" / "_base_" / "duts.yaml").is_file()


def test_opencv_needs_no_libgl_and_numpy_is_2():
    import cv2
    import numpy

    assert numpy.__version__.startswith("2.")
    binaries = list(Path(cv2.__file__).parent.glob("*.so"))
    assert binaries
    for binary in binaries:
        linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        assert "libGL" not in linked
        assert "not found" not in linked


def test_constraints_name_versions_and_no_addresses():
    lines = [line for line in (ROOT / "tools" / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[\w.]+", line) for line in lines)
    assert not any(line.lower().startswith(("paddle", "opencv-python==")) for line in lines)


def test_pip_check_reports_only_what_the_install_page_names():
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True).stdout
    complaints = [line for line in check.splitlines() if "No broken" not in line]
    known = ("paddleseg 2.8.0 requires opencv-python", "paddle2onnx 2.1.0 ")
    assert all(line.startswith(known) for line in complaints), complaints


def test_no_page_names_a_machine_or_an_absent_page():
    for path in [*PAGES, *sorted((ROOT / "configs").rglob("*.yaml"))]:
        text = path.read_text(encoding="utf-8")
        # /api/ and others are addresses of the server
        absolute = r"(?:^|[\s`(=])/(?!dev/null|api/|v1/|v2/|run/secrets)\w+/|TODO|FIXME"
        assert not re.search(absolute, text), f"{path}: an absolute path or a TODO"
        for page in re.findall(r"docs/[\w/]+\.md", text):
            assert (ROOT / page).is_file(), f"{path} names {page}"
