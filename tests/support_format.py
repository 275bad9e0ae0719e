"""The `.dcz` format once more, in plain Python, written from formats/FORMAT.md alone.

It imports nothing of dcz: what it decodes is proof that the page suffices, and what it builds is
as hostile as a test wants it, with checksums that fit. Slow and short, on purpose.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import xxhash
import zstandard

MAGIC = b"\x89DCZ\r\n\x1a"
END = b"ZCD\x1a"
EXACT, APPROXIMATE, TIED, COPY = range(4)
STORED, LOSSLESS, DENSE, SPARSE, CLASSES = range(5)
MIXED, MIXED_GROUP = 6, 7
NAMES = {
    1: "float32",
    2: "float16",
    3: "bfloat16",
    4: "float64",
    5: "float8_e4m3fn",
    6: "float8_e5m2",
    7: "float8_e4m3fnuz",
    8: "float8_e5m2fnuz",
    9: "float8_e8m0fnu",
    10: "int8",
    11: "uint8",
    12: "int16",
    13: "uint16",
    14: "int32",
    15: "uint32",
    16: "int64",
    17: "uint64",
    18: "bool",
    19: "complex64",
    20: "complex128",
}
SIZES = dict(enumerate([4, 2, 2, 8, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 1, 8, 16], 1))


class Refused(Exception):  # noqa: N818 - what the format page does, not what went wrong
    """The page says that a reader refuses this."""


def need(condition: object, why: str) -> None:
    if not condition:
        raise Refused(why)


def varint(value: int) -> bytes:
    out = []
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def checksum(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data) % 2**32


def digest(data: bytes) -> int:
    if len(data) <= 2**20:
        return xxhash.xxh3_64_intdigest(data)
    chunks = [data[i : i + 2**20] for i in range(0, len(data), 2**20)]
    parts = [xxhash.xxh3_64_intdigest(chunk).to_bytes(8, "little") for chunk in chunks]
    return xxhash.xxh3_64_intdigest(b"".join(parts))


@dataclass
class Reader:
    data: bytes
    at: int = 0

    def take(self, size: int) -> bytes:
        need(size <= len(self.data) - self.at, "cut off")
        self.at += size
        return self.data[self.at - size : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self, low: int = 0, high: int = 2**64 - 1) -> int:
        value = length = 0
        while True:
            byte = self.u8()
            value += (byte % 128) << (7 * length)
            length += 1
            need(length <= 10, "varint too long")
            if byte < 128:
                break
        need(length == 1 or byte, "varint not minimal")
        need(low <= value <= high, f"{value} not in {low}..{high}")
        return value

    def end(self) -> None:
        need(self.at == len(self.data), "bytes left over")


@dataclass
class Tensor:
    name: bytes
    kind: int = EXACT
    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    frame: int = 0
    digest: int = 0
    error: bytes = b""
    alias: int = 0
    prefix: int | None = None  # forced, instead of the longest there is

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass
class Frame:
    coder: int
    payload: bytes
    length: int | None = None  # declared, instead of the payload's
    checksum: int | None = None


@dataclass
class File:
    frames: list[Frame] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    error: bytes = b""
    metadata: bytes = b"\0"
    version: int = 1

    def members(self, number: int) -> list[Tensor]:
        return [t for t in self.tensors if t.kind < TIED and t.frame == number]


# --- building, with checksums that fit ---------------------------------------------------------


def build_index(file: File) -> bytes:
    out = bytearray(varint(len(file.frames)))
    for frame in file.frames:
        length = len(frame.payload) if frame.length is None else frame.length
        seal = checksum(frame.payload) if frame.checksum is None else frame.checksum
        out += bytes([frame.coder]) + varint(length) + struct.pack("<I", seal)
    out += varint(len(file.tensors))
    previous = b""
    for tensor in file.tensors:
        prefix = tensor.prefix
        if prefix is None:
            prefix = 0
            while prefix < min(len(previous), len(tensor.name)):
                if previous[prefix] != tensor.name[prefix]:
                    break
                prefix += 1
        suffix = tensor.name[prefix:]
        out += varint(prefix) + varint(len(suffix)) + suffix
        out += bytes([tensor.kind << 6 | tensor.dtype])
        if tensor.kind >= TIED:
            out += varint(tensor.alias)
        else:
            out += varint(len(tensor.shape)) + b"".join(map(varint, tensor.shape))
            out += varint(tensor.frame) + _digest_bytes(tensor, file) + tensor.error
        previous = tensor.name
    return bytes(out) + file.error + file.metadata


def _digest_bytes(tensor: Tensor, file: File) -> bytes:
    return struct.pack("<Q", tensor.digest)[: _digest_size(tensor, file)]


def _digest_size(tensor: Tensor, file: File) -> int:
    known = tensor.frame < len(file.frames)
    return 4 if known and file.frames[tensor.frame].coder == MIXED_GROUP else 8


def seal(body: bytes, index: bytes, *, version: int = 1, length: int | None = None) -> bytes:
    """Header, body and index with a trailer whose checksum fits."""
    header = MAGIC + bytes([version])
    size = struct.pack("<I", len(index) if length is None else length)
    return header + body + index + size + struct.pack("<I", checksum(header + index + size)) + END


def build(file: File) -> bytes:
    body = b"".join(frame.payload for frame in file.frames)
    return seal(body, build_index(file), version=file.version)


def stored(tensors: dict[str, bytes], dtype: int = 11) -> File:
    """A correct file: each tensor, of one dimension, in a stored frame of its own."""
    file = File()
    for name, data in tensors.items():
        shape = [len(data) // SIZES[dtype]]
        file.tensors.append(
            Tensor(name.encode(), EXACT, dtype, shape, len(file.frames), digest(data))
        )
        file.frames.append(Frame(STORED, data))
    return file


def one(coder: int, payload: bytes, shape: list[int], dtype: int = 11, decoded: int = 0) -> bytes:
    """A file of one tensor with a hand-made payload and a digest that may fit."""
    return build(File([Frame(coder, payload)], [Tensor(b"t", EXACT, dtype, shape, 0, decoded)]))


# --- parsing -----------------------------------------------------------------------------------


def parse(data: bytes) -> File:
    need(data[:7] == MAGIC, "magic")
    need(len(data) >= 20, "short")
    need(data[7] == 1, "version")
    need(data[-4:] == END, "end mark")
    length, sealed = struct.unpack("<II", data[-12:-4])
    start = len(data) - 12 - length
    need(start >= 8, "index length")
    index = data[start:-12]
    need(checksum(data[:8] + index + data[-12:-8]) == sealed, "index checksum")
    return parse_index(index, data[8:start])


def parse_index(index: bytes, body: bytes) -> File:
    cursor = Reader(index)
    file = File()
    declared = [(cursor.u8(), cursor.varint(), cursor.uint(4)) for _ in range(cursor.varint())]
    at = 0
    for coder, length, sealed in declared:
        need(coder <= CLASSES or coder in (MIXED, MIXED_GROUP), "coder of a newer release")
        need(length <= len(body) - at, "frame length")
        payload = body[at : at + length]
        need(checksum(payload) == sealed, "frame checksum")
        file.frames.append(Frame(coder, payload))
        at += length
    need(at == len(body), "frames do not fill the file")
    previous = b""
    for _ in range(cursor.varint()):
        tensor = _parse_tensor(cursor, previous, file)
        need(all(tensor.name != other.name for other in file.tensors), "name used twice")
        file.tensors.append(tensor)
        previous = tensor.name
    if any(t.kind == APPROXIMATE for t in file.tensors):
        file.error = _error(cursor.take(8), "<d")
    start = cursor.at
    parse_metadata(cursor)
    file.metadata = index[start : cursor.at]
    cursor.end()
    for number in range(len(file.frames)):
        members = file.members(number)
        need(len({t.dtype for t in members}) == 1, "members of a frame")
        most = 2**19 if file.frames[number].coder == MIXED_GROUP else 65536
        need(len(members) == 1 or sum(t.numel for t in members) <= most, "large group")
    return file


def _parse_tensor(cursor: Reader, previous: bytes, file: File) -> Tensor:
    prefix = cursor.varint(high=len(previous))
    name = previous[:prefix] + cursor.take(cursor.varint())
    try:
        name.decode()
    except UnicodeDecodeError:
        raise Refused("name is not UTF-8") from None
    tag = cursor.u8()
    tensor = Tensor(name, tag >> 6, tag & 63)
    if tensor.kind >= TIED:
        need(tensor.dtype == 0, "reserved bits")
        tensor.alias = cursor.varint(high=len(file.tensors) - 1)
        need(file.tensors[tensor.alias].kind < TIED, "alias of an alias")
        return tensor
    need(tensor.dtype in NAMES, "dtype")
    tensor.shape = [cursor.varint() for _ in range(cursor.varint(high=64))]
    need(tensor.numel * SIZES[tensor.dtype] < 2**63, "size")
    tensor.frame = cursor.varint(high=len(file.frames) - 1)
    tensor.digest = cursor.uint(_digest_size(tensor, file))
    if tensor.kind == APPROXIMATE:
        tensor.error = _error(cursor.take(4), "<f")
    return tensor


def _error(data: bytes, layout: str) -> bytes:
    (value,) = struct.unpack(layout, data)
    need(math.isfinite(value) and value >= 0, "relative error")
    return data


def parse_metadata(cursor: Reader) -> dict[str, str]:
    size = cursor.varint()
    if size == 0:
        return {}
    raw = cursor.take(cursor.varint(1, size))
    if len(raw) != size:
        raw = unzstandard(raw, size)
    try:
        pairs = json.loads(raw.decode(), object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise Refused("metadata") from None
    need(isinstance(pairs, tuple), "metadata are no object")
    need(len(dict(pairs)) == len(pairs), "metadata name twice")
    need(all(isinstance(value, str) for value in dict(pairs).values()), "metadata value")
    return dict(pairs)


def unzstandard(raw: bytes, size: int) -> bytes:
    try:
        need(zstandard.frame_content_size(raw) == size, "zstandard size")
        reader = zstandard.ZstdDecompressor().decompressobj()
        data = reader.decompress(raw)
    except zstandard.ZstdError:
        raise Refused("zstandard") from None
    need(len(data) == size and reader.eof and not reader.unused_data, "zstandard frame")
    return data


# --- decoding ----------------------------------------------------------------------------------


def decode(data: bytes) -> dict[str, tuple[str, list[int], bytes]]:
    """Names to dtype, shape and bytes of all tensors, digests checked."""
    file = parse(data)
    flat = [decode_frame(frame, file.members(i)) for i, frame in enumerate(file.frames)]
    out: dict[str, tuple[str, list[int], bytes]] = {}
    used = [0] * len(flat)
    found = []
    for tensor in file.tensors:
        if tensor.kind >= TIED:
            found.append(found[tensor.alias])
        else:
            size = tensor.numel * SIZES[tensor.dtype]
            part = flat[tensor.frame][used[tensor.frame] : used[tensor.frame] + size]
            used[tensor.frame] += size
            size = _digest_size(tensor, file)
            need(digest(part) % 256**size == tensor.digest, "digest")
            found.append((NAMES[tensor.dtype], tensor.shape, part))
        out[tensor.name.decode()] = found[-1]
    return out


def metadata(data: bytes) -> dict[str, str]:
    return parse_metadata(Reader(parse(data).metadata))


def decode_frame(frame: Frame, members: list[Tensor]) -> bytes:
    cursor = Reader(frame.payload)
    coders = {
        STORED: decode_stored,
        LOSSLESS: decode_planes,
        DENSE: decode_dense,
        SPARSE: decode_sparse,
        CLASSES: decode_classes,
        MIXED: decode_mixed,
        MIXED_GROUP: decode_mixed_group,
    }
    out = coders[frame.coder](cursor, members, SIZES[members[0].dtype])
    cursor.end()
    return out


def decode_stored(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    return cursor.take(sum(t.numel for t in members) * size)


def decode_planes(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    transform = cursor.u8()
    need(transform == 0 or (transform == 1 and size in (2, 4, 8)), "transform")
    total = sum(t.numel for t in members)
    out = bytearray(total * size)
    for start in range(0, total, 2**18):
        n = min(2**18, total - start)
        for byte, plane in enumerate(_chunk(cursor, size, n)):
            out[start * size + byte : (start + n) * size : size] = plane
    if transform == 1:
        for i in range(0, len(out), size):
            word = int.from_bytes(out[i : i + size], "little")
            word = word >> 1 | (word & 1) << (8 * size - 1)
            out[i : i + size] = word.to_bytes(size, "little")
    return bytes(out)


def _chunk(cursor: Reader, size: int, n: int) -> list[bytes]:
    planes: list[bytes] = []
    while len(planes) < size:
        if cursor.data[cursor.at : cursor.at + 1] == b"\4":
            need(len(planes) < size - 1, "no plane follows")
            planes += _pair(cursor, n)
        else:
            planes.append(_plane(cursor, n))
    return planes


def _pair(cursor: Reader, n: int) -> list[bytes]:
    cursor.u8()
    low_bits = cursor.u8()
    need(1 <= low_bits <= 7, "low bits")
    packed = int.from_bytes(cursor.take((n * low_bits + 7) // 8), "little")
    need(packed >> n * low_bits == 0, "padding")
    need(cursor.u8() == 5, "joined plane")
    base = cursor.u8()
    inner = Reader(cursor.take(cursor.varint(1, 2 * n)))
    lengths = code_table(inner)
    need(len(lengths) <= (256 - base) << (8 - low_bits), "joined alphabet")
    symbols = segment(inner, n, lengths)
    inner.end()
    low = bytearray()
    for symbol in symbols:
        upper = symbol & (1 << (8 - low_bits)) - 1
        low.append(upper << low_bits | packed & (1 << low_bits) - 1)
        packed >>= low_bits
    return [bytes(low), bytes(base + (symbol >> (8 - low_bits)) for symbol in symbols)]


def _plane(cursor: Reader, n: int) -> bytes:
    method = cursor.u8()
    need(method <= 3, "plane method")
    if method == 0:
        return cursor.take(n)
    if method == 1:
        return cursor.take(1) * n
    inner = Reader(cursor.take(cursor.varint(1, n)))
    if method == 3:
        return unzstandard(inner.data, n)
    lengths = code_table(inner)
    need(len(lengths) <= 256, "plane alphabet")
    symbols = segment(inner, n, lengths)
    inner.end()
    return bytes(symbols)


def codebooks(
    cursor: Reader, members: list[Tensor], size: int, most: int = 65536
) -> list[list[bytes]]:
    books = []
    for _ in members:
        levels = cursor.varint(high=most)
        books.append([cursor.take(size) for _ in range(levels)])
    return books


def index_tables(cursor: Reader, books: list[list[bytes]]) -> list[list[int]]:
    levels = max(1, *map(len, books))
    alphabets = [levels] if levels <= 4096 else [((levels - 1) >> 8) + 1, 256]
    tables = [code_table(cursor) for _ in alphabets]
    need([len(table) for table in tables] == alphabets, "index alphabet")
    return tables


def index_segments(cursor: Reader, n: int, tables: list[list[int]]) -> list[int]:
    parts = [segment(cursor, n, table) for table in tables]
    if len(parts) == 1:
        return parts[0]
    return [high << 8 | low for high, low in zip(*parts, strict=True)]


def look_up(indices: list[int | None], members: list[Tensor], books: list[list[bytes]]) -> bytes:
    out = []
    at = 0
    for tensor, book in zip(members, books, strict=True):
        for index in indices[at : at + tensor.numel]:
            if index is None:
                out.append(bytes(SIZES[tensor.dtype]))
                continue
            need(index < len(book), "index beyond the codebook")
            out.append(book[index])
        at += tensor.numel
    return b"".join(out)


def decode_dense(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    books = codebooks(cursor, members, size)
    tables = index_tables(cursor, books)
    total = sum(t.numel for t in members)
    indices: list[int | None] = []
    for start in range(0, total, 65536):
        indices += index_segments(cursor, min(65536, total - start), tables)
    return look_up(indices, members, books)


def decode_sparse(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    books = codebooks(cursor, members, size, 65535)
    filler = cursor.varint(1, 4095)
    gap_table = code_table(cursor)
    need(len(gap_table) <= filler + 1, "gap alphabet")
    tables = index_tables(cursor, books)
    total = sum(t.numel for t in members)
    indices: list[int | None] = [None] * total
    for start in range(0, total, 2**18):
        positions = min(2**18, total - start)
        gap_count = cursor.varint(high=positions)
        survivors = cursor.varint(high=gap_count)
        gaps = segment(cursor, gap_count, gap_table)
        need(not gaps or gaps[-1] != filler, "a block ends in a filler")
        found = iter(index_segments(cursor, survivors, tables))
        at = 0
        taken = 0
        for gap in gaps:
            at += gap
            need(at <= positions, "gap leads out of the block")
            if gap < filler:
                need(at < positions, "survivor outside the block")
                taken += 1
                need(taken <= survivors, "more survivors than told")
                indices[start + at] = next(found)
                at += 1
        need(taken == survivors, "fewer survivors than told")
    return look_up(indices, members, books)


def decode_classes(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    need(len(members) == 1 and members[0].numel > 0, "one tensor with elements")
    total = members[0].numel
    book = grid_or_values(cursor, members[0].dtype, size)
    need(1 <= len(book) <= 4096, "levels")
    length, classes = runs(cursor, total)
    tables = [class_table(cursor, len(book), size) for _ in range(max(classes) + 1)]
    out: list[int] = []
    in_block = 2**18 // length
    for first in range(0, len(classes), in_block):
        sizes = [
            (its, min(length, total - (first + i) * length))
            for i, its in enumerate(classes[first : first + in_block])
        ]
        queues = []
        for k, (symbols, lengths) in enumerate(tables):
            n = sum(own for its, own in sizes if its == k)
            width = len(symbols[0])
            coded = segment(cursor, -(-n // width), lengths)
            queues.append(iter([index for s in coded for index in symbols[s]]))
        out += [next(queues[its]) for its, own in sizes for _ in range(own)]
    return b"".join(book[index] for index in out)


def runs(cursor: Reader, total: int) -> tuple[int, list[int]]:
    """The length of a run, and the class of each."""
    count = cursor.u8()
    need(1 <= count <= 16, "classes")
    if count == 1:
        return 2**18, [0] * (-(-total // 2**18))
    length = cursor.varint(8, 2**18)
    return length, class_map(cursor, count, -(-total // length))


def class_map(cursor: Reader, count: int, runs: int) -> list[int]:
    lengths = code_table(cursor)
    need(len(lengths) == count and all(lengths), "class alphabet")
    classes = []
    for first in range(0, runs, 2**18):
        classes += segment(cursor, min(2**18, runs - first), lengths)
    need(set(classes) == set(range(count)), "a class without runs")
    return classes


def grid_or_values(cursor: Reader, dtype: int, size: int) -> list[bytes]:
    kind = cursor.u8()
    need(kind in (0, 1), "codebook kind")
    if kind == 0:
        return [cursor.take(size) for _ in range(cursor.varint(1, 4096))]
    need(dtype in (1, 2, 3, 4), "a grid of floats")  # the others of float need more than struct
    step = struct.unpack("<f", cursor.take(4))[0]
    need(0 < step < math.inf, "step")
    z = cursor.varint(high=131072)
    lowest = z // 2 if z % 2 == 0 else -(z + 1) // 2
    levels = cursor.varint(1, 4096)
    count = cursor.u8()
    need(count == 0 or count % 2, "corrections")
    given = struct.unpack(f"<{count}b", cursor.take(count))
    of = {i - count // 2: c for i, c in enumerate(given)}
    book = []
    for level in range(lowest, lowest + levels):
        book.append(float_bytes((64 * level + of.get(level, 0)) * step / 64, dtype))
    return book


def class_table(cursor: Reader, levels: int, size: int) -> tuple[list[list[int]], list[int]]:
    """The indices that each symbol stands for, and the code lengths."""
    flags = cursor.u8()
    need(flags < 4, "flags")
    first = cursor.varint(high=levels - 1)
    span = cursor.varint(1, levels - first)
    used = bitmap(cursor, span) if flags & 2 else list(range(span))
    symbols = [[first + i] for i in used]
    if flags & 1:
        n = len(used)
        need(n <= 128 and size <= 4, "pairs")
        symbols = [[first + used[p // n], first + used[p % n]] for p in bitmap(cursor, n * n)]
    lengths = code_table(cursor)
    need(len(lengths) == len(symbols), "index alphabet")
    return symbols, lengths


def bitmap(cursor: Reader, size: int) -> list[int]:
    word = int.from_bytes(cursor.take(-(-size // 8)), "little")
    need(0 < word < 1 << size, "bitmap")
    return [i for i in range(size) if word >> i & 1]


@dataclass
class Points:
    """What levels and positions mean; the kind is that of coder 6."""

    kind: int
    dtype: int
    book: list[bytes] = field(default_factory=list)
    zero: int = 0
    half_steps: list[float] = field(default_factory=list)
    run: int = 2**62
    classes: list[int] = field(default_factory=lambda: [0])

    @property
    def trellis(self) -> int:
        return self.kind % 8

    def element(self, at: int, level: int, position: int) -> bytes:
        if self.kind:
            half_step = self.half_steps[self.classes[at // self.run]]
            return float_bytes(position * half_step, self.dtype)
        need(0 <= self.zero + level < len(self.book), "index beyond the codebook")
        return self.book[self.zero + level]


def points_of(kind: int, cursor: Reader, dtype: int, total: int, short: bool = False) -> Points:
    need(kind <= 6 or 9 <= kind <= 14, "reconstruction")
    points = Points(kind, dtype)
    if kind == 0:
        need(not short, "no step to be short")
        points.book = [cursor.take(SIZES[dtype]) for _ in range(cursor.varint(high=65536))]
        points.zero = cursor.varint(high=max(len(points.book), 1) - 1)
        return points
    need(dtype in (1, 2, 4), "a trellis of floats")  # the others of float need more than struct
    if kind > 6:
        points.run, points.classes = runs(cursor, total)
        need(max(points.classes) > 0, "one class of rows")
    for _ in range(max(points.classes) + 1):
        raw = b"\0" + cursor.take(3) if short else cursor.take(4)
        points.half_steps.append(struct.unpack("<f", raw)[0])
    need(all(0 < step < math.inf for step in points.half_steps), "half step")
    return points


def geometry_of(cursor: Reader) -> tuple[int, int, int]:
    row = cursor.varint(1, 2**18)
    kernel = cursor.varint(1, row)
    width = cursor.varint(1, kernel)
    need(row % kernel == 0 and kernel % width == 0, "geometry")
    return row, kernel, width


def decode_mixed(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    need(len(members) == 1 and members[0].numel > 0, "one tensor with elements")
    total = members[0].numel
    kind = cursor.u8()
    by_columns = 17 <= kind <= 22 or 25 <= kind <= 30
    points = points_of(kind - 16 * by_columns, cursor, members[0].dtype, total)
    geometry = geometry_of(cursor)
    need(not by_columns or total % geometry[0] == 0, "columns")
    sizes = [cursor.varint() for _ in range(0, total, 2**22)]
    out = []
    for number, length in enumerate(sizes):
        first = number * 2**22
        mixture = Mixture(cursor.take(length), points.trellis)
        mixture.begin(geometry, first)
        found = mixture.elements(min(2**22, total - first))
        places: Iterable[int] = range(first, first + len(found))
        if by_columns:
            places = [
                at % geometry[0] * (total // geometry[0]) + at // geometry[0] for at in places
            ]
        out += [points.element(at, *e) for at, e in zip(places, found, strict=True)]
        mixture.end()
    if by_columns:
        row = geometry[0]
        out = [out[c * row + r] for r in range(row) for c in range(total // row)]
    return b"".join(out)


def shape_geometry(shape: list[int]) -> tuple[int, int, int]:
    left = list(shape)
    while left and (left[0] == 1 or math.prod(left[1:]) > 2**18):
        left.pop(0)
    return math.prod(left[1:]), math.prod(left[2:]), left[-1] if len(left) > 3 else 1


def decode_mixed_group(cursor: Reader, members: list[Tensor], size: int) -> bytes:
    need(all(t.numel for t in members), "tensors with elements")
    need(sum(t.numel for t in members) <= 2**19, "large group")
    heads: list[tuple[Points, tuple[int, int, int]]] = []
    for tensor in members:
        flags = cursor.u8()
        need(flags < 32, "flags")
        geometry = shape_geometry(tensor.shape)
        if flags & 16:
            geometry = geometry_of(cursor)
            need(geometry[0] <= tensor.numel, "row")
        if flags & 15 == 7:
            need(heads, "no member before")
            heads.append((heads[-1][0], geometry))
        else:
            points = points_of(flags & 7, cursor, tensor.dtype, tensor.numel, bool(flags & 8))
            heads.append((points, geometry))
    trellises = {max(points.kind, 1) for points, _ in heads}
    need(len(trellises) == 1, "trellises differ")
    mixture = Mixture(cursor.take(len(cursor.data) - cursor.at), heads[0][0].kind, grouped=True)
    out = []
    for number, (tensor, (points, geometry)) in enumerate(zip(members, heads, strict=True)):
        mixture.begin(geometry, 0, number)
        out += [points.element(0, *e) for e in mixture.elements(tensor.numel)]
    mixture.end()
    return b"".join(out)


def float_bytes(value: float, dtype: int) -> bytes:
    if dtype != 4:
        value = struct.unpack("<f", packed(value, "<f"))[0]
    if dtype == 3:  # the upper half of a float32, rounded to nearest, ties to even
        bits = struct.unpack("<I", packed(value, "<f"))[0]
        return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
    return packed(value, {1: "<f", 2: "<e", 4: "<d"}[dtype])


def packed(value: float, layout: str) -> bytes:
    """Rounded to nearest, which past the greatest number is infinity."""
    try:
        return struct.pack(layout, value)
    except OverflowError:
        return struct.pack(layout, math.copysign(math.inf, value))


def clamp(x: int, most: int) -> int:
    return min(max(x, -most), most)


def short(x: int) -> int:
    return min(max(x, -32768), 32767)


def shares(y: int) -> tuple[int, int]:
    t = y.bit_length() - 1
    f = (y << (8 - t) if t < 8 else y >> (t - 8)) % 256
    return 16777215 // (256 + f), 16 + t


def wrap(x: int, bits: int) -> int:
    return (x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def oct_(x: int, f: int) -> int:
    if x < 2**f:
        return x
    t = x.bit_length() - 1
    return ((t - f) << f) + (x >> (t - f))


def towards(m: int, x: int, k: int) -> int:
    return m + ((x - m) * k >> 16)


def logistic() -> tuple[dict[int, int], list[int]]:
    squash = {}
    e = 2**40
    for x in range(3072):
        squash[x] = 2**56 // (2**40 + e)
        squash[-x] = 65536 - squash[x] if x else squash[x]
        e = e * 16711808 >> 24
    squash[-3072] = squash[-3071]
    stretch = []
    x = -3072
    for p in range(4096):
        while x < 3071 and squash[x] < 16 * p + 8:
            x += 1
        stretch.append(x)
    return squash, stretch


SQUASH, STRETCH = logistic()
TRELLISES = {0: (0, 0), 1: (0, 0), 2: (2, 2), 3: (2, 5), 4: (2, 9), 5: (4, 18), 6: (10, 33)}
SCALE_WEIGHTS = [2621, 2621, 3932, 1311, 1311, 2621, 1311, 1311, 1311, 0, 0, 39322, 7864, 0]


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.range = 2**32 - 1
        self.value = 0
        for _ in range(4):
            self.value = 256 * self.value + self._byte()

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def decode(self, probability: int) -> int:
        b = self.range * probability >> 16
        bit = 1 if self.value < b else 0
        self.range = b if bit else self.range - b
        self.value -= 0 if bit else b
        while self.range < 2**24:
            self.value = 256 * self.value + self._byte()
            self.range *= 256
        return bit


@dataclass
class Seen:
    """What is kept of a column, or of a row; `alive` counts."""

    count: int = 0
    mean: int = 0
    drift: int = 0
    alive: int = 0


class Mixture:
    """The mixed contexts of one chunk, or of the members of a group."""

    def __init__(self, data: bytes, kind: int, grouped: bool = False) -> None:
        self.coder = RangeDecoder(data)
        self.grouped = grouped
        self.trellis = TRELLISES[kind]
        self.counters: dict[tuple[int, ...], tuple[int, int]] = {}
        self.sets: dict[int, tuple[list[int], int]] = {}
        self.signs = self.gain = self.probability = 0
        self.scale_weights, self.value_weights = list(SCALE_WEIGHTS), [0] * 12
        self.overall = 256

    def begin(self, geometry: tuple[int, int, int], first: int, number: int = 0) -> None:
        """Go to a chunk, or to a member."""
        row, kernel, width = geometry
        self.row, self.kernel, self.at, self.number = row, kernel, first, number
        alone = kernel == 1
        self.back = [1, 3 if alone else kernel, row, row - 1, row + 1, 2 * row, 2]
        self.back.append(4 if width in (1, kernel) else width)
        self.back.append(row + 2 if alone else kernel - 1)
        self.history: list[int] = []
        self.columns: dict[int, Seen] = {}
        self.own_row = Seen()
        self.recent = self.zero_run = self.kernel_alive = 0
        if self.grouped:
            for at in range(0, 768, 48):
                self.sets[at] = self.sets.get(at, ([2900] * 4, 0))[0], 0

    def elements(self, count: int) -> list[tuple[int, int]]:
        """Level and position of each element."""
        s = 0
        found = []
        for _ in range(count):
            if self.at % self.row == 0:
                self.own_row.count = self.own_row.alive = 0
            if self.at % self.kernel == 0:
                self.kernel_alive = 0
            column = self.columns.setdefault(self.at % self.row, Seen())
            self._look(column)
            level = self._level(column, s % 2)
            position = 2 * level
            if s % 2 and level:
                position -= 1 if level > 0 else -1
            self._keep(column, position)
            a, b = self.trellis
            s = (s >> 1) ^ (a if level % 2 else 0) ^ (b if s % 2 else 0)
            found.append((level, position))
            self.at += 1
        return found

    def end(self) -> None:
        need(self.coder.at >= len(self.coder.data), "bytes left in a chunk")

    def _ago(self, distance: int) -> int:
        return self.history[-distance] if 0 < distance <= len(self.history) else 0

    def _rel(self, x: int) -> int:
        r, shift = shares(self.base)
        size = min(abs(x) * r >> (shift - 12), 24576)
        return -size if x < 0 else size

    def _look(self, column: Seen) -> None:
        column.mean = column.mean if column.count else self.overall
        r, shift = shares(self.overall + 8)
        product = (self.own_row.mean + 8) * (column.mean + 8) * r >> shift
        self.base = min(product, 2**23) + 16
        self.n = [self._ago(distance) for distance in self.back]
        near = [self._rel(256 * n) for n in self.n]
        self.scales = [abs(x) for x in near]
        self.scales += [self._rel(self.own_row.mean), self._rel(column.mean), 4096]
        self.scales += [self._rel(self.recent), self._rel(self.overall)]
        c = self._ago(self.back[1] + self.back[2])
        drifts = [self._rel(self.own_row.drift), self._rel(column.drift), self._rel(256 * c)]
        self.values = near + drifts
        self.scale, self.value = (
            wrap(sum(x * short(w >> 4) for x, w in zip(numbers, weights, strict=True)), 32) >> 12
            for numbers, weights in (
                (self.scales, self.scale_weights),
                (self.values, self.value_weights),
            )
        )
        self.scale = min(max(self.scale, 410), 65536)
        self.size = min(oct_(self.scale * self.base >> 14, 3), 120)
        self.val = min(oct_(abs(self.value) >> 7, 1), 15)

    def _keep(self, column: Seen, position: int) -> None:
        p = clamp(position, 32767)
        a = 256 * abs(p)
        t = self._rel(a)
        for weights, numbers, error in (
            (self.scale_weights, self.scales, t - self.scale),
            (self.value_weights, self.values, (-t if p < 0 else t) - self.value),
        ):
            for i, x in enumerate(numbers):
                weights[i] = wrap(weights[i] + (short(error) * x + 2**18 >> 19), 32)
        self.own_row.count = min(self.own_row.count + 1, 64)
        for seen, k in (
            (self.own_row, 65536 // (self.own_row.count + 1)),
            (column, 65536 // (min(column.count + 2, 64) + 1)),
        ):
            seen.mean = towards(seen.mean, a, k)
            seen.drift = towards(seen.drift, 256 * p, k)
            seen.alive += 1 if p else 0
        self.kernel_alive += 1 if p else 0
        column.count = min(column.count + 1, 65535)
        self.recent = towards(self.recent, a, 6554)
        self.overall = towards(self.overall, a, 256)
        self.zero_run = 0 if p else self.zero_run + 1
        self.history.append(p)

    def _level(self, column: Seen, q: int) -> int:
        row4, col4 = (min(oct_(m >> 4, 2), 41) // 2 for m in (self.own_row.mean, column.mean))
        dead = 0 if column.alive else 1 + min(oct_(column.count, 0), 6)
        run = min(oct_(self.zero_run, 1), 15)
        slots = [
            q + 2 * self.size,
            242 + q + 2 * (self.val + 16 * (self.size // 4)),
            2226 + q + 2 * (row4 + 21 * col4),
            3108 + q + 2 * (run + 16 * (dead + 8 * min(self.own_row.alive, 1))),
        ]
        weights = q + 2 * min(self.size // 4, 23)
        first = slots
        if self.grouped:
            weights = 0
            first = [*self._sparse(column), slots[3]]
            slots = [slots[0], 6177, slots[2], 6178 + min(self.number, 22)]
        if not self._decision(0, first, weights):
            return 0
        negative = self._sign()
        if not self.grouped and bool(negative) != (self.value < 0):
            slots[1] += 992
        k = min(max((self.scale * self.base >> 21).bit_length() - 1, 0), 10)
        u = m = self._number(slots, weights) - 1
        node = 1
        for _ in range(k):
            bit = self._simple((self.size, min(u, 3), node)) if node < 16 else self._even()
            node, m = 2 * node + bit, 2 * m + bit
        m = min(m + 1, 2**17)
        return -m if negative else m

    def _sparse(self, column: Seen) -> list[int]:
        c = self.at % self.row
        seen = min(column.alive, 65535)
        place = 320 + min(seen, 15) + 16 * min(oct_(column.count, 1), 15)
        if self.kernel > 1:
            place = min(self.kernel_alive, 4) + 5 * min(c % self.kernel, 63)
        near = [1 if self.n[i] else 0 for i in (0, 1, 2, 5, 6, 7)]
        density = min(oct_(self.own_row.alive, 1), 10) + 11 * min(oct_(c, 0), 19)
        return [
            3777 + place,
            4353 + sum(2**i * bit for i, bit in enumerate(near)),
            4417 + density + 220 * min(seen, 7),
        ]

    def _sign(self) -> int:
        if self.signs == 16384 and self.gain < 458 * 16384:
            return self._even()
        g = [0 if x < 0 else 2 if x > 0 else 1 for x in self.n]
        slots = [
            15 - self.val if self.value < 0 else 16 + self.val,
            32 + g[0] + 3 * g[1] + 9 * g[2] + 27 * g[6],
            121 + clamp(self.n[2], 8),
            130 + g[7] + 3 * g[8] + 9 * g[0],
        ]
        bit = self._decision(0, [3620 + slot for slot in slots], 768)
        if self.signs < 16384:
            self.signs += 1
            self.gain += self.probability - 32768 if bit else 32768 - self.probability
        return bit

    def _number(self, slots: list[int], weights: int) -> int:
        for m in range(1, 8):
            if not self._decision(m, slots, weights):
                return m
        m, k, j = 8, 1, 8
        while True:
            if j > 8 and j % 2 == 0:
                k += 1
            if k == 16 or not self._decision(min(j, 15), slots, weights):
                break
            m += 2**k
            j += 1
        return m + sum(self._even() << i for i in reversed(range(k)))

    def _even(self) -> int:
        return self.coder.decode(32768)

    def _decision(self, bin_: int, slots: list[int], first: int) -> int:
        cells = [(slot, bin_) for slot in slots]
        x = [STRETCH[self.counters.get(cell, (2**21, 0))[0] >> 10] for cell in cells]
        weights, u = self.sets.setdefault(first + 48 * bin_, ([2900] * 4, 0))
        d = sum(w * y for w, y in zip(weights, x, strict=True)) >> 14
        p = self.probability = SQUASH[clamp(d, 3071)]
        bit = self.coder.decode(p)
        error = (65536 * bit - p) * (2 + 20 // ((u >> 6) + 1)) >> 6
        steps = [((8 * y * error >> 16) + 1) >> 1 for y in x]
        moved = [wrap(w + step, 16) for w, step in zip(weights, steps, strict=True)]
        self.sets[first + 48 * bin_] = moved, min(u + 1, 1343)
        for cell in cells:
            self._move(cell, bit, 64 * p)
        return bit

    def _simple(self, cell: tuple[int, int, int]) -> int:
        v, _ = self.counters.get(cell, (2**21, 0))
        bit = self.coder.decode(max(v >> 6, 1))
        self._move(cell, bit, 2**21)
        return bit

    def _move(self, cell: tuple[int, ...], bit: int, fresh: int) -> None:
        v, n = self.counters.get(cell, (0, 0))
        v = v if n else fresh
        v += ((4194303 if bit else 127) - v >> 7) * (65536 // (2 * n + 3)) >> 8
        self.counters[cell] = v, min(n + 1, 1020)


def code_table(cursor: Reader) -> list[int]:
    alphabet = cursor.varint(1, 4096)
    if alphabet == 1:
        return [1]
    bits = _Bits(cursor)
    length = math.ceil(math.log2(alphabet))
    lengths = []
    for _ in range(alphabet):
        if bits.next():
            if not bits.next():
                length += 1
            elif not bits.next():
                length -= 1
            else:
                length = sum(bits.next() << i for i in range(4))
        need(0 <= length <= 15, "code length")
        lengths.append(length)
    need(bits.word == 0, "padding")
    used = [n for n in lengths if n]
    if len(used) == 1:
        need(used == [1], "single code")
    else:
        need(sum(2.0**-n for n in used) == 1, "Kraft")
    return lengths


class _Bits:
    def __init__(self, cursor: Reader) -> None:
        self.cursor = cursor
        self.left = 0
        self.word = 0

    def next(self) -> int:
        if not self.left:
            self.word = self.cursor.u8()
            self.left = 8
        self.left -= 1
        bit = self.word & 1
        self.word >>= 1
        return bit


def segment(cursor: Reader, n: int, lengths: list[int]) -> list[int]:
    used = [s for s, length in enumerate(lengths) if length]
    if n == 0 or len(used) == 1:
        return [used[0]] * n
    codes = canonical(lengths)
    if n < 4096:
        return stream(cursor.take(cursor.varint()), n, codes)
    sizes = [cursor.uint(2) for _ in range(8)]
    parts = [stream(cursor.take(size), (n - i + 7) // 8, codes) for i, size in enumerate(sizes)]
    out = [0] * n
    for i, part in enumerate(parts):
        out[i::8] = part
    return out


def canonical(lengths: list[int]) -> dict[tuple[int, int], int]:
    """From (length, code), the code's first bit being the highest, to the symbol."""
    codes = {}
    code = 0
    for length in range(1, 16):
        code <<= 1
        for symbol, its in enumerate(lengths):
            if its == length:
                codes[length, code] = symbol
                code += 1
    return codes


def stream(data: bytes, n: int, codes: dict[tuple[int, int], int]) -> list[int]:
    out = []
    at = 0
    end = 8 * len(data)
    for _ in range(n):
        code = length = 0
        while (length, code) not in codes:
            need(at < end, "stream is cut off")
            code = code << 1 | (data[at >> 3] >> (at & 7) & 1)
            length += 1
            at += 1
        out.append(codes[length, code])
    need(len(data) == (at + 7) // 8, "stream length")
    need(at % 8 == 0 or data[-1] >> (at % 8) == 0, "padding of a stream")
    return out


def encode_stream(symbols: list[int], lengths: list[int]) -> bytes:
    """One stream, for hand-made payloads."""
    codes = {symbol: key for key, symbol in canonical(lengths).items()}
    bits = []
    for symbol in symbols:
        length, code = codes[symbol]
        bits += [code >> (length - 1 - i) & 1 for i in range(length)]
    return pack_bits(bits)


def pack_bits(bits: list[int]) -> bytes:
    out = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        out[i >> 3] |= bit << (i & 7)
    return bytes(out)


def encode_table(lengths: list[int]) -> bytes:
    """A code table that writes every length out."""
    out = varint(len(lengths))
    if len(lengths) == 1:
        return out
    return out + pack_bits([b for n in lengths for b in (1, 1, 1, *(n >> i & 1 for i in range(4)))])
