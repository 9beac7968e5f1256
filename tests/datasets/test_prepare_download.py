"""Known data sets: downloads, concurrent and interrupted runs, and configs that name them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from http_site import Site, serving
from published_sets import LISTS, PUBLISHED, build, lists_of, write_member
from support import environment, make_config, small_files
from support import prepare_command as main

from paddleseg_u2net.builders import build_dataset_spec
from paddleseg_u2net.config.loader import load_config
from paddleseg_u2net.data.dataset import open_datasets
from paddleseg_u2net.datasets.prepare import find_data, prepare


@pytest.fixture
def duts(tmp_path) -> bytes:
    """The content of a DUTS-TE.zip, large enough to be interrupted."""
    members = {
        "DUTS-TE.zip": [*PUBLISHED["DUTS-TE"]["DUTS-TE.zip"], "DUTS-TE/big=" + os.urandom(50000).hex()]
    }
    return build(tmp_path / "published", members)[0].read_bytes()


def test_data_set_is_downloaded_resumed_and_then_reused(tmp_path, duts, monkeypatch, capsys):
    site = Site(duts, cuts=[1000, 1000])
    with serving(site.handler()) as address:
        monkeypatch.setenv("U2NET_MIRROR", address)
        assert main(["DUTS-TE"]) == 1
        message = capsys.readouterr()
        assert (
            "1000 bytes are kept in data/.DUTS-TE.preparing/downloads/DUTS-TE.zip.partial; the same"
            in message.err
        )
        assert (
            "from http://saliencydetection.net/duts/, then u2net prepare DUTS-TE --archive DUTS-TE.zip"
            in message.err
        )
        assert (
            "The partial download is kept in data/.DUTS-TE.preparing/downloads; the next run" in message.out
        )
        assert main(["DUTS-TE"]) == 0
        assert re.search(
            "No checksum of DUTS-TE.zip is published; this file has sha256:", capsys.readouterr().out
        )
        assert site.asked == [0, 1000, 1000]
        assert main(["DUTS-TE"]) == 0
    assert capsys.readouterr().out == "data/DUTS-TE exists already\n"
    assert site.asked == [0, 1000, 1000]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["DUTS-TE"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><title>Virus scan",
            "answered with a web page instead of the file, as cloud drives do",
        ),
        (b"PK\x03\x04 and no more", "damaged or incomplete"),
        (b"", "not a zip, tar or tar.gz archive"),
    ],
)
def test_answers_that_are_no_archive_leave_nothing_behind(tmp_path, monkeypatch, capsys, content, message):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "DUTS-TE.zip").write_bytes(content)
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    assert main(["DUTS-TE"]) == 1
    assert message in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_mirror_serves_archives_without_address(tmp_path, monkeypatch):
    build(tmp_path / "mirror", PUBLISHED["DRIVE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    assert lists_of(prepare("DRIVE", tmp_path / "data")) == LISTS["DRIVE"]


def test_concurrent_processes_share_one_download(tmp_path, duts):
    """Like the ranks of a distributed run."""
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
            assert not kept or kept == [".DUTS-TE.u2net.lock"], kept
        stop += stride
    prepare("DUTS-TE", data)
    check(data / "DUTS-TE")
    left = sorted(path.name for path in data.iterdir())
    data.rename(f"{how} data")
    return {"stops": stop // stride, "whole": whole, "left": left}

print(json.dumps({how: attempts(how, stride) for how, stride in json.loads(sys.argv[1]).items()}))
"""


def test_interrupted_preparation_leaves_nothing_or_everything(tmp_path, duts):
    """Killed, interrupted, or with a full disk, at each of its system calls in turn."""
    strides = {"kill": 3, "interrupt": 6, "full": 6}
    command = [sys.executable, "-W", "ignore", "-c", ANYWHERE, json.dumps(strides)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    for how, stride in strides.items():
        assert outcomes[how]["stops"] > 80 // stride, how
        assert outcomes[how]["whole"] > 0, how
        assert outcomes[how]["left"] == ["DUTS-TE"], how


def test_disk_quota_is_reported_with_a_fix(tmp_path, capsys):
    for name in ("Image/big.jpg", "Mask/big.png"):
        write_member(tmp_path / "own", f"DUTS-TE-{name}={'x' * 6000}")
    with small_files(5000):
        assert main(["DUTS-TE", "--archive", "own"]) == 1
    message = "data/DUTS-TE: cannot be written (File too large). Existing files are unchanged"
    assert message in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


# -- configs ----------------------------------------------------------------------------------------------


def config_for(tmp_path, name: str, **keys):
    """A config of the small network with data in data/NAME."""
    section = {"type": "Dataset", "dataset_root": f"data/{name}", "num_classes": 1, **keys}
    path = make_config(tmp_path / "c.yaml", tmp_path, train_dataset=section, val_dataset=section)
    return load_config(path)


def test_config_names_the_command_or_downloads_its_data(tmp_path, monkeypatch):
    config = config_for(tmp_path, "DUTS-TE", mode="val", val_path="val_list.txt")
    with pytest.raises(FileNotFoundError) as caught:
        build_dataset_spec(config, "val_dataset")
    assert "It is a known data set (salient objects: the standard data" in str(caught.value)
    assert "Fix: u2net prepare DUTS-TE, or set download: true" in str(caught.value)
    build(tmp_path / "mirror", PUBLISHED["DUTS-TE"])
    monkeypatch.setenv("U2NET_MIRROR", f"file://{tmp_path}/mirror")
    config["val_dataset"]["download"] = True
    for _ in range(2):  # fetched, and there
        (data,) = open_datasets([build_dataset_spec(config, "val_dataset")])
        assert len(data) == 2
    monkeypatch.setenv("U2NET_MIRROR", "file:///nowhere")
    assert len(build_dataset_spec(config, "val_dataset")) == 2


@pytest.mark.parametrize(
    ("name", "download", "message"),
    [
        ("elsewhere", True, "download: true, but data/elsewhere is no known data set. Known: optic_disc_seg"),
        ("elsewhere", False, "dataset_root: data/elsewhere: no such folder"),
        ("DUTS-TE", "yes", "val_dataset: download: expected true or false, got 'yes'"),
        ("HKU-IS", True, "HKU-IS: no download address is known for HKU-IS.rar. Fix: get it from"),
    ],
)
def test_config_reports_why_its_data_cannot_be_downloaded(tmp_path, name, download, message):
    config = config_for(tmp_path, name, mode="val", val_path="val_list.txt", download=download)
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        build_dataset_spec(config, "val_dataset")


def test_config_of_duts_works_for_every_saliency_data_set(tmp_path):
    """Only dataset_root changes; the list of the data set is used, not one in the working folder."""
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


def test_other_folders_are_read_as_the_config_names_them(data):
    keys = {"dataset_root": str(data), "image_dir": "images", "mask_dir": "absent"}
    assert find_data(keys, False) == keys
    shutil.copytree(data, Path("data/ECSSD"))  # of a known name, but not prepared
    keys["dataset_root"] = "data/ECSSD"
    assert find_data(keys, True) == keys
