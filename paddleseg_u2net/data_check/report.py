"""Findings -> one HTML page that needs nothing else: tables, datasets, and overlays of the worst places."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from paddleseg_u2net.data.inspection import Inspection, PairRecord
from paddleseg_u2net.data.masks import IGNORE, read_raw
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.data_check.checks import Example
from paddleseg_u2net.data_check.findings import Finding
from paddleseg_u2net.data_check.statistics import summary
from paddleseg_u2net.data_check.survey import DatasetSurvey, SurveyedDataset
from paddleseg_u2net.io.files import atomic_write
from paddleseg_u2net.io.images import read_image

SHOWN, LISTED = 6, 50  # examples of a check with and without a picture
LOOKS = 12  # pairs of each set that are drawn whether or not something is wrong
HEIGHT = 180  # of a picture
TINT = 0.5  # of the mask's colour on the image
UNCOUNTED = (255, 0, 255)
BINS = 20
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1f24}
h1{margin-bottom:0} h2{margin:2.2rem 0 .6rem;border-bottom:1px solid #d5d9de} h3{margin:1.6rem 0 .3rem}
table{border-collapse:collapse}
th,td{text-align:left;padding:.3rem 1.6rem .3rem 0;vertical-align:top}
th{color:#59636e;font-weight:600} tr+tr td{border-top:1px solid #e7eaed} td.n{text-align:right}
.error{color:#b3261e;font-weight:600}
.warning{color:#8a5a00;font-weight:600}.note{color:#1f5fa8;font-weight:600}
figure{display:inline-block;margin:.5rem .8rem .5rem 0;vertical-align:top;max-width:100%}
figure img{height:180px;max-width:100%;object-fit:contain;background:#eee;margin-right:4px}
figcaption{font-size:12px;line-height:1.3;color:#59636e;width:0;min-width:100%;overflow-wrap:anywhere}
li{overflow-wrap:anywhere;font-size:13px} .bar{fill:#4a7dbd} text{font-size:11px;fill:#59636e}
"""


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The mask over its image, at the page's size.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (h, w) as `MaskEncoding.decode` gives it, stretched to the image where sizes differ.
        palette: (256, 3) uint8, RGB.

    Returns:
        (180, w', 3) uint8, RGB: colours of the classes with a black line around them, magenta where pixels do
        not count.
    """
    width = int(np.clip(image.shape[1] * HEIGHT / image.shape[0], HEIGHT / 3, HEIGHT * 3))
    small = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    values = cv2.resize(mask.astype(np.float32), (width, HEIGHT), interpolation=cv2.INTER_NEAREST)
    soft = mask.dtype != np.uint8
    ids = (values > 0).astype(np.uint8) if soft else values.astype(np.uint8)
    strength = TINT * (np.minimum(values, 1) if soft else ids > 0)
    colors = palette[ids].copy()
    colors[values == IGNORE], strength[values == IGNORE] = UNCOUNTED, TINT
    mixed = small + strength[..., None] * (colors.astype(np.float32) - small)
    edges = cv2.morphologyEx(
        (values >= 0.5).astype(np.uint8) if soft else ids, cv2.MORPH_GRADIENT, np.ones((2, 2))
    )
    mixed[edges > 0] = 0
    return mixed.round().astype(np.uint8)


def write_page(path: Path, survey: DatasetSurvey, findings: Sequence[Finding], title: str) -> None:
    """Write the page; the few pairs that are drawn are read once more.

    Args:
        path: the file.
        survey: what was examined.
        findings: what `doctor.diagnose` found.
        title: what was examined, in a few words.
    """
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
        f"<style>{STYLE}</style>"
    ]
    parts += [f"<h1>Data check</h1><p>{_text(title)}</p>", *_findings_table(findings)]
    for surveyed in survey.datasets:
        parts += [f"<h2>{_text(surveyed.name)}</h2>", *_set(surveyed)]
    drawing = _Drawing(survey)
    if findings:
        parts.append("<h2>What was found</h2>")
    for finding in findings:
        parts += _finding(finding, drawing)
    for surveyed in survey.datasets:
        whole = [record for record in surveyed.inspection.records if not record.broken and record.mask_levels]
        picked = (
            [whole[i] for i in sorted({int(i) for i in np.linspace(0, len(whole) - 1, LOOKS)})]
            if whole
            else []
        )
        parts.append(f"<h2>A record at {_text(surveyed.name)}</h2>")
        parts += [drawing.figure([record], record.pair.image.name) for record in picked]
    with atomic_write(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8", errors="backslashreplace")


def _text(value: Any) -> str:
    return escape(str(value))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A table; cells that are numbers stand right, those that are `Markup` stand as they are."""
    yield "<table><tr>" + "".join(f"<th>{_text(name)}</th>" for name in head) + "</tr>"
    for row in rows:
        cells = (f"<td class=n>{cell}</td>" if isinstance(cell, int) else f"<td>{cell}</td>" for cell in row)
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table>"


def _findings_table(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "<p>Nothing was found.</p>"
        return
    rows = (
        (
            f"<span class={finding.check.severity}>{finding.check.severity}</span>",
            f'<a href="#{_anchor(finding)}">{_text(finding.name)}</a>',
            len(finding.examples),
            _text(finding.check.todo),
        )
        for finding in findings
    )
    yield from _table(("", "check", "found", "what to do"), rows)


def _anchor(finding: Finding) -> str:
    return finding.name.replace(" ", "-")


def _set(surveyed: SurveyedDataset) -> Iterator[str]:
    """A data set in numbers, and the distribution of its foreground."""
    found = summary(surveyed)
    classes = found.pop("classes")
    rows = [(_text(name), _text(_words(value))) for name, value in found.items()]
    yield from _table(("", ""), rows)
    heads = ("class", "share of the pixels", "images")
    yield "<h3>Classes</h3>"
    yield from _table(heads, [(i, f"{row['share']:.2%}", row["images"]) for i, row in enumerate(classes)])
    shares = [content.share for _, content in surveyed.measured()]
    if shares:
        yield "<h3>Foreground share of the masks</h3>" + _histogram(np.histogram(shares, BINS, (0, 1))[0])


def _words(value: Any) -> str:
    return ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _histogram(counts: np.ndarray) -> str:
    """Bars as SVG."""
    bars = "".join(
        f'<rect class=bar x="{i * 24}" y="{80 - height}" width="22" height="{height}">'
        f"<title>{count}</title></rect>"
        for i, (count, height) in enumerate(
            (int(count), round(80 * int(count) / max(int(counts.max()), 1), 1)) for count in counts
        )
    )
    labels = "".join(
        f'<text x="{x}" y="95">{name}</text>' for x, name in ((0, "0"), (230, "50 %"), (450, "100 %"))
    )
    return f'<svg width="490" height="100" role="img">{bars}{labels}</svg>'


def _finding(finding: Finding, drawing: _Drawing) -> Iterator[str]:
    severity = finding.check.severity
    yield (
        f'<h3 id="{_anchor(finding)}"><span class={severity}>{severity}</span> {_text(finding.name)}: '
        f"{len(finding.examples)}</h3><p>{_text(finding.check.todo)}</p>"
    )
    drawn = [example for example in finding.examples if example.records][:SHOWN]
    yield from (drawing.figure(example.records, example.text) for example in drawn)
    rest: list[Example] = [example for example in finding.examples if example not in drawn]
    if rest:
        items = "".join(f"<li>{_text(example.text)}" for example in rest[:LISTED])
        yield f"<ul>{items}</ul>"
    if len(rest) > LISTED:
        yield f"<p>… and {len(rest) - LISTED} more, all in report.json</p>"


class _Drawing:
    """Pictures of pairs, each read and drawn once."""

    def __init__(self, survey: DatasetSurvey):
        self.datasets = {
            id(record): surveyed for surveyed in survey.datasets for record in surveyed.inspection.records
        }
        self.palettes = {
            id(surveyed): make_palette(surveyed.dataset.num_classes) for surveyed in survey.datasets
        }

    def figure(self, records: Sequence[PairRecord], caption: str) -> str:
        """The overlays of pairs, beside each other."""
        pictures = "".join(self._picture(record) for record in records)
        return f"<figure>{pictures}<figcaption>{_text(caption)}</figcaption></figure>"

    def _picture(self, record: PairRecord) -> str:
        surveyed = self.datasets[id(record)]
        with contextlib.suppress(OSError, ValueError):  # a file may have gone since
            image = read_image(record.pair.image)
            mask = self._mask(record, surveyed.inspection)
            drawn = overlay(image, mask, self.palettes[id(surveyed)])
            encoded = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
            return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}">'
        return ""

    @staticmethod
    def _mask(record: PairRecord, inspection: Inspection) -> np.ndarray:
        if record.pair.mask is None or record.mask_levels is None:
            return np.zeros((1, 1), np.uint8)
        return inspection.encoding.decode(read_raw(record.pair.mask))
