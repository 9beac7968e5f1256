"""`u2net d`: download published weights, as `rembg d` does."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from paddleseg_u2net.cli.flags import parser
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.models.pretrained import resolve

log = logging.getLogger(__name__)

EXAMPLES = """\
  u2net d u2netp
  u2net d                               all of them
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net d`."""
    flags = parser("u2net d", "Download published weights, as `rembg d` does.", EXAMPLES)
    flags.usage = "u2net d [MODEL ...]"
    group = flags.add_argument_group("input")
    group.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(KNOWN)}; default: all of them")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Download; returns the exit code."""
    models = build_parser().parse_args(argv).models
    unknown = [name for name in models if name not in KNOWN]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: unknown weights. Fix: any of {', '.join(KNOWN)}")
    for name in models or KNOWN:
        log.info("%s: %s", name, resolve(name))
    return 0
