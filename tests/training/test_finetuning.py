"""What the `finetune` section freezes, keeps and pulls, with a network of any kind."""

from __future__ import annotations

import re
import shutil

import numpy as np
import paddle
import pytest
from support import TinyNet
from training_runs import assert_equal_states, saved_state, trainer

from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.models.u2net import U2Netp
from paddleseg_u2net.training.finetuning import StartingWeights, prepare_finetuning

STATISTICS = {"norm._mean", "norm._variance"}
SCALE = {"norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    ("section", "kept"),
    [
        ("{freeze: [first]}", {"first.weight", "first.bias"}),
        ("{freeze: [norm]}", STATISTICS | SCALE),
        ("{freeze_batch_norm: statistics}", STATISTICS),
        ("{freeze_batch_norm: all}", STATISTICS | SCALE),
        ("{freeze: [last], freeze_batch_norm: statistics}", STATISTICS | {"last.weight", "last.bias"}),
        ("{batch_norm_momentum: 1.0}", STATISTICS),
        ("{}", set()),
    ],
)
@pytest.mark.parametrize("optimizer", ["{type: Adam}", "{type: AdamW, weight_decay: 0.1}"])
def test_frozen_tensors_keep_their_values_and_all_others_move(config, tmp_path, section, kept, optimizer):
    opts = [f"finetune={section}", f"optimizer={optimizer}"]
    run = trainer(config, tmp_path, opts, iters=2, use_ema=True)
    before = {key: value.numpy().copy() for key, value in run.network.state_dict().items()}
    run.run()
    for state in (saved_state(tmp_path / "iter_2"), {k: v.numpy() for k, v in run.ema.state_dict().items()}):
        same = {key for key, value in state.items() if np.allclose(value, before[key], rtol=0, atol=2e-7)}
        assert same == kept
    exact = saved_state(tmp_path / "iter_2")
    assert all(np.array_equal(exact[key], before[key]) for key in kept)


def test_prefixes_end_at_a_dot():
    network = U2Netp(1)
    prepare_finetuning(network, {"freeze": ["stage1", "stage5.rebnconv1"]})
    inside = re.compile(r"stage1\.|stage5\.rebnconv1\.")
    for name, parameter in network.named_parameters():
        statistic = name.endswith(("._mean", "._variance"))
        assert parameter.stop_gradient == bool(statistic or inside.match(name)), name


def test_frozen_batch_norm_computes_as_in_eval_mode_and_passes_gradients():
    norm = paddle.nn.BatchNorm2D(2)
    network = paddle.nn.Sequential(norm)
    prepare_finetuning(network, {"freeze_batch_norm": "statistics"})
    image = paddle.randn([3, 2, 4, 4]) * 5 + 2
    network.eval()
    expected = network(image).numpy()
    network.train()
    output = network(image)
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-6)
    output.square().mean().backward()
    gradient = (2 * expected * expected).sum((0, 2, 3)) / expected.size
    np.testing.assert_allclose(norm.weight.grad.numpy(), gradient, rtol=1e-4)
    assert norm._mean.numpy().tolist() == [0, 0]


def test_frozen_synchronized_batch_norm_is_in_eval_mode():
    norm = paddle.nn.SyncBatchNorm(2)  # computes on GPUs only
    network = paddle.nn.Sequential(norm)
    prepare_finetuning(network, {"freeze_batch_norm": "statistics"})
    network.train()
    with pytest.raises(RuntimeError, match="sync_batch_norm"):
        network(paddle.zeros([1, 2, 2, 2]))
    assert not norm.training


def test_statistics_move_by_the_given_momentum(config, tmp_path):
    run = trainer(config, tmp_path, ["finetune={batch_norm_momentum: 0.75}"], iters=1)
    images = []
    run.network.norm.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0].numpy()))
    run.run()
    mean = images[0].mean((0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(run.network.norm._mean.numpy(), 0.25 * mean, atol=1e-6)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"freeze": ["stag1"]}, "finetune: freeze: stag1: no such layer. Did you mean 'stage1'?"),
        ({"freeze": [f"stage{i}" for i in range(1, 7)] + ["stage7"]}, "stage7: no such layer"),
    ],
)
def test_unknown_layers_are_rejected_with_a_suggestion(section, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        prepare_finetuning(U2Netp(1), section)


def test_a_network_without_anything_to_train_is_rejected():
    with pytest.raises(ConfigError, match="nothing is left to train. Fix: freeze fewer layers"):
        prepare_finetuning(TinyNet(1), {"freeze": ["first", "norm", "last"]})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{freze: [a]}", "finetune: freze: no such key. Did you mean 'freeze'?"),
        ("{freeze: stage1}", "finetune: freeze: expected a list of names of layers, got 'stage1'"),
        ("{freeze_batch_norm: true}", "freeze_batch_norm: expected statistics or all, got True"),
        ("{batch_norm_momentum: 1.5}", "batch_norm_momentum: expected a number from 0 to 1, got 1.5"),
        ("{l2_sp: -1}", "l2_sp: expected a number of at least 0, got -1"),
        ("3", "finetune: expected a mapping, got 3"),
    ],
)
def test_wrong_values_are_rejected(config, section, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(config, opts=[f"finetune={section}"])


def test_weights_are_pulled_to_the_first_ones_by_the_formula():
    network, rng = TinyNet(1), np.random.default_rng(0)
    network.first.weight.stop_gradient = True
    first = {
        name: rng.normal(size=value.shape).astype(np.float32) for name, value in network.named_parameters()
    }
    network.last.bias.optimize_attr["learning_rate"] = 0.1
    before = {name: value.numpy().astype(np.float64) for name, value in network.named_parameters()}
    StartingWeights(network, first, strength=0.5).pull(learning_rate=0.2)
    for name, value in network.named_parameters():
        rate = 0.0 if value.stop_gradient else 0.02 if name == "last.bias" else 0.2
        # gradient of 0.5 / 2 * |w - w0|²
        expected = before[name] - rate * 0.5 * (before[name] - first[name])
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-6, err_msg=name)


def test_half_precision_weights_cannot_be_pulled():
    network = TinyNet(1)
    first = {name: value.numpy() for name, value in network.named_parameters()}
    network.last.to(dtype="bfloat16")
    with pytest.raises(ConfigError, match="l2_sp: needs weights in float32. Fix: --amp_level O1"):
        StartingWeights(network, first, 0.1)


def test_a_strong_pull_keeps_the_weights_near_the_start(config, tmp_path):
    distances = []
    for strength in (0, 5):
        opts = [f"finetune={{l2_sp: {strength}}}", "optimizer={type: SGD}", "lr_scheduler.learning_rate=0.1"]
        run = trainer(config, tmp_path / str(strength), opts, iters=6, save_interval=6)
        before = run.network.last.weight.numpy().copy()
        run.run()
        distances.append(np.linalg.norm(run.network.last.weight.numpy() - before))
    assert distances[1] < 0.6 * distances[0]


@pytest.mark.parametrize("folder", ["whole", "again"])
def test_resumed_fine_tuning_equals_an_uninterrupted_run(config, tmp_path, folder):
    opts = ["finetune={l2_sp: 0.5, freeze: [first], freeze_batch_norm: statistics}"]
    opts += ["optimizer.custom_cfg=[{name: last, lr_mult: 0.1}]"]
    trainer(config, tmp_path / "whole", opts, iters=4).run()
    expected = saved_state(tmp_path / "whole" / "iter_4")
    shutil.rmtree(tmp_path / "whole" / "iter_4")
    resumed = tmp_path / "whole" / "iter_2"
    trainer(config, tmp_path / folder, opts, iters=4, seed=7, resume_model=resumed).run()
    assert_equal_states(expected, saved_state(tmp_path / folder / "iter_4"))
    assert (tmp_path / folder / "start.pdparams").is_file()


def test_a_run_without_first_weights_cannot_be_resumed_with_a_pull(config, tmp_path):
    trainer(config, tmp_path, iters=2).run()
    with pytest.raises(FileNotFoundError, match=r"start.pdparams: missing, .* Fix: resume a run with l2_sp"):
        trainer(config, tmp_path, ["finetune={l2_sp: 1}"], iters=4, resume_model=tmp_path / "iter_2")
