"""Measure `u2net serve` beside `rembg s`: the same weights, photographs and requests, in alternation.

python -m tools.benchmarks.serving --image_path ../shared/data/msra10k_1200/images
    --weights ../shared/weights/u2netp.onnx --rembg VENV/bin/rembg

Both servers listen on the loopback with their own defaults and answer POST /api/remove with a PNG. Tables:

load      turns of each server with 1, 4 and 16 clients, each of which sends its next request when it has the
          answer to the last one; medians of the turns. Processor time is that of the server, for a request;
          other load of the machine hardly changes it. Memory is the resident peak of all processes.
warm      one request after another, against reading, predicting and encoding the same photographs by
          `Predictor` in this process, image by image in turns.
memory    resident after so many requests, then after 500 different sets of parameters.
overload  200 clients at once.

`--tables` leaves some out; without --rembg the server of this package is measured alone.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.environment.processes import u2net_command, u2net_environment
from paddleseg_u2net.io.listing import list_images
from tools.benchmarks.measuring import benchmark_parser

BOUNDARY = "benchmark"
CLIENTS = (1, 4, 16)
START_SECONDS, ANSWER_SECONDS = 120, 120


class Request(NamedTuple):
    """A request that is sent as it is."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def form(image: bytes, **fields: str) -> Request:
    """A request to rembg's API; parameters are in the form and in the address, where rembg reads `bgc`."""
    lines = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
        if name != "bgc"
    )
    lines += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    query = f"?bgc={fields['bgc']}" if "bgc" in fields else ""
    body = lines.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request(f"/api/remove{query}", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})


class Served:
    """A server in processes of its own.

    Args:
        name: in the tables.
        command: starts it; `{port}` is filled in.
        environment: variables added to those of this process.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]):
        self.name = name
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self.process = subprocess.Popen(
            [word.replace("{port}", str(self.port)) for word in command],
            env={**os.environ, **environment},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def connect(self) -> http.client.HTTPConnection:
        """A connection, which is kept for several requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)

    def wait(self, request: Request) -> None:
        """Wait until a request is answered."""
        end = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if send(self.connect(), request)[0] == 200:
                    return
            time.sleep(0.2)
        self.log.seek(0)
        raise OSError(f"{self.name}: does not answer: {self.log.read()[-800:].decode(errors='replace')}")

    def memory(self, field: str = "VmRSS") -> float:
        """Resident memory of all its processes in MiB; VmHWM is the peak of each of them."""
        return sum(_memory_of(number, field) for number in _tree(self.process.pid))

    def processor_seconds(self) -> float:
        """Time that all its processes have computed."""
        ticks = 0
        for number in _tree(self.process.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])  # utime, stime; see proc(5)
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """End it as an operator would; returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.log.close()


def _tree(number: int) -> list[int]:
    """A process and all of its descendants."""
    found = [number]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{number}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found


def _memory_of(number: int, field: str) -> float:
    with contextlib.suppress(OSError, IndexError):
        text = Path(f"/proc/{number}/status").read_text(encoding="utf-8")
        return int(text.split(f"{field}:")[1].split()[0]) / 1024
    return 0


def send(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Send a request; status and body of the answer."""
    connection.request("POST", request.path, request.body, dict(request.headers))
    answer = connection.getresponse()
    return answer.status, answer.read()


class Load(NamedTuple):
    """What a number of requests took.

    Args:
        seconds: from the first to the last.
        latencies: of each that was answered, in seconds.
        statuses: how often each status was answered; 0 is no answer.
        computed: processor time of the server in seconds.
    """

    seconds: float
    latencies: list[float]
    statuses: Counter[int]
    computed: float

    @property
    def rate(self) -> float:
        """Answers of status 200 in a second."""
        return self.statuses[200] / self.seconds

    @property
    def failed(self) -> int:
        """Requests without an answer of status 200."""
        return sum(self.statuses.values()) - self.statuses[200]


def load(served: Served, requests: Sequence[Request], clients: int) -> Load:
    """Send requests from several clients at once."""
    waiting, lock = iter(requests), threading.Lock()
    latencies: list[float] = []
    statuses: Counter[int] = Counter()

    def client() -> None:
        connection = served.connect()
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            started = time.perf_counter()
            try:
                status, _ = send(connection, request)
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
            with lock:
                statuses[status] += 1
                latencies.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    computed, started = served.processor_seconds(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    return Load(seconds, latencies, statuses, served.processor_seconds() - computed)


def load_table(servers: Sequence[Served], requests: Sequence[Request], rounds: int) -> None:
    """Print the throughput and latency of each server, and ours against the other."""
    print("| clients | server | requests/s | p50, ms | p95, ms | processor, ms | failed |")
    print("|---|---|---|---|---|---|---|")
    for clients in CLIENTS:
        turns: dict[str, list[Load]] = {served.name: [] for served in servers}
        for number in range(rounds):
            for served in servers if number % 2 else reversed(servers):
                turns[served.name].append(load(served, requests, clients))
        rows = {name: _medians(found) for name, found in turns.items()}
        for name, (rate, *times) in rows.items():
            failed = sum(turn.failed for turn in turns[name])
            cells = " | ".join(f"{1e3 * seconds:.0f}" for seconds in times)
            print(f"| {clients} | {name} | {rate:.2f} | {cells} | {failed} |")
        if len(rows) == 2:
            ours, theirs = rows.values()
            ratios = (f"{mine / other:.2f}" for mine, other in zip(ours, theirs, strict=True))
            print(f"| {clients} | ratio | {' | '.join(ratios)} | |")
    for served in servers:
        print(f"\npeak memory of {served.name}: {served.memory('VmHWM'):.0f} MiB")


def _medians(turns: Sequence[Load]) -> list[float]:
    """Rate, percentiles 50 and 95 of the latency, processor time of a request: medians of the turns."""
    rows = [
        (turn.rate, *np.percentile(turn.latencies, (50, 95)), turn.computed / len(turn.latencies))
        for turn in turns
    ]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def warm_table(served: Served, files: Sequence[bytes], weights: Path, rounds: int) -> None:
    """Print what a warm request takes beside the same work in this process, image by image in turns."""
    from paddleseg_u2net.inference.outputs import OutputSettings, encode_output
    from paddleseg_u2net.inference.predictor import Predictor

    predictor, settings, connection = Predictor(weights), OutputSettings(format="png"), served.connect()

    def draw(output: str, data: bytes) -> bytes:
        return encode_output(output, predictor(data), settings)

    print("\n| output | request, ms | in process, ms | ratio |\n|---|---|---|---|")
    for output in ("saliency", "cutout"):
        path, times = f"/v1/predict?outputs={output}&format=png", []
        for data in list(files) * (rounds + 1):
            request = Request(path, data, {"Content-Type": "image/jpeg"})
            by_request = _seconds(send, connection, request)
            by_hand = _seconds(draw, output, data)
            times.append((by_request, by_hand))
        ours, plain = (statistics.median(column) for column in zip(*times[len(files) :], strict=True))
        ratio = statistics.median(first / second for first, second in times[len(files) :])
        print(f"| {output} | {1e3 * ours:.1f} | {1e3 * plain:.1f} | {ratio:.2f} |")


def _seconds(function: Callable[..., object], *args: object) -> float:
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


def memory_table(servers: Sequence[Served], files: Sequence[bytes], counts: Sequence[int]) -> None:
    """Print the resident memory after so many requests, and after 500 different sets of parameters."""
    print("\n| server | at start | " + " | ".join(map(str, counts)) + " | 500 sets of parameters | failed |")
    print("|---|" + "---|" * (len(counts) + 3))
    for served in servers:
        images, sent, failed = itertools.cycle(files), 0, 0
        cells = [served.memory()]
        for count in counts:
            some = [form(next(images), model="u2netp") for _ in range(count - sent)]
            failed += load(served, some, 4).failed
            cells.append(served.memory())
            sent = count
        failed += load(served, list(_different(images, 500)), 4).failed
        cells.append(served.memory())
        print(f"| {served.name} | {' | '.join(f'{cell:.0f}' for cell in cells)} | {failed} |")


def _different(images: Iterator[bytes], count: int) -> Iterator[Request]:
    for number in range(count):
        switches = {"om": str(number % 2), "ppm": str(number // 2 % 2)}
        yield form(next(images), model="u2netp", bgc=f"{number % 256},{number // 2},0,255", **switches)


def overload_table(servers: Sequence[Served], request: Request, clients: int = 200) -> None:
    """Print what many clients at once are answered, and what one is answered afterwards."""
    print("\n| server | answers of each status | s | one request afterwards |\n|---|---|---|---|")
    for served in servers:
        found = load(served, [request] * clients, clients)
        after = load(served, [request], 1)
        ended = served.process.poll()
        status = next(iter(after.statuses)) if ended is None else f"it ended with {ended}"
        said = ", ".join(f"{n} times {status or 'none'}" for status, n in sorted(found.statuses.items()))
        print(f"| {served.name} | {said} | {found.seconds:.1f} | {status} |")


def report(args) -> None:
    """Print the tables that are asked for."""
    files = [path.read_bytes() for path in list_images(args.image_path)[: args.count]]
    if not files:
        raise ValueError(f"--image_path {args.image_path}: holds no images. Fix: a folder of photographs")
    weights = args.weights.resolve()
    requests = [form(data, model="u2netp") for data in files]
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        Path(home, "u2netp.onnx").symlink_to(weights)
        ours = u2net_command("serve", "--model_path", f"u2netp={weights}", "--port", "{port}", *args.flags)
        servers = [Served("u2net serve", ours, u2net_environment())]
        stack.callback(servers[0].stop)
        if args.rembg:
            theirs = [str(args.rembg), "s", "--host", "127.0.0.1", "--port", "{port}", "--no-ui"]
            servers.append(Served("rembg s", theirs, {"U2NET_HOME": home, "HF_HUB_OFFLINE": "1"}))
            stack.callback(servers[1].stop)
        for served in servers:
            served.wait(requests[0])
        if "load" in args.tables:
            load_table(servers, requests, args.rounds)
        if "warm" in args.tables:
            warm_table(servers[0], files, weights, args.rounds)
        if "memory" in args.tables:
            memory_table(servers, files, args.requests)
        if "overload" in args.tables:
            overload_table(servers, requests[0])


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    tables = ("load", "warm", "memory", "overload")
    parser = benchmark_parser("serving", __doc__)
    parser.add_argument("--image_path", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--weights", type=Path, required=True, help="u2netp.onnx, as rembg publishes it")
    parser.add_argument("--rembg", type=Path, help="its program, of another environment")
    parser.add_argument("--count", type=int, default=40, help="photographs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server (%(default)s)")
    parser.add_argument("--requests", type=int, nargs="+", default=[200, 1000, 2000], help="(%(default)s)")
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables, help="(all)")
    parser.add_argument("--flags", nargs="+", default=[], help="more flags of u2net serve: precision=int8")
    args = parser.parse_args(argv)
    args.flags = [f"--{flag}" for flag in args.flags]
    return guarded(lambda: report(args))


if __name__ == "__main__":
    sys.exit(main())
