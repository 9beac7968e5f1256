"""Half precision."""

from __future__ import annotations

import paddle
import pytest

from paddleseg_u2net.training.precision import amp_options


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_on_a_cpu_paddle_casts_nothing(precision):
    assert amp_options(precision, "O1", "cpu")["enable"] is False


def test_half_precision_on_a_gpu_is_enabled():
    options = amp_options("bf16", "O2", "gpu")
    assert (options["enable"], options["dtype"], options["level"]) == (True, "bfloat16", "O2")
    assert amp_options("fp16", "O1", "gpu")["dtype"] == "float16"
    assert amp_options("fp32", "O1", "gpu")["enable"] is False
    with paddle.amp.auto_cast(**amp_options("fp32", "O1", "cpu")):
        pass
