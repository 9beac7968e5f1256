"""Commands write to a disk that becomes full at any point; nothing half-written is left under a final name.

python -m pytest -m slow tests/campaigns/test_full_disk.py [--campaign_size 4]

Each command runs with less room than it needs: on a full file system of a few MiB (as root), and with a limit
on the size of files. It must end with exit code 1 and a message that names what could not be written, without
a traceback. Each file that it leaves must be one that it also writes when there is room, with the same
content. With enough room the command must succeed afterwards in the same place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import pytest
from campaign import Campaign
from interrupted_training import Child, fill, remove_ballast
from small_disks import small_disk
from support import draw_pair, make_config, tree

from paddleseg_u2net.models.u2net import U2Netp

pytestmark = pytest.mark.slow

MEBIBYTES = 40  # of the disk
SIZE = (200, 300)  # of the images
SHAPE = ["--input_shape", "1", "3", "64", "64"]


class Inputs(NamedTuple):
    """What the commands read: images, masks and lists; a config; weights."""

    data: Path
    config: Path
    weights: Path


# flags without that of the output, by subcommand
COMMANDS: dict[str, Callable[[Inputs], list]] = {
    "predict": lambda has: [has.data / "images", "--model_path", has.weights, "--config", has.config],
    "val": lambda has: ["--config", has.config, "--model_path", has.weights],
    "evaluate": lambda has: ["--pred_dir", has.data / "masks", "--label_dir", has.data / "masks"],
    "export": lambda has: ["--model_path", has.weights, "--config", has.config, *SHAPE],
    "make-dataset": lambda has: ["--image_dir", has.data / "images", "--mask_dir", has.data / "masks"],
    "check-dataset": lambda has: ["--config", has.config],
    "convert-weights": lambda has: [has.weights],
    "average-weights": lambda has: [has.weights, "u2netp_msra", "--config", has.config],
}
OUTPUT = {"check-dataset": "--fix", "convert-weights": None, "average-weights": "--save_path"}
MESSAGES = ("cannot be written", "No space left on device", "File too large")
FILES = {"convert-weights": "w.npz", "average-weights": "w.pdparams"}  # these write one file of a given name


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Inputs:
    """Drawn photographs, and a small network with random weights."""
    root = tmp_path_factory.mktemp("inputs")
    names = [f"p{index}" for index in range(6)]
    for name in names:
        draw_pair(root / "data", name, SIZE)
    lines = [f"images/{name}.png masks/{name}.png\n" for name in names]
    (root / "data" / "train_list.txt").write_text("".join(lines[:4]))
    (root / "data" / "val_list.txt").write_text("".join(lines[4:]))
    config = make_config(root / "c.yaml", root / "data", model="U2Netp")
    paddle.save(U2Netp(1).state_dict(), str(root / "w.pdparams"))
    return Inputs(root / "data", config, root / "w.pdparams")


def words(command: str, inputs: Inputs, folder: Path) -> list:
    """A command line that writes below a folder."""
    flag = OUTPUT.get(command, "--save_dir")
    target = folder / FILES[command] if command in FILES else folder
    return [command, *COMMANDS[command](inputs), *([flag] if flag else []), target]


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {name: (folder / name).read_bytes() for name in tree(folder)} if folder.exists() else {}


def faults_of(code: int, output: str, left: dict[str, bytes], whole: list[dict[str, bytes]]) -> list[str]:
    """What is wrong with a command that ran out of room.

    Args:
        code: exit code.
        output: stdout and stderr.
        left: the files that it left.
        whole: the files of two runs with enough room; what differs between them is not compared.
    """
    if code == 0:
        return [] if set(left) == set(whole[0]) else [f"exit code 0, but only {sorted(left)}"]
    found = [] if code == 1 else [f"exit code {code}"]
    if "Traceback" in output or not any(text in output for text in MESSAGES):
        found.append(f"message: {output[-500:]}")
    for name, data in left.items():
        if name not in whole[0]:
            found.append(f"left {name}")
        elif data != whole[0][name] and whole[0][name] == whole[1][name]:
            found.append(f"{name} is not complete")
    return found


@pytest.mark.parametrize("kind", ["full disk", "file size limit"])
@pytest.mark.parametrize("command", COMMANDS)
def test_command_without_room_says_so_and_leaves_only_complete_files(
    command, kind, inputs, request, tmp_path
):
    campaign, rng = Campaign(f"{command}, {kind}", request), np.random.default_rng(0)
    whole = []
    for name in ("first", "second"):
        code, output, _ = Child(words(command, inputs, tmp_path / name / "out")).finish()
        assert code == 0, output[-2000:]
        whole.append(content(tmp_path / name / "out"))
        (tmp_path / name).rename(tmp_path / f"{name}_done")
    largest = max(map(len, whole[0].values()))
    total = sum(map(len, whole[0].values()))
    with small_disk(tmp_path / "disk", MEBIBYTES) as disk:
        if kind == "full disk" and not disk:
            pytest.skip("this user may not mount a file system")
        folder = (disk if kind == "full disk" and disk else tmp_path / "limited") / "out"
        for _ in range(campaign.size(20)):
            folder.parent.mkdir(exist_ok=True)
            limit = int(rng.integers(1, largest)) if kind == "file size limit" else None
            if kind == "full disk":
                fill(folder.parent, int(rng.integers(0, total)))
            code, output, _ = Child(words(command, inputs, folder), limit).finish()
            remove_ballast(folder)
            faults = faults_of(code, output, content(folder), whole)
            code, output, _ = Child(words(command, inputs, folder)).finish() if code else (0, "", [])
            if code or set(content(folder)) != set(whole[0]):
                faults.append(f"with room: exit code {code}, {sorted(content(folder))}, {output[-300:]}")
            shutil.rmtree(folder)
            campaign.record(f"{kind}, limit {limit}", "; ".join(faults))
    campaign.finish()
