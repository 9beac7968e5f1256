"""Where values lie in the arena."""

from __future__ import annotations

import numpy as np
import pytest

from paddleseg_u2net.onednn.arena import ALIGNMENT, Arena, Storage, aligned, place


@pytest.mark.parametrize("seed", range(20))
def test_values_that_are_needed_at_the_same_time_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    storages = [Storage(int(rng.integers(0, 5 * ALIGNMENT))) for _ in range(40)]
    operations = [[storages[i] for i in rng.choice(40, 3, replace=False)] for _ in range(30)]
    used = [storage for storage in storages if any(storage in some for some in operations)]
    kept = used[:2]
    total = place(operations, kept)
    needed = {
        storage: {index for index in range(31) if _needed(storage, index, operations, kept)}
        for storage in used
    }
    for i, a in enumerate(used):
        assert a.offset % ALIGNMENT == 0
        assert 0 <= a.offset <= total - aligned(a.size)
        for b in used[:i]:
            apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
            assert apart or not (needed[a] & needed[b])
    assert total < sum(aligned(storage.size) for storage in used)


def _needed(storage, index, operations, kept) -> bool:
    """Whether an operation from this one on and one up to this one use a storage; kept ones to the end."""
    before = any(storage in some for some in operations[: index + 1])
    return before and (storage in kept or any(storage in some for some in operations[index:]))


def test_a_value_takes_the_place_of_one_that_is_not_needed_any_more():
    a, b, c = (Storage(ALIGNMENT) for _ in range(3))
    assert place([[a, b], [b, c]]) == 2 * ALIGNMENT
    assert a.offset == c.offset != b.offset
    assert place([[a], [b], [c]], kept=[a]) == 2 * ALIGNMENT
    assert a.offset == 0
    assert b.offset == c.offset == ALIGNMENT


def test_the_arena_only_grows():
    arena = Arena()
    arena.reserve(1)
    address = arena.address
    assert address % ALIGNMENT == 0
    arena.reserve(ALIGNMENT)
    assert (arena.address, arena.size) == (address, ALIGNMENT)
    arena.reserve(ALIGNMENT + 1)
    assert arena.size == 2 * ALIGNMENT
    arena.floats(ALIGNMENT, 2)[:] = 3
    assert arena.floats(ALIGNMENT, 1).tolist() == [3]
