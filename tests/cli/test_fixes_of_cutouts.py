"""Each fix that is given for cut-outs, their sources, portraits and reports is followed, and succeeds."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paddleseg_u2net import Background, CutoutSettings, Predictor, remove
from paddleseg_u2net.inference.sources import read_all

PREDICT = "predict -m in/a.png --save_dir out --outputs"
COMMANDS = [
    # the words of a command, the fix in its message, the words that follow it; -m stands for the model
    (
        f"{PREDICT} cutout --format jpg",
        "Fix: --background COLOUR",
        f"{PREDICT} cutout --format jpg --background red",
    ),
    (f"{PREDICT} cutout --format jpg", "or one of png, webp, tiff", f"{PREDICT} cutout --format tiff"),
    (
        f"{PREDICT} saliency --bits 16 --format webp",
        "Fix: --bits 8",
        f"{PREDICT} saliency --bits 8 --format webp",
    ),
    (
        f"{PREDICT} saliency --bits 16 --format webp",
        "one of png, tiff",
        f"{PREDICT} saliency --bits 16 --format tiff",
    ),
    (f"{PREDICT} mask --threshold 1.5", "got 1.5. Fix: 0.5", f"{PREDICT} mask --threshold 0.5"),
    (f"{PREDICT} mask --threshold huge", "otsu or adaptive, got 'huge'", f"{PREDICT} mask --threshold otsu"),
    (f"{PREDICT} cutout --grow 1 --shrink 1", "Fix: leave one out", f"{PREDICT} cutout --shrink 1"),
    (f"{PREDICT} cutout --feather 501", "Fix: a smaller one", f"{PREDICT} cutout --feather 500"),
    (
        f"{PREDICT} cutout --background rde",
        "Fix: a colour such as white, #ff8000 or 255,128,0",
        f"{PREDICT} cutout --background 255,128,0",
    ),
    (
        f"{PREDICT} cutout --background rde",
        "or the path of an image",
        f"{PREDICT} cutout --background in/b.png",
    ),
    (
        f"{PREDICT} cutout --background list.txt",
        "Fix: name an image",
        f"{PREDICT} cutout --background in/b.png",
    ),
    (f"{PREDICT} cutout --crop 5x", "Fix: such as 20 or 5%", f"{PREDICT} cutout --crop 5%"),
    (f"{PREDICT} cutout --max_pixels 9", "or raise --max_pixels", f"{PREDICT} cutout --max_pixels 9000"),
    (f"{PREDICT} cutout --report a.txt", "Fix: a.txt.json", f"{PREDICT} cutout --report a.txt.json"),
    (
        f"{PREDICT} cutout --report mine.json",
        "Fix: choose another name for --report",
        f"{PREDICT} cutout --report b.json",
    ),
    (
        f"{PREDICT} cutout --min_presence .1 --minmax",
        "Fix: leave out --minmax",
        f"{PREDICT} cutout --min_presence .1",
    ),
    ("predict -m - in/a.png", "Fix: give it alone", "predict -m in/a.png --save_dir out"),
    (
        "predict -m https://127.0.0.1/a.png in/a.png",
        "Fix: a command for each",
        "predict -m in/a.png --save_dir out",
    ),
    ("predict -m https://127.0.0.1/a.png", "and give its path", "predict -m in/a.png --save_dir out"),
    ("predict -m http://a.org/a.png", "and give its path", "predict -m in/a.png --save_dir out"),
    ("predict -m folders.txt", "Fix: name one image per line", "predict -m list.txt --save_dir out"),
    (
        "predict -m both.txt",
        "in: is a folder, not an image file. Fix: name the files in it",
        "predict -m list.txt --save_dir out",
    ),
    ("predict -m 'in/*.jpg'", "no file matches this pattern", "predict -m 'in/*.png' --save_dir out"),
    ("i -m in/a.png b.jpg", "Fix: -bgc 255 255 255 255", "i -m -bgc 255 255 255 255 in/a.png b.jpg"),
    ("i -m in/a.png b.jpg", "or one of png, webp", "i -m in/a.png b.webp"),
    ("i -m in/a.png b", "Fix: such as b.png", "i -m in/a.png b.png"),
    ("i -m -bgc 1 2 3 4 in/a.png b.png", "Fix: 255 255 255 255", "i -m -bgc 255 255 255 255 in/a.png b.png"),
    ("i -m in/a.png in/a.png", "Fix: another name", "i -m in/a.png b.png"),
    ("p -m in/a.png cut", "Fix: u2net i for one image", "i -m in/a.png b.png"),
    ("p -m absent cut", "Fix: a folder of images", "p -m in cut"),
    ("p -m in in/cut", "Fix: another folder", "p -m in cut"),
    ("p -m --max_pixels 9 in cut", "or raise --max_pixels", "p -m --max_pixels 9000 in cut"),
    ("d isnet", "Fix: any of u2netp, u2netp_msra", "d u2netp_msra"),
    ("report scores", "Fix: the folder of u2net train", "report run --output page.html"),
    ("report run --output mine.json", "Fix: another --output", "report run --output page.html"),
    (
        "report run --output in",
        "Fix: the name of a file, as in/report.html",
        "report run --output in/report.html",
    ),
    (
        "report run --image_dir absent",
        "Fix: a folder of photographs",
        "report run --image_dir in --output page.html",
    ),
]


@pytest.mark.parametrize(("wrong", "fix", "right"), COMMANDS, ids=[f"{row[0]}: {row[1]}" for row in COMMANDS])
def test_fixes_of_commands(run, trained, tmp_path, wrong, fix, right):
    Path("in").mkdir()
    for name in "ab":
        Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(f"in/{name}.png")
    Path("list.txt").write_text("in/a.png\n")
    Path("folders.txt").write_text("in\n")
    Path("both.txt").write_text("in\nin/a.png\n")
    Path("mine.json").write_text("{}")

    def call(words: str) -> tuple[int, str]:
        flag = "-m" if words[:2] in ("i ", "p ") else "--model_path"
        code, out, error = run(*shlex.split(words.replace(" -m ", f" {flag} '{trained}' ", 1)))
        return code, out + error

    code, text = call(wrong)
    assert (code in (1, 2), fix in text) == (True, True), text
    code, text = call(right)
    assert code == 0, text


IMAGE = np.full((9, 8, 3), 200, np.uint8)
CONFIG = {"model": {"num_classes": 1}, "val_dataset": {"transforms": []}}
PREDICTOR = Predictor(lambda batch: batch[:, :1] / np.float32(255), CONFIG)
RESULT = PREDICTOR(IMAGE)
OVER_WHITE = CutoutSettings(background=Background((255, 255, 255)))
CALLS = [
    # a call from Python, the fix, and the call that follows it
    (lambda: RESULT.mask(128), "Fix: 0.5", lambda: RESULT.mask(0.5)),
    (
        lambda: RESULT.save("a.jpg"),
        "Fix: a background in the settings",
        lambda: PREDICTOR(IMAGE, OVER_WHITE).save("a.jpg"),
    ),
    (lambda: RESULT.save("a.jpg"), "or one of png, webp", lambda: RESULT.save("a.webp")),
    (lambda: RESULT.save("a"), "Fix: such as a.png", lambda: RESULT.save("a.png")),
    (lambda: RESULT.save("a.png", "masks"), "Fix: one of cutout, mask", lambda: RESULT.save("a.png", "mask")),
    (lambda: RESULT.save("a.webp", quality=101), "Fix: 90", lambda: RESULT.save("a.webp", quality=90)),
    (
        lambda: RESULT.composite((256, 0, 0)),
        "Fix: Background.parse('white')",
        lambda: RESULT.composite(Background.parse("white")),
    ),
    (lambda: RESULT.composite("whit"), "Fix: a colour such as white", lambda: RESULT.composite("white")),
    (
        lambda: PREDICTOR(io.StringIO("")),
        "Fix: open it as binary, with 'rb'",
        lambda: PREDICTOR(io.BytesIO(png())),
    ),
    (
        lambda: PREDICTOR(Image.new("F", (4, 4))),
        "Fix: an array of uint8",
        lambda: PREDICTOR(np.asarray(Image.new("F", (4, 4))).astype(np.uint8)),
    ),
    (
        lambda: remove("a.png", PREDICTOR),
        "Fix: Predictor(...)(source).cutout()",
        lambda: PREDICTOR(png()).cutout(),
    ),
]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("wrong", "fix", "right"), CALLS, ids=[row[1] for row in CALLS])
def test_fixes_of_calls(wrong, fix, right):
    with pytest.raises((ValueError, TypeError)) as error:
        wrong()
    assert fix in str(error.value)
    right()


def test_fixes_of_records(run, trained):
    Path("scores").mkdir()
    Path("scores/metrics.json").write_text("{")
    code, _, error = run("report", "scores")
    assert (code, "Fix: measure again" in error) == (1, True)
    Path("scores/metrics.json").write_text(json.dumps({"scores": {"mIoU": 0.5}}))
    assert run("report", "scores")[0] == 0


def test_files_that_are_larger_than_images(monkeypatch):
    monkeypatch.setattr("paddleseg_u2net.inference.sources.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="more than 10 bytes. Fix: make it smaller"):
        read_all(io.BytesIO(bytes(11)))
    assert read_all(io.BytesIO(bytes(10))) == bytes(10)
