"""Who may ask: tokens, hosts, other sites; and addresses, of which none beyond the loopback is contacted."""

import socket

import pytest
from served import photograph, png, serving

from paddleseg_u2net.io.connections import Network

IMAGE = png(photograph())
TOKEN, OTHER = "t" * 32, "u" * 40


@pytest.fixture(scope="module")
def guarded():
    with serving(
        tokens=(TOKEN, OTHER), cors=("https://a.example",), hosts=("localhost", "127.0.0.1")
    ) as found:
        yield found


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9\xff"],
)
def test_without_a_valid_token(guarded, value):
    for method, path in (
        ("POST", "/v1/predict"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("GET", "/v1/models"),
    ):
        answer = guarded.ask(method, path, headers={"Authorization": value} if value else {})
        assert answer.code == "401 token_needed"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", [TOKEN, OTHER])
def test_with_a_token(guarded, token):
    assert guarded.post("/v1/predict", IMAGE, Authorization=f"Bearer {token}").status == 200


def test_health_needs_no_token(guarded):
    assert guarded.ask("GET", "/health").status == 200
    assert guarded.ask("GET", "/ready").status == 200


def test_no_token_is_in_the_settings_of_the_log_or_the_description(guarded):
    text = guarded.ask("GET", "/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}).body
    assert TOKEN.encode() not in text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "["])
def test_other_names_of_the_host_are_refused(guarded, host):
    """So that a name of another site that resolves to this machine gives its pages no access."""
    assert guarded.ask("GET", "/health", headers={"Host": host}).code == "421 host_refused"


def test_other_sites_are_refused_unless_they_are_listed(guarded):
    def ask(method, origin):
        return guarded.ask(method, "/health", headers={"Origin": origin})

    for origin in ("https://b.example", "null", "https://a.example.b", "http://a.example"):
        assert ask("GET", origin).code == "403 origin_refused"
        assert ask("OPTIONS", origin).code == "403 origin_refused"
    allowed = ask("GET", "https://a.example")
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    before = ask("OPTIONS", "https://a.example")
    assert (before.status, before.body) == (204, b"")
    assert "authorization" in before.headers["access-control-allow-headers"].lower()
    own = ask("GET", f"http://127.0.0.1:{guarded.port}")
    assert own.status == 200
    assert "access-control-allow-origin" not in own.headers


def test_addresses_are_off_by_default(served):
    assert served.ask("GET", "/api/remove?url=https://example.org/a.png").code == "403 urls_off"
    assert served.ask("GET", "/api/remove").code == "400 bad_parameter"


def test_nothing_is_fetched_for_parameters_that_are_wrong(fetching):
    answer = fetching.ask("GET", "/api/remove?om=maybe&url=https://public.example/a.png")
    assert answer.code == "400 bad_parameter"
    assert fetching.recorder.contacted == []


NAMES = {
    "inside.example": "127.0.0.1",
    "private.example": "10.1.2.3",
    "cloud.example": "169.254.169.254",
    "mapped.example": "::ffff:127.0.0.1",
    "many.example": "224.0.0.1",
    "public.example": "93.184.216.34",
}


class Recorder:
    """Resolves names from a table, and connects to nothing."""

    def __init__(self):
        self.contacted: list[str] = []

    def resolve(self, host, port, *_):
        numbers = NAMES.get(host)
        if numbers is None:  # numbers in any form, as the system reads them, which asks no server for them
            return socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        family = socket.AF_INET6 if ":" in numbers else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (numbers, port))]

    def connect(self, address, timeout):
        self.contacted.append(address[0])
        raise OSError("recorded, not connected")


@pytest.fixture(scope="module")
def fetching():
    recorder = Recorder()
    network = Network(recorder.resolve, recorder.connect)
    with serving(network=network, allow_urls=True) as found:
        found.recorder = recorder
        yield found


@pytest.mark.parametrize(
    "url",
    [
        "http://public.example/a.png",
        "ftp://public.example/a.png",
        "file:///etc/passwd",
        "gopher://public.example/",
        "//public.example/a.png",
        "/etc/passwd",
        "https://127.0.0.1/a.png",
        "https://localhost/a.png",
        "https://2130706433/a.png",
        "https://0x7f000001/a.png",
        "https://0177.0.0.1/a.png",
        "https://127.1/a.png",
        "https://[::1]/a.png",
        "https://[::ffff:127.0.0.1]/a.png",
        "https://[::ffff:7f00:1]/a.png",
        "https://[64:ff9b::7f00:1]/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/a.png",
        "https://inside.example/a.png",
        "https://private.example/a.png",
        "https://cloud.example/a.png",
        "https://mapped.example/a.png",
        "https://many.example/a.png",
        "https://user:secret@public.example/a.png",
        "https://public.example@127.0.0.1/a.png",
        "https://p\u00fcblic.example/a.png",
        "https://[/a.png",
        "https:///a.png",
    ],
)
def test_addresses_that_are_never_contacted(fetching, url, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    from urllib.parse import quote

    answer = fetching.ask("GET", f"/api/remove?url={quote(url, safe='')}")
    assert answer.code == "422 url_failed", answer.body
    assert fetching.recorder.contacted == []
    assert "secret" not in answer.json["error"]["message"]


def test_a_public_address_is_connected_by_the_number_that_was_checked(fetching, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    answer = fetching.ask("GET", "/api/remove?url=https://public.example/a.png")
    assert answer.code == "422 url_failed"
    assert fetching.recorder.contacted == ["93.184.216.34"]
    fetching.recorder.contacted.clear()
