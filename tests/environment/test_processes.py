"""Child processes end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types

import pytest
from support import ROOT, environment

from paddleseg_u2net.environment import processes

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, and forks of a process with threads")
START = """
import multiprocessing, os, subprocess, sys, time
from paddleseg_u2net.environment import processes

def wait():
    print("ready", flush=True)
    time.sleep(60)

def worker(number=0):
    processes.start_worker(number)
    wait()

def parent_of_a_worker():
    processes.start_worker()
    multiprocessing.get_context("fork").Process(target=worker).start()
    time.sleep(60)

"""
WATCHED = "processes._killed_by_system, processes.POLL_SECONDS = lambda: False, 0.05\n"
CHILDREN = {
    "worker": "multiprocessing.get_context('fork').Process(target=worker).start(); time.sleep(60)",
    "worker of a worker": "multiprocessing.get_context('fork').Process(target=parent_of_a_worker).start();"
    "time.sleep(60)",
    "module": "subprocess.run(processes.module_command('http.server', '0', '--bind', '127.0.0.1'), "
    "env={**os.environ, **processes.u2net_environment(), 'PYTHONUNBUFFERED': '1'})",
    "unlinked": "multiprocessing.get_context('fork').Process(target=wait).start(); time.sleep(60)",
}


@linux
@pytest.mark.parametrize("watched", [False, True], ids=["system", "thread"])
@pytest.mark.parametrize("child", CHILDREN)
def test_child_ends_with_a_killed_parent(child, watched):
    """The pipe is closed when no process is left that could write to it."""
    if watched and child == "module":
        pytest.skip("the patch does not reach a program of its own")
    code = START + WATCHED * watched + CHILDREN[child]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(), start_new_session=True
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline()
        parent.kill()
        os.set_blocking(parent.stdout.fileno(), child != "unlinked")
        assert parent.stdout.read() == (None if child == "unlinked" else b"")
        if child == "unlinked":
            os.killpg(parent.pid, signal.SIGKILL)


SERVED = """
import multiprocessing, os, time
from paddleseg_u2net.environment import processes

def worker():
    processes.start_worker()
    os.write(1, b"ready\\n")
    time.sleep(60)

def main():
    multiprocessing.set_start_method("forkserver")
    multiprocessing.Process(target=worker).start()
    time.sleep(60)
"""


@linux
def test_worker_of_a_fork_server_lives_as_long_as_its_parent(tmp_path):
    """Its parent is not the process that the system takes for it."""
    (tmp_path / "served.py").write_text(SERVED)
    variables = environment(PYTHONPATH=f"{ROOT}:{tmp_path}")
    command = [sys.executable, "-c", "import served; served.main()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=variables) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        os.set_blocking(parent.stdout.fileno(), False)
        time.sleep(0.1)
        assert parent.stdout.read() is None
        parent.kill()
        os.set_blocking(parent.stdout.fileno(), True)
        assert parent.stdout.read() == b""


ORPHAN = """
import os, sys, time
starter = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == starter:
    time.sleep(0.01)
os.environ[sys.argv[1]] = str(starter)
from paddleseg_u2net.cli.app import main
sys.exit(main(["prepare", "--help"]))
"""


@linux
@pytest.mark.parametrize(("variable", "printed"), [(processes.STARTER, False), ("ANOTHER", True)])
def test_command_whose_starter_has_ended_by_then_ends_at_once(variable, printed):
    words = [sys.executable, "-c", ORPHAN, variable]
    outcome = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert (bool(outcome.stdout), outcome.stderr) == (printed, "")


@linux
def test_rank_ends_with_its_launcher():
    code = START + (
        "if os.environ.get(processes.LAUNCHED):\n"
        "    processes.end_with_starter(); wait()\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[1]], "
        "env={**os.environ, processes.LAUNCHED: '0'})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, code], stdout=subprocess.PIPE, env=environment()
    ) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == b"ready\n"
        launcher.kill()
        assert launcher.stdout.read() == b""


def test_children_of_a_command_do_not_inherit_its_starter(monkeypatch):
    monkeypatch.setenv(processes.STARTER, str(os.getppid()))
    monkeypatch.setattr(processes, "end_with_parent", lambda parent: None)
    processes.end_with_starter()
    assert processes.STARTER not in os.environ


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_system_that_does_not_end_children_is_not_asked(monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.delattr(processes.ctypes, "CDLL")  # of Windows has no library without a name
    watched = []
    monkeypatch.setattr(processes, "_watch", watched.append)
    monkeypatch.setattr(processes, "_in_thread", lambda function: function())
    processes.end_with_parent(12)
    assert watched == [12]


def test_worker_on_windows_waits_for_its_parent(monkeypatch):
    """Without SIGKILL, and without the number of a parent that has ended."""
    done = []
    parent = types.SimpleNamespace(pid=12, join=lambda: done.append("joined"))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(signal, "SIGKILL")
    monkeypatch.setattr(processes.multiprocessing, "parent_process", lambda: parent)
    monkeypatch.setattr(processes, "_in_thread", lambda function: function())
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append((pid, number)))
    monkeypatch.setattr("paddleseg_u2net.environment.terminal.escape_output", lambda: done.append("escaped"))
    processes.start_worker()
    assert done == ["escaped", "joined", (os.getpid(), signal.SIGTERM)]


def test_command_that_fails_is_an_error_with_its_last_output():
    with pytest.raises(OSError, match="exit code 3: the reason"):
        processes.run_measured([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])
