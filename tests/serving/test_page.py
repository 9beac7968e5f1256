"""The page in Chromium, in front of the server; each result is compared with that of a plain request."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from browser import Record, browser, needs_browser
from PIL import Image
from served import serving

from paddleseg_u2net.inference.predictor import Predictor

pytestmark = needs_browser
TOKEN = "0123-abcd"
COUNT_URLS = """
window.urls = new Set();
const [create, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
URL.createObjectURL = (blob) => { const url = create.call(URL, blob); window.urls.add(url); return url; };
URL.revokeObjectURL = (url) => { window.urls.delete(url); revoke.call(URL, url); };
"""
CONFIG = {"model": {"num_classes": 1}, "val_dataset": {"transforms": []}}


def red(batch: np.ndarray) -> np.ndarray:
    """As slow as a network."""
    time.sleep(0.3)
    return batch[:, :1] / 255


# what is salient to each model: (N, 3, h, w) in [0, 255] -> (N, 1, h, w) in [0, 1]
MODELS = {"bright": lambda batch: np.clip(batch.mean(1, keepdims=True) / 128 - 0.5, 0, 1), "red": red}
BUSY = {"error": {"code": "busy", "message": "32 requests wait. Fix: ask again later", "request_id": "1"}}


def photograph(width: int = 96, height: int = 64) -> bytes:
    """A light disc on a dark ground with noise, as JPEG."""
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (height / 4) ** 2
    pixels = np.where(disc[..., None], [230, 200, 90], [30, 60, 70])
    pixels = pixels + np.random.default_rng(0).integers(0, 20, (height, width, 1))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def upload(name: str = "disc.jpg", content: bytes | None = None) -> dict:
    return {"name": name, "mimeType": "image/jpeg", "buffer": photograph() if content is None else content}


@contextmanager
def serve(**settings: Any) -> Iterator[str]:
    """A server of MODELS; yields its address."""
    models = {name: name for name in MODELS}
    with serving(load=lambda path, *_: Predictor(MODELS[path], CONFIG), models=models, **settings) as found:
        yield f"http://127.0.0.1:{found.port}"


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with serve() as address:
        yield address


@pytest.fixture
def open_page(chromium, origin):
    """A function that opens the page; afterwards nothing was blocked, and nothing loaded from elsewhere."""
    record, contexts = Record(), []

    def open_at(address: str = origin, before: str = "", **options):
        context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        record.watch(context)
        page = context.new_page()
        page.add_init_script(before)
        page.goto(address)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert record.problems == []
    assert all(url.startswith((origin, "blob:http://127.0.0.1:", "data:")) for url in record.requests)


def wait_for(page, state: str, count: int = 1) -> None:
    page.locator(f"#cards > .{state}").nth(count - 1).wait_for()


def saved(page, button) -> tuple[str, bytes]:
    with page.expect_download() as found:
        button.click()
    return found.value.suggested_filename, found.value.path().read_bytes()


def asked(origin: str, **parameters) -> bytes:
    """What the server answers to a request for one image."""
    files = {"file": ("disc.jpg", photograph(), "image/jpeg")}
    if isinstance(parameters.get("background"), bytes):
        files["background"] = ("ground.png", parameters.pop("background"), "image/png")
    answer = httpx.post(f"{origin}/v1/predict", files=files, data=parameters)
    assert answer.status_code == 200, answer.text
    return answer.content


GROUND = io.BytesIO()
Image.new("RGB", (8, 8), (9, 120, 200)).save(GROUND, "PNG")
SETTINGS = [  # what is set, the parameters that it stands for, the name of the file
    ({}, {}, "disc-cutout.png"),
    ({"background": "color", "color": "#ff8000", "format": "jpg"}, {"background": "#ff8000", "format": "jpg"},
     "disc-cutout.jpg"),
    ({"background": "blur"}, {"background": "blur", "format": "jpg"}, "disc-cutout.jpg"),
    ({"background": "image"}, {"background": GROUND.getvalue(), "format": "jpg"}, "disc-cutout.jpg"),
    ({"background": "", "crop": True, "margin": "10", "refine_edges": False, "grow": "-3"},
     {"crop": "10%", "refine_edges": "false", "shrink": "3"}, "disc-cutout.png"),
    ({"crop": False, "foreground": False, "grow": "4", "feather": "1.5"},
     {"refine_edges": "false", "foreground": "false", "grow": "4", "feather": "1.5"}, "disc-cutout.png"),
    ({"outputs": "mask", "threshold": "0.3", "fill_holes": True, "drop_specks": "20"},
     {"outputs": "mask", "threshold": "0.3", "fill_holes": "true", "drop_specks": "20"}, "disc-mask.png"),
    ({"outputs": "saliency", "fill_holes": False, "drop_specks": "0", "format": "webp"},
     {"outputs": "saliency", "format": "webp"}, "disc-saliency.webp"),
    ({"model": "red", "outputs": "contour", "format": "png"}, {"outputs": "contour", "model": "red"},
     "disc-contour.png"),
]  # fmt: skip


def test_each_setting_reaches_the_server(open_page, origin):
    page = open_page()
    page.locator("option[value=red]").wait_for(state="attached")
    page.set_input_files("#files", upload())
    for settings, parameters, name in SETTINGS:
        for field, value in settings.items():
            control = page.locator(f"#settings [name={field}]")
            if isinstance(value, bool):
                control.set_checked(value)
            elif control.evaluate("e => e.tagName") == "SELECT":
                control.select_option(value)
            else:
                control.fill(value)
            if value == "image":
                ground = {"name": "ground.png", "mimeType": "image/png", "buffer": GROUND.getvalue()}
                page.set_input_files("[name=image]", ground)
        if settings:
            page.get_by_role("button", name="Apply to the image").click()
        wait_for(page, "done")
        assert saved(page, page.get_by_text("Download", exact=True)) == (name, asked(origin, **parameters))
        cropped = "crop" in parameters
        assert page.locator(".compare input").is_visible() is not cropped  # no slider of two sizes
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Apply to the image").click()
    wait_for(page, "done")
    assert saved(page, page.get_by_text("Download", exact=True))[1] == asked(origin)
    assert "kB" in page.locator(".state").inner_text()


def test_settings_that_are_wrong_are_shown_and_nothing_is_sent(open_page):
    page, sent = open_page(viewport={"width": 360, "height": 800}), []
    page.on("request", lambda request: sent.append(request.url))
    page.get_by_text("Settings").click()
    page.locator("[name=background]").select_option("image")  # none chosen yet
    page.get_by_text("Settings").click()
    page.set_input_files("#files", upload())
    assert page.locator("[name=image]").evaluate("e => e === document.activeElement")
    assert page.get_by_role("status").inner_text() == "1 waiting"
    assert not [url for url in sent if url.endswith("/predict")]
    page.locator("[name=background]").select_option("")
    wait_for(page, "done")


def test_dropped_and_pasted_images_are_added(open_page):
    page = open_page()
    drop = """([type, name, mime, bytes]) => {
        const data = new DataTransfer(), event = type === 'paste' ? ClipboardEvent : DragEvent;
        data.items.add(new File([Uint8Array.from(bytes)], name, {type: mime}));
        const options = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
        document.querySelector('h1').dispatchEvent(new event(type, options));
    }"""
    page.evaluate(drop, ["dragover", "a.jpg", "image/jpeg", []])
    assert page.locator(".drop.over").count() == 1
    page.evaluate(drop, ["drop", "a.jpg", "image/jpeg", list(photograph())])
    assert page.locator(".drop.over").count() == 0
    page.evaluate(drop, ["paste", "image.png", "image/png", list(photograph())])
    wait_for(page, "done", 2)
    page.evaluate(drop, ["drop", "notes.txt", "text/plain", [65]])
    wait_for(page, "failed")
    assert page.get_by_role("alert").inner_text() == "No image, but text/plain: it was not sent."
    assert page.get_by_role("button", name="Try again notes.txt").count() == 0
    assert page.get_by_role("status").inner_text() == "2 done, 1 failed"


def test_all_results_are_one_archive_and_removed_images_free_their_memory(open_page, origin):
    page = open_page(before=COUNT_URLS)
    names = ["a.jpg", "b/ü <i>.jpg", "a.jpg"]
    page.set_input_files("#files", [upload(name) for name in names])
    wait_for(page, "done", 3)
    name, content = saved(page, page.get_by_role("button", name="Download all"))
    assert name == "u2net.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == 3
        assert archive.namelist()[::2] == ["a-cutout.png", "a-cutout (2).png"]
        assert archive.namelist()[1].endswith("ü <i>-cutout.png")
        assert archive.read("a-cutout (2).png") == asked(origin)
    assert page.evaluate("window.urls.size") == 7  # of photographs, of results, and of the archive
    page.get_by_role("button", name="Remove a.jpg").first.click()
    assert page.evaluate("window.urls.size") == 5
    page.get_by_role("button", name="Remove all").click()
    assert page.evaluate("window.urls.size") == 1  # of the archive, for a minute
    assert page.locator("#empty").is_visible()
    assert page.locator("#files").evaluate("e => e === document.activeElement")


def test_keyboard_alone_is_enough(open_page):
    page = open_page()
    press, focused = page.keyboard.press, lambda: page.evaluate("document.activeElement.name || ''")
    # registered early: Chromium may open its own dialog if it hears of this together with the key
    page.on("filechooser", lambda chooser: chooser.set_files([upload()]))
    press("Tab")  # the link to the API
    press("Tab")
    assert page.locator("#files").evaluate("e => e === document.activeElement")
    press("Enter")
    wait_for(page, "done")
    order = []
    press("Tab")  # Settings
    for _ in range(10):
        press("Tab")
        order.append(focused())
        if order[-1] == "background":
            press("ArrowDown")  # Colour
    assert order == ["model", "outputs", "background", "color", "fill_holes", "drop_specks", "refine_edges",
                     "foreground", "grow", "feather"]  # fmt: skip
    press("Enter")  # sends the form
    wait_for(page, "done")
    slider = page.get_by_role("slider", name="Share of the photograph disc.jpg")
    slider.focus()
    press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "51 % photograph"
    press("Home")
    assert page.locator(".compare").evaluate("e => e.style.getPropertyValue('--at')") == "0%"
    press("Tab")
    with page.expect_download():
        press("Enter")
    press("Tab")
    press("Enter")  # Remove
    assert page.locator("#cards > *").count() == 0


def test_every_control_has_a_name_and_pictures_are_described(open_page):
    page = open_page()
    page.set_input_files("#files", [upload(), upload("broken.jpg", b"text")])
    wait_for(page, "done")
    wait_for(page, "failed")
    for output in ("cutout", "mask"):
        page.locator("[name=outputs]").select_option(output)
        tree = page.locator("body").aria_snapshot()
        controls = r"- (button|textbox|combobox|slider|checkbox|spinbutton|link|img|progressbar)"
        assert not re.findall(rf"{controls}(?::|$)", tree, re.MULTILINE)
    for line in ('heading "U²-Net" [level=1]', 'img "Cut-out of disc.jpg"', 'img "Photograph disc.jpg"',
                 'button "Choose images', 'combobox "Result"', "status: 1 done, 1 failed",
                 'link "Download disc.jpg"', 'button "Try again broken.jpg"'):  # fmt: skip
        assert line in tree
    sizes = "e => e.getBoundingClientRect().height"
    assert all(button.evaluate(sizes) >= 24 for button in page.locator("button:visible").all())  # WCAG 2.5.8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colour_schemes(open_page, scheme):
    page = open_page(color_scheme=scheme, viewport={"width": 360, "height": 800})
    page.set_input_files("#files", [upload("a" * 90 + ".jpg"), upload("b" * 90, b"text " * 90)])
    wait_for(page, "done")
    wait_for(page, "failed")
    page.get_by_text("Settings").click()
    page.locator("[name=background]").select_option("image")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        median = np.median(picture.convert("L"))
    assert median > 240 if scheme == "light" else median < 40
    page.goto(page.url + "docs")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_busy_server_is_asked_again_a_bounded_number_of_times(open_page):
    page, answers = open_page(), []

    def answer(route):
        answers.append(route)
        if len(answers) == 2:
            route.continue_()
        else:
            route.fulfill(status=503, json=BUSY, headers={"Retry-After": "0"})

    page.route("**/v1/predict", answer)
    page.set_input_files("#files", upload())
    page.get_by_text("The server is busy: try 2 of 5").wait_for()
    wait_for(page, "done")
    page.set_input_files("#files", upload())
    wait_for(page, "failed")
    assert len(answers) == 2 + 5
    assert page.get_by_role("alert").inner_text() == BUSY["error"]["message"]
    page.unroute("**/v1/predict")
    page.get_by_role("button", name="Try again disc.jpg").click()
    wait_for(page, "done", 2)


def test_two_requests_are_under_way_at_once_and_each_shows_its_progress(open_page):
    page, held = open_page(), []
    page.route("**/v1/predict", lambda route: held.append(route))
    page.set_input_files("#files", [upload(f"{n}.jpg") for n in range(4)])
    page.get_by_text("Sending", exact=True).nth(1).wait_for()
    assert page.get_by_role("status").inner_text() == "2 working, 2 waiting"
    assert page.get_by_role("progressbar").count() == 2
    page.get_by_role("button", name="Remove 0.jpg").click()  # the next one takes its place
    page.wait_for_function("() => document.querySelectorAll('.working').length === 2")
    assert len(held) == 3
    page.get_by_role("button", name="Remove all").click()
    page.unroute("**/v1/predict")
    page.locator("[name=model]").select_option("red")
    page.set_input_files("#files", upload())
    page.get_by_text("Working", exact=True).wait_for()
    wait_for(page, "done")


def test_failures_are_told_in_the_servers_words(open_page, origin, tmp_path):
    page = open_page()
    file = tmp_path / "broken.jpg"
    file.write_bytes(b"<b>text</b>")
    page.set_input_files("#files", file)
    wait_for(page, "failed")
    refused = httpx.post(f"{origin}/v1/predict", files={"file": ("broken.jpg", file.read_bytes())})
    assert refused.status_code >= 400
    assert page.get_by_role("alert").inner_text() == refused.json()["error"]["message"]
    file.unlink()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("It cannot be read. Fix:").wait_for()
    page.get_by_role("button", name="Remove all").click()
    page.route("**/v1/predict", lambda route: route.fulfill(status=502, body="<html>"))
    page.set_input_files("#files", upload())
    page.get_by_text("The server answered with status 502.").wait_for()


def test_a_token_is_asked_for_and_kept_in_memory_only(chromium):
    with serve(tokens=(TOKEN,)) as address:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{address}/docs")  # says what any copy of the project says
        page.get_by_role("link", name="Page").click()
        field = page.get_by_role("textbox", name="Token")
        field.fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("does not accept").wait_for()
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        field.wait_for(state="hidden")
        page.set_input_files("#files", upload())
        wait_for(page, "done")
        stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        assert json.loads(stored) == [{}, {}, ""]
        page.reload()
        field.wait_for()
        page.keyboard.press("Escape")
        page.set_input_files("#files", upload())
        field.wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("This server needs an access token.").wait_for()
        context.close()


def test_the_policy_blocks_scripts_in_the_page_and_resources_from_elsewhere(chromium, origin):
    record, context = Record(), chromium.new_context()
    record.watch(context)
    page = context.new_page()
    page.goto(origin)
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2:1/a.png'}));
    }""")
    page.wait_for_function("() => !window.ran")
    assert page.evaluate("fetch('http://127.0.0.2:1/').catch(() => 'blocked')") == "blocked"
    context.close()
    assert len([problem for problem in record.problems if "Content Security Policy" in problem]) >= 3


def test_the_page_of_the_api_lists_every_address(open_page, origin):
    page = open_page(f"{origin}/docs")
    listed = page.locator("main > ul code").all_inner_texts()
    paths = httpx.get(f"{origin}/openapi.json").json()["paths"]
    assert listed == [f"{method.upper()} {path}" for path, item in paths.items() for method in item]
    page.get_by_role("link", name="POST /v1/predict").click()
    table = page.get_by_role("region", name="Parameter").filter(has_text="refine_edges").first
    assert "add the detail of the photograph to soft edges" in table.inner_text()
