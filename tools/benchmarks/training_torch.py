"""U²-Net and its training step in PyTorch, for tools.benchmarks.training; needs neither Paddle nor OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# PyTorch is installed in an environment of its own, so its types are unknown to this project's
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

from paddleseg_u2net.models import architecture
from paddleseg_u2net.models.architecture import Node, dataflow

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "pool": lambda x: F.max_pool2d(x, 2, stride=2, ceil_mode=True),
    "resize": lambda x, target: F.interpolate(x, size=target.shape[2:], mode="bilinear"),
    "concat": lambda *inputs: torch.cat(inputs, dim=1),
    "add": torch.add,
}


def convolution(node: Node) -> nn.Module:
    """The module of a `conv` or `conv_relu` node, with PyTorch's own initial weights."""
    out_channels, in_channels, kernel, _ = node.weight
    padding = node.dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=node.dilation)
    if node.operation == "conv":
        return conv
    norm = nn.BatchNorm2d(out_channels, eps=architecture.BN_EPSILON)
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True))


class TorchU2Net(nn.Module):
    """Runs the operations of `architecture.dataflow`; returns seven logits as `models.u2net.U2Net` does.

    Args:
        network: a key of `architecture.NETWORKS`.
        num_classes: channels of each output.
    """

    def __init__(self, network: str, num_classes: int):
        super().__init__()
        self.flow = dataflow(architecture.NETWORKS[network], num_classes=num_classes)
        self.last_uses = architecture.last_uses(self.flow, architecture.OUTPUTS)
        # names of modules must not contain dots
        convolutions = {node.name.replace(".", "_"): convolution(node) for node in self.flow if node.weight}
        self.convolutions = nn.ModuleDict(convolutions)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> seven logits (N, num_classes, H, W): fused, then from fine to coarse."""
        results = {architecture.IMAGE: image}
        for node in self.flow:
            inputs = [results[name] for name in node.inputs]
            if node.weight:
                results[node.name] = self.convolutions[node.name.replace(".", "_")](*inputs)
            else:
                results[node.name] = OPERATIONS[node.operation](*inputs)
            del inputs
            for name in self.last_uses[node.name]:
                results.pop(name)
        return [results[name] for name in architecture.OUTPUTS]


def loss_of(logits: Tensor, label: Tensor) -> Tensor:
    """The loss of one output, as in `training_worker.paddle_step`."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, label)
    return F.cross_entropy(logits, label[:, 0])


def torch_step(
    network: str,
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    threads: int,
    channels_last: bool = False,
    bf16: bool = False,
    compiled: bool = False,
) -> Callable[[], float]:
    """Prepare a training step in PyTorch.

    Args:
        network: U2Net or U2Netp.
        images: (N, 3, H, W) float32.
        labels: (N, 1, H, W) float32 in [0, 1], or int64 class ids.
        num_classes: channels of each output.
        threads: number of threads of an operation.
        channels_last: keep activations in the memory order N, H, W, C.
        bf16: compute convolutions in bfloat16 (`torch.autocast`).
        compiled: use `torch.compile`.

    Returns:
        A function that trains on the batch once and returns the loss.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    order = torch.channels_last if channels_last else torch.contiguous_format
    x, label = torch.from_numpy(images).to(memory_format=order), torch.from_numpy(labels)
    model = TorchU2Net(network, num_classes).to(memory_format=order).train()
    call = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = call(x)
        # as in training, losses are computed in float32
        loss = torch.stack([loss_of(logits.float(), label) for logits in outputs]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def torch_version() -> str:
    """The versions of PyTorch and of its oneDNN."""
    config = torch.__config__.show()
    onednn = config.partition("MKL-DNN v")[2].split()
    return f"PyTorch {torch.__version__} (oneDNN {onednn[0] if onednn else 'none'})"
