"""A loss that is NaN or infinite ends the run and names the images of that step."""

from __future__ import annotations

import re
from types import SimpleNamespace

import cv2
import numpy as np
import paddle
import pytest
from support import write_mask
from training_runs import run_with_scores, saved_state

from paddleseg_u2net.data.pairs import Pair
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.loss_check import LossCheck


class Pairs(SimpleNamespace):
    """Stands in for a data set of `count` images that are never read."""

    def __init__(self, count: int):
        pairs = [Pair(f"{i}.png", None, f"list:{i + 1}") for i in range(count)]
        super().__init__(spec=SimpleNamespace(pairs=pairs))

    def __len__(self):
        return len(self.spec.pairs)


def add_steps(check: LossCheck, losses, samples_per_step: int, progress: Progress) -> None:
    for loss in losses:
        progress.iter += 1
        progress.samples += samples_per_step
        check.add(paddle.to_tensor(loss), progress)


def named(error) -> list[int]:
    return [int(number) for number in re.findall(r"  list:\d+: (\d+).png", str(error.value))]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("every_step", [True, False])
def test_first_step_with_a_wrong_loss_is_named_with_its_images(wrong, every_step):
    progress = Progress(iter=10, samples=30, seed=3)

    def last_steps():
        add_steps(check, [1.0, wrong, wrong], 3, progress)
        check.check()

    check = LossCheck(Pairs(60), 3, progress, Rank(), every_step)
    add_steps(check, [1.0, 2.0], 3, progress)
    check.check()
    assert not check.unchecked
    with pytest.raises(FloatingPointError, match=rf"iter 14: the loss is {wrong}\..*Fix: a lower") as error:
        last_steps()
    assert progress.iter == (14 if every_step else 15)
    (keys,) = BatchStream(60, 3, seed=3, start=39)  # 13 steps of three images were before
    assert named(error) == [index for index, _ in keys]


@pytest.mark.parametrize("steps", [1, 2])
def test_process_names_its_own_images_of_a_step_of_several_batches(steps):
    progress = Progress(seed=5)
    check = LossCheck(Pairs(50), 2, progress, Rank(1, 3), every_step=True)
    with pytest.raises(FloatingPointError) as error:
        add_steps(check, [1.0, float("nan")], 6 * steps, progress)
    order = BatchStream(50, 2, seed=5, start=6 * steps, batches=steps, rank=1, ranks=3)
    assert named(error) == [index for keys in order for index, _ in keys]


def test_many_images_are_counted_and_repeated_ones_named_once():
    for count, batch, lines in ((100, 40, 33), (3, 40, 3)):
        progress = Progress()
        check = LossCheck(Pairs(count), batch, progress, Rank(), every_step=True)
        with pytest.raises(FloatingPointError) as error:
            add_steps(check, [float("nan")], batch, progress)
        assert len(str(error.value).splitlines()) == 1 + lines
        assert ("… and 8 more" in str(error.value)) is (count == 100)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_image_that_breaks_the_loss_is_named_and_nothing_is_saved_over_the_best(
    config, data, tmp_path, monkeypatch, on_cpu
):
    """The weights become NaN with an image of one colour; on a GPU the loss is checked before saving."""
    path = data / "images" / "p2.png"
    write_mask(path, np.full((*cv2.imread(str(path)).shape[:2], 3), 77, np.uint8))
    run = run_with_scores(
        config, tmp_path / "run", monkeypatch, [0.5, 0.6, 0.7, 0.8], log_iters=100, batch_size=1
    )
    run.on_cpu = on_cpu
    step = run.step

    def diverging(batch):
        if np.ptp(batch["img"].numpy()) == 0:
            run.network.last.bias.set_value(np.full(1, np.nan, np.float32))
        return step(batch)

    run.step = diverging
    with pytest.raises(FloatingPointError) as error:
        run.run()
    (order,) = BatchStream(4, 4, seed=0)
    wrong = [index for index, _ in order].index(2)
    assert f"iter {wrong + 1}: the loss is nan" in str(error.value)
    assert re.findall(r"^  .*train_list.txt:(\d): .*p(\d).png$", str(error.value), re.M) == [("3", "2")]
    saved = sorted(p.name for p in (tmp_path / "run").glob("iter_*"))
    assert saved == [f"iter_{i + 1}" for i in range(wrong)]
    for folder in [*saved, "best_model"] if wrong else []:
        state = saved_state(tmp_path / "run" / folder)
        assert all(np.isfinite(value).all() for value in state.values())
