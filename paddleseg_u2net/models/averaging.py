"""Averages of the weights of several networks of one kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paddleseg_u2net.models.architecture import BN_EPSILON
from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE, State

VARIANCE = "._variance"


def average_states(states: Mapping[str, State], shares: Sequence[float] | None = None) -> State:
    """Average weights and BatchNorm statistics, tensor by tensor.

    Two states, the start and the end of fine-tuning, give WiSE-FT; several ends that began from the same
    weights give a model soup. BatchNorm statistics are averaged too, which only approximates those of the
    averaged weights. Where BatchNorm is folded into the convolutions of some states, as in the published
    weights, these first get the statistics of the others with the scale and shift that undo them.

    Args:
        states: name, for messages -> arrays by state-dict key; at least two, of the same keys and shapes.
        shares: one per state, at least 0, with a sum of 1; None for equal shares.

    Returns:
        Arrays by state-dict key, in the dtypes of the first state.

    Raises:
        ValueError: the states do not fit each other, or the shares are wrong.

    Source: Wortsman et al. 2022 (arXiv:2109.01903), section 3, and Wortsman et al. 2022 (arXiv:2203.05482),
    uniform soup.
    """
    shares = list(shares) if shares is not None else [1 / len(states)] * len(states)
    _check(states, shares)
    unfolded = _without_folding(list(states.values()))
    averaged = {}
    for key, first in unfolded[0].items():
        values = [
            share * state[key].astype(np.float64) for share, state in zip(shares, unfolded, strict=True)
        ]
        averaged[key] = np.sum(values, axis=0).astype(first.dtype) if first.dtype.kind == "f" else first
    return averaged


def _check(states: Mapping[str, State], shares: Sequence[float]) -> None:
    if len(states) < 2:
        raise ValueError(f"{', '.join(states)}: expected at least two different weight files to average")
    if len(shares) != len(states) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(
            f"shares {', '.join(f'{share:g}' for share in shares)} for {len(states)} weight files. "
            "Fix: one number of at least 0 for each, with a sum of 1"
        )
    (first, expected), *others = states.items()
    for name, state in others:
        for key in [*expected, *state]:
            shapes = [found[key].shape if key in found else "nothing" for found in (state, expected)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{name}: {key}: {shapes[0]}, but {first} has {shapes[1]}. "
                    "Fix: average weights of the same network and number of classes"
                )


def _without_folding(states: list[State]) -> list[State]:
    """The states with BatchNorm statistics wherever another state has them; each computes what it did."""
    found = [dict(state) for state in states]
    for name in [key.removesuffix(VARIANCE) for key in states[0] if key.endswith(VARIANCE)]:
        folded = [bool((state[name + VARIANCE] == FOLDED_VARIANCE).all()) for state in states]
        others = [state for state, is_folded in zip(states, folded, strict=True) if not is_folded]
        if not others:
            continue
        mean = np.mean([state[f"{name}._mean"] for state in others], axis=0)
        variance = np.mean([state[name + VARIANCE] for state in others], axis=0)
        scale = np.sqrt(variance + BN_EPSILON)
        for state, is_folded in zip(found, folded, strict=True):
            if is_folded:  # y = x becomes y = scale * (x - mean) / scale + mean
                state |= {f"{name}._mean": mean, name + VARIANCE: variance}
                state |= {f"{name}.weight": scale, f"{name}.bias": mean}
    return found
