"""Folders of maps and masks -> scores, as people call the tool; PySODMetrics tells the truth."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracle import assert_equal_to_oracle, blob, oracle
from PIL import Image
from support import ROOT, environment, write_mask

from paddleseg_u2net.cli import evaluate as command
from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.evaluation.folders import EMPTY_MASKS, Rules, pair_up, score_folder
from paddleseg_u2net.metrics.table import MEASURES

SIZES = ((31, 40), (33, 33), (20, 51), (40, 30), (25, 25))
NAMES = ("a", "b ü", "sub/c", "d.e", "f")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Maps of one method, and masks; names with spaces, dots, umlauts and a folder."""
    maps, masks = tmp_path / "my maps", tmp_path / "masks"
    for seed, (name, size) in enumerate(zip(NAMES, SIZES, strict=True)):
        saliency, mask = blob(*size, seed=seed)
        write_mask(maps / f"{name}.png", saliency)
        write_mask(masks / f"{name}.png", mask)
    return maps, masks


@pytest.fixture
def evaluate(capsys, monkeypatch):
    """Run the tool in this process, in one process: (exit code, stdout, stderr)."""

    def call(maps, masks, *flags, save_dir="scores", curves=False):
        if not curves:  # drawing takes ten times as long as all the rest
            monkeypatch.setattr(command, "draw", lambda *_: None)
        words = ["--pred_dir", *_listed(maps), "--label_dir", *_listed(masks)]
        words += ["--save_dir", save_dir, "--workers", 1, *flags]
        code = guarded(lambda: command.main([str(word) for word in words]))
        return code, *capsys.readouterr()

    return call


def _listed(value) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def stored(folder="scores") -> dict:
    return json.loads(Path(folder, "metrics.json").read_text())


def pairs_of(maps: Path, masks: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        tuple(cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE) for folder in (maps, masks))
        for name in NAMES
    ]


def test_the_scores_are_those_of_pysodmetrics(evaluate, folders):
    code, text, _ = evaluate(*folders)
    assert code == 0
    found, expected = stored(), oracle(pairs_of(*folders))
    expected.pop("curves")
    for name, score in expected.items():
        assert found[name] == pytest.approx(score, rel=1e-9), name
    assert list(found) == ["images", *MEASURES, "protocol"]
    assert found["images"] == 5
    assert f"{found['max_f']:.3f}" in text
    assert "each map stretched to 0 .. 1 for all but max_f and mean_f" in text


def test_each_image_has_its_own_row(evaluate, folders):
    evaluate(*folders)
    with Path("scores/per_image.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == sorted(NAMES)
    pairs = dict(zip(NAMES, pairs_of(*folders), strict=True))
    for row in rows:
        expected = oracle([pairs[row["name"]]])
        assert float(row["s_measure"]) == pytest.approx(expected["s_measure"], rel=1e-9)
        assert float(row["max_f_per_image"]) == pytest.approx(expected["max_f_per_image"], rel=1e-9)


def test_processes_change_no_bit(folders):
    for copy in range(8):  # more than one chunk
        for folder in folders:
            shutil.copytree(folder / "sub", folder / f"sub{copy}")
            shutil.copy(folder / "a.png", folder / f"copy{copy}.png")
    paired = pair_up(*folders)
    one, two = (score_folder(folders[0], paired, Rules(), workers) for workers in (1, 2))
    assert one.measures.images == 21
    assert str(one.measures.compute()) == str(two.measures.compute())
    assert one.measures.rows == two.measures.rows
    assert one.facts() == two.facts()


def test_the_tool_runs_as_people_call_it(folders, tmp_path):
    maps, masks = folders
    command = [sys.executable, ROOT / "tools" / "evaluate_folder.py", "--pred_dir", maps]
    command += ["--label_dir", masks, "--save_dir", tmp_path / "out", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr == ""
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("f.png", "metrics.json", "per_image.csv", "pr.png")
    ]
    for name in ("f.png", "pr.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name)).std() > 0


# -- bad input ------------------------------------------------------------------------------------------


def test_all_faults_come_together_and_nothing_is_written(evaluate, folders):
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
    assert "Fix: add what is missing, or --common_only measures the 4 in common" in error
    assert f"{maps}/sub/c.png: a map (H, W) of (20, 50), and its mask {masks}/sub/c.png is (20, 51)." in error
    assert "Fix: --resize brings maps to their masks' size" in error
    assert f"{maps}/d.e.png: cannot be read as a map" in error
    assert f"{masks}/f.png: a mask of colours" in error
    assert not list(Path("scores").iterdir())


def test_what_has_no_partner_is_left_out_where_told_and_said(evaluate, folders):
    maps, masks = folders
    (maps / "a.png").unlink()
    (masks / "f.png").unlink()
    code, text, _ = evaluate(maps, masks, "--common_only")
    assert code == 0
    assert "without 2 files that have no partner" in text
    assert stored()["images"] == 3
    assert [fault.split(":")[0] for fault in stored()["protocol"]["left_out"]] == [
        f"{masks}/a.png",
        f"{maps}/f.png",
    ]


def test_maps_are_resized_where_told_and_it_is_said(evaluate, folders):
    maps, masks = folders
    saliency = cv2.imread(str(maps / "a.png"), cv2.IMREAD_GRAYSCALE)
    write_mask(maps / "a.png", cv2.resize(saliency, (20, 15)))
    code, text, _ = evaluate(maps, masks, "--resize")
    assert code == 0
    assert "1 maps were resized to their masks, bilinearly" in text
    assert stored()["protocol"]["maps_resized"] == 1
    resized = [(cv2.resize(m, t.shape[::-1]), t) for m, t in pairs_of(maps, masks)]
    assert stored()["mae"] == pytest.approx(oracle(resized)["mae"], rel=1e-9)


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
def test_a_file_means_the_same_however_it_is_stored(evaluate, folders, folder, kind):
    assert evaluate(*folders)[0] == 0
    for path in Path(folder).rglob("*.png"):
        STORED[kind](cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)).save(path)
    assert evaluate(*folders, save_dir="again")[0] == 0
    again, expected = ({**stored(folder), "protocol": 0} for folder in ("again", "scores"))
    assert again == pytest.approx(expected, rel=1e-7)


def test_maps_that_cannot_be_brightness_are_refused(evaluate, folders):
    maps, masks = folders
    for path in maps.rglob("*.png"):
        write_mask(path, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 128)
    code, _, error = evaluate(maps, masks)
    assert (code, "no 8-bit map holds anything above 1. Fix: store them times 255" in error) == (1, True)
    for path in maps.rglob("*.png"):
        Image.fromarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 200).save(path)
    code, _, error = evaluate(maps, masks)
    assert (code, "no 16-bit map holds anything above 200. Fix: store them in 8 bits" in error) == (1, True)
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
    assert (code, "a.png: a palette picture, whose values are not brightness. Fix" in error) == (1, True)


def test_masks_of_two_scales_are_refused(evaluate, folders):
    maps, masks = folders
    for index, path in enumerate(sorted(masks.rglob("*.png"))):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        Image.fromarray(mask * (1 if index == 2 else 257)).save(path)
    code, _, error = evaluate(maps, masks)
    assert (code, "16-bit, nothing above 255, and others hold more. Fix" in error) == (1, True)


def test_the_policy_of_empty_masks_is_named(evaluate, folders):
    maps, masks = folders
    write_mask(masks / "a.png", np.zeros((31, 40), np.uint8))
    code, text, _ = evaluate(maps, masks)
    assert code == 0
    assert f"my maps on masks: 1 masks are empty: {EMPTY_MASKS}" in text
    assert stored()["protocol"]["empty_masks"] == {"count": 1, "policy": EMPTY_MASKS}
    assert_equal_to_oracle(pairs_of(maps, masks))


def test_two_files_of_one_name_are_refused(evaluate, folders):
    maps, masks = folders
    shutil.copy(maps / "a.png", maps / "a.jpg")
    code, _, error = evaluate(maps, masks)
    assert (code, "a second file named 'a'. Fix: rename it" in error) == (1, True)


def test_folders_that_cannot_be_meant_are_refused(evaluate, folders, tmp_path):
    maps, masks = folders
    (tmp_path / "empty").mkdir()
    for given, message in (
        ((tmp_path / "nowhere", masks), f"{tmp_path}/nowhere: no such folder"),
        ((tmp_path / "empty", masks), "holds no map of a mask in"),
        (([maps, maps], masks), "--pred_dir: two folders are called 'my maps'. Fix: NAME=FOLDER"),
        ((maps, "Set="), "--label_dir 'Set=': expected a folder. Fix: FOLDER or NAME=FOLDER"),
        ((maps, ""), "--label_dir '': expected a folder"),
        (("./x=1/maps", masks), "x=1/maps: no such folder"),
        (([maps, tmp_path / "no"], [masks, tmp_path / "nay"]), f"{maps}/nay: no such folder"),
        (([maps, tmp_path / "no"], [masks, tmp_path / "nay"]), f"{tmp_path}/no/masks: no such folder"),
    ):
        code, _, error = evaluate(*given)
        assert (code, message in error) == (1, True), error


def test_results_do_not_lie_among_maps(evaluate, folders):
    maps, masks = folders
    code, _, error = evaluate(maps, masks, save_dir=masks / "scores")
    assert (code, f"--save_dir {masks}/scores: lies in {masks}. Fix: another folder" in error) == (1, True)


def test_files_of_other_formats_are_told(evaluate, folders, tmp_path):
    maps, masks = folders
    (maps / "a.png").rename(maps / "a.pgm")
    (masks / "a.png").rename(masks / "a.pgm")
    (tmp_path / "elsewhere").mkdir()
    (maps / "linked").symlink_to(tmp_path / "elsewhere")
    code, text, _ = evaluate(maps, masks)
    assert code == 0
    told = [f"{maps}/a.pgm", f"{maps}/linked", f"{masks}/a.pgm"]
    assert f"without 3 files that are no images we read: {'; '.join(told)}\n" in text
    assert stored()["protocol"]["not_read"] == told


def test_masks_that_are_too_dark_to_count_are_refused(evaluate, folders):
    maps, masks = folders
    for path in masks.rglob("*.png"):
        write_mask(path, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 2 + 1)
    code, _, error = evaluate(maps, masks)
    message = "a.png: holds nothing above 128, and foreground is what exceeds 128. Fix: store it as 0 and 255"
    assert (code, message in error) == (1, True)


@pytest.mark.parametrize(("flag", "kept"), [("--as_is", "mean_f"), ("--author_minmax", "mae")])
def test_each_way_to_stretch_changes_its_own_measures(evaluate, folders, flag, kept):
    maps, masks = folders
    for path in maps.rglob("*.png"):
        write_mask(path, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) // 4 + 90)
    found = []
    for flags in ((), (flag,)):
        assert evaluate(maps, masks, *flags)[0] == 0
        found.append(stored())
    changed = {"mean_f": "mae", "mae": "mean_f"}[kept]
    assert found[0][kept] == found[1][kept]
    assert found[0][changed] != found[1][changed]


def test_a_worker_that_dies_is_one_clear_line(folders, monkeypatch):
    for copy in range(8):
        for folder in folders:
            shutil.copytree(folder / "sub", folder / f"sub{copy}")
            shutil.copy(folder / "a.png", folder / f"copy{copy}.png")
    monkeypatch.setattr(folders, "_start_worker", partial(os._exit, 1))
    with pytest.raises(OSError, match=r"a worker process died.*Fix: fewer --workers"):
        score_folder(folders[0], pair_up(*folders), Rules(), 2)


@pytest.mark.parametrize("delay", [0, 0.4])
def test_an_interruption_is_one_word(folders, tmp_path, delay):
    """Ctrl-C reaches a whole group of processes, here as soon as it has workers and when they import."""
    maps, masks = folders
    for folder in folders:
        for copy in range(2000):
            os.link(folder / "a.png", folder / f"copy{copy}.png")
    command = [sys.executable, ROOT / "tools" / "evaluate_folder.py", "--pred_dir", maps]
    child = subprocess.Popen(
        [*command, "--label_dir", masks, "--save_dir", tmp_path / "out", "--workers", "2"],
        **dict.fromkeys(("stdout", "stderr"), subprocess.PIPE),
        text=True,
        env=environment(),
        start_new_session=True,
    )
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while child.poll() is None and len(children.read_text().split()) < 3:  # one of them minds the others
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(child.pid, signal.SIGINT)
    assert child.communicate(timeout=20)[1].splitlines() == ["Interrupted"]
    assert child.returncode == 130


# -- several methods, several sets ----------------------------------------------------------------------


@pytest.fixture
def table(evaluate, folders, tmp_path):
    """The comparison of two methods on two sets of 5 and 2 images."""
    maps, masks = folders
    for name in ("a", "f"):
        write_mask(tmp_path / "few" / f"{name}.png", cv2.imread(str(masks / f"{name}.png"), 0))
    for method in ("good_one", "bad"):
        for title, truth in (("Set 1", masks), ("few", tmp_path / "few")):
            for path in truth.rglob("*.png"):
                name, mask = path.relative_to(truth), cv2.imread(str(path), 0)
                write_mask(
                    tmp_path / method / title / name, mask // 2 + (60 if method == "bad" else 0) * (mask < 9)
                )
    flags = ("--measures", "s_measure", "max_f", "mae", "Dice", "--as_is")
    code, text, _ = evaluate(
        [tmp_path / "good_one", f"Bad={tmp_path / 'bad'}"],
        [f"Set 1={masks}", tmp_path / "few"],
        *flags,
        curves=True,
    )
    assert code == 0
    return text


def test_several_methods_and_sets_make_a_table_for_people_and_one_for_latex(table):
    assert Path("scores/comparison.md").read_text() in table
    lines = table.splitlines()
    assert lines[0] == "| Set 1 (5) | s_measure ↑ | max_f ↑ | mae ↓ | Dice ↑ |"
    assert lines[5] == "| few (2) | s_measure ↑ | max_f ↑ | mae ↓ | Dice ↑ |"
    assert lines[2].startswith("| good_one | **")
    assert "**" not in lines[3].split("|")[4]
    for title, method in (("Set 1", "good_one"), ("few", "Bad")):
        row = next(line for line in lines[1 if title == "Set 1" else 6 :] if line.startswith(f"| {method}"))
        assert row.split("|")[4].strip().strip("*") == f"{stored(f'scores/{title}/{method}')['mae']:.3f}"
    assert {p.name for p in Path("scores/few").iterdir()} == {"good_one", "Bad", "f.png", "pr.png"}
    lines = Path("scores/comparison.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{lcccccccc}"
    assert lines[2] == r" & \multicolumn{4}{c}{Set 1} & \multicolumn{4}{c}{few} \\"
    assert lines[3].startswith(r"Method & s\_measure$\uparrow$ & max\_f$\uparrow$ & mae$\downarrow$ & Dice")
    rows = [line for line in lines if line.startswith(("good", "Bad"))]
    assert [row.count("&") for row in rows] == [8, 8]
    assert rows[0].startswith(r"good\_one & \textbf{")


def test_the_best_of_negative_scores_is_the_highest(evaluate, folders, tmp_path):
    maps, masks = folders
    for method in ("worse", "bad"):
        for path in masks.rglob("*.png"):
            mask = 255 - cv2.imread(str(path), 0)
            if method == "bad":
                mask[:8] = 255 - mask[:8]
            write_mask(tmp_path / method / path.relative_to(masks), mask)
    folders = [tmp_path / "worse", f"a|b={tmp_path / 'bad'}"]
    code, text, _ = evaluate(folders, f"S^1~={masks}", "--measures", "Kappa", "--as_is")
    assert code == 0
    row = next(line for line in text.splitlines() if line.startswith(r"| a\|b | **-0."))
    assert "**" in row
    assert r"\multicolumn{1}{c}{S\^{}1\~{}}" in Path("scores/comparison.tex").read_text()


# -- the whole way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [(), ("--minmax",), ("--official",)])
def test_val_equals_predict_and_evaluate_folder(run, evaluate, trained, data, flags):
    images = ["--image_path", data / "val.txt", "--outputs", "saliency", "--save_dir", "out"]
    (data / "val.txt").write_text("images/p4.png\nimages/p5.png\n")
    assert run("predict", "--model_path", trained, *images, *flags)[0] == 0
    code, text, _ = run("val", "--model_path", trained, *flags, "--opts", "metrics=all")
    assert code == 0
    assert evaluate("out/saliency", data / "masks", "--common_only")[0] == 0
    for name, row in MEASURES.items():
        told = float(text.split(f" {row.also or name}: ")[1].split()[0])
        # official maps have 8 bits before they are measured; others jump over thresholds as they are rounded
        assert told == pytest.approx(stored()[name], abs=6e-5 if "--official" in flags else 0.02), name
