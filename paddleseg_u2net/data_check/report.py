"""Write findings as report.json and as report.html, one page that needs no other file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddleseg_u2net.data.multilabel import as_classes, split_labels
from paddleseg_u2net.data.visualize import make_palette, outlined
from paddleseg_u2net.data_check.checks import Example, Finding
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import DatasetSurvey, SurveyedDataset, SurveyedPair
from paddleseg_u2net.io.bands import read_picture
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.web_page import as_data_uri, render, write_page

JSON, PAGE, TEMPLATE = "report.json", "report.html", "report.html.j2"
DRAWN, LISTED = 6, 50  # examples of a check that are shown with and without a picture
SAMPLES = 12  # pairs of each data set that are shown in any case
HEIGHT = 180  # pixels, of a picture
BINS = 20  # of the histogram of foreground shares


def write_reports(folder: Path, survey: DatasetSurvey, findings: Sequence[Finding], title: str) -> None:
    """Write report.json and report.html.

    Args:
        folder: where to write them.
        survey: the data sets.
        findings: what `run_checks` found in them.
        title: what was checked, for the heading of the page.
    """
    with atomic_write(folder / JSON) as partial:
        partial.write_text(json.dumps(as_data(survey, findings), indent=1), encoding="utf-8")
    write_page(folder / PAGE, as_page(survey, findings, title))


def as_data(survey: DatasetSurvey, findings: Sequence[Finding]) -> dict[str, Any]:
    """All findings with all examples, and the statistics of each data set, as plain data."""
    return {
        "sets": {dataset.name: summary(dataset) for dataset in survey.datasets},
        "findings": [
            {
                "check": finding.check.name,
                "severity": finding.check.severity,
                "count": len(finding.examples),
                "what to do": finding.check.fix,
                "examples": [_example_data(example) for example in finding.examples],
            }
            for finding in findings
        ],
    }


def _example_data(example: Example) -> dict[str, Any]:
    pairs = [[str(pair.files.image), str(pair.files.mask)] for pair in example.pairs]
    return {"text": str(example.fault), **example.fault._asdict(), "pairs": pairs}


def as_page(survey: DatasetSurvey, findings: Sequence[Finding], title: str) -> str:
    """The HTML page; the pairs that it shows are read again."""
    return render(
        Path(__file__).with_name(TEMPLATE),
        generator="u2net check-dataset",
        title=title,
        findings=[_finding_section(finding) for finding in findings],
        datasets=[_dataset_section(dataset) for dataset in survey.datasets],
        json_name=JSON,
    )


def _finding_section(finding: Finding) -> dict[str, Any]:
    drawn = [example for example in finding.examples if example.pairs][:DRAWN]
    listed = [example for example in finding.examples if not example.pairs]
    listed += [example for example in finding.examples if example.pairs][DRAWN:]
    return {
        "check": finding.check,
        "anchor": finding.check.name.replace(" ", "-"),
        "count": len(finding.examples),
        "figures": [_figure(example.pairs, str(example.fault)) for example in drawn],
        "texts": [str(example.fault) for example in listed[:LISTED]],
        "hidden": max(len(listed) - LISTED, 0),
    }


def _dataset_section(dataset: SurveyedDataset) -> dict[str, Any]:
    statistics = summary(dataset)
    shares = [content.share for content in dataset.contents]
    counts = np.histogram(shares, BINS, (0, 1))[0].tolist()
    sound = [pair for pair in dataset.pairs if not pair.record.broken and pair.record.mask_levels]
    chosen = sorted({int(i) for i in np.linspace(0, len(sound) - 1, SAMPLES)}) if sound else []
    return {
        "name": dataset.name,
        "classes": statistics.pop("classes"),
        "statistics": statistics,
        "histogram": [(count, round(80 * count / max(counts), 1)) for count in counts] if shares else [],
        "figures": [_figure([sound[i]], sound[i].files.image.name) for i in chosen],
    }


def _figure(pairs: Sequence[SurveyedPair], caption: str) -> dict[str, Any]:
    pictures = []
    for pair in pairs:
        with contextlib.suppress(OSError, ValueError):  # the file is broken, or was removed meanwhile
            pictures.append(_picture(pair))
    return {"pictures": pictures, "caption": caption}


def _picture(pair: SurveyedPair) -> str:
    """The overlay of a pair as a JPEG in a data URI."""
    files = pair.files
    image = read_picture(files.image, white=pair.dataset.inspection.agreement.white)
    mask = np.zeros((1, 1), np.uint8)
    if files.mask and pair.record.mask_levels:
        mask = pair.dataset.encoding.decode(pair.dataset.spec.read_mask(files.mask))
    if labels := pair.dataset.spec.labels:
        mask = as_classes(split_labels(mask, labels)) if mask.shape[1] % labels == 0 else mask
    return as_data_uri(outlined(image, mask, make_palette(pair.dataset.spec.colors), HEIGHT))
