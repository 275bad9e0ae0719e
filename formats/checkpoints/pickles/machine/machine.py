"""Runs a pickle as data: an interpreter of its opcodes that imports nothing and calls nothing.

The opcodes are those of Python's pickle up to protocol 5 (documented in its module pickletools).
What they would import becomes a `Global`, what they would call a `Record`, except for the few
names of a table of builders, each of which is a function written here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

from .....codec.errors import InputError
from .records import Global, Record, Stateful, is_usual_key
from .tape import LITERALS, Tape

Arguments: TypeAlias = tuple[object, ...]
Builder: TypeAlias = Callable[[Arguments], object]
Persistent: TypeAlias = Callable[[object], object]

MAX_MEMORY = 1 << 29
MAX_UNUSUAL_KEYS = 10_000
# What an opcode may take: a small object and its place in stack, memo and container.
_OPCODE_MEMORY = 96
_CONTAINER_MEMORY = 256
_STOP = ord(".")
_FAULTS = (ValueError, OverflowError, TypeError, RecursionError, struct.error)


def no_persistent(identifier: object) -> object:
    """Refuse a reference to anything outside of a pickle."""
    raise InputError("its pickle refers to something outside of it")


class Machine:
    """An interpreter of one pickle.

    Parameters
    ----------
    tape : Tape
        Stands at the pickle's start, and after it when the pickle was run.
    builders : mapping of str to function
        For some names what is made in place of a `Record`, given the arguments.
    persistent : function
        Gives what a persistent identifier stands for.
    memory : int
        Bytes that the pickle's objects may take, beside what stays where it lies in the file.
    """

    def __init__(
        self,
        tape: Tape,
        builders: Mapping[str, Builder],
        persistent: Persistent = no_persistent,
        memory: int = MAX_MEMORY,
    ) -> None:
        self._tape = tape
        self._builders = builders
        self._persistent = persistent
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}
        self._memory = self._left = memory
        self._unusual = MAX_UNUSUAL_KEYS

    def run(self) -> object:
        """Give the value of the pickle.

        Raises
        ------
        InputError
            It is damaged, or takes too much memory.
        """
        try:
            return self._run()
        except _FAULTS as error:
            raise InputError(f"its pickle is damaged at byte {self._tape.at}: {error}") from None

    def _run(self) -> object:
        tape = self._tape
        while (code := tape.byte()) != _STOP:
            self._left -= _OPCODE_MEMORY
            if self._left < 0:
                self._spend(0)
            literal = LITERALS.get(code)
            if literal is not None:
                before = tape.at
                value = literal(tape)
                if isinstance(value, str):
                    self._spend(4 * (tape.at - before))
                self._stack.append(value)
                continue
            action = _ACTIONS.get(code)
            if action is None:
                raise InputError(f"its pickle has an unknown opcode {code:#x} at {tape.at - 1}")
            action(self)
        return self._pop()

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InputError(f"its pickle makes objects of more than {self._memory >> 20} MiB")

    # The stack. Nothing reaches below the last mark.

    def _pop(self) -> object:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise InputError(f"its pickle takes what is not there at byte {self._tape.at}")
        return self._stack.pop()

    def _pop_marked(self) -> list[object]:
        if not self._marks:
            raise InputError(f"its pickle misses a mark at byte {self._tape.at}")
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _top(self) -> object:
        value = self._pop()
        self._stack.append(value)
        return value

    def _push(self, value: object) -> None:
        self._spend(_CONTAINER_MEMORY)
        self._stack.append(value)

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _drop(self) -> None:
        # A mark is dropped like a value.
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    # The memo.

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise InputError(f"its pickle refers to value {index}, which it does not have")
        self._stack.append(self._memo[index])

    # Containers.

    def _tuple(self, size: int) -> None:
        items = [self._pop() for _ in range(size)]
        self._push(tuple(reversed(items)))

    def _extend(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, Record):
            target = target.items
        if not isinstance(target, list):
            raise InputError(f"its pickle appends to a {type(target).__name__}")
        target += values

    def _add(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, Record):
            target.items.extend(values)
            return
        if not isinstance(target, set):
            raise InputError(f"its pickle adds to a {type(target).__name__}")
        target |= {self._key(value) for value in values}

    def _assign(self, values: list[object]) -> None:
        target = self._top()
        if isinstance(target, Record):
            target = target.entries
        if not isinstance(target, dict):
            raise InputError(f"its pickle assigns to keys of a {type(target).__name__}")
        self._fill(target, values)

    def _fill(self, target: dict[object, object], values: list[object]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[self._key(key)] = value

    def _new_dict(self, values: list[object]) -> None:
        target: dict[object, object] = {}
        self._fill(target, values)
        self._push(target)

    def _key(self, key: object) -> object:
        self._spend(_OPCODE_MEMORY)
        if not is_usual_key(key):
            self._unusual -= 1
            if self._unusual < 0:
                raise InputError(f"its pickle has over {MAX_UNUSUAL_KEYS} tuples as keys")
        return key

    # Objects.

    def _global(self) -> None:
        module = self._tape.text()
        self._push(Global(module, self._tape.text()))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("its pickle names a class by what is no text")
        self._push(Global(module, name))

    def _extension(self, width: int) -> None:
        self._push(Global("copyreg", f"extension {self._tape.unsigned(width)}"))

    def _call(self, function: object, arguments: object, keywords: object = None) -> None:
        """Push what a call would give: a builder's value, or the record that it was to be."""
        builder = None
        if isinstance(function, Global) and isinstance(arguments, tuple) and not keywords:
            builder = self._builders.get(function.known_as)
        if builder is not None and isinstance(arguments, tuple):
            self._charge(arguments)
            self._push(builder(arguments))
        else:
            self._push(Record(function, arguments, keywords))

    def _reduce(self) -> None:
        arguments = self._pop()
        self._call(self._pop(), arguments)

    def _reduce_with_keywords(self) -> None:
        keywords, arguments = self._pop(), self._pop()
        self._call(self._pop(), arguments, keywords)

    def _instance(self) -> None:
        module, name = self._tape.text(), self._tape.text()
        self._call(Global(module, name), tuple(self._pop_marked()))

    def _object(self) -> None:
        items = self._pop_marked()
        if not items:
            raise InputError("its pickle makes an object of no class")
        self._call(items[0], tuple(items[1:]))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if not isinstance(target, Stateful):
            raise InputError(f"its pickle sets the state of a {type(target).__name__}")
        self._charge(state if isinstance(state, tuple) else ())
        target.build(state)

    def _charge(self, values: Arguments) -> None:
        """Pay for what may be copied, for the same may be given again and again."""
        for value in values:
            if isinstance(value, (str, list, tuple)):
                self._spend((4 if isinstance(value, str) else _OPCODE_MEMORY) * len(value))

    def _refer(self, identifier: object) -> None:
        self._push(self._persistent(identifier))

    def _refuse_buffer(self) -> None:
        raise InputError("its pickle refers to buffers outside of it")


# Opcode to what it does; the names are those of Python's module pickletools.
_ACTIONS: dict[int, Callable[[Machine], object]] = {
    0x80: lambda m: m._tape.take(1),  # PROTO
    0x95: lambda m: m._tape.take(8),  # FRAME
    ord("("): Machine._mark,
    ord("0"): Machine._drop,
    ord("1"): Machine._pop_marked,
    ord("2"): lambda m: m._stack.append(m._top()),
    ord("p"): lambda m: m._put(int(m._tape.line())),
    ord("q"): lambda m: m._put(m._tape.byte()),
    ord("r"): lambda m: m._put(m._tape.unsigned(4)),
    0x94: lambda m: m._put(len(m._memo)),  # MEMOIZE
    ord("g"): lambda m: m._get(int(m._tape.line())),
    ord("h"): lambda m: m._get(m._tape.byte()),
    ord("j"): lambda m: m._get(m._tape.unsigned(4)),
    ord("]"): lambda m: m._push([]),
    ord("}"): lambda m: m._push({}),
    0x8F: lambda m: m._push(set()),  # EMPTY_SET
    0x85: lambda m: m._tuple(1),
    0x86: lambda m: m._tuple(2),
    0x87: lambda m: m._tuple(3),
    ord("t"): lambda m: m._push(tuple(m._pop_marked())),
    ord("l"): lambda m: m._push(m._pop_marked()),
    ord("d"): lambda m: m._new_dict(m._pop_marked()),
    0x91: lambda m: m._push(frozenset(map(m._key, m._pop_marked()))),  # FROZENSET
    ord("a"): lambda m: m._extend([m._pop()]),
    ord("e"): lambda m: m._extend(m._pop_marked()),
    0x90: lambda m: m._add(m._pop_marked()),  # ADDITEMS
    ord("s"): lambda m: m._assign([m._pop(), m._pop()][::-1]),
    ord("u"): lambda m: m._assign(m._pop_marked()),
    ord("c"): Machine._global,
    0x93: Machine._stack_global,
    0x82: lambda m: m._extension(1),  # EXT1
    0x83: lambda m: m._extension(2),
    0x84: lambda m: m._extension(4),
    ord("R"): Machine._reduce,
    0x81: Machine._reduce,  # NEWOBJ
    0x92: Machine._reduce_with_keywords,  # NEWOBJ_EX
    ord("i"): Machine._instance,
    ord("o"): Machine._object,
    ord("b"): Machine._build,
    ord("P"): lambda m: m._refer(m._tape.text()),
    ord("Q"): lambda m: m._refer(m._pop()),
    0x97: Machine._refuse_buffer,  # NEXT_BUFFER
    0x98: lambda m: None,  # READONLY_BUFFER
}
