"""`u2net portrait`: draw faces, and blend the drawings with the photographs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from paddleseg_u2net.cli.flags import (
    HOW,
    INPUT,
    MODEL_FLAGS,
    OUTPUT,
    Flags,
    add_flags,
    add_group,
    number_between,
    parser,
)
from paddleseg_u2net.cli.other_sources import found_images, image_source
from paddleseg_u2net.cli.predict import INPUT_FLAGS, RUN_FLAGS, parse, report
from paddleseg_u2net.config.runtime import flag_values
from paddleseg_u2net.environment.devices import device_name, threads_for
from paddleseg_u2net.inference.batch import BatchPredictor, plan_jobs
from paddleseg_u2net.inference.image_paths import FoundImages
from paddleseg_u2net.inference.model_source import config_of
from paddleseg_u2net.inference.outputs import Output, OutputSettings
from paddleseg_u2net.inference.portraits import MAX_SIGMA, WHOLE_SIDE, PortraitPredictor, portrait_outputs
from paddleseg_u2net.inference.predictor import Predictor
from paddleseg_u2net.io.locks import folder_lock
from paddleseg_u2net.models.known_weights import KNOWN

ABOUT = "Draw the largest face of each photograph, as pencil on white paper."
EXAMPLES = """\
  u2net portrait me.jpg                              into output/portrait, by the published weights
  u2net portrait photos/ --save_dir out --model_path u2net_portrait.pth
  u2net portrait me.jpg --sigma 20 --alpha 0.5       the drawing over the blurred photograph, too
  u2net portrait me.jpg --no_face_crop --sigma 20 --alpha 0.5
                                                     the same of the whole photograph
"""
DEFAULT_MODEL = "u2net_portrait"

MODEL: Flags = {
    **{name: INPUT_FLAGS[name] for name in ("image_path", "config", "opts")},
    "model_path": {"help": f"{MODEL_FLAGS['model_path']['help']}; default: {DEFAULT_MODEL}"},
}
PORTRAIT_FLAGS: Flags = {
    "save_dir": {"type": Path, "default": "./output/portrait", "help": "folder of the results (%(default)s)"},
    "no_face_crop": {
        "action": "store_true",
        "help": "draw whole images; else the crop around the largest face is drawn, and where no face is "
        f"found the whole image, its longer side at most {WHOLE_SIDE} pixels",
    },
    "sigma": {
        "type": number_between(0, MAX_SIGMA),
        "help": "write composites too, of the drawing and the photograph blurred by a Gaussian of this many "
        "pixels; with --alpha",
    },
    "alpha": {
        "type": number_between(0, 1),
        "help": "share of the photograph in composites, 0 to 1; with --sigma",
    },
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `u2net portrait`."""
    flags = parser("u2net portrait", ABOUT, EXAMPLES)
    flags.usage = "u2net portrait [PATH ...] [flags]"
    inputs = flags.add_argument_group(INPUT)
    about = "image, folder with sub-folders, list file with one image per line, or https address"
    inputs.add_argument("paths", nargs="*", type=image_source, metavar="PATH", help=about)
    add_flags(inputs, MODEL)
    add_group(flags, OUTPUT, PORTRAIT_FLAGS)
    add_group(flags, HOW, RUN_FLAGS)
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; returns the exit code, 1 if any image failed."""
    flags = build_parser()
    args = parse(flags, argv, DEFAULT_MODEL)
    if (args.sigma is None) != (args.alpha is None):
        given, absent = ("sigma", "alpha") if args.alpha is None else ("alpha", "sigma")
        flags.error(f"--{given}: a composite needs --{absent} too. Fix: --sigma 20 --alpha 0.5")
    table = portrait_outputs(args.sigma, args.alpha)
    with folder_lock(args.save_dir), found_images(args.image_path, args.save_dir, table) as found:
        return _draw(args, table, found)


def _draw(args: argparse.Namespace, table: Mapping[str, Output], found: FoundImages) -> int:
    """Draw all images; returns the exit code."""
    jobs = plan_jobs(found, args.save_dir, list(table), resume=args.resume, table=table)
    if not jobs:
        return report([], 0, args.save_dir, found.faults)
    config = config_of(args.model_path, args.config, args.opts, KNOWN[DEFAULT_MODEL].config)
    device = device_name(args.device or flag_values(config, ["global"]).get("device"), args.device_id)
    parallel = threads_for(len(jobs))
    model = Predictor(
        args.model_path,
        config,
        device,
        backend=args.backend,
        precision=args.precision,
        parallel=parallel,
    )
    predictor = PortraitPredictor(model, not args.no_face_crop)
    batch = BatchPredictor(predictor, OutputSettings(), args.max_pixels, parallel, table)
    return report(batch.run_jobs(jobs), len(jobs), args.save_dir, found.faults)
