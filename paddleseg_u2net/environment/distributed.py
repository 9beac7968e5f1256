"""Ranks: which of several processes this is, as `paddle.distributed.launch` numbers them. Needs no Paddle."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass

from paddleseg_u2net.errors import printable

ENDPOINTS = "PADDLE_TRAINER_ENDPOINTS"


@dataclass(frozen=True)
class Rank:
    """One of several processes that run the same command.

    Args:
        index: number of this process, from 0.
        count: number of processes.
        local_index: number of this process among those on this machine, from 0.
        local_count: number of processes on this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1


def this_rank() -> Rank:
    """The rank of this process; without a launcher it is the only one.

    Raises:
        ValueError: the environment variables contradict each other.
    """
    rank = Rank(
        index=_number("PADDLE_TRAINER_ID", 0),
        count=_number("PADDLE_TRAINERS_NUM", 1),
        local_index=_number("PADDLE_LOCAL_RANK", 0),
        local_count=_number("PADDLE_LOCAL_SIZE", 1),
    )
    if not 0 <= rank.index < rank.count:
        raise ValueError(
            f"PADDLE_TRAINER_ID={rank.index} with PADDLE_TRAINERS_NUM={rank.count}: expected a rank from 0 "
            f"to {rank.count - 1}. Fix: correct both, or unset both"
        )
    return rank


def _number(variable: str, default: int) -> int:
    """A whole number from an environment variable."""
    value = os.environ.get(variable) or str(default)
    if not value.isdecimal() or len(value) > 6:
        what = f"{variable}={printable(value)}: expected a whole number below a million"
        raise ValueError(f"{what}. Fix: correct it, or unset it")
    return int(value)


def launched_together(rank: Rank) -> bool:
    """Whether the launcher started this rank and others on this machine; False for ranks started by hand."""
    return rank.local_count > 1 and len(os.environ.get(ENDPOINTS, "").split(",")) == rank.count


def wait_for_neighbours(rank: Rank) -> None:
    """Return when all ranks on this machine have called this function.

    The launcher kills all ranks as soon as one has failed, so a rank with a broken image waits for the
    others. If a rank dies before it calls this function, the launcher kills those that wait. Ranks started by
    hand have no launcher and do not wait.
    """
    if not launched_together(rank):
        return
    endpoints = os.environ[ENDPOINTS].split(",")
    host, port = endpoints[rank.index - rank.local_index].rsplit(":", 1)  # of the first rank on this machine
    if rank.local_index == 0:
        with socket.create_server((host, int(port))) as server, contextlib.ExitStack() as connections:
            for _ in range(rank.local_count - 1):
                connections.enter_context(server.accept()[0])
        return
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as connection:
            connection.recv(1)  # returns when the first rank closes the connection
            return
        time.sleep(0.1)  # the first rank is still predicting
