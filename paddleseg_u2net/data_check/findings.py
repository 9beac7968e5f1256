"""Data sets, each file read once -> what is wrong with them, all together, and what to do. Light."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paddleseg_u2net.data.inspection import Inspection, raise_faults
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.checks import CHECKS, Check, Example
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import DatasetSurvey, examine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A check that found something."""

    name: str
    check: Check
    examples: list[Example]


def diagnose(survey: DatasetSurvey, *, cheap: bool = False) -> list[Finding]:
    """Run the checks; those that found something, in the order of the table."""
    rows = [(name, check) for name, check in CHECKS.items() if check.cheap or not cheap]
    found = [Finding(name, check, list(check.find(survey))) for name, check in rows]
    return [finding for finding in found if finding.examples]


def admit(datasets: Sequence[DatasetSpec]) -> list[Inspection]:
    """Examine data before training: warnings are logged, errors raise one DataError with all of them."""
    survey = examine(datasets)
    inspections = [surveyed.inspection for surveyed in survey.datasets]
    raise_faults(inspections)
    for finding in diagnose(survey, cheap=True):
        if finding.check.severity == "warning":
            log.warning("%s: %d, first: %s", finding.name, len(finding.examples), finding.examples[0].text)
    return inspections


def report(survey: DatasetSurvey, findings: Sequence[Finding]) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        "sets": {surveyed.name: summary(surveyed) for surveyed in survey.datasets},
        "findings": [
            {
                "check": finding.name,
                "severity": finding.check.severity,
                "count": len(finding.examples),
                "what to do": finding.check.todo,
                "examples": [
                    {
                        "text": example.text,
                        "pairs": [
                            [str(record.pair.image), str(record.pair.mask)] for record in example.records
                        ],
                    }
                    for example in finding.examples
                ],
            }
            for finding in findings
        ],
    }
