"""The kinds of sources of `u2net make-dataset`: which flags each needs, and how its images are collected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from paddleseg_u2net.cli.color_flags import COLOR_FLAGS, color_table, convert_colors
from paddleseg_u2net.importers.coco import read_coco_files
from paddleseg_u2net.importers.labelme import read_labelme
from paddleseg_u2net.importers.sources import ImageSource, from_annotations, from_folders, from_lists
from paddleseg_u2net.importers.supervisely import read_supervisely
from paddleseg_u2net.importers.voc import read_voc
from paddleseg_u2net.importers.yolo import read_yolo


class SourceFormat(NamedTuple):
    """A kind of source.

    Args:
        required: other flags that it needs.
        optional: other flags that it accepts.
        read: collects its images.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[argparse.Namespace], ImageSource]


def _read_coco(args: argparse.Namespace) -> ImageSource:
    return from_annotations(read_coco_files(args.coco, args.image_dir, args.crowd), args.image_dir)


def _read_labelme(args: argparse.Namespace) -> ImageSource:
    return from_annotations(list(map(read_labelme, args.labelme)), args.labelme)


def _read_yolo(args: argparse.Namespace) -> ImageSource:
    path = args.yolo[0]
    return from_annotations(read_yolo(path), [path if path.is_dir() else path.parent])


def _read_supervisely(args: argparse.Namespace) -> ImageSource:
    return from_annotations(read_supervisely(args.supervisely[0]), args.supervisely)


def _read_folders(args: argparse.Namespace) -> ImageSource:
    folders = args.folder or args.image_dir, args.folder or args.mask_dir
    return convert_colors(args, from_folders(*folders, args.image_suffix, args.mask_suffix))


SUFFIX_FLAGS = ("image_suffix", "mask_suffix")
MASK_FILE_FLAGS = ("num_classes", "ignore_index", "mask_encoding", *COLOR_FLAGS, "keep_unused")
ANNOTATION_FLAGS = ("keep_unused",)
MASK_FILE_FORMATS = ("list", "folder", "mask_dir")
FORMATS = {
    "coco": SourceFormat(("image_dir",), ("crowd", *ANNOTATION_FLAGS), _read_coco),
    "labelme": SourceFormat((), ANNOTATION_FLAGS, _read_labelme),
    "list": SourceFormat(
        ("dataset_root",),
        MASK_FILE_FLAGS,
        lambda args: convert_colors(args, from_lists(args.list, args.dataset_root)),
    ),
    "voc": SourceFormat(
        (),
        (*COLOR_FLAGS, *ANNOTATION_FLAGS),
        lambda args: read_voc(args.voc[0], color_table(args), args.unknown_colors, args.keep_unused),
    ),
    "yolo": SourceFormat((), ANNOTATION_FLAGS, _read_yolo),
    "supervisely": SourceFormat((), ANNOTATION_FLAGS, _read_supervisely),
    "folder": SourceFormat((), (*SUFFIX_FLAGS, *MASK_FILE_FLAGS), _read_folders),
    "mask_dir": SourceFormat(("image_dir",), (*SUFFIX_FLAGS, *MASK_FILE_FLAGS), _read_folders),
}
