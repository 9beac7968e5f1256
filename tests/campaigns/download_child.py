"""The downloading process of test_downloads.py: jobs on stdin and outcomes on stdout, a JSON line each.

It has little memory, resolves names by a table, and connects to nothing but the test's own server.
"""

from __future__ import annotations

import hashlib
import json
import resource
import socket
import sys
import time
from pathlib import Path

import tqdm  # noqa: F401 - else the first download would take longer

from paddleseg_u2net.errors import DownloadError
from paddleseg_u2net.io import connections
from paddleseg_u2net.io.download import download

MEMORY = 64 << 20  # bytes beyond those of the process itself
NAMES = {
    "public.test": ["93.184.216.34"],
    "box.test": ["10.0.0.5"],
    "mixed.test": ["93.184.216.34", "127.0.0.1"],
    "rebound.test": ["169.254.169.254"],
}
FLIPPING = iter(range(1 << 30))


def resolve(host, port, *_):
    """The numbers of NAMES, those that are written in any form, and for flip.test another one each time."""
    if host == "flip.test":
        found = [["93.184.216.34", "127.0.0.1"][next(FLIPPING) % 2]]
    elif host in NAMES:
        found = NAMES[host]
    else:
        entries = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        found = [entry[4][0] for entry in entries]
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in found]


def run(job):
    """Download once; returns what happened."""
    contacted, started = [], time.monotonic()

    def connect(address, timeout):
        contacted.append(address[0])
        if address[0] not in job["may_contact"]:
            raise ConnectionRefusedError("recorded, not contacted")
        return socket.create_connection(("127.0.0.1", job["port"]), timeout)

    try:
        download(
            job["url"],
            Path(job["destination"]),
            checksum=job["checksum"],
            max_bytes=job["max_bytes"],
            accept_unverified=True,
            resume=job["resume"],
            network=connections.Network(resolve, connect),
        )
        error = None
    except DownloadError as caught:
        error = str(caught)
    except Exception as caught:
        error = f"\n{caught!r}"  # reported as more than one line
    digest = None
    if Path(job["destination"]).exists():
        digest = hashlib.sha256(Path(job["destination"]).read_bytes()).hexdigest()
    seconds = time.monotonic() - started
    return {"error": error, "seconds": seconds, "contacted": contacted, "sha256": digest}


if __name__ == "__main__":
    connections.WINDOW_S, connections.TIMEOUT_S, connections.WINDOW_BYTES = 0.5, 0.3, 30000
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
