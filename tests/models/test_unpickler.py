"""The reader of pickles: equal to `pickle` for plain content, and cheap whatever a file asks for."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from paddleseg_u2net.models import safe_pickle, unpickler
from paddleseg_u2net.models.safe_pickle import TORCH_MAGIC, SafeUnpickler, plain, read_single
from paddleseg_u2net.models.unpickler import OPERATIONS, Unpickler, Unread

SHARED = ["shared"]
CONTENT = {
    "numbers": [0, 255, -1, 70_000, 1 << 40, -(1 << 80), 1.5, float("inf"), True, False, None],
    "texts": ["", "a\nb", "ü²", "x" * 300, b"", b"\xff\x00", b"y" * 300, bytearray(b"z")],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "mappings": [{}, {1: 2, None: 3, 2.5: 4, b"k": 5}, OrderedDict(a=1, b=2)],
    "twice": [SHARED, SHARED],
}


def load(content: bytes):
    return plain(SafeUnpickler(io.BytesIO(content)).load(), len(content))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_is_read_as_pickle_reads_it(protocol):
    content = pickle.dumps(CONTENT, protocol)
    assert load(content) == pickle.loads(content) == CONTENT
    twice = load(content)["twice"]
    assert twice[0] is twice[1]


def test_empty_array_is_read():
    assert load(pickle.dumps(np.zeros((0, 3)), 2)).shape == (0, 3)


def test_opcodes_that_pickle_no_longer_writes_are_read():
    assert load(b"(lp0\nI1\na(dS'k'\nI2\nsa.") == [1, {"k": 2}]
    assert load(b"(I1\nI2\n(I3\n10t.") == (1,)
    assert load(b"\x80\x02]2\x86.") == ([], [])
    assert load(b"(imodule\nName\n.").name == load(b"(cmodule\nName\nI1\no.").name == "module.Name"


def test_sets_become_lists_and_keys_that_cannot_be_hashed_safely_stand_ins():
    found = load(pickle.dumps([{3}, frozenset([4]), {(1, 2): 5}], 4))
    assert found[:2] == [[3], (4,)]
    assert [(key.name, value) for key, value in found[2].items()] == [("key of tuple", 5)]


def test_objects_keep_their_state_by_the_name_of_their_class():
    error = ValueError("text")
    error.__dict__["w"] = np.arange(3)
    found = load(pickle.dumps({"e": error}))["e"]
    assert isinstance(found, Unread)
    assert found.name == "builtins.ValueError"
    np.testing.assert_array_equal(found.fields["w"], np.arange(3))


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
NESTED = b"\x80\x02]" + b"2\x86" * 60  # a tuple that holds the one below twice, 60 times
STORAGE = b"X\x07\x00\x00\x00storage"
# what each of them did to `pickle.Unpickler`
HARMLESS = {
    "sets an attribute of a class of the reader": b"\x80\x02"
    + TENSOR
    + b"(N}X\x05\x00\x00\x00array"
    + TENSOR
    + b"stb.",
    "allocates gigabytes for an index of the memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "hashes a tuple for ever": b"\x80\x02}" + NESTED[2:] + b"Ns.",
    "exceeds the stack of the interpreter": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    "hashes an item of a set for ever": b"\x80\x04\x8f(" + NESTED[2:] + b"\x90.",
    "shows a name for ever": NESTED[:2] + b"ctorch\ndevice\n" + NESTED[2:] + b"\x85R.",
}
REJECTED = {
    "encodes text for ever": (NESTED[:2] + b"c_codecs\nencode\n" + NESTED[2:] + b"N\x86R.", "text or bytes"),
    "shows a type for ever": (b"\x80\x02cnumpy\ndtype\n" + NESTED[2:] + b"\x85R.", "an array of objects"),
    "shows the type of a storage": (
        b"\x80\x02(" + STORAGE + NESTED[2:] + b"X\x00\x00\x00\x00NK\x00tQ.",
        "unknown",
    ),
    "a storage of Python objects": (
        b"\x80\x02(" + STORAGE + b"X\x01\x00\x00\x00OX\x00\x00\x00\x00NK\x00tQ.",
        "tensors of an unknown type",
    ),
    "calls text": (b"\x80\x02X\x01\x00\x00\x00a)R.", "not a class"),
    "calls nothing": (b"\x80\x02cnumpy\nndarray\n)R.", "not a class"),
    "claims more than there is": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"a.", "only 2 remain"),
    "ends early": (b"\x80\x02]", "exhausted"),
    "has no values": (b"\x80\x02.", "damaged: IndexError"),
    "has no mark": (b"\x80\x02Nt.", "damaged: IndexError"),
    "has a key without value": (b"\x80\x02}(Nu.", "shorter"),
    "a registered extension": (b"\x80\x02\x82\x01.", "damaged: KeyError"),
    "items of a number": (b"\x80\x02K\x01Na.", "not a list"),
    "a class of numbers": (b"\x80\x04K\x01K\x02\x93.", "without a name"),
    "an id of text": (b"Pa\n.", "id that PyTorch does not write"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_content_that_harms_pickle_is_harmless(name):
    before = dict(vars(safe_pickle._Tensor))
    SafeUnpickler(io.BytesIO(HARMLESS[name])).load()
    assert dict(vars(safe_pickle._Tensor)) == before


@pytest.mark.parametrize("name", REJECTED)
def test_content_that_no_library_writes_is_rejected(name):
    content, message = REJECTED[name]
    with pytest.raises(ValueError, match=message):
        SafeUnpickler(io.BytesIO(content)).load()


def test_every_truncation_and_every_changed_byte_is_read_or_rejected():
    whole = pickle.dumps({"w": np.arange(3.0), "o": OrderedDict(a=(1, "b"))}, 2)
    for end in range(len(whole)):
        with pytest.raises(ValueError):  # noqa: PT011 - the messages are those of pickletools
            load(whole[:end])
    rng = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] = rng.integers(256)
        try:
            load(bytes(changed))
        except (ValueError, RecursionError, TypeError):
            continue


def test_steps_are_bounded_with_the_arguments_of_calls(monkeypatch):
    monkeypatch.setattr(unpickler, "PICKLE_STEPS", unpickler.PICKLE_STEPS._replace(most=1000))
    pairs = b"(" + b"NN\x86" * 90 + b"l"
    mapping = b"}(" + b"".join(b"\x8c\x02a%cN" % letter for letter in range(33, 123)) + b"u"
    calls = b"q\x00\x85q\x010" + b"cbuiltins\ndict\nh\x01R" * 9 + b"."
    for content in (b"N" * 1001 + b".", pairs + calls, mapping + calls):
        with pytest.raises(ValueError, match="takes more than 1,000 steps"):
            SafeUnpickler(io.BytesIO(content)).load()


def test_bytes_of_one_text_are_made_once():
    """Protocol 2 writes bytes as text to encode, which a file can ask for many times."""
    encode = b"c_codecs\nencode\nh\x00N\x86R"
    found = load(b"\x80\x02X\x02\x00\x00\x00abq\x000(" + encode * 2 + b"t.")
    assert found == (b"ab", b"ab")
    assert found[0] is found[1]


def test_bytes_are_read_as_pickles_one_level_deep():
    """Each level would hold a copy of all below it."""

    def saved(content: bytes) -> bytes:
        return b"".join(pickle.dumps(part, 2) for part in (TORCH_MAGIC, 1001, {})) + content + b"]."

    def wrapped(content: bytes) -> bytes:
        return b"ctorch.storage\n_load_from_bytes\nB%b%b\x85R." % (struct.pack("<I", len(content)), content)

    number = saved(b"K\x07.")
    assert load(wrapped(number)) == 7
    assert isinstance(load(wrapped(saved(wrapped(number)))), Unread)


def test_a_reader_without_tensors_imports_and_calls_nothing():
    found = Unpickler(io.BytesIO(b"cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")).load()
    assert (type(found), found.name) == (Unread, "os.system")
    with pytest.raises(ValueError, match="objects outside"):
        Unpickler(io.BytesIO(b"Pa\n.")).load()


def test_every_opcode_has_an_operation_or_is_refused():
    import pickletools

    known = {*OPERATIONS, *unpickler.LITERALS, *unpickler.EMPTY, "PROTO", "FRAME", "STOP"}
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert {opcode.name for opcode in pickletools.opcodes} - known == refused


def test_sizes_of_tensors_that_cannot_be_are_rejected(tmp_path):
    storage = safe_pickle.Storage("<f4", 4)
    storage.read(bytes(16))
    for shape, strides in [
        ((1 << 62,), (1 << 62,)),
        ((1,) * 40, (1,) * 40),
        ((1 << 70,), (0,)),
        ((-1,), (1,)),
    ]:
        with pytest.raises(ValueError, match="invalid sizes|exceeds its storage"):
            safe_pickle._Tensor(storage, 0, shape, strides).array()
    (tmp_path / "a").write_bytes(b"\x80\x02]q\x00h\x00a.")  # a list that holds itself
    with pytest.raises(RecursionError):
        read_single(tmp_path / "a")
