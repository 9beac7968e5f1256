"""Known data sets: from archives as they are published to folders that a config reads, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from http_site import Site, serving
from PIL import Image
from published_sets import GREY, PUBLISHED, build, write_member
from support import environment, make_config, pixels, small_files, tree, write_mask

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.cli.prepare import main
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import check, find_data, prepare
from paddleseg_u2net.errors import DataError

TWELVE = [f"images/{i:02}.jpg masks/{i:02}.png" for i in range(12)]
LISTS = {
    "optic_disc_seg": {
        "train": ["JPEGImages/P0193.jpg Annotations/P0193.png"],
        "val": ["JPEGImages/N1.jpg Annotations/N1.png"],
        "test": ["JPEGImages/N1.jpg Annotations/N1.png"],
    },
    "mini_supervisely": dict.fromkeys(("train", "val", "test"), ["Images/a.jpg Annotations/a.png"]),
    "DUTS-TR": {"train": ["DUTS-TR-Image/n1_2.jpg DUTS-TR-Mask/n1_2.png"]},
    "DUTS-TE": dict.fromkeys(
        ("val", "test"), [f"DUTS-TE-Image/{name}.jpg DUTS-TE-Mask/{name}.png" for name in ("b", "sun")]
    ),
    "ECSSD": dict.fromkeys(("val", "test"), ["images/0001.jpg masks/0001.png"]),
    "SOD": dict.fromkeys(("val", "test"), ["images/3096.jpg masks/3096.png"]),
    "PASCAL-S": dict.fromkeys(("val", "test"), ["images/1.jpg masks/1.png"]),
    "HKU-IS": dict.fromkeys(("val", "test"), ["images/0004.png masks/0004.png"]),
    "DUT-OMRON": dict.fromkeys(("val", "test"), ["images/im005.jpg masks/im005.png"]),
    "MSRA10K": {
        "train": [*TWELVE[1:10], TWELVE[11]],
        **dict.fromkeys(("val", "test"), [TWELVE[0], TWELVE[10]]),
    },
    "Drishti-GS": {
        "train": ["train/images/drishtiGS_002.png train/masks/drishtiGS_002.png"],
        **dict.fromkeys(("val", "test"), ["val/images/drishtiGS_001.png val/masks/drishtiGS_001.png"]),
    },
    "DRIVE": {"train": ["training/images/21.tif training/masks/21.png"]},
    "P3M-10k": {
        "train": ["train/images/p_1.jpg train/masks/p_1.png"],
        "val": ["P3M-500-P/images/p_2.jpg P3M-500-P/masks/p_2.png"],
        "test": ["P3M-500-NP/images/p_3.jpg P3M-500-NP/masks/p_3.png"],
    },
}


def lists_of(root: Path) -> dict[str, list[str]]:
    found = {key: root / f"{key}_list.txt" for key in ("train", "val", "test")}
    return {key: path.read_text().splitlines() for key, path in found.items() if path.is_file()}


# -- what comes out ---------------------------------------------------------------------------------------


def test_every_row_is_tested():
    assert set(PUBLISHED) == set(LISTS) == {name for name, row in DATA_SETS.items() if row.archives}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_archives_become_folders_and_lists(tmp_path, name):
    archives = build(tmp_path / "my archives", PUBLISHED[name])
    root = prepare(name, tmp_path / "my data", archives[::-1], accept_unverified=True)
    assert lists_of(root) == LISTS[name]
    named = {path for lines in lists_of(root).values() for line in lines for path in line.split()}
    assert set(tree(root)) == named | {f"{key}_list.txt" for key in LISTS[name]} | {"dataset.json"}
    assert tree(tmp_path / "my data") == sorted(f"{name}/{path}" for path in tree(root))


@pytest.mark.parametrize("name", ["DUTS-TR", "DRIVE", "optic_disc_seg"])
def test_an_unpacked_folder_will_do_and_is_only_read(tmp_path, name):
    """A read-only one; as the system's administrator writes everywhere, nothing in it may change either."""
    archives = build(tmp_path / "archives", PUBLISHED[name])
    expected = prepare(name, tmp_path / "one", archives)
    source = tmp_path / "my own"
    for archive in archives:
        shutil.unpack_archive(archive, source)
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    state = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [source, *source.rglob("*")]}
    root = prepare(name, tmp_path / "two", [source])
    assert state == {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in [source, *source.rglob("*")]
    }
    assert (root / "dataset.json").read_text() != ""
    shutil.rmtree(source)
    for path in tree(expected):
        if path != "dataset.json":
            assert (root / path).read_bytes() == (expected / path).read_bytes()
            assert os.access(root / path, os.W_OK)


def test_soft_maps_and_gifs_become_masks_of_0_and_1(tmp_path):
    for name in ("Drishti-GS", "DRIVE"):
        root = prepare(name, tmp_path, build(tmp_path / name.lower(), PUBLISHED[name]))
        mask = root / LISTS[name]["train"][0].split()[1]
        np.testing.assert_array_equal(pixels(mask), GREY > 127)


def test_the_record_says_what_it_is_and_its_checksum_is_that_of_sha256sum(tmp_path):
    (archive,) = build(tmp_path / "a", PUBLISHED["DUTS-TE"])
    root = prepare("DUTS-TE", tmp_path, [archive])
    record = json.loads((root / "dataset.json").read_text())
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert record["sources"] == [{"from": "DUTS-TE.zip", "sha256": sha256}]
    assert record["pairs"] == {"val": 2, "test": 2}
    assert record["published"] == {"val": 5019, "test": 5019}
    assert record["licence"] == DATA_SETS["DUTS-TE"].licence
    command = "find * -type f ! -name dataset.json | LC_ALL=C sort | xargs sha256sum | sha256sum"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=root, check=True)
    assert record["contents"] == f"sha256:{done.stdout.split()[0]}"
    check(root)
    (root / "DUTS-TE-Mask" / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match="its files are not those it was made of .* Fix: move it away"):
        check(root)
    with pytest.raises(ValueError, match="holds no dataset.json. Fix: prepare it first"):
        check(tmp_path / "a")


def test_real_sets_come_through_as_they_are(shared, tmp_path):
    """SOD as a folder; photographs of Drishti-GS and MSRA10K packed as their makers pack them."""
    sod = prepare("SOD", tmp_path, [shared / "data" / "sod300"])
    assert lists_of(sod)["val"] == (shared / "data" / "sod300" / "val_list.txt").read_text().split("\n")[:-1]
    source, packed = shared / "data" / "drishti_gs_512", tmp_path / "Drishti-GS1_files.zip"
    with zipfile.ZipFile(packed, "w") as target:
        for part, gt, key in (("Training", "GT", "train"), ("Test", "Test_GT", "val")):
            for line in (source / f"{key}_list.txt").read_text().splitlines()[:2]:
                image, mask = (source / path for path in line.split())
                for path, inside in (
                    (image, f"{part}/Images/{image.stem}.png"),
                    (mask, f"{part}/{gt}/{image.stem}/SoftMap/{image.stem}_ODsegSoftmap.png"),
                ):
                    with target.open(inside, "w") as file:
                        content = pixels(path) if path == image else (pixels(path) > 0) * np.uint8(255)
                        Image.fromarray(content).save(file, "png", compress_level=1)
    root = prepare("Drishti-GS", tmp_path, [packed])
    for key in ("train", "val"):
        theirs = (source / f"{key}_list.txt").read_text().splitlines()[:2]
        for line, other in zip(lists_of(root)[key], theirs, strict=True):
            (image, mask), (other_image, other_mask) = line.split(), other.split()
            np.testing.assert_array_equal(pixels(root / image), pixels(source / other_image))
            np.testing.assert_array_equal(pixels(root / mask), pixels(source / other_mask) > 0)
    source = shared / "data" / "msra10k_1200"
    with zipfile.ZipFile(tmp_path / "MSRA10K_Imgs_GT.zip", "w") as target:
        for path in sorted((source / "images").iterdir())[:50]:
            target.write(path, f"MSRA10K_Imgs_GT/Imgs/{path.name}")
            target.write(source / "masks" / f"{path.stem}.png", f"MSRA10K_Imgs_GT/Imgs/{path.stem}.png")
    root = prepare("MSRA10K", tmp_path, [tmp_path / "MSRA10K_Imgs_GT.zip"])
    assert {key: len(lines) for key, lines in lists_of(root).items()} == {"train": 45, "val": 5, "test": 5}
    for path in [*sod.glob("masks/*.png"), *root.glob("masks/*.png")]:
        own = shared / "data" / ("sod300" if path.is_relative_to(sod) else "msra10k_1200")
        assert path.read_bytes() == (own / "masks" / path.name).read_bytes()


# -- what is wrong ----------------------------------------------------------------------------------------


def test_all_faults_are_told_together_and_nothing_is_left(tmp_path):
    members = ["Image/a.jpg", "Mask/a.png", "Mask/a.jpg", "Image/b.jpg", "Image/c.jpg", "Mask/c.png"]
    archives = build(tmp_path / "one", {"DUTS-TR.zip": [f"DUTS-TR/DUTS-TR-{name}" for name in members]})
    with pytest.raises(DataError) as caught:
        prepare("DUTS-TR", tmp_path / "data", archives)
    told = str(caught.value).splitlines()
    assert told[0].startswith(
        "DUTS-TR: what came is not this data set. Note: an archive from before 2018-01-22"
    )
    assert told[1:] == [
        "DUTS-TR-Mask/a.png: a second file named 'a'. Fix: rename it",
        "DUTS-TR-Image/b.jpg: no mask named 'b' in DUTS-TR-Mask",
    ]
    assert tree(tmp_path / "data") == []
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "members", "told"),
    [
        ("ECSSD", {"x.zip": ["else/a.jpg"]}, "no images found: nothing is called images/*"),
        (
            "ECSSD",
            {"x.zip": ["else/a.jpg"]},
            "no masks found: nothing is called ground_truth_mask/* or masks/*",
        ),
        (
            "DUTS-TE",
            {"DUTS-TE.zip": ["DUTS-TE-Image/a.jpg"]},
            "no masks found: nothing is called DUTS-TE-Mask/*",
        ),
        ("optic_disc_seg", {"x.zip": ["a.jpg"]}, "expected one train_list.txt, found none"),
        (
            "optic_disc_seg",
            {
                "x.zip": [
                    "train_list.txt=a.jpg\nb.jpg b.png\n../../x /etc/passwd\n",
                    "val_list.txt=",
                    "b/a.jpg",
                ]
            },
            "train_list.txt:1: expected 'image mask', got 1 column(s): 'a.jpg'",
        ),
        (
            "optic_disc_seg",
            {"x.zip": ["train_list.txt=../../x /etc/passwd\n", "val_list.txt="]},
            "train_list.txt:1: ../../x: no such file",
        ),
        (
            "DRIVE",
            {"training.zip": ["training/images/21_a.tif", "training/1st_manual/21_b.gif=x"]},
            "training/training/1st_manual/21_b.gif: cannot be read as a mask: cannot identify",
        ),
        (
            "DRIVE",
            {
                "training.zip": [
                    f"training/{n}" for n in ("images/21_a.tif", "images/21_b.tif", "1st_manual/21_c.gif")
                ]
            },
            "images/21.tif: both training/training/images/21_a.tif and training/training/images/21_b.tif",
        ),
    ],
)
def test_what_is_not_the_data_set_is_told_by_name(tmp_path, name, members, told):
    archives = build(tmp_path / "archives", members)
    with pytest.raises(DataError) as caught:
        prepare(name, tmp_path / "data", archives, accept_unverified=True)
    assert told in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_list_does_not_lead_out_of_its_archive(tmp_path):
    """Even where a file lies there."""
    write_member(tmp_path / "own", "sub/train_list.txt=../a.jpg ../a.png\nx/../../a.jpg a.png\n")
    for name in ("a.jpg", "a.png", "sub/a.png"):
        write_member(tmp_path / "own", name)
    with pytest.raises(DataError) as caught:
        prepare("optic_disc_seg", tmp_path / "data", [tmp_path / "own" / "sub"])
    found = [fault for fault in str(caught.value).splitlines() if "no such file" in fault]
    assert found == [
        f"train_list.txt:{fault}: no such file" for fault in ("1: ../a.jpg", "1: ../a.png", "2: ../a.jpg")
    ]
    assert list((tmp_path / "data").iterdir()) == []


def test_names_that_differ_in_upper_and_lower_case_are_told(tmp_path):
    """On a disk that takes them for the same, one file would be lost without a word."""
    for name in ("images/a.jpg", "masks/a.png"):
        write_member(tmp_path / "one", name)
        write_member(tmp_path / "two", name.replace("a.", "A."))
    with pytest.raises(DataError, match="images/A.jpg: both one/images/a.jpg and two/images/A.jpg. Fix: giv"):
        prepare("SOD", tmp_path / "data", [tmp_path / "one", tmp_path / "two"])


def test_a_link_that_leads_nowhere_is_told_before_anything_is_fetched(tmp_path, monkeypatch):
    build(tmp_path / "mirror", PUBLISHED["DUTS-TE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "DUTS-TE").symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError, match="DUTS-TE: exists, and is not a set that this program finished"):
        prepare("DUTS-TE", tmp_path / "data")
    (tmp_path / "data" / "DUTS-TE").unlink()
    assert lists_of(prepare("DUTS-TE", tmp_path / "data")) == LISTS["DUTS-TE"]
    assert tree(tmp_path / "disk") == [f"DUTS-TE/{path}" for path in tree(tmp_path / "data" / "DUTS-TE")]


def test_a_folder_that_is_not_ours_is_left_as_it_is(tmp_path, capsys):
    (tmp_path / "data" / "DUTS-TR").mkdir(parents=True)
    (tmp_path / "data" / "DUTS-TR" / "mine.txt").write_text("mine")
    assert main(["DUTS-TR"]) == 1
    told = capsys.readouterr().err
    assert "data/DUTS-TR: exists, and is not a set that this program finished" in told
    assert "Fix: mv data/DUTS-TR data/DUTS-TR.own, and give that to --archive" in told
    assert tree(tmp_path / "data") == ["DUTS-TR/mine.txt"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ["HKU-IS"],
            1,
            "no address is known for HKU-IS.rar. Fix: get it from https://i.cs.hku.hk/~gbli/deep_saliency",
        ),
        (
            ["HKU-IS"],
            1,
            "then python -m Benckmark_data_prepare.prepare HKU-IS --archive HKU-IS. Note: it comes as",
        ),
        (
            ["DRIVE", "--data_root", "d"],
            1,
            "prepare DRIVE --data_root d --archive training.zip test.zip. Note:",
        ),
        (
            ["MSRA10K"],
            1,
            "plain http can be changed on its way, and no checksum of this file is known. Fix: --accept",
        ),
        (
            ["ECSSD", "--archive", "a.zip", "b"],
            1,
            "a.zip: no such file or folder\nb: no such file or folder\nFix:",
        ),
        (["ECSSD", "--archive", "/dev/zero"], 1, "/dev/zero: no such file or folder\nFix:"),
        (
            ["synthetic_disc", "--archive", "."],
            1,
            "synthetic_disc: is drawn, not unpacked. Fix: leave --archive out",
        ),
        (["ECSSD", "--check"], 1, "data/ECSSD: holds no dataset.json. Fix: prepare it first"),
        (["DUTS"], 2, "DUTS: no such data set. Did you mean 'DUTS-TR'?"),
        ([], 2, "which data set? --list prints them"),
    ],
)
def test_wrong_words_are_told_with_the_way_out(capsys, words, code, told):
    try:
        outcome = main(words)
    except SystemExit as stop:
        outcome = stop.code
    assert outcome == code
    assert told in capsys.readouterr().err


def test_sources_that_would_be_lost_or_not_listed_are_refused(tmp_path):
    for name in ("one", "two"):
        for kind in ("images", "masks"):
            write_mask(tmp_path / name / kind / "b.png", np.full((4, 4), 9, np.uint8))
    sources = [tmp_path / name for name in ("one", "two")]
    with pytest.raises(ValueError, match=r"both .*one.*b.png and .*two.*b.png. Fix: give one of them"):
        prepare("SOD", tmp_path / "data", sources)
    shutil.move(tmp_path / "one" / "images" / "b.png", tmp_path / "one" / "images" / "a\nb.png")
    shutil.move(tmp_path / "one" / "masks" / "b.png", tmp_path / "one" / "masks" / "a\nb.png")
    with pytest.raises(ValueError, match="a name that a list cannot hold. Fix: rename it"):
        prepare("SOD", tmp_path / "data", sources[:1])
    inside = tmp_path / "data" / ".SOD.preparing" / "downloads" / "SOD.zip"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"mine")
    with pytest.raises(ValueError, match="which is cleared. Fix: move it out of there"):
        prepare("SOD", tmp_path / "data", [inside])
    with pytest.raises(ValueError, match="a name that a list cannot hold"):
        prepare("SOD", tmp_path / "data", sources[:1])  # what came of a download has no part in this fault
    assert inside.read_bytes() == b"mine"


# -- fetching ---------------------------------------------------------------------------------------------


@pytest.fixture
def duts(tmp_path) -> bytes:
    """The content of a DUTS-TE.zip, with something in it that takes room."""
    members = {
        "DUTS-TE.zip": [*PUBLISHED["DUTS-TE"]["DUTS-TE.zip"], "DUTS-TE/big=" + os.urandom(50000).hex()]
    }
    return build(tmp_path / "published", members)[0].read_bytes()


def test_a_set_is_fetched_resumed_and_then_there(tmp_path, duts, monkeypatch, capsys):
    site = Site(duts, cuts=[1000, 1000])
    with serving(site.handler()) as address:
        monkeypatch.setenv("U2NET_MIRROR", address)
        assert main(["DUTS-TE"]) == 1
        told = capsys.readouterr()
        assert (
            "1000 bytes are kept in data/.DUTS-TE.preparing/downloads/DUTS-TE.zip.partial; the same"
            in told.err
        )
        assert "Or get it from http://saliencydetection.net/duts/, and give it to --archive" in told.err
        assert "What came is kept in data/.DUTS-TE.preparing/downloads; the next download" in told.out
        assert main(["DUTS-TE"]) == 0
        assert re.search(
            "No checksum of DUTS-TE.zip is published; this one's is sha256:", capsys.readouterr().out
        )
        assert site.asked == [0, 1000, 1000]
        assert main(["DUTS-TE"]) == 0
    assert capsys.readouterr().out == "data/DUTS-TE is there already\n"
    assert site.asked == [0, 1000, 1000]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["DUTS-TE"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><title>Virus scan", "answers with a web page, not the file; cloud drives do"),
        (b"PK\x03\x04 and no more", "damaged, or not whole"),
        (b"", "not a zip, tar or tar.gz archive"),
    ],
)
def test_answers_that_are_no_archive_leave_nothing(tmp_path, monkeypatch, capsys, content, told):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "DUTS-TE.zip").write_bytes(content)
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    assert main(["DUTS-TE"]) == 1
    assert told in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_a_mirror_serves_what_has_no_address(tmp_path, monkeypatch):
    build(tmp_path / "mirror", PUBLISHED["DRIVE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    assert lists_of(prepare("DRIVE", tmp_path / "data")) == LISTS["DRIVE"]


def test_processes_that_want_the_same_set_share_one_download(tmp_path, duts):
    """As the ranks of a launcher do."""
    site = Site(duts)
    code = (
        "import os; from pathlib import Path; from paddleseg_u2net.datasets.prepare import find_data\n"
        "os.fork(); os.fork()  # four of them\n"
        "find_data({'dataset_root': 'data/DUTS-TE'}, True)\n"
        "os.write(1, b'yes\\n' if Path('data/DUTS-TE/val_list.txt').exists() else b'no\\n')"
    )
    with serving(site.handler()) as address:
        run = [sys.executable, "-c", code]  # its output ends when the last of them does
        done = subprocess.run(
            run, stdout=subprocess.PIPE, cwd=tmp_path, env=environment(U2NET_MIRROR=address), timeout=60
        )
    assert done.stdout == b"yes\n" * 4
    assert site.asked == [0]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["DUTS-TE"]


# -- interruptions ----------------------------------------------------------------------------------------

ANYWHERE = """
import errno, json, os, signal, sys, traceback
from pathlib import Path
from paddleseg_u2net.datasets.prepare import check, prepare

os.environ["U2NET_MIRROR"] = Path("published").resolve().as_uri()
prepare("DUTS-TE", Path("first"))  # so that what follows imports nothing any more
WATCHED = ("open", "os.", "shutil.", "fcntl.", "time.")
data = Path("data")
os.fsync = lambda file: None  # what a process wrote outlives it, and the machine is not switched off here

def attempt(how, stop):
    # a process that is stopped at its stop-th touch of the system; returns whether it came that far
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 3, -signal.SIGKILL), "it failed for another reason"
        return code != 0
    seen = stopped = 0
    def hook(event, args):
        nonlocal seen, stopped
        if stopped or not event.startswith(WATCHED):
            return
        seen += 1
        if seen == stop:
            stopped = 1
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt if how == "interrupt" else OSError(errno.ENOSPC, "No space left")
    sys.addaudithook(hook)
    try:
        prepare("DUTS-TE", data)
    except BaseException:
        if not stopped:
            traceback.print_exc()
            os._exit(4)
    os._exit(3 if stopped else 0)

def attempts(how, stride):
    stop, whole = 1, 0
    while attempt(how, stop):
        root = data / "DUTS-TE"
        if root.exists():
            check(root)  # whole, to the last byte
            prepare("DUTS-TE", data)  # clears away what a killed process left beside it
            assert [p.name for p in data.iterdir()] == ["DUTS-TE"]
            root.rename(f"{how}{stop}")
            whole += 1
        elif how != "kill" and data.exists():
            left = [str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()]
            kept = [name for name in left if not name.startswith(".DUTS-TE.preparing/downloads/DUTS-TE.zip")]
            assert not kept or kept == [".DUTS-TE.lock"], kept
        stop += stride
    prepare("DUTS-TE", data)
    check(data / "DUTS-TE")
    left = sorted(path.name for path in data.iterdir())
    data.rename(f"{how} data")
    return {"stops": stop // stride, "whole": whole, "left": left}

print(json.dumps({how: attempts(how, stride) for how, stride in json.loads(sys.argv[1]).items()}))
"""


def test_wherever_it_ends_there_is_nothing_or_the_whole_set(tmp_path, duts):
    """Killed, interrupted, or on a disk that fills up, at its touches of the system one after the other."""
    strides = {"kill": 3, "interrupt": 6, "full": 6}
    command = [sys.executable, "-W", "ignore", "-c", ANYWHERE, json.dumps(strides)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    for how, stride in strides.items():
        assert outcomes[how]["stops"] > 80 // stride, how
        assert outcomes[how]["whole"] > 0, how
        assert outcomes[how]["left"] == ["DUTS-TE"], how


def test_a_quota_is_told_with_the_way_out(tmp_path, capsys):
    for name in ("Image/big.jpg", "Mask/big.png"):
        write_member(tmp_path / "own", f"DUTS-TE-{name}={'x' * 6000}")
    with small_files(5000):
        assert main(["DUTS-TE", "--archive", "own"]) == 1
    told = "data/DUTS-TE: cannot be written (File too large). What was whole before is whole still"
    assert told in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


# -- configs ----------------------------------------------------------------------------------------------


def config_for(tmp_path, name: str, **keys):
    """A config of the small network whose data lie in data/NAME."""
    section = {"type": "Dataset", "dataset_root": f"data/{name}", "num_classes": 1, **keys}
    path = make_config(tmp_path / "c.yaml", tmp_path, train_dataset=section, val_dataset=section)
    return load_config(path)


def test_a_config_says_how_to_get_its_data_or_gets_them(tmp_path, monkeypatch):
    config = config_for(tmp_path, "DUTS-TE", mode="val", val_path="val_list.txt")
    with pytest.raises(FileNotFoundError) as caught:
        build_dataset_spec(config, "val_dataset")
    assert "It is a known data set (salient objects: the usual data" in str(caught.value)
    assert "Fix: python -m Benckmark_data_prepare.prepare DUTS-TE, or download: true" in str(caught.value)
    build(tmp_path / "mirror", PUBLISHED["DUTS-TE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    config["val_dataset"]["download"] = True
    for _ in range(2):  # fetched, and there
        (data,) = open_datasets([build_dataset_spec(config, "val_dataset")])
        assert len(data) == 2
    monkeypatch.setenv("U2NET_MIRROR", "file:///nowhere")
    assert len(build_dataset_spec(config, "val_dataset")) == 2


@pytest.mark.parametrize(
    ("name", "download", "told"),
    [
        ("elsewhere", True, "download: true, but data/elsewhere is no known data set. Known: optic_disc_seg"),
        ("elsewhere", False, "dataset_root: data/elsewhere: no such folder"),
        ("DUTS-TE", "yes", "val_dataset: download: expected true or false, got 'yes'"),
        ("HKU-IS", True, "HKU-IS: no address is known for HKU-IS.rar. Fix: get it from"),
    ],
)
def test_a_config_that_cannot_get_its_data_says_so(tmp_path, name, download, told):
    config = config_for(tmp_path, name, mode="val", val_path="val_list.txt", download=download)
    with pytest.raises((ValueError, OSError), match=re.escape(told)):
        build_dataset_spec(config, "val_dataset")


def test_the_config_of_duts_measures_on_every_saliency_set(tmp_path):
    """With nothing changed but dataset_root; by its own list, and not by one of that name right here."""
    build(tmp_path / "a", PUBLISHED["PASCAL-S"])
    prepare("PASCAL-S", tmp_path / "data", [tmp_path / "a" / "salObj.zip"], accept_unverified=True)
    Path("val_list.txt").write_text("images/2.jpg masks/2.png\n")
    config = load_config(
        "configs/RGB/U2Net/u2netp_duts.yaml", opts=["val_dataset.dataset_root=data/PASCAL-S"]
    )
    data = build_dataset_spec(config, "val_dataset")
    assert [(str(p.image), str(p.mask)) for p in data.pairs] == [
        ("data/PASCAL-S/images/1.jpg", "data/PASCAL-S/masks/1.png")
    ]


def test_other_data_are_read_as_the_config_says(data):
    keys = {"dataset_root": str(data), "image_dir": "images", "mask_dir": "absent"}
    assert find_data(keys, False) == keys
    shutil.copytree(data, Path("data/ECSSD"))  # of a known name, but not prepared
    keys["dataset_root"] = "data/ECSSD"
    assert find_data(keys, True) == keys
