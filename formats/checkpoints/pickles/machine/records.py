"""What a pickle holds that is neither a plain value nor a tensor: inert, whatever it is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .....codec.errors import InputError

# Python 2's names, and those that NumPy gave its modules later.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function, which is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def known_as(self) -> str:
        """The name under which `Builders` has it, the same for all releases of a library."""
        module = _RENAMED.get(self.module, self.module)
        if module.startswith("numpy._core"):
            module = "numpy.core" + module.removeprefix("numpy._core")
        return f"{module}.{self.name}"


class Stateful(ABC):
    """What the opcode BUILD may be applied to."""

    __slots__ = ()

    @abstractmethod
    def build(self, state: object) -> None:
        """Take the state that the pickle gives the object."""


class Record(Stateful):
    """An object that was never made: what would have been called, and with what.

    Attributes
    ----------
    function : object
        Usually the `Global` of a class.
    arguments : tuple
    keywords : object
        None, or what stood where names and values belong.
    state : object
        What `__setstate__` would have been given.
    items : list
        What would have been appended to it.
    entries : dict
        What would have been assigned to its keys.
    """

    __slots__ = ("_entries", "_items", "arguments", "function", "keywords", "state")

    def __init__(self, function: object, arguments: object, keywords: object = None) -> None:
        self.function = function
        self.arguments = arguments
        self.keywords = keywords
        self.state: object = None
        self._items: list[object] | None = None
        self._entries: dict[object, object] | None = None

    def build(self, state: object) -> None:
        """Keep the state."""
        self.state = state

    @property
    def items(self) -> list[object]:
        """What would have been appended."""
        if self._items is None:
            self._items = []
        return self._items

    @property
    def entries(self) -> dict[object, object]:
        """What would have been assigned to keys."""
        if self._entries is None:
            self._entries = {}
        return self._entries

    @property
    def attributes(self) -> dict[object, object]:
        """The state where it is a dictionary, alone or beside that of slots; empty otherwise."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        found: dict[object, object] = {}
        for part in parts[:2]:
            if isinstance(part, dict):
                found |= part
        return found

    @property
    def name(self) -> str:
        """What would have been called; of the class if it is a method or result of something."""
        return str(self.function) if isinstance(self.function, Global) else "an object's result"


class Ordered(dict[object, object], Stateful):
    """An OrderedDict; a state dict carries its modules' versions as its state."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        super().__init__()
        self.state: object = None

    def build(self, state: object) -> None:
        """Keep the state."""
        self.state = state


class Defaulted(dict[object, object]):
    """A defaultdict with what it was to make new values by."""

    __slots__ = ("factory",)

    def __init__(self, factory: object) -> None:
        super().__init__()
        self.factory = factory


_ALIKE_FROM = 1 << 60  # integers from here on may have equal hashes
_MAX_PARTS = 64


def is_usual_key(key: object) -> bool:
    """Tell whether many such keys fit into a dictionary quickly, whoever chose them.

    Strings are hashed with a secret, objects by their place in memory; but tuples, sets and large
    integers can be chosen so that all have one hash.

    Raises
    ------
    InputError
        It can't be a key at all.
    """
    if isinstance(key, (list, dict, set, bytearray)):
        raise InputError(f"its pickle has a {type(key).__name__} as the key of a dictionary")
    if isinstance(key, (tuple, frozenset)):
        _check_parts(key)
        return False
    if isinstance(key, int):
        return abs(key) < _ALIKE_FROM
    return not isinstance(key, complex)


def _check_parts(key: tuple[object, ...] | frozenset[object]) -> None:
    """Refuse what takes long to hash or to compare: tuples and sets of many parts, or deep ones."""
    parts: list[object] = list(key)
    for part in parts:
        if isinstance(part, (tuple, frozenset)):
            parts += part
        elif isinstance(part, (list, dict, set, bytearray)):
            raise InputError("its pickle has a tuple of lists as the key of a dictionary")
        if len(parts) > _MAX_PARTS:
            raise InputError(f"its pickle has a key of more than {_MAX_PARTS} parts")
