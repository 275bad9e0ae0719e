"""What pickles call to make values that Python has by itself."""

from __future__ import annotations

from .....codec.errors import InputError
from .machine import Arguments, Builder
from .records import Defaulted, Global, Ordered, Record, is_usual_key

_MAX_UNUSUAL = 64


def _ordered(arguments: Arguments) -> object:
    """An OrderedDict, empty or of a list of pairs."""
    made = Ordered()
    if arguments:
        _fill(made, arguments[0], "collections.OrderedDict")
    return made


def _fill(target: dict[object, object], pairs: object, name: str) -> None:
    for pair in pairs if isinstance(pairs, (list, tuple)) else (None,):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not is_usual_key(pair[0]):
            raise InputError(f"its pickle has a {name} of something else than pairs")
        target[pair[0]] = pair[1]


def _defaulted(arguments: Arguments) -> object:
    return Defaulted(arguments[0] if arguments else None)


def _set(arguments: Arguments) -> object:
    items = _items(arguments)
    return Record(Global("builtins", "set"), arguments) if items is None else set(items)


def _frozenset(arguments: Arguments) -> object:
    items = _items(arguments)
    return Record(Global("builtins", "frozenset"), arguments) if items is None else frozenset(items)


def _items(arguments: Arguments) -> list[object] | None:
    """Return what a set is to hold; None if that may take long."""
    items = arguments[0] if arguments else []
    if not isinstance(items, (list, tuple)):
        raise InputError("its pickle has a set of something else than a list")
    usual = sum(map(is_usual_key, items))
    return list(items) if len(items) - usual <= _MAX_UNUSUAL else None


def _complex(arguments: Arguments) -> object:
    match arguments:
        case (float() as real, float() as imaginary):
            return complex(real, imaginary)
    raise InputError("its pickle has a complex number of something else than two numbers")


def _encoded(arguments: Arguments) -> object:
    """Protocols before 3 write bytes as text of the same numbers."""
    match arguments:
        case (str() as text, str() as encoding) if encoding in ("latin1", "latin-1"):
            return text.encode("latin-1")
    raise InputError("its pickle has bytes in an unknown encoding")


def _bytes(arguments: Arguments) -> object:
    if arguments:
        raise InputError("its pickle has bytes made of something")
    return b""


def _byte_array(arguments: Arguments) -> object:
    content = arguments[0] if arguments else bytearray()
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InputError("its pickle has a bytearray of something else than bytes")
    # Not copied: the same large bytes may be given again and again.
    return content


def _reconstructed(arguments: Arguments) -> object:
    """An object of the first protocols: class, base and the base's value."""
    if len(arguments) != 3:
        raise InputError("its pickle makes an object of no class")
    rest = () if arguments[2] is None else (arguments[2],)
    return Record(arguments[0], rest)


def _new_object(arguments: Arguments) -> object:
    if not arguments:
        raise InputError("its pickle makes an object of no class")
    return Record(arguments[0], arguments[1:])


PLAIN_BUILDERS: dict[str, Builder] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _defaulted,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _byte_array,
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructed,
    "copyreg.__newobj__": _new_object,
}
