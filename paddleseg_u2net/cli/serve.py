"""`u2net serve`: prediction and cut-outs over HTTP, with a page for the browser."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from paddleseg_u2net.cli.app import LOG_LINE
from paddleseg_u2net.cli.flags import (
    HOW,
    MODEL_FLAGS,
    Flags,
    add_group,
    batch_count,
    nonempty_path,
    parser,
    positive_float,
    positive_int,
)
from paddleseg_u2net.environment.optional_imports import require
from paddleseg_u2net.models.known_weights import KNOWN
from paddleseg_u2net.serving.logs import KINDS, configure
from paddleseg_u2net.serving.settings import ServerSettings

log = logging.getLogger(__name__)

ABOUT = "Serve models over HTTP: rembg's API, our own, KServe v2, Label Studio, and a page for the browser."
EXAMPLES = """\
  u2net serve                                       http://127.0.0.1:7000, by the published weights u2netp
  u2net serve --model_path u2netp disc=output       two models; requests name them u2netp and disc
  u2net serve --host 0.0.0.0 --token_file tokens    for other machines, who must bring a token
  curl -F file=@photo.jpg http://127.0.0.1:7000/api/remove -o cut.png
  curl --data-binary @photo.jpg 'http://127.0.0.1:7000/v1/predict?outputs=saliency' -o map.png
"""
DEFAULTS = ServerSettings()
LOOPBACK = ("127.0.0.1", "localhost", "::1")

MODEL: Flags = {
    "model_path": {
        "nargs": "+",
        "default": ["u2netp"],
        "metavar": "[NAME=]MODEL",
        "help": "known weights, weight files, folders of runs or exports; the name is that in requests, by "
        "default that of the file or folder; the first is the default (u2netp)",
    },
    "max_models": {
        "type": positive_int,
        "default": DEFAULTS.max_models,
        "help": "in memory at once (%(default)s)",
    },
    **{name: MODEL_FLAGS[name] for name in ("backend", "precision", "device")},
}
WHERE: Flags = {
    "host": {
        "default": DEFAULTS.host,
        "help": "address to listen on; 0.0.0.0 for other machines (%(default)s)",
    },
    "port": {
        "type": int,
        "default": DEFAULTS.port,
        "help": "(%(default)s); 0 takes a free one, which the log names",
    },
    "workers": {"type": batch_count, "default": 1, "help": "processes, each with all models (%(default)s)"},
    "log_format": {
        "choices": KINDS,
        "help": "lines of the log; default: plain on a terminal, else json",
    },
}
LIMITS: Flags = {
    "queue": {
        "type": positive_int,
        "default": DEFAULTS.queue,
        "help": "requests for a model at once (%(default)s)",
    },
    "streams": {
        "type": batch_count,
        "help": "predictions of a model at once; default: one for 4 processors",
    },
    "max_batch": {
        "type": batch_count,
        "default": DEFAULTS.max_batch,
        "help": "waiting images that are predicted together; gains on a GPU only (%(default)s)",
    },
    "max_bytes": {"type": positive_int, "default": DEFAULTS.max_bytes, "help": "of a request (%(default)s)"},
    "max_pixels": {"type": positive_int, "default": DEFAULTS.max_pixels, "help": "of an image (%(default)s)"},
    "max_files": {"type": positive_int, "default": DEFAULTS.max_files, "help": "of a request (%(default)s)"},
    "seconds": {"type": positive_float, "default": DEFAULTS.seconds, "help": "for a request (%(default)s)"},
}
ACCESS: Flags = {
    "token_file": {
        "type": nonempty_path,
        "metavar": "FILE",
        "help": "requests must bring one of its lines: Authorization: Bearer LINE",
    },
    "allow_urls": {
        "action": "store_true",
        "help": "fetch images by their https address, on the public internet only",
    },
    "cors": {
        "nargs": "+",
        "default": [],
        "metavar": "ORIGIN",
        "help": "sites whose pages may use the server, such as https://example.org; * for all",
    },
    "allowed_hosts": {
        "nargs": "+",
        "default": [],
        "metavar": "NAME",
        "help": "names by which it may be addressed besides localhost; default: none with a loopback "
        "--host, else any",
    },
    "label_studio": {
        "metavar": "URL",
        "help": "address of a Label Studio server, whose images are fetched",
    },
    "label_studio_token_file": {"type": nonempty_path, "metavar": "FILE", "help": "its access token"},
}
LONGEST_TOKEN_FILE = 1 << 16


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net serve`."""
    flags = parser("u2net serve", ABOUT, EXAMPLES)
    for title, group in (("models", MODEL), (HOW, WHERE), ("limits", LIMITS), ("access", ACCESS)):
        add_group(flags, title, group)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    args = build_parser().parse_args(argv)
    settings = server_settings(args)
    require("fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from paddleseg_u2net.serving.run import run

    kind = args.log_format or ("plain" if sys.stdout.isatty() else "json")
    log_line = {"kind": kind, "line": LOG_LINE}
    configure(**log_line)
    if settings.host not in LOOPBACK and not settings.tokens:
        log.warning("%s: any machine that reaches this one may use it. Fix: --token_file", settings.host)
    try:
        run(settings, args.workers, log_line)
    except KeyboardInterrupt:  # uvicorn passes the signal on after the last answer
        log.info("Stopped; all accepted requests were answered")
    return 0


def server_settings(args: argparse.Namespace) -> ServerSettings:
    """The settings that the flags ask for.

    Raises:
        ValueError: two models of one name, a wrong port or address, or a token file without tokens.
    """
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port}: expected 0 to 65535. Fix: {DEFAULTS.port}")
    named = tuple(name.lower().strip("[]") for name in args.allowed_hosts)
    # no other site has these names: they stay allowed for health checks on this machine
    hosts = (*named, *LOOPBACK) if named or args.host in LOOPBACK else ()
    names = (
        "host",
        "port",
        "max_models",
        "queue",
        "streams",
        "max_batch",
        "max_bytes",
        "max_pixels",
        "max_files",
    )
    names += ("seconds", "allow_urls", "label_studio", "backend", "precision", "device")
    token = _tokens(args.label_studio_token_file)
    return ServerSettings(
        models=named_models(args.model_path),
        max_body_memory=8 * args.max_bytes,
        tokens=_tokens(args.token_file),
        cors=tuple(args.cors),
        hosts=hosts,
        label_studio_token=token[0] if token else None,
        **{name: getattr(args, name) for name in names},
    )


def named_models(given: Sequence[str]) -> dict[str, str]:
    """Name in requests -> model, of `NAME=MODEL` or `MODEL`.

    Raises:
        ValueError: two models of one name, or a name with other letters than addresses have.
    """
    models: dict[str, str] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign:
            name, path = text if text in KNOWN else Path(text).resolve().stem, text
        if not name.isascii() or not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise ValueError(
                f"--model_path {text}: expected a name of letters, digits, '_', '-'. Fix: disc={path}"
            )
        if name in models:
            raise ValueError(
                f"--model_path {text}: '{name}' is given twice. Fix: another name, as {name}2={path}"
            )
        models[name] = path
    return models


def _tokens(path: Path | None) -> tuple[str, ...]:
    """The lines of a file that only its owner should read."""
    if path is None:
        return ()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Fix: a file with one token per line")
    with path.open(encoding="utf-8") as file:
        text = file.read(LONGEST_TOKEN_FILE)
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not tokens:
        raise ValueError(f"{path}: holds no token. Fix: openssl rand -hex 32 > {path}")
    if short := [number for number, token in enumerate(tokens, 1) if len(token) < 16]:
        raise ValueError(f"{path}: token {short[0]} is shorter than 16 letters. Fix: openssl rand -hex 32")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        log.warning("%s: other users may read it. Fix: chmod 600 %s", path, path)
    return tokens
