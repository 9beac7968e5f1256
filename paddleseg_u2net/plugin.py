"""Importing this module registers our networks, losses and transforms with paddleseg.

Example:
    >>> import paddleseg_u2net.plugin
    >>> from paddleseg.cvlibs import Config, SegBuilder
    >>> model = SegBuilder(Config("u2netp.yml")).model  # doctest: +SKIP
"""

from paddleseg_u2net import register

register()
