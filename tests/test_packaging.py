"""What is installed: packages, extras, and a prediction with nothing but the extra `predict`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT, environment

from paddleseg_u2net.environment.optional_imports import INSTALL

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
# `u2net predict` in a process where the listed modules cannot be imported
PREDICT = (
    "import sys; sys.modules.update(dict.fromkeys({absent}))\n"
    "from paddleseg_u2net.cli.app import main\n"
    "sys.exit(main(['predict', *sys.argv[1:]]))\n"
)


def child(code: str, *words) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, env=environment()
    )


def distributions(requirements: list[str]) -> set[str]:
    """Names of what pip would install for some requirements, with all that these require."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            left += [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # shtab in an older environment: no prediction needs it
            continue
    return found


def absent_from(requirements: list[str]) -> list[str]:
    """All modules installed here that an environment with these requirements alone would lack."""
    wanted = distributions(requirements)
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not wanted & set(map(canonicalize_name, owners))
        and not module.startswith(("paddleseg_u2net", "_"))
    )


def test_every_folder_with_modules_is_in_the_wheel():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "paddleseg_u2net").rglob("*.py")}
    listed = set(PROJECT["tool"]["setuptools"]["packages"]) - {"paddleseg_u2net.configs"}
    assert listed == {".".join(folder.parts) for folder in folders}


def test_every_other_file_of_the_package_is_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    listed = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    tracked = subprocess.run(
        ["git", "ls-files", "paddleseg_u2net"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    assert {ROOT / name for name in tracked if not name.endswith(".py")} <= listed


def test_messages_name_extras_that_exist():
    named = [re.search(r"paddleseg_u2net\[(\w+)\]", command) for command in INSTALL.values()]
    assert {found[1] for found in named if found} <= set(EXTRAS)


@pytest.mark.parametrize(
    ("module", "distribution"), [("cv2", "opencv-python-headless"), ("sklearn", "scikit-learn")]
)
def test_message_names_the_extra_that_holds_the_package(module, distribution):
    (extra,) = re.findall(r"paddleseg_u2net\[(\w+)\]", INSTALL[module])
    assert distribution in [Requirement(text).name for text in EXTRAS[extra]]


def test_dev_holds_all_extras_but_the_cluster():
    def included(extra: str) -> set[str]:
        ours = [Requirement(text) for text in EXTRAS[extra] if text.startswith("paddleseg_u2net[")]
        inner = {name for requirement in ours for name in requirement.extras}
        return inner.union(*map(included, inner))

    assert included("dev") == set(EXTRAS) - {"dev", "cluster"}


def test_prediction_needs_the_extra_predict_alone(official_weights, tmp_path):
    """From an empty cache, in a child process without any other package: no Paddle, no config."""
    absent = absent_from([*PROJECT["project"]["dependencies"], *EXTRAS["predict"]])
    expected = (
        "paddle paddleseg openvino sklearn scipy matplotlib visualdl prettytable threadpoolctl jinja2 pytest"
    )
    assert set(expected.split()) <= set(absent)
    code = PREDICT.format(absent=absent)
    for run in ("first", "second"):
        words = ["--model_path", "u2netp", "--image_path", ROOT / "docs" / "photos" / "coffee.jpg"]
        outcome = child(code, *words, "--save_dir", tmp_path / run)
        assert (outcome.returncode, outcome.stderr) == (0, "")
        assert "Predicted 1 of 1 image " in outcome.stdout
        assert ("verifying it by its checksum" in outcome.stdout) == (run == "first")
    assert len(list((tmp_path / "u2net_home" / "exports").rglob("model.onnx"))) == 1


@pytest.mark.parametrize(
    ("absent", "extra"), [(["onnxruntime", "openvino", "paddle"], "predict"), (["cv2"], "predict")]
)
def test_missing_extra_is_one_line_with_the_pip_command(official_weights, absent, extra):
    code = PREDICT.format(absent=absent)
    outcome = child(code, "--model_path", "u2netp", "--image_path", ROOT / "docs" / "photos" / "coffee.jpg")
    (line,) = outcome.stderr.splitlines()
    assert outcome.returncode == 1
    assert line.startswith(
        f"error: {absent[0]} is not installed. Fix: pip install 'paddleseg_u2net[{extra}]'"
    )


def test_importing_the_package_loads_no_other_package_and_changes_no_setting():
    code = (
        "import os, sys, warnings\n"
        "before = set(sys.modules), dict(os.environ), list(warnings.filters)\n"
        "import paddleseg_u2net\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before[0]}\n"
        "print(sorted(loaded - sys.stdlib_module_names))\n"
        "print((dict(os.environ), list(warnings.filters)) == before[1:])\n"
    )
    assert child(code).stdout.splitlines() == ["['paddleseg_u2net']", "True"]


def test_public_names_are_imported_when_they_are_used():
    """For `register`, which imports Paddle, see test_plugin.py."""
    code = (
        "import sys, paddleseg_u2net as u\n"
        "print(u.Predictor.__name__, u.TestTimeAugmentation.__name__, 'paddle' in sys.modules)\n"
        "print(hasattr(u, 'nothing'))\n"
    )
    outcome = child(code)
    assert outcome.stdout.splitlines() == ["Predictor TestTimeAugmentation False", "False"]
