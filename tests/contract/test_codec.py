"""Promises of contract.codec."""

import json
from dataclasses import dataclass, replace
from typing import Optional, Tuple

import pytest

from contract.codec import MAX_PAYLOAD_BYTES, decode, encode, parse_json
from contract.errors import MessageError
from contract.records import Binary, Flag, Integer, Items, Maybe, Nested, Number, Record, Text, change, rule


@dataclass(frozen=True)
class Inner(Record):
    """A record in a record."""

    id: int = rule(Integer(0, 9))


@dataclass(frozen=True)
class Sample(Record):
    """One field of each kind."""

    name: str = rule(Text(r"^[a-z]+$", max_length=8))
    score: float = rule(Number(0, 1, digits=4))
    parts: Tuple[Inner, ...] = rule(Items(Nested(Inner), max_items=2))
    raw: bytes = rule(Binary(4))
    note: Optional[str] = rule(Maybe(Text()), default=None)
    synced: bool = rule(Flag(), default=True, omit=True)


GOOD = Sample("shoe", 0.25, (Inner(1),), b"\x00\xff")


def test_what_is_encoded_is_decoded_to_the_same_value() -> None:
    """A document survives the wire."""
    assert decode(Sample, encode(GOOD)) == GOOD


def test_a_changed_copy_is_checked_and_has_its_own_bytes() -> None:
    """A document remembers its bytes; a copy with another value must not tell them."""
    before = encode(GOOD)
    copy = change(GOOD, score=0.5)
    assert copy == replace(GOOD, score=0.5) and encode(copy) == encode(replace(GOOD, score=0.5)) != before
    assert encode(GOOD) is before
    with pytest.raises(MessageError, match="score"):
        change(GOOD, score=2.0)


def test_numbers_are_rounded_on_the_wire() -> None:
    """Scores travel with four digits."""
    assert json.loads(encode(Sample("a", 0.123456, (), b"")))["score"] == 0.1235


def test_an_omitted_field_is_written_only_when_it_says_something() -> None:
    """`clock_synced` and its like appear only when false."""
    assert b"synced" not in encode(GOOD)
    assert json.loads(encode(Sample("a", 0, (), b"", synced=False)))["synced"] is False


def test_unknown_keys_are_ignored() -> None:
    """A newer sender can say more."""
    raw = json.loads(encode(GOOD))
    raw["later"] = {"x": 1}
    assert decode(Sample, json.dumps(raw).encode()) == GOOD


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("name", "Shoe", "name"),
        ("name", "shoe\n", "name"),
        ("name", 7, "name"),
        ("score", 1.5, "score"),
        ("score", True, "score"),
        ("parts", [{"id": 10}], "id"),
        ("parts", [{"id": 1.0}], "id"),
        ("parts", [{"id": 1}] * 3, "parts"),
        ("parts", {"id": 1}, "parts"),
        ("parts", [{}], "parts[0].id"),
        ("raw", "AP9=", "raw"),
        ("raw", "AP8", "raw"),
        ("raw", "AAAAAAAAAAAA", "raw"),
        ("note", 3, "note"),
        ("note", "\ud800", "note"),
        ("v", 2, "v"),
        ("v", True, "v"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object, named: str) -> None:
    """The error says which field is wrong."""
    raw = json.loads(encode(GOOD))
    raw[key] = value
    with pytest.raises(MessageError, match=named.replace("[", r"\[").replace("]", r"\]")):
        decode(Sample, json.dumps(raw).encode())


def test_a_missing_field_is_named() -> None:
    """A required key that is absent is an error, not a default."""
    with pytest.raises(MessageError, match="score is missing"):
        decode(Sample, b'{"v":1,"name":"a","parts":[],"raw":""}')


def test_a_value_cannot_be_made_wrong() -> None:
    """A record checks itself at birth."""
    with pytest.raises(MessageError, match="score"):
        Sample("a", float("nan"), (), b"")
    with pytest.raises(MessageError, match="raw"):
        Sample("a", 0, (), bytearray(b""))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"v":1}',
        b'{"v":1,"v":1}',
        b'{"v":1,"x":NaN}',
        b'{"v":1,"x":Infinity}',
        b'{"v":1,"x":1e400}',
        b'{"v":1,"x":' + b"9" * 100_000 + b"}",
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b"[" * 9 + b"]" * 9,
        b'{"v":1} trailing',
        b'"' + b" " * MAX_PAYLOAD_BYTES + b'"',
        # Any of these takes minutes if a string without an end is looked for again at each of its quotes.
        b'"' + b'\\"' * (MAX_PAYLOAD_BYTES // 2 - 1),
        b'{"a":"' + b'\\"' * (MAX_PAYLOAD_BYTES // 2 - 4),
        b'"' + b"\\" * (MAX_PAYLOAD_BYTES - 1),
    ],
)
def test_a_json_bomb_is_refused(payload: bytes) -> None:
    """Nothing a stranger writes raises anything but MessageError."""
    with pytest.raises(MessageError):
        parse_json(payload)


@pytest.mark.parametrize("payload", [b"null", b"[]", b"7", b"{}"])
def test_json_that_is_no_document_is_refused(payload: bytes) -> None:
    """A document is an object with a version."""
    with pytest.raises(MessageError):
        decode(Sample, payload)


def test_brackets_in_strings_are_not_depth() -> None:
    """Only real nesting counts."""
    assert parse_json(b'{"a":"[[[[[[[[[[[[\\"[[["}') == {"a": '[[[[[[[[[[[["[[['}
