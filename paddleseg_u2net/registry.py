"""Registries of our losses, networks and transforms, filled by class decorators.

This module imports neither Paddle nor paddleseg; `builders.register` copies the registries into paddleseg's.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound=type)


class Registry(dict[str, type]):
    """Classes by name.

    Args:
        kind: name of paddleseg's registry of the same components, such as LOSSES.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, component: T) -> T:
        """Add a class under its own name; use it as a decorator.

        Raises:
            KeyError: another class has this name already.
        """
        name = component.__name__
        if self.setdefault(name, component) is not component:
            raise KeyError(f"{self.kind}: {name} is registered already, by {self[name].__module__}")
        return component


LOSSES, MODELS, TRANSFORMS = Registry("LOSSES"), Registry("MODELS"), Registry("TRANSFORMS")
REGISTRIES = (LOSSES, MODELS, TRANSFORMS)
