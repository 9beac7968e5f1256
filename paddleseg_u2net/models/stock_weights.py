"""`pretrained` in sections of paddleseg's networks: run folders as here, and what to do without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddleseg_u2net.errors import ConfigError
from paddleseg_u2net.models.pretrained import resolve


def with_way_round(error: ConfigError, cfg: Mapping[str, Any]) -> ConfigError:
    """The error, with what to do if it is that paddleseg cannot fetch pretrained weights."""
    parts = [cfg, *(value for value in cfg.values() if isinstance(value, dict))]
    addresses = [part["pretrained"] for part in parts if "://" in str(part.get("pretrained"))]
    if not addresses or not any(word in str(error) for word in ("HTTP", "Download", "url")):
        return error
    fix = "fetch and unpack the file yourself and give its path, or pretrained: null for random weights"
    return ConfigError(f"model: pretrained: {addresses[0]}: {error}. Fix: {fix}")


def with_weight_files(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A section of a network in which `pretrained` names the weight file of a run folder, as paddleseg needs.

    Args:
        cfg: the section, with that of a backbone inside.
    """
    found = {
        key: with_weight_files(value) if isinstance(value, dict) else value for key, value in cfg.items()
    }
    source = found.get("pretrained")
    if isinstance(source, str) and "://" not in source:
        found["pretrained"] = str(resolve(source))
    return found
