"""Work and time: a full queue, requests that are given up, slow clients, models that vanish."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from served import MODEL, form, photograph, png, serving, small_predictor

IMAGE = png(photograph())


class Held:
    """A predictor that waits until it is let go, and records what it predicts."""

    def __init__(self):
        self.inner, self.go, self.seen = small_predictor(), threading.Event(), []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def predict(self, images):
        self.seen.append(len(images))
        assert self.go.wait(30)
        return self.inner.predict(images)


def wait_for(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_full_queue_answers_503_and_recovers():
    held = Held()
    with serving(load=lambda *_: held, queue=3) as served, ThreadPoolExecutor(8) as clients:
        queue = served.models.loaded[MODEL].queue
        first = [clients.submit(served.post, "/v1/predict", IMAGE) for _ in range(3)]
        wait_for(lambda: queue.held == 3)
        refused = served.post("/v1/predict", IMAGE)
        assert refused.code == "503 busy"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert served.ask("GET", "/health").status == 200  # the event loop is free
        held.go.set()
        assert [answer.result().status for answer in first] == [200] * 3
        assert served.works()


def test_a_request_whose_client_goes_leaves_the_queue():
    held = Held()
    with serving(load=lambda *_: held, queue=8, streams=1) as served, ThreadPoolExecutor(1) as clients:
        queue = served.models.loaded[MODEL].queue
        first = clients.submit(served.post, "/v1/predict", IMAGE)
        wait_for(lambda: held.seen == [1])
        raws = []
        for _ in range(5):
            raw = served.connect()
            head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(IMAGE)}\r\n\r\n"
            raw.sendall(head.encode() + IMAGE)
            raws.append(raw)
        wait_for(lambda: queue.held == 6)
        for raw in raws:
            raw.close()
        wait_for(lambda: queue.held == 1)
        held.go.set()
        assert first.result().status == 200
        assert held.seen == [1]  # those that went were not predicted


def test_waiting_images_are_one_batch_where_that_is_asked_for():
    held = Held()
    options = {"queue": 8, "streams": 1, "max_batch": 4}
    with serving(load=lambda *_: held, **options) as served, ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(served.post, "/v1/predict?outputs=saliency", IMAGE)]
        wait_for(lambda: held.seen == [1])
        answers += [clients.submit(served.post, "/v1/predict?outputs=saliency", IMAGE) for _ in range(2)]
        # two more have their turn while the engine works: as many as decode
        time.sleep(0.3)
        held.go.set()
        bodies = {answer.result().body for answer in answers}
        assert len(bodies) == 1
        assert held.seen in ([1, 2], [1, 1, 1])


def test_a_request_that_takes_too_long_is_given_up():
    held = Held()
    with serving(load=lambda *_: held, seconds=0.5) as served:
        start = time.perf_counter()
        assert served.post("/v1/predict", IMAGE).code == "504 too_slow"
        assert time.perf_counter() - start < 3
        wait_for(lambda: served.models.loaded[MODEL].queue.held == 0)
        held.go.set()


def test_a_slow_upload_is_given_up():
    with serving(seconds=1) as served, served.connect() as raw:
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - start < 5:
                raw.sendall(b"x")  # a byte now and then
                time.sleep(0.2)
                raw.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    answer = raw.recv(65536)
                    break
                raw.setblocking(True)
        assert time.monotonic() - start < 4
        assert answer.startswith(b"HTTP/1.1 408")


def trickle(raw: socket.socket, seconds: float = 5) -> float:
    """Send a byte of a header now and then; returns the seconds until the connection ends."""
    start = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - start < seconds:
            raw.sendall(b"X")
            time.sleep(0.1)
    return time.monotonic() - start


def test_headers_that_do_not_end_are_given_up(monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.serving.run.WINDOW_SECONDS", 0.4)
    with serving() as served:
        with served.connect() as raw:
            assert trickle(raw) < 3
        with served.connect() as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(4096).startswith(b"HTTP/1.1 200")
            assert trickle(raw) < 3
        assert served.works()


LARGE = png(photograph(500, 500))


def ask_and_read_nothing(served, raw: socket.socket) -> None:
    """Ask for a picture that is larger than the buffers of the connection."""
    wait_for(lambda: served.connections)
    (connection,) = served.connections
    # without small buffers the system takes some MB for the client
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = "POST /v1/predict?outputs=added HTTP/1.1\r\nHost: localhost\r\n"
    raw.sendall(f"{head}Content-Length: {len(LARGE)}\r\n\r\n".encode() + LARGE)
    wait_for(lambda: connection.transport.get_write_buffer_size() > 0)


def test_a_reader_that_does_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.serving.run.WINDOW_SECONDS", 0.4)
    with serving() as served, served.connect() as raw:
        ask_and_read_nothing(served, raw)
        wait_for(lambda: not served.connections)
        assert served.works()


def test_a_reader_that_is_slow_has_no_more_time_than_a_request():
    """uvicorn calls an answer complete when it is in the memory of the connection."""
    with serving(seconds=1.5) as served, served.connect() as raw:
        ask_and_read_nothing(served, raw)
        start = time.monotonic()
        while served.connections and time.monotonic() - start < 8:
            with contextlib.suppress(ConnectionError):
                raw.recv(64)
            time.sleep(0.05)
        assert time.monotonic() - start < 4


def test_answers_that_are_not_read_count_as_memory():
    with serving(seconds=3, max_body_memory=len(LARGE) + 1000) as served, served.connect() as raw:
        ask_and_read_nothing(served, raw)
        assert served.post("/v1/predict", IMAGE).code == "503 busy"
        raw.close()
        wait_for(served.works)


def test_bodies_of_all_requests_together_are_bounded():
    with serving(max_body_memory=100_000) as served:
        raws = [served.connect() for _ in range(3)]
        for raw in raws:
            raw.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
                + b"x" * 50_000
            )
        time.sleep(0.3)
        firsts = []
        for raw in raws:
            raw.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                firsts.append(raw.recv(12))
            raw.close()
        assert b"HTTP/1.1 503" in firsts
        wait_for(served.works)


def test_connections_have_a_limit(monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.serving.run.MAX_CONNECTIONS", 5)
    with serving() as served:
        raws = [served.connect() for _ in range(20)]
        closed = 0
        for raw in raws:
            raw.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                with contextlib.suppress(ConnectionError):
                    raw.recv(1)
                closed += 1
            raw.close()
        assert closed == 15
        wait_for(served.works)


@pytest.mark.parametrize("count", [200])
def test_very_many_clients_at_once(count):
    with serving(queue=32) as served, ThreadPoolExecutor(count) as clients:
        answers = list(clients.map(lambda _: served.post("/v1/predict", IMAGE), range(count)))
        found = {answer.status for answer in answers}
        assert found <= {200, 503}
        assert sum(answer.status == 200 for answer in answers) >= 32
        assert all(answer.code == "503 busy" for answer in answers if answer.status == 503)
        assert served.works()


def test_models_come_and_go_within_the_limit():
    loads = []

    def load(path, *_):
        loads.append(path)
        if path == "gone":
            raise FileNotFoundError("/secret/place: no such file")
        return small_predictor()

    with serving(load=load, models={"a": "a", "b": "b", "c": "gone"}, max_models=1) as served:
        ask = lambda name: served.post(f"/v1/predict?model={name}", IMAGE)  # noqa: E731
        assert [ask(name).status for name in "aabba"] == [200] * 5
        assert loads == ["a", "b", "a"]
        answer = ask("c")
        assert answer.code == "503 model_unavailable"
        assert "secret" not in answer.body.decode()
        assert ask("a").status == 200
        assert served.post("/v1/predict", IMAGE).status == 200  # the first is the default


def test_a_model_is_loaded_once_for_requests_that_are_given_up():
    loads, go = [], threading.Event()

    def load(path, *_):
        loads.append(path)
        assert path == "a" or go.wait(20)
        return small_predictor()

    with serving(load=load, models={"a": "a", "b": "b"}, max_models=1, seconds=0.3) as served:
        assert [served.post("/v1/predict?model=b", IMAGE).code for _ in range(3)] == ["504 too_slow"] * 3
        go.set()
        wait_for(lambda: "b" in served.models.loaded)
        assert loads == ["a", "b"]


def test_only_requests_at_work_hold_a_decoded_background():
    held, decoded = Held(), []

    class Counting(Held):
        def open(self, *args):
            decoded.append(1)
            return held.inner.open(*args)

        def predict(self, images):
            return held.predict(images)

    options = {"queue": 20, "streams": 1}
    with serving(load=lambda *_: Counting(), **options) as served, ThreadPoolExecutor(12) as clients:
        parts = ("file", "a.png", IMAGE), ("background", "b.png", IMAGE)
        answers = [clients.submit(served.send, "/v1/predict", *parts) for _ in range(12)]
        queue = served.models.loaded[MODEL].queue
        wait_for(lambda: queue.held == 12)
        time.sleep(0.3)
        assert len(decoded) <= 2 * queue.active
        held.go.set()
        assert {answer.result().status for answer in answers} == {200}


def test_a_model_at_work_is_not_dropped():
    held = Held()
    options = {"models": {"a": "a", "b": "b"}, "max_models": 1}
    with serving(load=lambda *_: held, **options) as served, ThreadPoolExecutor(1) as clients:
        first = clients.submit(served.post, "/v1/predict?model=a", IMAGE)
        wait_for(lambda: held.seen == [1])
        assert served.post("/v1/predict?model=b", IMAGE).code == "503 busy"
        held.go.set()
        assert first.result().status == 200
        assert served.post("/v1/predict?model=b", IMAGE).status == 200


def test_output_that_is_not_finite_is_a_fault():
    class Broken(Held):
        def predict(self, images):
            raise FloatingPointError(
                "the network's output holds NaN. Fix: weights of a run that did not diverge"
            )

    with serving(load=lambda *_: Broken()) as served:
        assert served.post("/v1/predict", IMAGE).code == "500 bad_output"


def test_a_mistake_of_ours_is_answered_without_its_traceback(caplog):
    class Wrong(Held):
        def predict(self, images):
            raise KeyError("/secret/place")

    with serving(load=lambda *_: Wrong()) as served:
        answer = served.post("/v1/predict", IMAGE)
        assert answer.code == "500 internal"
        assert "secret" not in answer.body.decode()


def test_a_batch_whose_client_goes_stops():
    held = Held()
    with serving(load=lambda *_: held, streams=1) as served:
        body, kind = form(*[("file", f"{n}.png", IMAGE) for n in range(8)])
        with served.connect() as raw:
            head = f"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            raw.sendall(f"{head}Content-Type: {kind['Content-Type']}\r\n\r\n".encode() + body)
            wait_for(lambda: held.seen == [1])
        held.go.set()
        wait_for(lambda: served.models.loaded[MODEL].queue.held == 0)
        assert len(held.seen) <= 3
