"""What each campaign counts: the cases that it tried, and those that were lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

SHOWN = 20  # lost cases that a failure names


@dataclass
class Campaign:
    """A count of cases, which `finish` hands to pytest's summary.

    Args:
        name: row of the summary and of docs/reliability.md.
        request: the test's own request.
    """

    name: str
    request: pytest.FixtureRequest
    tried: int = 0
    lost: list[str] = field(default_factory=list)

    def size(self, full: int) -> int:
        """The number of cases to try: `--campaign_size`, or else the full size, in docs/reliability.md."""
        return self.request.config.getoption("--campaign_size") or full

    def record(self, case: str, fault: str | None) -> None:
        """Count a case; `fault` says what was lost, None that nothing was."""
        self.tried += 1
        if fault:
            self.lost.append(f"{case}: {fault}")

    def finish(self) -> None:
        """Print the row in the summary; fail if anything was lost."""
        self.request.node.user_properties.append(("campaign", (self.name, self.tried, len(self.lost))))
        assert self.tried, f"{self.name}: no case was tried"
        assert not self.lost, "\n".join(self.lost[:SHOWN])
