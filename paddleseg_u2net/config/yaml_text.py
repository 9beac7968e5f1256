"""The YAML of configs: numbers such as 1e-4, no duplicate keys, and keys with a meaning of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from paddleseg_u2net.bounds import YAML_BYTES, YAML_DEPTH, YAML_TEXT, YAML_VALUES
from paddleseg_u2net.errors import ConfigError, printable
from paddleseg_u2net.io.text_files import check_file

BASE, INHERITED = "_base_", "_inherited_"
LARGEST = (1 << 63) - 1  # whole number; Python can hold longer ones, which it refuses to show
SHOWN = 60  # characters of a value in a message
HERE = "${here}"  # in a path of a dataset section: the folder of the config file


class _PythonParser(Reader, Scanner, Parser):
    """PyYAML's parser in Python, for builds of it without libyaml."""

    def __init__(self, stream):
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)


# libyaml's parser gives the same events six times faster
_Parser: Any = yaml.cyaml.CParser if yaml.__with_libyaml__ else _PythonParser


class Loader(Composer, _Parser, SafeConstructor, Resolver):
    """Safe YAML loader that reads 1e-4 as a number, rejects duplicate keys, and bounds depth and values.

    A few lines of aliases and merge keys can stand for more values than there is memory.
    """

    def __init__(self, stream):
        _Parser.__init__(self, stream)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.depth = self.values = 0
        self.measured: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent, index):
        """Read a value with all that is in it, no deeper than allowed."""
        self.depth += 1
        self.values += 1
        YAML_DEPTH.check(self.depth)
        YAML_VALUES.check(self.values)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode):
            YAML_TEXT.check(len(node.value))
        return node

    def get_single_node(self):
        """Read the document; ValueError where it has too many values once aliases are written out."""
        node = super().get_single_node()
        if node is not None:
            self._measure(node)
        return node

    def _measure(self, node) -> tuple[int, int]:
        """Number of values and of levels in a node, aliases written out."""
        known = self.measured.get(id(node), (1, 1))
        if known == (0, 0):
            raise ValueError("an alias stands for a value that it is in. Fix: write the value out")
        if isinstance(node, yaml.ScalarNode) or known != (1, 1):
            return known
        self.measured[id(node)] = (0, 0)
        parts = [part for row in node.value for part in (row if isinstance(row, tuple) else (row,))]
        sizes = [self._measure(part) for part in parts]
        values, levels = 1 + sum(size[0] for size in sizes), 1 + max((size[1] for size in sizes), default=0)
        YAML_VALUES.check(values)
        YAML_DEPTH.check(levels)
        self.measured[id(node)] = values, levels
        return values, levels

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

    def construct_object(self, node, deep=False):
        """Read a value; one that its tag does not allow, such as a 30th of February, is named."""
        try:
            return super().construct_object(node, deep)
        except ConfigError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, yaml.YAMLError) as error:
            where = f"{node.start_mark.name}:{node.start_mark.line + 1}"
            kind = node.tag.rpartition(":")[2]
            value = f"{_short(node.value)}: " if isinstance(node, yaml.ScalarNode) else ""
            what = f"'{printable(kind)}' of YAML cannot be read"
            raise ConfigError(f"{where}: {value}{what}. Fix: quote it as text, or correct it") from error


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _whole_number(loader: Loader, node: Any) -> int:
    value = loader.construct_yaml_int(node)
    if abs(value) > LARGEST:
        where = f"{node.start_mark.name}:{node.start_mark.line + 1}"
        raise ConfigError(f"{where}: {_short(node.value)}: expected a whole number of at most {LARGEST}")
    return value


Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_yaml(path: Path) -> tuple[Any, Any]:
    """Read a YAML file.

    Returns:
        Its content, and PyYAML's node of it, which knows the lines; both None for an empty file.

    Raises:
        ConfigError: it is not YAML, or exceeds the bounds on size, depth and values.
    """
    try:
        check_file(path, YAML_BYTES)
        return parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a YAML file: it is not UTF-8. Fix: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None


class _NamedText(io.StringIO):
    """Text with the name that marks of PyYAML show."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.name = name


def parse_yaml(text: str, name: str) -> tuple[Any, Any]:
    """Content and node of YAML text; yaml.YAMLError or ValueError if it cannot be read."""
    loader = Loader(_NamedText(text, name))
    node = loader.get_single_node()
    return (loader.construct_document(node) if node else None), node


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
