"""Pairs of commands, started within milliseconds on one output: each is complete, or refused in words."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest
from campaign import Campaign
from published_sets import PUBLISHED, build
from shared_fixtures import draw_data
from support import environment, make_config, tree

PAIRS, KILLED, NESTED = 120, 40, 20
PHOTOS, MASKS = "my data/images", "my data/masks"
FOLDERS = {  # into a folder that may exist; TARGET is one of its names
    "train": "train --config tiny.yaml --iters 2 --seed 1 --save_dir TARGET",
    "train, another seed": "train --config tiny.yaml --iters 2 --seed 2 --num_workers 1 --save_dir TARGET",
    "predict": f"predict --model_path run --save_dir TARGET {PHOTOS}",
    "predict, stretched": f"predict --model_path run --save_dir TARGET --minmax {PHOTOS}",
    "val": "val --model_path run --save_dir TARGET",
    "evaluate": f"evaluate --pred_dir {MASKS} --label_dir {MASKS} --workers 1 --save_dir TARGET",
    "check-dataset": "check-dataset --dataset_root data --save_dir TARGET",
}
CREATED = {  # a new folder
    "export": f"export --model_path run --format paddle --image_path {PHOTOS} --save_dir TARGET",
    "make-dataset": f"make-dataset --image_dir {PHOTOS} --mask_dir {MASKS} --save_dir TARGET",
    "make-dataset, another seed": (
        f"make-dataset --image_dir {PHOTOS} --mask_dir {MASKS} --seed 5 --save_dir TARGET"
    ),
    "check-dataset --fix": "check-dataset --dataset_root data --fix TARGET",
}
FILES = {  # a new file
    "convert-weights": "convert-weights run TARGET/a.npz",
    "average-weights": "average-weights run run/iter_1 --save_path TARGET/a.npz",
    "average-weights, another name": "average-weights run run/iter_1 --save_path TARGET/b.npz",
}
SHARED = {"prepare": "prepare DUTS-TE --data_root TARGET"}  # waits for the other instead of being refused
COMMANDS = {**FOLDERS, **CREATED, **FILES, **SHARED}
SUB = "inside"
REFUSED = re.compile(
    r"error: .*(has been writing here since|exists already|created by another process).*Fix: ",
    re.DOTALL,
)
Files = Mapping[str, str | None]  # file -> its checksum, None where it differs from run to run


class Zygote:
    """A process that forks the commands; see `forked_commands.py`."""

    def __init__(self, root: Path):
        self.root, self.cases = root, itertools.count()
        variables = {"U2NET_MIRROR": (root / "published").as_uri(), "U2NET_HOME": str(root / "home")}
        script = Path(__file__).resolve().parents[1] / "forked_commands.py"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)],
            env=environment(U2NET_THREADS="1", **variables),
            **pipes,
        )

    def new_folder(self) -> Path:
        """A folder with links to the inputs and two other names of itself."""
        folder = self.root / f"case_{next(self.cases)}"
        folder.mkdir()
        for name in ("tiny.yaml", "run", "data", "my data"):
            (folder / name).symlink_to(self.root / name)
        (folder / "link").symlink_to(folder)
        return folder

    def run(self, folder: Path, commands: list[dict]) -> list[tuple[int, str]]:
        """Run commands at once; returns (exit code, text) of each."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"folder": str(folder), "commands": commands}) + "\n")
        self.process.stdin.flush()
        return [(code, text) for code, text in json.loads(self.process.stdout.readline())]


def words(command: str, target: str) -> list[str]:
    """The words of a command of a table; the data set has a space in its name."""
    return [
        w.replace("\0", " ").replace("TARGET", target) for w in command.replace("my data", "my\0data").split()
    ]


def files_of(folder: Path) -> dict[str, str]:
    """File -> checksum."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in tree(folder)}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory) -> Iterator[Zygote]:
    """The process, and in its folder the inputs of all commands."""
    root = tmp_path_factory.mktemp("concurrency")
    config = make_config(root / "tiny.yaml", draw_data(root / "data"))
    shutil.copytree(root / "data", root / "my data")
    build(root / "published", {"DUTS-TE.zip": PUBLISHED["DUTS-TE"]["DUTS-TE.zip"]})
    zygote = Zygote(root)
    train = f"train --config {config} --iters 2 --save_interval 1 --do_eval --seed 0 --save_dir run"
    assert zygote.run(root, [{"words": train.split(), "after": 0}])[0][0] == 0
    yield zygote
    zygote.process.communicate()


@pytest.fixture(scope="module")
def alone(zygote) -> dict[str, Files]:
    """What each command leaves behind; it runs twice to see which files do not change."""
    found = {}
    for name, command in COMMANDS.items():
        first, second = (zygote.new_folder() for _ in range(2))
        for folder, target in ((first, "out"), (second, "link/out")):
            ((code, text),) = zygote.run(folder, [{"words": words(command, target), "after": 0}])
            assert code == 0, text
        # files that hold the time, or the name of their folder or how it is spelled, differ
        again = files_of(second / "out")
        found[name] = {k: v if again[k] == v else None for k, v in files_of(first / "out").items()}
        for folder in (first, second):
            shutil.rmtree(folder)
    return found


def missing(files: Mapping[str, str], expected: Files) -> list[str]:
    """The files of a command that are absent or changed."""
    return [
        name
        for name, checksum in expected.items()
        if name not in files or checksum not in (None, files[name])
    ]


def left_of(earlier: str, last: str, alone: Mapping[str, Files]) -> dict[str, str | None]:
    """What a command leaves behind after which another one writes into its folder."""
    if earlier.startswith(last.partition(",")[0]) and earlier.startswith("train"):
        return {f"earlier_1/{name}": checksum for name, checksum in alone[earlier].items()}
    return {name: checksum for name, checksum in alone[earlier].items() if name not in alone[last]}


def fault_in(folder: Path, done: Sequence[str], alone: Mapping[str, Files]) -> str | None:
    """What is wrong with the output of the commands that succeeded, one after the other in either order."""
    files, faults = files_of(folder), []
    for *earlier, last in itertools.permutations(done):
        expected = dict(alone[last])
        for name in earlier:
            expected |= left_of(name, last, alone)
        wrong = [*missing(files, expected), *sorted({*files} - {*expected, "mine.txt"})]
        if not wrong:
            return None
        faults.append(f"{[*earlier, last]}: {wrong[:5]}")
    return "; ".join(faults)


def rubbish(root: Path) -> list[str]:
    """Lock files and temporary files that are left."""
    return [name for name in tree(root) if re.search(r"\.u2net\.lock$|\.part$|\.partial$|\.preparing", name)]


def fault_of_codes(names: list[str], outcomes: list[tuple[int, str]]) -> str | None:
    """What is wrong with how two commands ended."""
    for name, (code, text) in zip(names, outcomes, strict=True):
        if "Traceback" in text or code not in (0, 1) or (code and not REFUSED.search(text)):
            return f"{name} ended with {code}: {text[-600:]}"
    return None if any(code == 0 for code, _ in outcomes) else "neither succeeded"


def after(random: Random) -> float:
    """When a command starts: most often within milliseconds of the other."""
    return random.random() * random.choice([0.0, 0.002, 0.02, 0.2, 1.0])


def one_pair(zygote: Zygote, alone: dict[str, Files], random: Random) -> tuple[str, str | None]:
    """Start two commands on one output; returns what was done, and what was lost."""
    group = random.choice([FOLDERS, FOLDERS, {**FOLDERS, **CREATED}, CREATED, FILES, SHARED])
    names = random.choices(list(group), k=2)
    folder = zygote.new_folder()
    mine = folder / "out" / "mine.txt"
    if has_mine := group is FOLDERS and random.random() < 0.5:
        mine.parent.mkdir()
        mine.write_text("mine")
    targets = random.choices(["out", "./out", "link/out", str(folder / "out")], k=2)
    commands = [
        {"words": words(COMMANDS[name], target), "after": after(random)}
        for name, target in zip(names, targets, strict=True)
    ]
    outcomes = zygote.run(folder, commands)
    fault = fault_of_codes(names, outcomes)
    done = [name for name, (code, _) in zip(names, outcomes, strict=True) if code == 0]
    fault = fault or fault_in(folder / "out", done[:1] if group is SHARED else done, alone)
    if left := rubbish(folder):
        fault = fault or f"left behind: {left}"
    if has_mine and mine.read_text() != "mine":
        fault = "a file of the user was lost"
    shutil.rmtree(folder)
    return f"{names} as {targets}, started after {[c['after'] for c in commands]} s", fault


@pytest.mark.slow
def test_two_commands_on_one_output(zygote, alone, request):
    campaign, random = Campaign("concurrency: two commands on one output", request), Random(5)
    for number in range(campaign.size(PAIRS)):
        case, fault = one_pair(zygote, alone, random)
        campaign.record(f"{number}: {case}", fault)
    campaign.finish()


@pytest.mark.slow
def test_command_after_one_that_was_killed(zygote, alone, request):
    """The lock of a dead process is no obstacle, nor are its temporary files."""
    campaign, random = Campaign("concurrency: a command after a killed one", request), Random(6)
    for number in range(campaign.size(KILLED)):
        group = random.choice([FOLDERS, CREATED, FILES, SHARED])
        names = random.choices(list(group), k=2)
        folder, kill = zygote.new_folder(), random.uniform(0.01, 1.5)
        first, second = (words(COMMANDS[name], "out") for name in names)
        ((killed, _),) = zygote.run(folder, [{"words": first, "after": 0, "kill": kill}])
        ((code, text),) = zygote.run(folder, [{"words": second, "after": 0}])
        whole = names[0] if code else names[1]  # the first may have ended its work before
        fault = fault_of_codes(names, [(0, ""), (code, text)])
        if not fault and (wrong := missing(files_of(folder / "out"), alone[whole])):
            fault = f"exit codes {killed}, {code}, and of {whole} is missing {wrong[:5]}"
        if locks := list(folder.glob("**/*.u2net.lock")):
            fault = fault or f"left behind: {locks}"
        campaign.record(f"{number}: {names[1]} after {names[0]} killed after {kill:.3f} s", fault)
        shutil.rmtree(folder)
    campaign.finish()


@pytest.mark.slow
def test_command_in_a_folder_of_a_training(zygote, alone, request):
    """A training and a command that writes into a sub-folder disturb each other never."""
    campaign, random = Campaign("concurrency: a command in a folder of a training", request), Random(7)
    for number in range(campaign.size(NESTED)):
        name, folder = random.choice(["train", "predict", "val", *CREATED]), zygote.new_folder()
        commands = [
            {"words": words(COMMANDS[name], f"out/{SUB}"), "after": after(random)},
            {"words": words(COMMANDS["train, another seed"], "out"), "after": after(random)},
        ]
        outcomes = zygote.run(folder, commands)
        fault = next((text[-600:] for code, text in outcomes if code), None)
        inner = {key: None if name in CREATED else value for key, value in alone[name].items()}
        expected = {**alone["train, another seed"], **{f"{SUB}/{key}": inner[key] for key in inner}}
        files = files_of(folder / "out")
        if wrong := [*missing(files, expected), *sorted({*files} - {*expected}), *rubbish(folder)]:
            fault = fault or f"missing, changed, or left behind: {wrong[:5]}"
        campaign.record(f"{number}: {name}, started after {[c['after'] for c in commands]} s", fault)
        shutil.rmtree(folder)
    campaign.finish()
