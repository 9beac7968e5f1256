"""The server as Label Studio's machine-learning backend."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import httpx
import numpy as np
import pytest
from served import serving

from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.serving.brush import decode_brush

CONFIG = (
    '<View><Image name="image" value="$photo"/><BrushLabels name="tag" toName="image">'
    '<Label value="Object"/><Label value="Other"/></BrushLabels></View>'
)
TOKEN = "0123abcd"
HEIGHT, WIDTH = 20, 30


def photo(bright: slice = slice(5, 15)) -> bytes:
    """A PNG that is dark except for some columns."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, bright] = 255
    return cv2.imencode(".png", image)[1].tobytes()


def inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


class Home(BaseHTTPRequestHandler):
    """A Label Studio server with one image, which notes what it was asked."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(302 if self.path == "/data/moved" else 200)
        if self.path == "/data/moved":
            self.send_header("Location", "/data/upload/1/a.png")
        self.end_headers()
        self.wfile.write(photo())

    def log_message(self, *_):
        """Keep the server's log out of the tests' output."""


@pytest.fixture(scope="module")
def home():
    """The address of a Label Studio server."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Home)
    threading.Thread(target=lambda: httpd.serve_forever(0.01), daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def brightness(batch: np.ndarray) -> np.ndarray:
    """An engine whose map is the brightness of the image."""
    return batch.mean(axis=1, keepdims=True)


@contextlib.contextmanager
def client(**changes):
    """A client of a running server whose model finds what is bright."""
    dataset = {"transforms": []}
    predictor = Predictor(brightness, {"model": {"num_classes": 1}, "val_dataset": dataset})

    def resolve(*_):
        raise AssertionError("no name may be resolved")

    network = Network() if "label_studio" in changes else Network(resolve)
    models = {"bright": "", "second": ""}
    with (
        serving(network, lambda *_: predictor, models=models, **changes) as found,
        httpx.Client(base_url=f"http://127.0.0.1:{found.port}", trust_env=False, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def studio(home):
    """A client of a server that knows a Label Studio."""
    with client(label_studio=home, label_studio_token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def alone():
    """A client of a server that knows no Label Studio."""
    with client() as found:
        yield found


@pytest.fixture(scope="module")
def protected():
    """A client of a server that asks for a token."""
    with client(tokens=("t" * 16,)) as found:
        yield found


def ask(server: httpx.Client, *sources: object, path: str = "/predict", **params: object):
    """Ask for predictions, in the words of Label Studio."""
    tasks = [{"id": 7 + index, "data": {"photo": source}} for index, source in enumerate(sources)]
    body = {"tasks": tasks, "project": "3.1700000000", "label_config": CONFIG, "params": params}
    return server.post(path, json=body)


def columns(prediction: dict) -> list[int]:
    """The columns that the only region of a prediction paints."""
    (region,) = prediction["result"]
    mask = decode_brush(bytes(region["value"]["rle"]), HEIGHT, WIDTH)
    return np.flatnonzero(mask.any(axis=0)).tolist()


def test_health_says_what_label_studio_expects(alone):
    assert alone.get("/health").json()["status"] == "UP"
    assert alone.get("/label_studio/second/health").json()["status"] == "UP"


@pytest.mark.parametrize(("base", "model"), [("", "bright"), ("/label_studio/second", "second")])
def test_setup_names_the_model(alone, base, model):
    body = {"project": "3.17", "schema": CONFIG, "hostname": "http://x", "access_token": "y"}
    answer = alone.post(f"{base}/setup", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"model_version": model, "labels": {"object": "Object"}}
    assert ask(alone, inline(photo()), path=f"{base}/predict").json()["model_version"] == model


def test_unknown_model_is_404(alone):
    answer = ask(alone, inline(photo()), path="/label_studio/third/predict")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")


def test_tasks_are_answered_in_order(alone):
    answer = ask(alone, *(inline(photo(slice(n, n + 2))) for n in range(9))).json()
    assert [columns(found) for found in answer["results"]] == [[n, n + 1] for n in range(9)]
    assert answer["errors"] == []
    assert {found["model_version"] for found in answer["results"]} == {"bright"}


def test_tasks_that_fail_are_counted_and_get_no_prediction(alone):
    answer = ask(alone, inline(photo()), inline(b"no image"), 5, inline(photo()))
    results, errors = answer.json()["results"], answer.json()["errors"]
    assert answer.status_code == 200
    assert [bool(found) for found in results] == [True, False, False, True]
    assert [(error["task"], error["code"]) for error in errors] == [(8, "bad_image"), (9, "bad_request")]


def test_request_of_which_all_tasks_fail_is_an_error(alone):
    answer = ask(alone, inline(b"no image"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_image")


def test_click_chooses_an_object(alone):
    click = {"x": 25, "y": 50, "width": 1, "keypointlabels": ["Other"]}
    context = {"result": [{"type": "keypointlabels", "is_positive": 1, "value": click}]}
    found = ask(alone, inline(photo()), context=context).json()["results"][0]
    assert columns(found) == list(range(5, 15))
    assert found["result"][0]["value"]["brushlabels"] == ["Other"]


@pytest.mark.parametrize(
    "path", ["/data/upload/1/a.png", "/data/local-files/?d=a%20b/ä.png", "/storage-data/uploaded/?filepath=x"]
)
def test_files_of_label_studio_are_fetched_with_its_token(studio, home, path):
    for source in (path, home + path):
        Home.asked.clear()
        assert columns(ask(studio, source).json()["results"][0]) == list(range(5, 15))
        assert Home.asked == [(path.replace("ä", "%C3%A4"), f"Token {TOKEN}")]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/data/../api/users", "bad_request"),
        ("/data/%2e%2e/api/users", "bad_request"),
        ("/data/./x", "bad_request"),
        ("/data/local-files/?d=../../etc/passwd", "bad_request"),
        ("/data/a\\..\\b", "bad_request"),
        ("/api/users", "bad_request"),
        ("api/data/x", "bad_request"),
        ("/etc/passwd", "bad_request"),
        ("//evil.org/data/x", "bad_request"),
        ("file:///data/x", "bad_request"),
        ("s3://bucket/data/x", "bad_request"),
        ("https://evil.org/data/x", "urls_off"),
        ("{home}.evil.org/data/x", "urls_off"),
        ("{home}@evil.org/data/x", "urls_off"),
        ("{home}/api/users", "urls_off"),
    ],
)
def test_nothing_else_is_asked_of_label_studio(studio, home, path, code):
    Home.asked.clear()
    answer = ask(studio, path.replace("{home}", home))
    assert answer.json()["error"]["code"] == code
    assert Home.asked == []


def test_redirects_of_label_studio_are_not_followed(studio):
    Home.asked.clear()
    answer = ask(studio, "/data/moved")
    assert answer.json()["error"]["code"] == "url_failed"
    assert [path for path, _ in Home.asked] == ["/data/moved"]


@pytest.mark.parametrize(
    "source",
    [
        "/data/upload/1/a.png",
        "https://public.org/a.png",
        "http://127.0.0.1/a.png",
        "HTTP://[::1]/",
        "https://[/a.png",
    ],
)
def test_nothing_is_fetched_unless_it_is_allowed(alone, source):
    answer = ask(alone, source)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "urls_off")


@pytest.mark.parametrize(
    "source",
    ["data:", "data:image/png,x", "data:image/png;base64,*", "data:image/png;base64,A", None, {}, []],
)
def test_sources_that_are_no_image_are_named(alone, source):
    answer = ask(alone, source)
    assert answer.status_code in (400, 422)
    assert set(answer.json()["error"]) == {"code", "message", "request_id"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
        b"{}",
        b'{"label_config": 3}',
        b'{"label_config": "<a/>", "tasks": []}',
        json.dumps({"label_config": CONFIG}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": []}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": {}}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": [1]}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": [{}], "params": 3}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": [{"data": []}]}).encode(),
        json.dumps({"label_config": CONFIG, "tasks": [{"data": {"photo": "x\ud800"}}]}).encode(),
        json.dumps(
            {
                "label_config": CONFIG,
                "tasks": [{}],
                "params": {
                    "context": {"result": [{"type": "keypointlabels", "value": {"x": 10**400, "y": 1}}]}
                },
            }
        ).encode(),
        json.dumps({"label_config": CONFIG, "tasks": [{}], "params": {"context": {"result": 3}}}).encode(),
    ],
)
def test_other_bodies_are_bad_requests(alone, body):
    answer = alone.post("/predict", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_too_many_lists_are_refused(alone):
    """A list of 2 bytes takes 56 in memory."""
    answer = alone.post("/predict", content=b'{"tasks": [' + b"[]," * 700_000 + b"1]}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_too_many_tasks_are_refused(alone):
    answer = ask(alone, *["x"] * 1001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_files")


def test_fault_of_ours_is_json_without_details(alone, monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.serving.routes.label_studio.parse_config", lambda _: 1 / 0)
    answer = ask(alone, inline(photo()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "division" not in answer.text


@pytest.mark.parametrize(
    ("auth", "status"), [(("any", "t" * 16), 200), (("t" * 16, "any"), 401), (("", ""), 401), (None, 401)]
)
def test_label_studio_sends_the_token_as_a_password(protected, auth, status):
    body = {"schema": CONFIG, "project": "1.2"}
    assert protected.post("/setup", json=body, auth=auth).status_code == status


def test_broken_password_is_no_token(protected):
    for text in ("Basic", "Basic *", "Basic dDp0", "Basic \xff", "Bearer", "Other " + "t" * 16):
        header = {"Authorization": text.encode("latin-1")}
        assert protected.post("/setup", json={}, headers=header).status_code == 401


def test_events_are_ignored_and_training_is_refused(alone):
    event = alone.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": 3}})
    assert (event.status_code, event.json()) == (200, {"status": "ignored"})
    training = alone.post("/webhook", json={"action": "START_TRAINING"})
    assert training.status_code == 400
    assert "Fix: export the annotations" in training.json()["error"]["message"]
