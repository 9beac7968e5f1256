"""`u2net evaluate` on several methods and data sets, and its tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from map_folders import read_grey, stored
from support import write_mask


@pytest.fixture(params=[False])
def table(request, evaluate, folders, tmp_path) -> str:
    """The printed comparison of two methods on two data sets of 5 and 2 images, with or without plots."""
    masks = folders[1]
    for name in ("a", "f"):
        write_mask(tmp_path / "few" / f"{name}.png", read_grey(masks / f"{name}.png"))
    for method, background in (("good_one", 0), ("bad", 60)):
        for title, truth in (("Set 1", masks), ("few", tmp_path / "few")):
            for path in truth.rglob("*.png"):
                mask = read_grey(path)
                saliency = mask // 2 + background * (mask < 9)
                write_mask(tmp_path / method / title / path.relative_to(truth), saliency)
    methods = [tmp_path / "good_one", f"Bad={tmp_path / 'bad'}"]
    data_sets = [f"Set 1={masks}", tmp_path / "few"]
    flags = ("--measures", "s_measure", "max_f", "mae", "Dice", "--as_is")
    code, text, _ = evaluate(methods, data_sets, *flags, curves=request.param)
    assert code == 0
    return text


def test_markdown_table_has_all_methods_and_sets(table):
    assert Path("scores/comparison.md").read_text() in table
    lines = table.splitlines()
    assert lines[0] == "| Set 1 (5) | s_measure ↑ | max_f ↑ | mae ↓ | Dice ↑ |"
    assert lines[5] == "| few (2) | s_measure ↑ | max_f ↑ | mae ↓ | Dice ↑ |"
    assert lines[2].startswith("| good_one | **")
    assert "**" not in lines[3].split("|")[4]
    for title, method in (("Set 1", "good_one"), ("few", "Bad")):
        row = next(line for line in lines[1 if title == "Set 1" else 6 :] if line.startswith(f"| {method}"))
        assert row.split("|")[4].strip().strip("*") == f"{stored(f'scores/{title}/{method}')['mae']:.3f}"


def test_latex_table_has_all_methods_and_sets(table):
    lines = Path("scores/comparison.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{lcccccccc}"
    assert lines[2] == r" & \multicolumn{4}{c}{Set 1} & \multicolumn{4}{c}{few} \\"
    assert lines[3].startswith(r"Method & s\_measure$\uparrow$ & max\_f$\uparrow$ & mae$\downarrow$ & Dice")
    rows = [line for line in lines if line.startswith(("good", "Bad"))]
    assert [row.count("&") for row in rows] == [8, 8]
    assert rows[0].startswith(r"good\_one & \textbf{")


@pytest.mark.parametrize("table", [True], indirect=True)
def test_each_data_set_has_plots_of_all_methods(table):
    assert {path.name for path in Path("scores/few").iterdir()} == {"good_one", "Bad", "f.png", "pr.png"}


def test_best_of_negative_scores_is_the_highest(evaluate, folders, tmp_path):
    masks = folders[1]
    for method in ("worse", "bad"):
        for path in masks.rglob("*.png"):
            mask = 255 - read_grey(path)
            if method == "bad":
                mask[:8] = 255 - mask[:8]
            write_mask(tmp_path / method / path.relative_to(masks), mask)
    methods = [tmp_path / "worse", f"a|b={tmp_path / 'bad'}"]
    code, text, _ = evaluate(methods, f"S^1~={masks}", "--measures", "Kappa", "--as_is")
    assert code == 0
    row = next(line for line in text.splitlines() if line.startswith(r"| a\|b | **-0."))
    assert "**" in row
    assert r"\multicolumn{1}{c}{S\^{}1\~{}}" in Path("scores/comparison.tex").read_text()


def test_unusable_folders_are_rejected(evaluate, folders, tmp_path):
    maps, masks = folders
    (tmp_path / "empty").mkdir()
    for given, message in (
        ((tmp_path / "nowhere", masks), f"{tmp_path}/nowhere: no such folder"),
        ((tmp_path / "empty", masks), "holds no map for a mask in"),
        (([maps, maps], masks), "--pred_dir: two folders are named 'my maps'. Fix: NAME=FOLDER"),
        ((maps, "Set="), "--label_dir 'Set=': expected a folder. Fix: FOLDER or NAME=FOLDER"),
        ((maps, ""), "--label_dir '': expected a folder"),
        (("./x=1/maps", masks), "x=1/maps: no such folder"),
        (([maps, tmp_path / "no"], [masks, tmp_path / "nay"]), f"{maps}/nay: no such folder"),
        (([maps, tmp_path / "no"], [masks, tmp_path / "nay"]), f"{tmp_path}/no/masks: no such folder"),
    ):
        code, _, error = evaluate(*given)
        assert (code, message in error) == (1, True), error
