"""Reader of what `torch.save`, `torch.jit.save` and `pickle.dump` write; runs no code of the file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from paddleseg_u2net.models.safe_pickle import MAX_BYTES, SafeUnpickler, plain, read_sequence


class Pickled(NamedTuple):
    """The content of a pickle.

    Args:
        content: arrays, numbers, containers, and `Unread` objects.
        unread: full names of their classes.
    """

    content: Any
    unread: list[str]


def checked_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name; raises ValueError where they unpack to too much."""
    if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
        raise ValueError(f"unpacks to more than {MAX_BYTES >> 30} GiB")
    return {info.filename: info for info in archive.infolist()}


def read_zip(path: Path) -> Pickled:
    """Read the archive that PyTorch writes since version 1.6, also that of TorchScript."""
    with zipfile.ZipFile(path) as archive:
        members = {name.split("/", 1)[-1]: info for name, info in checked_members(archive).items()}
        unpickler = SafeUnpickler(io.BytesIO(archive.read(members["data.pkl"])))
        obj = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.read(archive.read(members[f"data/{key}"]))
    return Pickled(plain(obj), list(unpickler.unread))


def read_legacy(path: Path) -> Pickled:
    """Read the sequence of pickles that PyTorch wrote before version 1.6."""
    with path.open("rb") as file:
        obj, unread = read_sequence(file)
    return Pickled(plain(obj), unread)


def read_single(path: Path) -> Pickled:
    """Read one pickle, as `paddle.save` and `pickle.dump` write it."""
    with path.open("rb") as file:
        unpickler = SafeUnpickler(file)
        return Pickled(plain(unpickler.load()), list(unpickler.unread))
