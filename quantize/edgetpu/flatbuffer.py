"""Reads flatbuffer tables and flexbuffer maps from a stranger; no offset or length in them is trusted.

Every position is checked against the bytes that are there, every count against a limit. What contradicts
itself is a ValueError.

Source: "FlatBuffers internals" and "FlexBuffers" (flatbuffers.dev), the two binary formats.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from quantize.tflite_model import make_printable

MAX_TEXT_BYTES = 1024
MAX_KEYS = 64

_MAP, _STRING, _BLOB = 9, 5, 25
_INTEGER_FORMATS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


@dataclass(frozen=True)
class Span:
    """A stretch of a file: where it starts, how many bytes it has."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """Return the place after its last byte."""
        return self.start + self.size


@dataclass(frozen=True)
class Table:
    """One flatbuffer table at `place`, within the `bounds` of its buffer. Absent fields are 0 or empty."""

    content: bytes
    bounds: Span
    place: int

    @staticmethod
    def root(content: bytes, bounds: Span) -> "Table":
        """Return the outermost table of the buffer that fills `bounds`."""
        return Table(content, bounds, bounds.start + _unpack("<I", content, bounds, bounds.start))

    def place_of(self, field: int) -> int | None:
        """Return where a field's value lies in the file, None if it is absent."""
        fields = self.place - self._read("<i", self.place)
        entry = 4 + 2 * field
        if entry + 2 > self._read("<H", fields):
            return None
        offset = self._read("<H", fields + entry)
        return self.place + offset if offset else None

    def number(self, field: int, form: str = "<i") -> int:
        """Return an integer field; `form` is its struct format."""
        place = self.place_of(field)
        return 0 if place is None else int(self._read(form, place))

    def real(self, field: int) -> float:
        """Return a float32 field."""
        place = self.place_of(field)
        return 0.0 if place is None else float(struct.unpack("<f", self._bytes(Span(place, 4)))[0])

    def table(self, field: int) -> "Table | None":
        """Return the table a field points to."""
        place = self.place_of(field)
        return None if place is None else self._at(self._follow(place))

    def tables(self, field: int, limit: int) -> "Iterator[Table]":
        """Return the tables of a vector of at most `limit` tables."""
        return (self._at(self._follow(place)) for place in self._pointers(field, limit))

    def span(self, field: int) -> Span:
        """Return where a byte vector's or string's bytes lie in the file."""
        place = self.place_of(field)
        return Span(self.place, 0) if place is None else self._vector(self._follow(place))

    def spans(self, field: int, limit: int) -> list[Span]:
        """Return where the byte strings of a vector of at most `limit` strings lie in the file."""
        return [self._vector(self._follow(place)) for place in self._pointers(field, limit)]

    def text(self, field: int) -> str:
        """Return a string field, cut after MAX_TEXT_BYTES: converters join names to any length."""
        span = self.span(field)
        raw = self._bytes(Span(span.start, min(span.size, MAX_TEXT_BYTES)))
        return make_printable(raw.decode("utf-8", "replace"))

    def _pointers(self, field: int, limit: int) -> range:
        place = self.place_of(field)
        if place is None:
            return range(0)
        items = self._vector(self._follow(place), 4)
        _at_most(items.size // 4, limit)
        return range(items.start, items.end, 4)

    def _vector(self, place: int, item_bytes: int = 1) -> Span:
        return _within(Span(place + 4, self._read("<I", place) * item_bytes), self.bounds)

    def _follow(self, place: int) -> int:
        return place + self._read("<I", place)

    def _at(self, place: int) -> "Table":
        return Table(self.content, self.bounds, place)

    def _read(self, form: str, place: int) -> int:
        return _unpack(form, self.content, self.bounds, place)

    def _bytes(self, span: Span) -> bytes:
        _within(span, self.bounds)
        return self.content[span.start : span.end]


def read_map(content: bytes, bounds: Span) -> Mapping[str, Span | None]:
    """Read the flexbuffer map that fills `bounds`: where each byte string lies; None for other values."""

    def read(width: int, place: int) -> int:
        return _unpack(_INTEGER_FORMATS[width], content, bounds, place)

    kind, root_width = read(1, bounds.end - 2), read(1, bounds.end - 1)
    if kind >> 2 != _MAP or root_width not in _INTEGER_FORMATS:
        raise ValueError("no flexbuffer map")
    root = bounds.end - 2 - root_width
    values, width = root - read(root_width, root), 1 << (kind & 3)
    count = _at_most(read(width, values - width), MAX_KEYS)
    keys_width = read(width, values - 2 * width)
    if keys_width not in _INTEGER_FORMATS:
        raise ValueError("no flexbuffer keys")
    keys = values - 3 * width - read(width, values - 3 * width)

    found: dict[str, Span | None] = {}
    for number in range(count):
        name_pointer, value = keys + number * keys_width, values + number * width
        name = _key(content, bounds, name_pointer - read(keys_width, name_pointer))
        value_kind = read(1, values + count * width + number)
        found[name] = None
        if value_kind >> 2 in (_STRING, _BLOB):
            start, length_width = value - read(width, value), 1 << (value_kind & 3)
            found[name] = _within(Span(start, read(length_width, start - length_width)), bounds)
    return found


def _key(content: bytes, bounds: Span, place: int) -> str:
    _within(Span(place, 1), bounds)
    end = content.find(b"\0", place, min(place + MAX_TEXT_BYTES, bounds.end))
    if end < 0:
        raise ValueError("a key without an end")
    return content[place:end].decode("utf-8", "replace")


def _unpack(form: str, content: bytes, bounds: Span, place: int) -> int:
    _within(Span(place, struct.calcsize(form)), bounds)
    return int(struct.unpack_from(form, content, place)[0])


def _within(span: Span, bounds: Span) -> Span:
    if span.start < bounds.start or span.size < 0 or span.end > bounds.end:
        raise ValueError(f"{span.size} bytes at {span.start} lie outside {bounds.start} to {bounds.end}")
    return span


def _at_most(count: int, limit: int) -> int:
    if count > limit:
        raise ValueError(f"a list of {count} items, at most {limit} are read")
    return count
