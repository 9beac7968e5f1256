"""Labels of annotations: one spelling for each, those that are background, and the classes of a mask."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddleseg_u2net.data.item_counts import ItemCounts
from paddleseg_u2net.data.masks import IGNORE
from paddleseg_u2net.errors import DataError, Fault, suggest
from paddleseg_u2net.importers.annotations import (
    BACKGROUND_LABEL,
    IGNORE_LABEL,
    AnnotatedImage,
    AnnotationSet,
)

SPECIAL = (BACKGROUND_LABEL, IGNORE_LABEL)


def label_key(name: str) -> str:
    """Return what two spellings of a label have in common: its letters without case and without blanks."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def is_background(name: str) -> bool:
    """Whether a label is called `background`, in any spelling; LabelMe writes `_background_`."""
    return label_key(name).strip("_-") == "background"


def unite_labels(sets: Sequence[AnnotationSet], counts: ItemCounts) -> list[AnnotationSet]:
    """Give labels that differ by case or blanks only one name, the most frequent one.

    Labels called `background` become BACKGROUND_LABEL, whose pixels are class 0.

    Args:
        sets: the annotations of all parts.
        counts: labels that are renamed are added, and categories of the same name.
    """
    uses = Counter(region.label for source in sets for image in source.images for region in image.regions)
    spellings: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name in (*(name for source in sets for name in source.labels.values()), *uses):
        spellings[label_key(name)][name] = None
    names: dict[str, str] = {}
    for group in spellings.values():
        most_frequent = max(group, key=lambda name: uses[name])
        names |= dict.fromkeys(group, _plain(most_frequent))
    for name, plain in names.items():
        if plain == BACKGROUND_LABEL and name != plain:
            counts.add("merged", "labels", "called background: class 0", name)
        elif plain != name:
            counts.add("merged", "labels", "differ by case or blanks only", f"'{name}' is '{plain}'")
    _count_repeated(sets, counts)
    return [_rename(source, names) for source in sets]


def _plain(name: str) -> str:
    """Return the name of a label without surrounding blanks, or the special label that it means."""
    if is_background(name):
        return BACKGROUND_LABEL
    return IGNORE_LABEL if label_key(name) == IGNORE_LABEL else " ".join(name.split())


def _count_repeated(sets: Sequence[AnnotationSet], counts: ItemCounts) -> None:
    """Count the categories that are one class because they have exactly the same name."""
    ids: defaultdict[str, dict[Any, None]] = defaultdict(dict)
    for source in sets:
        for key, name in source.labels.items():
            ids[name][key] = None
    for name, keys in ids.items():
        if len(keys) > 1:
            text = f"{name} (ids {', '.join(map(str, keys))})"
            counts.add("merged", "categories", "have the same name", text, len(keys) - 1)


def _rename(source: AnnotationSet, names: Mapping[str, str]) -> AnnotationSet:
    """Return a set with other names of its labels."""
    changed = {name for name, plain in names.items() if name != plain}
    labels = {key: names[name] for key, name in source.labels.items()}
    if all(key == name for key, name in source.labels.items()):  # LabelMe, where the name is the key too
        labels = {name: name for name in labels.values()}
    for image in source.images if changed else ():
        _rename_regions(image, names, changed)
    return source._replace(labels=labels)


def _rename_regions(image: AnnotatedImage, names: Mapping[str, str], changed: set[str]) -> None:
    for index, region in enumerate(image.regions):
        if region.label in changed:
            image.regions[index] = region._replace(label=names[region.label])


def merge_labels(sets: Sequence[AnnotationSet]) -> tuple[list[str], list[Fault]]:
    """Merge the class names of several annotation sets.

    Returns:
        The class names in the order of their keys, and a fault for each key with two different names.
    """
    first: dict[Any, tuple[str, Path]] = {}
    faults = []
    for source in sets:
        for key, name in source.labels.items():
            known, path = first.setdefault(key, (name, source.path))
            if known != name:
                what = f"category {key} is '{name}', but '{known}' in {path}"
                faults.append(Fault(str(source.path), what, "use the same ids and names in all files"))
    return [first[key][0] for key in sorted(first, key=lambda key: (isinstance(key, str), key))], faults


def leave_out_unused(
    labels: Sequence[str], images: Sequence[AnnotatedImage], keep: bool, counts: ItemCounts
) -> list[str]:
    """Leave out the labels without any annotation, which would be classes that no image shows.

    Args:
        labels: labels in class order.
        images: all images.
        keep: keep and count them.
        counts: unused labels are added.
    """
    used = {region.label for image in images for region in image.regions}
    unused = [name for name in dict.fromkeys(labels) if name not in used and name not in SPECIAL]
    if keep:
        counts.add_all("kept", "categories", "never annotated (--keep_unused)", unused)
        return list(labels)
    counts.add_all("left out", "categories", "never annotated (--keep_unused keeps them)", unused)
    return [name for name in labels if name not in unused]


def assign_classes(
    labels: Sequence[str], wanted: Sequence[str] | None = None, saliency: bool = False
) -> tuple[list[str], dict[str, int]]:
    """Assign a mask value to each label.

    Args:
        labels: labels of the annotations, in class order.
        wanted: labels of class 1, 2, …, in any spelling; other labels become background. None uses all.
        saliency: give every class the value 1.

    Returns:
        The names of class 1, 2, …, and the mask value of each label that is drawn.

    Raises:
        DataError: a wanted label does not exist, there are no labels, or more classes than a mask can hold.
    """
    labels = [name for name in dict.fromkeys(labels) if name not in SPECIAL]
    known = {label_key(name): name for name in labels}
    classes = {label_key(name): name for name in wanted or labels if not is_background(name)}
    faults = [
        Fault(f"class '{name}'", f"the annotations have no such label.{suggest(name, labels)}")
        for key, name in classes.items()
        if key not in known
    ]
    if not labels:
        faults = [Fault("", "the annotations contain no object that can be read", "annotate at least one")]
    elif not classes:
        faults = [Fault("--classes", "names only background, which is class 0", "name the objects")]
    if len(classes) >= IGNORE and not saliency:
        what = f"{len(classes)} classes, expected at most {IGNORE - 1}"
        faults.append(Fault("", what, "choose the classes to use with --classes"))
    if faults:
        raise DataError(faults)
    values = {known[key]: 1 if saliency else number for number, key in enumerate(classes, start=1)}
    return list(classes.values()), {BACKGROUND_LABEL: 0, **values, IGNORE_LABEL: IGNORE}


def find_classes(
    labels: Sequence[str],
    images: Sequence[AnnotatedImage],
    wanted: Sequence[str] | None,
    saliency: bool,
    keep_unused: bool,
    counts: ItemCounts,
) -> tuple[list[str], dict[str, int], Sequence[Fault | str]]:
    """Return the classes, the mask value of each label, and what is wrong with the labels.

    Args:
        labels: labels in class order.
        images: all images.
        wanted: see `assign_classes`.
        saliency: see `assign_classes`.
        keep_unused: see `leave_out_unused`.
        counts: the classes are added, and what is left out.
    """
    colored = any(image.draw for image in images)  # then unused labels have been left out
    used = labels if wanted or colored else leave_out_unused(labels, images, keep_unused, counts)
    try:
        classes, values = assign_classes(used, wanted, saliency)
    except DataError as error:
        return [], dict.fromkeys(labels, 1), error.faults  # shapes are checked even if the classes are wrong
    if not saliency:
        counts.add_all("kept", "categories", "", classes)
    if colored:
        unwanted = [name for name in labels if name not in values]
        counts.add_all("left out", "categories", "label is not among --classes, so background", unwanted)
    return classes, values, []
