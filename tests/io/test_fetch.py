"""Images by their address. Names are resolved by a table; connections go to a server of the test's own."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.io.fetch import fetch, fetch_from

CONTENT = bytes(range(256)) * 40
NAMES = {
    "public.org": "93.184.216.34",
    "local.org": "127.0.0.1",
    "box.lan": "10.0.0.5",
    "cloud.org": "169.254.169.254",
}
TARGETS = {
    "/inside": "https://local.org/a.png",
    "/cloud": "https://cloud.org/",
    "/plain": "http://public.org/a.png",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if target := TARGETS.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        if self.path == "/page":
            self.wfile.write(b"<html>sorry</html>")
        while self.path == "/endless":
            self.wfile.write(CONTENT)
        while self.path == "/slow":
            self.wfile.write(CONTENT[:200])
            time.sleep(0.05)
        self.wfile.write(CONTENT)

    def log_message(self, *_):
        """Keep the server's log out of the tests' output."""


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that gives up is what some tests are about."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A TLS server: its port, and its certificate for public.org and local.org."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = [
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-subj",
        "/CN=public.org",
    ]
    words += ["-addext", "subjectAltName=DNS:public.org,DNS:local.org", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    httpd = Quiet(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=lambda: httpd.serve_forever(0.01), daemon=True).start()
    yield httpd.server_port, certificate
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def watched(server, monkeypatch):
    """The numbers that were contacted, and a network in which every host is the server."""
    port, certificate = server
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    found: list[str] = []

    def connect(address, timeout):
        found.append(address[0])
        return socket.create_connection(("127.0.0.1", port), timeout)

    def resolve(host, port, *_):
        return [(0, 0, 0, "", (NAMES.get(host, host), port))]

    return found, Network(resolve, connect)


@pytest.fixture
def contacted(watched):
    """The numbers that were contacted, and `fetch` in that network."""
    found, network = watched
    return found, lambda url, **options: fetch(url, network=network, **options)


def test_public_address_is_fetched(contacted):
    found, get = contacted
    assert get("https://public.org/a.png") == CONTENT
    assert found == ["93.184.216.34"]


@pytest.mark.parametrize("host", ["local.org", "box.lan", "cloud.org", "127.0.0.1", "[::1]", "10.0.0.5"])
def test_hosts_that_are_not_public_are_not_contacted(contacted, host):
    found, get = contacted
    with pytest.raises(
        DownloadError, match="expected a host on the public internet. Fix: save the image yourself"
    ):
        get(f"https://{host}/a.png")
    assert not found


@pytest.mark.parametrize(
    "url", ["http://public.org/a.png", "ftp://public.org/a", "file:///etc/hostname", "HTTP://127.0.0.1/"]
)
def test_other_schemes_are_refused(contacted, url):
    found, get = contacted
    with pytest.raises(DownloadError, match="expected an https address. Fix: save the image yourself"):
        get(url)
    assert not found


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://", "https:///a", "https://public.org:x/a", "https://public.org/ä.png"]
)
def test_texts_that_are_no_address_are_named(contacted, url):
    found, get = contacted
    with pytest.raises(DownloadError, match=re.escape(url)):
        get(url)
    assert not found


def test_mirrors_of_weights_do_not_serve_images(contacted, monkeypatch):
    monkeypatch.setenv("U2NET_MIRROR", "file:///etc")
    assert contacted[1]("https://public.org/hostname") == CONTENT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/page", "a web page instead of the file"),
        ("/endless", "larger than the 50000 bytes expected"),
        ("/slow", "not complete in the time that is allowed"),
        ("/inside", "expected a host on the public internet"),
        ("/cloud", "expected a host on the public internet"),
        ("/plain", "redirects to http://public.org/a.png, which is not allowed"),
    ],
)
def test_answers_that_are_no_image_end(contacted, path, message):
    found, get = contacted
    started = time.monotonic()
    with pytest.raises(DownloadError, match=message) as stop:
        get(f"https://public.org{path}", max_bytes=50000, seconds=0.5)
    assert "U2NET_MIRROR" not in str(stop.value)
    assert set(found) == {"93.184.216.34"}
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("host", ["public.org", "local.org"])
def test_server_that_the_user_names_may_be_private(watched, host):
    found, network = watched
    assert fetch_from(f"https://{host}/", "/data/ä b.png?d=%20", network=network) == CONTENT
    assert found == [NAMES[host]]


@pytest.mark.parametrize(
    ("address", "path", "message"),
    [
        ("https://cloud.org", "/a.png", "never contacted"),
        ("https://public.org", "/inside", "302"),
        ("https://public.org", "a.png", "expected a path from /"),
        ("https://user@public.org", "/a.png", "a user name or password"),
        ("ftp://public.org", "/a.png", "expected an http or https address"),
        ("file://", "/etc/hostname", "expected an http or https address"),
        ("https://public.org", "/endless", "larger than the 50000 bytes expected"),
        ("https://public.org", "/slow", "not complete in the time that is allowed"),
    ],
)
def test_server_that_the_user_names_is_bounded_too(watched, address, path, message):
    found, network = watched
    with pytest.raises(DownloadError, match=message):
        fetch_from(address, path, max_bytes=50000, seconds=0.5, network=network)
    assert set(found) <= {"93.184.216.34"}
