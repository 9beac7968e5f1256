"""`u2net val` and its flags."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import paddle
import pytest
from support import PREDICTION_FLAGS, make_config, pixels, scores

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
    assert "bare.pdparams carries no config. Fix: put its config beside it, as" in error
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
    state = read_state(trained / "best_model" / "model.pdparams")
    path = trained / "nan.pdparams"
    paddle.save({key: paddle.to_tensor(value * np.nan) for key, value in state.items()}, str(path))
    code, _, error = run("val", "--model_path", path)
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


def test_another_list_is_measured_by_an_override(run, trained, data):
    lines = (data / "train_list.txt").read_text().splitlines(keepends=True)
    (data / "test_list.txt").write_text("".join(lines[:3]))  # relative to dataset_root
    Path("elsewhere.txt").write_text("".join(lines[:3]))  # relative to the working folder
    opts = (
        ["val_dataset.val_path=test_list.txt"],
        ["val_dataset.val_path=elsewhere.txt"],
        ["val_dataset.mode=test", "val_dataset.test_path=test_list.txt"],
    )
    found = [run("val", "--model_path", trained, "--opts", *words) for words in opts]
    assert [code for code, _, _ in found] == [0, 0, 0]
    assert all("#Images: 3" in text for _, text, _ in found)
    assert scores(found[0][1]) == scores(found[1][1]) == scores(found[2][1])


def test_details_are_written_with_what_identifies_the_model(run, trained):
    code, text, error = run(
        "val", "--model_path", trained, "--save_dir", "scores", "--flip_horizontal", "--aug_eval"
    )
    assert (code, error) == (0, "")
    found = json.loads(Path("scores/metrics.json").read_text())
    assert {name: round(found["scores"][name], 4) for name in ("mIoU", "MAE")}.items() <= scores(text).items()
    weights = trained / "best_model" / "model.pdparams"
    assert found["model"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (found["model"]["engine"], found["model"]["precision"]) == ("PaddleEngine", "fp32")
    assert (found["refine"], found["augmentation"]["flip_horizontal"]) == (None, True)
    assert found["config"]["val_dataset"]["val_path"] == "val_list.txt"
    assert "u2net" in found["versions"]
    assert len(Path("scores/per_image.csv").read_text().splitlines()) == 1 + found["images"] == 3


def test_details_that_cannot_be_written_are_reported_before_the_evaluation(run, trained):
    Path("file").touch()
    code, text, error = run("val", "--model_path", trained, "--save_dir", "file/scores")
    assert (code, "#Images" in text, "Fix: choose another --save_dir" in error) == (1, False, True)


def test_class_names_must_fit_the_classes(run, trained):
    code, _, error = run("val", "--model_path", trained, "--opts", "class_names=[a, b, c]")
    assert (code, "class_names: a, b, c. Fix: 2 different names, one per class" in error) == (1, True)


@pytest.mark.parametrize("num_classes", [1, 2])
def test_two_passes_are_measured_as_they_are_predicted(run, data, tmp_path, num_classes):
    config = make_config(tmp_path / "tiny.yaml", data, num_classes=num_classes)
    crop = ["{type: CropForeground, min_size: 8}", "{type: Resize, target_size: [16, 16]}, {type: Normalize}"]
    whole = ["{type: Normalize}"]
    for name, iters, transforms in (("first", 20, whole), ("second", 4, crop)):
        flags = f"--iters {iters} --save_interval {iters} --learning_rate 0.1 --seed 0 --save_dir {name}"
        opts = ["--opts", f"train_dataset.transforms=[{', '.join(transforms)}]"]
        assert run("train", "--config", config, *flags.split(), *opts)[0] == 0
    passes = ["--model_path", "first/iter_20", "--refine", "second/iter_4", "--refine_size", 9]
    code, text, error = run("val", *passes, "--save_dir", "scores")
    assert (code, error) == (0, "")
    plain = run("val", "--model_path", "first/iter_20")[1]
    assert scores(text) != scores(plain)
    refine = json.loads(Path("scores/metrics.json").read_text())["refine"]
    weights = Path("second/iter_4/model.pdparams").read_bytes()
    expected = {"margin": 0.5, "min_size": 9, "sha256": hashlib.sha256(weights).hexdigest()}
    assert expected.items() <= refine.items()

    assert run("predict", data / "images", *passes, "--outputs", "pseudo_color", "--save_dir", "out")[0] == 0
    names = [line.split("\t")[0] for line in (data / "val_list.txt").read_text().splitlines()]
    found = [pixels(Path("out/pseudo_color_prediction", Path(name).name)) for name in names]
    masks = [pixels(data / name.replace("images", "masks")) // 255 for name in names]
    accuracy = np.mean([prediction == mask for prediction, mask in zip(found, masks, strict=True)])
    assert scores(text)["Acc"] == round(accuracy, 4)


def test_second_pass_of_the_config_is_followed_and_checked(run, trained):
    refine = f"test_config.refine={{model_path: {trained}, margin: 0.1}}"
    flags = ["--refine", trained, "--refine_margin", 0.1]
    found = [run("val", "--model_path", trained, *words) for words in (["--opts", refine], flags)]
    assert [code for code, _, _ in found] == [0, 0]
    assert scores(found[0][1]) == scores(found[1][1])
    for value, message in (
        (
            "{margin: 0.1}",
            "test_config: refine: expected {model_path: …, margin: 0 or more, min_size: pixels}",
        ),
        ("{model_path: a, margn: 1}", "test_config: refine: expected"),
        ("{model_path: a, margin: -1}", "test_config: refine: expected"),
    ):
        code, _, error = run("val", "--model_path", trained, "--opts", f"test_config.refine={value}")
        assert (code, message in error) == (1, True)
    code, _, error = run("val", "--model_path", trained, "--refine", trained, "--official")
    assert (code, "official maps come from a single pass" in error) == (1, True)
    code, _, error = run("val", "--model_path", trained, "--refine_size", 9)
    assert (code, "--refine_size: no effect alone. Fix: add --refine" in error) == (1, True)
