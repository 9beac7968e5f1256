"""Labels that overlap: training, validation and prediction with --use_multilabel."""

from __future__ import annotations

import numpy as np
import paddle
import paddleseg.utils.metrics
import pytest
from support import TinyNet, make_config, pixels, scores, write_mask

from paddleseg_u2net.cli.app import main
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.inference import model_source

LABELS, SIZE = 3, (24, 20)
LOSS = {
    "types": [
        {"type": "MixedLoss", "losses": [{"type": "BCELoss"}, {"type": "LovaszHingeLoss"}], "coef": [1, 1]}
    ],
    "coef": [1],
}


@pytest.fixture
def config(tmp_path):
    """Images whose three channels are the labels, which overlap; masks beside each other, as PaddleSeg's."""
    rng = np.random.default_rng(3)
    root = tmp_path / "data"
    for index in range(6):
        labels = np.kron(rng.random((LABELS, 6, 5)) < 0.4, np.ones((1, 4, 4))).astype(np.uint8)
        write_mask(root / "images" / f"{index}.png", labels.transpose(1, 2, 0)[..., ::-1] * 200)
        write_mask(root / "masks" / f"{index}.png", np.hstack(list(labels)))
    lines = [f"images/{index}.png masks/{index}.png" for index in range(6)]
    (root / "train_list.txt").write_text("\n".join(lines))
    (root / "val_list.txt").write_text("\n".join(lines[:3]))
    return make_config(tmp_path / "c.yaml", root, num_classes=LABELS, loss=LOSS)


def test_labels_that_overlap_are_learned_measured_and_predicted(config, tmp_path, capsys):
    run = str(tmp_path / "run")
    flags = ["--iters", "40", "--learning_rate", "0.1", "--do_eval", "--save_interval", "40"]
    words = ["train", "--config", str(config), "--save_dir", run, "--seed", "1", *flags]
    assert main([*words, "--use_multilabel"]) == 0
    capsys.readouterr()
    assert main(["val", "--model_path", run, "--save_dir", str(tmp_path / "scores")]) == 0
    found = scores(capsys.readouterr().out)
    assert main(["val", "--model_path", run, "--config", str(config)]) == 0  # which does not say it
    assert scores(capsys.readouterr().out) == found
    assert load_config(tmp_path / "run" / "best_model" / "config.yaml")["use_multilabel"] is True
    photo = tmp_path / "data" / "images" / "0.png"
    assert main(["predict", str(photo), "--model_path", run, "--save_dir", str(tmp_path / "out")]) == 0
    maps = pixels(tmp_path / "out" / "saliency" / "0.png")
    truth = pixels(tmp_path / "data" / "masks" / "0.png")
    assert maps.shape == truth.shape == (SIZE[0], LABELS * SIZE[1])
    assert ((maps > 127) == truth).mean() > 0.97
    overlaps = np.sum(np.split(truth, LABELS, axis=1), axis=0) > 1
    assert overlaps.any()  # which one class per pixel could not show
    assert found["mIoU"] > 0.9
    assert not (tmp_path / "scores" / "confusion.csv").exists()


def test_scores_of_a_label_map_equal_those_of_numpy(config, tmp_path, capsys):
    network = TinyNet(LABELS)
    paddle.save(network.state_dict(), str(tmp_path / "w.pdparams"))
    words = ["val", "--config", str(config), "--model_path", str(tmp_path / "w.pdparams")]
    assert main([*words, "--use_multilabel", "--auc_roc"]) == 0
    found = scores(capsys.readouterr().out)
    network.eval()
    areas = np.zeros((3, LABELS))
    for index in range(3):
        image = pixels(tmp_path / "data" / "images" / f"{index}.png").astype(np.float32)
        batch = ((image / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
        predicted = network(paddle.to_tensor(batch))[0].numpy()[0] > 0
        true = np.stack(np.split(pixels(tmp_path / "data" / "masks" / f"{index}.png"), LABELS, axis=1)) > 0
        areas += [(predicted & true).sum((1, 2)), predicted.sum((1, 2)), true.sum((1, 2))]
    union = areas[1] + areas[2] - areas[0]
    assert found["mIoU"] == pytest.approx((areas[0] / union).mean(), abs=1e-4)
    kappa = paddleseg.utils.metrics.kappa(*map(paddle.to_tensor, areas))
    assert found["Kappa"] == pytest.approx(float(kappa), abs=1e-4)
    assert found["Dice"] == pytest.approx((2 * areas[0] / (areas[1] + areas[2])).mean(), abs=1e-4)


def test_losses_of_classes_are_rejected_and_the_fix_works(config, tmp_path, capsys):
    words = ["train", "--config", str(config), "--use_multilabel", "--iters", "1"]
    words += ["--save_dir", str(tmp_path / "run")]
    losses = "loss={types: [{type: %s}], coef: [1]}"
    for name in ("CrossEntropyLoss", "MultiClassFocalLoss"):  # softmax over one label has no gradient
        assert main([*words, "--opts", losses % name]) == 1
        assert f"{name} does not suit use_multilabel. Fix: type: SaliencyLoss" in capsys.readouterr().err
    assert main([*words, "--opts", losses % "SaliencyLoss"]) == 0


def test_exports_are_rejected(config, tmp_path, monkeypatch):
    monkeypatch.setattr(model_source, "find_record", lambda path: path)
    loaded = load_config(config, opts=["use_multilabel=true"])
    with pytest.raises(ValueError, match="is an export. Fix: the weights it was made from"):
        model_source.load_engine(tmp_path / "export", loaded)


def test_a_mask_of_the_wrong_width_is_rejected_and_the_fix_works(config, tmp_path, capsys):
    path = tmp_path / "data" / "masks" / "2.png"
    mask = pixels(path)
    write_mask(path, mask[:, : SIZE[1]])
    words = ["check-dataset", "--config", str(config), "--opts", "use_multilabel=true"]
    assert main(words) == 1
    assert "Fix: store 3 masks beside each other" in capsys.readouterr().out
    write_mask(path, mask)
    assert main(words[:3]) == 1
    assert "or set use_multilabel: true in the config if it is one mask for" in capsys.readouterr().out
    assert main([*words, "--save_dir", str(tmp_path / "report")]) == 0
