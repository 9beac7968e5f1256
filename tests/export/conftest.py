"""Fixtures of the tests of exports."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from types import SimpleNamespace

import paddle
import pytest

from paddleseg_u2net.export import paddle2onnx
from paddleseg_u2net.models.u2net import U2Netp


@pytest.fixture(scope="package")
def network():
    """A small network with random weights, which no test changes."""
    paddle.seed(2)
    layer = U2Netp(1)
    layer.eval()
    return layer


@pytest.fixture
def forked_paddle2onnx(monkeypatch):
    """Run paddle2onnx in a fork of this process, where Paddle, which takes seconds to import, is there."""

    def run(command, cwd, env, capture_output, text, errors):
        with tempfile.TemporaryFile("w+", errors=errors) as printed, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where there are threads
            child = os.fork()
            if child == 0:
                try:
                    faulthandler.disable()  # it often crashes
                    os.dup2(printed.fileno(), 1)
                    os.dup2(printed.fileno(), 2)
                    os.chdir(cwd)
                    sys.argv[:] = command[3:]
                    runpy.run_module(command[3], run_name="__main__")
                    ctypes.CDLL(None).fflush(None)
                    os._exit(0)
                finally:
                    ctypes.CDLL(None).fflush(None)
                    os._exit(1)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            printed.seek(0)
            return subprocess.CompletedProcess(command, code, printed.read(), "")

    monkeypatch.setattr(paddle2onnx, "subprocess", SimpleNamespace(run=run))
