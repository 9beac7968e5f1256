"""Which machines a download contacts, and how long it waits.

Names are resolved by a table, and every connection is recorded and goes to a server of the test's own.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hostile_answers import CONTENT, KINDS
from hostile_server import hostile_server
from http_site import Site, serving

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io import connections
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.io.download import download

NAMES = {"public.org": "93.184.216.34", "box.lan": "10.0.0.5", "cloud.org": "169.254.169.254"}


class Recorder:
    """A network whose every host is the server on `port`; `asked` and `contacted` list what was wanted."""

    def __init__(self, port: int, names=NAMES):
        self.port, self.names, self.asked, self.contacted = port, dict(names), [], []

    def resolve(self, host, port, *_):
        self.asked.append(host)
        number = self.names.get(host, host)
        if isinstance(number, list):
            number = number.pop(0)
        found = (
            number.split()
            if host in self.names
            else [entry[4][0] for entry in socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)]
        )
        return [(0, 0, 0, "", (number, port)) for number in found]

    def connect(self, address, timeout):
        self.contacted.append(address[0])
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def download(self, url, tmp_path, **options):
        network = Network(self.resolve, self.connect)
        options = {"checksum": None, "max_bytes": 1 << 20, "accept_unverified": True, **options}
        download(url, tmp_path / "a.bin", network=network, **options)
        assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.fixture
def server():
    with hostile_server() as server:
        server.port = server.server_address[1]
        yield server


WRITTEN = ["127.0.0.1", "localhost", "[::1]", "10.0.0.5", "[fc00::1]"]
REFUSED = "127.1 2130706433 0x7f.1 0177.0.0.1 127.0.0.1.nip.io %31%32%37.0.0.1 localhost. "
REFUSED += (
    "box.lan cloud.org 169.254.169.254 0 0.0.0.0 [::] 224.0.0.1 100.64.0.1 [64:ff9b::7f00:1] [2002:7f00:1::] "
)
REFUSED += "[fe80::1] mixed.org [::ffff:169.254.169.254] LOCALHOST.org"
EXTRA = {"127.0.0.1.nip.io": "127.0.0.1", "localhost.": "127.0.0.1", "mixed.org": "93.184.216.34 127.0.0.1"}
EXTRA |= {"LOCALHOST.org": "::1", "localhost": "127.0.0.1"}


@pytest.mark.parametrize("host", ["public.org", *WRITTEN])
def test_public_hosts_and_those_written_as_numbers_are_contacted(server, tmp_path, host):
    server.begin("whole_file", 0, {})
    network = Recorder(server.port, NAMES | EXTRA)
    network.download(f"http://{host}/a.bin", tmp_path)
    assert len(network.contacted) == len(network.asked) == 1


@pytest.mark.parametrize("host", REFUSED.split())
def test_published_address_inside_or_in_disguise_is_refused(tmp_path, host):
    network = Recorder(0, NAMES | EXTRA)
    with pytest.raises(
        DownloadError, match=r"a.bin: leads to .*, expected a host .* Fix: download it yourself"
    ):
        network.download(f"http://{host}/a.bin", tmp_path)
    assert network.contacted == []


MIRRORS = {"box.lan": "10.0.0.5", "public.org": "93.184.216.34", "localhost": "127.0.0.1"}
MIRRORS |= {"127.1": "127.0.0.1", "2130706433": "127.0.0.1"}


@pytest.mark.parametrize("host", MIRRORS)
def test_mirror_may_be_anywhere(server, tmp_path, monkeypatch, host):
    def connect(self, address, connect=socket.socket.connect):
        opened.append(address[0])
        return connect(self, address)

    opened = []  # by this process, whatever the recorder was asked for
    server.begin("whole_file", 0, {})
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("U2NET_MIRROR", f"http://{host}/")
    network = Recorder(server.port, NAMES | EXTRA)
    network.download("https://published.org/a.bin", tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert network.asked == [host]  # and not published.org
    assert network.contacted == [MIRRORS[host]]
    assert opened == ["127.0.0.1"]


@pytest.mark.parametrize(
    "host", ["cloud.org", "169.254.169.254", "0.0.0.0", "[fe80::1]", "100.64.0.1", "mixed.org"]
)
def test_mirror_at_an_address_without_class_is_refused(tmp_path, monkeypatch, host):
    monkeypatch.setenv("U2NET_MIRROR", f"http://{host}/")
    network = Recorder(0, NAMES | EXTRA)
    with pytest.raises(DownloadError, match=r"never contacted|this machine"):
        network.download("https://published.org/a.bin", tmp_path)
    assert network.contacted == []


SAME = {"127.0.0.1": "127.0.0.2", "10.0.0.5": "192.168.0.9", "public.org": "other.org"}


@pytest.mark.parametrize("start", SAME)
@pytest.mark.parametrize("target", [*SAME.values(), "169.254.169.254", "cloud.org", "mixed.org"])
def test_redirects_stay_in_their_class(server, tmp_path, monkeypatch, start, target):
    monkeypatch.setattr(connections, "TIMEOUT_S", 0.2)
    server.begin("redirect_elsewhere", 1, {"other": target})
    network = Recorder(server.port, NAMES | EXTRA | {"other.org": "8.8.8.8"})
    same = SAME[start] == target
    message = "circle|nothing came" if same else r"leads to \S+ at .+ \(.*\), expected a host"
    with pytest.raises(DownloadError, match=message):
        network.download(f"http://{start}/a.bin", tmp_path)
    assert (len(network.contacted) > 1) == same


def test_the_number_that_was_checked_is_the_one_that_is_contacted(server, tmp_path):
    """DNS rebinding: each answer is another number."""
    server.begin("one_redirect", 0, {"host": "flip.org"})
    network = Recorder(server.port, {"flip.org": ["93.184.216.34", "8.8.8.8", "127.0.0.1"]})
    network.download("http://flip.org/a.bin", tmp_path)
    assert (network.asked, network.contacted) == (["flip.org"] * 2, ["93.184.216.34", "8.8.8.8"])
    with pytest.raises(DownloadError, match="leads to flip.org at 127.0.0.1"):
        network.download("http://flip.org/a.bin", tmp_path)
    assert len(network.contacted) == 2


def test_the_next_number_is_tried_where_the_first_does_not_answer(server, tmp_path):
    server.begin("whole_file", 0, {})
    network = Recorder(server.port, {"public.org": "2606:2800:220:1::1 93.184.216.34"})
    connect = network.connect

    def first_fails(address, timeout):
        made = connect(address, timeout)
        if len(network.contacted) == 1:
            made.close()
            raise ConnectionRefusedError("no route")
        return made

    network.connect = first_fails
    network.download("http://public.org/a.bin", tmp_path)
    assert network.contacted == ["2606:2800:220:1::1", "93.184.216.34"]


# -- time -------------------------------------------------------------------------------------------------


SLOW = "silence dripping_body dripping_status_line dripping_headers endless_continue long_chunk_extensions"
SLOW += " dripping_chunks endless_trailers slow_redirects redirect_with_endless_body endless_header_line"


@pytest.mark.parametrize("kind", SLOW.split())
def test_slow_and_endless_answers_are_given_up(server, tmp_path, monkeypatch, kind):
    assert kind in KINDS
    monkeypatch.setattr(connections, "WINDOW_S", 0.15)
    monkeypatch.setattr(connections, "TIMEOUT_S", 0.1)
    server.begin(kind, 0, {})
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"too slow: \d+ bytes in|nothing came|circle|more than 65536"):
        Recorder(server.port).download("http://public.org/a.bin", tmp_path, resume=True)
    assert time.monotonic() - started < 2


def test_slow_but_steady_answers_are_read(server, tmp_path, monkeypatch):
    """The whole takes longer than the time of one piece."""
    monkeypatch.setattr(connections, "WINDOW_S", 0.2)
    monkeypatch.setattr(connections, "WINDOW_BYTES", 5000)
    monkeypatch.setitem(KINDS, "steady", ("", lambda *_: _steady()))
    server.begin("steady", 0, {})
    Recorder(server.port).download("http://public.org/a.bin", tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


def _steady():
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    for at in range(0, len(CONTENT), len(CONTENT) // 10):
        yield CONTENT[at : at + len(CONTENT) // 10]
        yield 0.04


# -- proxies ----------------------------------------------------------------------------------------------


class Proxy(BaseHTTPRequestHandler):
    """Answers every request by the file, and every tunnel by `status`."""

    seen, status = [], 407

    def do_GET(self):
        self.seen.append(self.requestline)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def do_CONNECT(self):
        self.seen.append(self.requestline)
        self.send_error(self.status)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def proxy(monkeypatch):
    monkeypatch.delenv("no_proxy")
    Proxy.seen.clear()
    with serving(Proxy) as address:
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", address)
        network = Recorder(int(address.rpartition(":")[2]))
        network.names["127.0.0.1"] = "127.0.0.1"
        yield network


def test_proxy_of_the_environment_is_used(proxy, tmp_path):
    proxy.download("http://public.org/a.bin", tmp_path)
    assert (Proxy.seen, proxy.contacted) == (["GET http://public.org/a.bin HTTP/1.1"], ["127.0.0.1"])


def test_name_that_only_the_proxy_knows_is_left_to_it(proxy, tmp_path):
    proxy.download("http://outside.org/a.bin", tmp_path)
    assert Proxy.seen == ["GET http://outside.org/a.bin HTTP/1.1"]


@pytest.mark.parametrize(
    "url", ["http://box.lan/a.bin", "https://cloud.org/a.bin", "https://169.254.169.254/a.bin"]
)
def test_proxy_is_not_asked_for_inner_hosts(proxy, tmp_path, url):
    with pytest.raises(DownloadError, match="leads to .* expected a host"):
        proxy.download(url, tmp_path)
    assert Proxy.seen == proxy.contacted == []


def test_this_machine_is_contacted_without_proxy(proxy, server, tmp_path):
    server.begin("whole_file", 0, {})
    proxy.port = server.port
    proxy.download(f"http://127.0.0.1:{server.port}/a.bin", tmp_path)
    assert Proxy.seen == []


def test_refusal_of_a_proxy_is_one_line(proxy, tmp_path):
    with pytest.raises(DownloadError, match=r"a.bin: Tunnel connection failed: 407 Proxy Auth\S+ Required"):
        proxy.download("https://public.org/a.bin", tmp_path)


def test_other_kinds_of_proxies_are_named(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://me:secret@127.0.0.1:1080")
    with pytest.raises(
        DownloadError, match="^https_proxy: .* kind socks5, expected http. Fix: https_proxy=http"
    ) as e:
        proxy.download("https://public.org/a.bin", tmp_path)
    assert "secret" not in str(e.value)


# -- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def secure_server(tmp_path):
    """Its port and its certificate, for public.org, which only itself has signed."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=public.org", "-addext", "subjectAltName=DNS:public.org"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    run = ["openssl", "req", "-x509", "-nodes", *curve, "-keyout", key, "-out", certificate, *names]
    try:
        subprocess.run(run, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    httpd = HTTPServer(("127.0.0.1", 0), Site(CONTENT).handler())
    httpd.handle_error = lambda *_: None
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=lambda: httpd.serve_forever(0.01), daemon=True).start()
    yield httpd.server_port, certificate
    httpd.shutdown()
    httpd.server_close()


def test_unknown_certificate_is_one_line_whose_fix_works(secure_server, tmp_path, monkeypatch):
    port, certificate = secure_server
    network = Recorder(port, {**NAMES, "other.org": "8.8.8.8"})
    message = r"a.bin: no secure connection \(TLS\): self.signed certificate\. Fix: .*set SSL_CERT_FILE to"
    with pytest.raises(DownloadError, match=message) as caught:
        network.download("https://public.org/a.bin", tmp_path)
    assert str(caught.value).isprintable()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(DownloadError, match=r"TLS\): Hostname mismatch.*other.org"):
        network.download("https://other.org/a.bin", tmp_path)
    network.download("https://public.org/a.bin", tmp_path)


@pytest.mark.parametrize("kind", ["whole_file", "silence"])
def test_server_without_tls_is_one_line(server, tmp_path, monkeypatch, kind):
    """The server waits for the end of the request's headers, which it does not find in the handshake."""
    monkeypatch.setattr(connections, "TIMEOUT_S", 0.1)
    server.begin(kind, 0, {})
    with pytest.raises(DownloadError, match=r"no secure connection \(TLS\): \w+|nothing came for"):
        Recorder(server.port).download("https://public.org/a.bin", tmp_path)
