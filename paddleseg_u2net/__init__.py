"""U²-Net for PaddleSeg: salient objects, cut-outs and segmentation, driven by YAML.

Example:
    >>> from paddleseg_u2net import Predictor, remove
    >>> Predictor("u2netp")("photo.jpg").save("cutout.png")  # doctest: +SKIP
    >>> png = remove(open("photo.jpg", "rb").read())  # doctest: +SKIP
"""

import importlib

TYPE_CHECKING = False  # not imported: Ctrl-C meanwhile would print a traceback
if TYPE_CHECKING:
    from paddleseg_u2net.builders import register
    from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
    from paddleseg_u2net.inference.predictor import Predictor
    from paddleseg_u2net.inference.remove import remove
    from paddleseg_u2net.inference.result import CutoutSettings, Result
    from paddleseg_u2net.matting.ground import Background, Margin

__version__ = "0.1.0"
__all__ = [
    "Background",
    "CutoutSettings",
    "Margin",
    "Predictor",
    "Result",
    "TestTimeAugmentation",
    "register",
    "remove",
]
PLACES = {
    "Background": "matting.ground",
    "CutoutSettings": "inference.result",
    "Margin": "matting.ground",
    "Predictor": "inference.predictor",
    "Result": "inference.result",
    "TestTimeAugmentation": "inference.augmentation",
    "remove": "inference.remove",
}


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import paddleseg_u2net` loads nothing else."""
    if name in PLACES:
        return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)
    if name == "register":
        from paddleseg_u2net.environment.optional_imports import need

        need("paddle")
        from paddleseg_u2net.builders import register

        return register
    raise AttributeError(name)
