"""The fingerprint of a data set: what changes it, and what does not."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from support import draw_pair

from paddleseg_u2net.data.fingerprint import fingerprint
from paddleseg_u2net.data.pairs import Pair, read_list


@pytest.fixture
def root(tmp_path):
    for name in ("a", "ü b", "c"):
        draw_pair(tmp_path / "set", name)
    lines = [f"images/{name}.png\tmasks/{name}.png\n" for name in ("a", "ü b", "c")]
    (tmp_path / "set" / "list.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path / "set"


def found(root, some=slice(None)) -> dict:
    return fingerprint(read_list(root / "list.txt", root)[0][some])


def test_fingerprint_is_the_checksum_of_paths_and_sizes(root):
    lines = ""
    for name in ("a", "ü b", "c"):
        files = [f"images/{name}.png", f"masks/{name}.png"]
        lines += "\t".join(f"{file}\t{len((root / file).read_bytes())}" for file in files) + "\n"
    result = found(root)
    assert (result["pairs"], result["sha256"]) == (3, hashlib.sha256(lines.encode()).hexdigest())
    assert "no content" in result["covers"]


def test_place_of_the_data_set_does_not_matter(root, tmp_path, monkeypatch):
    shutil.copytree(root, tmp_path / "elsewhere" / "copy")
    assert found(tmp_path / "elsewhere" / "copy") == found(root)
    pairs = read_list(root / "list.txt", root)[0]
    monkeypatch.chdir(root)
    assert fingerprint([Pair(p.image.relative_to(root), p.mask.relative_to(root)) for p in pairs]) == found(
        root
    )


def test_order_names_sizes_and_number_matter(root):
    whole = found(root)["sha256"]
    others = [found(root, slice(None, None, -1))["sha256"], found(root, slice(2))["sha256"]]
    with (root / "images" / "a.png").open("ab") as file:
        file.write(b"0")
    others.append(found(root)["sha256"])
    assert len({whole, *others}) == 4


def test_data_set_without_pairs_or_masks_has_one(root):
    assert fingerprint([])["pairs"] == 0
    assert fingerprint([Pair(root / "images" / "a.png", None)])["pairs"] == 1
