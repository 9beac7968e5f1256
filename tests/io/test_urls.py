"""Which addresses are supported, and of which class an IP address is; nothing is contacted here."""

from __future__ import annotations

import os
from urllib.request import Request

import pytest

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io.connections import Network
from paddleseg_u2net.io.download import download
from paddleseg_u2net.io.urls import LOOPBACK, PRIVATE, PUBLIC, SafeRedirects, class_of

SHA = f"sha256:{'0' * 64}"


def nothing(*_):
    raise OSError("contacted")


NOTHING = Network(nothing, nothing)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.bin", "/etc/passwd", "data:,x", "HTTPX://a", "C:\\a.bin"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="only https and file addresses are supported"):
        download(url, tmp_path / "a.bin", checksum=None, max_bytes=10, network=NOTHING)


def test_plain_http_needs_a_checksum_or_consent(tmp_path):
    address, options = "http://nowhere.invalid/a.bin", {"max_bytes": 10, "network": NOTHING}
    with pytest.raises(
        DownloadError, match=r"plain http can be .* Fix: u2net prepare NAME --accept-unverified"
    ):
        download(address, tmp_path / "a.bin", checksum=None, **options)
    for checksum, accept in ((SHA, False), (None, True)):
        with pytest.raises(DownloadError, match=r"a.bin: contacted"):
            download(address, tmp_path / "a.bin", checksum=checksum, accept_unverified=accept, **options)


@pytest.mark.parametrize(
    ("start", "target", "trusted", "allowed"),
    [
        ("https://a.org/x", "https://b.org/x", False, True),
        ("http://a.org/x", "http://b.org/x", False, False),
        ("http://a.org/x", "http://b.org/x", True, True),
        ("https://a.org/x", "http://a.org/x", True, False),  # a checksum does not hide what is fetched
        ("https://a.org/x", "http://localhost/x", True, False),
        ("https://a.org/x", "file:///etc/passwd", True, False),
        ("http://a.org/x", "ftp://a.org/x", True, False),
    ],
)
def test_redirects_follow_the_rules_for_addresses(start, target, trusted, allowed):
    handler = SafeRedirects(trusted)
    if allowed:
        assert handler.redirect_request(Request(start), None, 302, "", {}, target).full_url == target
    else:
        with pytest.raises(DownloadError, match=r"plain http|not allowed. Fix: download it yourself and set"):
            handler.redirect_request(Request(start), None, 302, "", {}, target)


CLASSES = {
    PUBLIC: "93.184.216.34 2606:2800:220:1::1 ::ffff:93.184.216.34 64:ff9b::5db8:d822",
    PRIVATE: "10.0.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12:3456::1 ::ffff:10.0.0.1",
    LOOPBACK: "127.0.0.1 127.255.0.9 ::1 ::ffff:127.0.0.1",
    None: "169.254.169.254 fe80::1%eth0 fec0::1 0.0.0.0 0.1.2.3 :: 224.0.0.1 239.1.1.1 ff02::1 ff0e::1 "
    "100.64.0.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 192.0.0.192 192.88.99.1 ::ffff:0.0.0.0 "
    "::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1:: "
    "2002:808:808:: 2001:0:1::1 2001:db8::1 3fff::1 ::10.0.0.1 ::8.8.8.8 100::1 5f00::1 168.63.129.16 "
    "fd00:ec2::254 fd20:ce::254",
}


@pytest.mark.parametrize("expected", CLASSES)
def test_numbers_are_public_private_this_machine_or_refused(expected):
    numbers = CLASSES[expected].split()
    assert {number: class_of(number) for number in numbers} == dict.fromkeys(numbers, expected)


@pytest.mark.parametrize("scheme", ["https", "http", "ftp"])
def test_password_in_an_address_is_refused_and_hidden(tmp_path, monkeypatch, scheme):
    message = r"^host.org/\S*: a user name .* Fix: leave them out, or .*U2NET_MIRROR=file:///folder$"
    options = {"checksum": SHA, "max_bytes": 10, "network": NOTHING}
    with pytest.raises(DownloadError, match=message):
        download(f"{scheme}://me:secret@host.org/a.bin", tmp_path / "a", **options)
    monkeypatch.setenv("U2NET_MIRROR", f"{scheme}://me:secret@host.org/deep")
    with pytest.raises(DownloadError, match=message):
        download("https://a.org/a.bin", tmp_path / "a", **options)
    with pytest.raises(DownloadError, match=message.replace("^", "^https://a.org: redirects to ")):
        SafeRedirects(True).redirect_request(
            Request("https://a.org"), None, 302, "", {}, "https://me:secret@host.org/"
        )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://me:secret@[::1/a.bin", r"^\[::1/a.bin: Invalid IPv6 URL"),
        ("https://①②⑦.0.0.1/a.bin", "a.bin: a host with other letters than ASCII. Fix: its form xn--"),
        ("https://bücher.org/a.bin", "a.bin: a host with other letters than ASCII. Fix: its form xn--"),
        ("file://server/share/a.bin", "names the host server. Fix: file:///folder, of this machine"),
        ("https://a.org:port/a.bin", "a.bin: no valid answer: InvalidURL.*nonnumeric port: 'port'"),
    ],
)
def test_invalid_address_is_named(tmp_path, url, message):
    with pytest.raises(DownloadError, match=message):
        download(url, tmp_path / "a", checksum=SHA, max_bytes=10, network=NOTHING)


@pytest.mark.parametrize("name", ["pipe", "folder"])
def test_file_address_of_no_file_is_reported(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DownloadError, match=f"{name} is not a file"):
        download((tmp_path / name).as_uri(), tmp_path / "a", checksum=SHA, max_bytes=10)
