"""Measure refined edges and foreground colours of cut-outs: errors, boundaries, and rembg beside them.

python -m tools.benchmarks.cutouts composites --first 100 --last 299   # errors on synthetic composites
python -m tools.benchmarks.cutouts boundaries     # relaxed boundary F on SOD and MSRA10K's validation list
python -m tools.benchmarks.cutouts commands --rembg_python rembg-venv/bin/python   # whole processes
python -m tools.benchmarks.cutouts remove         # `remove(bytes)` and its parts
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
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from paddleseg_u2net.cli.app import guarded
from paddleseg_u2net.environment.processes import module_command, u2net_environment
from paddleseg_u2net.inference.outputs import to_8bit
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.inference.remove import remove
from paddleseg_u2net.inference.result import CutoutSettings
from paddleseg_u2net.io.encoding import FORMATS, encode
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
        predict["u2netp"] = lambda truth: predictor(truth.image).saliency
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


def measure_commands(data: Path, rembg_python: Path | None, count: int, rounds: int) -> None:
    """Print seconds and memory of whole processes that write cut-outs, by turns: medians of some rounds."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        sets = write_photographs(data, work, count)
        ways, found = commands(data, rembg_python, work), defaultdict(list)
        for number in range(rounds):
            for title, (command, environment) in ways.items():
                for folder in sets:
                    out = work / f"out{number}" / title / folder
                    out.mkdir(parents=True)
                    words = [str({"IN": work / folder, "OUT": out}.get(word, word)) for word in command]
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    run = run_measured([*LIMITED, *words], environment)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    found[title, folder].append((run.seconds, busy, run.peak_mib))
        print("| | files | seconds | processor seconds | peak MiB |\n|---|---|---|---|---|")
        for (title, folder), runs in found.items():
            seconds, busy, peak = np.median(runs, axis=0)
            print(f"| {title} | {sets[folder]} {folder} | {seconds:.1f} | {busy:.1f} | {peak:.0f} |")


def write_photographs(data: Path, work: Path, count: int) -> dict[str, int]:
    """Write photographs of MSRA10K, and one of them enlarged; returns folder -> number of files."""
    sets = {"photographs": count, "of 12 megapixels": 1}
    for folder in sets:
        (work / folder).mkdir()
    photographs = [image for image, _ in pairs_of(data / "data/msra10k_1200", "val_list.txt")]
    for path in photographs[:count]:
        shutil.copy(path, work / "photographs")
    large = cv2.resize(read_image(photographs[0]), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    write_image(work / "of 12 megapixels/a.jpg", large)
    return sets


def commands(
    data: Path, rembg_python: Path | None, work: Path
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Title -> command line, with IN and OUT for its folders, and environment."""
    ours = module_command("paddleseg_u2net", "predict", "IN", "--save_dir", "OUT", "--outputs", "cutout")
    ours += ["--model_path", "u2netp", "--precision", "fp32"]
    found = {
        f"ours, {way}": ([*ours, *flags], u2net_environment())
        for way, flags in {"plain": ["--no_refine_edges", "--no_foreground"], "both": []}.items()
    }
    if rembg_python:
        home = work / "rembg_home"
        home.mkdir()
        shutil.copy(data / "weights/u2netp.onnx", home)
        environment = {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}
        rembg = [str(rembg_python.with_name("rembg")), "p", "-m", "u2netp"]
        found |= {title: ([*rembg, *flags, "IN", "OUT"], environment) for title, flags in REMBG.items()}
    return found


def measure_remove(data: Path, count: int, rounds: int) -> None:
    """Print milliseconds of `remove(bytes)` in a running process, and of its parts, by turns."""
    predictor = Predictor("u2netp", precision="fp32")
    print("| | files | remove | decode, engine and encode alone | ratio | of processor times |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for folder, number in write_photographs(data, Path(name), count).items():
            files = [path.read_bytes() for path in sorted((Path(name) / folder).iterdir())]
            for way in ("plain", "both"):
                refined, estimated = WAYS[way]
                settings = CutoutSettings(refine_edges=refined, foreground=estimated)
                times = [time_remove(own, predictor, settings) for _ in range(rounds + 1) for own in files]
                whole, parts, busy, busy_parts = np.median(times[len(files) :], axis=0)
                print(f"| {way} | {number} {folder} | {whole * 1e3:.0f} ms | {parts * 1e3:.0f} ms ", end="")
                print(f"| {whole / parts:.2f} | {busy / busy_parts:.2f} |", flush=True)


def time_remove(data: bytes, predictor: Predictor, settings: CutoutSettings) -> list[float]:
    """Seconds of `remove` and of decoding, engine and encoding alone; then the same in processor time."""
    photograph = predictor.open("photograph", data=data)
    tensor, cutout = predictor.preprocessing(photograph.image)[0][None], predictor(data, settings).cutout()
    parts = (
        lambda: predictor.open("photograph", data=data),
        lambda: predictor.engine(tensor),
        lambda: encode(cutout, FORMATS["png"]),
    )
    marks = [(time.perf_counter(), time.process_time())]
    for run in (lambda: remove(data, predictor, settings), lambda: [part() for part in parts]):
        run()
        marks.append((time.perf_counter(), time.process_time()))
    return np.diff(marks, axis=0).T.ravel().tolist()


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
    parser.add_argument(
        "part", choices=("composites", "boundaries", "commands", "remove", "edges", "picture")
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data/ and weights/ (../shared)")
    parser.add_argument("--first", type=int, default=100, help="first seed (%(default)s)")
    parser.add_argument("--last", type=int, default=299, help="last seed (%(default)s)")
    parser.add_argument(
        "--alpha", nargs="+", choices=SOURCES, default=SOURCES, help="from where (%(default)s)"
    )
    default = ["data/sod300/val_list.txt", "data/msra10k_1200/val_list.txt"]
    parser.add_argument("--lists", nargs="+", default=default, help="of images and masks (%(default)s)")
    parser.add_argument("--rembg_python", type=Path, help="Python of an environment with rembg 2.0.86")
    parser.add_argument("--count", type=int, default=40, help="photographs for these (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of `commands` and `remove` (%(default)s)")
    parser.add_argument("--save", type=Path, default=Path("cutouts.png"), help="file of `picture`")
    parser.add_argument("--seed", type=int, default=100, help="composite of `picture` (%(default)s)")
    args = parser.parse_args(argv)
    run: dict[str, Callable[[], None]] = {
        "composites": lambda: measure_composites(args.first, args.last, args.data, args.alpha),
        "boundaries": lambda: measure_boundaries(args.data, args.lists),
        "commands": lambda: measure_commands(args.data, args.rembg_python, args.count, args.rounds),
        "remove": lambda: measure_remove(args.data, args.count, args.rounds),
        "edges": lambda: compare_edges(args.data, args.rembg_python, args.first, args.last),
        "picture": lambda: draw_picture(args.save, args.data, args.seed),
    }
    return guarded(run[args.part])


if __name__ == "__main__":
    sys.exit(main())
