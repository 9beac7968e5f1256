"""Where the fixtures of all folders come from, and the order of the tests."""

from __future__ import annotations

import gc

FIRST = ("test_documents", "test_extending", "test_app")  # slow tests, each of which one worker runs alone


def pytest_addoption(parser):
    """Let campaigns be shortened."""
    parser.addoption(
        "--campaign_size", type=int, default=0, help="cases of each test in tests/campaigns [all]"
    )


def pytest_configure(config):
    """Load `shared_fixtures.py`, and with it Paddle, where tests run, not where they are distributed."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_modifyitems(items):
    """Start with slow tests, so that no worker waits for another's at the end."""
    items.sort(key=lambda item: item.path.stem not in FIRST)


def pytest_collection_finish():
    """Leave what was imported out of garbage collections, each of which would take a tenth of a second."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """Print what each campaign tried, what survived and what was lost."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    rows = [
        value
        for report in reports
        for key, value in getattr(report, "user_properties", ())
        if key == "campaign"
    ]
    for name, tried, lost in rows:
        terminalreporter.write_line(f"{name}: {tried} tried, {tried - lost} survived, {lost} lost")
