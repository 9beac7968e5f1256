"""`u2net val` and its flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from support import PREDICTION_FLAGS, make_config, scores

from paddleseg_u2net.models.weight_files import read_state


def test_val_equals_the_evaluation_of_training(run, trained, config):
    text = run("train", "--config", config, "--iters", 2, "--do_eval", "--seed", 0, "--save_dir", "again")[1]
    for model in (trained, trained / "best_model", trained / "iter_2" / "model.pdparams"):
        code, found, _ = run("val", "--model_path", model)
        assert code == 0
        assert scores(found).items() <= scores(text).items() | scores(found).items()
        assert {k: scores(text)[k] for k in scores(found)} == scores(found)
    assert run("val", "--config", config, "--model_path", trained)[0] == 0


def test_model_without_config_is_rejected(run, trained, config, tmp_path):
    bare = tmp_path / "bare.pdparams"
    bare.write_bytes((trained / "best_model" / "model.pdparams").read_bytes())
    code, _, error = run("val", "--model_path", bare)
    assert code == 1
    assert "bare.pdparams carries no config (config.yaml beside it). Fix: add --config" in error
    assert run("val", "--model_path", bare, "--config", config)[0] == 0


@pytest.mark.parametrize(
    "flags",
    [
        *PREDICTION_FLAGS,
        ["--map_protocol", "minmax"],
        ["--map_protocol", "official"],
        ["--opts", "test_config={minmax: true, as_is: true}"],
        ["--opts", "test_config={map_protocol: minmax, measure_stretch: none}"],
    ],
)
def test_each_flag_changes_the_scores(run, trained, flags):
    flags = ["--aug_eval" if flag == "--aug" else flag for flag in flags]
    as_is = ["--opts", "test_config.as_is=true"]
    plain, changed = run("val", "--model_path", trained, *as_is), run("val", "--model_path", trained, *flags)
    if "--opts" not in flags:
        changed = run("val", "--model_path", trained, *flags, *as_is)
    assert (plain[0], changed[0]) == (0, 0)
    assert scores(plain[1])["MAE"] != scores(changed[1])["MAE"]
    assert ("stretched to 0 .. 1" in changed[1]) == ("minmax" in str(flags))
    assert ("u2net_test.py" in changed[1]) == ("official" in str(flags))


def test_stride_and_crop_size_change_the_scores(run, trained):
    found = [
        scores(run("val", "--model_path", trained, "--is_slide", "--crop_size", c, c, "--stride", s, s)[1])[
            "MAE"
        ]
        for c, s in ((9, 5), (9, 9), (16, 5))
    ]
    assert len(set(found)) == 3


def test_auc_roc_is_printed_with_its_flag(run, trained):
    assert "Auc_roc" not in run("val", "--model_path", trained)[1]
    assert 0 <= scores(run("val", "--model_path", trained, "--auc_roc")[1])["Auc_roc"] <= 1


@pytest.mark.parametrize("flags", [["--num_workers", 2], ["--batch_size", 2]])
def test_threads_and_batches_do_not_change_the_scores(run, trained, flags):
    assert scores(run("val", "--model_path", trained, *flags)[1]) == scores(
        run("val", "--model_path", trained)[1]
    )


def test_map_protocol_of_class_maps_is_rejected(run, data, tmp_path):
    config = make_config(tmp_path / "two.yaml", data, num_classes=2)
    assert run("train", "--config", config, "--iters", 1)[0] == 0
    for words in (["val"], ["predict", "--image_path", data / "images"]):
        code, _, error = run(*words, "--model_path", "output", "--minmax")
        assert (code, "map_protocol minmax: is for saliency maps (num_classes: 1)" in error) == (1, True)


def test_log_names_the_weights(run, trained):
    assert (
        f"Model {trained}/best_model/model.pdparams, fp32; backend paddle on cpu"
        in run("val", "--model_path", trained)[1]
    )


def test_weights_with_nan_are_rejected(run, trained):
    path = trained / "best_model" / "model.pdparams"

    state = {key: value * np.nan for key, value in read_state(path).items()}
    paddle.save({key: paddle.to_tensor(value) for key, value in state.items()}, str(path))
    code, _, error = run("val", "--model_path", trained)
    assert (code, "holds NaN or infinity. Fix: an earlier checkpoint" in error) == (1, True)


def test_weights_of_another_network_are_rejected(run, trained, config):
    code, _, error = run("val", "--model_path", trained, "--config", config, "--opts", "model.type=U2Netp")
    assert code == 1
    assert "does not fit U2Netp" in error


def test_unknown_model_is_rejected(run):
    for name, hint in (("u2nett", "Did you mean 'u2net'?"), ("a/b", "Fix: a path, or one of u2netp, u2net")):
        code, _, error = run("val", "--model_path", name)
        assert (code, f"{name}: no such weight file or run folder. {hint}" in error) == (1, True)
    Path("empty").mkdir()
    code, _, error = run("val", "--model_path", "empty")
    assert (code, "empty: holds no model.pdparams or ema_model.pdparams" in error) == (1, True)


def test_flag_wins_over_the_map_protocol_of_the_config(run, trained):
    for key in ("official=true", "map_protocol=official"):
        words = ["val", "--model_path", trained, "--opts", f"test_config.{key}"]
        assert "maps as u2net_test.py saves them" in run(*words)[1]
        for flags in (["--minmax"], ["--map_protocol", "minmax"]):
            assert "maps stretched to 0 .. 1" in run(*words, *flags)[1]
        assert "maps as predicted" in run(*words, "--map_protocol", "plain")[1]


def test_contradicting_map_protocols_are_rejected(run, trained):
    code, _, error = run("val", "--model_path", trained, "--map_protocol", "plain", "--official")
    assert (code, "map_protocol: plain and official: true contradict each other. Fix" in error) == (1, True)
    opts = ["--opts", "test_config={map_protocol: official, official: false}"]
    code, _, error = run("val", "--model_path", trained, *opts)
    assert (code, "map_protocol: official and official: false contradict" in error) == (1, True)
    code, _, error = run("val", "--model_path", trained, "--opts", "test_config.map_protocol=offical")
    assert (code, "map_protocol: expected one of plain, minmax, official, got 'offical'" in error) == (
        1,
        True,
    )
