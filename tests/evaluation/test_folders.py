"""`u2net evaluate` on one folder of maps and one of masks; PySODMetrics is the reference."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from map_folders import NAMES, add_copies, read_grey, read_pairs, stored
from oracle import assert_equal_to_oracle, oracle
from PIL import Image
from support import ROOT, environment, write_mask

from paddleseg_u2net.evaluation import folders as folder_scores
from paddleseg_u2net.evaluation.folders import EMPTY_MASKS, FolderSettings, score_folder
from paddleseg_u2net.evaluation.matching import match_files
from paddleseg_u2net.metrics.table import MEASURES

SCRIPT = [sys.executable, ROOT / "tools" / "evaluate_folder.py"]


def test_scores_equal_pysodmetrics(evaluate, folders):
    code, text, _ = evaluate(*folders)
    assert code == 0
    found, expected = stored(), oracle(read_pairs(*folders))
    expected.pop("curves")
    for name, score in expected.items():
        assert found[name] == pytest.approx(score, rel=1e-9), name
    assert list(found) == ["images", *MEASURES, "protocol", "files", "command", "versions"]
    assert found["images"] == 5
    assert f"{found['max_f']:.3f}" in text


def test_each_image_has_its_own_row(evaluate, folders):
    evaluate(*folders)
    with Path("scores/per_image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == sorted(NAMES)
    pairs = dict(zip(NAMES, read_pairs(*folders), strict=True))
    for row in rows:
        expected = oracle([pairs[row["name"]]])
        assert float(row["s_measure"]) == pytest.approx(expected["s_measure"], rel=1e-9)
        assert float(row["max_f_per_image"]) == pytest.approx(expected["max_f_per_image"], rel=1e-9)


def test_number_of_processes_does_not_change_scores(folders):
    add_copies(*folders)
    files = match_files(*folders)
    one, two = (score_folder(folders[0], files, FolderSettings(), workers) for workers in (1, 2))
    assert one.measures.images == 21
    assert str(one.measures.compute()) == str(two.measures.compute())
    assert one.measures.rows == two.measures.rows
    assert one.protocol() == two.protocol()


def test_script_writes_scores_and_plots(folders, tmp_path):
    maps, masks = folders
    flags = ["--pred_dir", maps, "--label_dir", masks, "--save_dir", tmp_path / "out", "--workers", "2"]
    done = subprocess.run([*SCRIPT, *flags], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr == ""
    expected = ["curves.csv", "f.png", "metrics.json", "per_image.csv", "pr.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == expected
    for name in ("f.png", "pr.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name)).std() > 0


@pytest.mark.parametrize("stretch", ["reference", "none", "author", "all"])
def test_printed_and_stored_protocol_name_the_stretch(evaluate, folders, stretch):
    code, text, _ = evaluate(*folders, "--measure_stretch", stretch, "--measures", "mae")
    assert code == 0
    assert stored()["protocol"]["measure_stretch"] == stretch
    assert ("maps measured as they are;" in text) == (stretch == "none")
    assert ("stretched for all measures but max_f and mean_f;" in text) == (stretch == "reference")


@pytest.mark.parametrize(
    ("flag", "long", "kept"), [("--as_is", "none", "mean_f"), ("--author_minmax", "all", "mae")]
)
def test_each_stretch_changes_only_its_own_measures(evaluate, folders, flag, long, kept):
    maps, masks = folders
    for path in maps.rglob("*.png"):
        write_mask(path, read_grey(path) // 4 + 90)
    found = []
    for flags in ((), (flag,), ("--measure_stretch", long)):
        assert evaluate(maps, masks, *flags)[0] == 0
        found.append(stored())
    changed = {"mean_f": "mae", "mae": "mean_f"}[kept]
    assert found[0][kept] == found[1][kept]
    assert found[0][changed] != found[1][changed]
    assert found[1] == found[2]


def test_contradicting_flags_are_rejected(evaluate, folders):
    code, _, error = evaluate(*folders, "--as_is", "--measure_stretch", "all")
    assert (code, "measure_stretch: all and as_is: true contradict each other. Fix" in error) == (1, True)


def test_wrong_flags_are_rejected(evaluate, folders):
    for flags, message in (
        (("--measures", "f1"), "argument --measures: invalid choice: 'f1'"),
        (("--measure_stretch", "some"), "argument --measure_stretch: invalid choice: 'some'"),
        (("--workers", 0), "argument --workers: expected a whole number above 0, got '0'"),
        (("--resise",), "Did you mean --resize?"),
    ):
        code, _, error = evaluate(*folders, *flags)
        assert (code, message in error) == (2, True), error


def test_policy_of_empty_masks_is_reported(evaluate, folders):
    maps, masks = folders
    write_mask(masks / "a.png", np.zeros((31, 40), np.uint8))
    code, text, _ = evaluate(maps, masks)
    assert code == 0
    assert f"my maps on masks: 1 mask is empty: {EMPTY_MASKS}" in text
    assert stored()["protocol"]["empty_masks"] == {"count": 1, "policy": EMPTY_MASKS}
    assert_equal_to_oracle(read_pairs(maps, masks))


def test_incomplete_pairs_are_left_out_with_common_only(evaluate, folders):
    maps, masks = folders
    (maps / "a.png").unlink()
    (masks / "f.png").unlink()
    code, text, _ = evaluate(maps, masks, "--common_only")
    assert code == 0
    assert "without 2 files that have no partner" in text
    assert stored()["images"] == 3
    left_out = [f"{masks}/a.png: no map named 'a' in {maps}", f"{maps}/f.png: no mask named 'f' in {masks}"]
    assert stored()["protocol"]["left_out"] == left_out


def test_maps_of_other_sizes_are_resized_with_resize(evaluate, folders):
    maps, masks = folders
    write_mask(maps / "a.png", cv2.resize(read_grey(maps / "a.png"), (20, 15)))
    code, text, _ = evaluate(maps, masks, "--resize")
    assert code == 0
    assert "1 map was resized to the size of the mask, bilinearly" in text
    assert stored()["protocol"]["maps_resized"] == 1
    resized = [(cv2.resize(m, t.shape[::-1]), t) for m, t in read_pairs(maps, masks)]
    assert stored()["mae"] == pytest.approx(oracle(resized)["mae"], rel=1e-9)


def test_files_of_other_formats_are_reported(evaluate, folders, tmp_path):
    maps, masks = folders
    for folder in (maps, masks):
        Image.fromarray(read_grey(folder / "a.png")).save(folder / "a.tga")
        (folder / "a.png").unlink()
    (tmp_path / "elsewhere").mkdir()
    (maps / "linked").symlink_to(tmp_path / "elsewhere")  # followed; this one leads back
    (tmp_path / "elsewhere" / "back").symlink_to(maps)
    code, text, _ = evaluate(maps, masks)
    assert code == 0
    not_read = [f"{maps}/a.tga", f"{maps}/linked/back", f"{masks}/a.tga"]
    assert f"without 3 files that are of other formats: {'; '.join(not_read)}\n" in text
    assert stored()["protocol"]["not_read"] == not_read


def _as_palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values // 255, "P")
    image.putpalette([0, 0, 0, 200, 0, 0])
    return image


STORED = {
    "0/1": lambda values: Image.fromarray(values // 255),
    "1-bit": lambda values: Image.fromarray(values).convert("1"),
    "palette": _as_palette,
    "RGB": lambda values: Image.fromarray(values).convert("RGB"),
    "16-bit": lambda values: Image.fromarray(values.astype(np.uint16) * 257),
}


@pytest.mark.parametrize(
    ("folder", "kind"), [*(("masks", kind) for kind in STORED), ("my maps", "RGB"), ("my maps", "16-bit")]
)
def test_file_format_does_not_change_scores(evaluate, folders, folder, kind):
    assert evaluate(*folders)[0] == 0
    for path in Path(folder).rglob("*.png"):
        STORED[kind](read_grey(path)).save(path)
    assert evaluate(*folders, save_dir="again")[0] == 0
    again, expected = ([stored(folder)[name] for name in MEASURES] for folder in ("again", "scores"))
    assert again == pytest.approx(expected, rel=1e-7)


# -- faults ---------------------------------------------------------------------------------------------


def test_all_faults_are_reported_together_and_nothing_is_written(evaluate, folders):
    maps, masks = folders
    (maps / "a.png").unlink()
    write_mask(maps / "extra.png", np.zeros((9, 9), np.uint8))
    write_mask(maps / "sub/c.png", np.zeros((20, 50), np.uint8))
    (maps / "d.e.png").write_bytes((maps / "d.e.png").read_bytes()[:-30])
    write_mask(masks / "f.png", np.dstack([np.eye(25, dtype=np.uint8) * 200] * 2 + [np.eye(25) * 9]))
    code, _, error = evaluate(maps, masks)
    assert code == 1
    assert f"{masks}/a.png: no map named 'a' in {maps}" in error
    assert f"{maps}/extra.png: no mask named 'extra' in {masks}" in error
    assert "2 files have no partner, and 4 pairs are complete. Fix: add the missing files, or" in error
    assert f"{maps}/sub/c.png: the map is (H, W) (20, 50), and its mask {masks}/sub/c.png is (20," in error
    assert "Fix: use --resize to resize maps to their masks" in error
    assert f"{maps}/d.e.png: cannot be read as a map" in error
    assert f"{masks}/f.png: a mask of colours" in error
    assert not Path("scores").exists()


def test_maps_without_brightness_are_rejected(evaluate, folders):
    maps, masks = folders
    for path in maps.rglob("*.png"):
        write_mask(path, read_grey(path) // 128)
    code, _, error = evaluate(maps, masks)
    assert (code, "no 8-bit map has a value above 1. Fix: store them times 255" in error) == (1, True)
    for path in maps.rglob("*.png"):
        Image.fromarray(read_grey(path).astype(np.uint16) * 200).save(path)
    code, _, error = evaluate(maps, masks)
    assert (code, "no 16-bit map has a value above 200. Fix: store them in 8 bits" in error) == (1, True)
    alpha = np.full((31, 40, 4), 255, np.uint8)
    alpha[:9, :, 3] = 0
    write_mask(maps / "a.png", alpha)
    code, _, error = evaluate(maps, masks)
    message = "a.png: one grey value, the content is in the alpha channel. Fix: save that as a grey map"
    assert (code, message in error) == (1, True)
    palette = Image.frombytes("P", (40, 31), bytes(1240))
    palette.putpalette([9, 9, 9])
    palette.save(maps / "a.png")
    code, _, error = evaluate(maps, masks)
    assert (code, "a.png: a palette image, whose values are not brightness. Fix" in error) == (1, True)


def test_masks_of_two_scales_are_rejected(evaluate, folders):
    maps, masks = folders
    for index, path in enumerate(sorted(masks.rglob("*.png"))):
        Image.fromarray(read_grey(path).astype(np.uint16) * (1 if index == 2 else 257)).save(path)
    code, _, error = evaluate(maps, masks)
    message = "16-bit with no value above 255, while other masks have larger values. Fix"
    assert (code, message in error) == (1, True)


@pytest.mark.parametrize(
    ("palettes", "message"),
    [
        (
            ([255, 0, 0, 0, 255, 0], [0, 255, 0, 255, 0, 0]),
            "the palette holds the colours of the other masks in another order. Fix: store all masks",
        ),
        (
            ([255, 255, 255, 0, 0, 0],) * 2,
            "black and white whose values are not 0 for black and 1 for white. Fix: save the masks as grey",
        ),
    ],
)
def test_indexed_masks_of_misleading_palettes_are_rejected(evaluate, folders, palettes, message):
    maps, masks = folders
    for index, path in enumerate(sorted(masks.rglob("*.png"))):
        ids = (read_grey(path) > 128).astype(np.uint8) ^ (index == 1)
        picture = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
        picture.putpalette(palettes[index == 1])
        picture.save(path)
    code, _, error = evaluate(maps, masks)
    assert (code, error.count(message)) == (1, 1)


@pytest.mark.parametrize("side", ["maps", "masks"])
def test_12_bits_in_16_bit_files_are_rejected(evaluate, folders, side):
    folder = folders[side == "masks"]
    for path in folder.rglob("*.png"):
        Image.fromarray(read_grey(path).astype(np.uint16) * 16).save(path)
    code, _, error = evaluate(*folders)
    expected = {
        "maps": "no 16-bit map has a value above 4080. Fix: store them in 8 bits, or so that white is 65535",
        "masks": "16-bit masks whose white is 4095 (12 bits), and here white is 65535. Fix: store all",
    }
    assert (code, expected[side] in error) == (1, True)


def test_masks_too_dark_for_foreground_are_rejected(evaluate, folders):
    maps, masks = folders
    for path in masks.rglob("*.png"):
        write_mask(path, read_grey(path) // 2 + 1)
    code, _, error = evaluate(maps, masks)
    message = "a.png: no value exceeds 128, and foreground is what exceeds 128. Fix: store it as 0 and 255"
    assert (code, message in error) == (1, True)


def test_second_file_of_a_name_is_rejected(evaluate, folders):
    maps, masks = folders
    shutil.copy(maps / "a.png", maps / "a.jpg")
    code, _, error = evaluate(maps, masks)
    assert (code, "a second file named 'a'. Fix: rename it" in error) == (1, True)


def test_results_inside_a_folder_of_masks_are_rejected(evaluate, folders):
    maps, masks = folders
    code, _, error = evaluate(maps, masks, save_dir=masks / "scores")
    assert (code, f"--save_dir {masks}/scores: is inside {masks}. Fix: another folder" in error) == (1, True)


def test_killed_worker_is_reported_in_one_line(folders, monkeypatch):
    add_copies(*folders)
    monkeypatch.setattr(folder_scores, "_start_worker", partial(os._exit, 1))
    with pytest.raises(OSError, match=r"a worker process was killed.*Fix: fewer --workers"):
        score_folder(folders[0], match_files(*folders), FolderSettings(), 2)
    assert score_folder(folders[0], match_files(*folders), FolderSettings(), 1).faults == []


def test_interruption_taken_by_another_thread_waits_until_workers_have_started():
    done, started = threading.Event(), []
    thread = threading.Thread(target=done.wait)
    thread.start()

    @folder_scores._interrupts_blocked()
    def start_workers():
        signal.pthread_kill(thread.ident, signal.SIGINT)
        time.sleep(0.1)
        started.append(True)

    try:
        pytest.raises(KeyboardInterrupt, start_workers)
    finally:
        done.set()
    assert started


@pytest.mark.parametrize("delay", [0, 0.4])
def test_interruption_prints_one_line(folders, tmp_path, delay):
    """Ctrl-C reaches the whole group of processes, here when workers start and when they import modules."""
    maps, masks = folders
    for folder in folders:
        for copy in range(500):
            os.link(folder / "a.png", folder / f"copy{copy}.png")
    child = subprocess.Popen(
        [*SCRIPT, "--pred_dir", maps, "--label_dir", masks, "--save_dir", tmp_path / "out", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while child.poll() is None and len(children.read_text().split()) < 3:  # with the resource tracker
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=20)[1].splitlines() == ["Interrupted"]
    assert child.returncode == 130


# -- predict and evaluate against val -------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--minmax",), ("--official",)])
def test_val_equals_predict_followed_by_evaluate(run, evaluate, trained, data, flags):
    images = ["--image_path", data / "val.txt", "--outputs", "saliency", "--save_dir", "out"]
    (data / "val.txt").write_text("images/p4.png\nimages/p5.png\n")
    assert run("predict", "--model_path", trained, *images, *flags)[0] == 0
    code, text, _ = run("val", "--model_path", trained, *flags, "--opts", "metrics=all")
    assert code == 0
    assert evaluate("out/saliency", data / "masks", "--common_only")[0] == 0
    for name, row in MEASURES.items():
        logged = float(text.split(f" {row.alias or name}: ")[1].split()[0])
        # official maps have 8 bits before they are measured; others change thresholds when they are rounded
        assert logged == pytest.approx(stored()[name], abs=6e-5 if "--official" in flags else 0.02), name
