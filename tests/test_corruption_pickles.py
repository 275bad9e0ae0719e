"""Hostile and damaged pickles: nothing of them runs, and each ends in a typed error or in data."""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support_pickles as hostile
from support_pickles import call, storage, tensor, text

from dcz.codec.errors import DczError, InputError
from dcz.formats.checkpoints.registry import open_checkpoint

IN_ALL = pytest.mark.parametrize("container", hostile.CONTAINERS)


VICTIM = "touch /tmp/dcz-was-here"
GADGETS = {
    "os.system": call("os", "system", VICTIM),
    "posix.system": call("posix", "system", VICTIM),
    "subprocess": call("subprocess", "Popen", ["touch", "x"]),
    "subprocess.getoutput": call("subprocess", "getoutput", VICTIM),
    "eval": call("builtins", "eval", "__import__('os').system('true')"),
    "exec": call("builtins", "exec", "import antigravity"),
    "compile": call("builtins", "compile", "1", "x", "eval"),
    "python 2's eval": call("__builtin__", "eval", "1"),
    "import": call("builtins", "__import__", "antigravity"),
    "getattr": call("builtins", "getattr", "a", "join"),
    "open": call("builtins", "open", "was-here", "w"),
    "runpy": call("runpy", "_run_code", "import antigravity", {}),
    "runpy.run_path": call("runpy", "run_path", "x.py"),
    "importlib": call("importlib", "import_module", "antigravity"),
    "pip": call("pip", "main", ["install", "x"]),
    "pickle in a pickle": call("pickle", "loads", call("os", "system", VICTIM)),
    "marshal": call("marshal", "loads", b"x"),
    "types": call("types", "FunctionType", 1),
    "codecs": call("_codecs", "decode", "x", "unicode_escape"),
    "numpy.load": call("numpy", "load", "x.npy"),
    "numpy's runner": call("numpy.testing._private.utils", "runstring", "import antigravity", {}),
    "torch.load": call("torch.serialization", "load", "x.pt"),
    "torch.hub": call("torch.hub", "load", "x", "y"),
    "torch's builder by name": call("torch._utils", "_import_dotted_name", "os.system"),
    "webbrowser": call("webbrowser", "open", "http://localhost"),
    "socket": call("socket", "create_connection", ["localhost", 1]),
    "breakpoint": call("builtins", "breakpoint"),
    "exit": call("sys", "exit", 1),
    "operator.attrgetter": call("operator", "attrgetter", "system"),
    "functools.partial": call("functools", "partial", 1),
    "ctypes": call("ctypes", "CDLL", "libc.so.6"),
    "stack global": b"\x80\4" + b"\x8c\2os\x8c\6system\x93\x8c\4true\x85R.",
    "dotted name": b"\x80\4" + b"\x8c\2os\x8c\x0bpath.exists\x93\x8c\4true\x85R.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "newobj": b"\x80\2cos\nsystem\n" + text("true") + b"\x85\x81.",
    "newobj with keywords": b"\x80\4cos\nsystem\n)}" + text("command") + text("true") + b"s\x92.",
    "build": b"\x80\2cargparse\nNamespace\n)\x81}" + text("__class__") + b"cos\nsystem\nsb.",
    "setstate": b"\x80\2cfunctools\npartial\ncos\nsystem\n\x85\x81(cos\nsystem\n)}Ntb)R.",
    "call of a result": b"\x80\2cbuiltins\ngetattr\ncos\n__dict__\n" + text("system") + b"\x86R"
    b"\x85R.",
    "chain": b"\x80\2cbuiltins\nmap\ncos\nsystem\n]" + text("true") + b"a\x86Rcbuiltins\nlist\n"
    b"q\0h\0\x85R.",
    "default factory": b"\x80\2ccollections\ndefaultdict\ncos\nsystem\n\x85RK\1K\2s.",
    "key": b"\x80\2}cos\nsystem\n" + text("true") + b"\x85RK\1s.",
    "in a set": b"\x80\4\x8f(cos\nsystem\n" + text("true") + b"\x85R\x90.",
    "item of an object": b"\x80\2cos\nsystem\n)R(" + text("a") + b"e(" + text("a") + b"K\1u.",
    "extension": b"\x80\2\x82\1)R.",
    "extension 4": b"\x80\2\x84\1\0\0\0)R.",
    "persistent class": b"\x80\2(" + text("module") + b"cos\nsystem\n" + text("x") * 2 + b"tQ)R.",
    "tensor of a type": b"\x80\2ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncos\nsystem\n"
    + text("true")
    + b"\x85}tR.",
    "parameter of nothing": b"\x80\2ctorch._utils\n_rebuild_parameter\ncos\nsystem\n\x85R.",
    "storage of bytes": call("torch.storage", "_load_from_bytes", call("os", "system", VICTIM)),
    "array of objects": pickle.dumps(np.array([os.system], object), 2),
}


@IN_ALL
@pytest.mark.parametrize("name", GADGETS)
def test_no_gadget_runs(tmp_path: Path, name: str, container: str) -> None:
    content = GADGETS[name]
    good, path = tmp_path / "good.pt", tmp_path / "m.pt"
    # Once with a tensor beside it, so that it is read to the end.
    beside = b"(" + tensor()[2:-1] + content.removeprefix(b"\x80\2")[:-1] + b"t."
    good.write_bytes(hostile.CONTAINERS[container](b"\x80\2]."))
    for pickled in (content, beside):
        path.write_bytes(hostile.CONTAINERS[container](pickled))
        with pytest.raises(DczError):
            open_checkpoint(good)  # imports what reading imports
        with hostile.nothing_runs():
            try:
                hostile.read_all(path)
            except DczError as error:
                assert error.file == str(path)
    assert sorted(os.listdir(tmp_path)) == ["good.pt", "m.pt"]


def test_watch_sees_what_runs() -> None:
    for name in ("posix.system", "stack global", "eval"):
        with pytest.raises(AssertionError), hostile.nothing_runs():
            pickle.loads(GADGETS[name].replace(VICTIM.encode(), b"true".ljust(len(VICTIM))))


def deep(code: bytes, count: int = 200_000) -> bytes:
    return b"\x80\2" + b"]" * count + code * (count - 1) + b"."


def laughs(start: bytes, again: bytes, count: int = 200) -> bytes:
    """Each value holds the one before it twice."""
    return (
        b"\x80\4"
        + start
        + b"\x94"
        + b"".join(again.replace(b"#", struct.pack("<I", number)) for number in range(count))
    )


BROKEN = {
    "nothing": b"",
    "no end": b"\x80\2]",
    "empty stack": b".",
    "pop of nothing": b"0.",
    "tuple of nothing": b"\x80\2\x87.",
    "mark missing": b"\x80\2]e.",
    "below a mark": b"\x80\2](a.",
    "append to a number": b"\x80\2K\1K\2a.",
    "append to a dict": b"\x80\2}K\2a.",
    "add to a list": b"\x80\4](K\1\x90.",
    "items of a list": b"\x80\2]K\1K\2s.",
    "odd items": b"\x80\2}(K\1u.",
    "odd dict": b"\x80\2(K\1d.",
    "list as a key": b"\x80\2}]K\1s.",
    "tuple of lists as a key": b"\x80\2}]\x85K\1s.",
    "large tuple as a key": b"\x80\2}(" + 100 * b"K\1" + b"tK\1s.",
    "build on a list": b"\x80\2]}b.",
    "object of nothing": b"\x80\2(o.",
    "global of numbers": b"\x80\4K\1K\2\x93.",
    "memo of nothing": b"\x80\2h\7.",
    "memo of nothing, by text": b"g7\n.",
    "memo of an empty stack": b"\x80\2q\7.",
    "memo by no number": b"]pseven\n.",
    "persistent of nothing": b"\x80\2Q.",
    "persistent by text": b"Psomewhere\n.",
    "persistent number": b"\x80\2K\1Q.",
    "persistent short": b"\x80\2" + text("storage") + b"\x85Q.",
    "buffer": b"\x80\5\x97.",
    "unknown opcode": b"\x80\2\xff.",
    "int of no number": b"Iseven\n.",
    "float of no number": b"Fseven\n.",
    "long of no number": b"LsevenL\n.",
    "digits": b"I" + 5000 * b"9" + b"\n.",
    "line without an end": b"I" + 3000 * b"9",
    "very long line": b"V" + (5 << 20) * b"9",
    "string without quotes": b"Sseven\n.",
    "string of one quote": b"S'\n.",
    "string with an escape that is none": rb"S'\x'" + b"\n.",
    "text that is none": b"X\2\0\0\0\xff\xff.",
    "text past the end": b"X\xff\xff\xff\xffa.",
    "text of 2^63 bytes": b"\x8d" + b"\xff" * 8 + b"a.",
    "bytes past the end": b"B\xff\xff\xff\x7fa.",
    "bytearray past the end": b"\x96\0\0\0\0\0\0\0\x40a.",
    "integer of 2 GiB": b"\x8b\xff\xff\xff\x7f.",
    "integer of a megabyte": b"\x8b\0\0\x10\0" + (1 << 20) * b"\1" + b".",
    "integer of a negative size": b"\x8b\xff\xff\xff\xff.",
    "unordered": call("collections", "OrderedDict", [1, 2]),
    "ordered of a number": call("collections", "OrderedDict", 1),
    "ordered of lists": call("collections", "OrderedDict", [[[], 1]]),
    "set of lists": call("builtins", "set", [[]]),
    "frozenset of a number": call("builtins", "frozenset", 3),
    "complex of text": call("builtins", "complex", "1j"),
    "bytes of a size": call("builtins", "bytes", 1 << 40),
    "bytearray of a size": call("builtins", "bytearray", 1 << 40),
    "encoded by something": call("_codecs", "encode", "a", "rot13"),
    "encoded beyond": call("_codecs", "encode", "\u1234", "latin1"),
    "object without a class": call("copyreg", "__newobj__"),
    "object of a base": call("copyreg", "_reconstructor", 1),
    "array without anything": call("numpy.core.multiarray", "_reconstruct")[:-1] + b"Nb.",
    "array of a number": call("numpy.core.multiarray", "_reconstruct")[:-1] + b"K\1\x85b.",
    "buffer without elements": call("numpy._core.numeric", "_frombuffer", b"abc"),
    "buffer without a dtype": call("numpy._core.numeric", "_frombuffer", b"abc", "f4", (1,), "C"),
    "dtype of nothing": call("numpy", "dtype"),
    "dtype without a state": call("numpy", "dtype", "f4")[:-1] + b"Nb.",
    "storage of bytes that is no file": call("torch.storage", "_load_from_bytes", b"abc"),
    "storage of bytes that is none": call("torch.storage", "_load_from_bytes", b"N."),
    "storage of a number": call("torch.storage", "_load_from_bytes", 1),
    "tensor without a storage": call("torch._utils", "_rebuild_tensor_v2", 1, 2, 3, 4),
    "tensor without anything": call("torch._utils", "_rebuild_tensor_v2"),
    "tensor without a type": call("torch._utils", "_rebuild_tensor_v3", 1, 2),
    "tensor of no type": call("torch._tensor", "_rebuild_from_type_v2", 1),
    "parameter without anything": call("torch._utils", "_rebuild_parameter"),
    "tensor from nothing": call("torch._utils", "_rebuild_device_tensor_from_numpy"),
    "tensor of a number": call("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", 1),
    "laughing tuples": laughs(b")", b"j#j#\x86\x94") + b"q\0}h\0K\1s.",
    "laughing dicts": laughs(b"}", b"}" + text("a") + b"j#s" + text("b") + b"j#s\x94", 60) + b".",
    "laughing lists": laughs(b"]", b"]j#aj#a\x94", 60) + b".",
    "keys of one hash": b"\x80\2}("
    + b"".join(
        b"\x8a\x0a" + ((2**61 - 1) * n).to_bytes(10, "little") + b"N" for n in range(1, 30_000)
    )
    + b"u.",
    "deep lists": deep(b"a"),
    "deep frozensets": b"\x80\4" + 200_000 * b"(" + 200_000 * b"\x91" + b".",
    "large frozenset as a key": b"\x80\4}("
    + b"".join(b"K" + bytes([n]) for n in range(100))
    + b"\x91K\1s.",
    "deep tuples": b"\x80\2)" + 200_000 * b"\x85" + b".",
    "deep dicts": b"\x80\2}" + 100_000 * b"q\0}K\1h\0s" + b".",
    "deep marks": b"\x80\2" + 200_000 * b"(" + b".",
    "deep reduces": b"\x80\2)" + 100_000 * b"q\0cos\nsystem\nh\0\x85R" + b".",
    "a cycle": b"\x80\2]q\0h\0a.",
    "a cycle of dicts": b"\x80\2}q\0" + text("a") + b"h\0s.",
}
HOSTILE_TENSORS = {
    "offset past the end": tensor(b"K\1"),
    "negative offset": tensor(b"J\xff\xff\xff\xff"),
    "offset of text": tensor(text("a")),
    "negative stride": tensor(stride=b"J\xff\xff\xff\xff\x85"),
    "negative shape": tensor(shape=b"J\xff\xff\xff\xff\x85"),
    "huge shape": tensor(shape=b"\x8a\x08" + b"\xff" * 7 + b"\x7f\x85"),
    "huge shape without a stride": tensor(shape=b"\x8a\6\0\0\0\0\0\1\x85", stride=b"K\0\x85"),
    "huge stride": tensor(stride=b"\x8a\x07" + b"\xff" * 6 + b"\x7f\x85"),
    "strides beside the shape": tensor(stride=b"K\1K\1\x86"),
    "shape of a number": tensor(shape=b"K\4"),
    "shape of 100 dimensions": tensor(shape=b"(" + 100 * b"K\1" + b"t"),
    "shape of 33 dimensions": tensor(b"K\0", b"(" + 33 * b"K\1" + b"t", b"(" + 33 * b"K\1" + b"t"),
    "huge storage": tensor(count=b"\x8a\7" + b"\xff" * 6 + b"\x7f"),
    "negative storage": tensor(count=b"J\xff\xff\xff\xff"),
    "small storage": tensor(count=b"K\3"),
    "storage that is not there": tensor(key=text("1")),
    "storage outside": tensor(key=text("../../../etc/passwd")),
    "storage by a list": tensor(key=b"]"),
    "storage of no class": tensor(kind="Namespace"),
    "type of two storages": tensor()[:-2]
    + text("v")
    + b"ctorch._utils\n_rebuild_tensor\n("
    + storage(count=b"K\2", kind="DoubleStorage")
    + b"K\0K\2\x85K\1\x85tRs.",
}


@IN_ALL
@pytest.mark.parametrize("name", BROKEN | HOSTILE_TENSORS)
def test_what_is_broken_is_refused(tmp_path: Path, name: str, container: str) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(hostile.CONTAINERS[container]((BROKEN | HOSTILE_TENSORS)[name]))
    with hostile.nothing_runs(), pytest.raises(DczError) as caught:
        hostile.read_all(path)
    assert caught.value.file == str(path) and "\n" not in str(caught.value)


def test_tensor_of_these_tests_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    for container in ("zip", "legacy"):
        path.write_bytes(hostile.CONTAINERS[container](tensor()))
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.read("w").tolist() == [1, 2, 3, 4]
    overlapping = tensor(shape=b"K\3K\2\x86", stride=b"K\1K\1\x86")
    path.write_bytes(hostile.in_zip(overlapping))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.read("w").tolist() == [[1, 2], [2, 3], [3, 4]]


BOMBS = {
    "lists": b"\x80\2" + 30_000_000 * b"]",
    "dicts": b"\x80\2" + 30_000_000 * b"}",
    "numbers": b"\x80\2(" + 20_000_000 * b"K\1" + b"l.",
    "the memo": b"\x80\4]" + 30_000_000 * b"\x94" + b".",
    "copies of a text": b"\x80\2("
    + text(1_000_000 * "a")
    + b"q\0"
    + b"c_codecs\nencode\nq\1"
    + 20_000 * (b"h\1h\0" + text("latin1") + b"\x86R")
    + b"t.",
    "copies of a list": b"\x80\2("
    + b"]("
    + 10_000 * b"K\1"
    + b"eq\0"
    + b"cbuiltins\nset\nq\1"
    + 100_000 * b"h\1h\0\x85R"
    + b"t.",
    "marks": b"\x80\2" + 30_000_000 * b"(",
}
READ_WITHIN_LIMIT = """if True:
    import resource, sys
    from dcz.codec.errors import InputError
    from dcz.formats.checkpoints.registry import open_checkpoint
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), -1))
    try:
        open_checkpoint(sys.argv[1])
    except InputError as error:
        print(error.cause)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded(tmp_path: Path, name: str) -> None:
    """Small compressed archives hold pickles of many objects."""
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", BOMBS[name])
    assert path.stat().st_size < 1 << 20
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHIN_LIMIT, str(path)], capture_output=True, text=True
    )
    assert "its pickle makes objects of more than 512 MiB" in done.stdout, done.stderr


def seeds() -> list[bytes]:
    """Pickles of many kinds of values, most with tensors."""
    values: list[Any] = [
        {"a": [1, 2.5, None, True, "x", b"y", (1, 2), {3}, frozenset("q"), 1 << 70]},
        {"w": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.ones((2, 3), "f4"))},
        {"s": np.float32(1.5), "big": np.arange(3, dtype=">i2"), "t": np.array(["a", "b"])},
        collections.OrderedDict(a=argparse.Namespace(lr=1), b=collections.defaultdict(list)),
        {"now": datetime.datetime(2026, 1, 2), "path": pathlib.PurePosixPath("a/b")},
    ]
    pickled = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
    # Most have a tensor beside them, so that something is left to be read.
    found = [b"(" + tensor()[2:-1] + content[:-1] + b"t." for content in pickled]
    module = b"\x80\2ca\nB\n)\x81}(" + text("_parameters") + tensor()[2:-1] + text("_buffers")
    module += b"}" + text("_modules") + b"}ub."
    return [
        *found,
        *pickled[::5],
        tensor(),
        module,
        *(GADGETS[name] for name in ("chain", "setstate", "inst")),
    ]


def fuzz(tmp_path: Path, count: int, seed: int) -> None:
    generator, kinds, outcomes = random.Random(seed), seeds(), collections.Counter[str]()
    path = tmp_path / "m.pt"
    names = list(hostile.CONTAINERS)
    for number in range(count):
        wrap = hostile.CONTAINERS[names[number % 3]]
        changed = hostile.mutate(generator, generator.choice(kinds))
        content = wrap(changed)
        if number % 7 == 0:  # the container is damaged too
            content = hostile.mutate(generator, content)
        path.write_bytes(content)
        with hostile.nothing_runs():
            try:
                hostile.read_all(path)
            except DczError as error:
                outcomes[type(error).__name__] += 1
            else:
                outcomes["read"] += 1
    assert outcomes["read"] and outcomes["InputError"]
    print(dict(outcomes))


def test_mutated_pickles_give_data_or_typed_errors(tmp_path: Path) -> None:
    fuzz(tmp_path, 3_000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_mutated_pickles_at_length(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, 10_000, 2 + seed)


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_every_prefix_is_refused(tmp_path: Path, container: str) -> None:
    whole = hostile.CONTAINERS[container](tensor())
    path = tmp_path / "m.pt"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DczError):
            hostile.read_all(path)


def damaged_zip(**changes: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", changes.get("method", zipfile.ZIP_STORED)) as archive:
        archive.writestr("archive/data.pkl", tensor())
        archive.writestr("archive/data/0", changes.get("storage", hostile.STORAGE))
    return stream.getvalue()


def test_archive_that_lies_is_refused(tmp_path: Path) -> None:
    deflated = damaged_zip(method=zipfile.ZIP_DEFLATED)
    twice = io.BytesIO(damaged_zip())
    with pytest.warns(UserWarning), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("archive/data/0", hostile.STORAGE)
    cases = {
        "has 20 bytes, not 16": damaged_zip(storage=bytes(20)),
        "two of its members": twice.getvalue(),
        "method 14 is not supported": damaged_zip(method=zipfile.ZIP_LZMA),
        "no member where": damaged_zip()
        .replace(b"PK\3\4", b"PK\3\5")
        .replace(b"PK\3\5", b"PK\3\4", 1),
        "not what was compressed": flipped_checksum(deflated),
        "is cut short": cut_short(damaged_zip()),
    }
    path = tmp_path / "m.pt"
    for cause, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(DczError, match=cause):
            hostile.read_all(path)


def flipped_checksum(content: bytes) -> bytes:
    """The checksum of the pickle in the directory."""
    at = content.index(b"PK\1\2") + 16
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def cut_short(content: bytes) -> bytes:
    """The local header of the first member says that more is between it and its content."""
    return content[:28] + b"\xff\xff" + content[30:]


def test_record_is_inert(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(GADGETS["os.system"])
    with pytest.raises(InputError, match=r"no tensors but os\.system, an object that was not made"):
        open_checkpoint(path)
