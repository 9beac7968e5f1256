"""Each fix for weights and checkpoints is followed, and then they are read."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from support import TinyNet

from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.models.architecture import Identity, state_shapes
from paddleseg_u2net.models.averaging import average_states
from paddleseg_u2net.models.checkpoint import Progress, load_checkpoint, save_checkpoint
from paddleseg_u2net.models.fit import check_fit
from paddleseg_u2net.models.pretrained import load_strict, resolve
from paddleseg_u2net.models.safe_pickle import Storage
from paddleseg_u2net.models.stock_weights import with_way_round
from paddleseg_u2net.models.unpickler import Unread
from paddleseg_u2net.models.weight_files import read_state, state_of

WEIGHTS = {"conv.weight": np.ones((2, 3), np.float32)}


def write(path, content) -> None:
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))


# a file, the fix in the message, and the file after the fix
FILES = [
    (b"", "is empty. Fix: fetch or save it again", WEIGHTS),
    (b"<html>", "is a web page. Fix: fetch the file itself", WEIGHTS),
    (b"version https://git-lfs.github.com/spec/v1", "Fix: git lfs pull", WEIGHTS),
    (b"model_checkpoint_path", "Fix: save with model.save_weights('u2net.h5')", WEIGHTS),
    (b"PK\x05\x06" + bytes(18), "Fix: fetch it again, or unpack it", WEIGHTS),
    (b"JUNK", "no known format does. Fix: a file of PyTorch (.pth, .pt", WEIGHTS),
    (pickle.dumps(WEIGHTS)[:-9], "Fix: fetch or save it again", WEIGHTS),
    ({"epoch": 3}, "holds no tensors. Fix: save the state_dict() of the network", WEIGHTS),
]


@pytest.mark.parametrize(("wrong", "message", "right"), FILES)
def test_files(tmp_path, wrong, message, right):
    write(tmp_path / "w", wrong)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_state(tmp_path / "w")
    write(tmp_path / "w", right)
    assert read_state(tmp_path / "w")["conv.weight"].shape == (2, 3)


def test_names_of_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Fix: a path, or one of (\w+)") as error:
        resolve("nothing.like.it")
    write(tmp_path / "w", WEIGHTS)
    assert resolve(str(tmp_path / "w")) == tmp_path / "w"
    assert "u2netp" in str(error.value)
    (tmp_path / "run" / "iter_2").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="Fix: the path of a weight file, a run or an export"):
        resolve(str(tmp_path / "run"))
    write(tmp_path / "run" / "iter_2" / "model.pdparams", WEIGHTS)
    assert resolve(str(tmp_path / "run")).parent.name == "iter_2"


def test_weights_that_are_not_finite(tmp_path):
    good, bad = TinyNet(1), state_of(TinyNet(1))
    key = next(iter(bad))
    bad[key] = np.full_like(bad[key], np.nan)
    for name, state in (("good", state_of(good)), ("bad", bad)):
        paddle.save(state, str(tmp_path / name))
    with pytest.raises(ValueError, match="NaN or infinity. Fix: an earlier checkpoint"):
        load_strict(TinyNet(1), tmp_path / "bad")
    load_strict(TinyNet(1), tmp_path / "good")


def test_weights_of_another_network(tmp_path):
    paddle.save({"other.weight": paddle.zeros([2])}, str(tmp_path / "other"))
    paddle.save(TinyNet(1).state_dict(), str(tmp_path / "own"))
    with pytest.raises(ValueError, match="Fix: complete weights of TinyNet, and the model section that they"):
        load_strict(TinyNet(1), tmp_path / "other")
    load_strict(TinyNet(1), tmp_path / "own")


def test_weights_that_are_averaged():
    states = {"a": WEIGHTS, "b": WEIGHTS}
    with pytest.raises(ValueError, match="Fix: one number of at least 0 for each, with a sum of 1"):
        average_states(states, [0.5, 0.6])
    average_states(states, [0.4, 0.6])
    with pytest.raises(ValueError, match="Fix: average weights of the same network and number of classes"):
        average_states({**states, "c": {"conv.weight": np.ones((1, 3), np.float32)}})
    average_states(states)


def test_addresses_of_stock_networks(tmp_path):
    section = {"type": "ENet", "pretrained": "https://host/a.tar.gz"}
    error = with_way_round(ConfigError("HTTP Error 404"), section)
    assert "Fix: fetch and unpack the file yourself and give its path, or pretrained: null" in str(error)
    write(tmp_path / "a", WEIGHTS)
    for fixed in (str(tmp_path / "a"), None):
        assert with_way_round(ConfigError("other"), {**section, "pretrained": fixed}).args == ("other",)


def test_weights_of_another_size():
    given = state_shapes(Identity("U2Netp", 3, 1))
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in given.items()}
    with pytest.raises(ValueError, match="Fix: in the config, model: {type: U2Netp") as error:
        check_fit("w", "U2Net", state, state_shapes(Identity("U2Net", 3, 1)))
    section = yaml.safe_load(re.search("model: ({.*})", str(error.value))[1])
    check_fit(
        "w",
        section["type"],
        state,
        state_shapes(Identity(*(section[key] for key in ("type", "in_channels", "num_classes")))),
    )


# -- checkpoints ------------------------------------------------------------------------------------------


class Run:
    """A run folder with the checkpoint iter_2 of a small network."""

    def __init__(self, folder, optimizer=paddle.optimizer.Adam, network=TinyNet, ema: bool = False):
        self.folder, self.network = folder / "iter_2", network(1)
        decay = paddle.optimizer.lr.PolynomialDecay(0.1, 10)
        self.optim = optimizer(decay, parameters=self.network.parameters())
        self.ema = network(1) if ema else None
        if not self.folder.exists():
            progress = Progress(iter=2, metric="mae")
            save_checkpoint(self.folder, self.network, self.optim, self.ema, None, progress, {})

    def load(self, folder=None):
        return load_checkpoint(folder or self.folder, self.network, self.optim, self.ema, None, "mae")


def damage(name: str, content: bytes):
    """A function that replaces a file of a checkpoint, as if it had been written so."""

    def spoil(run):
        state = json.loads((run.folder / "state.json").read_text())
        state.pop("sha256")
        (run.folder / "state.json").write_text(json.dumps(state))
        (run.folder / name).write_bytes(content)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: shutil.rmtree(run.folder), "no such folder. Fix: give an iter_N folder of a run"),
        (lambda run: (run.folder / "model.pdopt").unlink(), "Fix: give an iter_N folder of a run"),
        (damage("state.json", b"{"), "is damaged: .*Fix: use another checkpoint"),
        (
            damage("state.json", b'{"iter": "2"}'),
            "not the record of a run: .*Fix: resume from another checkpoint",
        ),
        (damage("model.pdopt", pickle.dumps([1])), "not the state of an optimizer. Fix: resume from another"),
        (damage("model.pdopt", b"\x80\x04"), "Fix: use another checkpoint"),
    ],
)
def test_another_checkpoint(tmp_path, spoil, message):
    run = Run(tmp_path)
    shutil.copytree(run.folder, tmp_path / "iter_1")
    spoil(run)
    with pytest.raises((ValueError, OSError), match=message):
        run.load()
    assert run.load(tmp_path / "iter_1").iter == 2


def test_folders_beside_a_checkpoint(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(FileNotFoundError, match="is the folder of a run. Fix: --resume_model (.*)") as error:
        run.load(tmp_path)
    assert run.load(Path(str(error.value).rpartition("--resume_model ")[2])).iter == 2
    (run.folder / "state.json").unlink()
    with pytest.raises(
        FileNotFoundError, match="Fix: start a new run from its weights: --opts model"
    ) as error:
        run.load()
    load_strict(TinyNet(1), resolve(str(error.value).rpartition("model.pretrained=")[2]))


def test_checkpoints_of_another_run(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(
        ValueError, match="Fix: use the same optimizer, or start a new run with model.pretrained"
    ):
        Run(tmp_path, paddle.optimizer.SGD).load()
    load_strict(TinyNet(1), run.folder / "model.pdparams")
    with pytest.raises(FileNotFoundError, match="give an iter_N folder of a run that used --use_ema"):
        Run(tmp_path, ema=True).load()
    assert Run(tmp_path / "ema", ema=True).load().iter == 2
    damage("model.pdopt", pickle.dumps({"strange_0.w_0": np.ones(2, np.float32)}))(run)
    with pytest.raises(ValueError, match="Fix: use the model section that the run was started with"):
        run.load()
    assert Run(tmp_path / "own").load().iter == 2


def test_numbers_and_views_of_pytorch(tmp_path):
    with pytest.raises(ValueError, match="expected numbers. Fix: save them as float32"):
        Storage(Unread("torch.QInt8Storage"), 3)
    assert Storage("<f4", 3).bytes == 12
