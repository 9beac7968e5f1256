"""Fetching from a server on this machine that answers as badly as servers do."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
from http_site import CONTENT, TARGETS, Handler, Site, serving
from support import small_files, tree

from paddleseg_u2net.errors import DiskError, DownloadError
from paddleseg_u2net.io.download import download, download_first, origin_of
from paddleseg_u2net.io.files import verify
from paddleseg_u2net.io.urls import redirect

SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


TARGETS["ftp.bin"] = "ftp://127.0.0.1/a.bin"


@pytest.fixture(scope="module")
def server():
    with serving(Handler) as address:
        yield address


@pytest.mark.parametrize("checksum", [SHA, MD5, None])
@pytest.mark.parametrize("name", ["whole.bin", "moved.bin"])
def test_complete_files_are_downloaded(server, tmp_path, name, checksum):
    target = tmp_path / "new folder" / "a.bin"
    download(f"{server}/{name}", target, checksum=checksum, max_bytes=1 << 20)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "html.bin",
            "html.bin: answered with a web page .* Fix: open it in a browser and save",
        ),
        ("other.bin", "other.bin: its checksum is sha256:.*, expected sha256:8acf"),
        ("cut.bin", r"ended after 1000 of 512000 bytes|IncompleteRead"),
        ("nonsense.bin", "nonsense.bin: "),
        ("absent.bin", "absent.bin: .*Not Found"),
        ("lured.bin", "lured.bin: .*file:///etc/hostname' is not allowed"),
        ("ftp.bin", "redirects to ftp://127.0.0.1/a.bin, which is not allowed"),
        ("loop.bin", "loop.bin: .*redirected in a circle, or too often"),
    ],
)
def test_bad_answers_leave_nothing_behind(server, tmp_path, name, message):
    with pytest.raises(DownloadError, match=message):
        download(f"{server}/{name}", tmp_path / "a.bin", checksum=SHA, max_bytes=1 << 20)
    assert not list(tmp_path.iterdir())


def test_answers_beyond_the_size_limit_are_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="larger than the 1000 bytes expected"):
        download(f"{server}/whole.bin", tmp_path / "a.bin", checksum=None, max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_unreachable_server_is_named(tmp_path):
    with pytest.raises(DownloadError, match="http://127.0.0.1:9/a.bin: "):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", checksum=None, max_bytes=10)


def test_mirror_replaces_every_address(server, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.bin").write_bytes(CONTENT)
    for mirror in (f"file://{tmp_path}/mirror/", f"{server}/any"):
        monkeypatch.setenv("U2NET_MIRROR", mirror)
        download("https://nowhere.invalid/deep/a.bin", tmp_path / "b.bin", checksum=SHA, max_bytes=1 << 20)
        (tmp_path / "b.bin").unlink()
    assert redirect("https://nowhere.invalid/deep/a.bin") == f"{server}/any/a.bin"


def test_verify_names_file_found_and_expected(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(DownloadError, match="a: its checksum is md5:9dd4e461268.*, expected md5:0 or md5:1$"):
        verify(tmp_path / "a", "md5:0", "md5:1")
    verify(tmp_path / "a", "sha256:0", "md5:9dd4e461268c8034f5c8564e155c67a6")


def test_addresses_are_tried_in_turn_and_all_failures_reported(server, tmp_path, monkeypatch):
    urls = [f"{server}/{name}" for name in ("absent.bin", "html.bin", "other.bin", "whole.bin", "moved.bin")]
    options = {"checksum": SHA, "max_bytes": 1 << 20}
    assert download_first(urls, tmp_path / "a.bin", **options) == f"{server}/whole.bin"
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    with pytest.raises(DownloadError) as caught:
        download_first(urls[:3], tmp_path / "b.bin", **options)
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == urls[:3]
    monkeypatch.setenv("U2NET_MIRROR", f"{server}/absent")
    with pytest.raises(DownloadError) as caught:
        download_first(
            ["https://a.org/absent.bin", "https://b.org/absent.bin"], tmp_path / "c.bin", **options
        )
    assert (tmp_path / "a.bin").exists()
    assert len(str(caught.value).splitlines()) == 1  # both addresses are one file of the mirror


# -- going on ---------------------------------------------------------------------------------------------


def fetch(site, tmp_path, checksum=SHA, **options):
    with serving(site.handler()) as address:
        # each server has a port of its own; the address is what a partial file is kept for
        note = tmp_path / "a.bin.partial.json"
        if note.exists():
            note.write_text(json.dumps(json.loads(note.read_text()) | {"url": f"{address}/a.bin"}))
        download(f"{address}/a.bin", tmp_path / "a.bin", checksum=checksum, max_bytes=1 << 20, resume=True)


def broken(site, tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(site, tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "mark"), [("ETag", '"one"'), ("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")]
)
def test_lost_connection_is_resumed(tmp_path, name, mark):
    site = Site(mark=mark, cuts=[1000, 70000, 300000])
    site.mark_name = name
    fetch(site, tmp_path)
    assert site.asked == [0, 1000, 70000, 300000]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert tree(tmp_path) == ["a.bin", "a.bin.partial.json"]


def test_partial_download_is_kept_and_resumed_by_the_next_run(tmp_path):
    message = broken(Site(cuts=[1000, 1000]), tmp_path)
    assert re.search(
        r"ended after 1000 of 512000 bytes\. 1000 bytes are kept in \S+/a.bin.partial; the same", message
    )
    assert (tmp_path / "a.bin.partial").read_bytes() == CONTENT[:1000]
    again = Site()
    fetch(again, tmp_path)
    assert again.asked == [1000]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert tree(tmp_path) == ["a.bin", "a.bin.partial.json"]


CHANGED = CONTENT[::-1]
CHANGED_SHA = f"sha256:{hashlib.sha256(CHANGED).hexdigest()}"


@pytest.mark.parametrize(
    ("site", "asked"),
    [
        (Site(CHANGED, mark='"two"'), [1000]),  # a good server sends all of a changed file
        (Site(CHANGED, mark='"two"', ranges="careless"), [1000, 0]),  # another one sends the wrong end
        (Site(CHANGED[:-5], mark='"two"', ranges="careless"), [1000, 0]),
        (Site(CHANGED, mark='"one"', ranges=False), [1000]),  # and some know no ranges
        (Site(CHANGED[:900], mark='"two"', ranges="careless"), [1000, 0]),  # nor so many bytes
    ],
)
def test_changed_file_is_downloaded_from_the_beginning(tmp_path, site, asked):
    site.asked = []
    broken(Site(cuts=[1000, 1000]), tmp_path)
    fetch(site, tmp_path, f"sha256:{hashlib.sha256(site.content).hexdigest()}")
    assert site.asked == asked
    assert (tmp_path / "a.bin").read_bytes() == site.content


def test_part_with_another_offset_is_not_appended(tmp_path):
    broken(Site(cuts=[1000, 1000]), tmp_path)
    site = Site()
    site.shift = 7
    fetch(site, tmp_path)
    assert site.asked == [1000, 0]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("mark", [None, 'W/"weak"'])
def test_file_without_version_is_downloaded_from_the_beginning(tmp_path, mark):
    broken(Site(mark=mark, cuts=[1000, 1000]), tmp_path)
    again = Site(mark=mark)
    fetch(again, tmp_path)
    assert again.asked == [0]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "[]", '{"url": 1}', "{}"])
def test_truncated_note_is_ignored(tmp_path, note):
    broken(Site(cuts=[1000, 1000]), tmp_path)
    (tmp_path / "a.bin.partial.json").write_text(note)
    with serving(Site().handler()) as address:
        download(f"{address}/a.bin", tmp_path / "a.bin", checksum=SHA, max_bytes=1 << 20, resume=True)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_complete_partial_file_is_not_downloaded_again(tmp_path):
    """The process was killed between the last byte and the renaming."""
    broken(Site(cuts=[1000, 1000]), tmp_path)
    (tmp_path / "a.bin.partial").write_bytes(CONTENT)
    site = Site()
    fetch(site, tmp_path)
    assert site.asked == []
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_origin_of_a_file_is_read_from_its_note(tmp_path):
    with serving(Site().handler()) as address:
        download(f"{address}/a.bin", tmp_path / "a.bin", checksum=SHA, max_bytes=1 << 20, resume=True)
    assert origin_of(tmp_path / "a.bin") == f"{address}/a.bin"
    for note in ("", "[]", "{}"):
        (tmp_path / "a.bin.partial.json").write_text(note)
        assert origin_of(tmp_path / "a.bin") == "unknown"
    assert origin_of(tmp_path / "b.bin") == "unknown"


class Partial(Site):
    """A server that always answers with the end of the file, or that there is none."""

    def answer(self, to):
        to.send_response(self.cuts.pop(0) if len(self.cuts) > 1 else self.cuts[0])
        to.send_header("ETag", self.mark)
        to.send_header("Content-Range", f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}")
        to.end_headers()
        to.wfile.write(CONTENT[1000:])


@pytest.mark.parametrize("codes", [[206], [416, 206], [416]])
@pytest.mark.parametrize("begun", [False, True])
def test_partial_answer_to_a_full_request_is_refused(tmp_path, codes, begun):
    if begun:
        broken(Site(cuts=[1000, 1000]), tmp_path)
        (tmp_path / "a.bin.partial").write_bytes(CONTENT[:999])
    message = broken(Partial(cuts=codes), tmp_path)
    assert re.search(r"answered with a part \(206\)|Requested Range Not Satisfiable", message)
    assert tree(tmp_path) == []


def test_file_with_wrong_checksum_is_not_kept(tmp_path):
    assert "expected" in broken(Site(CHANGED), tmp_path)
    assert not list(tmp_path.iterdir())


def test_too_little_disk_space_is_reported_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with (
        serving(Site().handler()) as address,
        pytest.raises(OSError, match="512000 bytes are missing, 1 are free"),
    ):
        download(f"{address}/a.bin", tmp_path / "a.bin", checksum=SHA, max_bytes=1 << 20, resume=True)
    assert not list(tmp_path.iterdir())


def test_full_disk_is_reported_and_the_partial_download_kept(tmp_path):
    """No other address is tried then."""
    site, target = Site(), tmp_path / "a.bin"
    message = r"a.bin: cannot be written \(File too large\)\. .*Fix: free some space"
    with serving(site.handler()) as address, small_files(100000), pytest.raises(DiskError, match=message):
        download_first(
            [f"{address}/a.bin", f"{address}/b.bin"], target, checksum=None, max_bytes=1 << 20, resume=True
        )
    assert site.asked == [0]
    assert (tmp_path / "a.bin.partial").read_bytes() == CONTENT[:100000]
