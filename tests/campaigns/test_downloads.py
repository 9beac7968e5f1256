"""Downloads from servers that lie, drip, flood and send elsewhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from campaign import Campaign
from hostile_answers import COMPLETE, CONTENT, KINDS, REFUSED
from hostile_server import hostile_server
from support import environment

CASES = 1040
LONGEST_S = 4.0  # the limits are set to 0.5 s for headers and for each piece, with five attempts to resume
MAX_BYTES = 1 << 20
SHA = hashlib.sha256(CONTENT).hexdigest()
PUBLIC, PRIVATE, LOOPBACK = "93.184.216.34", "10.0.0.5", "127.0.0.1"
# hosts that a server of each class may not send on to
INSIDE = ["169.254.169.254", "[fe80::1]", "0.0.0.0", "[::]", "224.0.0.1", "[ff02::1]", "100.64.0.1", "0"]
INSIDE += [
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "2852039166",
    "0xa9fea9fe",
]
INSIDE += ["0251.0376.0251.0376", "169.254.43518", "①⑥⑨.254.169.254", "169。254。169。254", "rebound.test"]
INSIDE += [
    "[fd00:ec2::254]",
    "168.63.129.16",
    "240.0.0.1",
    "255.255.255.255",
    "[::169.254.169.254]",
    "mixed.test",
]
INSIDE += [
    "%31%36%39.254.169.254",
    "169.254.169.254.",
    "[2001:db8::1]",
    "[64:ff9b:1::1]",
    "192.0.0.192",
    "flip.test",
]
OTHERS = {
    PUBLIC: [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "[::1]",
        "[::ffff:7f00:1]",
    ]
    + ["10.0.0.5", "box.test", "192.168.0.1", "172.16.0.1", "[fc00::1]", "LOCALHOST", "localhost."],
    PRIVATE: ["127.0.0.1", "public.test", "[::1]", "8.8.8.8", "127.1"],
    LOOPBACK: ["10.0.0.5", "public.test", "8.8.8.8", "[fc00::1]", "box.test"],
}
STARTS = {PUBLIC: "public.test", PRIVATE: "10.0.0.5", LOOPBACK: "127.0.0.1"}


class Downloader:
    """The child process."""

    def __enter__(self):
        run = [sys.executable, str(Path(__file__).with_name("download_child.py"))]
        self.process = subprocess.Popen(
            run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(no_proxy="*")
        )
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def run(self, job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def fault_of(name, job, outcome, folder):
    """What went wrong, or None."""
    expected, error = KINDS[name][0], outcome["error"]
    left = sorted(path.name for path in folder.iterdir())
    allowed = {"a.bin.partial", "a.bin.partial.json"} if job["resume"] else set()
    if outside := set(outcome["contacted"]) - set(job["may_contact"]):
        return f"contacted {outside}"
    if outcome["seconds"] > LONGEST_S:
        return f"took {outcome['seconds']:.1f} s"
    if (
        set(left) - allowed - {"a.bin"}
        or sum(path.stat().st_size for path in folder.iterdir()) > MAX_BYTES + 9999
    ):
        return f"left {left}"
    if error is None:
        return None if expected != REFUSED and outcome["sha256"] == SHA else "accepted"
    if not error.isprintable() or len(error) > 1500 or "a.bin" not in error or outcome["sha256"]:
        return f"reported as {error!r}"
    return f"refused: {error}" if expected == COMPLETE else None


@pytest.mark.slow
def test_hostile_servers(request, tmp_path):
    campaign = Campaign("downloads from hostile servers", request)
    kinds = list(KINDS)
    with hostile_server() as server, Downloader() as downloader:
        port = server.server_address[1]
        for number in range(campaign.size(CASES)):
            rng, name = Random(number), kinds[number % len(kinds)]
            at = rng.choice(list(STARTS))
            folder = tmp_path / str(number)
            folder.mkdir()
            other, host = rng.choice(INSIDE + OTHERS[at]), f"{STARTS[at]}:{port}"
            server.begin(name, number, {"host": host, "other": other})
            resumable = "resumed" in name or name == "range_ignored"
            job = {
                "url": f"http://{host}/{rng.choice(['', 'deep/'])}a.bin",
                "port": port,
                "may_contact": [at],
                "destination": str(folder / "a.bin"),
                "checksum": f"sha256:{SHA}",
                "max_bytes": MAX_BYTES,
                "resume": resumable or rng.random() < 0.5,
            }
            outcome = downloader.run(job)
            fault = fault_of(name, job, outcome, folder)
            campaign.record(f"{number} {name} {host} {other}", fault)
    campaign.finish()
