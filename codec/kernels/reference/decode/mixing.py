"""Context mixing of quantized weights in plain Python: the oracle the C kernel is held to.

Every level is coded as binary decisions (is it zero, its sign, is it above 1, above 2, ...). Four
adaptive counters, each of a context of its own, predict a decision; weights mix their predictions
in the logistic domain (Mahoney 2005); a binary range coder (Martin 1979) codes it. Contexts are the
means of the weight's row and column, how long these have been zero, and two linear predictions of
its magnitude and of its value from its neighbours, which adapt as well. Where magnitudes will be
large their lower bits, nearly uniform, are coded by one counter each. formats/FORMAT.md defines
every step; all of it is integer arithmetic.

It takes some 100 microseconds a weight, where the C kernel takes a tenth of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...coding_arguments import require
from ..encode.trellis import TRELLISES

__all__ = [
    "decode_mixed",
    "decode_mixed_group",
    "encode_mixed",
    "encode_mixed_group",
]


ROW_LIMIT = 1 << 18
POSITION_LIMIT = 1 << 17
INPUTS, BINS, SLOTS, SETS = 4, 16, 6201, 769
HALF = 1 << 31
INITIAL_WEIGHT = 2900
COUNT_LIMIT = 1020
SEEN_LIMIT = 1343
LARGEST = 32767
LARGEST_BASE = 1 << 23
LARGEST_RELATIVE = 24576
MOST_RAW_BITS = 16
LARGEST_LEVEL = 1 << 17
MOST_LOW_BITS = 10
FINE_NODES, FINE = 16, 7744
# So many signs are coded by contexts; the others too if these gained that much, in 65536ths.
TRIED_SIGNS = 16384
LEAST_GAIN = 458 * TRIED_SIGNS
# First slots of the contexts.
SIZE, VALUE, MEANS, DEAD, SIGN = 0, 242, 2226, 3108, 3620
PLACE, NEAR, DENSITY, ORDER_0 = 3777, 4353, 4417, 6177
INITIAL_SCALES = (2621, 2621, 3932, 1311, 1311, 2621, 1311, 1311, 1311, 0, 0, 39322, 7864, 0)

Positions = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a tensor that is coded on its own.

    Attributes
    ----------
    start, numel : int
        Elements from `start` on.
    row, kernel, width : int
        Elements of a row, 1 to 2**18; of the kernels that follow one another in it, a divisor of
        `row`; and of a kernel's lines, a divisor of `kernel`.
    """

    start: int
    numel: int
    row: int
    kernel: int
    width: int


def check_chunk(chunk: Chunk) -> None:
    """Raise a ValueError unless the chunk's geometry is within its limits."""
    require(chunk.start >= 0 and chunk.numel >= 0, "a chunk lies outside its tensor")
    require(1 <= chunk.row <= ROW_LIMIT, "a row has 1 to 262144 elements")
    require(1 <= chunk.kernel <= chunk.row, "a kernel is no part of a row")
    require(1 <= chunk.width <= chunk.kernel, "a line is no part of a kernel")
    require(chunk.row % chunk.kernel == 0, "a row does not consist of kernels")
    require(chunk.kernel % chunk.width == 0, "a kernel does not consist of lines")


def check_chunks(positions: Positions, chunks: Sequence[Chunk]) -> None:
    """Raise a ValueError unless each chunk's geometry is within its limits, and all fit."""
    for chunk in chunks:
        check_chunk(chunk)
    require(len(positions) == sum(c.numel for c in chunks), "positions and chunks differ in size")


def encode_mixed(positions: Positions, chunk: Chunk, states: int) -> bytes:
    """Code the positions of a chunk.

    Parameters
    ----------
    positions : int32[chunk.numel]
        In half steps, within 2**17 of zero. In a state that is even they are even; in one that is
        odd they are odd or zero.
    chunk : Chunk
    states : int
        Of the trellis, a key of `TRELLISES`; its first state is 0. Without one all are even.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    return _encode(positions, [chunk], states, grouped=False)


def encode_mixed_group(positions: Positions, chunks: Sequence[Chunk], states: int) -> bytes:
    """Code the positions of several tensors, a chunk each.

    Each begins with fresh rows, columns and state, and with all that the models have learned from
    those before. Zeros are told from contexts that learn quickly where few weights are left.

    Parameters and errors are those of `encode_mixed`, the positions of all chunks end to end.
    """
    return _encode(positions, chunks, states, grouped=True)


def decode_mixed(data: Any, chunk: Chunk, states: int) -> Positions:
    """Decode what `encode_mixed` coded. Raises ValueError if bytes are left over."""
    return _decode(data, [chunk], states, grouped=False)


def decode_mixed_group(data: Any, chunks: Sequence[Chunk], states: int) -> Positions:
    """Decode what `encode_mixed_group` coded. Raises ValueError if bytes are left over."""
    return _decode(data, chunks, states, grouped=True)


def _encode(positions: Positions, chunks: Sequence[Chunk], states: int, *, grouped: bool) -> bytes:
    check_chunks(positions, chunks)
    given = iter(positions.tolist())
    odd, low = TRELLISES[states]
    coder = _Encoder()
    model = _Model(coder, grouped)
    for number, chunk in enumerate(chunks):
        model.begin(chunk, number)
        state = 0
        for position in itertools.islice(given, chunk.numel):
            level = _level_of(position, state)
            known = abs(position) <= POSITION_LIMIT and _position_of(level, state) == position
            require(known, "positions do not follow the trellis")
            model.code(level, state)
            state = state >> 1 ^ (odd if level & 1 else 0) ^ (low if state & 1 else 0)
    return coder.finish()


def _decode(data: Any, chunks: Sequence[Chunk], states: int, *, grouped: bool) -> Positions:
    positions = np.empty(sum(chunk.numel for chunk in chunks), np.int32)
    check_chunks(positions, chunks)
    odd, low = TRELLISES[states]
    coder = _Decoder(bytes(data))
    model = _Model(coder, grouped)
    at = 0
    for number, chunk in enumerate(chunks):
        model.begin(chunk, number)
        state = 0
        for _ in range(chunk.numel):
            level = model.code(0, state)
            positions[at] = _position_of(level, state)
            at += 1
            state = state >> 1 ^ (odd if level & 1 else 0) ^ (low if state & 1 else 0)
    require(coder.position >= len(data), "bytes are left over")
    return positions


def _position_of(level: int, state: int) -> int:
    return 2 * level - (state & 1) * ((level > 0) - (level < 0))


def _level_of(position: int, state: int) -> int:
    size = (abs(position) + (state & 1)) >> 1
    return -size if position < 0 else size


class _Coder(Protocol):
    def code(self, bit: int, probability: int) -> int: ...


class _Encoder:
    """Binary range coder: a bit of 1 takes `probability` / 65536 of the range."""

    def __init__(self) -> None:
        self.low, self.range = 0, 0xFFFFFFFF
        self.out = bytearray()

    def code(self, bit: int, probability: int) -> int:
        bound = self.range * probability >> 16
        if bit:
            self.range = bound
        else:
            self.low += bound
            self.range -= bound
            self._carry()
        while self.range < 1 << 24:
            self.out.append(self.low >> 24)
            self.low = self.low << 8 & 0xFFFFFFFF
            self.range <<= 8
        return bit

    def _carry(self) -> None:
        at = len(self.out)
        while self.low >> 32 and at > 0:
            at -= 1
            self.out[at] = self.out[at] + 1 & 0xFF
            if self.out[at]:
                break
        self.low &= 0xFFFFFFFF

    def finish(self) -> bytes:
        """The fewest bytes that decode with zeros behind them."""
        last = self.low + self.range - 1
        rounded = (last >> bits << bits for bits in (32, 24))  # the range is 2**24 at least
        self.low = next(low for low in rounded if low >= self.low)
        self._carry()
        return bytes(self.out + self.low.to_bytes(4, "big")).rstrip(b"\0")


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.range, self.position = 0xFFFFFFFF, 4
        self.value = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def code(self, bit: int, probability: int) -> int:
        bound = self.range * probability >> 16
        bit = int(self.value < bound)
        if bit:
            self.range = bound
        else:
            self.value -= bound
            self.range -= bound
        while self.range < 1 << 24:
            byte = self.data[self.position] if self.position < len(self.data) else 0
            self.position += 1
            self.value = self.value << 8 | byte
            self.range <<= 8
        return bit


def _logistic() -> tuple[list[int], list[int]]:
    """2**16 / (1 + exp(-x / 256)) for x from -3072 to 3071, and its inverse for 12-bit numbers."""
    squash = [0] * 6144
    power = 1 << 40
    for i in range(3072):
        squash[3072 + i] = (1 << 56) // ((1 << 40) + power)
        squash[3072 - i] = 65536 - squash[3072 + i]
        power = power * 16711808 >> 24
    squash[0] = squash[1]
    stretch = []
    x = 0
    for p in range(4096):
        while x < 6143 and squash[x] < 16 * p + 8:
            x += 1
        stretch.append(x - 3072)
    return squash, stretch


_SQUASH, _STRETCH = _logistic()
_PACE = [2 + 20 // (i + 1) for i in range(21)]
_RATE = [65536 // (2 * i + 3) for i in range(1024)]
_SHARE = [65536 // (i + 1) for i in range(65)]


def octave(x: int, fine: int) -> int:
    """Which of 2**fine equal parts of its octave a number lies in; itself below 2**fine."""
    if x < 1 << fine:
        return x
    top = x.bit_length() - 1
    return ((top - fine) << fine) + (x >> (top - fine))


def _reciprocal(y: int) -> tuple[int, int]:
    """A factor of 16 bits and a shift: x / y is about x * factor >> shift."""
    top = y.bit_length() - 1
    fraction = (y << 8 >> top) & 255
    return 16777215 // (256 + fraction), 16 + top


def _clamp(x: int, limit: int) -> int:
    return min(max(x, -limit), limit)


def _short(x: int) -> int:
    return min(max(x, -32768), 32767)


def _signed(x: int, bits: int) -> int:
    """The lowest bits as a two's complement number."""
    half = 1 << (bits - 1)
    return (x + half & (1 << bits) - 1) - half


@dataclass(slots=True)
class _Column:
    """What a column has shown: means of magnitudes and of values, 8 bits of fraction."""

    mean: int = 0
    drift: int = 0
    rows: int = 0
    nonzero: int = 0


@dataclass(slots=True)
class _Outlook:
    """What the neighbours say about the next weight; `scale` and `value` relative to `base`.

    `size` and `strength` are the magnitude and the value that are predicted, as contexts have them.
    """

    neighbours: list[int]
    scales: list[int]
    values: list[int]
    base: int
    scale: int
    value: int

    @property
    def size(self) -> int:
        return min(octave(self.scale * self.base >> 14, 3), 120)

    @property
    def strength(self) -> int:
        return min(octave(abs(self.value) >> 7, 1), 15)

    def relative(self, x: int) -> int:
        return _relative(x, *_reciprocal(self.base))


def _relative(x: int, factor: int, shift: int) -> int:
    size = min(abs(x) * factor >> (shift - 12), LARGEST_RELATIVE)
    return -size if x < 0 else size


class _Model:
    """The adaptive state, and where it stands in a chunk."""

    def __init__(self, coder: _Coder, grouped: bool) -> None:
        self._coder, self._grouped = coder, grouped
        self._counters = [HALF] * (SLOTS * BINS)
        self._fine = [HALF] * FINE
        self._weights = [[INITIAL_WEIGHT] * INPUTS for _ in range(SETS)]
        self._seen = [0] * SETS
        self._signs = self._gain = self._predicted = 0
        self._scale_weights = list(INITIAL_SCALES)
        self._value_weights = [0] * 12
        self._global = 256
        self._number = 0

    def begin(self, chunk: Chunk, number: int) -> None:
        """Go to a chunk, of whose rows and columns nothing is known."""
        self._chunk, self._number = chunk, number
        if self._grouped:
            self._seen[: 48 * BINS : 48] = [0] * BINS
        row, kernel, width = chunk.row, chunk.kernel, chunk.width
        self._offsets = (
            1,
            kernel if kernel > 1 else 3,
            row,
            row - 1,
            row + 1,
            2 * row,
            2,
            width if 1 < width < kernel else 4,
            kernel - 1 if kernel > 1 else row + 2,
        )
        self._history: list[int] = []
        self._columns = [_Column() for _ in range(min(row, chunk.numel))]
        self._column_start = chunk.start % row
        self._row_mean = self._row_drift = self._row_count = self._row_nonzero = 0
        self._kernel_nonzero = self._recent = self._zero_run = 0

    def code(self, level: int, state: int) -> int:
        """Code one level, or decode it; learn from it."""
        column = (self._chunk.start + len(self._history)) % self._chunk.row
        if column == 0 and self._history:
            self._row_count = self._row_nonzero = 0
        if column % self._chunk.kernel == 0:
            self._kernel_nonzero = 0
        own = self._columns[(column - self._column_start) % self._chunk.row]
        outlook = self._look(own)
        level = self._code_level(outlook, own, state & 1, level)
        self._learn(outlook, own, _position_of(level, state))
        return level

    # ---- what a weight is predicted from ----

    def _behind(self, offset: int) -> int:
        at = len(self._history) - offset
        return self._history[at] if 0 <= at < len(self._history) else 0

    def _look(self, column: _Column) -> _Outlook:
        if column.rows == 0:
            column.mean = self._global
        factor, shift = _reciprocal(self._global + 8)
        product = (self._row_mean + 8) * (column.mean + 8) * factor >> shift
        base = min(product, LARGEST_BASE) + 16
        inverse = _reciprocal(base)
        neighbours = [self._behind(offset) for offset in self._offsets]
        near = [_relative(256 * x, *inverse) for x in neighbours]
        means = self._row_mean, column.mean
        scales = [abs(x) for x in near] + [_relative(x, *inverse) for x in means] + [4096]
        scales += [_relative(x, *inverse) for x in (self._recent, self._global)]
        corner = self._behind(self._offsets[2] + self._offsets[1])
        drifts = self._row_drift, column.drift, 256 * corner
        values = near + [_relative(x, *inverse) for x in drifts]
        scale = min(max(_predict(self._scale_weights, scales), 410), 65536)
        return _Outlook(
            neighbours, scales, values, base, scale, _predict(self._value_weights, values)
        )

    def _contexts(self, o: _Outlook, own: _Column, q: int) -> tuple[list[int], int]:
        """Slots and weight set of everything but the sign."""
        row, mean = (min(octave(x >> 4, 2), 41) // 2 for x in (self._row_mean, own.mean))
        dead = 0 if own.nonzero else 1 + min(octave(own.rows, 0), 6)
        run = min(octave(self._zero_run, 1), 15)
        slots = [
            SIZE + 2 * o.size,
            VALUE + 2 * (o.strength + 16 * (o.size // 4)),
            MEANS + 2 * (row + 21 * mean),
            DEAD + 2 * (run + 16 * (dead + 8 * (self._row_nonzero > 0))),
        ]
        return [slot + q for slot in slots], q + 2 * min(o.size // 4, 23)

    def _sparse_contexts(self, o: _Outlook, own: _Column) -> list[int]:
        """Of several tensors: the slots, but the last, of whether a weight is zero."""
        near = sum(int(o.neighbours[n] != 0) << i for i, n in enumerate((0, 1, 2, 5, 6, 7)))
        column = (self._chunk.start + len(self._history)) % self._chunk.row
        if self._chunk.kernel > 1:
            place = min(self._kernel_nonzero, 4) + 5 * min(column % self._chunk.kernel, 63)
        else:
            place = 320 + min(own.nonzero, 15) + 16 * min(octave(own.rows, 1), 15)
        density = min(octave(self._row_nonzero, 1), 10) + 11 * min(octave(column, 0), 19)
        return [PLACE + place, NEAR + near, DENSITY + density + 220 * min(own.nonzero, 7)]

    def _sign_contexts(self, o: _Outlook) -> tuple[list[int], int]:
        signs = [1 + (x > 0) - (x < 0) for x in o.neighbours]
        slots = [
            15 - o.strength if o.value < 0 else 16 + o.strength,
            32 + signs[0] + 3 * signs[1] + 9 * signs[2] + 27 * signs[6],
            113 + 8 + _clamp(o.neighbours[2], 8),
            130 + signs[7] + 3 * signs[8] + 9 * signs[0],
        ]
        return [SIGN + slot for slot in slots], 768

    # ---- decisions ----

    def _code_level(self, o: _Outlook, own: _Column, q: int, level: int) -> int:
        slots, weights = self._contexts(o, own, q)
        zero = slots
        if self._grouped:
            zero = [*self._sparse_contexts(o, own), slots[3]]
            weights = 0
            slots[1], slots[3] = ORDER_0, ORDER_0 + 1 + min(self._number, 22)
        if not self._code_bit(zero, weights, 0, int(level != 0)):
            return 0
        negative = self._code_sign(o, int(level < 0))
        if negative != (o.value < 0) and not self._grouped:
            slots[1] += 992
        size = self._code_magnitude(o, slots, weights, abs(level))
        return -size if negative else size

    def _code_sign(self, o: _Outlook, negative: int) -> int:
        """A sign; once enough of them have shown that nothing foretells them, without a context."""
        if self._signs == TRIED_SIGNS and self._gain < LEAST_GAIN:
            return self._coder.code(negative, 32768)
        negative = self._code_bit(*self._sign_contexts(o), 0, negative)
        if self._signs < TRIED_SIGNS:
            self._signs += 1
            self._gain += self._predicted - 32768 if negative else 32768 - self._predicted
        return negative

    def _code_magnitude(self, o: _Outlook, slots: list[int], weights: int, size: int) -> int:
        """A magnitude above 0: its lower bits apart, as many as are nearly uniform."""
        predicted = o.scale * o.base >> 21
        bits = min(max(predicted.bit_length() - 1, 0), MOST_LOW_BITS)
        upper = self._code_number(slots, weights, (size - 1 >> bits) + 1) - 1
        first = FINE_NODES * (4 * o.size + min(upper, 3))
        node, found = 1, upper
        for i in reversed(range(bits)):
            bit = size - 1 >> i & 1
            if node < FINE_NODES:
                bit = self._code_simply(first + node, bit)
            else:
                bit = self._coder.code(bit, 32768)
            node, found = 2 * node + bit, 2 * found + bit
        return min(found + 1, LARGEST_LEVEL)

    def _code_number(self, slots: list[int], weights: int, number: int) -> int:
        """A number above 0: one by one up to 8, then in intervals of 2, 2, 4, 4, 8, 8, ..."""
        for low in range(1, 8):
            if not self._code_bit(slots, weights, low, int(number > low)):
                return low
        low, bits, bin_ = 8, 1, 8
        while True:
            if bin_ > 8 and bin_ % 2 == 0:
                bits += 1
            if bits == MOST_RAW_BITS:
                break
            beyond = int(number >= low + (1 << bits))
            if not self._code_bit(slots, weights, min(bin_, 15), beyond):
                break
            low += 1 << bits
            bin_ += 1
        raw = 0
        for i in reversed(range(bits)):
            raw = raw << 1 | self._coder.code((number - low) >> i & 1, 32768)
        return low + raw

    def _code_bit(self, slots: list[int], weights: int, bin_: int, bit: int) -> int:
        cells = [slot * BINS + bin_ for slot in slots]
        inputs = [_STRETCH[self._counters[cell] >> 20] for cell in cells]
        at = weights + 48 * bin_
        total = sum(w * x for w, x in zip(self._weights[at], inputs, strict=True)) >> 14
        p = self._predicted = _SQUASH[3072 + _clamp(total, 3071)]
        bit = self._coder.code(bit, p)
        self._learn_weights(at, inputs, (bit << 16) - p)
        for cell in cells:
            count = self._counters[cell] & 1023
            before = self._counters[cell] >> 10 if count else p << 6
            self._counters[cell] = _moved(before, count, bit)
        return bit

    def _code_simply(self, cell: int, bit: int) -> int:
        """A bit that one counter predicts."""
        word = self._fine[cell]
        bit = self._coder.code(bit, max(word >> 16, 1))
        self._fine[cell] = _moved(word >> 10, word & 1023, bit)
        return bit

    # ---- learning ----

    def _learn_weights(self, at: int, inputs: list[int], error: int) -> None:
        seen = self._seen[at]
        scaled = error * _PACE[seen >> 6] >> 6
        self._weights[at] = [
            _signed(w + ((8 * x * scaled >> 16) + 1 >> 1), 16)
            for w, x in zip(self._weights[at], inputs, strict=True)
        ]
        self._seen[at] = min(seen + 1, SEEN_LIMIT)

    def _learn(self, o: _Outlook, column: _Column, position: int) -> None:
        x = _clamp(position, LARGEST)
        size = abs(x) << 8
        target = o.relative(size)
        _adapt(self._scale_weights, o.scales, _short(target - o.scale))
        _adapt(self._value_weights, o.values, _short((-target if x < 0 else target) - o.value))
        self._row_count = min(self._row_count + 1, 64)
        share = _SHARE[self._row_count]
        self._row_mean = _towards(self._row_mean, size, share)
        self._row_drift = _towards(self._row_drift, 256 * x, share)
        self._row_nonzero += int(x != 0)
        self._kernel_nonzero += int(x != 0)
        self._recent = _towards(self._recent, size, 6554)
        self._zero_run = 0 if x else self._zero_run + 1
        column.nonzero = min(column.nonzero + int(x != 0), 65535)
        share = _SHARE[min(column.rows + 2, 64)]
        column.mean = _towards(column.mean, size, share)
        column.drift = _towards(column.drift, 256 * x, share)
        column.rows = min(column.rows + 1, 65535)
        self._global = _towards(self._global, size, 256)
        self._history.append(x)


def _moved(p: int, count: int, bit: int) -> int:
    """A counter that moves towards a bit, rounding down, and never below 0."""
    p += ((4194303 if bit else 127) - p >> 7) * _RATE[count] >> 8
    return p << 10 | min(count + 1, COUNT_LIMIT)


def _predict(weights: list[int], numbers: list[int]) -> int:
    total = sum(_short(w >> 4) * x for w, x in zip(weights, numbers, strict=True))
    return _signed(total, 32) >> 12


def _adapt(weights: list[int], values: list[int], error: int) -> None:
    for i, value in enumerate(values):
        weights[i] = _signed(weights[i] + (error * value + 262144 >> 19), 32)


def _towards(mean: int, value: int, share: int) -> int:
    """Move a mean towards a value by share / 65536."""
    return mean + ((value - mean) * share >> 16)
