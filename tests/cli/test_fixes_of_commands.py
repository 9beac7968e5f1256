"""Each fix that a command gives for its flags and its config is followed, and the command then succeeds."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import paddle
import pytest
from support import TinyNet

from paddleseg_u2net.evaluation import tables


@pytest.fixture
def fails(run, config, data, monkeypatch):
    """Run a command that fails with a message.

    Words may use tiny.yaml (of TinyNet), w.pdparams, d (the data set `data`) and an empty folder.
    """
    paddle.save(TinyNet(1).state_dict(), "w.pdparams")
    Path("d").symlink_to(data)
    Path("empty").mkdir()
    monkeypatch.setattr(tables, "draw_curves", lambda *_: None)  # drawing takes longer than all the rest

    def call(words: str, message: str) -> None:
        code, out, err = run(*shlex.split(words))
        assert (code in (1, 2), message in out + err) == (True, True), out + err

    return call


@pytest.fixture
def works(run):
    """Run a command that succeeds."""

    def call(words: str) -> None:
        code, out, err = run(*shlex.split(words))
        assert code == 0, out + err

    return call


TRAIN = "train --config tiny.yaml --iters 1 --save_dir run"
PREDICT = "predict --config tiny.yaml --model_path w.pdparams --outputs saliency --save_dir out"
EXPORT = "export --config tiny.yaml --model_path w.pdparams --format paddle --save_dir"
EVALUATE = "evaluate --label_dir d/masks --workers 1 --save_dir s --pred_dir"

FLAGS = [
    # the words of a command, the fix in its message, the words that follow it
    (PREDICT, "Fix: add paths of images, folders or list files", f"{PREDICT} d/images d/val_list.txt"),
    (f"{PREDICT} empty -dash.png", "Fix: ./-dash.png for a file", f"{PREDICT} ./-dash.png"),
    (
        "predict d/images/p0.png --outputs masks",
        "Fix: any of added,pseudo_color,saliency,cutout",
        f"{PREDICT} d/images/p0.png --outputs added,pseudo_color,saliency,cutout",
    ),
    (
        f"{PREDICT} list.txt",
        "Fix: name one image per line, relative to the folder of the list",
        f"{PREDICT} d/val_list.txt",
    ),
    (f"{PREDICT} out/saliency/a.png", "Fix: another --save_dir", f"{PREDICT}2 out/saliency/a.png"),
    (f"{PREDICT} d/images --backend openvino", "Fix: paddle or auto", f"{PREDICT} d/images --backend paddle"),
    (f"{PREDICT} d/images --precision bf16", "Fix: --precision fp32", f"{PREDICT} d/images --precision fp32"),
    (f"{PREDICT} d/images --device cpu --device_id 0", "or leave --device_id out", f"{PREDICT} d/images"),
    (f"{PREDICT} d/images --device cpu:0", "or leave --device_id out", f"{PREDICT} d/images --device cpu"),
    (f"{PREDICT} d/images --device gpu:1 --device_id 0", "Fix: leave --device_id out", f"{PREDICT} d/images"),
    (
        f"{PREDICT} d/images --is_slide --crop_size 8 8 --stride 9 8",
        "Fix: a smaller stride",
        f"{PREDICT} d/images --is_slide --crop_size 8 8 --stride 8 8",
    ),
    (
        f"{PREDICT} d/images --aug_pred --scales 5000",
        "Fix: smaller ones",
        f"{PREDICT} d/images --aug_pred --scales 2",
    ),
    (
        f"{PREDICT} d/images --refine_margin 0.1",
        "Fix: add --refine with the model of the second pass",
        f"{PREDICT} d/images --refine_margin 0.1 --refine run2",
    ),
    (
        f"{PREDICT} d/images --refine run2 --official",
        "Fix: leave out one of the two, as by --map_protocol plain",
        f"{PREDICT} d/images --refine run2 --map_protocol plain",
    ),
    (
        "average-weights run2 run2/iter_1 run2/iter_2 --alpha 0.5 --save_path m/m.npz",
        "Fix: --weights, one number per model",
        "average-weights run2 run2/iter_1 run2/iter_2 --weights 0.5 0.3 0.2 --save_path m/m.npz",
    ),
    ("convert-weights w.pdparams a.onnx", "Fix: one of .pdparams", "convert-weights w.pdparams a.pdparams"),
    ("convert-weights w.pdparams w.pdparams", "or choose another name", "convert-weights w.pdparams v.npz"),
    (f"{EVALUATE} Set=", "Fix: FOLDER or NAME=FOLDER", f"{EVALUATE} Set=d/masks"),
    (f"{EVALUATE} d/masks d/masks", "Fix: NAME=FOLDER", f"{EVALUATE} d/masks again=d/masks"),
    (f"{EVALUATE} absent", "Fix: the path of an existing folder", f"{EVALUATE} d/masks"),
    (f"{EVALUATE} d/masks --save_dir d/masks/s", "Fix: another folder", f"{EVALUATE} d/masks --save_dir t"),
    ("check-dataset --list absent.txt", "Fix: correct the path", "check-dataset --list d/val_list.txt"),
    ("check-dataset --dataset_root empty", "or use --list", "check-dataset --list d/val_list.txt"),
    ("check-dataset --dataset_root empty", "Fix: correct the path", "check-dataset --dataset_root d"),
    (
        "check-dataset --dataset_root d --fix new --save_dir new/report",
        "Fix: another folder",
        "check-dataset --dataset_root d --fix new --save_dir report",
    ),
    (
        "check-dataset --config tiny.yaml --fix new --overfit",
        "Fix: write the copy first, then check that",
        "check-dataset --config tiny.yaml --fix new",
    ),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), FLAGS, ids=[row[1] for row in FLAGS])
def test_fixes_of_flags(fails, works, data, wrong, fix, right):
    for path in ("-dash.png", "out/saliency/a.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "images" / "p0.png", path)
    Path("list.txt").write_text("absent.png\n")
    Path("run2/iter_1").mkdir(parents=True)
    shutil.copy("tiny.yaml", "run2/config.yaml")
    for path in [f"run2/{folder}/model.pdparams" for folder in ("iter_1", "iter_2", "best_model")]:
        paddle.save(TinyNet(1).state_dict(), path)
    fails(wrong, fix)
    works(right)


EXPORTS = [  # wrong flags, the fix, and the flags that follow it
    ("--input_shape 4 3 16 16", "Fix: -1 or 1", "--input_shape -1 3 16 16"),
    ("--image_path empty", "Fix: a folder with images", "--image_path d/images"),
    ("--precision int8", "Fix: fp32", "--precision fp32"),
    ("--format onnx --precision int8", "Fix: fp32", "--precision fp32"),
    ("--with_preprocessing", "Fix: leave it out", ""),
    ("--save_dir empty", "Fix: choose another --save_dir", ""),
]


def test_fixes_of_exports(fails, works):
    """All of them are followed by one command, since an export takes half a second."""
    for wrong, fix, _ in EXPORTS:
        fails(f"{EXPORT} e {wrong}", fix)
    works(" ".join([EXPORT, "e", *(row[2] for row in EXPORTS)]))


# changes of the config that may stand together: wrong values, the fix, and the values that follow it
SALIENCY = [
    ("'loss.coef=[1, 1]'", "Fix: coef: [1]", "'loss.coef=[1]'"),
    ("'loss.types=[{type: SaliencyLoss}, {type: SaliencyLoss}]'", "Fix: one type, or one per coef", ""),
    ("loss.types.0.ignore_index=9", "Fix: set it under train_dataset", "train_dataset.ignore_index=9"),
    ("model.type=U2Netp", "Fix: one per output", "model.type=TinyNet"),
    ("train_dataset.num_classes=3", "Fix: 1, that of the model", "train_dataset.num_classes=1"),
    ("'train_dataset={type: EG1800, dataset_root: d}'", "use type: Dataset", "train_dataset.type=Dataset"),
    ("use_multilabel=true", "Fix: leave it out; that is saliency", ""),
    ("'finetune.freeze=[first, last, norm]'", "Fix: freeze fewer layers", "'finetune.freeze=[first]'"),
    ("'global={data_format: NHWC}'", "Fix: NCHW", "'global={data_format: NCHW}'"),
    ("'train={repeats: 3}'", "Fix: 1", "'train={repeats: 1}'"),
    ("'class_names=[a, b, c]'", "Fix: 2 different names, one per class", "'class_names=[a, b]'"),
]
ONLY_SSIM = "loss.types.0.bce=0 loss.types.0.iou=0 loss.types.0.ssim=1"
BOUNDARY = "Fix: bce or iou above 0, or boundary: 0"
LOSSES = [
    (f"{ONLY_SSIM} loss.types.0.boundary=1", BOUNDARY, f"{ONLY_SSIM} loss.types.0.boundary=0"),
    (
        "loss.types.0.ssim=1 'train_dataset.multi_scale=[8]'",
        "Fix: a larger input",
        "'train_dataset.multi_scale=[16]'",
    ),
]
OTHER_LOSSES = [
    (f"{ONLY_SSIM} loss.types.0.boundary=1", BOUNDARY, "loss.types.0.boundary=1 loss.types.0.iou=0.5"),
    (
        "loss.types.0.ssim=1 'train_dataset.multi_scale=[8]'",
        "or SaliencyLoss without ssim",
        "'train_dataset.multi_scale=[8]'",
    ),
]
CLASSES = (
    "model.num_classes=2 train_dataset.num_classes=2 val_dataset.num_classes=2 train_dataset.ignore_index=5 "
    "train_dataset.mask_encoding=grey 'loss={types: [{type: CrossEntropyLoss}], coef: [1]}'"
)
OF_CLASSES = [
    (f"{CLASSES} metric=max_f", "Fix: mIoU, Acc, Kappa, Dice", f"{CLASSES} metric=mIoU"),
    (
        f"{CLASSES} loss.types.0.type=SaliencyLoss use_multilabel=true train_dataset.type=Cityscapes",
        "Fix: leave use_multilabel out",
        "",
    ),
]


@pytest.mark.parametrize(
    "rows",
    [SALIENCY, LOSSES, OTHER_LOSSES, OF_CLASSES],
    ids=["saliency", "losses", "other losses", "classes"],
)
def test_fixes_of_configs(fails, works, rows):
    for flag in ("device npu", "cpu_engine onednn", "precision bf16"):
        fails(f"{TRAIN} --{flag}", f"Fix: leave --{flag.split()[0]} out")
    for wrong, fix, _ in rows:
        fails(f"{TRAIN} --opts {wrong}", fix)
    works(" ".join([TRAIN, "--opts", *(row[2] for row in rows)]))


METRICS = [
    ("val_dataset.ignore_index=null", "'metrics=[s_measure]'"),
    ("'metrics=[mean_f]'", "val_dataset.ignore_index=9"),
]


@pytest.mark.parametrize("right", METRICS)
def test_fixes_of_metrics(fails, works, right):
    words = "val --config tiny.yaml --model_path w.pdparams --opts"
    wrong = "'metrics=[s_measure]' val_dataset.ignore_index=9"
    fails(f"{words} {wrong}", "Fix: other metrics, or ignore_index: null")
    works(" ".join([words, *right]))


LOSS = "loss:\n  coef:\n  - 1\n  types:\n  - type: SaliencyLoss\n"
TEXTS = [
    # text of a config, what is put in its place, the fix, and the text that follows it
    ("iters: 4", "_base_: tiny.yaml", "tiny.yaml. Fix: remove one", "iters: 4"),
    ("iters: 4", "iters: 4\niters: 5", "iters is given twice. Fix: keep one", "iters: 4"),
    ("type: TinyNet", "type: {{NET}}", "Fix: quote values with braces", "type: 'TinyNet'"),
    ("iters: 4", "", "iters is missing. Fix: add it, or --iters", "iters: 1"),
    ("num_classes: 1", "", "num_classes is missing. Fix: 1 for saliency", "num_classes: 1"),
    (LOSS, "", "the config has no loss. Fix: add it, or inherit it by _base_", "_base_: base.yaml\n"),
]


def test_fixes_of_the_text_of_a_config(fails, works, config):
    Path("base.yaml").write_text(LOSS)
    text, words = config.read_text(), "train --config tiny.yaml --save_dir run"
    for old, new, fix, right in TEXTS:
        config.write_text(text.replace(old, new))
        fails(words, fix)
        text = text.replace(old, right)
    config.write_text(text.replace("iters: 1", ""))
    works(f"{words} --iters 1")
    config.write_text(text)
    works(words)


def test_fixes_of_data_sets(fails, works, data):
    Path("new.txt").touch()
    fails("check-dataset --list new.txt --dataset_root d", "Fix: list at least one pair of image and mask")
    Path("new.txt").write_text("images/p0.png masks/p0.png")
    works("check-dataset --list new.txt --dataset_root d")
    words = "check-dataset --mask_dir d/masks --save_dir r --image_dir"
    fails(f"{words} empty", "Fix: a folder with images")
    words += " d/images"
    works(words)
    fails(words, "Fix: another --save_dir, or remove it")
    works(f"{words} --save_dir r2")
    shutil.rmtree("r")
    works(words)


def test_fixes_of_overwritten_results(fails, works, data):
    fails("convert-weights w.pdparams w.pdparams", "Fix: remove it, or choose another name")
    works("convert-weights w.pdparams v.pdparams")
    Path("w.pdparams").unlink()
    works("convert-weights v.pdparams w.pdparams")


def test_fixes_of_resumed_runs(fails, works, trained):
    words = "train --config tiny.yaml --iters 3"
    again = "--save_dir run --resume_model run/iter_2"
    fails(f"{words} {again} --seed 1", "Fix: leave it out")
    pulled = "--opts 'finetune={l2_sp: 0.1}'"
    fails(f"{words} {again} {pulled}", "Fix: resume a run with l2_sp")
    works(f"{words} {again}")
    works(f"train --config tiny.yaml --iters 1 --save_dir pulled {pulled}")
    works(f"{words} --save_dir pulled --resume_model pulled/iter_1 {pulled}")


def test_fixes_of_benchmarks(fails, works, monkeypatch):
    flags = "--config tiny.yaml --model_path w.pdparams --repeats 1 --batches 1 --image_path"
    fails(f"benchmark {flags} empty", "Fix: a folder with images")
    fails(f"benchmark {flags} d/images --mask_path d/masks", "Fix: --calibration OTHERS")
    fails(f"benchmark {flags} d/images --against r", "rembg has no model w.pdparams. Fix: u2netp, u2net")
    for name in ("export_all", "engines", "commands"):  # they measure for seconds; a test of them runs them
        monkeypatch.setattr(f"paddleseg_u2net.cli.benchmark.{name}", lambda *_: [{"s": 1}])
    works(f"benchmark {flags} d/images --mask_path d/masks --calibration d/images")
    works("benchmark --image_path d/images --model_path u2netp --against r")


def test_fixes_of_divergence(fails, works):
    """A learning rate that is too large; one of the two fixes alone is enough."""
    words = "train --config tiny.yaml --iters 4 --save_dir run --opts optimizer.type=SGD"
    wrong = f"{words} lr_scheduler.learning_rate=1e9"
    fails(wrong, "Fix: a lower --learning_rate, or grad_clip_cfg under optimizer")
    works(f"{words} --learning_rate 0.01")
    clip = "'optimizer.grad_clip_cfg={name: ClipGradByNorm, clip_norm: 1.0e-30}'"
    works(f"{wrong} {clip}")


def test_fixes_of_edges(fails, works):
    words = "predict d/images/p0.png --model_path w.pdparams --config tiny.yaml --save_dir e"
    fails(f"{words} --grow 2 --shrink 2", "Fix: leave one out")
    works(f"{words} --grow 2")
    fails(f"{words} --feather 600", "expected at most 500 pixels. Fix: a smaller one")
    works(f"{words} --feather 2")
