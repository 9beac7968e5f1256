"""Each fix that a message about a model, its export or its prediction gives is followed and succeeds."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from support import TinyNet, make_config, pixels, write_mask

from paddleseg_u2net.engines.adapters import PhotographEngine
from paddleseg_u2net.engines.base import open_engine
from paddleseg_u2net.engines.deploy_config import RECORD
from paddleseg_u2net.inference.outputs import plan_outputs
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.refine import TwoPassPredictor


@pytest.fixture
def words(run):
    """A function that runs the words of a command: exit code, all that was printed."""

    def call(text: str) -> tuple[int, str]:
        code, out, err = run(*shlex.split(text))
        return code, out + err

    return call


def change(**values):
    """A function that changes `Deploy` in the record of an export."""

    def call(folder: Path) -> None:
        content = yaml.safe_load((folder / RECORD).read_text())
        content["Deploy"].update(values)
        (folder / RECORD).write_text(yaml.safe_dump(content))

    return call


DAMAGES = [
    (lambda folder: (folder / "model.json").unlink(), "Fix: export it again"),
    (change(sha256={}), "sha256 lacks model.json. Fix: export the model again"),
    (change(sha256=[]), "and 'sha256' as a mapping. Fix: export the model again"),
    (change(sha256={"../w": "0"}), "lies outside of the folder. Fix: export the model again"),
]
EXPORT_FLAGS = [
    ("--precision int8", "was exported as fp32. Fix: leave --precision out", ""),
    ("--backend openvino", "Fix: paddle_inference or auto", "--backend paddle_inference"),
    ("--backend openvino", "Fix: paddle_inference or auto", "--backend auto"),
]


def test_fixes_of_exports(words, config, data):
    paddle.save(TinyNet(1).state_dict(), "w.pdparams")
    export = "export --config tiny.yaml --model_path w.pdparams --format paddle --save_dir e"
    predict = "predict 'my data/images/p0.png' --outputs saliency --model_path e"
    assert words(export)[0] == 0
    for flags, fix, right in EXPORT_FLAGS:
        code, text = words(f"{predict} {flags}")
        assert (code, fix in text) == (1, True), text
        assert words(f"{predict} {right}")[0] == 0
    with pytest.raises(ValueError, match="--device xpu: .*Fix: cpu or gpu"):
        open_engine("paddle_inference", Path("e/model.json"), "xpu")
    assert open_engine("paddle_inference", Path("e/model.json"), "cpu")
    shutil.copytree("e", "good")
    for damage, fix in DAMAGES:
        shutil.rmtree("e")
        shutil.copytree("good", "e")
        damage(Path("e"))
        code, text = words(predict)
        assert (code, fix in text) == (1, True), text
    code, text = words(export)
    assert (code, "Fix: choose another --save_dir, or remove it" in text) == (1, True)
    shutil.rmtree("e")
    assert words(export)[0] == 0
    assert words(predict)[0] == 0


MULTILABEL = [
    # words of a command, the fix, and the words that follow it
    ("predict {m} --backend openvino", "Fix: leave --backend and --precision out", "predict {m}"),
    ("predict {m} --refine w.pdparams", "Fix: leave --refine out", "predict {m}"),
    (
        "predict {m} --model_path e",
        "e is an export. Fix: the weights it was made from",
        "predict {m} --model_path w.pdparams",
    ),
    (
        "export --config c.yaml --model_path w.pdparams --save_dir f --opts use_multilabel=true",
        "Fix: u2net predict with the weights",
        "predict {m}",
    ),
    (
        "train --config c.yaml --use_multilabel --overfit --save_dir run",
        "Fix: leave --overfit out",
        "train --config c.yaml --use_multilabel --iters 1 --save_dir run",
    ),
]


def test_fixes_of_labels_that_overlap(words, data):
    for path in (data / "masks").iterdir():
        mask = (pixels(path) > 0).astype(np.uint8)
        write_mask(path, np.hstack([mask, mask[::-1]]))
    loss = {"types": [{"type": "SaliencyLoss"}], "coef": [1]}
    make_config(Path("c.yaml"), data, num_classes=2, loss=loss)
    paddle.save(TinyNet(2).state_dict(), "w.pdparams")
    export = "export --config c.yaml --model_path w.pdparams --format paddle --save_dir e"
    assert words(f"{export} --image_path 'my data/images'")[0] == 0
    model = (
        "'my data/images/p0.png' --outputs saliency --config c.yaml --use_multilabel --model_path w.pdparams"
    )
    for wrong, fix, right in MULTILABEL:
        code, text = words(wrong.format(m=model))
        assert (code, fix in text) == (1, True), text
        code, text = words(right.format(m=model))
        assert code == 0, text


def settings(num_classes: int = 1) -> dict:
    return {"model": {"num_classes": num_classes}, "val_dataset": {"transforms": []}}


def red(batch: np.ndarray) -> np.ndarray:
    return batch[:, :1] / np.float32(255)


IMAGE = np.full((9, 8, 3), 200, np.uint8)
ONE, TWO = Predictor(red, settings()), Predictor(lambda batch: batch[:, :2] / 400, settings(2))
STRETCHED = Predictor(red, settings(), map_protocol="minmax")
PHOTOGRAPHS = PhotographEngine(lambda batch: batch[..., :1].transpose(0, 3, 1, 2) / np.float32(255))
CALLS = [
    # a call from Python, the fix, and the call that follows it
    (lambda: Predictor(red), "Fix: Predictor(engine, config)", lambda: Predictor(red, settings())(IMAGE)),
    (
        lambda: Predictor(red, settings(2))(IMAGE),
        "Fix: the config that it was trained with",
        lambda: Predictor(red, settings(1))(IMAGE),
    ),
    (
        lambda: Predictor(lambda batch: red(batch) * np.nan, settings())(IMAGE),
        "Fix: weights of a run that did not diverge",
        lambda: Predictor(red, settings())(IMAGE),
    ),
    (
        lambda: Predictor(PHOTOGRAPHS, settings(), map_protocol="official"),
        "Fix: the model it was made from, or an export without --with_preprocessing",
        lambda: Predictor(red, settings(), map_protocol="official")(IMAGE),
    ),
    (
        lambda: TwoPassPredictor(ONE, TWO),
        "Fix: a model of the same classes",
        lambda: [TwoPassPredictor(ONE, ONE)(IMAGE), TwoPassPredictor(TWO, TWO)(IMAGE)],
    ),
    (
        lambda: TwoPassPredictor(ONE, STRETCHED),
        "Fix: Predictor(…, map_protocol='plain') twice, and the protocol here",
        lambda: TwoPassPredictor(ONE, ONE, map_protocol="minmax")(IMAGE),
    ),
    (
        lambda: plan_outputs([Path("a.gif"), Path("a.gif.png")], Path(), Path("out"), ["added"]),
        "Fix: rename the images",
        lambda: plan_outputs([Path("a.gif"), Path("b.png")], Path(), Path("out"), ["added"]),
    ),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), CALLS, ids=[row[1] for row in CALLS])
def test_fixes_of_calls(wrong, fix, right):
    with pytest.raises((ValueError, FloatingPointError)) as error:
        wrong()
    assert fix in str(error.value)
    right()
