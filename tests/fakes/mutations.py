"""Spoils a payload in one of many ways, by a seeded random source: bytes, JSON values, JSON text."""

import json
import random
from typing import Any, Callable, List, Tuple

_NUMBERS = (0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63, 10**30, 1e308, 1.5, -0.0)
_TEXTS = (
    "",
    "\ud800",
    "\u0000",
    "x" * 300,
    "\u202e",
    "0" * 64,
    "9999-99-99T99:99:99Z",
    "+/#",
    "null",
    "\U0001f980",
)
_PIECES = (
    b'"', b'\\"' * 400, b"[" * 400, b"{" * 9, b"}", b"]", b",", b":", b"NaN", b"-Infinity", b"1e400",
    b"9" * 400, b"\xff\xfe", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"\x00", b'"v":1,', b"/*", b"true",
)  # fmt: skip


def mutate(payload: bytes, source: random.Random) -> bytes:
    """Return the payload with one to three things wrong; sometimes it is still right."""
    for _ in range(source.randint(1, 3)):
        payload = source.choice(_WAYS)(payload, source)
    return payload


def _flip(payload: bytes, source: random.Random) -> bytes:
    if not payload:
        return payload
    place = source.randrange(len(payload))
    return payload[:place] + bytes([payload[place] ^ 1 << source.randrange(8)]) + payload[place + 1 :]


def _truncate(payload: bytes, source: random.Random) -> bytes:
    return payload[: source.randrange(len(payload) + 1)]


def _repeat(payload: bytes, source: random.Random) -> bytes:
    begin, end = sorted(source.randrange(len(payload) + 1) for _ in range(2))
    return payload[:end] + payload[begin:]


def _insert(payload: bytes, source: random.Random) -> bytes:
    place = source.randrange(len(payload) + 1)
    return payload[:place] + source.choice(_PIECES) + payload[place:]


def _noise(_payload: bytes, source: random.Random) -> bytes:
    return bytes(source.getrandbits(8) for _ in range(source.randrange(200)))


def _swap_value(payload: bytes, source: random.Random) -> bytes:
    """Put something else in the place of one value of the document."""
    return _edit(payload, source, lambda _old: _any_value(source))


def _wrap_value(payload: bytes, source: random.Random) -> bytes:
    return _edit(payload, source, lambda old: source.choice(([old], {"x": old}, [old, old], str(old))))


def _nest_value(payload: bytes, source: random.Random) -> bytes:
    def bury(old: Any) -> Any:
        for _ in range(source.choice((7, 8, 9, 60))):
            old = [old]
        return old

    return _edit(payload, source, bury)


def _drop_or_add(payload: bytes, source: random.Random) -> bytes:
    """Take a key away, or add one that nobody knows."""

    def change(old: Any) -> Any:
        if isinstance(old, dict) and old and source.random() < 0.7:
            old.pop(source.choice(list(old)))
        elif isinstance(old, dict):
            old[source.choice(_TEXTS)] = _any_value(source)
        elif isinstance(old, list):
            old = old * source.choice((0, 2, 40))
        return old

    return _edit(payload, source, change)


def _any_value(source: random.Random) -> Any:
    simple = (None, True, False, [], {}, source.choice(_NUMBERS), source.choice(_TEXTS))
    return source.choice((*simple, list(simple), dict.fromkeys(_TEXTS, 1)))


def _edit(payload: bytes, source: random.Random, change: Callable[[Any], Any]) -> bytes:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return _flip(payload, source)
    places: List[Tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return _insert(payload, source)
    holder, key = source.choice(places)
    holder[key] = change(holder[key])
    return json.dumps(document, separators=(",", ":")).encode("utf-8")


def _collect(value: Any, places: List[Tuple[Any, Any]]) -> None:
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        places.append((value, key))
        _collect(value[key], places)


_WAYS = (
    _flip, _truncate, _repeat, _insert, _noise,
    _swap_value, _swap_value, _swap_value, _wrap_value, _nest_value, _drop_or_add, _drop_or_add,
)  # fmt: skip
