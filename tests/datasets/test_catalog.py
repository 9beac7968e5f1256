"""The table of known data sets: complete rows, dated addresses, and one script per data set that runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from published_sets import PUBLISHED, build
from support import ROOT, environment
from support import prepare_command as main

from paddleseg_u2net.datasets.catalog import DATA_SETS
from paddleseg_u2net.datasets.prepare import prepare


def test_rows_are_complete_and_verified_addresses_have_a_date():
    for name, row in DATA_SETS.items():
        assert all((row.task, row.about, row.paper, row.licence, row.page, row.size)), name
        assert row.page.startswith(("https://", "http://"))
        assert {key for part in row.parts for key in part.lists} <= {"train", "val", "test"}
        for archive in row.archives:
            assert archive.checksum is None or re.fullmatch(
                "sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.checksum
            )
            for address in archive.addresses:
                assert re.match("https?://", address.url)
                assert address.url.endswith(f"/{archive.file}")
                assert address.verified == "never" or re.fullmatch(r"20\d\d-\d\d-\d\d", address.verified)


def test_list_flag_names_every_data_set(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(DATA_SETS)
    assert re.search(
        "ECSSD +salient objects +1000 +69 MB +none stated; for research +never", "\n".join(lines)
    )


def test_every_data_set_has_a_script_and_every_script_a_data_set():
    folder = ROOT / "Benckmark_data_prepare" / "RGB"
    named = {}
    for path in folder.rglob("*.sh"):
        words = path.read_text().splitlines()[-1].split()
        named |= {name: f"RGB/{path.relative_to(folder)}" for name in words if name in DATA_SETS}
    assert named == {name: row.script for name, row in DATA_SETS.items()}


def test_script_runs_from_any_folder_and_writes_into_the_project(tmp_path):
    project, mirror = tmp_path / "a project", tmp_path / "mirror"
    for name in ("Benckmark_data_prepare", "paddleseg_u2net", "configs"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    build(mirror, {**PUBLISHED["DUTS-TR"], **PUBLISHED["DUTS-TE"]})
    prepare("DUTS-TR", project / "data", [mirror / "DUTS-TR.zip"])
    env = environment(U2NET_MIRROR=f"file://{mirror}", PYTHON=sys.executable, PYTHONPATH="")
    script = project / "Benckmark_data_prepare" / "RGB" / "SOD" / "duts.sh"
    done = subprocess.run(["bash", script], capture_output=True, text=True, cwd="/", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{project}/data/DUTS-TR exists already\nDUTS-TE: salient objects")
    assert "val_list.txt and test_list.txt: 2 pairs (published: 5019)" in done.stdout
    assert sorted(path.name for path in (project / "data").iterdir()) == ["DUTS-TE", "DUTS-TR"]
