"""Tables of the project's own losses, networks and transforms, filled by decorators.

Imports neither Paddle nor paddleseg; `builders.register` copies the tables into paddleseg's registry.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound=type)


class Registry(dict[str, type]):
    """Classes by their names.

    Args:
        kind: name of paddleseg's table, such as LOSSES.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, component: T) -> T:
        """Class decorator that adds a row; two classes of one name are a programming error."""
        name = component.__name__
        if self.setdefault(name, component) is not component:
            raise KeyError(f"{self.kind}: {name} is registered already, by {self[name].__module__}")
        return component


LOSSES, MODELS, TRANSFORMS = Registry("LOSSES"), Registry("MODELS"), Registry("TRANSFORMS")
REGISTRIES = (LOSSES, MODELS, TRANSFORMS)
