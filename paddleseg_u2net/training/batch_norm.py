"""Statistics for BatchNorm that was folded into the convolutions, so that training can start from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from paddleseg_u2net.engines.onnxruntime import OnnxRuntimeEngine
from paddleseg_u2net.export.onnx_graph import GraphWriter, finish
from paddleseg_u2net.export.onnx_network import NetworkWriter, fold
from paddleseg_u2net.models.architecture import BN_EPSILON, IMAGE
from paddleseg_u2net.models.u2net import U2Net
from paddleseg_u2net.models.weight_files import FOLDED_VARIANCE, state_of

if TYPE_CHECKING:
    from paddle import nn

    Folded = dict[str, nn.Layer]


def folded_norms(network: nn.Layer) -> Folded:
    """The BatchNorm layers that are the identity because they were folded away, by `dataflow` node."""
    if not isinstance(network, U2Net):
        return {}
    names = [node.name for node in network.flow if node.operation == "conv_relu"]
    norms = {name: network.operations[name].bn_s1 for name in names}
    identity = float(FOLDED_VARIANCE)
    return {name: norm for name, norm in norms.items() if bool((norm._variance == identity).all())}


def restore_batch_norm(network: nn.Layer, images: Iterable[np.ndarray]) -> int:
    """Give folded BatchNorm layers the statistics of their input.

    The output in eval mode stays the same: with mean m and variance v of the input over the images, the
    layer becomes sqrt(v + eps) * (x - m) / sqrt(v + eps) + m.

    Args:
        network: its folded BatchNorm layers are changed in place.
        images: (C, h, w) float32 each, as in training; not read if nothing was folded.

    Returns:
        Number of layers restored.
    """
    norms = folded_norms(network)
    if not norms or not isinstance(network, U2Net):
        return 0
    engine = OnnxRuntimeEngine(_moments_graph(network, list(norms)))
    moments, weights = [], []
    for image in images:
        moments.append(np.float64(engine(image[None])))
        weights.append(image[0].size)
    means, variances = np.stack(moments, axis=1)  # (images, channels of all layers)
    mean = np.average(means, axis=0, weights=weights)
    variance = np.average(variances + (means - mean) ** 2, axis=0, weights=weights)
    start = 0
    for norm in norms.values():
        channels = slice(start, start := start + norm._num_features)
        values = {"_mean": mean[channels], "bias": mean[channels], "_variance": variance[channels]}
        values["weight"] = np.sqrt(variance[channels] + BN_EPSILON)
        for name, value in values.items():
            getattr(norm, name).set_value(value.astype(np.float32))
    return len(norms)


def _moments_graph(network: U2Net, names: list[str]) -> bytes:
    """An ONNX model of image -> (2, channels): mean and variance of the input of each named BatchNorm."""
    graph = GraphWriter()
    NetworkWriter(graph, network.flow, fold(state_of(network)), IMAGE).write()
    means, variances = [], []
    for name in names:
        x = f"{name}.conv"
        pixels = {"axes": [0, 2, 3], "keepdims": 1}
        means.append(graph.node("ReduceMean", [x], f"{name}.mean", **pixels))
        centred = graph.node("Sub", [x, means[-1]], f"{name}.centred")
        square = graph.node("Mul", [centred, centred], f"{name}.square")
        variances.append(graph.node("ReduceMean", [square], f"{name}.variance", **pixels))
    rows = [graph.node("Concat", parts, f"all.{i}", axis=1) for i, parts in enumerate((means, variances))]
    both = graph.node("Concat", rows, "both", axis=0)
    flat = graph.constant("flat", [2, -1], np.int64)
    output = graph.node("Reshape", [both, flat], "moments")
    model = finish(graph, {output: [2, "channels"]}, ["N", network.in_channels, "H", "W"])
    return model.SerializeToString()
