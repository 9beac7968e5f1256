"""A U²-Net whose training step runs through oneDNN; parameters, state dict and optimizer stay Paddle's."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddleseg_u2net.environment.devices import training_threads
from paddleseg_u2net.environment.memory import available_memory
from paddleseg_u2net.environment.tensors import view
from paddleseg_u2net.models.architecture import OUTPUTS
from paddleseg_u2net.models.u2net import ConvBNReLU
from paddleseg_u2net.onednn.arena import Arena
from paddleseg_u2net.onednn.library import Unavailable
from paddleseg_u2net.onednn.memory import BF16, F32
from paddleseg_u2net.onednn.plan import Plan
from paddleseg_u2net.onednn.steps import External, Options

log = logging.getLogger(__name__)

DATA_TYPES = {"fp32": F32, "bf16": BF16}
MAX_PLANS = 8  # shapes of input that are kept ready; building a plan takes about half a second


class OneDnnNetwork(nn.Layer):
    """Calls a network; in train mode its forward and backward run through oneDNN.

    Args:
        network: `U2Net` or `U2Netp` on the CPU, float32.
        precision: fp32 or bf16, of the feature maps.
        threads: number of threads; 0 means `training_threads`.
    """

    def __init__(self, network: Any, precision: str = "fp32", threads: int = 0):
        super().__init__()
        self.network = network
        self.data_type, self.threads = DATA_TYPES[precision], threads or training_threads()
        self.arena, self.plans = Arena(), OrderedDict[Options, Plan]()
        self.refused = False
        self.norms = {
            node.name: network.operations[node.name].bn_s1
            for node in network.flow
            if isinstance(network.operations[node.name], ConvBNReLU)
        }
        self.state = dict(network.state_dict())
        self.shapes = {name: tuple(value.shape) for name, value in self.state.items()}

    def forward(self, image: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) float32 -> seven logits (N, num_classes, H, W) float32, as the network.

        Once a shape of images is refused, this and all later steps run in Paddle, and a warning says so.

        Raises:
            ValueError: the batch needs more memory than there is.
            Unavailable: its shape is refused in bfloat16, in which Paddle cannot compute on a CPU.
        """
        plan = self.prepare(tuple(image.shape)) if self.training else None
        if plan is None:
            return self.network(image)
        names = list(plan.steps.parameters)
        return list(_Step.apply(self, plan, image, *(self.state[name] for name in names)))

    def prepare(self, shape: tuple[int, ...]) -> Plan | None:
        """The plan for a shape of images, or None where Paddle computes; raises as `forward`."""
        if self.refused:
            return None
        try:
            return self.plan(shape)
        except Unavailable as error:
            if self.data_type != F32:
                raise
            log.warning("oneDNN: %s. Paddle computes all steps from here on, several times slower", error)
            self.refused = True  # for all shapes: after an error, oneDNN compiles no further kernels
            return None

    def plan(self, shape: tuple[int, ...]) -> Plan:
        """The plan for a shape of images and for what is trained at present.

        Raises:
            Unavailable: this shape is refused.
            ValueError: the batch needs more memory than there is.
        """
        trainable = frozenset(
            name
            for name, value in self.state.items()
            if not value.stop_gradient and not name.endswith(("._mean", "._variance"))
        )
        frozen = frozenset(
            name for name, norm in self.norms.items() if norm._use_global_stats or not norm.training
        )
        options = Options(shape, trainable, frozen, self.data_type, self.threads)
        if options not in self.plans:
            while len(self.plans) >= MAX_PLANS:
                self.plans.popitem(last=False)
            try:
                plan = Plan(self.network.flow, self.shapes, options, self.arena)
            except Unavailable as error:
                n, _, h, w = shape
                raise Unavailable(f"images of {h}x{w} in batches of {n} are refused: {error}") from error
            self._require_memory(plan)
            self.plans[options] = plan
        self.plans.move_to_end(options)
        return self.plans[options]

    def _require_memory(self, plan: Plan) -> None:
        """Raise ValueError if the values of a plan do not fit into memory."""
        free = available_memory()
        if free is None or plan.size <= free + self.arena.size:
            return
        n, _, h, w = plan.options.shape
        available = free + self.arena.size  # the arena is replaced
        largest = n * available // plan.size
        fix = f"--batch_size {largest} or less" if largest else "smaller images"
        raise ValueError(
            f"a step of {n} images of {h}x{w} needs {plan.size / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} GiB are available. Fix: {fix}"
        )

    def update_statistics(self, plan: Plan) -> None:
        """Move the running statistics towards those of the batch, as `nn.BatchNorm2D` does."""
        for name, batch in plan.batch_statistics().items():
            norm = self.norms[name]
            for running, value in zip((norm._mean, norm._variance), batch, strict=True):
                array = view(running)
                array *= norm._momentum
                array += np.float32(1 - norm._momentum) * value


class _Step(paddle.autograd.PyLayer):
    """A step that a plan computes, as one operation of Paddle's autograd."""

    @staticmethod
    def forward(ctx: Any, network: OneDnnNetwork, plan: Plan, image: Tensor, *parameters: Tensor) -> Any:
        image = image.contiguous()
        plan.steps.image.move(image.data_ptr())
        for external, tensor in zip(plan.steps.parameters.values(), parameters, strict=True):
            external.move(tensor.data_ptr())
        outputs = [_empty(plan.steps.outputs[name]) for name in OUTPUTS]
        ctx.use = plan.forward()
        network.update_statistics(plan)
        ctx.plan, ctx.kept = plan, (image, parameters)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        plan, (_, parameters) = ctx.plan, ctx.kept
        gradients = tuple(gradient.contiguous() for gradient in gradients)
        for name, gradient in zip(OUTPUTS, gradients, strict=True):
            plan.steps.output_gradients[name].move(gradient.data_ptr())
        written = {name: _empty(external) for name, external in plan.steps.gradients.items()}
        sides = {f"{name}.bias": _empty(external) for name, external in plan.steps.side_gradients.items()}
        plan.backward(ctx.use)
        return (None, *_results(plan, parameters, written, sides))


def _empty(external: External) -> Tensor:
    """A tensor that receives an array of the plan."""
    tensor = paddle.empty(external.desc.shape, "float32")
    external.move(tensor.data_ptr())
    return tensor


def _results(
    plan: Plan, parameters: tuple[Tensor, ...], written: dict[str, Tensor], sides: dict[str, Tensor]
) -> Iterator[Any]:
    """One gradient per parameter: written by the plan, summed over the pixels of a side output, or zero."""
    for name, parameter in zip(plan.steps.parameters, parameters, strict=True):
        if parameter.stop_gradient:
            yield None
        elif name in written:
            yield written[name]
        elif name in sides:
            yield sides[name].sum([0, 2, 3])
        else:  # the bias of a convolution before BatchNorm, which subtracts it again
            yield paddle.zeros(parameter.shape, "float32")
