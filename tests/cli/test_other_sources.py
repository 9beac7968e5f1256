"""`u2net predict -` and addresses; `u2net i`, `p` and `d`, as users of rembg type them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import environment, pixels, tree

from paddleseg_u2net.cli import other_sources
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.errors import DownloadError

MODEL = "u2netp"


def piped(*words, data: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "paddleseg_u2net", *map(str, words)]
    return subprocess.run(command, input=data, capture_output=True, env=environment(), timeout=100)


@pytest.fixture
def piped_here(monkeypatch):
    """A function like `piped` that runs the command in this process, which saves its imports."""

    def call(*words, data: bytes = b"") -> subprocess.CompletedProcess:
        streams = [io.TextIOWrapper(io.BytesIO(content), write_through=True) for content in (data, b"", b"")]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            code = main([*map(str, words)])
        return subprocess.CompletedProcess(words, code, *(stream.buffer.getvalue() for stream in streams[1:]))

    return call


def test_stdin_goes_to_stdout_as_one_picture(run, known_weights, photos_dir):
    photograph = photos_dir / "a.png"
    assert (
        run("predict", "--model_path", MODEL, photograph, "--outputs", "cutout", "--save_dir", "out")[0] == 0
    )
    outcome = piped("predict", "-", data=photograph.read_bytes())  # stdout is clear of every line of the log
    assert outcome.returncode == 0
    found = Image.open(io.BytesIO(outcome.stdout))
    np.testing.assert_array_equal(np.asarray(found), pixels("out/cutout/a.png"))
    assert f"No --model_path: the model is {MODEL}" in outcome.stderr.decode()


def test_what_was_changed_of_stdin_is_logged(piped_here, trained, photos_dir):
    picture = Image.open(photos_dir / "a.png").convert("RGBA")
    picture.putalpha(100)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = "a camera"
    picture.save(file, "PNG", exif=exif)
    words = ["--model_path", trained, "--min_presence", "1", "--keep_exif"]
    outcome = piped_here("predict", "-", *words, data=file.getvalue())
    assert outcome.returncode == 0
    found = Image.open(io.BytesIO(outcome.stdout))
    assert found.getexif()[0x010F] == "a camera"
    assert not np.asarray(found).any()
    log = outcome.stderr.decode()
    assert "1 of 1 image has transparent pixels, first: stdin: seen over light grey" in log
    assert "The results of 1 of 1 image are empty" in log


@pytest.mark.parametrize(
    ("words", "data", "message"),
    [
        ([], b"", "stdin is empty. Fix: u2net predict -"),
        ([], b"no image", "stdin: "),
        (["a.png"], b"", "stdin gives one image. Fix: give it alone"),
        (["--outputs", "cutout,mask"], b"", "has one result. Fix: one of them"),
        (["--format", "jpg"], b"", "jpg keeps no transparency"),
        (["--report", "a.json"], b"", "--report: not for an image on stdin. Fix: leave it out"),
        (["--resume"], b"", "--resume: not for an image on stdin. Fix: leave it out"),
    ],
)
def test_what_cannot_be_piped_is_one_line(piped_here, trained, words, data, message):
    outcome = piped_here("predict", "-", "--model_path", trained, *words, data=data)
    assert (outcome.returncode, outcome.stdout) == (1, b"")
    errors = [line for line in outcome.stderr.decode().splitlines() if "[INFO]" not in line]
    assert len(errors) == 1
    assert message in errors[0]


def test_addresses_are_predicted_under_their_names(run, trained, photos_dir, monkeypatch):
    served = {
        f"https://a.org/x/{name}": (photos_dir / "a.png").read_bytes() for name in ("b.png", "b.png?c=1", "")
    }

    def fetch(url):
        if url not in served:
            raise DownloadError(f"{url}: absent")
        return served[url]

    monkeypatch.setattr(other_sources, "fetch", fetch)
    words = ["--model_path", trained, "--outputs", "saliency", "--save_dir", "out"]
    code, _, error = run("predict", *served, *served, "https://a.org/absent", *words)
    assert (code, error) == (1, "error: https://a.org/absent: absent\n")
    assert tree("out/saliency") == ["1_b.png", "b.png", "image.png"]
    code, _, error = run("predict", "https://a.org/absent", *words)
    assert (code, error) == (1, "error: https://a.org/absent: absent\n")
    bad = "https://a.org/bad.png"
    served[bad] = b"<p>"
    code, _, error = run("predict", bad, "https://a.org/x/b.png", *words, "--report", "r.json")
    assert code == 1
    assert error.startswith(f"error: {bad}: holds ")  # not a file that is gone by now
    report = json.loads(Path("r.json").read_text())
    assert [image["image"] for image in report["images"]] == [bad, "https://a.org/x/b.png"]
    code, _, error = run("predict", "https://a.org/x/b.png", photos_dir, *words)
    assert (code, error) == (1, "error: addresses and paths cannot be mixed. Fix: a command for each\n")


def test_one_image_as_with_rembg(run, trained, photos_dir):
    photograph = photos_dir / "a.png"
    made = ["predict", "--model_path", trained, photograph, "--save_dir"]
    assert run(*made, "out")[0] == run(*made, "plain", "--no_refine_edges", "--no_foreground")[0] == 0
    for flags, folder in (([], "plain"), (["-a", "-dc"], "out")):  # `u2net i` has rembg's defaults
        assert run("i", "-m", trained, *flags, photograph, "cut.png")[0] == 0
        np.testing.assert_array_equal(pixels("cut.png"), pixels(f"{folder}/cutout/a.png"))
    assert (pixels("out/cutout/a.png") != pixels("plain/cutout/a.png")).any()
    np.testing.assert_array_equal(pixels("out/saliency/a.png"), pixels("plain/saliency/a.png"))
    assert run("i", "-m", trained, "-om", photograph, "mask.png")[0] == 0
    np.testing.assert_array_equal(pixels("mask.png"), pixels("out/saliency/a.png"))
    assert run("i", "-m", trained, "-om", "-ppm", photograph, "filled.png")[0] == 0
    assert (pixels("filled.png") != pixels("mask.png")).any()
    assert run("i", "-m", trained, "-bgc", 255, 0, 0, 255, "-ppm", photograph, "red.jpg")[0] == 0
    with Image.open("red.jpg") as picture:
        assert (picture.format, picture.mode) == ("JPEG", "RGB")


def test_one_image_through_a_pipe(piped_here, known_weights, photos_dir):
    outcome = piped_here("i", data=(photos_dir / "a.png").read_bytes())
    assert outcome.returncode == 0
    assert Image.open(io.BytesIO(outcome.stdout)).mode == "RGBA"
    assert b"[INFO]" in outcome.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "a.png"], "would be overwritten. Fix: another name"),
        (["a.png", "b.jpg"], "jpg keeps no transparency"),
        (["a.png", "b.xyz"], "b.xyz: expected a name that ends with one of .png, .webp"),
        (["https://[::1", "b.png"], "https://[::1: Invalid IPv6 URL"),
        (["-bgc", "1", "2", "3", "4", "a.png", "b.png"], "A 0 or 255. Fix: 255 255 255 255"),
        (["absent.png", "b.png"], "absent.png: no such image file"),
    ],
)
def test_faults_of_one_image_are_one_line(run, trained, photos_dir, monkeypatch, words, message):
    monkeypatch.chdir(photos_dir)
    code, _, error = run("i", "-m", trained, *words)
    assert code == 1
    assert error.count("\n") == 1
    assert message in error
    assert not Path("b.png").exists()


def test_folders_are_mirrored_and_nothing_is_overwritten(run, trained, photos_dir):
    assert run("p", "-m", trained, photos_dir, "cut")[0] == 0
    assert tree("cut") == ["a.jpg.png", "a.png.png", "sub/ü b.png"]  # rembg writes two of them into one file
    code, text, error = run("p", "-m", trained, "--max_pixels", 1, photos_dir, "cut")
    assert code == 1
    assert "Results of 3 images exist in cut and are replaced\n" in text
    assert "make it smaller, or raise --max_pixels" in error
    for words, message in (
        ([photos_dir, photos_dir / "cut"], "lies in the folder of the images. Fix: another folder"),
        ([photos_dir / "a.png", "cut"], "is no folder. Fix: u2net i for one image"),
        ([photos_dir / "absent", "cut"], "absent: no such folder. Fix: a folder of images"),
    ):
        code, _, error = run("p", "-m", trained, *words)
        assert code == 1
        assert message in error


def test_watched_folder_is_predicted_until_ctrl_c(known_weights, photos_dir, tmp_path):
    watched = tmp_path / "watched"
    watched.mkdir()
    stop = threading.Event()

    def write_slowly():
        while not stop.wait(0.1):
            with (watched / "half.png").open("ab") as file:
                file.write(b"a part of an image")

    writer = threading.Thread(target=write_slowly)
    writer.start()
    words = ["p", "-w", watched, tmp_path / "cut"]
    command = [sys.executable, "-m", "paddleseg_u2net", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    try:
        # the last one is changed; a clock may be wrong
        for name, changed in (("one.png", 1), ("two.png", 1 << 32), ("one.png", 2)):
            (watched / name).write_bytes((photos_dir / "a.png").read_bytes())
            os.utime(watched / name, (changed, changed))
            (tmp_path / "cut" / name).unlink(missing_ok=True)
            end = time.monotonic() + 60
            while not (tmp_path / "cut" / name).exists():
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        stop.set()
        writer.join()
    assert process.returncode == 130
    assert errors.decode().splitlines() == ["Interrupted"]


def test_weights_are_downloaded_by_name(run, known_weights):
    code, text, _ = run("d", MODEL)
    assert code == 0
    assert f"{MODEL}: " in text
    code, _, error = run("d", "isnet")
    assert code == 1
    assert "isnet: unknown weights. Fix: any of u2netp" in error
