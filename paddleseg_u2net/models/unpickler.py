"""Reads pickles without the module `pickle`: makes containers and numbers, and calls known constructors only.

The opcodes are those of Python's `pickletools`. Nothing is imported, no attribute is set on anything but
stand-ins, and time and memory grow with the length of the file, whatever it holds.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterable
from typing import Any

from paddleseg_u2net.bounds import PICKLE_STEPS, WEIGHT_NAME

EMPTY = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,  # a set would compute hashes of whatever the file puts into it
}
NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "STRING", "BINSTRING", "SHORT_BINSTRING")
TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
LITERALS = {*NUMBERS, *BYTES, *TEXTS}


class StandIn:
    """Stands for an object that the file describes."""

    def build(self, state: Any) -> None:
        """Take the state that the file has for the object."""


class Unread(StandIn):
    """Stands for a class that is not known, and for its objects: holds what the file says, and runs nothing.

    Args:
        name: full name of the class.
    """

    def __init__(self, name: str):
        self.name = name
        self.fields: Any = {}

    def __call__(self, *_: Any) -> Unread:
        """An object of the class, or what a call of the object would return, which is not known."""
        return Unread(self.name)

    def __repr__(self) -> str:
        """Short, as it can be a key of a mapping."""
        return f"<{self.name}>"

    def build(self, state: Any) -> None:
        """Keep the state, which for most classes is their attributes by name."""
        self.fields = state


def mapping(pairs: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    """Make a dictionary of key-value pairs of a file; see `_key`."""
    return {_key(key): value for key, value in pairs}


def _key(key: Any) -> Any:
    """The key, or a stand-in: the hash of nested tuples can take forever, or crash the interpreter."""
    if isinstance(key, (str, bytes, float, Unread)) or key is None:
        return key
    return key if isinstance(key, int) and key.bit_length() <= 64 else Unread(f"key of {type(key).__name__}")


class Unpickler:
    """Reads one pickle.

    Args:
        file: positioned at the pickle, afterwards behind it; in memory, where a length that the pickle claims
            is limited by what is there.
    """

    def __init__(self, file: io.BytesIO):
        self.file = file
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def find(self, module: str, name: str) -> Any:
        """The constructor or value for a full name."""
        return Unread(f"{module}.{name}")

    def refer(self, pid: Any) -> Any:
        """The object for a persistent id."""
        raise ValueError("its pickle refers to objects outside")

    def load(self) -> Any:
        """The object; raises ValueError where the file is damaged or asks for anything else."""
        try:
            for opcode, argument, _ in pickletools.genops(self.file):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._spend(1)
                self._run(opcode.name, argument)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its pickle is damaged: {type(error).__name__}: {error}") from error
        raise ValueError("its pickle is truncated")

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > PICKLE_STEPS.most:
            raise ValueError(f"its pickle takes more than {PICKLE_STEPS.most:,} steps")

    def _run(self, name: str, argument: Any) -> None:
        if name in LITERALS:
            self.stack.append(argument)
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name not in ("PROTO", "FRAME"):
            OPERATIONS[name](self, argument)

    def _marked(self) -> list[Any]:
        """Remove and return what was pushed since the last mark."""
        marked, self.stack = self.stack, self.below.pop()
        return marked

    def _last(self, count: int) -> tuple[Any, ...]:
        """Remove and return the last values."""
        values = tuple(self.stack[-count:])
        if len(values) < count:
            raise ValueError("its pickle is damaged: too few values")
        del self.stack[-count:]
        return values

    def _mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark(None)

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def _extend(self, values: Iterable[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
        elif not isinstance(self.stack[-1], Unread):
            raise ValueError("its pickle is damaged: items of something that is not a list")

    def _update(self, values: Any) -> None:
        """Add keys and values that follow each other."""
        target = self.stack[-1]
        target = target.fields if isinstance(target, Unread) else target
        if isinstance(target, dict):
            target.update(mapping(zip(values[::2], values[1::2], strict=True)))

    def _dict(self, values: list[Any]) -> None:
        self.stack.append({})
        self._update(values)

    def _call(self, make: Any, arguments: Any) -> None:
        """Push what a known constructor makes; nothing else that can be called comes onto the stack."""
        if not callable(make):
            raise ValueError("its pickle calls something that is not a class")
        values = (arguments, *arguments)
        self._spend(sum(len(value) for value in values if isinstance(value, (list, tuple, dict))))
        self.stack.append(make(*arguments))

    def _object(self, make: Any, *arguments: Any) -> None:
        self._call(make, arguments)

    def _named(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("its pickle is damaged: a class without a name")
        WEIGHT_NAME.check(len(module) + len(name))
        return self.find(module, name)

    def _build(self, _: Any) -> None:
        (state,) = self._last(1)
        if isinstance(self.stack[-1], StandIn):
            self.stack[-1].build(state)


def _push(make: Callable[[Unpickler, Any], Any]) -> Callable[[Unpickler, Any], None]:
    def operation(machine: Unpickler, argument: Any) -> None:
        value = make(machine, argument)  # may replace the stack
        machine.stack.append(value)

    return operation


# name of an opcode: what it does, from the machine and the argument that follows the opcode in the file
OPERATIONS: dict[str, Callable[[Unpickler, Any], None]] = {
    "MARK": Unpickler._mark,
    "POP": Unpickler._pop,
    "POP_MARK": Unpickler._pop_mark,
    "DUP": _push(lambda m, _: m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Unpickler._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _push(lambda m, index: m.memo[index])),
    **dict.fromkeys(("TUPLE", "FROZENSET"), _push(lambda m, _: tuple(m._marked()))),
    **{f"TUPLE{n}": _push(lambda m, _, n=n: m._last(n)) for n in (1, 2, 3)},
    "LIST": _push(lambda m, _: m._marked()),
    "APPEND": lambda m, _: m._extend(m._last(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m._extend(m._marked())),
    "DICT": lambda m, _: m._dict(m._marked()),
    "SETITEM": lambda m, _: m._update(m._last(2)),
    "SETITEMS": lambda m, _: m._update(m._marked()),
    "GLOBAL": _push(lambda m, names: m._named(*names.split(" ", 1))),
    "STACK_GLOBAL": _push(lambda m, _: m._named(*m._last(2))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m._call(*m._last(2))),
    "NEWOBJ_EX": lambda m, _: m._call(*m._last(3)[:2]),
    "OBJ": lambda m, _: m._object(*m._marked()),
    "INST": lambda m, names: m._call(m._named(*names.split(" ", 1)), m._marked()),
    "BUILD": Unpickler._build,
    "PERSID": _push(lambda m, pid: m.refer(pid)),
    "BINPERSID": _push(lambda m, _: m.refer(*m._last(1))),
}
