"""U²-Net for PaddleSeg: salient objects, cut-outs and segmentation, driven by YAML.

Example:
    >>> from paddleseg_u2net import Predictor
    >>> saliency = Predictor("u2netp")("photo.jpg")  # doctest: +SKIP
"""

import os
from typing import TYPE_CHECKING

# OpenCV reads it when it is first imported, which any module here may be the one to do
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # its complaints come without the file's name

if TYPE_CHECKING:
    from paddleseg_u2net.builders import register
    from paddleseg_u2net.inference.predictor import Predictor, TestTimeAugmentation

__version__ = "0.1.0"
__all__ = ["Predictor", "TestTimeAugmentation", "register"]


def __getattr__(name: str):
    """Import what is asked for when it is asked for, so that `import paddleseg_u2net` stays fast."""
    if name in ("Predictor", "TestTimeAugmentation"):
        from paddleseg_u2net.inference import predictor

        return getattr(predictor, name)
    if name == "register":
        from paddleseg_u2net.environment.optional_imports import need

        need("paddle")
        from paddleseg_u2net.builders import register

        return register
    raise AttributeError(name)
