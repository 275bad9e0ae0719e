"""Pickles are read as Python reads them, where they hold what Python has by itself."""

from __future__ import annotations

import argparse
import collections
import io
import math
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support_pickles as hostile
from hypothesis import given
from hypothesis import strategies as st
from support_pickles import call, storage, tensor, text

from dcz.codec.errors import InputError, UnsupportedError
from dcz.formats.checkpoints.pickles.contents import find_contents
from dcz.formats.checkpoints.pickles.entries import UnreadableTensor
from dcz.formats.checkpoints.pickles.machine.machine import Machine
from dcz.formats.checkpoints.pickles.machine.numpy_values import NUMPY_BUILDERS, NumpyArray
from dcz.formats.checkpoints.pickles.machine.plain_values import PLAIN_BUILDERS
from dcz.formats.checkpoints.pickles.machine.records import Defaulted, Global, Ordered, Record
from dcz.formats.checkpoints.pickles.machine.tape import Tape
from dcz.formats.checkpoints.pickles.walking import children, key_text
from dcz.formats.checkpoints.pickles.words import in_words
from dcz.formats.checkpoints.registry import open_checkpoint

BUILDERS = {**PLAIN_BUILDERS, **NUMPY_BUILDERS}


def read(content: bytes) -> Any:
    tape = Tape(memoryview(content))
    value = Machine(tape, BUILDERS).run()
    assert tape.at == len(content)
    return value


def plain(value: Any) -> Any:
    """The same, told apart by type, NaN equal to itself, long bytes copied out of the file."""
    if isinstance(value, dict):
        return "dict", [(plain(key), plain(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted(map(repr, map(plain, value)))
    if isinstance(value, memoryview | bytearray):
        return "bytes", bytes(value)
    if isinstance(value, float | complex):
        return type(value).__name__, repr(value)
    return type(value).__name__, value


KEYS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    st.tuples(st.integers(), st.text()),
)
SCALARS = KEYS | st.complex_numbers() | st.integers(-(2**900), 2**900) | st.binary(min_size=5000)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(KEYS, inner).map(collections.OrderedDict)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
)


@given(VALUES, st.integers(0, 5))
def test_plain_values_are_read_as_python_reads_them(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    assert plain(read(content)) == plain(pickle.loads(content))


@given(VALUES)
def test_shared_values_stay_shared(value: Any) -> None:
    first, second = read(pickle.dumps([value, value], 2))
    if isinstance(value, list | dict):
        assert first is second


PYTHON_2 = {
    "text": (b"\x80\2U\3abcq\0.", "abc"),
    "bytes": (b"\x80\2U\3a\xffcq\0.", b"a\xffc"),
    "long text": (b"\x80\2T\3\0\0\0abc.", "abc"),
    "text by line": (b"S'a\\nb'\np0\n.", "a\nb"),
    "escapes by line": (rb"S'\\\'\"\r\t\x00'" + b"\n.", "\\'\"\r\t\0"),
    "bytes by line": (b'S"a\\xff"\n.', b"a\xff"),
    "unicode by line": (b"Va\\u1234\n.", "a\u1234"),
    "bool by line": (b"I01\n.", True),
    "no by line": (b"I00\n.", False),
    "long by line": (b"L-7L\n.", -7),
    "float by line": (b"F2.5\n.", 2.5),
    "list by mark": (b"(K\1K\2l.", [1, 2]),
    "dict by mark": (b"(K\1K\2d.", {1: 2}),
    "memo by line": (b"]p7\ng7\na0g7\n0.", None),
    "pop to mark": (b"K\1(K\2K\3\x31.", 1),
    "pop of a mark": (b"K\1(0.", 1),
    "twice": (b"K\1\x32\x86.", (1, 1)),
    "read-only buffer": (b"\x80\5C\1a\x98.", b"a"),
    "bytearray": (b"\x80\5\x96\2\0\0\0\0\0\0\0ab.", bytearray(b"ab")),
}


@pytest.mark.parametrize("name", PYTHON_2)
def test_opcodes_that_python_3_does_not_write(name: str) -> None:
    content, value = PYTHON_2[name]
    if name == "memo by line":
        with pytest.raises(InputError, match="takes what is not there"):
            read(content)
        return
    found = read(content)
    assert (type(found), found) == (type(value), value)


def test_objects_are_records() -> None:
    space = argparse.Namespace(lr=0.1)
    for protocol in range(6):
        found = read(pickle.dumps(space, protocol))
        assert isinstance(found, Record)
        assert (found.name, found.attributes) == ("argparse.Namespace", {"lr": 0.1})
    counter = read(pickle.dumps(collections.Counter("aab"), 2))
    assert (counter.name, counter.arguments) == ("collections.Counter", ({"a": 2, "b": 1},))
    default = read(pickle.dumps(collections.defaultdict(list, {1: [2]}), 2))
    assert type(default) is Defaulted and default == {1: [2]}
    assert str(default.factory) in ("builtins.list", "__builtin__.list")
    old = read(b"ccollections\nOrderedDict\n((lp1\n(lp2\nK\1aK\2aatR.")
    assert type(old) is Ordered and old == {1: 2}
    slots = read(b"\x80\2ca\nB\n)\x81N}X\1\0\0\0xK\1s\x86b.")
    assert slots.attributes == {"x": 1}
    assert read(b"\x80\2ca\nB\n)R)R.").name == "an object's result"
    listed = read(b"\x80\2ca\nB\n)\x81(K\1K\2e(K\3K\4uK\5a.")
    assert (listed.items, listed.entries) == ([1, 2, 5], {3: 4})
    assert read(b"\x80\4ca\nB\n)\x81(K\1\x90.").items == [1]
    assert read(b"\x80\2\x83\1\2.") == Global("copyreg", "extension 513")
    many = read(call("builtins", "set", [(n,) for n in range(100)]))
    assert isinstance(many, Record) and many.name == "builtins.set"
    many = read(call("builtins", "frozenset", [(n,) for n in range(100)]))
    assert isinstance(many, Record)
    assert read(call("builtins", "bytes")) == b"" and read(call("builtins", "bytearray")) == b""
    assert read(call("copyreg", "__newobj__", 1, 2)).arguments == (2,)


NUMPY = {
    "numbers": np.arange(6, dtype="i2").reshape(2, 3),
    "big-endian": np.arange(3, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "scalar array": np.array(2.5),
    "empty": np.zeros((2, 0)),
    "complex": np.array([1 + 2j]),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", NUMPY)
def test_arrays_of_numpy_are_tensors(name: str, protocol: int) -> None:
    found = read(pickle.dumps(NUMPY[name], protocol))
    assert isinstance(found, NumpyArray) and found.tensor is not None
    array = found.tensor.array()
    assert array.dtype == NUMPY[name].dtype.newbyteorder("<")
    assert array.tolist() == NUMPY[name].tolist() and array.shape == NUMPY[name].shape


@pytest.mark.parametrize("protocol", range(6))
def test_types_of_ml_dtypes_are_known(protocol: int) -> None:
    import ml_dtypes

    array = np.array([1, -2.5], ml_dtypes.bfloat16)
    found = read(pickle.dumps(array, protocol))
    assert found.tensor.array().tolist() == [1, -2.5]


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.array([None]), np.array(["2020"], "M8[D]"), np.zeros(1, [("a", "f4")])],
    ids=["text", "objects", "dates", "structures"],
)
def test_other_arrays_are_no_tensors(array: Any) -> None:
    found = read(pickle.dumps(array, 2))
    assert isinstance(found, NumpyArray) and found.tensor is None
    assert in_words(found).startswith("NumPy array of ")


def test_scalars_of_numpy_are_themselves() -> None:
    for value in (np.float32(1.5), np.int64(-3), np.bool_(True), np.float64(math.inf)):
        found = read(pickle.dumps(value, 2))
        assert (type(found), found) == (type(value), value)
    assert isinstance(read(pickle.dumps(np.complex64(1j), 2)), Record)
    assert isinstance(read(pickle.dumps(np.datetime64("2020"), 2)), Record)
    with pytest.raises(InputError, match="scalar of 3 bytes"):
        read(pickle.dumps(np.float32(1), 4).replace(b"C\4\0\0\x80?", b"C\3\0\0\x80"))


def test_python_2_wrote_arrays_as_text() -> None:
    content = b"\x80\2cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    dtype = b"cnumpy\ndtype\nU\2f4K\0K\1\x87R(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    for raw in (b"abcd", b"\0\0\x80?"):
        found = read(content + b"(K\1K\1\x85" + dtype + b"\x89U\4" + raw + b"tb.")
        assert found.tensor.array().tobytes() == raw
    with pytest.raises(InputError, match="4 bytes for a NumPy array of"):
        read(content + b"(K\1K\2\x85" + dtype + b"\x89U\4abcdtb.")
    with pytest.raises(InputError, match="whose shape is none"):
        read(content + b"(K\1" + text("a") + b"\x85" + dtype + b"\x89U\4abcdtb.")


def one(tmp_path: Path, content: bytes) -> Any:
    """The only tensor of a file."""
    (tmp_path / "m.pt").write_bytes(content)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        (name,) = checkpoint.tensors
        return checkpoint.read(name)


def test_parts_of_storages_in_old_files(tmp_path: Path) -> None:
    def of(start: bytes, size: bytes) -> bytes:
        part = b"(" + text("part") + start + size + b"t"
        content = tensor(shape=b"K\2\x85").replace(b"K\4tQ", b"K\4" + part + b"tQ")
        return hostile.in_legacy(content)

    assert one(tmp_path, of(b"K\1", b"K\2")).tolist() == [2, 3]
    for start, size in ((b"K\3", b"K\2"), (b"J\xff\xff\xff\xff", b"K\2"), (b"N", b"K\2")):
        with pytest.raises(InputError):
            one(tmp_path, of(start, size))
    whole = tensor().replace(b"K\4tQ", b"K\4K\7tQ")
    with pytest.raises(InputError, match="without a place"):
        one(tmp_path, hostile.in_legacy(whole))


def test_files_of_other_machines(tmp_path: Path) -> None:
    start = hostile.LEGACY_START.replace(b"little_endianq\2\x88", b"little_endianq\2\x89")
    assert start != hostile.LEGACY_START
    legacy = start + tensor() + pickle.dumps(["0"], 2) + struct.pack(">q4f", 4, 1, 2, 3, 4)
    assert one(tmp_path, legacy).tolist() == [1, 2, 3, 4]
    pairs = struct.pack(">4f", 1, 2, 3, 4)
    complex_ = tensor(count=b"K\2", kind="ComplexFloatStorage", shape=b"K\2\x85")
    for content, values in ((tensor(), [1, 2, 3, 4]), (complex_, [1 + 2j, 3 + 4j])):
        found = one(tmp_path, hostile.in_zip(content, data=pairs, byteorder=b"big"))
        assert found.tolist() == values
    with pytest.raises(InputError, match="unknown version"):
        one(tmp_path, hostile.LEGACY_START.replace(b"M\xe9\3.", b"M\xea\3.", 1) + tensor())


def test_storages_that_do_not_fit_in_old_files(tmp_path: Path) -> None:
    def of(keys: list[str], *parts: bytes) -> bytes:
        return hostile.LEGACY_START + tensor() + pickle.dumps(keys, 2) + b"".join(parts)

    data = hostile.STORAGE
    with pytest.raises(InputError, match="not of the size"):
        one(tmp_path, of(["0"], struct.pack("<q", 5), data, data))
    with pytest.raises(InputError, match="cut short"):
        one(tmp_path, of(["0"], struct.pack("<q", 4), data[:-1]))
    with pytest.raises(InputError, match="misses the storage"):
        one(tmp_path, of([]))
    with pytest.raises(InputError, match="does not name"):
        one(tmp_path, of(["1"], struct.pack("<q", 4), data))


def rebuilt(name: str, *inside: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    made = f"c{module}\n{function}\n".encode() + b"(" + b"".join(inside) + b"tR"
    return b"\x80\2}" + text("w") + made + b"s."


PLACE = storage() + b"K\0K\4\x85K\1\x85"
FLOAT, UNTYPED = b"ctorch\nfloat32\n", storage(count=b"K\x10", kind="UntypedStorage")
INNER = b"ctorch._utils\n_rebuild_tensor\n(" + PLACE + b"tR"
NUMPY_4 = pickle.dumps(np.array([1, 2, 3, 4], "f4"), 2)[2:-1]
READ = {
    "old": rebuilt("torch._utils._rebuild_tensor", PLACE),
    "sized": rebuilt(
        "torch._utils._rebuild_tensor",
        storage() + b"K\0ctorch\nSize\nK\4\x85\x85RK\1\x85",
    ),
    "untyped": rebuilt(
        "torch._utils._rebuild_tensor_v3", UNTYPED + b"K\0K\4\x85K\1\x85\x89}", FLOAT
    ),
    "of a type": rebuilt(
        "torch._tensor._rebuild_from_type_v2",
        b"ctorch._utils\n_rebuild_tensor\nca\nSubclass\n(" + PLACE + b"t}",
    ),
    "parameter": rebuilt("torch._utils._rebuild_parameter", INNER + b"\x88}"),
    "parameter with state": rebuilt(
        "torch._utils._rebuild_parameter_with_state", INNER + b"\x88}}"
    ),
    "of an accelerator": rebuilt(
        "torch._utils._rebuild_device_tensor_from_numpy", NUMPY_4, FLOAT, text("xla"), b"\x89"
    ),
    "of another device": rebuilt(
        "torch._utils._rebuild_device_tensor_from_cpu_tensor", INNER, FLOAT, text("x"), b"\x89"
    ),
}
UNREADABLE = {
    "sparse": (rebuilt("torch._utils._rebuild_sparse_tensor", b"N"), "is sparse"),
    "parameter of a sparse": (
        rebuilt(
            "torch._utils._rebuild_parameter",
            b"ctorch._utils\n_rebuild_sparse_tensor\n)R\x88}",
        ),
        "is sparse",
    ),
    "of a type by a stranger": (
        rebuilt("torch._tensor._rebuild_from_type_v2", b"cos\nsystem\nca\nB\n)}"),
        r"made by os\.system, which is never run",
    ),
    "of an accelerator, converted": (
        rebuilt("torch._utils._rebuild_xla_tensor", NUMPY_4, b"ctorch\nbfloat16\n"),
        "written as float32 by way of NumPy",
    ),
    "of a type that is none": (
        rebuilt("torch._utils._rebuild_tensor_v3", UNTYPED + b"K\0K\4\x85K\1\x85\x89}N"),
        "no element type",
    ),
    "repeated for ever": (
        tensor(shape=b"J\0\0\0\x7f\x85", stride=b"K\0\x85"),
        "repeats 16 bytes to make",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_ways_to_write_a_tensor(tmp_path: Path, name: str) -> None:
    data = {"data": hostile.STORAGE}
    assert one(tmp_path, hostile.in_zip(READ[name], **data)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", UNREADABLE)
def test_tensors_without_elements_say_why(tmp_path: Path, name: str) -> None:
    content, cause = UNREADABLE[name]
    with pytest.raises((InputError, UnsupportedError), match=cause):
        one(tmp_path, hostile.in_zip(content))


def test_unreadable_tensors_beside_are_told(tmp_path: Path) -> None:
    """They keep nobody from reading the rest."""
    content = b"\x80\2}(" + text("model") + tensor()[2:-1] + text("other")
    content += UNREADABLE["sparse"][0][2:-1] + b"u."
    (tmp_path / "m.pt").write_bytes(hostile.in_zip(content))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [(p.key, p.tensors, p.nbytes) for p in checkpoint.left_out] == [("other", 1, 0)]
    direct = b"ctorch._utils\n_rebuild_sparse_tensor\n)R"
    content = b"\x80\2}(" + text("model") + tensor()[2:-1] + text("other") + direct + b"u."
    (tmp_path / "m.pt").write_bytes(hostile.in_zip(content))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert [part.what for part in checkpoint.left_out] == ["tensor that can't be read"]
    for read_it in (UnreadableTensor("is sparse").array, UnreadableTensor("is sparse").corner):
        with pytest.raises(InputError, match="is sparse"):
            read_it()


def test_several_storages_inflated_in_turn(tmp_path: Path) -> None:
    first, second = tensor()[2:-1], tensor(key=text("1"))[2:-1]
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\2(" + first + second + first + b"t.")
        archive.writestr("m/data/0", hostile.STORAGE)
        archive.writestr("m/data/1", hostile.STORAGE[::-1])
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.ties == {"2.w": "0.w"}
        for _ in range(2):
            assert checkpoint.read("0.w").tobytes() == hostile.STORAGE
            assert checkpoint.read("0.w").tobytes() == hostile.STORAGE
            assert checkpoint.read("1.w").tobytes() == hostile.STORAGE[::-1]


def test_storage_that_was_pickled_once_is_shared(tmp_path: Path) -> None:
    """Without PyTorch's help each storage is a file of its own inside of the pickle."""
    torch = pytest.importorskip("torch")
    weight = torch.arange(4.0)
    content = pickle.dumps({"w": weight, "again": weight.view(2, 2)}, 4)
    (tmp_path / "m.pt").write_bytes(content)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.read("w").tolist() == [0, 1, 2, 3]
        assert checkpoint.read("again").tolist() == [[0, 1], [2, 3]]
    inner = io.BytesIO()
    torch.save(weight.untyped_storage(), inner, _use_new_zipfile_serialization=False)
    bytes_ = b"B" + struct.pack("<I", len(inner.getvalue())) + inner.getvalue() + b"q\0"
    load = b"ctorch.storage\n_load_from_bytes\n"
    made = b"ctorch._utils\n_rebuild_tensor_v3\n("
    rest = b"K\0K\4\x85K\1\x85\x89}" + FLOAT + b"tR"
    content = b"\x80\4}(" + text("a") + made + load + bytes_ + b"\x85R" + rest
    content += text("b") + made + load + b"h\0\x85R" + rest + b"u."
    (tmp_path / "m.pt").write_bytes(content)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.ties == {"b": "a"}
        assert checkpoint.read("b").tolist() == [0, 1, 2, 3]


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    one_name = b"}(" + text("a.b") + tensor()[2:-1] + text("a") + b"}" + text("b")
    content = b"\x80\2(" + one_name + tensor()[2:-1] + b"sut."
    with pytest.raises(InputError, match="two tensors have this name"):
        one(tmp_path, hostile.in_zip(content))


def test_dictionaries_shared_for_ever_are_refused(tmp_path: Path) -> None:
    whole = tensor()[2:-1]
    alone = whole.removeprefix(b"}" + text("w")).removesuffix(b"s")
    inside = alone + b"q\0"
    for level in range(6):
        members = b"".join(text(f"k{n}") + b"h" + bytes([level]) for n in range(30))
        inside += b"0}(" + members + b"uq" + bytes([level + 1])
    content = b"\x80\2}(" + text("deep") + inside + text("w") + alone + b"u."
    with pytest.raises(InputError, match="without an end"):
        one(tmp_path, hostile.in_zip(content))


def test_compressed_pickles_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\2(" + 500 * b"K\1" + b"t.")
    content = (tmp_path / "m.pt").read_bytes()
    at = 30 + len("m/data.pkl")
    (tmp_path / "bad.pt").write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    with pytest.raises(InputError, match=r"damaged zip archive: 'm/data\.pkl'"):
        open_checkpoint(tmp_path / "bad.pt")
    monkeypatch.setattr("dcz.formats.checkpoints.pickles.torch_zip.MAX_PICKLE_BYTES", 1000)
    with pytest.raises(InputError, match=r"data\.pkl is compressed and of more than"):
        open_checkpoint(tmp_path / "m.pt")


def test_values_in_words() -> None:
    assert in_words("x" * 100) == "'" + "x" * 39 + "..."
    assert in_words(b"abc") == "3 bytes" and in_words({1}) == "set of 1"
    assert in_words(Global("a", "B")) == "the name a.B" and in_words(np.float32(1.5)) == "1.5"
    assert in_words(read(pickle.dumps(np.ones((2, 3)), 2))) == "tensor float64 2x3"
    found = find_contents(read(b"\x80\2}(" + text("w") + NUMPY_4 + text("s") + b"ca\nB\n)\x81u."))
    assert [part.what for part in found.left_out] == ["a.B, an object that was not made"]


def test_names_of_keys() -> None:
    keys = {(1, "a"): 0, Global("a", "B"): 1, Record(Global("c", "D"), ()): 2, None: 3, 2.5: 4}
    assert [name for name, _ in children(keys)] == ["1,a", "a.B", "c.D", "None", "2.5"]
    assert key_text(True) == "True"


def test_what_holds_itself_is_read_once(tmp_path: Path) -> None:
    content = b"\x80\2}q\0(" + text("model") + tensor()[2:-1] + text("self") + b"h\0u."
    (tmp_path / "m.pt").write_bytes(hostile.in_zip(content))
    with open_checkpoint(tmp_path / "m.pt", key="self.self") as checkpoint:
        assert list(checkpoint.tensors) == ["model.w"]


def test_long_names_are_refused(tmp_path: Path) -> None:
    content = b"".join(b"}" + text("x" * 2000) for _ in range(4)) + tensor()[2:-1] + b"ssss"
    with pytest.raises(InputError, match="without an end"):
        one(tmp_path, hostile.in_zip(b"\x80\2" + content + b"."))


def test_many_parts_are_counted_and_not_all_told(tmp_path: Path) -> None:
    many = b"".join(text(f"k{n}") + b"K\1" for n in range(1100))
    content = b"\x80\2}(" + text("model") + tensor()[2:-1] + many + b"u."
    (tmp_path / "m.pt").write_bytes(hostile.in_zip(content))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert len(checkpoint.left_out) == 1001
        assert checkpoint.left_out[-1].what == "more"
