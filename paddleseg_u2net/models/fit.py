"""Whether weights fit a network, and what to do if they do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paddleseg_u2net.errors import counted
from paddleseg_u2net.models.architecture import identify, state_shapes
from paddleseg_u2net.models.weight_files import State

SHOWN = 5  # differences in a message


def differences(state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """List how weights do not fit a network, one line each: other shapes, missing and extra keys."""
    missing = [f"- {key} {shapes[key]}: missing in the file" for key in shapes if key not in state]
    extra = [f"+ {key} {state[key].shape}: not in the model" for key in state if key not in shapes]
    other = [
        f"! {key} {tuple(state[key].shape)}, model {shape}"
        for key, shape in shapes.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    return other + missing + extra


def check_fit(source: str | Path, network: str, state: State, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError where weights do not fit a network exactly.

    Args:
        source: known name or weight file, for the message.
        network: type of the network, for the message.
        state: the weights.
        shapes: those of the network, by state-dict key.
    """
    if found := differences(state, shapes):
        raise ValueError(misfit(source, network, state, found))


def misfit(source: str | Path, network: str, state: State, found: list[str]) -> str:
    """The message about weights that do not fit: the first differences, and what to do; see `check_fit`."""
    lines = [f"{source} does not fit {network}: {counted(len(found), 'difference')}:"]
    lines += found[:SHOWN]
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN} more")
    fits = identify({key: value.shape for key, value in state.items()})
    if fits and not differences(state, state_shapes(fits)):
        lines.append(f"Fix: in the config, model: {{{fits}}}; or weights of the config's model")
    else:
        lines.append(f"Fix: complete weights of {network}, and the model section that they were trained with")
    return "\n".join(lines)
