"""What the processes of a distributed run exchange; with one process, all functions return at once."""

from __future__ import annotations

import secrets
from typing import TypeVar

import paddle
import paddle.distributed as dist
from paddle import Tensor

from paddleseg_u2net.environment.distributed import Rank, this_rank

T = TypeVar("T")


def start_processes() -> Rank:
    """Connect to the other processes of `paddle.distributed.launch`, if any; return this process's rank."""
    rank = this_rank()
    if rank.count > 1:
        dist.init_parallel_env()
    return rank


def gather(value: T, ranks: int) -> list[T]:
    """Return the values of all processes, by rank."""
    if ranks == 1:
        return [value]
    values: list[T] = []
    dist.all_gather_object(values, value)
    return values


def draw_seed(ranks: int) -> int:
    """Draw a random seed that all processes share."""
    return gather(secrets.randbelow(2**31), ranks)[0]


def barrier(ranks: int) -> None:
    """Wait until all processes have made this call."""
    if ranks > 1:
        dist.barrier()


def mean_over_ranks(value: Tensor, ranks: int) -> Tensor:
    """Return the mean of a scalar over all processes."""
    if ranks == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / ranks


def distribute(network: paddle.nn.Layer, ranks: int) -> paddle.nn.Layer:
    """Wrap a network so that `backward` gives the mean of the gradients of all processes.

    On GPUs its BatchNorm layers are replaced, in place, by ones that normalize by the images of all of them;
    Paddle has none for CPUs. Frozen layers, which use stored statistics, stay. Names in `state_dict` and of
    parameters stay the same.

    Args:
        network: network in this process.
        ranks: number of processes.

    Source: paddleseg 2.8.0 core/train.py.
    """
    if ranks == 1:
        return network
    if paddle.device.get_device().startswith("gpu"):
        _synchronize_batch_norm(network)
    return paddle.DataParallel(network)


def _synchronize_batch_norm(network: paddle.nn.Layer) -> None:
    for layer in network.sublayers(include_self=True):
        for name, norm in list(layer.named_children()):
            if isinstance(norm, paddle.nn.BatchNorm2D) and not norm._use_global_stats:
                layer.add_sublayer(name, paddle.nn.SyncBatchNorm.convert_sync_batchnorm(norm))


def average_statistics(network: paddle.nn.Layer, ranks: int) -> None:
    """Replace BatchNorm statistics by their mean over all processes, each of which saw its own images.

    Those that `distribute` has synchronized are equal already and stay so.
    """
    if ranks == 1:
        return
    for name, value in network.state_dict().items():  # Paddle holds them as parameters, not as buffers
        if name.endswith(("._mean", "._variance")):
            value.set_value(mean_over_ranks(value, ranks))
