"""The parameters of requests: one table per API, from which they are read and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from paddleseg_u2net.errors import suggest
from paddleseg_u2net.inference.outputs import OUTPUTS, OutputSettings, check_outputs
from paddleseg_u2net.inference.rembg import rembg_settings
from paddleseg_u2net.inference.result import CutoutSettings
from paddleseg_u2net.io.encoding import FORMATS
from paddleseg_u2net.matting.ground import Background, Margin
from paddleseg_u2net.matting.shapes import MOST_FEATHER, check_growth, parse_threshold
from paddleseg_u2net.serving.faults import ApiFault

SHOWN = 80  # characters of a value in a message
PENDING = Background((0, 0, 0))  # stands for an image that is decoded when the request has its turn
ON, OFF = ("1", "true", "yes", "on", "y", "t"), ("0", "false", "no", "off", "n", "f", "")


class Parameter(NamedTuple):
    """A parameter of requests.

    Args:
        parse: text -> value; raises ValueError.
        about: one line, for people.
        default: where it is not given.
    """

    parse: Callable[[str], Any]
    about: str
    default: Any = None


def switch(text: str) -> bool:
    """A switch: true or false, 1 or 0, yes or no, on or off."""
    if text.lower() not in ON + OFF:
        raise ValueError(f"expected true or false, got '{text[:SHOWN]}'. Fix: true")
    return text.lower() in ON


def number(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers in a range."""

    def parse(text: str) -> int:
        if not (text.isdecimal() and text.isascii() and least <= int(text[:9]) <= most and len(text) <= 9):
            raise ValueError(
                f"expected a whole number from {least} to {most}, got '{text[:SHOWN]}'. Fix: {least}"
            )
        return int(text)

    return parse


def one_of(*names: str) -> Callable[[str], str]:
    """A reader of one of some words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected {', '.join(names)}, got '{text[:SHOWN]}'. Fix: {names[0]}")
        return text

    return parse


def real(most: float) -> Callable[[str], float]:
    """A reader of numbers from 0."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not 0 <= value <= most:
            raise ValueError(f"expected a number from 0 to {most:g}, got '{text[:SHOWN]}'. Fix: 1")
        return value

    return parse


def color_of_rembg(text: str) -> list[int] | None:
    """R,G,B,A as rembg's clients send it."""
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError as error:
        raise ValueError(f"expected R,G,B,A, got '{text[:SHOWN]}'. Fix: 255,255,255,255") from error


MODEL = Parameter(str, "name of the model; GET /v1/models lists them")
V1 = {
    "model": MODEL,
    "outputs": Parameter(
        lambda text: text.split(","),
        f"what is answered: {', '.join(OUTPUTS)}; several, separated by commas, where the answer is JSON",
        ["cutout"],
    ),
    "threshold": Parameter(
        parse_threshold, "saliency from which masks are foreground: 0 to 1, otsu or adaptive", 0.5
    ),
    "fill_holes": Parameter(switch, "fill holes inside of objects", False),
    "drop_specks": Parameter(number(0, 10**8), "leave out objects of fewer pixels", 0),
    "refine_edges": Parameter(switch, "add the detail of the photograph to soft edges", True),
    "foreground": Parameter(switch, "remove the background's colours from soft edges", True),
    "background": Parameter(
        Background.named,
        "put the objects over a colour (white, #ff8000, 255,128,0) or the blurred photograph (blur); "
        "an image as the part 'background' of a form",
    ),
    "crop": Parameter(
        lambda text: Margin.parse(text or "0"),
        "trim to the objects, with a margin in pixels (20) or percent (5%)",
    ),
    "grow": Parameter(number(0, 10**6), "move edges outwards, in pixels", 0),
    "shrink": Parameter(number(0, 10**6), "move edges inwards, in pixels", 0),
    "feather": Parameter(
        real(MOST_FEATHER), "soften edges, by a Gaussian of this standard deviation in pixels", 0.0
    ),
    "format": Parameter(one_of(*FORMATS), "of pictures; without it the Accept header decides, else PNG"),
    "quality": Parameter(number(1, 100), "of jpg, webp and avif"),
    "min_presence": Parameter(
        real(1), "empty the result of an image whose probability to show an object is lower", 0.0
    ),
    "bits": Parameter(lambda text: int(one_of("8", "16")(text)), "of saliency maps as PNG or TIFF", 8),
}
REMBG = {
    "model": MODEL,
    "om": Parameter(switch, "the saliency map instead of the cut-out", False),
    "ppm": Parameter(switch, "fill holes and drop specks", False),
    "bgc": Parameter(color_of_rembg, "put the objects over a colour: R,G,B,A"),
    "a": Parameter(switch, "add the detail of the photograph to soft edges", False),
    "dc": Parameter(switch, "remove the background's colours from soft edges", False),
    # rembg's own matting has these; ours has nothing to set
    "af": Parameter(number(0, 255), "accepted for clients of rembg; changes nothing"),
    "ab": Parameter(number(0, 255), "accepted for clients of rembg; changes nothing"),
    "ae": Parameter(number(0, 10**6), "accepted for clients of rembg; changes nothing"),
}


def read_parameters(given: Mapping[str, str], table: Mapping[str, Parameter]) -> dict[str, Any]:
    """The values of all parameters of a table.

    Args:
        given: name -> text.
        table: name -> parameter.

    Raises:
        ApiFault: an unknown parameter or a wrong value; of several the message names each.
    """
    if unknown := [name for name in given if name not in table]:
        name = unknown[0][:SHOWN]
        raise ApiFault("unknown_parameter", f"{name}: unknown parameter.{suggest(name, table)}")
    values, faults = {name: row.default for name, row in table.items()}, []
    for name, text in given.items():
        try:
            values[name] = table[name].parse(text)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ApiFault("bad_parameter", "\n".join(faults))
    return values


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Args:
        model: its name; None for the default.
        outputs: keys of OUTPUTS.
        settings: how they are drawn; a format of None leaves it to the Accept header.
        min_presence: the results of images with a lower `presence` are empty.
        background: content of the image that replaces a background of PENDING.
    """

    model: str | None
    outputs: tuple[str, ...]
    settings: OutputSettings

    min_presence: float = 0
    background: bytes | None = None

    def but(self, **settings: Any) -> Wanted:
        """The same request with other settings of its outputs."""
        return replace(self, settings=replace(self.settings, **settings))

    @property
    def transparent(self) -> bool:
        """Whether an output has opacity, which JPEG does not keep."""
        return "cutout" in self.outputs and self.settings.cutout.background is None


def read_v1(given: Mapping[str, str], background: bytes | None = None) -> Wanted:
    """What a request to our own API asks for.

    Args:
        given: its parameters.
        background: content of an image that came with it.

    Raises:
        ApiFault: parameters that are wrong or contradict each other.
    """
    values = read_parameters(given, V1)
    if background is not None and values["background"]:
        raise ApiFault("bad_parameter", "background: given as a colour and as an image. Fix: one of them")
    names = ("fill_holes", "drop_specks", "refine_edges", "feather", "crop", "foreground")
    outputs = tuple(dict.fromkeys(values["outputs"]))
    try:
        check_growth(values["grow"], values["shrink"], values["feather"])
        cutout = CutoutSettings(
            grow=values["grow"] - values["shrink"],
            background=values["background"] if background is None else PENDING,
            **{name: values[name] for name in names},
        )
        kept = {name: values[name] for name in ("threshold", "format", "quality", "bits")}
        settings = OutputSettings(cutout=cutout, **kept)
        check_outputs(outputs, settings)
    except ValueError as error:  # whose message names flags
        raise ApiFault("bad_parameter", str(error).replace("--", "")) from error
    return Wanted(values["model"], outputs, settings, values["min_presence"], background)


def read_rembg(given: Mapping[str, str]) -> Wanted:
    """What a request to rembg's API asks for; see `read_v1`."""
    values = read_parameters(given, REMBG)
    try:
        cutout = rembg_settings(values["ppm"], values["a"], values["dc"], values["bgc"])
    except ValueError as error:
        raise ApiFault("bad_parameter", f"bgc: {error}") from error
    return Wanted(values["model"], ("saliency" if values["om"] else "cutout",), OutputSettings(cutout=cutout))


def described(table: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """The parameters of a table, as OpenAPI describes those of an address."""

    def text(value: Any) -> str:
        return ",".join(value) if isinstance(value, list) else str(value).lower()

    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "string"} | ({} if row.default is None else {"default": text(row.default)}),
            "description": row.about,
        }
        for name, row in table.items()
    ]
