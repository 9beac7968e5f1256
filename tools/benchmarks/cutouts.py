"""Measure refined edges and foreground colours of cut-outs: errors, boundaries, and rembg beside them.

python -m tools.benchmarks.cutouts composites --first 100 --last 299   # errors on synthetic composites
python -m tools.benchmarks.cutouts boundaries     # relaxed boundary F on SOD and MSRA10K's validation list
python -m tools.benchmarks.cutouts commands --rembg_python rembg-venv/bin/python   # whole processes
python -m tools.benchmarks.cutouts edges --last 115 --rembg_python rembg-venv/bin/python   # same maps
python -m tools.benchmarks.cutouts picture --save docs/cutouts.png

Composites have known alpha and foreground. The network's part is played once by the true alpha, reduced to
320x320 and enlarged again, and once by `u2netp`. Parameters were tuned on seeds 0 to 99. Without `--data` the
backgrounds are drawn.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.environment.processes import module_command, u2net_environment
from paddleseg_u2net.inference.outputs import to_8bit
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.images import read_image, write_image
from paddleseg_u2net.matting.alpha import GRID, refine_alpha
from paddleseg_u2net.matting.foreground import foreground_colors
from paddleseg_u2net.metrics.boundary import relaxed_boundary_f
from paddleseg_u2net.metrics.map_and_mask import MapAndMask
from paddleseg_u2net.metrics.protocol import MeasureStretch
from tools.benchmarks.composites import Composite, draw_composite, over
from tools.benchmarks.measuring import ROOT, benchmark_parser, run_measured

DATA = ROOT.parent / "shared"
WAYS = {  # name -> (alpha is refined, colours of the foreground are estimated)
    "plain": (False, False),
    "foreground": (False, True),
    "refined": (True, False),
    "both": (True, True),
}
SOURCES = ("true", "u2netp")  # what plays the part of the network
REMBG = {"rembg": [], "rembg -dc": ["-dc"], "rembg -a": ["-a"]}
# what `rembg` does with a map, called with its default thresholds
REMBG_FUNCTIONS = """
import sys
from pathlib import Path
from PIL import Image
from rembg import bg
for path in sorted(Path(sys.argv[1]).glob("*.image.png")):
    image, mask = Image.open(path), Image.open(str(path).replace("image", "mask"))
    for title, made in {
        "rembg": bg.naive_cutout(image, mask),
        "rembg -dc": bg.decontaminate_cutout(image, mask),
        "rembg -a": bg.alpha_matting_cutout(image, mask, 240, 10, 10),
    }.items():
        made.save(str(path).replace("image", title))
"""
LIMIT_GIB = 6
LIMITED = ["bash", "-c", f'ulimit -v {LIMIT_GIB << 20}; exec "$@"', "bash"]  # address space of a command
COLUMNS = ("SAD /1000", "MSE x1000", "gradient /1000", "composite, levels", "composite MSE")
TABLE_HEAD = f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}"


def cut_outs(
    image: np.ndarray, alpha: np.ndarray, ways: Iterable[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each way with alpha and colours of its cut-out."""
    alphas = {False: alpha}
    for way in ways:
        refined, estimated = WAYS[way]
        if refined and True not in alphas:
            alphas[True] = refine_alpha(image, alpha)
        own = alphas[refined]
        yield way, own, foreground_colors(image, own) if estimated else image


def errors(truth: Composite, alpha: np.ndarray, colors: np.ndarray) -> list[float]:
    """The measures of `COLUMNS`: of alpha as Rhemann et al. 2009, and of the cut-out over a new ground.

    Args:
        truth: the composite.
        alpha: (H, W) float32 in [0, 1].
        colors: (H, W, 3) of the foreground.
    """
    difference = alpha - truth.alpha
    moved = over(truth.ground, alpha, colors) - truth.over_ground
    slopes = gradient(alpha) - gradient(truth.alpha)
    return [
        float(np.abs(difference).sum() / 1e3),
        float(np.square(difference).mean() * 1e3),
        float(np.square(slopes).sum() / 1e3),
        float(np.abs(moved).mean()),
        float(np.square(moved).mean()),
    ]


def gradient(alpha: np.ndarray, sigma: float = 1.4) -> np.ndarray:
    """Magnitude of the gradient by derivatives of a Gaussian, each filter scaled to unit energy."""
    steps = np.arange(-4, 5)
    bell = np.exp(-(steps**2) / (2 * sigma**2))
    slope = -steps * bell
    bell, slope = (kernel / np.sqrt(np.square(kernel).sum()) for kernel in (bell, slope))
    return np.hypot(cv2.sepFilter2D(alpha, -1, slope, bell), cv2.sepFilter2D(alpha, -1, bell, slope))


def by_network(alpha: np.ndarray) -> np.ndarray:
    """The true alpha as a network without any error would give it: at its resolution, enlarged again."""
    low = cv2.resize(alpha, GRID[::-1], interpolation=cv2.INTER_AREA)
    return cv2.resize(low, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)


def measure_composites(first: int, last: int, data: Path, sources: Sequence[str]) -> None:
    """Print errors of all ways on the composites of some seeds, and by kind of composite."""
    photographs = backgrounds(data)
    predict = {"true": lambda truth: by_network(truth.alpha)}
    if "u2netp" in sources:
        predictor = Predictor("u2netp")
        predict["u2netp"] = lambda truth: predictor(truth.image)
    found: dict[tuple[str, str, str], list[list[float]]] = defaultdict(list)
    for seed in range(first, last + 1):
        truth = draw_composite(seed, photographs)
        for source in sources:
            alpha = predict[source](truth)
            groups = ["all", truth.kind, "sharp background" if truth.sharp else "smooth background"]
            groups += ["found"] if source == "u2netp" and is_found(truth.alpha, alpha) else []
            for way, *made in cut_outs(truth.image, alpha, WAYS):
                row = errors(truth, *made)
                for group in groups:
                    found[source, group, way].append(row)
    print(f"seeds {first} to {last}, {'photographs' if photographs else 'drawn'} as backgrounds")
    for source in sources:
        print(f"\nalpha: {source}\n\n{TABLE_HEAD}")
        for (own, group, way), rows in sorted(found.items()):
            if own == source:
                print(f"| {group} ({len(rows)}), {way} {table_row(rows)}")
        plain, both = (np.array(found[source, "all", way])[:, 3] for way in ("plain", "both"))
        print(f"\ncomposite error halved in {(both <= plain / 2).sum()} of {len(plain)}, ", end="")
        print(f"larger in {(both > plain).sum()}")


def is_found(truth: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether the network found the drawn object: an IoU of 0.8 with the region where it is visible."""
    one, other = truth > 0.1, alpha > 0.5
    return bool((one & other).sum() >= 0.8 * (one | other).sum())


def table_row(rows: Iterable[list[float]]) -> str:
    """The means of some rows of `errors`, as cells of a table."""
    return "| " + " | ".join(f"{value:.3g}" for value in np.mean(list(rows), axis=0)) + " |"


def backgrounds(data: Path) -> list[Path]:
    """The training images of MSRA10K below `data`; none where it is absent."""
    return [image for image, _ in pairs_of(data / "data/msra10k_1200", "train_list.txt")]


def pairs_of(folder: Path, name: str) -> list[tuple[Path, Path]]:
    """Images and masks of a list; none where it is absent."""
    lines = (folder / name).read_text().splitlines() if (folder / name).is_file() else []
    return [(folder / line.split()[0], folder / line.split()[1]) for line in lines]


def measure_boundaries(data: Path, lists: Iterable[str]) -> None:
    """Print relaxed boundary F of the maps of `u2netp` with and without refinement."""
    predict = Predictor("u2netp")
    print(
        "| | images | without | refined | change | MAE without | MAE refined |\n|---|---|---|---|---|---|---|"
    )
    for place in lists:
        rows = []
        for path, mask_path in pairs_of(data / Path(place).parent, Path(place).name):
            image, mask = read_image(path), read_image(mask_path)[..., 0] > 128
            alpha = predict(image).saliency
            maps = [to_8bit(own) for own in (alpha, refine_alpha(image, alpha))]
            items = [MapAndMask(own, mask, MeasureStretch.NONE) for own in maps]
            scores = [relaxed_boundary_f(item) for item in items]
            rows.append([*scores, *(float(np.abs(item.saliency - mask).mean()) for item in items)])
        before, after, mae, refined_mae = np.mean(rows, axis=0)
        print(
            f"| {place} | {len(rows)} | {before:.4f} | {after:.4f} | {after - before:+.4f} "
            f"| {mae:.4f} | {refined_mae:.4f} |",
            flush=True,
        )


def measure_commands(data: Path, rembg_python: Path | None, count: int) -> None:
    """Print seconds and memory of whole processes that write cut-outs of the same photographs."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sets = {"photographs": count, "of 12 megapixels": 1}
        for folder in sets:
            (work / folder).mkdir()
        photographs = [image for image, _ in pairs_of(data / "data/msra10k_1200", "val_list.txt")]
        for path in photographs[:count]:
            shutil.copy(path, work / "photographs")
        large = cv2.resize(read_image(photographs[0]), (4000, 3000), interpolation=cv2.INTER_CUBIC)
        write_image(work / "of 12 megapixels/a.jpg", large)
        print("| | files | seconds | processor seconds | peak MiB |\n|---|---|---|---|---|")
        for title, command, environment in commands(data, rembg_python, work):
            for folder, number in sets.items():
                out = work / "out" / title / folder
                out.mkdir(parents=True)
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                try:
                    run = run_measured([*LIMITED, *command, work / folder, out], environment)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    result = f"{run.seconds:.1f} | {busy:.1f} | {run.peak_mib:.0f}"
                except OSError as error:
                    result = f"failed: {str(error).strip().splitlines()[-1]} | – | within {LIMIT_GIB} GiB"
                print(f"| {title} | {number} {folder} | {result} |", flush=True)


def commands(
    data: Path, rembg_python: Path | None, work: Path
) -> list[tuple[str, list[str], dict[str, str]]]:
    """Title, command line without its two folders, and environment of each way."""
    found = [
        (
            f"ours, {way}",
            module_command("tools.benchmarks.cutouts", "--way", way, "files"),
            u2net_environment(),
        )
        for way in ("plain", "both")
    ]
    if rembg_python:
        home = work / "rembg_home"
        home.mkdir()
        shutil.copy(data / "weights/u2netp.onnx", home)
        environment = {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}
        rembg = [str(rembg_python.with_name("rembg")), "p", "-m", "u2netp"]
        found += [(title, [*rembg, *flags], environment) for title, flags in REMBG.items()]
    return found


def compare_edges(data: Path, rembg_python: Path | None, first: int, last: int) -> None:
    """Print errors of our cut-outs and of rembg's functions, given the same photographs and maps."""
    truths = [draw_composite(seed, backgrounds(data)) for seed in range(first, last + 1)]
    print(f"seeds {first} to {last}\n\n{TABLE_HEAD}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = defaultdict(list)
        for index, truth in enumerate(truths):
            alpha = by_network(truth.alpha)
            write_image(work / f"{index:03}.image.png", truth.image)
            write_image(work / f"{index:03}.mask.png", to_8bit(alpha))
            for way, *made in cut_outs(truth.image, alpha, WAYS):
                rows[f"ours, {way}"].append(errors(truth, *made))
        if rembg_python:
            run_measured([rembg_python, "-c", REMBG_FUNCTIONS, work])
            rows |= {title: compare(truths, work, title) for title in REMBG}
        for title, own in rows.items():
            print(f"| {title} {table_row(own)}")


def compare(truths: list[Composite], folder: Path, title: str) -> list[list[float]]:
    """The errors of the RGBA files that `REMBG_FUNCTIONS` wrote."""
    rows = []
    for index, truth in enumerate(truths):
        rgba = cv2.imread(str(folder / f"{index:03}.{title}.png"), cv2.IMREAD_UNCHANGED)
        if rgba is None:
            raise OSError(f"{folder}: rembg wrote no image {index:03}")
        colors, alpha = rgba[..., 2::-1], rgba[..., 3].astype(np.float32) / 255
        rows.append(errors(truth, alpha, colors))
    return rows


def write_files(source: Path, out: Path, way: str) -> None:
    """Write the cut-out of each image of a folder, as `predict --outputs cutout` does."""
    predict = Predictor("u2netp")
    for path in sorted(source.iterdir()):
        image = predict.read(path)
        for _, alpha, colors in cut_outs(image, predict(image).saliency, [way]):
            write_image(out / f"{path.stem}.png", np.dstack([colors, to_8bit(alpha)]))


def draw_picture(save: Path, data: Path, seed: int) -> None:
    """Write a composite, and details of its plain and its refined cut-out over a contrasting ground."""
    truth = draw_composite(seed, backgrounds(data))
    alpha = by_network(truth.alpha)
    made = [own for _, *own in cut_outs(truth.image, alpha, ("plain", "both"))]
    made.append([truth.alpha, truth.foreground])
    results = [over(truth.ground, *own) for own in made]
    rows, columns = _busiest(truth.alpha, 240, 280)
    details = [own[rows, columns] for own in (truth.image, *results)]
    gap = np.full((240, 6, 3), 255)
    write_image(
        save, np.hstack([part for own in details for part in (own, gap)][:-1]).clip(0, 255).astype(np.uint8)
    )


def _busiest(alpha: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """The window with most pixels of partial alpha."""
    partial = ((alpha > 0.1) & (alpha < 0.9)).astype(np.float32)
    sums = cv2.boxFilter(partial, -1, (width, height), anchor=(0, 0), normalize=False)
    sums = sums[: alpha.shape[0] - height, : alpha.shape[1] - width]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return the exit code."""
    parser = benchmark_parser("cutouts", __doc__)
    parser.add_argument("part", choices=("composites", "boundaries", "commands", "edges", "picture", "files"))
    parser.add_argument("folders", nargs="*", type=Path, help="of `files`: images, and where cut-outs go")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data/ and weights/ (../shared)")
    parser.add_argument("--first", type=int, default=100, help="first seed (%(default)s)")
    parser.add_argument("--last", type=int, default=299, help="last seed (%(default)s)")
    parser.add_argument(
        "--alpha", nargs="+", choices=SOURCES, default=SOURCES, help="from where (%(default)s)"
    )
    default = ["data/sod300/val_list.txt", "data/msra10k_1200/val_list.txt"]
    parser.add_argument("--lists", nargs="+", default=default, help="of images and masks (%(default)s)")
    parser.add_argument("--rembg_python", type=Path, help="Python of an environment with rembg 2.0.86")
    parser.add_argument("--count", type=int, default=40, help="photographs for `commands` (%(default)s)")
    parser.add_argument(
        "--way", choices=WAYS, default="both", help="how `files` makes cut-outs (%(default)s)"
    )
    parser.add_argument("--save", type=Path, default=Path("cutouts.png"), help="file of `picture`")
    parser.add_argument("--seed", type=int, default=100, help="composite of `picture` (%(default)s)")
    args = parser.parse_args(argv)
    if args.part == "files" and len(args.folders) != 2:
        parser.error(f"files: expected two folders, of images and for cut-outs, got {len(args.folders)}")
    parts: dict[str, Callable[[], None]] = {
        "composites": lambda: measure_composites(args.first, args.last, args.data, args.alpha),
        "boundaries": lambda: measure_boundaries(args.data, args.lists),
        "commands": lambda: measure_commands(args.data, args.rembg_python, args.count),
        "edges": lambda: compare_edges(args.data, args.rembg_python, args.first, args.last),
        "picture": lambda: draw_picture(args.save, args.data, args.seed),
        "files": lambda: write_files(args.folders[0], args.folders[1], args.way),
    }
    return guarded(parts[args.part])


if __name__ == "__main__":
    sys.exit(main())
