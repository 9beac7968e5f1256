"""Objects built from config sections, and sections that are rejected."""

from __future__ import annotations

import re

import numpy as np
import paddle
import pytest
from paddleseg.cvlibs import manager
from support import ROOT, TinyNet, draw_pair

from paddleseg_u2net.builders import (
    build_dataset_spec,
    build_losses,
    build_network,
    build_optimizer,
    register,
)
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.losses.cross_entropy import CrossEntropyLoss


def test_only_u2net_u2netp_and_cross_entropy_replace_classes_of_paddleseg():
    register()
    ours = {
        f"{kind}.{name}"
        for kind in ("MODELS", "BACKBONES", "DATASETS", "TRANSFORMS", "LOSSES", "OPTIMIZERS")
        for name, component in getattr(manager, kind).components_dict.items()
        if component.__module__.startswith("paddleseg_u2net")
    }
    replaced = {"MODELS.U2Net", "MODELS.U2Netp", "LOSSES.CrossEntropyLoss"}
    added = {"LOSSES.SaliencyLoss", "TRANSFORMS.ResizeSoftMask", "TRANSFORMS.RandomCrop"}
    assert ours == replaced | added | {"TRANSFORMS.CropForeground", "TRANSFORMS.NormalizeByMax"}


def test_register_returns_nothing_and_may_be_called_again():
    assert register() is None
    assert register() is None


def test_scikit_learn_is_imported_when_paddleseg_computes_an_auc():
    from paddleseg.utils import metrics

    assert metrics.skmetrics.__class__.__module__ == "paddleseg_u2net.environment.optional_imports"
    logits, label = np.float32([[[[0, 1], [2, 3]]]]), np.int64([[[[0, 0], [1, 1]]]])
    assert metrics.auc_roc(np.concatenate([-logits, logits], axis=1), label, 2) == 1
    from sklearn.metrics import roc_auc_score

    assert metrics.skmetrics.roc_auc_score is roc_auc_score


def test_paddleseg_cross_entropy_still_fails_which_is_why_it_is_replaced():
    from paddleseg.models.losses.cross_entropy_loss import CrossEntropyLoss as Stock

    logits, label = paddle.randn([1, 2, 4, 4]), paddle.zeros([1, 4, 4], "int64")
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        Stock()(logits, label)
    assert CrossEntropyLoss()(logits, label).item() > 0


def test_networks_of_paddleseg_are_built():
    assert type(build_network({"type": "TinyNet", "num_classes": 2})) is TinyNet
    assert type(build_network({"type": "ENet", "num_classes": 2})).__module__.startswith("paddleseg.")


def test_parameter_names_do_not_depend_on_what_was_built_before():
    first = build_network({"type": "TinyNet", "num_classes": 1})
    paddle.nn.Conv2D(1, 1, 1)
    second = build_network({"type": "TinyNet", "num_classes": 1})
    assert [p.name for p in first.parameters()] == [p.name for p in second.parameters()]


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["model.type=U2Nett"], "model: type: U2Nett: no such component. Did you mean 'U2Net'"),
        (["model.depth=3"], "model: TinyNet: depth: no such key"),
        (
            ["model={type: U2Netp, num_clases: 1}", "loss.coef=[1, 1, 1, 1, 1, 1, 1]"],
            "num_clases: no such key. Did you mean 'num_classes'?",
        ),
        (
            ["loss={types: [{type: BCELos}], coef: [1]}"],
            "loss.types[0]: type: BCELos: no such component. Did you mean",
        ),
        (["loss={types: [{kind: BCE}], coef: [1]}"], "loss.types: expected a list of mappings with 'type'"),
        (["loss.types.0.bcee=1"], "loss.types[0]: SaliencyLoss: bcee: no such key. Did you mean 'bce'?"),
        (
            ["loss={types: [{type: SaliencyLoss}, {type: SaliencyLoss}], coef: [1, 1, 1]}"],
            "2 types and 3 coef",
        ),
        (
            ["loss.types.0.type=CrossEntropyLoss"],
            "CrossEntropyLoss does not suit num_classes: 1. Fix: type: Sal",
        ),
        (
            ["loss.types.0={type: MixedLoss, losses: [{type: BCELoss, ignore_index: 7}], coef: [1]}"],
            "ignore_index: 7: samples mark ignored pixels by 255",
        ),
        (
            ["model={type: U2Netp, num_classes: 1}"],
            "coef: 1 number, but U²-Net has 7 outputs. Fix: one per output",
        ),
        (["model.in_channels=1"], "images of 3 channels, but model: in_channels: 1. Fix: set img_channels"),
        (["train_dataset.mask_colors=[1]"], "train_dataset: mask_colors: expected different colours as {0:"),
        (["train_dataset.train_path=3"], "train_dataset: train_path: expected text, got 3"),
        (["loss.types.0.ignore_index=250"], "samples mark ignored pixels by 255"),
        (["optimizer.type=Adan"], "optimizer: type: Adan: no such component. Did you mean 'Adam'?"),
        (["optimizer.momentum=0.9"], "optimizer: Adam: momentum: no such key"),
        (["lr_scheduler.type=PolyDecay"], "lr_scheduler: type: PolyDecay: no such schedule. Did you mean"),
        (["lr_scheduler.powr=1"], "lr_scheduler: PolynomialDecay: powr: no such key. Did you mean 'power'?"),
        (
            ["train_dataset.type=Citiscapes"],
            "type: Citiscapes: no such component. Did you mean 'Cityscapes'?",
        ),
        (
            ["train_dataset={type: EG1800, dataset_root: x}"],
            "EG1800 changes labels while it reads them. Fix: use type: Dataset",
        ),
        (["train_dataset.train_pth=x"], "train_dataset: train_pth: no such key. Did you mean 'train_path'?"),
        (["train_dataset.num_classes=3"], "train_dataset: num_classes: 3. Fix: 1, that of the model"),
        (
            ["train_dataset.transforms.0.type=Flip"],
            "train_dataset.transforms[0]: type: Flip: no such component",
        ),
        (
            ["train_dataset.transforms.0.probb=1"],
            "RandomHorizontalFlip: probb: no such key. Did you mean 'prob'?",
        ),
        (["train_dataset.transforms.0.type=RandomAffine"], "RandomAffine would cut soft masks to 0 and 1"),
        (
            ["train_dataset.transforms.0={type: Resize, target_size: 3}"],
            "transforms[0]: Resize: target_size: 3. Fix: [W, H], two whole numbers above 0",
        ),
        (
            ["train_dataset.transforms.0={type: RandomPaddingCrop, crop_size: [99999, 99999]}"],
            "crop_size: [99999, 99999]. Fix: [W, H], two whole numbers above 0 and below 32767, of 67,1",
        ),
        (
            ["train_dataset.transforms.0={type: ResizeByLong, long_size: 99999}"],
            "long_size: 99999. Fix: a whole number above 0 and below 32767",
        ),
        (["train_dataset.multi_scale=[32, 99999]"], "multi_scale: 99999 pixels, expected at most 32766. Fix"),
    ],
)
def test_wrong_sections_are_rejected_with_a_suggestion(config, opts, message):
    def build_all():
        found = load_config(config, opts=opts)
        build_losses(found)
        build_dataset_spec(found, "train_dataset")
        build_optimizer(found, build_network(found["model"]))

    with pytest.raises(ConfigError, match=re.escape(message)):
        build_all()


def test_a_dataset_class_of_paddleseg_lists_its_pairs(data, config):
    (data / "train_list.txt").write_text((data / "train_list.txt").read_text().replace("\t", " "))
    found = load_config(config, opts=["model.num_classes=2", "train_dataset.num_classes=2"])
    found["train_dataset"] = {
        "type": "OpticDiscSeg",
        "dataset_root": str(data),
        "mode": "train",
        "transforms": [],
    }
    own = build_dataset_spec(found, "train_dataset")
    assert [pair.image.name for pair in own.pairs] == [f"p{i}.png" for i in range(4)]
    assert (own.ignore_index, own.mask_encoding) == (255, "index")


def test_dataset_classes_of_paddleseg_do_not_download_unverified(config):
    found = load_config(config, opts=["train_dataset={type: OpticDiscSeg, dataset_root: data/none}"])
    with pytest.raises(ConfigError, match=r"data/none: no such folder, and OpticDiscSeg would fetch it unch"):
        build_dataset_spec(found, "train_dataset")
    found = load_config(
        config, opts=["train_dataset={type: OpticDiscSeg, dataset_root: data/optic_disc_seg}"]
    )
    with pytest.raises(FileNotFoundError, match="It is a known data set"):
        build_dataset_spec(found, "train_dataset")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "RGB").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_all_sections_of_shipped_configs_build(path, tmp_path):
    config = load_config(path)
    classes = config["model"]["num_classes"]
    draw_pair(tmp_path, "a", size=(36, 48), white=1)
    folders = {"dataset_root": str(tmp_path), "image_dir": "images", "mask_dir": "masks"}
    keys = ("train_dataset", "val_dataset")
    for key in keys:
        own = {name: value for name, value in config[key].items() if not name.endswith("_path")}
        config[key] = own | folders
    training, _ = open_datasets([build_dataset_spec(config, key) for key in keys])
    label = training[0, 1]["label"]
    assert set(label.ravel()) <= set(range(classes)) | {255} if classes > 1 else label.dtype == "float32"
    network = build_network({"type": "U2Netp", "num_classes": classes})  # U2Net has the same names
    build_optimizer(config, network)
    assert len(build_losses(config)["types"]) == 7
