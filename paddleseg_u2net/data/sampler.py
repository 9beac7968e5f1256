"""The order of training samples, a function of the seed and the number of samples drawn so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BatchStream:
    """Batches from an endless sequence of shuffled epochs, distributed over ranks.

    A batch may continue into the next epoch, so no sample is dropped and a data set may be smaller than a
    batch. Yields lists of `Dataset.__getitem__` keys: (index, augmentation seed).

    Args:
        length: images in the data set.
        batch_size: images per batch and rank.
        seed: seed of order and augmentation.
        start: samples drawn before, by all ranks together.
        batches: number of batches to yield.
        rank: index of this process.
        ranks: number of processes.
    """

    length: int
    batch_size: int
    seed: int
    start: int = 0
    batches: int = 1
    rank: int = 0
    ranks: int = 1

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, epoch = np.empty(0, int), -1
        for batch in range(self.batches):
            first = self.start + (batch * self.ranks + self.rank) * self.batch_size
            keys = []
            for position in range(first, first + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
                augmentation = np.random.SeedSequence([self.seed, position]).generate_state(1)[0]
                keys.append((int(order[position % self.length]), int(augmentation)))
            yield keys
