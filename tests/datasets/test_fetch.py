"""Archives are verified against published checksums, and their origin is recorded."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from published_sets import PUBLISHED, build
from support import prepare_command as main

from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import prepare

HEX = "[0-9a-f]{64}"


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def publish(monkeypatch):
    """Set checksums in the row of a data set, by archive name."""

    def change(name: str, checksums: dict[str, str]) -> None:
        archives = [replace(a, checksum=checksums.get(a.file)) for a in DATA_SETS[name].archives]
        monkeypatch.setitem(DATA_SETS, name, replace(DATA_SETS[name], archives=tuple(archives)))

    return change


@pytest.mark.parametrize("end", [".zip", "2.zip"])
def test_given_archive_must_have_a_published_checksum_whatever_its_name(tmp_path, capsys, end):
    archives = [
        str(path.rename(path.with_name(path.name.replace(".zip", end))))
        for path in build(tmp_path / "a", PUBLISHED["ECSSD"])
    ]
    assert main(["ECSSD", "--archive", *archives]) == 1
    message = capsys.readouterr().err
    either = "" if end == ".zip" else f" or sha256:dc0a9f11{HEX[:8]}{{56}}"
    assert re.search(
        f"images{end}: its checksum is sha256:{HEX}, expected sha256:7d5dce1a[0-9a-f]{{56}}{either}: not the "
        "published file. Fix: download it again, or --accept-unverified if you trust it",
        message,
    )
    assert main(["ECSSD", "--archive", *archives, "--accept-unverified"]) == 0
    message = capsys.readouterr().out
    for path in archives:
        assert (
            f"{Path(path).name} is not the published file, but accepted; "
            f"its checksum is {sha256(Path(path))}\n" in message
        )


def test_renamed_archive_is_recognised_by_its_checksum(tmp_path, publish):
    archives = build(tmp_path / "a", PUBLISHED["ECSSD"])
    publish("ECSSD", {path.name: sha256(path) for path in archives})
    renamed = [path.rename(path.with_name(f"images-{number}.zip")) for number, path in enumerate(archives)]
    with pytest.raises(ValueError, match="no images found"):  # the folder in the second one is called so, too
        prepare("ECSSD", tmp_path / "data", renamed[1:])
    assert prepare("ECSSD", tmp_path / "data", renamed).is_dir()
    swapped = renamed[0].rename(tmp_path / "a" / "ground_truth_mask.zip")
    with pytest.raises(ValueError, match="not the published file"):
        prepare("ECSSD", tmp_path / "other", [swapped])


def test_archive_without_published_checksum_is_recognised_by_name(tmp_path):
    paths = build(tmp_path / "a", PUBLISHED["DUT-OMRON"])
    renamed = paths[1].rename(tmp_path / "a" / "masks.zip")
    message = "Fix: download it again, rename it to DUT-OMRON-gt-pixelwise.zip.zip if it is that file, or "
    with pytest.raises(ValueError, match=message):
        prepare("DUT-OMRON", tmp_path / "data", [renamed])


def test_other_checksum_needs_accept_unverified(tmp_path, monkeypatch, publish, capsys):
    (path,) = build(tmp_path / "mirror", PUBLISHED["DUTS-TE"])
    publish("DUTS-TE", {"DUTS-TE.zip": f"md5:{'0' * 32}"})
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    assert main(["DUTS-TE"]) == 1
    assert re.search("its checksum is md5:[0-9a-f]{32}, expected md5:0{32}", capsys.readouterr().err)
    assert main(["DUTS-TE", "--accept-unverified"]) == 0
    message = f"DUTS-TE.zip is not the published file, but accepted; its checksum is {sha256(path)}\n"
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("noted", [True, False])
def test_record_names_the_origin_of_a_kept_download(tmp_path, publish, noted):
    """The process was killed after the download, before the data set was created."""
    downloads = tmp_path / "data" / ".DUTS-TE.preparing" / "downloads"
    (path,) = build(downloads, PUBLISHED["DUTS-TE"])
    if noted:
        (downloads / "DUTS-TE.zip.partial.json").write_text(json.dumps({"url": "https://a.org/DUTS-TE.zip"}))
    root = prepare("DUTS-TE", tmp_path / "data")
    (source,) = json.loads((root / "dataset.json").read_text())["sources"]
    assert source["from"] == ("https://a.org/DUTS-TE.zip" if noted else "unknown")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["DUTS-TE"]


def test_unverified_download_needs_the_flag_again(tmp_path):
    downloads = tmp_path / "data" / ".DUTS-TE.preparing" / "downloads"
    build(downloads, PUBLISHED["DUTS-TE"])
    (downloads / "DUTS-TE.zip.partial.json").write_text(json.dumps({"url": "http://a.org/DUTS-TE.zip"}))
    with pytest.raises(OSError, match="http://a.org/DUTS-TE.zip: plain http can be tampered with"):
        prepare("DUTS-TE", tmp_path / "data")
    assert prepare("DUTS-TE", tmp_path / "data", accept_unverified=True).is_dir()


def test_kept_download_is_verified_again(tmp_path, publish, monkeypatch):
    downloads = tmp_path / "data" / ".DUTS-TE.preparing" / "downloads"
    (path,) = build(downloads, PUBLISHED["DUTS-TE"])
    publish("DUTS-TE", {"DUTS-TE.zip": sha256(path)})
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "DUTS-TE.zip").write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    with pytest.raises(ValueError, match="not the published file. Fix: run the command again"):
        prepare("DUTS-TE", tmp_path / "data")
    assert prepare("DUTS-TE", tmp_path / "data").is_dir()
