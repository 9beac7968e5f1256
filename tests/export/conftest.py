"""Fixtures of the tests of exports."""

from __future__ import annotations

import faulthandler
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import forked

from paddleseg_u2net.export import paddle2onnx
from paddleseg_u2net.models.u2net import U2Netp


@pytest.fixture(scope="package")
def network():
    """A small network with random weights, which no test changes."""
    import paddle  # at the top, it would be imported before `support` keeps it quiet

    paddle.seed(2)
    layer = U2Netp(1)
    layer.eval()
    return layer


@pytest.fixture
def forked_paddle2onnx(monkeypatch):
    """Run paddle2onnx in a fork of this process, where Paddle, which takes seconds to import, is there."""

    def run(command, cwd, env, capture_output, text, errors):
        def convert() -> int:
            faulthandler.disable()  # it often crashes
            os.chdir(cwd)
            sys.argv[:] = command[3:]
            runpy.run_module(command[3], run_name="__main__")
            return 0

        return subprocess.CompletedProcess(command, *forked(convert), "")

    monkeypatch.setattr(paddle2onnx, "subprocess", SimpleNamespace(run=run))
