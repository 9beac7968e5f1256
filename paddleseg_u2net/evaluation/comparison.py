"""Scores of several methods on several data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from paddleseg_u2net.errors import DataError, Fault
from paddleseg_u2net.evaluation.folders import FolderScores, FolderSettings, score_folder
from paddleseg_u2net.evaluation.matching import MatchedFiles, match_files

Comparison = dict[str, dict[str, FolderScores]]  # data set -> method -> scores


def compare(
    methods: Mapping[str, Path],
    data_sets: Mapping[str, Path],
    settings: FolderSettings,
    workers: int,
    common_only: bool = False,
) -> Comparison:
    """Measure each method on each data set.

    Args:
        methods: name -> folder of maps; with several data sets it has a sub-folder per data set.
        data_sets: name -> folder of masks.
        settings: how maps are measured.
        workers: number of processes.
        common_only: see `match_files`.

    Raises:
        DataError: the faults of all files; of the folders alone if one is missing or has no map for any mask.
    """
    matched: dict[tuple[str, str], tuple[Path, MatchedFiles]] = {}
    faults: list[Fault | str] = []
    for (data_set, masks), (method, maps) in product(data_sets.items(), methods.items()):
        folder = maps / data_set if len(data_sets) > 1 else maps
        try:
            matched[data_set, method] = folder, match_files(folder, masks, common_only)
            faults += matched[data_set, method][1].faults
        except FileNotFoundError as error:
            faults.append(str(error))
    if len(matched) < len(data_sets) * len(methods) or not all(files.pairs for _, files in matched.values()):
        _raise_faults(faults)
    comparison: Comparison = {data_set: {} for data_set in data_sets}
    for (data_set, method), (folder, files) in matched.items():
        scores = score_folder(folder, files, settings, workers, f"{method} on {data_set}")
        scores.maps, scores.masks = str(folder), str(data_sets[data_set])
        comparison[data_set][method] = scores
        faults += scores.faults
    _raise_faults(faults)
    return comparison


def _raise_faults(faults: Sequence[Fault | str]) -> None:
    if faults:
        raise DataError(list(dict.fromkeys(faults)))  # each method repeats the faults of the masks
