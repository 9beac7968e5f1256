"""Images that are no files: on stdin, whose result goes to stdout, and at addresses."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from paddleseg_u2net.cli.flags import nonempty_path
from paddleseg_u2net.environment.interruptions import log_to_stderr
from paddleseg_u2net.errors import DataError, DownloadError, Fault
from paddleseg_u2net.inference.batch import BatchPredictor
from paddleseg_u2net.inference.image_paths import FoundImages, Image
from paddleseg_u2net.inference.outputs import encode_output
from paddleseg_u2net.inference.sources import is_address, read_all
from paddleseg_u2net.io.encoding import exif_of
from paddleseg_u2net.io.fetch import fetch

STDIN = Path("-")


def image_source(text: str) -> Path | str:
    """Convert the value of a flag to an address (text) or a path."""
    return text if is_address(text) else nonempty_path(text)


def addresses_of(sources: Sequence[Path | str]) -> list[str]:
    """The addresses among sources; ValueError if there are other sources beside them, or beside stdin."""
    addresses = [source for source in sources if isinstance(source, str)]
    if addresses and len(addresses) < len(sources):
        raise ValueError("addresses and paths cannot be mixed. Fix: a command for each")
    if STDIN in sources and len(sources) > 1:
        raise ValueError("-: stdin gives one image. Fix: give it alone")
    return addresses


def find_addressed(addresses: Sequence[str], folder: Path) -> FoundImages:
    """Download images into a folder.

    Args:
        addresses: see `fetch`.
        folder: receives them, named after the ends of their addresses.

    Raises:
        DataError: none of them can be downloaded.
    """
    images: dict[Path, Image] = {}
    faults: list[Fault | str] = []
    for address in dict.fromkeys(addresses):
        try:
            content = fetch(address)
        except DownloadError as error:
            faults.append(str(error))
            continue
        end = re.sub(r"[^\w.-]", "_", urlsplit(address).path.rsplit("/", 1)[-1])[-100:].lstrip(".")
        path = folder / (end or "image")
        while path.exists():
            path = path.with_name(f"{len(images)}_{path.name}")
        path.write_bytes(content)
        images[path] = Image(path, address)
    if not images:
        raise DataError(faults)
    return FoundImages(images, folder, faults)


def predict_stdin(args: argparse.Namespace, model: BatchPredictor, name: str) -> int:
    """Predict the image on stdin and write one result to stdout; returns the exit code.

    Args:
        args: the flags.
        model: predicts.
        name: the output, a key of OUTPUTS.
    """
    data = read_all(sys.stdin.buffer)
    if not data:
        raise ValueError("stdin is empty. Fix: u2net predict - < photo.jpg > out.png")
    result = model.result(Path("stdin"), data)
    send(encode_output(name, result, model.settings, exif_of(data) if args.keep_exif else None))
    return 0


def send(content: bytes) -> None:
    """Write a result to stdout."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def check_stdout(outputs: str) -> str:
    """Return the one output that goes to stdout, and leave stdout to it.

    Raises:
        ValueError: several outputs, or stdout is a terminal.
    """
    log_to_stderr()
    if "," in outputs:
        raise ValueError(f"--outputs {outputs}: an image on stdin has one result. Fix: one of them")
    if sys.stdout.isatty():
        raise ValueError("stdout is a terminal. Fix: u2net predict - < photo.jpg > out.png")
    return outputs
