"""U²-Net for PaddleSeg: salient objects, cut-outs and segmentation, driven by YAML.

Example:
    >>> from paddleseg_u2net import Predictor
    >>> saliency = Predictor("u2netp")("photo.jpg")  # doctest: +SKIP
"""

TYPE_CHECKING = False  # not imported: Ctrl-C meanwhile would print a traceback
if TYPE_CHECKING:
    from paddleseg_u2net.builders import register
    from paddleseg_u2net.inference.predictor import Predictor, TestTimeAugmentation

__version__ = "0.1.0"
__all__ = ["Predictor", "TestTimeAugmentation", "register"]


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import paddleseg_u2net` loads nothing else."""
    if name in ("Predictor", "TestTimeAugmentation"):
        from paddleseg_u2net.inference import predictor

        return getattr(predictor, name)
    if name == "register":
        from paddleseg_u2net.environment.optional_imports import need

        need("paddle")
        from paddleseg_u2net.builders import register

        return register
    raise AttributeError(name)
