r"""Calibrate the probability that an image shows an object, and measure it on other images.

OMP_NUM_THREADS=1 python -m tools.benchmarks.presence --maps output/presence --count 20
OMP_NUM_THREADS=1 python -m tools.benchmarks.presence --maps output/presence --report_only \
    --model_path u2netp_msra --every 12 --count 10

The constants of `inference/presence.py` are fitted to photographs of MSRA10K (training list), crops beside
their objects, skies of CamVid and drawn scenes. Half of the weight lies on the photographs, a quarter on the
crops, and a quarter on the skies and the drawn scenes. The report is of photographs of SOD, crops beside
their objects, skies of another list of CamVid, and scenes drawn from other seeds; patterns are of a kind that
was not fitted. Nothing is resized. Maps that are in the folder already are not predicted again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from paddleseg_u2net.inference import presence
from paddleseg_u2net.inference.predictor import Predictor
from tools.benchmarks import presence_scenes as scenes
from tools.benchmarks.measuring import ROOT, benchmark_parser

SHARE = 0.005  # of the pixels: a mask above 0.5 that covers more is an object
PHOTOGRAPHS, CROPS = "photographs", "beside objects"
LEAST = (0.1, 0.3, 0.5, 0.8)  # values of --min_presence
BINS = (0, 0.05, 0.2, 0.5, 0.8, 0.95, 1)
Scenes = Callable[[], Iterator[np.ndarray]]


class Maps(NamedTuple):
    """What is kept of the maps of N images.

    Args:
        cells: (N, GRID, GRID) float16, reduced maps.
        shares: (N,) float32, share of the pixels of saliency 0.5 or more.
    """

    cells: np.ndarray
    shares: np.ndarray

    def certainties(self) -> np.ndarray:
        """(N,) float64."""
        return np.array([presence.certainty(cells.astype(np.float32)) for cells in self.cells])


def build_parser() -> argparse.ArgumentParser:
    """The parser of this program."""
    parser = benchmark_parser("presence", __doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="(%(default)s)")
    parser.add_argument("--maps", type=Path, required=True, help="folder that keeps the reduced maps")
    parser.add_argument("--model_path", default="u2netp", help="(%(default)s)")
    parser.add_argument(
        "--every",
        type=int,
        default=4,
        help="use every n-th photograph of MSRA10K and twice as many of SOD (%(default)s)",
    )
    parser.add_argument(
        "--count", type=int, default=40, help="skies and drawn scenes of a kind (%(default)s)"
    )
    parser.add_argument(
        "--report_only", action="store_true", help="measure the constants of the module alone"
    )
    return parser


def sets(data: Path, part: str, every: int, count: int) -> dict[str, Scenes]:
    """The images of a part by kind; `calibration` is fitted, `report` is reported."""
    fitted = part == "calibration"
    photographs = data / ("msra10k_1200/train_list.txt" if fitted else "sod300/val_list.txt")
    sky = data / "camvid" / ("train_list.txt" if fitted else "test_list.txt")
    stride, base = (every, 0) if fitted else (max(every // 2, 1), 100_000)
    found: dict[str, Scenes] = {
        PHOTOGRAPHS: partial(scenes.photographs, photographs, stride),
        CROPS: partial(scenes.beside_objects, photographs, stride),
        "skies": partial(scenes.skies, sky, count),
    }
    for number, (kind, draw) in enumerate(scenes.DRAW[part].items()):
        seeds = range(base + 1000 * number, base + 1000 * number + count)
        found[kind] = partial(scenes.drawn, draw, seeds)
    return found


def predicted(folder: Path, part: str, model: str, found: Mapping[str, Scenes]) -> dict[str, Maps]:
    """The maps of a part by kind; those in the folder are not predicted again."""
    folder.mkdir(parents=True, exist_ok=True)
    predictor, kept = None, {}
    for kind, images in found.items():
        path = folder / f"{part}-{kind}.npz"
        if not path.is_file():
            predictor = predictor or Predictor(model, precision="fp32")
            predict(predictor, images(), path)
        with np.load(path) as arrays:
            kept[kind] = Maps(arrays["maps"], arrays["shares"])
    return kept


def predict(predictor: Predictor, images: Iterator[np.ndarray], path: Path) -> None:
    """Write the reduced maps of images, and the shares of their pixels from 0.5 on."""
    maps, shares = [], []
    for image in images:
        saliency = predictor.predict([image])[0].saliency
        maps.append(presence.reduced(saliency))
        shares.append((saliency >= 0.5).mean())
    np.savez(path, maps=np.array(maps, np.float16), shares=np.array(shares, np.float32))


def weighted(kinds: Mapping[str, Maps]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Certainty of all images, whether they are photographs, and their weights, which sum to 1."""
    others = len(kinds) - 2
    rows, truth, weights = [], [], []
    for kind, maps in kinds.items():
        share = {PHOTOGRAPHS: 0.5, CROPS: 0.25}.get(kind, 0.25 / others)
        rows.append(maps.certainties())
        truth += [kind == PHOTOGRAPHS] * len(maps.shares)
        weights += [share / len(maps.shares)] * len(maps.shares)
    return np.concatenate(rows), np.array(truth), np.array(weights)


def fit(kinds: Mapping[str, Maps]) -> tuple[float, float]:
    """Intercept and slope of a logistic regression without regularization, rounded to two decimals."""
    from sklearn.linear_model import LogisticRegression

    rows, truth, weights = weighted(kinds)
    model = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-8)
    model.fit(rows[:, None], truth, weights * len(weights))
    intercept, slope = np.round([*np.ravel(model.intercept_), *np.ravel(model.coef_)], 2).tolist()
    return intercept, slope


def probabilities(rows: np.ndarray, constants: Sequence[float]) -> np.ndarray:
    """As `presence.presence` computes them, from the certainties (N,) of images."""
    return 1 / (1 + np.exp(-(constants[0] + constants[1] * rows)))


def table(kinds: Mapping[str, Maps], constants: Sequence[float]) -> None:
    """Print AUC against the photographs, and the share with a mask by `--min_presence`, of each kind."""
    from sklearn.metrics import roc_auc_score

    found = {kind: probabilities(maps.certainties(), constants) for kind, maps in kinds.items()}
    columns = ["images", "number", "AUC", "mask", *(f"{least:g}" for least in LEAST)]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for kind, maps in kinds.items():
        both = np.concatenate([found[PHOTOGRAPHS], found[kind]])
        truth = np.arange(len(both)) < len(found[PHOTOGRAPHS])
        auc = "" if kind == PHOTOGRAPHS else f"{roc_auc_score(truth, both):.3f}"
        kept = [((maps.shares > SHARE) & (found[kind] >= least)).mean() for least in (0, *LEAST)]
        print(f"| {kind} | {len(maps.shares)} | {auc} | {' | '.join(f'{share:.1%}' for share in kept)} |")
    rows, truth, weights = weighted(kinds)
    auc = roc_auc_score(truth, probabilities(rows, constants), sample_weight=weights)
    print(f"\nAUC of all, weighted: {auc:.3f}")


def reliability(kinds: Mapping[str, Maps], constants: Sequence[float]) -> None:
    """Print predicted and observed shares of photographs in bins, weighted as in the fit."""
    rows, truth, weights = weighted(kinds)
    found = probabilities(rows, constants)
    error = 0.0
    print("\n| presence | images | mean of presence | share of photographs |\n|---|---|---|---|")
    for low, high in zip(BINS, BINS[1:], strict=False):
        inside = (found >= low) & ((found < high) | (high == 1))
        if inside.any():
            mean, share = (np.average(values[inside], weights=weights[inside]) for values in (found, truth))
            error += abs(mean - share) * weights[inside].sum()
            print(f"| {low:g} to {high:g} | {inside.sum()} | {mean:.3f} | {share:.3f} |")
    print(f"\nexpected calibration error: {error:.3f}")


def main() -> int:
    """Predict what is missing, fit, and print the tables."""
    args = build_parser().parse_args()
    name = re.sub(r"\W+", "_", args.model_path)
    folder = args.maps / f"{name}-{args.every}-{args.count}"
    constants = presence.INTERCEPT, presence.SLOPE
    for part in ("report",) if args.report_only else ("calibration", "report"):
        kinds = predicted(folder, part, args.model_path, sets(args.data, part, args.every, args.count))
        if part == "calibration":
            fitted = fit(kinds)
            print(f"INTERCEPT, SLOPE: {fitted} fitted, {constants} in the module")
        print(f"\n{part}, with the constants of the module")
        table(kinds, constants)
        reliability(kinds, constants)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
