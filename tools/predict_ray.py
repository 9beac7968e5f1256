"""Predict images with the workers of a Ray cluster, or with several on this machine.

Flags, names and files are those of predict.py. This project is installed on every node, and images, results
and a model of your own lie on a file system that all nodes share, under the same paths.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from paddleseg_u2net.cli.app import configure_log, guarded
from paddleseg_u2net.cli.flags import add_flags, positive
from paddleseg_u2net.cli.predict import (
    Job,
    Worker,
    plan_jobs,
    prediction_flags,
    report,
)
from paddleseg_u2net.environment.devices import MAX_PARALLEL, processors, threads_for
from paddleseg_u2net.environment.distributed import Rank
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.io.files import require_writable
from paddleseg_u2net.models.pretrained import KNOWN

EXAMPLES = """\
  python tools/predict_ray.py --model_path u2netp --image_path photos/ --save_dir out --workers 2
  python tools/predict_ray.py --model_path u2netp --image_path photos/ --save_dir out --address auto
"""
FLAGS: dict[str, dict[str, Any]] = {
    "address": {"default": "local", "help": "of the cluster, auto for the one that runs; default a new one"},
    "workers": {
        "type": positive,
        "help": f"processes; default one for {MAX_PARALLEL} processors, with --device gpu one for each GPU",
    },
}
BLOCK = 32  # images that a worker takes at once
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


Row = Mapping[str, str]  # result: what went wrong with an image, fault: with its worker; or nothing


class Actor:
    """A worker in a process of Ray's; a fault is handed back, as Ray would print it many times over.

    Args:
        args: the flags.
        config: of the model.
        cpus: how many processors it has.
    """

    def __init__(self, args: argparse.Namespace, config: Mapping[str, Any], cpus: int):
        os.environ["PADDLE_LOCAL_SIZE"] = str(max(processors() // cpus, 1))  # as ranks share
        self.fault = ""
        try:
            self.worker = Worker(args, config, threads_for(BLOCK))
        except (ValueError, OSError, ImportError) as error:
            self.fault = str(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do the jobs of a batch; what went wrong with each, or nothing, and with the worker itself."""
        jobs = batch["item"]
        done = [""] * len(jobs) if self.fault else list(self.worker.do_all(jobs))
        return {"result": done, "fault": [self.fault] * len(jobs)}


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code, 1 where any image failed."""
    about = (__doc__ or "").strip()
    flags = prediction_flags("predict_ray.py", about, EXAMPLES)
    add_flags(flags, FLAGS)
    args = flags.parse_args(argv)
    configure_log()
    return guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Predict as the flags say."""
    args.image_path, args.save_dir = args.image_path.absolute(), args.save_dir.absolute()
    if args.model_path not in KNOWN and os.path.exists(args.model_path):
        args.model_path = os.path.abspath(args.model_path)  # workers may run in another folder
    jobs = plan_jobs(args, Rank())
    config = config_of(args.model_path, args.config, args.opts)
    require_writable(args.save_dir)
    if not jobs:
        return 0
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    ray = need("ray")
    need("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(args.address, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        return report(results(start(ray, args, config, jobs)), len(jobs), args.save_dir)
    finally:
        ray.shutdown()


def start(
    ray: ModuleType, args: argparse.Namespace, config: Mapping[str, Any], jobs: list[Job]
) -> Iterator[Row]:
    """Share the jobs out to workers; their rows come as they are finished."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers, share = share_out(nodes, args.workers, args.device)
    blocks = min(len(jobs), max(len(jobs) // BLOCK, 4 * workers))
    return (
        ray.data.from_items(jobs, override_num_blocks=blocks)
        .map_batches(
            Actor,
            fn_constructor_args=(args, config, share["num_cpus"]),
            batch_size=None,  # a block
            compute=ray.data.ActorPoolStrategy(size=workers),
            **share,
        )
        .iter_rows()
    )


def share_out(
    nodes: Sequence[Mapping[str, float]], workers: int | None, device: str | None
) -> tuple[int, dict[str, int]]:
    """How many workers there are, and what each has of the cluster.

    Args:
        nodes: `CPU` and `GPU` of each.
        workers: how many are wanted; None for as many as fit well.
        device: see `--device`.

    Raises:
        ValueError: more are wanted than there are processors, or GPUs.
    """
    unit, each = ("GPU", 1) if device == "gpu" else ("CPU", MAX_PARALLEL)
    there = [int(node[unit]) for node in nodes if node.get(unit, 0) >= 1]
    workers = workers or max(sum(there) // each, 1)
    if workers > sum(there):
        raise ValueError(
            f"{workers} worker(s) need as many {unit}s, and the cluster has {sum(there)}. "
            "Fix: fewer --workers, another --device, or more nodes"
        )
    if unit == "GPU":
        return workers, {"num_cpus": 1, "num_gpus": 1}
    return workers, {"num_cpus": min(*there, sum(there) // workers)}


def results(rows: Iterable[Row]) -> Iterator[str]:
    """What went wrong with each image, or nothing.

    Raises:
        ValueError: a worker has a fault.
    """
    for row in rows:
        if row["fault"]:
            raise ValueError(row["fault"])
        yield row["result"]


if __name__ == "__main__":
    sys.exit(main())
