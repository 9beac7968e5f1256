"""Half precision."""

from __future__ import annotations

import paddle
import pytest

from paddleseg_u2net.training.precision import amp_options


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_cpu_is_rejected(precision):
    with pytest.raises(
        ValueError, match=f"--precision {precision}: Paddle computes in fp32 on a CPU, .*Fix:"
    ):
        amp_options(precision, "O1", "cpu")


def test_half_precision_on_a_gpu_is_enabled():
    options = amp_options("bf16", "O2", "gpu")
    assert (options["enable"], options["dtype"], options["level"]) == (True, "bfloat16", "O2")
    assert amp_options("fp16", "O1", "gpu")["dtype"] == "float16"
    assert amp_options("fp32", "O1", "gpu")["enable"] is False
    with paddle.amp.auto_cast(**amp_options("fp32", "O1", "cpu")):
        pass
