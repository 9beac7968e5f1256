"""`u2net serve` on a Ray cluster: replicas on all nodes behind Ray's proxy.

    serve run tools.serve_ray:app model_path=u2netp replicas=4
    serve run tools.serve_ray:app model_path="u2netp disc=/shared/output" cpus=8 token_file=/shared/tokens

Arguments are the flags of `u2net serve` (one without a value as `allow_urls=`), and `replicas` and `cpus`,
processors of each replica; where it listens is told to Ray. This project must be installed on every node, and
models of your own must lie on a file system that all nodes share, under the same absolute paths.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from paddleseg_u2net.cli.serve import build_parser, server_settings
from paddleseg_u2net.environment.devices import MAX_PARALLEL, processors
from paddleseg_u2net.environment.optional_imports import need
from paddleseg_u2net.serving.settings import ServerSettings


def app(arguments: Mapping[str, str]) -> Any:
    """The application of Ray Serve; `serve run` calls it.

    Args:
        arguments: see above.

    Raises:
        ValueError: a number of replicas or processors that is none.
        SystemExit: a flag that `u2net serve` does not have; argparse has printed it.
    """
    rest = dict(arguments)
    replicas, cpus = _count(rest, "replicas", 1), _count(rest, "cpus", MAX_PARALLEL)
    # Ray listens, maybe for others: names by which it may be addressed are not known here
    flags = {"host": "0.0.0.0", **rest}
    words = [word for name, value in flags.items() for word in (f"--{name}", *shlex.split(str(value)))]
    settings = server_settings(build_parser().parse_args(words))
    serve = need("ray.serve")
    options = {"num_cpus": cpus, "num_gpus": int(str(settings.device).startswith("gpu"))}
    deployment = serve.deployment(
        name="u2net",
        num_replicas=replicas,
        ray_actor_options=options,
        max_ongoing_requests=2 * settings.queue,  # more wait in Ray; above `queue` a replica answers 503
    )
    return deployment(serve.ingress(_in_replica(settings, cpus))()).bind()


def _in_replica(settings: ServerSettings, cpus: int) -> Any:
    """The function that makes the ASGI application, which Ray calls in the process of each replica."""

    def build() -> Any:
        from paddleseg_u2net.serving.app import create_app

        os.environ["PADDLE_LOCAL_SIZE"] = str(max(processors() // cpus, 1))  # share the machine as ranks do
        return create_app(settings)

    return build


def _count(arguments: dict[str, str], name: str, default: int) -> int:
    """Take a whole number above 0 out of the arguments."""
    text = str(arguments.pop(name, default))
    if not text.isdecimal() or not int(text):
        raise ValueError(f"{name}={text}: expected a whole number above 0. Fix: {name}={default}")
    return int(text)
