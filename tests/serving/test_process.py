"""`u2net serve` as a program: its log, its end, its workers, and flags that are wrong."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import MODEL, photograph, png
from support import environment

from paddleseg_u2net.cli import serve
from paddleseg_u2net.serving.settings import ServerSettings

IMAGE = png(photograph())
LISTENS = re.compile(r"Listening on http://127\.0\.0\.1:(\d+)")


def post(port: int) -> int:
    """Send an image as soon as there is a server; returns the status."""
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return post_now(port)
        assert time.monotonic() < until
        time.sleep(0.05)


def post_now(port: int) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/v1/predict", IMAGE)
        answer = connection.getresponse()
        assert answer.read()
        return answer.status


class Program:
    """A server in a child process on a free port."""

    def __init__(self, *flags, log):
        command = [
            sys.executable,
            "-m",
            "paddleseg_u2net",
            "serve",
            "--model_path",
            MODEL,
            "--port",
            "0",
            *flags,
        ]
        self.log = log
        with log.open("wb") as file:
            self.child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment())
        until = time.monotonic() + 60
        while not (found := LISTENS.search(log.read_text())):
            assert self.child.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        self.port = int(found[1])

    def post(self) -> int:
        return post(self.port)

    def end(self, number=signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(60)


def test_sigterm_under_load_lets_accepted_requests_finish(tmp_path):
    program = Program(log=tmp_path / "log")
    with ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(program.post) for _ in range(6)]
        while program.log.read_text().count('"path": "/v1/predict"') < 1:
            time.sleep(0.01)
        assert program.end() == 0
        assert [answer.result() for answer in answers] == [200] * 6
    lines = [json.loads(line) for line in program.log.read_text().splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert [line["status"] for line in requests] == [200] * 6
    assert all(line["bytes_in"] == len(IMAGE) and line["bytes_out"] > 0 for line in requests)
    assert all(len(line["request_id"]) == 32 for line in requests)
    assert lines[-1]["message"] == "Stopped; all accepted requests were answered"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_of_the_log_stops_no_request():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "paddleseg_u2net", "serve", "--model_path", MODEL, "--port", str(port)]
    with open("/dev/full", "wb") as full:
        child = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert post(port) == 200
    child.send_signal(signal.SIGTERM)
    error = child.communicate(timeout=60)[1]
    assert child.returncode == 1  # as the log was lost
    assert "lines are lost. Fix: write it to another place" in error


def test_workers_share_the_port(tmp_path):
    program = Program("--workers", "2", log=tmp_path / "log")
    with ThreadPoolExecutor(4) as clients:
        assert [*clients.map(lambda _: program.post(), range(4))] == [200] * 4
    assert program.end(signal.SIGINT) == 0
    lines = [json.loads(line) for line in program.log.read_text().splitlines()]
    assert sum(line["message"] == "request" for line in lines) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "99999"], "--port 99999: expected 0 to 65535. Fix: 7000"),
        (["--model_path", "a=u2netp", "a=u2net"], "'a' is given twice. Fix: another name, as a2=u2net"),
        (["--model_path", "a/b=u2netp"], "expected a name of letters, digits, '_', '-'. Fix: disc=u2netp"),
        (["--model_path", "nothing.onnx"], "nothing.onnx"),
        (["--token_file", "absent"], "absent: no such file. Fix: a file with one token per line"),
        (["--token_file", "empty"], "empty: holds no token. Fix: openssl rand -hex 32 > empty"),
        (["--token_file", "short"], "short: token 2 is shorter than 16 letters. Fix: openssl rand -hex 32"),
        (["--host", "192.0.2.1", "--model_path", MODEL], "192.0.2.1"),
    ],
)
def test_wrong_flags_are_one_message(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("a" * 32 + "\nb\n")
    code, _, error = run("serve", *words)
    assert code == 1, error
    assert message in error
    assert "Traceback" not in error


def test_models_are_named_after_their_files():
    assert serve.named_models(["u2netp", "runs/disc/", "x=model.onnx"]) == {
        "u2netp": "u2netp",
        "disc": "runs/disc/",
        "x": "model.onnx",
    }


def test_settings_make_their_way_to_worker_processes():
    settings = ServerSettings(tokens=("t" * 20,), cors=("*",), streams=2, models={"a": "b"})
    assert ServerSettings.from_json(settings.to_json()) == settings


def test_hosts_may_always_be_those_of_the_loopback():
    def hosts(*words):
        return serve.server_settings(serve.build_parser().parse_args(words)).hosts

    assert hosts("--host", "0.0.0.0") == ()
    assert hosts() == serve.LOOPBACK
    assert hosts("--host", "0.0.0.0", "--allowed_hosts", "Cut.example.org") == (
        "cut.example.org",
        *serve.LOOPBACK,
    )


def test_tokens_of_a_file(tmp_path, caplog):
    path = tmp_path / "tokens"
    path.write_text(f"{'a' * 20}\n\n {'b' * 20} \n")
    path.chmod(0o644)
    args = serve.build_parser().parse_args(["--token_file", str(path)])
    assert serve.server_settings(args).tokens == ("a" * 20, "b" * 20)
    assert f"{path}: other users may read it. Fix: chmod 600 {path}" in caplog.text
    path.chmod(0o600)
    caplog.clear()
    assert serve.server_settings(args).tokens
    assert not caplog.text
