"""Images that are no files: on stdin, whose result goes to stdout, and at addresses."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from paddleseg_u2net.cli.flags import nonempty_path
from paddleseg_u2net.errors import DataError, DownloadError, Fault
from paddleseg_u2net.inference.batch import BatchPredictor
from paddleseg_u2net.inference.image_paths import FoundImages, Image, find_images
from paddleseg_u2net.inference.outputs import OUTPUTS, Output, encode_output
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


@contextmanager
def found_images(
    sources: Sequence[Path | str], save_dir: Path, table: Mapping[str, Output] = OUTPUTS
) -> Iterator[FoundImages]:
    """Find the images that paths name; those at addresses are downloaded, and kept while the block runs.

    Args:
        sources: of `image_source`.
        save_dir: see `find_images`.
        table: see `find_images`.

    Raises:
        DataError: none of the sources gives an image.
        ValueError: addresses and paths are mixed.
    """
    addresses = addresses_of(sources)
    if not addresses:
        yield find_images(map(Path, sources), save_dir, table)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield find_addressed(addresses, Path(folder))


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
        images[path] = Image(path, name=address)
    if not images:
        raise DataError(faults)
    return FoundImages(images, folder, faults)


def stdin_content(command: str) -> bytes:
    """The image on stdin; ValueError if it is empty, with the command as it should be."""
    if data := read_all(sys.stdin.buffer):
        return data
    raise ValueError(f"stdin is empty. Fix: {command} < photo.jpg > out.png")


def predict_stdin(args: argparse.Namespace, model: BatchPredictor) -> int:
    """Predict the image on stdin and write one result to stdout; returns the exit code.

    Args:
        args: the flags, checked by `check_stdout`.
        model: predicts.
    """
    data = stdin_content("u2net predict -")
    result = model.result("stdin", data)
    model.log_notes(1)
    send(encode_output(args.outputs, result, model.settings, exif_of(data) if args.keep_exif else None))
    return 0


def send(content: bytes) -> None:
    """Write a result to stdout."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def check_stdout(args: argparse.Namespace) -> None:
    """Raise ValueError if the result of stdin cannot go to stdout, or a flag does not apply to it."""
    if "," in args.outputs:
        raise ValueError(f"--outputs {args.outputs}: an image on stdin has one result. Fix: one of them")
    for name in ("report", "resume"):
        if getattr(args, name):
            raise ValueError(f"--{name}: not for an image on stdin. Fix: leave it out, or name a file")
    if sys.stdout.isatty():
        raise ValueError("stdout is a terminal. Fix: u2net predict - < photo.jpg > out.png")
