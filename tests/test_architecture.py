"""The order of folders, what importing a module loads, the sizes of files, no repeated code."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from support import ROOT, environment

PACKAGE = ROOT / "paddleseg_u2net"
# From the bottom up, a row a folder (or module): each imports only what stands above it in this list.
FOLDERS = (
    "errors",
    "bounds",
    "registry",
    "environment",
    "metrics",
    "losses",
    "io",
    "data",
    "config",
    "datasets",
    "importers",
    "data_check",
    "models",
    "schedules",
    "builders",
    "onednn",
    "engines",
    "export",
    "matting",
    "inference",
    "evaluation",
    "training",
    "reports",
    "serving",
    "plugin",
    "cli",
    "__main__",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """`io.files` of `paddleseg_u2net/io/files.py`; `io` of its `__init__.py`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


KNOWN = {name_of(module) for module in MODULES}


@cache
def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it, as `io.files`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}  # a module, or a name in one
    inside = {name.removeprefix("paddleseg_u2net.") for name in found if name.startswith("paddleseg_u2net.")}
    return {name if name in KNOWN else name.rpartition(".")[0] for name in inside} - {""}


def test_every_folder_has_a_row():
    assert {name_of(path).split(".")[0] for path in MODULES} == set(FOLDERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_folders_import_lower_folders_only(path):
    folder = name_of(path).split(".")[0]
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    upwards = [name for name in imports_of(path) if name.split(".")[0] not in allowed]
    assert not upwards, f"{folder} imports {upwards}"


def test_no_folder_holds_a_cycle():
    graph = {name_of(path): imports_of(path) - {name_of(path)} for path in MODULES}
    ordered = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the modules
    assert set(graph) <= set(ordered)


def test_no_module_is_called_utils():
    forbidden = {"utils", "util", "misc", "common", "helpers", "helper"}
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    assert not forbidden & {path.stem for folder in folders for path in folder.rglob("*.py")}


HEAVY = {"paddle", "paddleseg", "torch", "onnx", "onnxruntime", "openvino", "sklearn", "scipy", "visualdl"}
HEAVY |= {"matplotlib", "jinja2", "pandas", "fastapi", "uvicorn", "prometheus_client"}
# what importing a module of a folder may load of the package: these folders, and so many modules in all
LOADS = {
    "importers": ("errors bounds environment io data config importers", 56),
    "inference": (
        "errors bounds registry environment io data config models engines export matting inference "
        "metrics.protocol metrics.saliency",
        87,
    ),
}
LIGHT = """
config.loader data.dataset data_check.checks data_check.report io.images data.masks metrics.segmentation
metrics.table inference.outputs evaluation.folders inference.predictor data.preprocessing engines.base
models.pretrained cli.app cli.predict cli.val cli.train cli.export cli.evaluate cli.make_dataset
cli.check_dataset cli.prepare cli.convert_weights cli.average_weights cli.benchmark cli.report cli.serve
reports.page
""".split()  # noqa: SIM905
IMPORT_EACH_IN_A_FORK = """
import importlib, json, os, sys, cv2, numpy, yaml, tqdm
found = {}
for name in sys.argv[1:]:
    reader, writer = os.pipe()
    if os.fork() == 0:
        importlib.import_module(f"paddleseg_u2net.{name}")
        os.write(writer, json.dumps(sorted(sys.modules)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        found[name] = json.load(file)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The modules that importing one module of the package loads, by its name."""
    folders = [name_of(path) for path in MODULES if name_of(path).split(".")[0] in LOADS]
    command = [sys.executable, "-c", IMPORT_EACH_IN_A_FORK, *folders, *LIGHT]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("folder", LOADS)
def test_importing_a_module_loads_what_it_needs_and_no_more(loaded, folder):
    allowed, most = LOADS[folder]
    for name, modules in loaded.items():
        if name.split(".")[0] == folder:
            own = [m.removeprefix("paddleseg_u2net.") for m in modules if m.startswith("paddleseg_u2net.")]
            names = {module for module in own if module != "metrics"}
            assert not {n for n in names if not {n, n.split(".")[0]} & set(allowed.split())}, name
            assert len(own) <= most, (name, own)


def test_importing_light_modules_loads_no_heavy_package(loaded):
    heavy = {name: HEAVY & set(modules) for name, modules in loaded.items()}
    assert not {name: found for name, found in heavy.items() if found}


def test_files_fit_their_bounds():
    long = [path for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) >= 320]
    tests = (ROOT / "tests").rglob("*.py")
    long += [path for path in tests if len(path.read_text(encoding="utf-8").splitlines()) >= 450]
    assert not long


def lines_of(path: Path) -> list[tuple[int, str]]:
    """Lines that count as code: no blank lines, comments, lone brackets, imports or docstrings."""
    found, inside_import = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = " ".join(line.split())
        if inside_import or re.match(r"(from [\w.]+ )?import ", text):
            inside_import = (inside_import or "(" in text) and ")" not in text
        elif len(text) > 3 and not text.startswith(("#", '"""')):
            found.append((number, text))
    return found


def test_no_block_of_six_lines_is_repeated():
    places = defaultdict(list)
    folders = (PACKAGE, ROOT / "tools", ROOT / "tests", ROOT / "Benckmark_data_prepare")
    for path in sorted(p for folder in folders for p in folder.rglob("*.py")):
        lines, name = lines_of(path), path.relative_to(ROOT)
        for start in range(len(lines) - 5):
            block = tuple(text for _, text in lines[start : start + 6])
            places[block].append((name, lines[start][0]))
    repeated = [where for where in places.values() if len(where) > 1]
    assert not repeated


def test_network_module_stays_short():
    assert len((PACKAGE / "models" / "u2net.py").read_text().splitlines()) < 200


def test_top_level_holds_the_documented_entries_only():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    expected = """
    README.md configs paddleseg_u2net Benckmark_data_prepare train.py val.py predict.py tools tests docs
    pyproject.toml Makefile Dockerfile LICENSE NOTICE CHANGELOG.md CONTRIBUTING.md
    """
    assert {name for name in top if not name.startswith(".")} <= set(expected.split())
