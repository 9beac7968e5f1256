"""Loading of configs, compared with paddleseg's Config, and what is rejected."""

from __future__ import annotations

import re

import pytest
import yaml
from paddleseg.cvlibs import Config
from support import ROOT, make_config

from paddleseg_u2net.config.loader import (
    class_count,
    class_names,
    find_config,
    load_config,
    preprocessing_of,
    section,
)
from paddleseg_u2net.config.schema import check_arguments
from paddleseg_u2net.config.yaml_text import dump_config, read_yaml
from paddleseg_u2net.errors import ConfigError

SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", [p for p in SHIPPED if "_base_" not in p.parts], ids=lambda p: p.name)
def test_shipped_configs_equal_those_read_by_paddleseg(path):
    stock = Config._parse_from_yaml(str(path))
    assert load_config(path) == stock
    Config(str(path))  # its own checks pass
    preprocessing_of(stock)


@pytest.mark.parametrize("path", [p for p in SHIPPED if "_base_" not in p.parts], ids=lambda p: p.name)
def test_shipped_configs_are_short_and_state_command_hardware_and_score(path):
    text = path.read_text()
    assert len([line for line in text.splitlines() if line and not line.startswith("#")]) <= 30
    for word in ("command:", "hardware:", "time:", "score:", str(path.relative_to(ROOT))):
        assert word in text, word


def test_earlier_bases_take_precedence_lists_replace_and_inheritance_can_be_disabled(tmp_path):
    (tmp_path / "a.yaml").write_text("iters: 1\nmodel: {type: A, layers: [1, 2], deep: {x: 1, y: 2}}\n")
    (tmp_path / "b.yaml").write_text("iters: 2\nbatch_size: 3\nmodel: {type: B, only_b: 1}\n")
    top = tmp_path / "top.yaml"
    top.write_text(
        "_base_: [a.yaml, b.yaml]\nmodel: {layers: [9], deep: {_inherited_: false, y: 3}}\nmetric: Acc\n"
    )
    expected = Config._parse_from_yaml(str(top))
    assert load_config(top) == expected
    assert expected["iters"] == 1
    assert expected["model"]["deep"] == {"y": 3}


def test_numbers_without_a_decimal_point_before_the_exponent_are_numbers(config):
    config.write_text(config.read_text().replace("learning_rate: 0.01", "learning_rate: 1e-4"))
    assert load_config(config)["lr_scheduler"]["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        ("iters=7", ["iters"], 7),
        ("lr_scheduler.learning_rate=1e-3", ["lr_scheduler", "learning_rate"], 1e-3),
        ("train_dataset.transforms.0.prob=0.25", ["train_dataset", "transforms", 0, "prob"], 0.25),
        ("test_config.minmax=true", ["test_config", "minmax"], True),
        ("model.pretrained=null", ["model", "pretrained"], None),
        ("loss.coef.0=2", ["loss", "coef", 0], 2),
        ("metric=MAE", ["metric"], "MAE"),
        ("val_dataset.dataset_root=a=b", ["val_dataset", "dataset_root"], "a=b"),
    ],
)
def test_opts_change_the_config(config, option, path, value):
    text = config.read_text() + "test_config: {minmax: false}\n"
    config.write_text(text)
    found = load_config(config, opts=[option])
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_flags_change_the_config(config):
    found = load_config(config, learning_rate=0.5, batch_size=9, iters=8)
    assert (found["lr_scheduler"]["learning_rate"], found["batch_size"], found["iters"]) == (0.5, 9, 8)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("itters=5", "tiny.yaml: --opts itters=5: no such key. Did you mean 'iters'?"),
        ("modle.num_classes=3", "--opts modle.num_classes=3: no such key. Did you mean 'model'?"),
        ("iters", "--opts iters: expected key=value"),
        ("iters=true", "iters: expected a whole number above 0, at most 2147483647, got True"),
        (
            "iters=99999999999999999999",
            "iters:1: '99999999999999999999': expected a whole number of at most 9223",
        ),
        ("batch_size=2147483647", "batch_size: expected a whole number above 0, at most 65536, got 21474"),
        ("lr_scheduler.learning_rate=.inf", "lr_scheduler.learning_rate: expected a finite number, at most"),
        ("lr_scheduler.power=1e999", "tiny.yaml: lr_scheduler.power: expected a finite number, at most"),
        ("optimizer.weight_decay=.nan", "tiny.yaml: optimizer.weight_decay: expected a finite number, at"),
        (
            "loss.coef=[-.inf]",
            "tiny.yaml: loss.coef.0: expected a finite number, at most 2147483647, got -inf",
        ),
        (
            "lr_scheduler.decay_steps=99999999999999999999",
            "decay_steps:1: '99999999999999999999': expected a whole",
        ),
        ("test_config={scales: [1e6]}", "scales: expected a number above 0 or a list of them, at most 100"),
        ("batch_size=0", "batch_size: expected a whole number above 0, at most 65536, got 0"),
        ("iters=[1", "--opts iters=[1: '[1' is not a YAML value"),
        ("metrics=[[mae]]", "metrics: expected all, or a list of mIoU, Acc"),
        ("metric=IoU", "metric: expected one of mIoU, Acc, Kappa, Dice, mae, max_f,"),
        ("model=3", "model: expected a mapping with 'type', got 3"),
        (
            "train_dataset.transforms.9.prob=1",
            "--opts train_dataset.transforms.9.prob=1: the list has 2 entries",
        ),
        ("loss=[1]", "loss: expected a mapping of 'types' and 'coef'"),
    ],
)
def test_wrong_opts_are_rejected_with_a_suggestion(config, option, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(config, opts=[option])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("itters: 5", "tiny.yaml:1: itters: no such key. Did you mean 'iters'?"),
        ("zzz: 5", "tiny.yaml:1: zzz: no such key. Known: batch_size"),
        ("iters: 5\niters: 6", "tiny.yaml:2: iters is given twice. Fix: keep one"),
        ("iters: [", "not a YAML file"),
        ("_base_: absent.yaml", "_base_: absent.yaml: no such file"),
        (f"_base_: {'x' * 5000}", "tiny.yaml: _base_: xxx"),
        ("- 1", "expected keys and values, got a list"),
        ("test_config: {aug_evall: true}", "test_config: aug_evall: no such key. Did you mean 'aug_eval'?"),
        (
            "test_config: {scales: [0]}",
            "scales: expected a number above 0 or a list of them, at most 100, got [0]",
        ),
        (
            "test_config: {scales: []}",
            "scales: expected a number above 0 or a list of them, at most 100, got []",
        ),
        ("test_config: {crop_size: 3}", "crop_size: expected [W, H], at most 32766, got 3"),
        ("test_config: {minmax: 1}", "minmax: expected true or false, got 1"),
        ("test_config: {refine: u2netp}", "refine: expected {model_path: …, margin: 0 or more, min_size"),
        ("class_names: cat", "class_names: expected a list of names, one per class, background included"),
        ("class_names: [a, 5]", "class_names: expected a list of names"),
        ("class_names: [a, b]\nmodel: {type: U2Net, num_classes: 3}", "class_names: a, b. Fix: 3 different"),
        ("test_config: {refine: {model_path: a, margin: .inf}}", "refine.margin: expected a finite number"),
    ],
)
def test_wrong_files_are_rejected_with_their_line(tmp_path, line, message):
    path = tmp_path / "tiny.yaml"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_: a.yaml", "a.yaml: _base_ is circular, leads back from .*a.yaml. Fix: remove one"),
        ("_base_: 5", "_base_: expected the path of a file or a list of them, got 5"),
        ("model: {{ROOT}}", "a.yaml:1: expected text as a key. Fix: quote values with braces"),
        ("5: x", "a.yaml:1: 5: no such key"),
        ("model: {type: U2Net, num_classes: two}", "num_classes: expected a whole number above 0, got 'two'"),
        (
            "val_dataset: {type: Dataset, transforms: Resize}",
            "val_dataset: expected a mapping with 'type', and",
        ),
    ],
)
def test_files_with_the_wrong_structure_are_rejected(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.yaml")


def test_null_removes_an_inherited_section(tmp_path, config):
    (tmp_path / "a.yaml").write_text(f"_base_: {config}\nval_dataset: null\n")
    assert "val_dataset" not in load_config(tmp_path / "a.yaml")


def test_text_that_looks_like_a_number_is_dumped_as_text(tmp_path):
    (tmp_path / "a.yaml").write_text(dump_config({"model": {"type": "1e5", "num_classes": 1}}))
    assert load_config(tmp_path / "a.yaml")["model"]["type"] == "1e5"


def test_shipped_configs_are_found_from_any_folder():
    assert find_config("configs/RGB/U2Net/u2net.yaml").samefile(ROOT / "configs/RGB/U2Net/u2net.yaml")
    assert find_config("RGB/U2Net/u2net.yaml").is_file()
    with pytest.raises(ConfigError, match=r"u2nett.yaml: no such file. Did you mean 'RGB/U2Net/u2net.yaml'"):
        find_config("configs/RGB/U2Net/u2nett.yaml")


def test_arguments_are_checked_against_the_constructor():
    def build(first, second=2):
        return first, second

    check_arguments("here", build, {"first": 1})
    with pytest.raises(ConfigError, match=r"here: secnd: no such key. Did you mean 'second'\?"):
        check_arguments("here", build, {"first": 1, "secnd": 2})
    with pytest.raises(ConfigError, match="here: first is missing"):
        check_arguments("here", build, {})


def test_missing_sections_and_keys_are_named(tmp_path):
    with pytest.raises(ConfigError, match="the config has no loss. Fix: add it"):
        section({}, "loss")
    with pytest.raises(ConfigError, match="num_classes is missing"):
        class_count({"model": {"type": "U2Net"}})
    assert class_count({"model": {}, "val_dataset": {"num_classes": 4}}) == 4


def test_a_dumped_config_reads_back(tmp_path, data):
    config = load_config(make_config(tmp_path / "a.yaml", data))
    (tmp_path / "b.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "b.yaml") == config
    assert yaml.safe_load(dump_config({"a": "ü"})) == {"a": "ü"}


def test_a_config_in_any_folder_finds_shipped_bases_and_data_relative_to_itself(tmp_path, monkeypatch):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    path = tmp_path / "data" / "mine" / "c.yaml"
    data = "{dataset_root: '${here}/../photos', train_path: '${here}/a.txt', mode: train}"
    path.write_text(f"_base_: configs/RGB/U2Net/u2netp.yaml\ntrain_dataset: {data}\n")
    assert load_config(path)["model"]["type"] == "U2Netp"
    for folder, root in ((tmp_path, "data/photos"), (tmp_path / "data" / "mine", "../photos")):
        monkeypatch.chdir(folder)
        found = load_config(path.relative_to(folder))["train_dataset"]
        assert found["dataset_root"] == root
        assert (folder / found["train_path"]).resolve() == path.parent / "a.txt"
        assert found["mode"] == "train"


def test_a_base_beside_the_file_takes_precedence_over_a_shipped_one(tmp_path):
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "duts.yaml").write_text("iters: 3\n")
    (tmp_path / "c.yaml").write_text("_base_: _base_/duts.yaml\n")
    assert load_config(tmp_path / "c.yaml") == {"iters": 3}


def test_class_names_are_those_of_the_config_or_numbers():
    one, three = ({"model": {"num_classes": count}} for count in (1, 3))
    assert class_names(one) == ["background", "object"]
    assert class_names(three) == ["class 0", "class 1", "class 2"]
    assert class_names({**three, "class_names": ["sky", "road", "car"]}) == ["sky", "road", "car"]
    for names in (["sky", "road"], ["sky", "sky", "car"]):
        with pytest.raises(ConfigError, match="class_names: sky, .*Fix: 3 different names, one per class"):
            class_names({**three, "class_names": names})


@pytest.mark.parametrize(
    ("wrong", "fix", "right"),
    [
        ("a: &x [*x]", "Fix: write the value out", "a: [1]"),
        ("a: 2024-99-99", "Fix: quote it as text, or correct it", "a: '2024-99-99'"),
        ("a: 2024-99-99", "Fix: quote it as text, or correct it", "a: 2024-09-09"),
    ],
)
def test_fixes_of_yaml_are_followed(tmp_path, wrong, fix, right):
    path = tmp_path / "a.yaml"
    path.write_text(wrong)
    with pytest.raises(ValueError, match=fix):
        read_yaml(path)
    path.write_text(right)
    assert read_yaml(path)
