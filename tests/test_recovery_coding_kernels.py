"""What the coding kernels encode, both backends decode; and they agree to the last byte."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bitarray import bitarray
from bitarray.util import canonical_decode, canonical_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from dcz.codec.kernels.reference import coding as reference_coding
from dcz.codec.kernels.reference.decode import codes as reference_codes
from dcz.codec.kernels.reference.decode import decoding, streams
from dcz.codec.kernels.reference.encode import encoding

try:
    from dcz.codec.kernels.native import coding
except ImportError:
    BACKENDS: list[ModuleType] = [reference_coding]
else:
    BACKENDS = [reference_coding, coding]

SIZES = [0, 1, 2, 7, 4095, 4096, 4097, 65536, 1 << 18]
ALPHABETS = [1, 2, 3, 32, 33, 256, 257, 1000, 4096]
Array = npt.NDArray[Any]

backends = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda m: m.__name__.split(".")[-1])


def random_symbols(rng: np.random.Generator, alphabet: int, size: int, skew: float) -> Array:
    weights = rng.random(alphabet) ** skew
    dtype = np.uint8 if alphabet <= 256 else np.uint16
    return rng.choice(alphabet, size=size, p=weights / weights.sum()).astype(dtype)


def smallest_limit(alphabet: int) -> int:
    return max(1, (alphabet - 1).bit_length())


def total_bits(counts: Array, lengths: Array) -> int:
    return int((counts * lengths.astype(np.int64)).sum())


def fibonacci(length: int) -> Array:
    numbers = [1, 1]
    while len(numbers) < length:
        numbers.append(numbers[-1] + numbers[-2])
    return np.array(numbers, dtype=np.int64)


@backends
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counts_match_a_plain_count(kernels: ModuleType, size: int, dtype: type) -> None:
    symbols: Array = np.random.default_rng(size).integers(0, 200, size=size).astype(dtype)
    expected = [int((symbols == symbol).sum()) for symbol in range(201)]
    assert kernels.count_symbols(symbols, 201).tolist() == expected


@backends
def test_a_symbol_outside_the_alphabet_is_refused(kernels: ModuleType) -> None:
    for dtype in (np.uint8, np.uint16):
        with pytest.raises(ValueError, match="alphabet"):
            kernels.count_symbols(np.array([1, 5], dtype=dtype), 5)


def split_plainly(indices: list[int], span: int, filler: int) -> tuple[list[list[int]], ...]:
    gaps: list[list[int]] = []
    survivors: list[list[int]] = []
    for begin in range(0, len(indices), span):
        block_gaps: list[int] = []
        block_survivors: list[int] = []
        gap = 0
        for index in indices[begin : begin + span]:
            if index == 0:
                gap += 1
                continue
            block_gaps += [filler] * (gap // filler) + [gap % filler]
            block_survivors.append(index - 1)
            gap = 0
        gaps.append(block_gaps)
        survivors.append(block_survivors)
    return gaps, survivors


@backends
@settings(max_examples=150, deadline=None)
@given(
    indices=st.lists(st.sampled_from([0, 0, 0, 1, 2, 255]), max_size=120),
    span=st.integers(1, 130),
    filler=st.integers(1, 20),
    wide=st.booleans(),
)
def test_split_matches_the_definition(
    kernels: ModuleType, indices: list[int], span: int, filler: int, wide: bool
) -> None:
    array = np.array(indices, dtype=np.uint16 if wide else np.uint8)
    gaps, survivors, gap_starts, survivor_starts = kernels.split_sparse(array, span, filler)
    expected_gaps, expected_survivors = split_plainly(indices, span, filler)
    assert gaps.dtype == np.uint16
    assert survivors.dtype == array.dtype
    assert gaps.tolist() == list(itertools.chain(*expected_gaps))
    assert survivors.tolist() == list(itertools.chain(*expected_survivors))
    assert np.diff(gap_starts).tolist() == [len(block) for block in expected_gaps]
    assert np.diff(survivor_starts).tolist() == [len(block) for block in expected_survivors]
    assert gap_starts[0] == survivor_starts[0] == 0


def cheapest_lengths(counts: tuple[int, ...], limit: int) -> int:
    """The least total of bits over all complete or incomplete prefix codes, by trying them all."""
    best: int | None = None
    for lengths in itertools.product(range(1, limit + 1), repeat=len(counts)):
        if sum(2.0**-length for length in lengths) > 1:
            continue
        bits = sum(count * length for count, length in zip(counts, lengths, strict=True))
        best = bits if best is None else min(best, bits)
    assert best is not None
    return best


@backends
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_limited_lengths_are_optimal_for_tiny_alphabets(kernels: ModuleType, limit: int) -> None:
    rng = np.random.default_rng(limit)
    for used in range(2, min(6, 1 << limit) + 1):
        for scale in (2, 10, 1000):
            counts = rng.integers(1, scale + 1, size=used)
            lengths = kernels.code_lengths(counts, limit)
            assert lengths.max() <= limit
            assert total_bits(counts, lengths) == cheapest_lengths(tuple(counts.tolist()), limit)


@backends
@pytest.mark.parametrize("alphabet", [2, 3, 32, 256, 1000, 4096])
def test_unlimited_lengths_cost_what_huffman_costs(kernels: ModuleType, alphabet: int) -> None:
    counts = np.random.default_rng(alphabet).integers(900, 1100, size=alphabet)
    codes, _, _ = canonical_huffman(dict(enumerate(counts.tolist())))
    huffman = sum(len(codes[symbol]) * count for symbol, count in enumerate(counts.tolist()))
    assert max(len(code) for code in codes.values()) <= 15
    assert total_bits(counts, kernels.code_lengths(counts, 15)) == huffman


@backends
def test_a_skewed_code_keeps_to_its_limit(kernels: ModuleType) -> None:
    counts = fibonacci(40)
    for limit in range(6, 16):
        lengths = kernels.code_lengths(counts, limit).astype(np.int64)
        assert lengths.max() == limit
        assert (2.0**-lengths).sum() == 1


@backends
@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 6), min_size=1, max_size=60), extra=st.integers(0, 9))
def test_equal_counts_favour_the_smaller_symbol(
    kernels: ModuleType, counts: list[int], extra: int
) -> None:
    limit = smallest_limit(len(counts)) + extra
    lengths = kernels.code_lengths(np.array(counts), limit).tolist()
    for a, b in itertools.combinations(range(len(counts)), 2):
        if counts[a] == counts[b]:
            assert lengths[a] <= lengths[b]
        assert (lengths[a] == 0) == (counts[a] == 0)


@backends
def test_few_symbols_have_the_lengths_the_format_says(kernels: ModuleType) -> None:
    assert kernels.code_lengths(np.array([0, 0]), 11).tolist() == [0, 0]
    assert kernels.code_lengths(np.array([0, 7, 0]), 11).tolist() == [0, 1, 0]
    assert kernels.code_lengths(np.array([1, 7]), 1).tolist() == [1, 1]


@backends
@pytest.mark.parametrize(
    ("counts", "limit"), [([1, 1, 1], 1), ([1, -1], 4), ([1], 0), ([1], 16), ([1 << 59, 1], 4)]
)
def test_impossible_lengths_are_refused(kernels: ModuleType, counts: list[int], limit: int) -> None:
    with pytest.raises(ValueError, match=r"limit|count"):
        kernels.code_lengths(np.array(counts), limit)


def canonical_form(lengths: Array) -> tuple[list[int], list[int]]:
    """How many codes there are of each length, and the symbols in canonical order."""
    numbers = np.bincount(lengths[lengths > 0], minlength=16).tolist()
    order = sorted(np.flatnonzero(lengths).tolist(), key=lambda symbol: (lengths[symbol], symbol))
    return numbers, order


@backends
@pytest.mark.parametrize("alphabet", [2, 5, 32, 256, 1000])
def test_a_single_stream_is_a_plain_canonical_code(kernels: ModuleType, alphabet: int) -> None:
    rng = np.random.default_rng(alphabet)
    symbols = random_symbols(rng, alphabet, 3000, 4.0)
    counts = kernels.count_symbols(symbols, alphabet)
    lengths = kernels.code_lengths(counts, 15)
    payload, offsets = kernels.encode_segments(symbols, np.array([0, 3000]), lengths)
    size = -(-total_bits(counts, lengths) // 8)
    header = 1 if size < 128 else 2
    assert offsets.tolist() == [0, header + size]
    bits = bitarray(endian="little")
    bits.frombytes(payload[header:])
    decoded = canonical_decode(bits[: total_bits(counts, lengths)], *canonical_form(lengths))
    assert list(decoded) == symbols.tolist()


@backends
def test_eight_streams_are_plain_canonical_codes(kernels: ModuleType) -> None:
    symbols = random_symbols(np.random.default_rng(8), 40, 5003, 3.0)
    lengths = kernels.code_lengths(kernels.count_symbols(symbols, 40), 11)
    payload, _ = kernels.encode_segments(symbols, np.array([0, 5003]), lengths)
    sizes = np.frombuffer(payload[:16], dtype="<u2").tolist()
    begin = 16
    for stream, size in enumerate(sizes):
        own = symbols[stream::8]
        bits = bitarray(endian="little")
        bits.frombytes(payload[begin : begin + size])
        used = int(lengths[own].astype(np.int64).sum())
        assert size == -(-used // 8)
        assert list(canonical_decode(bits[:used], *canonical_form(lengths))) == own.tolist()
        assert not bits[used:].any()
        begin += size
    assert begin == len(payload)


@backends
def test_the_table_decodes_every_code(kernels: ModuleType) -> None:
    lengths = np.array([2, 0, 1, 3, 3], dtype=np.uint8)
    # Codes, first bit first: 2 -> 0, 0 -> 10, 3 -> 110, 4 -> 111.
    expected = [2 << 4 | 1, 0 << 4 | 2, 2 << 4 | 1, 3 << 4 | 3]
    expected += [2 << 4 | 1, 0 << 4 | 2, 2 << 4 | 1, 4 << 4 | 3]
    assert kernels.decoding_table(lengths).tolist() == expected
    assert kernels.decoding_table(np.array([0, 1], dtype=np.uint8)).tolist() == [17, 17]


@backends
@pytest.mark.parametrize(
    "lengths", [[], [0], [0, 0], [2], [1, 2], [1, 1, 1], [1, 2, 2, 15], [16, 1], [255, 1]]
)
def test_lengths_that_are_no_complete_code_are_refused(
    kernels: ModuleType, lengths: list[int]
) -> None:
    array = np.array(lengths, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"code|alphabet"):
        kernels.decoding_table(array)
    with pytest.raises(ValueError, match=r"code|alphabet"):
        kernels.encode_segments(np.zeros(3, dtype=np.uint8), np.array([0, 3]), array)


@backends
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("size", SIZES)
def test_segments_come_back(kernels: ModuleType, alphabet: int, size: int) -> None:
    rng = np.random.default_rng(alphabet + size)
    symbols = random_symbols(rng, alphabet, size, 2.0)
    starts = np.array([0, size])
    lengths = kernels.code_lengths(kernels.count_symbols(symbols, alphabet), 15)
    payload, offsets = kernels.encode_segments(symbols, starts, lengths)
    assert offsets.tolist() == [0, len(payload)]
    for item in (1, 2, 4, 8):
        codebook = np.frombuffer(rng.bytes(item * alphabet), dtype=f"u{item}")
        out = np.empty(size, dtype=codebook.dtype)
        kernels.decode_dense(payload, offsets[:-1], np.array([size]), lengths, codebook, out)
        assert (out == codebook[symbols]).all()


@st.composite
def coding_cases(draw: st.DrawFn) -> tuple[Array, Array, int, int]:
    """Symbols, the starts of segments, the alphabet's size and a length limit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    alphabet = draw(st.sampled_from(ALPHABETS))
    sizes = draw(st.lists(st.sampled_from([*SIZES[:-2], 50, 9001]), max_size=6))
    symbols = random_symbols(rng, alphabet, sum(sizes), draw(st.sampled_from([0.1, 1.0, 9.0])))
    if draw(st.booleans()):
        symbols = symbols.astype(np.uint16)
    limit = draw(st.integers(smallest_limit(alphabet), 15))
    return symbols, np.cumsum([0, *sizes]), alphabet, limit


@pytest.mark.skipif(len(BACKENDS) < 2, reason="the C extension is not built")
@settings(max_examples=60, deadline=None)
@given(case=coding_cases(), item=st.sampled_from([1, 2, 4, 8]))
def test_backends_agree(case: tuple[Array, Array, int, int], item: int) -> None:
    symbols, starts, alphabet, limit = case
    counts = [kernels.count_symbols(symbols, alphabet) for kernels in BACKENDS]
    assert (counts[0] == counts[1]).all()
    lengths = [kernels.code_lengths(counts[0], limit) for kernels in BACKENDS]
    assert (lengths[0] == lengths[1]).all()
    if len(symbols):
        tables = [kernels.decoding_table(lengths[0]) for kernels in BACKENDS]
        assert (tables[0] == tables[1]).all()
    coded = [kernels.encode_segments(symbols, starts, lengths[0]) for kernels in BACKENDS]
    assert coded[0][0] == coded[1][0]
    assert (coded[0][1] == coded[1][1]).all()
    codebook = np.random.default_rng(0).integers(0, 1 << 8 * item, alphabet, dtype=f"u{item}")
    for kernels in BACKENDS:
        out = np.empty(len(symbols), dtype=codebook.dtype)
        payload, offsets = coded[0]
        kernels.decode_dense(payload, offsets[:-1], np.diff(starts), lengths[0], codebook, out)
        assert (out == codebook[symbols]).all()


@backends
def test_segments_decode_in_any_order_and_number(kernels: ModuleType) -> None:
    symbols = random_symbols(np.random.default_rng(3), 20, 30000, 1.0)
    starts = np.array([0, 10000, 10001, 10001, 25000, 30000])
    lengths = kernels.code_lengths(kernels.count_symbols(symbols, 20), 11)
    payload, offsets = kernels.encode_segments(symbols, starts, lengths)
    chosen = np.array([4, 0, 2, 1])
    out = np.empty(int(np.diff(starts)[chosen].sum()), dtype=np.uint8)
    codebook = np.arange(20, dtype=np.uint8)
    kernels.decode_dense(payload, offsets[chosen], np.diff(starts)[chosen], lengths, codebook, out)
    expected = [symbols[starts[segment] : starts[segment + 1]] for segment in chosen]
    assert (out == np.concatenate(expected)).all()


def test_segments_are_the_same_however_they_are_cut_into_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The NumPy backend decodes many segments in groups; one that is too large is one alone."""
    symbols = random_symbols(np.random.default_rng(4), 20, 9000, 1.0)
    starts = np.array([0, 0, 3, 3, 20, 6000, 6000, 6010, 9000, 9000])
    lengths = reference_codes.code_lengths(encoding.count_symbols(symbols, 20), 11)
    whole = encoding.encode_segments(symbols, starts, lengths)
    codebook = np.arange(20, dtype=np.uint8)
    for limit in (1, 40, 5000):
        for module in (encoding, streams):
            monkeypatch.setattr(module, "_GROUP_SYMBOLS", limit)
        groups = list(streams.segment_groups(np.diff(starts), limit))
        assert len(groups) > 1
        assert [first for first, _ in groups] == [0, *(last for _, last in groups[:-1])]
        assert all(starts[first] < starts[last] for first, last in groups)
        payload, offsets = encoding.encode_segments(symbols, starts, lengths)
        assert (payload, offsets.tolist()) == (whole[0], whole[1].tolist())
        out = np.empty(symbols.size, np.uint8)
        decoding.decode_dense(payload, offsets[:-1], np.diff(starts), lengths, codebook, out)
        assert np.array_equal(out, symbols)
        same = np.zeros(symbols.size, np.uint8)
        decoding.decode_dense(
            b"", 0 * offsets[:-1], np.diff(starts), np.array([0, 1], np.uint8), codebook, same
        )
        assert (same == 1).all()


@backends
def test_a_single_symbol_takes_no_bytes(kernels: ModuleType) -> None:
    lengths = np.array([0, 0, 1], dtype=np.uint8)
    symbols = np.full(5000, 2, dtype=np.uint16)
    payload, offsets = kernels.encode_segments(symbols, np.array([0, 10, 5000]), lengths)
    assert payload == b""
    assert offsets.tolist() == [0, 0, 0]
    out = np.empty(5000, dtype=np.float64)
    codebook = np.array([1.0, 2.0, -0.0])
    kernels.decode_dense(b"", offsets[:-1], np.array([10, 4990]), lengths, codebook, out)
    assert (out.view(np.uint64) == codebook.view(np.uint64)[2]).all()


@backends
def test_without_symbols_there_need_not_be_a_code(kernels: ModuleType) -> None:
    nothing = np.zeros(4, dtype=np.uint8)
    assert kernels.encode_segments(nothing[:0], np.array([0, 0]), nothing)[0] == b""
    out = np.empty(0, dtype=np.float32)
    starts = np.array([0])
    kernels.decode_dense(b"", starts, starts, nothing, np.empty(4, dtype=np.float32), out)


@backends
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_symbols_without_a_code_are_refused(kernels: ModuleType, dtype: type) -> None:
    for lengths, symbol in (([1, 1, 0], 2), ([1, 1], 2), ([0, 1], 0), ([1, 1], 255)):
        for size in (3, 5000):
            symbols: Array = np.ones(size, dtype=dtype)
            symbols[-1] = symbol
            with pytest.raises(ValueError, match="a symbol has no code"):
                kernels.encode_segments(
                    symbols, np.array([0, size]), np.array(lengths, dtype=np.uint8)
                )


@backends
def test_streams_too_long_for_their_header_are_refused(kernels: ModuleType) -> None:
    lengths = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15], dtype=np.uint8)
    symbols = np.full(1 << 19, 15, dtype=np.uint8)
    with pytest.raises(ValueError, match="65535"):
        kernels.encode_segments(symbols, np.array([0, len(symbols)]), lengths)
    fitting = symbols[: 8 * (65535 * 8 // 15)]
    payload, offsets = kernels.encode_segments(fitting, np.array([0, len(fitting)]), lengths)
    out = np.empty(len(fitting), dtype=np.uint8)
    codebook = np.arange(16, dtype=np.uint8)
    kernels.decode_dense(payload, offsets[:-1], np.array([len(fitting)]), lengths, codebook, out)
    assert (out == 15).all()


@backends
@pytest.mark.parametrize("starts", [[], [-1, 2], [0, 4], [2, 1, 3], [0, 9, 3]])
def test_segments_outside_the_symbols_are_refused(kernels: ModuleType, starts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"start|segment"):
        kernels.encode_segments(
            np.zeros(3, dtype=np.uint8),
            np.array(starts, dtype=np.int64),
            np.array([1, 1], dtype=np.uint8),
        )


def sparse_arguments(
    kernels: ModuleType, indices: Array, codebook: Array, span: int, filler: int
) -> dict[str, Any]:
    """The arguments of `decode_sparse`, but `out`, for coded indices."""
    gaps, survivors, gap_starts, survivor_starts = kernels.split_sparse(indices, span, filler)
    gap_lengths = kernels.code_lengths(kernels.count_symbols(gaps, filler + 1), 12)
    index_lengths = kernels.code_lengths(kernels.count_symbols(survivors, len(codebook)), 15)
    gap_payload, gap_offsets = kernels.encode_segments(gaps, gap_starts, gap_lengths)
    payload, offsets = kernels.encode_segments(survivors, survivor_starts, index_lengths)
    return {
        "payload": gap_payload + payload,
        "gap_offsets": gap_offsets[:-1],
        "gap_counts": np.diff(gap_starts),
        "index_offsets": offsets[:-1] + len(gap_payload),
        "index_counts": np.diff(survivor_starts),
        "gap_lengths": gap_lengths,
        "filler": filler,
        "index_lengths": index_lengths,
        "codebook": codebook,
        "span": span,
    }


@backends
@pytest.mark.parametrize("item", [1, 2, 4, 8])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.1, 1.0])
@pytest.mark.parametrize(("size", "span"), [(0, 9), (1, 9), (70000, 30000), (60000, 30000)])
def test_sparse_blocks_come_back(
    kernels: ModuleType, item: int, density: float, size: int, span: int
) -> None:
    rng = np.random.default_rng(item)
    levels = rng.integers(1, 31, size=size)
    indices = np.where(rng.random(size) < density, levels, 0).astype(np.uint8)
    codebook = rng.integers(0, 1 << 8 * item, size=30, dtype=f"u{item}")
    arguments = sparse_arguments(kernels, indices, codebook, span, filler=40)
    expected = np.append(np.zeros(1, codebook.dtype), codebook)[indices]
    for decoder in BACKENDS:
        out = np.full(size, 1, dtype=codebook.dtype)
        decoder.decode_sparse(**arguments, out=out)
        assert (out == expected).all()


@backends
@settings(max_examples=80, deadline=None)
@given(
    indices=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 5]), max_size=200),
    span=st.integers(1, 220),
    filler=st.integers(1, 12),
)
def test_sparse_blocks_of_any_shape_come_back(
    kernels: ModuleType, indices: list[int], span: int, filler: int
) -> None:
    array = np.array(indices, dtype=np.uint16)
    codebook = np.array([1.5, -2.0, 0.25, 8.0, -0.0], dtype=np.float32)
    arguments = sparse_arguments(kernels, array, codebook, span, filler)
    out = np.empty(len(array), dtype=np.float32)
    kernels.decode_sparse(**arguments, out=out)
    expected = np.append(np.zeros(1, codebook.dtype), codebook)[array]
    assert (out.view(np.uint32) == expected.view(np.uint32)).all()


@backends
def test_any_dtype_and_any_buffer_serve(kernels: ModuleType) -> None:
    symbols = np.array([0, 1, 2, 1] * 5, dtype=np.uint8)
    lengths = np.array([2, 1, 2], dtype=np.uint8)
    payload, _ = kernels.encode_segments(symbols[::2], np.array([0, 10]), lengths)
    codebook = np.arange(6, dtype=np.float32)[::2].astype(">f4")
    for buffer in (payload, bytearray(payload), memoryview(payload), np.frombuffer(payload, "u1")):
        out = np.empty(10, dtype=">f4")
        kernels.decode_dense(buffer, np.array([0]), np.array([10]), lengths, codebook, out)
        assert (out == codebook[symbols[::2]]).all()
