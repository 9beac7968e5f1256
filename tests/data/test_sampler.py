"""The order of training samples."""

from __future__ import annotations

from collections import Counter

from paddleseg_u2net.data.sampler import BatchStream


def flat(stream: BatchStream) -> list[tuple[int, int]]:
    return [key for batch in stream for key in batch]


def test_every_image_is_drawn_once_per_epoch_across_batches():
    keys = flat(BatchStream(7, 3, seed=1, batches=7))
    for epoch in range(3):
        assert sorted(index for index, _ in keys[epoch * 7 : epoch * 7 + 7]) == list(range(7))
    assert len({tuple(index for index, _ in keys[e * 7 : e * 7 + 7]) for e in range(3)}) == 3


def test_resuming_continues_the_same_order_with_another_batch_size_too():
    whole = flat(BatchStream(5, 4, seed=3, batches=6))
    assert flat(BatchStream(5, 4, seed=3, start=8, batches=4)) == whole[8:]
    assert flat(BatchStream(5, 2, seed=3, start=8, batches=8)) == whole[8:]


def test_each_batch_is_distributed_over_the_ranks():
    ranks = [list(BatchStream(9, 2, seed=0, batches=5, rank=rank, ranks=2)) for rank in range(2)]
    together = [key for pair in zip(*ranks, strict=True) for batch in pair for key in batch]
    assert together == flat(BatchStream(9, 4, seed=0, batches=5))


def test_a_data_set_smaller_than_a_batch_is_repeated():
    (batch,) = BatchStream(2, 5, seed=0, batches=1)
    assert sorted(Counter(index for index, _ in batch).values()) == [2, 3]


def test_seeds_change_order_and_augmentation():
    first, second = (flat(BatchStream(50, 10, seed=seed, batches=5)) for seed in (0, 1))
    assert [i for i, _ in first] != [i for i, _ in second]
    assert len({s for _, s in first} | {s for _, s in second}) == 100
    assert len(BatchStream(50, 10, seed=0, batches=5)) == 5
