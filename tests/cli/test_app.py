"""The command `u2net`, what its subcommands share, and whole programs."""

from __future__ import annotations

import importlib
import logging
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import paddle
import pytest
from support import ROOT, environment, forked, make_config, tree

from paddleseg_u2net import __version__
from paddleseg_u2net.cli.app import (
    COMMANDS,
    LOG_LINE,
    PLAIN_LINE,
    REMBG,
    SHELLS,
    command_module,
    guarded,
    main,
)
from paddleseg_u2net.cli.flags import HOW, INPUT, OUTPUT, REFINE
from paddleseg_u2net.environment.provenance import ENGINES

SCRIPTS = {
    **{f"{name}.py": name for name in ("train", "val", "predict")},
    **{f"tools/{name.replace('-', '_')}.py": name for name in ("export", "make-dataset", "check-dataset")},
    **{f"tools/{name.replace('-', '_')}.py": name for name in ("convert-weights", "benchmark", "demo")},
    "tools/average_weights.py": "average-weights",
    "tools/portrait.py": "portrait",
    "tools/report.py": "report",
    "tools/serve.py": "serve",
    "tools/evaluate_folder.py": "evaluate",
    "Benckmark_data_prepare/prepare.py": "prepare",
}

# of groups of flags that only one command or one kind of command has
OTHER_TITLES = ("options", "examples", "schedule", "evaluation", "saliency maps")
OTHER_TITLES += ("test-time augmentation and sliding window", "maps, masks and cut-outs", "cut-outs")
OTHER_TITLES += ("as in rembg", "input and output", "empty scenes and report")
OTHER_TITLES += ("models", "limits", "access")


def u2net(*words, **variables) -> subprocess.CompletedProcess:
    """`python -m paddleseg_u2net` with some flags, in a child process."""
    command = [sys.executable, "-m", "paddleseg_u2net", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**variables))


@pytest.fixture
def absent(tmp_path):
    """A function that returns the environment of a child process in which a package cannot be imported."""

    def without(package: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(
            "import sys, importlib.abc\n"
            "class Absent(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {package!r}:\n"
            "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
            "sys.meta_path.insert(0, Absent())\n"
        )
        return {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}

    return without


def parser_of(name):
    return command_module(name).build_parser()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_examples_and_groups(run, name):
    assert parser_of(name).prog == f"u2net {name}"
    code, text, _ = run(name, "--help")
    assert code == 0
    assert text.startswith(f"usage: u2net {name}")
    assert f"  u2net {name}" in text.split("examples:")[1]
    titles = re.findall(r"^(\S.*):$", text, re.M)
    assert not {*titles} - {INPUT, OUTPUT, HOW, REFINE, *OTHER_TITLES}  # one name for a kind of flags
    assert "\noptions:\n  -h, --help" in text
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert len(headings) > 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_its_command(run, script, monkeypatch, capsys):
    """Run in this process, which saves its imports; train_cpu.sh and others run scripts as programs."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    outcome = capsys.readouterr()
    assert (stop.value.code, outcome.err) == (0, "")
    assert outcome.out == run(SCRIPTS[script], "--help")[1]


def test_every_command_has_a_script():
    assert set(SCRIPTS.values()) == {name for name, row in COMMANDS.items() if row.group != REMBG}


def test_help_lists_every_command_once_in_its_group(run):
    code, text, error = run("--help")
    assert (code, error) == (0, "")
    groups = {part.split(":\n")[0]: part for part in text.split("\n\n")}
    for name, row in COMMANDS.items():
        (line,) = [line for line in groups[row.group].splitlines() if line.split()[0] == name]
        assert line.endswith(row.help)
        assert len(line) <= 100


def test_help_loads_no_heavy_package():
    code = "import sys; from paddleseg_u2net.cli.app import main; main([])\n"
    code += "print({'numpy', 'cv2', 'yaml', 'paddle', 'onnx'} & set(sys.modules), file=sys.stderr)"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert outcome.stderr.strip() == "set()"


def test_no_arguments_print_the_help_and_exit_with_2(run):
    outcome = u2net()
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (2, run("--help")[1], "")


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("predcit", "Did you mean 'predict'?"),
        ("make_dataset", "Did you mean 'make-dataset'?"),
        ("xyzzy", "Known: train, val, evaluate, report, predict"),
        ("photo.jpg", "Known: train"),
        ("", "Known: train"),
    ],
)
def test_unknown_command_is_rejected_with_suggestion(run, word, suggestion):
    code, text, error = run(word, "--help")
    assert (code, text) == (2, "")
    assert error.startswith(f"u2net: error: {word}: no such command. {suggestion}")


def test_unknown_flag_before_a_command_is_rejected(run):
    code, _, error = run("--verison", "predict")
    assert code == 2
    assert "--verison" in error


def test_version_names_this_package_python_and_engines(run):
    code, text, _ = run("--version")
    assert code == 0
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    assert lines["u2net"] == __version__
    assert lines["Python"] == sys.version.split()[0]
    assert lines["paddlepaddle"] == paddle.__version__
    assert set(lines) <= {"u2net", "Python", *ENGINES}


def test_a_command_is_run_by_its_flags_of_this_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["u2net", "prepare", "--list"])
    assert main() == 0
    assert "DUTS-TR" in capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_has_all_commands_and_their_flags(run, shell):
    pytest.importorskip("shtab")
    code, text, _ = run("--print-completion", shell)
    assert code == 0
    for name in COMMANDS:
        assert name in text
        flags = re.findall(r"(?<![\w-])--[a-z][\w-]+", parser_of(name).format_usage())
        assert all(flag.lstrip("-") in text for flag in flags), name


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pre"], {"predict", "prepare"}),
        (["predict", "--save"], {"--save_dir"}),
        (["predict", "--save_dir", "my"], {"my data"}),
        (["--ver"], {"--version"}),
    ],
)
def test_bash_completes(run, data, words, expected):
    pytest.importorskip("shtab")
    Path("u2net.bash").write_text(run("--print-completion", "bash")[1])
    quoted = " ".join(words)
    script = f"""
        source u2net.bash
        COMP_WORDS=(u2net {quoted}); COMP_CWORD={len(words)}
        COMP_LINE="u2net {quoted}"; COMP_POINT=${{#COMP_LINE}}
        $(complete -p u2net | sed 's/.*-F \\([^ ]*\\).*/\\1/') u2net {words[-1]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    outcome = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(outcome.stdout.splitlines()) == expected, outcome.stderr


def test_completion_without_shtab_is_one_line_with_the_command(absent):
    outcome = u2net("--print-completion", "bash", **absent("shtab"))
    assert outcome.returncode == 1
    assert outcome.stderr == "error: shtab is not installed. Fix: pip install shtab\n"


def test_process_is_set_up_once_before_the_libraries_are_imported(tmp_path):
    code = (
        "import os, sys\n"
        "from paddleseg_u2net.cli.app import guarded\n"
        "assert 'paddle' not in sys.modules and 'cv2' not in sys.modules\n"
        "guarded(lambda: print(os.environ['GLOG_minloglevel'], os.environ['OPENCV_LOG_LEVEL']))\n"
    )
    variables = {"GLOG_minloglevel": "", "OPENCV_LOG_LEVEL": "ERROR"}
    env = {key: value for key, value in environment(**variables).items() if key != "GLOG_minloglevel"}
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert outcome.stdout == "2 ERROR\n", outcome.stderr  # what the user has set is kept


@pytest.mark.parametrize(
    ("every_rank", "line", "expected"),
    [(False, PLAIN_LINE, ""), (True, PLAIN_LINE, "hello\n"), (True, LOG_LINE, " [INFO]\thello\n")],
)
def test_log_of_a_second_rank(capsys, monkeypatch, every_rank, line, expected):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    assert guarded(lambda: logging.getLogger("paddleseg_u2net.x").info("hello"), every_rank, line) == 0
    text = capsys.readouterr().out
    assert text.endswith(expected)
    assert bool(text) == bool(expected)


@pytest.mark.parametrize("device", ["gpu", "xpu", "npu", "mlu", "tpu"])
def test_missing_device_is_rejected(run, config, trained, device):
    for words in (
        ("train", "--config", config, "--save_dir", "new"),
        ("val", "--model_path", trained),
        ("predict", "--model_path", trained, "--image_path", trained.parent / "my data" / "images"),
    ):
        code, _, error = run(*words, "--device", device)
        assert code == 1
        assert f"--device {device}: " in error
        assert "unknown" in error or "has none to use. Fix: leave --device out" in error
    assert run("val", "--model_path", trained, "--device", "cpu")[0] == 0


@pytest.mark.parametrize("name", ["val", "predict"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scales", 2], "scales: no effect alone. Fix: add --aug_"),
        (["--flip_horizontal"], "flip_horizontal: no effect alone"),
        (["--flip_vertical"], "--flip_vertical: no effect alone"),
        (["--is_slide"], "window is incomplete. Fix: --is_slide, --crop_size W H and --stride W H"),
        (["--crop_size", 8, 8, "--stride", 4, 4], "a sliding window is incomplete. Fix: --is_slide"),
        (["--is_slide", "--crop_size", 8, 8, "--stride", 9, 9], "exceeds crop_size"),
        (["--opts", "itters=1"], "--opts itters=1: no such key. Did you mean 'iters'?"),
    ],
)
def test_flag_without_effect_is_rejected(run, trained, name, flags, message):
    words = ["--image_path", "my data/images"] if name == "predict" else []
    code, _, error = run(name, "--model_path", trained, *words, *flags)
    assert code == 1
    assert message in error


@pytest.mark.parametrize(
    ("package", "command"),
    [
        *((package, "train") for package in ("paddle", "paddleseg", "cv2")),
        *((package, "demo") for package in ("skimage", "paddle", "cv2")),
        ("prettytable", "prepare"),
    ],
)
def test_missing_package_is_one_line_with_the_command(config, package, command):
    """In a fork of this process, where what is imported before that package is imported already."""
    flags = {"train": ["--config", config], "prepare": ["--list"], "demo": []}[command]

    def run_without_package() -> int:
        for name in [*sys.modules]:
            if name.split(".")[0] in (package, "paddleseg_u2net"):
                del sys.modules[name]
        sys.modules[package] = None
        return importlib.import_module("paddleseg_u2net.cli.app").main([command, *map(str, flags)])

    code, text = forked(run_without_package)
    assert code == 1, text
    (line,) = text.strip().splitlines()
    assert line.startswith(f"error: {package} is not installed. Fix: pip install ")


def test_u2netp_trains_validates_and_predicts_from_one_yaml(run, data, small_drawing, tmp_path):
    config = make_config(tmp_path / "u2netp.yaml", data, model="U2Netp")
    code, text, error = run("train", "--config", config, "--iters", 2, "--do_eval")
    assert (code, error) == (0, "")
    assert "The model with the best validation maxF" in text
    assert run("val", "--config", config, "--model_path", "output/best_model/model.pdparams")[0] == 0
    words = ["--model_path", "output/best_model/model.pdparams", "--image_path", data / "images"]
    assert run("predict", "--config", config, *words)[0] == 0
    assert len(tree("output/result")) == 6 * 4


def test_known_weights_need_no_config_and_fine_tune(run, known_weights, data, tmp_path):
    words = ["--image_path", data / "images" / "p0.png", "--outputs", "saliency"]
    assert run("predict", "--model_path", "u2netp", *words)[0] == 0
    config = make_config(tmp_path / "a.yaml", data, 2, "U2Netp")
    flags = ["--iters", 1, "--cpu_engine", "paddle"]  # which starts sooner than oneDNN
    code, text, _ = run("train", "--config", config, *flags, "--opts", "model.pretrained=u2netp")
    assert code == 0
    assert "the 7 heads are initialized at random: 1 class there, 2 here" in text
    assert "Measured BatchNorm statistics of 112 layers" in text


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt, 130, "Interrupted"),
        (MemoryError, 1, "error: not enough memory ("),
    ],
)
def test_interruption_and_lack_of_memory_end_in_one_line(capsys, error, code, message):
    def command():
        raise error

    assert guarded(command) == code
    assert capsys.readouterr().err.startswith(message)


def test_empty_path_is_rejected(run):
    code, _, error = run("predict", "--model_path", "u2netp", "--image_path", "")
    assert code == 2
    assert "--image_path: expected a path, got an empty text" in error
