"""Ranks of a distributed run, and the processors they share."""

from __future__ import annotations

import socket
import threading

import pytest

from paddleseg_u2net.environment.devices import processors
from paddleseg_u2net.environment.distributed import ENDPOINTS, Rank, this_rank, wait_for_neighbours


def test_process_without_a_launcher_is_the_only_rank():
    assert this_rank() == Rank(index=0, count=1, local_index=0, local_count=1)


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        (
            "2",
            "2",
            "PADDLE_TRAINER_ID=2 with PADDLE_TRAINERS_NUM=2: expected a rank from 0 to 1",
        ),
        ("1", "", "PADDLE_TRAINER_ID=1 with PADDLE_TRAINERS_NUM=1: .* Fix: correct both, or unset both"),
        (
            "one",
            "2",
            "PADDLE_TRAINER_ID=one: expected a whole number below a million. Fix: correct it",
        ),
    ],
)
def test_contradicting_variables_are_rejected(monkeypatch, index, count, message):
    monkeypatch.setenv("PADDLE_TRAINER_ID", index)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", count)
    with pytest.raises(ValueError, match=message):
        this_rank()


def test_ranks_on_one_machine_share_its_processors(monkeypatch):
    alone = processors()
    for ranks, expected in ((2, max(alone // 2, 1)), (alone + 1, 1)):
        monkeypatch.setenv("PADDLE_LOCAL_SIZE", str(ranks))
        assert processors() == expected


@pytest.mark.parametrize("late", [0, 1, 2])
def test_ranks_on_one_machine_wait_for_the_last_one(monkeypatch, late):
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv(ENDPOINTS, ",".join(["10.0.0.9:1", endpoint, "127.0.0.1:1", "127.0.0.1:2"]))
    ranks = [Rank(index, 4, index - 1, 3) for index in (1, 2, 3)]  # rank 0 is on another machine
    waiting = [threading.Thread(target=wait_for_neighbours, args=(rank,), daemon=True) for rank in ranks]
    last = waiting.pop(late)
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(0.2)
        assert thread.is_alive()
    last.start()
    for thread in [*waiting, last]:
        thread.join(10)
        assert not thread.is_alive()


def test_ranks_can_wait_again_at_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv(ENDPOINTS, f"127.0.0.1:{free.getsockname()[1]},127.0.0.1:1,127.0.0.1:2")

    def wait_often(rank: Rank) -> None:
        for _ in range(5):
            wait_for_neighbours(rank)

    waiting = [
        threading.Thread(target=wait_often, args=(Rank(index, 3, index, 3),), daemon=True)
        for index in range(3)
    ]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()


def test_ranks_started_by_hand_do_not_wait(monkeypatch):
    monkeypatch.delenv(ENDPOINTS, raising=False)
    ranks = [Rank(index, 2, index, 2) for index in (0, 1)]
    for rank in ranks:
        waiting = threading.Thread(target=wait_for_neighbours, args=(rank,), daemon=True)
        waiting.start()
        waiting.join(5)
        assert not waiting.is_alive(), rank
