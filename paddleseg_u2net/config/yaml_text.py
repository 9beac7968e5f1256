"""The YAML of configs: numbers such as 1e-4, no duplicate keys, and keys with a meaning of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from paddleseg_u2net.errors import ConfigError

BASE, INHERITED = "_base_", "_inherited_"
HERE = "${here}"  # in a path of a dataset section: the folder of the config file


class Loader(yaml.SafeLoader):
    """Safe YAML loader that reads 1e-4 as a number and rejects duplicate keys."""

    def construct_mapping(self, node, deep=False):
        """Read a mapping; its keys are texts that differ."""
        seen = set()
        for key, _ in node.value:
            where = f"{node.start_mark.name}:{key.start_mark.line + 1}"
            if not isinstance(key.value, str):
                raise ConfigError(f"{where}: expected text as a key. Fix: quote values with braces")
            if key.value in seen:
                raise ConfigError(f"{where}: {key.value} is given twice. Fix: keep one")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Safe YAML dumper that quotes text which `Loader` would read as a number."""


for _yaml_class in (Loader, Dumper):
    _yaml_class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def dump_config(config: Mapping[str, Any]) -> str:
    """Convert a config to YAML text that `load_config` reads back unchanged."""
    return yaml.dump(dict(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)
