"""Which addresses are supported, and where a server may send us on to; nothing is fetched here."""

from __future__ import annotations

import socket
from urllib.request import Request

import pytest

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.download import download
from paddleseg_u2net.io.urls import SafeRedirects

SHA = f"sha256:{'0' * 64}"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.bin", "/etc/passwd", "data:,x"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="only https and file addresses are supported"):
        download(url, tmp_path / "a.bin", checksum=None, max_bytes=10)


def test_plain_http_needs_a_checksum_or_consent(tmp_path):
    """When it is tried, the error is that the host does not exist."""
    address = "http://nowhere.invalid/a.bin"
    with pytest.raises(
        DownloadError, match=r"plain http can be .* Fix: u2net prepare NAME --accept-unverified"
    ):
        download(address, tmp_path / "a.bin", checksum=None, max_bytes=10)
    for checksum, accept in ((SHA, False), (None, True)):
        with pytest.raises(DownloadError, match=r"a.bin: (?!.*plain http)"):
            download(address, tmp_path / "a.bin", checksum=checksum, max_bytes=10, accept_unverified=accept)


@pytest.mark.parametrize(
    ("start", "target", "trusted", "allowed"),
    [
        ("https://a.org/x", "https://b.org/x", False, True),
        ("https://a.org/x", "http://b.org/x", False, False),
        ("https://a.org/x", "http://b.org/x", True, True),
        ("https://a.org/x", "http://127.0.0.1/x", True, False),
        ("https://a.org/x", "https://localhost/x", True, False),
        ("https://a.org/x", "file:///etc/passwd", True, False),
    ],
)
def test_redirects_follow_the_rules_for_addresses(start, target, trusted, allowed):
    handler = SafeRedirects(trusted)
    if allowed:
        assert handler.redirect_request(Request(start), None, 302, "", {}, target).full_url == target
    else:
        with pytest.raises(DownloadError, match="plain http|not allowed"):
            handler.redirect_request(Request(start), None, 302, "", {}, target)


@pytest.mark.parametrize(
    ("number", "allowed"),
    [
        ("93.184.216.34", True),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds tell a machine its passwords
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
    ],
)
def test_host_that_resolves_to_a_private_network_is_refused(monkeypatch, number, allowed):
    numbers = {"out.org": "93.184.216.34", "a.org": number, "inside.org": "10.0.0.9"}

    def resolve(name, port):
        return [(0, 0, 0, "", (numbers["out.org"], 0)), (0, 0, 0, "", (numbers[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    handler, target = SafeRedirects(True), "https://a.org/x"
    assert handler.redirect_request(Request("https://inside.org/x"), None, 302, "", {}, target)
    if allowed:
        assert handler.redirect_request(Request("https://out.org/x"), None, 302, "", {}, target)
    else:
        with pytest.raises(DownloadError, match="out.org/x: redirects to https://a.org/x, which is not all"):
            handler.redirect_request(Request("https://out.org/x"), None, 302, "", {}, target)


@pytest.mark.parametrize("scheme", ["https", "http", "ftp"])
def test_password_in_an_address_is_refused_and_hidden(tmp_path, monkeypatch, scheme):
    message = r"^host.org/\S*: a user name .* Fix: leave them out, or .*U2NET_MIRROR=file:///folder$"
    with pytest.raises(DownloadError, match=message):
        download(f"{scheme}://me:secret@host.org/a.bin", tmp_path / "a", checksum=SHA, max_bytes=10)
    monkeypatch.setenv("U2NET_MIRROR", f"{scheme}://me:secret@host.org/deep")
    with pytest.raises(DownloadError, match=message):
        download("https://a.org/a.bin", tmp_path / "a", checksum=SHA, max_bytes=10)
    with pytest.raises(DownloadError, match=message):
        SafeRedirects(True).redirect_request(
            Request("https://a.org"), None, 302, "", {}, "https://me:secret@host.org/"
        )


def test_invalid_address_is_named(tmp_path):
    with pytest.raises(DownloadError, match=r"\[::1/a.bin: Invalid IPv6 URL"):
        download("https://me:secret@[::1/a.bin", tmp_path / "a", checksum=SHA, max_bytes=10)
