"""Which one of several processes this is, as `paddle.distributed.launch` says it. Light: no Paddle."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass

ENDPOINTS = "PADDLE_TRAINER_ENDPOINTS"


@dataclass(frozen=True)
class Rank:
    """One process of those that share a command.

    Args:
        index: its number, from 0.
        count: how many there are.
        local_index: its number among those on this machine.
        local_count: how many are on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1


def this_rank() -> Rank:
    """This process among those of the launcher; the only one where there is no launcher.

    Raises:
        ValueError: the environment says what cannot be.
    """
    rank = Rank(
        *(_number("PADDLE_TRAINER_ID", 0), _number("PADDLE_TRAINERS_NUM", 1)),
        *(_number("PADDLE_LOCAL_RANK", 0), _number("PADDLE_LOCAL_SIZE", 1)),
    )
    if not 0 <= rank.index < rank.count:
        raise ValueError(
            f"PADDLE_TRAINER_ID={rank.index} with PADDLE_TRAINERS_NUM={rank.count}: the ranks of so many "
            f"processes are 0 to {rank.count - 1}. Fix: set both, or neither"
        )
    return rank


def _number(variable: str, default: int) -> int:
    """A whole number from the environment."""
    value = os.environ.get(variable) or str(default)
    if not value.isdecimal():
        raise ValueError(f"{variable}={value}: expected a whole number. Fix: correct it, or unset it")
    return int(value)


def wait_for_neighbours(rank: Rank) -> None:
    """Return when all ranks on this machine have come here.

    The launcher kills the others as soon as one has failed, so a rank with a broken image waits for them. If
    one never comes, because it died, the launcher ends the wait the same way. Ranks started by hand have no
    launcher, and nothing to wait for.
    """
    endpoints = os.environ.get(ENDPOINTS, "").split(",")
    if rank.local_count == 1 or len(endpoints) != rank.count:
        return
    host, port = endpoints[rank.index - rank.local_index].rsplit(":", 1)  # of the first one here
    if rank.local_index == 0:
        with socket.create_server((host, int(port))) as server, contextlib.ExitStack() as connections:
            for _ in range(rank.local_count - 1):
                connections.enter_context(server.accept()[0])
        return
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as connection:
            connection.recv(1)  # ends when the first one closes it
            return
        time.sleep(0.1)  # the first one is still at work
