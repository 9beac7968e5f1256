"""Configs with values that no key can hold: each is refused in one line that names the file, or used."""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from campaign import Campaign
from hostile_configs import bases, cases, changed, places, write_data
from hostile_records import write_records

from paddleseg_u2net import builders
from paddleseg_u2net.cli.app import main
from paddleseg_u2net.config.loader import load_config, preprocessing_of
from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.training.trainer import Trainer

# control characters, and those that turn the direction of text
MOVES_THE_CURSOR = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PER_KEY, PER_KEY_OF_RECORDS = 4, 20  # values that are tried for each key
DATA = ("images/", "masks/")
SECONDS, MEMORY = 10, 4 << 30  # most that one config may take


@pytest.fixture
def bounded():
    """Memory beyond that of now is limited, so that a bomb ends in MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def built_only(monkeypatch, tmp_path):
    """`u2net train` builds all it needs, draws a sample and preprocesses an image, but does not train."""
    networks = {}

    def build_network(cfg, build=builders.build_network):
        key = json.dumps(cfg, default=repr)
        if key not in networks:
            networks[key] = build(cfg)
        return networks[key]

    def run(trainer, data, val_data=None):
        preprocessing_of(trainer.config)(np.full((32, 32, 3), 128, np.uint8))

    monkeypatch.setattr(builders, "build_network", build_network)
    monkeypatch.setattr(Trainer, "run", run)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("U2NET_MIRROR", (tmp_path / "no_mirror").as_uri())  # nothing is fetched
    monkeypatch.chdir(tmp_path)


def fault_of(command: list[str], file: Path, capfd, known: Sequence[str] = DATA) -> str | None:
    """What is wrong with how a command treats a file; None if it refuses it in one line, or uses it.

    The line names the file, or has one of the known names.
    """
    started = time.process_time()  # the machine may be busy
    try:
        code = main(command)
    except SystemExit as error:
        code = error.code
    except BaseException as error:
        capfd.readouterr()
        return f"{type(error).__name__}: {error}"
    taken = time.process_time() - started
    printed = capfd.readouterr().err.strip()
    lines = [line for line in printed.splitlines() if line.startswith(("error:", "u2net"))]
    if taken > SECONDS:
        return f"took {taken:.0f} s"
    if Path("RAN").exists():
        return "ran code"
    if code == 0:
        return None
    if code not in (1, 2) or len(lines) != 1 or "Traceback" in printed:
        return f"exit code {code}: {printed[-300:]}"
    return (
        None
        if any(name in lines[0] for name in (file.name, *known))
        else f"does not name the file: {lines[0]}"
    )


@pytest.mark.slow
def test_every_key_of_every_config(request, tmp_path, built_only, bounded, capfd):
    campaign = Campaign("configs", request)
    configs = bases(write_data(tmp_path / "data"))
    file = tmp_path / "hostile.yaml"
    words = ["train", "--config", str(file), "--do_eval", "--save_dir", str(tmp_path / "run"), "--seed", "0"]
    assert len(configs) >= 45
    for name, config in configs.items():
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        campaign.record(f"{name} as it is", fault_of(words, file, capfd))
    found = list(cases(configs, PER_KEY))
    for case, text in found[:: -(-len(found) // campaign.size(len(found)))]:  # spread over all configs
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        campaign.record(case, fault_of(words, file, capfd))
    campaign.finish()


def loading_fault(file: Path, read: Callable[[Path], object] = load_config) -> str | None:
    """What is wrong with how a file is read; None if it is, or is refused in a line that names it."""
    try:
        read(file)
    except (ConfigError, ValueError) as error:
        text = str(error)
        return (
            None
            if str(file.parent) in text and not MOVES_THE_CURSOR.search(text)
            else f"message: {text[:300]!r}"
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.slow
def test_every_key_of_every_record(request, tmp_path, monkeypatch, capfd):
    records = write_records(tmp_path)
    request.getfixturevalue("built_only")  # afterwards: one of the records is that of a training
    request.getfixturevalue("bounded")
    campaign = Campaign("records", request)
    found = [(record, *case) for record in records for case in record.cases(PER_KEY_OF_RECORDS)]
    whole = {record.path: record.path.read_text() for record in records}
    for record, case, text in found[:: -(-len(found) // campaign.size(len(found)))]:
        record.path.write_text(text, encoding="utf-8", errors="surrogatepass")
        words, path = record.read, record.path
        fault = (
            fault_of(words, path, capfd, [str(path.parent)])  # what the record says of its folder
            if isinstance(words, list)
            else loading_fault(path, words)
        )
        campaign.record(f"{path.parent.name}/{path.name}: {case}", fault)
        path.write_text(whole[path])
    campaign.finish()


@pytest.mark.slow
def test_random_values_of_every_key(request, tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    campaign = Campaign("configs, random values", request)
    found = [(config, place) for config in bases(tmp_path).values() for place in places(config)]
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary()
    values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(scalars, inner))
    file = tmp_path / "random.yaml"

    @hypothesis.settings(
        max_examples=campaign.size(5000),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.sampled_from(found), values)
    def check(case, value):
        config, place = case
        text = yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix("...\n").strip()
        file.write_text(changed(config, place, text), encoding="utf-8", errors="surrogatepass")
        campaign.record(f"{place}: {text[:60]}", loading_fault(file))

    check()
    campaign.finish()
