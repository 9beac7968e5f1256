"""The options of rembg, as settings of cut-outs; the command line and the server both take them."""

from __future__ import annotations

from collections.abc import Sequence

from paddleseg_u2net.inference.result import CutoutSettings
from paddleseg_u2net.matting.ground import Background

SPECK = 100  # pixels; a post-processed mask drops smaller objects


def rembg_settings(
    post_process_mask: bool = False,
    alpha_matting: bool = False,
    decontaminate: bool = False,
    bgcolor: Sequence[int] | None = None,
) -> CutoutSettings:
    """The settings that options of rembg ask for.

    Args:
        post_process_mask: fill holes and drop objects of fewer than SPECK pixels.
        alpha_matting: add the detail of the photograph to soft edges.
        decontaminate: remove the background's colours from soft edges.
        bgcolor: (R, G, B, A), each 0 to 255; A is 255, or 0 for no background.

    Raises:
        ValueError: another colour.
    """
    background = None
    if bgcolor:
        if len(bgcolor) != 4 or not all(0 <= v <= 255 for v in bgcolor) or bgcolor[3] not in (0, 255):
            found = " ".join(map(str, bgcolor))
            raise ValueError(f"{found}: expected R G B A, 0 .. 255, and A 0 or 255. Fix: 255 255 255 255")
        red, green, blue, opacity = bgcolor
        background = Background((red, green, blue)) if opacity else None
    return CutoutSettings(
        fill_holes=post_process_mask,
        drop_specks=SPECK if post_process_mask else 0,
        refine_edges=alpha_matting,
        background=background,
        foreground=decontaminate,
    )
