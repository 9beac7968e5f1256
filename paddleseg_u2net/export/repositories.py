"""Model repositories of other servers: the folders and config files that they expect around a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddleseg_u2net.engines.deploy_config import Deployment
from paddleseg_u2net.export.onnx_graph import OUTPUTS
from paddleseg_u2net.models.architecture import IMAGE

VERSION = "1"  # of the model, in addresses and as the name of its folder
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # it is a part of addresses and the name of a folder
BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino"}  # of Triton


@dataclass(frozen=True)
class Repository:
    """A repository of one model.

    Args:
        server: key of SERVERS.
        name: of the model, in requests.

    Raises:
        ValueError: a name that addresses and folders cannot have.
    """

    server: str
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"--name {self.name}: expected up to 100 letters, digits, '.', '_' and '-', with a letter or "
                "digit first. Fix: --name with another name of the model"
            )

    @property
    def place(self) -> Path:
        """The folder of the model's files, within the repository."""
        return Path(self.name) / VERSION

    def write_config(self, folder: Path, deployment: Deployment) -> None:
        """Write the config file.

        Args:
            folder: of the repository, which holds the model at `place`.
            deployment: describes the model.
        """
        path, write = SERVERS[self.server]
        (folder / path.format(name=self.name)).write_text(write(self.name, deployment), encoding="utf-8")


def _ovms_config(name: str, deployment: Deployment) -> str:
    """The `config.json` of OpenVINO Model Server, which serves the models that it lists.

    `base_path` may be relative to the file. `plugin_config` holds properties of OpenVINO: without that hint
    CPUs with units for bf16 compute in it, which is less exact than what was verified.

    Source: `MODELS_CONFIG_SCHEMA`, github.com/openvinotoolkit/model_server/blob/
    033c8e48494130dba60a719997702db81929a354/src/schema.cpp; base_path:
    docs.openvino.ai/2025/model-server/ovms_docs_parameters.html; the hint: docs.openvino.ai/2024/
    openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html.
    """
    hint = "bf16" if deployment.precision == "bf16" else "f32"
    config = {"name": name, "base_path": name, "plugin_config": {"INFERENCE_PRECISION_HINT": hint}}
    return json.dumps({"model_config_list": [{"config": config}]}, indent=2) + "\n"


def _triton_config(name: str, deployment: Deployment) -> str:
    """The `config.pbtxt` of Triton: a `ModelConfig` in the text format of Protocol Buffers.

    With `max_batch_size: 0` the dimensions are those of requests, N included, as on the other servers.

    Source: docs.nvidia.com/deeplearning/triton-inference-server, user guide, "Model Configuration".
    """
    output, dtype, dims = output_of(deployment)
    lines = [
        f'name: "{name}"',
        f'backend: "{BACKENDS[Path(deployment.model).suffix]}"',
        f'default_model_filename: "{deployment.model}"',
        "max_batch_size: 0",
        f'input [ {{ name: "{IMAGE}" data_type: TYPE_UINT8 dims: [ -1, -1, -1, 3 ] }} ]',
        f'output [ {{ name: "{output}" data_type: TYPE_{dtype} dims: {dims} }} ]',
    ]
    return "\n".join(lines) + "\n"


def output_of(deployment: Deployment) -> tuple[str, str, list[int]]:
    """Name, type and shape of a model's output; types are those of the protocol, -1 is any size."""
    if deployment.output_op == "argmax":
        return OUTPUTS["argmax"], "INT32", [-1, -1, -1]
    key = "none" if deployment.output_op == "none" else "softmax"
    return OUTPUTS[key], "FP32", [-1, deployment.num_classes, -1, -1]


# name -> config file within the repository, and the function that makes its text
SERVERS: dict[str, tuple[str, Callable[[str, Deployment], str]]] = {
    "ovms": ("config.json", _ovms_config),
    "triton": ("{name}/config.pbtxt", _triton_config),
}
