"""Child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support import environment

PARENT_AND_WORKER = """
import os, sys, time
from paddleseg_u2net.environment.processes import end_with_parent
if os.fork() == 0:
    if sys.argv[1] == "linked":
        end_with_parent()
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("linked", [True, False])
def test_worker_ends_with_a_killed_parent(linked):
    """The pipe is closed when no process is left that could write to it."""
    command = [sys.executable, "-c", PARENT_AND_WORKER, "linked" if linked else "free"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment(), start_new_session=True
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        os.set_blocking(parent.stdout.fileno(), linked)
        assert parent.stdout.read() == (b"" if linked else None)
        if not linked:
            os.killpg(parent.pid, signal.SIGKILL)
