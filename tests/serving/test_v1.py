"""Our own API: what is answered equals what the predictor gives in this process."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from served import MODEL, form, photograph, pixels, png, serving, small_predictor

from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.inference.outputs import OUTPUTS, OutputSettings, encode_output
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.presence import presence
from paddleseg_u2net.inference.result import CutoutSettings
from paddleseg_u2net.matting.ground import Background

PICTURE = photograph()
IMAGE = png(PICTURE)


@pytest.fixture(scope="module")
def predictor():
    return small_predictor()


def decoded(counts: list[int], size: list[int]) -> np.ndarray:
    """COCO's runs, one at a time."""
    flat, value = [], False
    for count in counts:
        flat += [value] * count
        value = not value
    return np.array(flat, bool).reshape(size[::-1]).T


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_is_what_the_predictor_gives(served, predictor, name):
    answer = served.post(f"/v1/predict?outputs={name}", IMAGE)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body == encode_output(name, predictor(IMAGE), OutputSettings())
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("64", "48")


@pytest.mark.parametrize(
    ("query", "cutout"),
    [
        ("", {}),
        ("refine_edges=false&foreground=no", {"refine_edges": False, "foreground": False}),
        ("background=%23ff8000", {"background": Background((255, 128, 0))}),
        ("background=blur", {"background": Background("blur")}),
        ("crop=10%25&fill_holes=1&drop_specks=9", {"crop": "10%", "fill_holes": True, "drop_specks": 9}),
        ("shrink=2&feather=1.5", {"grow": -2, "feather": 1.5}),
    ],
)
def test_parameters_are_those_of_predict(served, predictor, query, cutout):
    answer = served.post(f"/v1/predict?{query}", IMAGE)
    expected = predictor(IMAGE, CutoutSettings(**cutout)).cutout()
    assert np.array_equal(pixels(answer.body), expected)


def test_form_and_address_mean_the_same(served):
    by_address = served.post("/v1/predict?outputs=mask&threshold=otsu", IMAGE)
    by_form = served.send(
        "/v1/predict", ("file", "a.png", IMAGE), ("outputs", None, b"mask"), ("threshold", None, b"otsu")
    )
    assert by_form.status == 200
    assert by_address.body == by_form.body


def test_a_background_image_comes_with_the_form(served, predictor):
    ground = photograph(30, 30, seed=5)
    answer = served.send("/v1/predict", ("file", "a.png", IMAGE), ("background", "b.png", png(ground)))
    expected = predictor(IMAGE, CutoutSettings(background=Background(ground))).cutout()
    assert np.array_equal(pixels(answer.body), expected)


def test_json_holds_mask_presence_box_and_pictures(served, predictor):
    answer = served.post("/v1/predict?outputs=cutout,saliency", IMAGE, Accept="application/json")
    found, result = answer.json, predictor(IMAGE)
    mask = result.saliency >= 0.5
    assert (found["model"], found["width"], found["height"]) == (MODEL, 64, 48)
    assert np.array_equal(decoded(found["mask"]["counts"], found["mask"]["size"]), mask)
    rows, columns = np.nonzero(mask)
    left, top, width, height = found["box"]
    assert (left, top) == (columns.min(), rows.min())
    assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
    assert found["presence"] == pytest.approx(presence(result.saliency), abs=1e-4)
    assert found["foreground"] == pytest.approx(mask.mean(), abs=1e-6)
    assert sum(found["classes"].values()) == pytest.approx(1, abs=1e-5)
    assert set(found["timing_ms"]) == {"decode", "predict", "encode"}
    for name in ("cutout", "saliency"):
        picture = base64.b64decode(found["outputs"][name]["base64"])
        assert picture == encode_output(name, result, OutputSettings())


def test_an_image_without_an_object_has_no_box(served):
    black = png(np.zeros((20, 30, 3), np.uint8))
    found = served.post("/v1/predict?threshold=1", black, Accept="application/json").json
    assert found["box"] is None
    assert found["mask"]["counts"] == [600]


@pytest.mark.parametrize(
    ("accept", "query", "expected"),
    [
        ("*/*", "", "image/png"),
        ("", "", "image/png"),
        ("image/*", "", "image/png"),
        ("image/webp", "", "image/webp"),
        ("image/png;q=0.5, image/webp", "", "image/webp"),
        ("image/jpeg, */*;q=0.1", "", "image/png"),  # JPEG keeps no opacity
        ("image/jpeg", "background=white", "image/jpeg"),
        ("image/jpeg, image/png;q=0.9", "outputs=saliency", "image/jpeg"),
        ("*/*", "format=webp", "image/webp"),
        ("image/png", "outputs=mask", "image/png"),
        ("application/json", "format=webp", "application/json"),
        ("text/html, application/json;q=0.2", "", "application/json"),
        ("*/*", "outputs=cutout,mask", "application/json"),
    ],
)
def test_accept_chooses_the_format(served, accept, query, expected):
    answer = served.post(f"/v1/predict?{query}", IMAGE, Accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, expected), answer.body[:200]
    if expected.startswith("image/"):
        assert pixels(answer.body).shape[:2] == (48, 64)


@pytest.mark.parametrize(
    ("accept", "query"),
    [
        ("text/html", ""),
        ("image/jpeg", ""),
        ("image/webp", "outputs=mask"),
        ("image/png", "outputs=mask,cutout"),
        ("image/png;q=0", ""),
    ],
)
def test_a_format_that_is_not_served_is_refused(served, accept, query):
    assert served.post(f"/v1/predict?{query}", IMAGE, Accept=accept).code == "406 not_acceptable"


FILES = [("file", f"photo {n}.png", png(photograph(seed=n))) for n in range(3)]


def test_batch_as_a_zip(served, predictor):
    answer = served.send("/v1/batch?outputs=cutout,mask", *FILES, ("file", "../../etc/passwd", b"no image"))
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.testzip() is None
    rows = [json.loads(line) for line in archive.read("results.jsonl").splitlines()]
    assert [row["file"] for row in rows] == ["photo 0.png", "photo 1.png", "photo 2.png", "../../etc/passwd"]
    assert rows[3]["error"]["code"] == "bad_image"
    names = {name for row in rows[:3] for name in row["outputs"].values()}
    assert names | {"results.jsonl"} == set(archive.namelist())
    assert "cutout/0002_photo_1.png" in names
    for (_, _, data), row in zip(FILES, rows, strict=False):
        cut = archive.read(row["outputs"]["cutout"])
        assert cut == encode_output("cutout", predictor(data), OutputSettings())


def striped_predictor(*_):
    """Three classes in three columns."""

    def engine(batch: np.ndarray) -> np.ndarray:
        maps = np.zeros((len(batch), 3, *batch.shape[2:]), np.float32)
        for number, part in enumerate(np.array_split(np.arange(batch.shape[3]), 3)):
            maps[:, number, :, part] = 1
        return maps

    transforms = [{"type": "Resize", "target_size": [60, 60]}, {"type": "Normalize"}]
    data = {"num_classes": 3, "transforms": transforms, "type": "Dataset"}
    return Predictor(engine, {"val_dataset": data, "model": {"type": "U2Netp", "num_classes": 3}})


def test_classes_have_their_colours_and_shares():
    with serving(load=striped_predictor) as served:
        picture = Image.open(io.BytesIO(served.post("/v1/predict?outputs=pseudo_color", IMAGE).body))
        assert picture.mode == "P"
        assert np.array_equal(np.unique(np.asarray(picture)), [0, 1, 2])
        colors = make_palette(3)[[0, 1, 2]]
        assert np.array_equal(
            np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0), np.unique(colors, axis=0)
        )
        found = served.post("/v1/predict", IMAGE, Accept="application/json").json
        assert found["classes"] == pytest.approx({"0": 1 / 3, "1": 1 / 3, "2": 1 / 3}, abs=0.02)
        assert served.ask("GET", "/v1/models").json["models"][0]["classes"] == 3


def test_images_without_an_object_can_be_emptied(served):
    path = "/v1/predict?outputs=mask,saliency"
    kept = served.post(f"{path}&min_presence=0.01", IMAGE, Accept="application/json").json
    emptied = served.post(f"{path}&min_presence=1", IMAGE, Accept="application/json").json
    assert kept["foreground"] > 0
    assert (emptied["foreground"], emptied["box"]) == (0, None)


def test_what_was_left_out_of_an_image_is_said(served):
    pages = io.BytesIO()
    frames = [Image.fromarray(photograph(seed=n)) for n in range(3)]
    frames[0].save(pages, "TIFF", save_all=True, append_images=frames[1:])
    picture = served.post("/v1/predict", pages.getvalue())
    assert "3" in picture.headers["x-notes"]
    found = served.post("/v1/predict", pages.getvalue(), Accept="application/json").json
    assert found["notes"] == [picture.headers["x-notes"]]


def test_batch_as_json_lines_is_in_order(served):
    body, kind = form(*FILES)
    answer = served.ask("POST", "/v1/batch", body, {**kind, "Accept": "application/jsonl"})
    rows = [json.loads(line) for line in answer.body.splitlines()]
    assert [row["file"] for row in rows] == [name for _, name, _ in FILES]
    assert all(row["presence"] > 0 for row in rows)


def test_models_are_listed(served):
    rows = served.ask("GET", "/v1/models").json["models"]
    assert rows == [{"name": MODEL, "default": True, "loaded": True, "classes": 1}]


def test_openapi_describes_every_parameter(served):
    paths = served.ask("GET", "/openapi.json").json["paths"]
    names = {row["name"] for row in paths["/v1/predict"]["post"]["parameters"]}
    assert {"model", "outputs", "threshold", "refine_edges", "background", "quality"} <= names
    assert {row["name"] for row in paths["/api/remove"]["get"]["parameters"]} >= {"url", "om", "ppm", "bgc"}


def test_health_metrics_and_request_ids(served):
    assert served.ask("GET", "/health").json == {"status": "UP"}
    assert served.ask("GET", "/ready").json == {"ready": True, "models": [MODEL]}
    given = served.ask("GET", "/health", headers={"X-Request-Id": "my-id.1"})
    assert given.headers["x-request-id"] == "my-id.1"
    forged = served.ask("GET", "/health", headers={"X-Request-Id": "a b"})
    assert forged.headers["x-request-id"].isalnum()
    text = served.ask("GET", "/metrics").body.decode()
    assert 'u2net_requests_total{method="GET",route="/health",status="200"}' in text
    assert f'u2net_queue_requests{{model="{MODEL}"}} 0.0' in text


def test_answers_forbid_sniffing_and_framing(served):
    headers = served.post("/v1/predict", IMAGE).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
