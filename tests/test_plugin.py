"""paddleseg_u2net as a plugin: paddleseg's own code builds our components from a YAML file."""

from __future__ import annotations

import re
import subprocess
import sys

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


@pytest.mark.parametrize(
    ("enable", "num_classes"),
    [("import paddleseg_u2net.plugin", 1), ("import paddleseg_u2net as u; u.register()", 2)],
)
def test_stock_paddleseg_builds_and_trains_our_components_from_a_yaml(tmp_path, enable, num_classes):
    data = tmp_path / "data"
    draw_pair(data, "a", size=(48, 48), white=1)
    (data / "train_list.txt").write_text("images/a.png masks/a.png\n")
    path = make_config(tmp_path / "a.yaml", data, num_classes=num_classes, model="U2Netp")
    config = yaml.safe_load(path.read_text())
    config["train_dataset"]["train_path"] = str(data / "train_list.txt")  # paddleseg wants the whole path
    config["train_dataset"]["transforms"] = [
        {"type": "ResizeSoftMask" if num_classes == 1 else "Resize", "target_size": [40, 40]},
        {"type": "RandomCrop", "crop_size": [36, 34]},
        {"type": "NormalizeByMax"},
    ]
    path.write_text(yaml.safe_dump(config))
    built, shape, updated = in_child(STOCK.format(enable=enable), str(path)).strip().splitlines()[-3:]
    loss = "SaliencyLoss" if num_classes == 1 else "CrossEntropyLoss"
    resize = "paddleseg_u2net.data.transforms.ResizeSoftMask"
    resize = resize if num_classes == 1 else "paddleseg.transforms.transforms.Resize"
    assert built.split() == [
        "built",
        "paddleseg_u2net.models.u2net.U2Netp",
        resize,
        "paddleseg_u2net.data.transforms.RandomCrop",
        "paddleseg_u2net.data.transforms.NormalizeByMax",
        *[f"paddleseg_u2net.losses.{loss}"] * 7,
    ]
    assert shape == "shape 1 3 34 36 loss True"
    assert updated == "updated True level 2"  # paddleseg's own log lines are kept


def test_code_and_config_of_the_documentation_work(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "plugin.md").read_text(encoding="utf-8")
    code, config = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "yaml"))
    (tmp_path / "u2netp.yml").write_text(config.replace(", pretrained: u2netp", ""))  # no download
    monkeypatch.chdir(tmp_path)
    built = in_child(code + "print(type(model).__module__, len(losses['types']), type(optimizer).__name__)")
    assert built.strip().splitlines()[-1] == "paddleseg_u2net.models.u2net 7 Adam"


def test_importing_the_package_loads_neither_paddle_nor_paddleseg():
    code = "import sys, paddleseg_u2net\nprint({'paddle', 'paddleseg', 'cv2', 'numpy'} & set(sys.modules))"
    assert in_child(code).strip() == "set()"


def test_plugin_without_paddleseg_ends_with_the_command_that_installs_it():
    code = (
        "import sys\nsys.modules['paddleseg'] = None\n"
        "try:\n    import paddleseg_u2net.plugin\nexcept ImportError as error:\n    print(error)"
    )
    assert "paddleseg is not installed. Fix: pip install --no-deps paddleseg" in in_child(code)


def test_two_classes_of_one_name_are_rejected():
    registry = Registry("MODELS")
    first = registry.register(type("Net", (), {"__module__": "a"}))
    assert registry.register(first) is first
    with pytest.raises(KeyError, match="MODELS: Net is registered already, by a"):
        registry.register(type("Net", (), {"__module__": "b"}))
