"""paddleseg_u2net as a plugin: paddleseg's own code builds our components from a YAML file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT, draw_pair, environment, make_config

from paddleseg_u2net.registry import Registry

STOCK = """
import sys
import numpy as np
import paddle
{enable}
from paddleseg.core.train import loss_computation
from paddleseg.cvlibs import Config, SegBuilder
from paddleseg.utils import logger

builder = SegBuilder(Config(sys.argv[1]))
sample = builder.train_dataset[0]
image = paddle.to_tensor(sample["img"][None])
label = paddle.to_tensor(sample["label"][None]).astype("int64")
losses = loss_computation(builder.model(image), label, None, builder.loss)
sum(losses).backward()
before = builder.model.outconv.bias.numpy().copy()
builder.optimizer.step()
parts = [builder.model, *builder.train_dataset.transforms.transforms, *builder.loss["types"]]
print("built", *(f"{{type(part).__module__}}.{{type(part).__name__}}" for part in parts))
print("shape", *image.shape, "loss", np.isfinite(float(sum(losses))))
print("updated", not np.array_equal(before, builder.model.outconv.bias.numpy()), "level", logger.log_level)
"""


def in_child(code: str, *args: str) -> str:
    """The output of some code in a process of its own; if it hangs, it ends and prints where it was."""
    watched = f"import faulthandler\nfaulthandler.dump_traceback_later(100, exit=True)\n{code}"
    command = [sys.executable, "-c", watched, *args]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


# runs each of some codes in a fork of one process, which has imported Paddle and paddleseg
FORKS = """
import json, os, paddle, paddleseg, sys, traceback
codes = json.loads(sys.argv[1])
for code, *words in codes:
    if os.fork() == 0:
        sys.argv[1:] = words
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0
"""


def write_stock_config(folder: Path, num_classes: int) -> Path:
    """A config that paddleseg reads, and its data set of one image."""
    draw_pair(folder, "a", size=(48, 48), white=1)
    (folder / "train_list.txt").write_text("images/a.png masks/a.png\n")
    path = make_config(folder / "a.yaml", folder, num_classes=num_classes, model="U2Netp")
    config = yaml.safe_load(path.read_text())
    config["train_dataset"]["train_path"] = str(folder / "train_list.txt")  # paddleseg wants the whole path
    config["train_dataset"]["transforms"] = [
        {"type": "ResizeSoftMask" if num_classes == 1 else "Resize", "target_size": [40, 40]},
        {"type": "RandomCrop", "crop_size": [36, 34]},
        {"type": "NormalizeByMax"},
    ]
    path.write_text(yaml.safe_dump(config))
    return path


# the last of these forks, where paddleseg is missing
WITHOUT = """
sys.modules["paddleseg"] = None
try:
    import paddleseg_u2net.plugin
except ImportError as error:
    print(error)
"""


def test_stock_paddleseg_builds_and_trains_our_components_and_the_documentation_works(tmp_path, monkeypatch):
    """From YAML files, and the code of docs/plugin.md; in forks of one process that has imported Paddle."""
    page = (ROOT / "docs" / "plugin.md").read_text(encoding="utf-8")
    code, config = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "yaml"))
    (tmp_path / "u2netp.yml").write_text(config.replace(", pretrained: u2netp", ""))  # no download
    code += "print(type(model).__module__, len(losses['types']), type(optimizer).__name__)"
    enable = {1: "import paddleseg_u2net.plugin", 2: "import paddleseg_u2net as u; u.register()"}
    codes = [
        (STOCK.format(enable=line), str(write_stock_config(tmp_path / str(count), count)))
        for count, line in enable.items()
    ]
    monkeypatch.chdir(tmp_path)
    lines = in_child(FORKS, json.dumps([*codes, (code,), ("import sys" + WITHOUT,)])).splitlines()
    built = [line.split() for line in lines if line.startswith("built ")]
    for names, loss, resize in zip(
        built,
        ("saliency.SaliencyLoss", "cross_entropy.CrossEntropyLoss"),
        ("paddleseg_u2net.data.transforms.ResizeSoftMask", "paddleseg.transforms.transforms.Resize"),
        strict=True,
    ):
        assert names == [
            "built",
            "paddleseg_u2net.models.u2net.U2Netp",
            resize,
            "paddleseg_u2net.data.transforms.RandomCrop",
            "paddleseg_u2net.data.transforms.NormalizeByMax",
            *[f"paddleseg_u2net.losses.{loss}"] * 7,
        ]
    assert lines.count("shape 1 3 34 36 loss True") == 2
    assert lines.count("updated True level 2") == 2  # paddleseg's own log lines are kept
    assert lines[-2] == "paddleseg_u2net.models.u2net 7 Adam"
    assert lines[-1].startswith("paddleseg is not installed. Fix: pip install --no-deps paddleseg")


def test_two_classes_of_one_name_are_rejected():
    registry = Registry("MODELS")
    first = registry.register(type("Net", (), {"__module__": "a"}))
    assert registry.register(first) is first
    with pytest.raises(KeyError, match="MODELS: Net is registered already, by a"):
        registry.register(type("Net", (), {"__module__": "b"}))
