"""Which weights a run folder stands for, also one that PaddleSeg wrote."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from support import TinyNet, make_config

from paddleseg_u2net.builders import build_network
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.export.cache import load_network
from paddleseg_u2net.models.pretrained import resolve, without_pretrained
from paddleseg_u2net.models.run_folders import best_file, numbered
from paddleseg_u2net.models.u2net import U2Netp


def stock_run(folder, network, steps=(200, 400)):
    """A run as PaddleSeg leaves it: iter_N folders with weights and optimizer, but no state.json."""
    for step in steps:
        target = folder / f"iter_{step}"
        target.mkdir(parents=True)
        paddle.save(network.state_dict(), str(target / "model.pdparams"))
        paddle.save({"LR_Scheduler": {"last_epoch": step}}, str(target / "model.pdopt"))
    return folder


def test_the_best_model_comes_first_then_the_newest_checkpoint(tmp_path):
    run = stock_run(tmp_path / "run", TinyNet(1))
    assert best_file(run) == run / "iter_400" / "model.pdparams" == resolve(str(run))
    assert best_file(run / "iter_200") == run / "iter_200" / "model.pdparams"
    (run / "best_model").mkdir()
    (run / "best_model" / "model.pdparams").touch()
    assert best_file(run) == run / "best_model" / "model.pdparams"
    assert [path.name for path in numbered(run)] == ["iter_200", "iter_400"]
    with pytest.raises(FileNotFoundError, match="neither a run nor an export"):
        best_file(tmp_path)


def test_weights_to_start_from_are_not_fetched_where_others_replace_them(tmp_path):
    network = build_network({"type": "ENet", "num_classes": 1})
    run = stock_run(tmp_path / "run", network, [200])
    missing = {"pretrained": "nofile"}
    assert load_network(best_file(run), {"type": "ENet", "num_classes": 1, **missing})
    assert without_pretrained({"type": "A", "backbone": {"type": "B", **missing}, **missing}) == {
        "type": "A",
        "backbone": {"type": "B"},
    }


def test_a_run_folder_is_a_value_of_pretrained(tmp_path):
    source = U2Netp(1)
    run = stock_run(tmp_path / "run", source, [200])
    network = build_network({"type": "U2Netp", "num_classes": 1, "pretrained": str(run)})
    np.testing.assert_array_equal(network.outconv.weight.numpy(), source.outconv.weight.numpy())


def test_a_run_folder_is_a_value_of_pretrained_of_networks_of_paddleseg(tmp_path):
    cfg = {"type": "ENet", "num_classes": 2}
    source = build_network(cfg)
    run = stock_run(tmp_path / "run", source, [200])
    network = build_network({**cfg, "pretrained": str(run)})
    for key, value in source.state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[key].numpy(), value.numpy())
    with pytest.raises(FileNotFoundError, match="nofile: no such weight file or run folder. Fix: a path"):
        build_network({**cfg, "pretrained": "nofile"})


def test_checkpoints_of_paddleseg_are_weights_and_not_resumed(tmp_path, data, capsys):
    run = stock_run(tmp_path / "stock", build_network({"type": "ENet", "num_classes": 1}), [200])
    loss = {"types": [{"type": "SaliencyLoss"}], "coef": [1]}
    config = make_config(tmp_path / "c.yaml", data, model="ENet", loss=loss)
    for folder in (run, run / "iter_200"):
        assert main(["val", "--config", str(config), "--model_path", str(folder)]) == 0
    words = ["train", "--config", str(config), "--iters", "1", "--save_dir", str(tmp_path / "new")]
    capsys.readouterr()
    assert main([*words, "--resume_model", str(run / "iter_200")]) == 1
    message = capsys.readouterr().err
    fix = f"Fix: start a new run from its weights: --opts model.pretrained={run / 'iter_200'}"
    assert fix in message
    assert main([*words, *fix.split(": ")[-1].split()]) == 0
