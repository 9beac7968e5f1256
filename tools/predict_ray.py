"""Predict images with the workers of a Ray cluster, or with several on this machine.

Flags, names and files are those of `u2net predict`. This project must be installed on every node, and images,
results and a model of your own must lie on a file system that all nodes share, under the same paths.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.cli.flags import Flags, add_group, positive_int
from paddleseg_u2net.cli.other_sources import STDIN, addresses_of
from paddleseg_u2net.cli.output_flags import output_settings
from paddleseg_u2net.cli.predict import batch_predictor, parse, prediction_parser, report
from paddleseg_u2net.environment.devices import MAX_PARALLEL, processors, threads_for
from paddleseg_u2net.environment.optional_imports import need, quiet
from paddleseg_u2net.errors import Fault
from paddleseg_u2net.inference.batch import Job, plan_jobs
from paddleseg_u2net.inference.image_paths import find_images
from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.io.locks import folder_lock
from paddleseg_u2net.models.known_weights import KNOWN

EXAMPLES = """\
  python tools/predict_ray.py photos/ --save_dir out --workers 2
  python tools/predict_ray.py --model_path u2netp --image_path photos/ --save_dir out --address auto
"""
FLAGS: Flags = {
    "address": {
        "default": "local",
        "help": "address of the cluster, or auto for the one that runs; default: start one on this machine",
    },
    "workers": {
        "type": positive_int,
        "help": f"processes; default: one per {MAX_PARALLEL} processors, or one per GPU with --device gpu",
    },
}
BLOCK = 32  # images in one call of a worker
RESTARTS = 100  # of a worker whose process dies; without a bound Ray would start it for ever
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


# image: its path; faults: those of the image, JSON; error: the worker could not start
Row = Mapping[str, str]


class Actor:
    """A worker in a process of Ray. It returns its error, which Ray would print many times.

    Args:
        args: the flags.
        config: of the model.
        cpus: number of processors of this worker.
    """

    def __init__(self, args: argparse.Namespace, config: Mapping[str, Any], cpus: int):
        quiet()
        os.environ["PADDLE_LOCAL_SIZE"] = str(max(processors() // cpus, 1))  # share the machine as ranks do
        self.error = ""
        try:
            self.predictor = batch_predictor(args, config, threads_for(BLOCK))
        except (ValueError, OSError, ImportError) as error:
            self.error = str(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Run the jobs of a batch; returns the columns of a `Row` per job."""
        jobs = batch["item"]
        faults = [[] for _ in jobs] if self.error else self.predictor.run_jobs(jobs)
        return {
            "image": [str(job.image) for job in jobs],
            "faults": [json.dumps(found) for found in faults],
            "error": [self.error] * len(jobs),
        }


def main(argv: list[str] | None = None) -> int:
    """Predict; returns the exit code, 1 if any image failed."""
    about = (__doc__ or "").strip()
    flags = prediction_parser("predict_ray.py", about, EXAMPLES)
    add_group(flags, "cluster", FLAGS)
    return guarded(lambda: run(parse(flags, argv)))


def run(args: argparse.Namespace) -> int:
    """Predict as the flags say."""
    if args.device_id is not None:
        raise ValueError("--device_id: Ray assigns the GPUs. Fix: --device gpu without it")
    if args.report or args.min_presence:
        raise ValueError("--report, --min_presence: not with Ray. Fix: u2net predict, or leave them out")
    if addresses_of(args.image_path) or STDIN in args.image_path:
        raise ValueError("addresses and stdin: not with Ray. Fix: u2net predict, or the paths of images")
    args.image_path = [path.absolute() for path in args.image_path]
    args.save_dir = args.save_dir.absolute()
    with folder_lock(args.save_dir):
        return predict(args)


def predict(args: argparse.Namespace) -> int:
    """Plan the jobs and let the workers run them; returns the exit code."""
    output_settings(args)  # finds contradictions before anything is loaded
    found = find_images(args.image_path, args.save_dir)
    jobs = plan_jobs(found, args.save_dir, args.outputs.split(","), resume=args.resume, wanted=args.format)
    config = config_of(args.model_path, args.config, args.opts)
    in_config = config.get("test_config", {}).get("refine") or {}
    args.refine = args.refine or in_config.get("model_path")
    for flag in ("model_path", "refine"):  # workers may run in another folder
        path = getattr(args, flag)
        if path and path not in KNOWN and os.path.exists(path):
            setattr(args, flag, os.path.abspath(path))
    if not jobs:
        return report([], 0, args.save_dir, found.faults)
    os.environ.update({key: os.environ.get(key, value) for key, value in RAY_SETTINGS.items()})
    ray = need("ray")
    need("ray.data")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a worker that dies is reported by `results`
    connect(ray, args.address)
    try:
        started = partial(start, ray, args, config)
        return report(results(jobs, started), len(jobs), args.save_dir, found.faults)
    finally:
        ray.shutdown()


def connect(ray: ModuleType, address: str) -> None:
    """Start Ray on this machine, or connect to a cluster.

    Raises:
        OSError: that failed.
    """
    try:
        ray.init(address, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises plain ones where it cannot start
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(f"--address {address}: {reason} Fix: another --address, or u2net predict") from error


def start(
    ray: ModuleType, args: argparse.Namespace, config: Mapping[str, Any], jobs: list[Job], block: int
) -> Iterator[Row]:
    """Start workers on the jobs, at most `block` of them at once.

    Yields:
        A row per job as it finishes; none for the jobs of a block that a worker's process died on.
    """
    ray.data.DataContext.get_current().max_errored_blocks = -1  # go on with the others
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers, share = share_out(nodes, args.workers, args.device)
    blocks = min(len(jobs), max(-(-len(jobs) // block), 4 * workers))
    return (
        ray.data.from_items(jobs, override_num_blocks=blocks)
        .map_batches(
            Actor,
            fn_constructor_args=(args, config, share["num_cpus"]),
            batch_size=None,  # a block
            compute=ray.data.ActorPoolStrategy(size=workers),
            max_restarts=RESTARTS,
            max_task_retries=0,
            **share,
        )
        .iter_rows()
    )


def share_out(
    nodes: Sequence[Mapping[str, float]], workers: int | None, device: str | None
) -> tuple[int, dict[str, int]]:
    """Choose the number of workers, and what each reserves of the cluster.

    Args:
        nodes: `CPU` and `GPU` of each.
        workers: number of workers; None for as many as fit well.
        device: see `--device`.

    Raises:
        ValueError: more workers than processors, or than GPUs.
    """
    unit, each = ("GPU", 1) if device == "gpu" else ("CPU", MAX_PARALLEL)
    sizes = [int(node[unit]) for node in nodes if node.get(unit, 0) >= 1]
    workers = workers or max(sum(sizes) // each, 1)
    if workers > sum(sizes):
        raise ValueError(
            f"{workers} worker(s) need as many {unit}s, and the cluster has {sum(sizes)}. "
            "Fix: fewer --workers, another --device, or more nodes"
        )
    if unit == "GPU":
        return workers, {"num_cpus": 1, "num_gpus": 1}
    return workers, {"num_cpus": min(*sizes, sum(sizes) // workers)}


def results(jobs: Sequence[Job], start: Callable[[list[Job], int], Iterable[Row]]) -> Iterator[list[Fault]]:
    """The faults of each image; those whose worker's process died are tried once more, each alone.

    Args:
        jobs: all of them.
        start: starts workers on some, so many at once.

    Raises:
        ValueError: a worker could not start.
    """
    left = {str(job.image): job for job in jobs}
    for block in (BLOCK, 1):
        for row in start(list(left.values()), block) if left else ():
            if row["error"]:
                raise ValueError(row["error"])
            del left[row["image"]]
            yield [Fault(*fault) for fault in json.loads(row["faults"])]
    for job in left.values():
        what = f"{job.image}: the process that predicted it died, also with this image alone"
        yield [Fault(job.where, what, "fewer --workers, if memory ran out; else leave the image out")]


if __name__ == "__main__":
    sys.exit(main())
