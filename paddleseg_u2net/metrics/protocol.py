"""The choices that scores depend on, named alike in flags, configs, code and tables."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from paddleseg_u2net.errors import ConfigError


class MapProtocol(Enum):
    """How a saliency map is post-processed before it is written or measured.

    The value is the name in flags (`--map_protocol official`) and in configs
    (`test_config: {map_protocol: official}`). `minmax` and `official` also have a short form: `--official`,
    `test_config: {official: true}`.

    Attributes:
        PLAIN: as the network predicts it.
        MINMAX: stretched to [0, 1].
        OFFICIAL: as the authors' script saves it: stretched at the size of the network's input, rounded down
            to 8 bits, and only then resized to the image, by Pillow.

    Source: `save_output`, u2net_test.py:39-52@ac7e1c8, for `OFFICIAL`.
    """

    PLAIN = "plain"
    MINMAX = "minmax"
    OFFICIAL = "official"

    @property
    def description(self) -> str:
        """The text in tables of scores."""
        return {
            MapProtocol.PLAIN: "maps as predicted",
            MapProtocol.MINMAX: "maps stretched to 0 .. 1",
            MapProtocol.OFFICIAL: "maps as u2net_test.py saves them",
        }[self]

    @classmethod
    def from_options(cls, options: Mapping[str, Any], default: MapProtocol | None = None) -> MapProtocol:
        """The protocol that flags or a `test_config` choose.

        Args:
            options: `map_protocol`, or the short forms `minmax` and `official`, of which the latter wins.
            default: what holds where no option is given; None means `PLAIN`.

        Raises:
            ConfigError: `map_protocol` and a short form contradict each other.
        """
        short = {protocol.value: protocol for protocol in (cls.MINMAX, cls.OFFICIAL)}
        if options.get("map_protocol") is None:
            chosen = [protocol for name, protocol in short.items() if options.get(name)]
            return chosen[-1] if chosen else default or cls.PLAIN
        chosen = cls(options["map_protocol"])
        _require_agreement(options, "map_protocol", {name: chosen is short[name] for name in short})
        return chosen

    def check_classes(self, num_classes: int) -> None:
        """Raise ValueError where a model predicts classes, so that there is no saliency map to process."""
        if self is not MapProtocol.PLAIN and num_classes > 1:
            raise ValueError(
                f"map_protocol {self.value}: is for saliency maps (num_classes: 1), and this model predicts "
                f"{num_classes} classes. Fix: leave it out"
            )


class MeasureStretch(Enum):
    """Which measures min-max stretch each map to [0, 1] before they compare it with its mask.

    The value is the name in flags (`--measure_stretch none`) and in configs
    (`test_config: {measure_stretch: none}`). `as_is` (nothing is stretched for PySODMetrics' measures) and
    `author_minmax` (maps are stretched for `max_f` and `mean_f`) are short forms.

    Attributes:
        REFERENCE: as the reference code of each measure does: PySODMetrics stretches each map; the evaluator
            of the U²-Net author, for `max_f` and `mean_f`, only divides it by its maximum.
        NONE: no measure does.
        AUTHOR: `max_f` and `mean_f` do and no others: u2net_test.py:25@ac7e1c8 stretches maps when it saves
            them, before the author's evaluator reads them.
        ALL: every measure does.
    """

    REFERENCE = "reference"
    NONE = "none"
    AUTHOR = "author"
    ALL = "all"

    @property
    def minmax(self) -> bool:
        """Whether maps are stretched for all measures but `max_f` and `mean_f`."""
        return self in (MeasureStretch.REFERENCE, MeasureStretch.ALL)

    @property
    def author_minmax(self) -> bool:
        """Whether maps are stretched for `max_f` and `mean_f`."""
        return self in (MeasureStretch.AUTHOR, MeasureStretch.ALL)

    @property
    def description(self) -> str:
        """The text in tables of scores."""
        stretched = "measured with each map min-max stretched for"
        return {
            MeasureStretch.REFERENCE: f"{stretched} all measures but max_f and mean_f",
            MeasureStretch.NONE: "measured as they are",
            MeasureStretch.AUTHOR: f"{stretched} max_f and mean_f only",
            MeasureStretch.ALL: f"{stretched} all measures",
        }[self]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> MeasureStretch:
        """The choice that flags or a `test_config` make; `REFERENCE` where they make none.

        Args:
            options: `measure_stretch`, or the short forms `as_is` and `author_minmax`.

        Raises:
            ConfigError: `measure_stretch` and a short form contradict each other.
        """
        if options.get("measure_stretch") is None:
            wanted = not options.get("as_is"), bool(options.get("author_minmax"))
            return next(choice for choice in cls if (choice.minmax, choice.author_minmax) == wanted)
        chosen = cls(options["measure_stretch"])
        short = {"as_is": not chosen.minmax, "author_minmax": chosen.author_minmax}
        _require_agreement(options, "measure_stretch", short)
        return chosen


class AbsentClasses(Enum):
    """What a class counts in mIoU and Dice that is in no mask and no prediction of the data set.

    The value is the name in flags (`--absent_classes zero`) and in configs
    (`test_config: {absent_classes: zero}`). A class that is predicted but in no mask scores 0 either way.

    Attributes:
        SKIP: it is left out of the mean. Its IoU is 0 / 0, and nothing can be found or missed. So do
            MMSegmentation and TensorFlow.
        ZERO: it counts as 0, as in PaddleSeg.

    Source: `IoUMetric`, mmseg/evaluation/metrics/iou_metric.py:150,256@3d50cc3 of MMSegmentation (`nanmean`);
    `MeanIoU` of tf.keras.metrics; `mean_iou` and `dice`, paddleseg 2.8.0 utils/metrics.py, for `ZERO`.
    """

    SKIP = "skip"
    ZERO = "zero"

    @property
    def description(self) -> str:
        """The text in logs and in metrics.json."""
        return {
            AbsentClasses.SKIP: "left out of mIoU and Dice, as in MMSegmentation (PaddleSeg counts 0: "
            "absent_classes zero)",
            AbsentClasses.ZERO: "counted as 0 in mIoU and Dice, as in PaddleSeg (absent_classes zero)",
        }[self]


def _require_agreement(options: Mapping[str, Any], key: str, short: Mapping[str, bool]) -> None:
    """Raise ConfigError where a short form is given with a value other than the one that `key` implies."""
    for name, implied in short.items():
        given = options.get(name)
        if given is not None and bool(given) != implied:
            raise ConfigError(
                f"{key}: {options[key]} and {name}: {str(given).lower()} contradict each other. "
                f"Fix: leave out one of the two, or {name}: {str(implied).lower()}"
            )
