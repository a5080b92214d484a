"""Reading flatbuffers and flexbuffers that may be hostile."""

import random
import struct

import pytest
from flatbuffers import flexbuffers

from quantize.edgetpu.flatbuffer import MAX_KEYS, MAX_TEXT_BYTES, Span, Table, read_map


def whole(content: bytes) -> Span:
    return Span(0, len(content))


def table_of(*fields: bytes) -> bytes:
    """One table by hand: the root offset, a list of field places, then the fields, each of 4 bytes."""
    places = [4 + 4 * n for n in range(len(fields))]
    listed = struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), 4 + 4 * len(fields), *places)
    start = 4 + len(listed)
    return struct.pack("<I", start) + listed + struct.pack("<i", len(listed)) + b"".join(fields)


def word(value: int) -> bytes:
    return struct.pack("<I", value)


def test_reads_numbers_and_takes_absent_fields_as_zero():
    """Fields beyond the list of fields have their default."""
    table = Table.root(table_of(word(7)), whole(table_of(word(7))))
    assert (table.number(0), table.number(1), table.text(5), table.table(3)) == (7, 0, "", None)
    assert list(table.tables(2, 10)) == [] and table.span(4).size == 0


def test_tells_where_bytes_lie_in_the_file():
    """A vector's span is counted from the beginning of the file, not of the table."""
    content = b"xxxx" + table_of(word(4)) + word(3) + b"abc"
    table = Table.root(content, Span(4, len(content) - 4))
    assert table.span(0) == Span(len(content) - 3, 3)
    assert table.text(0) == "abc"


def test_cuts_a_long_name():
    """A name that a converter joined from hundreds of layers is no reason to refuse the file."""
    content = table_of(word(4)) + word(5000) + b"n" * 5000
    assert Table.root(content, whole(content)).text(0) == "n" * MAX_TEXT_BYTES


@pytest.mark.parametrize("length", [4, 2**31 - 1, 2**32 - 1])
def test_refuses_a_vector_that_ends_beyond_its_buffer(length):
    """No length is believed, in bytes or in items."""
    content = table_of(word(4)) + word(length) + b"abc"
    table = Table.root(content, whole(content))
    with pytest.raises(ValueError, match="outside"):
        table.span(0)
    with pytest.raises(ValueError):
        list(table.tables(0, 2**40))


def test_refuses_a_vector_with_more_items_than_the_limit():
    """A long list is refused before it is walked."""
    content = table_of(word(4)) + word(9) + bytes(36)
    with pytest.raises(ValueError, match="at most 8"):
        Table.root(content, whole(content)).tables(0, 8)


def test_refuses_a_table_before_or_behind_its_buffer():
    """Neither the bytes in front of a nested buffer nor those behind are part of it."""
    content = table_of(word(7))
    with pytest.raises(ValueError, match="outside"):
        Table.root(content, Span(0, 6)).number(0)
    inner = content + content
    behind = Table(inner, Span(len(content), len(content)), 0)
    with pytest.raises(ValueError, match="outside"):
        behind.number(0)


def test_reads_the_byte_strings_of_a_flexbuffer_map():
    """The same as the library's own reader finds, and where it lies."""
    content = bytes(flexbuffers.Dumps({"1": 0, "4": "x" * 300, "5": -1, "blob": b"abc"}))
    found = read_map(content, whole(content))
    assert set(found) == {"1", "4", "5", "blob"} and found["1"] is None
    assert content[found["4"].start : found["4"].end] == b"x" * 300
    assert content[found["blob"].start : found["blob"].end] == b"abc"


def test_refuses_what_is_no_map_or_too_large_a_one():
    """Other values, empty ones and maps with very many keys are refused."""
    for content in (b"", b"\0", bytes(flexbuffers.Dumps([1, 2])), bytes(flexbuffers.Dumps(7))):
        with pytest.raises(ValueError):
            read_map(content, whole(content))
    endless = bytes(flexbuffers.Dumps({"abc": 1})).replace(b"abc\0", b"abcd")
    with pytest.raises(ValueError, match="without an end"):
        read_map(endless, whole(endless))
    many = bytes(flexbuffers.Dumps({str(n): n for n in range(MAX_KEYS + 1)}))
    with pytest.raises(ValueError, match="at most"):
        read_map(many, whole(many))


def test_survives_damage_anywhere():
    """Whatever bytes are wrong, the answer is a map or a ValueError."""
    chance = random.Random(1)
    good = bytes(flexbuffers.Dumps({"1": 0, "4": "x" * 30, "6": [18]}))
    for _ in range(2000):
        damaged = bytearray(good)
        for _ in range(chance.choice([1, 3])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            for span in read_map(bytes(damaged), whole(good)).values():
                assert span is None or 0 <= span.start <= span.end <= len(good)
        except ValueError:
            continue
