"""`u2net predict`: cut out, colour and map the objects of images."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.bounds import MAX_PIXELS
from paddleseg_u2net.cli.flags import (
    HOW,
    INPUT,
    MODEL_FLAGS,
    MULTILABEL,
    OUTPUT,
    REFINE,
    Flags,
    add_augmentation_flags,
    add_flags,
    add_group,
    non_negative_int,
    nonempty_path,
    options,
    parser,
    positive_int,
    unit_float,
)
from paddleseg_u2net.cli.model import REFINE_FLAGS, open_predictor
from paddleseg_u2net.cli.other_sources import (
    STDIN,
    addresses_of,
    check_stdout,
    found_images,
    image_source,
    predict_stdin,
)
from paddleseg_u2net.cli.output_flags import add_output_flags, output_settings
from paddleseg_u2net.config.runtime import flag_values
from paddleseg_u2net.data.visualize import make_palette
from paddleseg_u2net.environment.devices import device_name, threads_for
from paddleseg_u2net.environment.distributed import Rank, this_rank, wait_for_neighbours
from paddleseg_u2net.environment.interruptions import log_to_stderr
from paddleseg_u2net.errors import Fault, counted
from paddleseg_u2net.inference.batch import BatchPredictor, plan_jobs
from paddleseg_u2net.inference.image_paths import FoundImages
from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.inference.outputs import USUAL
from paddleseg_u2net.inference.report import written_report
from paddleseg_u2net.io.locks import folder_lock
from paddleseg_u2net.metrics.protocol import MapProtocol

log = logging.getLogger(__name__)

ABOUT = "Cut out, colour and map the objects of images: single files, folders, and lists of files."
EXAMPLES = """\
  u2net predict photo.jpg                                 into output/result, by the published weights u2netp
  u2net predict *.jpg more/ list.txt --save_dir out       files, folders with sub-folders, and lists together
  u2net predict photo.jpg --outputs cutout --save_dir cut --crop 5% --background white
  u2net predict --model_path output --image_path photos/  the best model of a run
  u2net predict --config configs/RGB/U2Net/u2net.yaml --model_path output/best_model/model.pdparams \\
      --image_path data/optic_disc_seg/JPEGImages
  python -m paddle.distributed.launch --nproc_per_node 2 predict.py --model_path u2netp --image_path photos/
"""
DEFAULT_MODEL = "u2netp"
# tqdm's default, but images per second even below one
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"

INPUT_FLAGS: Flags = {
    "image_path": {
        "type": image_source,
        "nargs": "+",
        "action": "extend",
        "default": [],
        "metavar": "PATH",
        "help": "the same as PATH, under PaddleSeg's name; both may be given",
    },
    "config": MODEL_FLAGS["config"],
    "model_path": {"help": f"{MODEL_FLAGS['model_path']['help']}; default without --config: {DEFAULT_MODEL}"},
    "opts": MODEL_FLAGS["opts"],
    **MULTILABEL,
}
PRESENCE_FLAGS: Flags = {
    "min_presence": {
        "type": unit_float,
        "default": 0.0,
        "metavar": "P",
        "help": "empty the results of images whose probability to show an object is lower; default 0: none",
    },
    "report": {
        "type": nonempty_path,
        "metavar": "FILE.json",
        "help": "write presence, share of foreground, classes, results and faults of each image",
    },
}
RUN_FLAGS: Flags = {
    **{name: MODEL_FLAGS[name] for name in ("backend", "precision", "device")},
    "device_id": {"type": non_negative_int, "help": "number of the GPU to use, from 0; default 0"},
    "max_pixels": {"type": positive_int, "default": MAX_PIXELS, "help": "refuse larger images (%(default)s)"},
    "resume": {"action": "store_true", "help": "leave out images whose results are complete"},
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net predict`."""
    return prediction_parser("u2net predict", ABOUT, EXAMPLES)


def prediction_parser(prog: str, description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with all flags of a prediction."""
    flags = parser(prog, description, examples)
    flags.usage = f"{prog} [PATH ...] [flags]"
    inputs = flags.add_argument_group(INPUT)
    about = "image, folder with sub-folders, list file with one image per line, or https address; - reads an "
    about += "image from stdin and writes its result to stdout"
    inputs.add_argument("paths", nargs="*", type=image_source, metavar="PATH", help=about)
    add_flags(inputs, INPUT_FLAGS)
    add_output_flags(flags, OUTPUT)
    add_group(flags, "empty scenes and report", PRESENCE_FLAGS)
    add_group(flags, HOW, RUN_FLAGS)
    add_augmentation_flags(flags, "aug_pred")
    add_group(flags, REFINE, REFINE_FLAGS)
    return flags


def parse(
    flags: argparse.ArgumentParser, argv: Sequence[str] | None, default_model: str = DEFAULT_MODEL
) -> argparse.Namespace:
    """Parse and check flags of INPUT_FLAGS; `image_path` has all paths, `model_path` a model."""
    args = flags.parse_intermixed_args(argv)
    args.image_path = [*args.image_path, *args.paths]
    if not args.image_path:
        flags.error("no images are given. Fix: add paths of images, folders or list files")
    if STDIN in args.image_path:
        log_to_stderr()  # stdout is for the result
    if args.config and not args.model_path:
        flags.error("--config needs --model_path: the weights of that model")
    if "outputs" in args:  # `u2net portrait` has its own
        args.outputs = args.outputs or ("cutout" if STDIN in args.image_path else ",".join(USUAL))
    minimum = getattr(args, "min_presence", 0)
    if minimum and MapProtocol.from_options(vars(args)) is not MapProtocol.PLAIN:
        flags.error(
            "--min_presence: needs maps as predicted. Fix: leave out --minmax, --official, --map_protocol"
        )
    if not args.model_path:
        args.model_path = default_model
        log.info("No --model_path: the model is %s", default_model)
    return args


def batch_predictor(args: argparse.Namespace, config: Mapping[str, Any], parallel: int) -> BatchPredictor:
    """The model of the flags, ready to predict.

    Args:
        args: see `parse`.
        config: of the model.
        parallel: number of threads.
    """
    device, map_protocol = device_name(args.device, args.device_id), MapProtocol.from_options(vars(args))
    predictor = open_predictor(args, config, device, parallel, map_protocol)
    settings = output_settings(args, make_palette(predictor.colors, args.custom_color))
    return BatchPredictor(predictor, settings, args.max_pixels, parallel, min_presence=args.min_presence)


def report(
    results: Iterable[list[Fault]], count: int, save_dir: Path, faults: Sequence[Fault | str] = ()
) -> int:
    """Follow the results of jobs with a progress bar, then print the faults on stderr.

    Args:
        results: faults of each job.
        count: number of jobs.
        save_dir: folder of the results.
        faults: those found before, printed first.

    Returns:
        The exit code: 1 if there is any fault.
    """
    bar = results
    with contextlib.suppress(ModuleNotFoundError):  # an installation may have an engine and little else
        from tqdm import tqdm

        bar = tqdm(results, "predict", count, disable=None, leave=False, unit=" images", bar_format=BAR)
    try:
        failures = [failed for failed in bar if failed]
    except KeyboardInterrupt:
        log.warning("Interrupted. The results so far are complete; --resume goes on from here")
        raise
    if count:
        images = counted(count, "image")
        log.info("Predicted %d of %s into %s", count - len(failures), images, save_dir)
    for fault in [*faults, *(fault for failed in failures for fault in failed)]:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if failures or faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Predict; returns the exit code, 1 if any image failed."""
    args, rank = parse(build_parser(), argv), this_rank()
    addresses_of(args.image_path)  # refuses what cannot be mixed
    if STDIN in args.image_path:
        check_stdout(args)
        output_settings(args)
        return predict_stdin(args, batch_predictor(args, _config(args), threads_for(1)))
    with folder_lock(args.save_dir):
        wait_for_neighbours(rank)  # the first rank holds the lock for all of them
        code = _predict(args, rank)
        wait_for_neighbours(rank)
    return code


def _config(args: argparse.Namespace) -> dict[str, Any]:
    """The config of the model; its device is the default of `--device`."""
    config = config_of(args.model_path, args.config, options(args))
    args.device = args.device or flag_values(config, ["global"]).get("device")
    return config


def _predict(args: argparse.Namespace, rank: Rank) -> int:
    """Predict the share of a rank; returns the exit code."""
    output_settings(args)  # finds contradictions before anything is loaded
    with found_images(args.image_path, args.save_dir) as found:
        return _predict_found(args, rank, found)


def _predict_found(args: argparse.Namespace, rank: Rank, found: FoundImages) -> int:
    """Predict the share of a rank of some images; returns the exit code."""
    jobs = plan_jobs(found, args.save_dir, args.outputs.split(","), rank, args.resume, args.format)
    config = _config(args)
    faults = found.faults if rank.index == 0 else []
    parallel = threads_for(len(jobs))
    with contextlib.ExitStack() as stack:
        records = None
        if args.report:
            settings = {"model": str(args.model_path), "min_presence": args.min_presence}
            records = stack.enter_context(written_report(args.report, settings, rank, args.resume))
        if not jobs:
            return report([], 0, args.save_dir, faults)
        batch = batch_predictor(args, config, parallel)
        batch.report = records
        # closed before the report is written: jobs that run when Ctrl-C comes are in it
        results = stack.enter_context(contextlib.closing(batch.run_jobs(jobs)))
        return report(results, len(jobs), args.save_dir, faults)
