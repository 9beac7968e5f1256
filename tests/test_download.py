"""Fetching from a server on this machine that answers as badly as servers do."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paddleseg_u2net.download import DownloadError, download, redirect, verify

CONTENT = bytes(range(256)) * 2000
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if name == "absent.bin":
            self.send_error(404)
            return
        if name in ("moved.bin", "lured.bin"):
            target = "file:///etc/hostname" if name == "lured.bin" else "/whole.bin"
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        if name == "nonsense.bin":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        body = b"<html>sorry</html>" if name == "html.bin" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if name == "cut.bin" else body)

    def log_message(self, *_):
        """Keep the server's log out of the tests' output."""


@pytest.fixture(scope="module")
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("checksum", [SHA, MD5, None])
@pytest.mark.parametrize("name", ["whole.bin", "moved.bin"])
def test_whole_files_arrive(server, tmp_path, name, checksum):
    target = tmp_path / "new folder" / "a.bin"
    download(f"{server}/{name}", target, checksum=checksum, max_bytes=1 << 20)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("html.bin", "sha256 is .*, expected"),
        ("cut.bin", r"ended after 1000 of 512000 bytes|IncompleteRead"),
        ("nonsense.bin", "nonsense.bin: "),
        ("absent.bin", "absent.bin: .*Not Found"),
        ("lured.bin", "redirection|refers|only https|not allowed"),
    ],
)
def test_bad_answers_leave_nothing(server, tmp_path, name, message):
    with pytest.raises(DownloadError, match=message):
        download(f"{server}/{name}", tmp_path / "a.bin", checksum=SHA, max_bytes=1 << 20)
    assert not list(tmp_path.iterdir())


def test_larger_answers_than_expected_are_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="larger than the 1000 bytes expected"):
        download(f"{server}/whole.bin", tmp_path / "a.bin", checksum=None, max_bytes=1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", ["http://example.com/a.bin", "ftp://127.0.0.1/a.bin", "/etc/passwd"])
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="only https and file addresses are fetched"):
        download(url, tmp_path / "a.bin", checksum=None, max_bytes=10)


def test_an_unreachable_server_is_named(tmp_path):
    with pytest.raises(DownloadError, match="http://127.0.0.1:9/a.bin: "):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", checksum=None, max_bytes=10)


def test_the_mirror_serves_every_address(server, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.bin").write_bytes(CONTENT)
    for mirror in (f"file://{tmp_path}/mirror/", f"{server}/any"):
        monkeypatch.setenv("U2NET_MIRROR", mirror)
        download("https://nowhere.invalid/deep/a.bin", tmp_path / "b.bin", checksum=SHA, max_bytes=1 << 20)
        (tmp_path / "b.bin").unlink()
    assert redirect("https://nowhere.invalid/deep/a.bin") == f"{server}/any/a.bin"


def test_verify_names_file_found_and_expected(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(DownloadError, match="a: md5 is 9dd4e461268c8034f5c8564e155c67a6, expected 0"):
        verify(tmp_path / "a", "md5:0")
