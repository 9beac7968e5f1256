"""The checks that run before training."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from paddleseg_u2net.data.inspection import Inspection, raise_faults
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.data_check.checks import run_checks
from paddleseg_u2net.data_check.survey import examine

log = logging.getLogger(__name__)


def check_before_training(specs: Sequence[DatasetSpec]) -> list[Inspection]:
    """Run the cheap checks and log the warnings.

    Returns:
        The inspection of each data set.

    Raises:
        DataError: all errors of all data sets.
    """
    survey = examine(specs)
    inspections = [dataset.inspection for dataset in survey.datasets]
    raise_faults(inspections)
    for finding in run_checks(survey, cheap_only=True):
        if finding.check.severity == "warning":
            log.warning(
                "%s: %d, first: %s", finding.check.name, len(finding.examples), finding.examples[0].fault
            )
    return inspections
