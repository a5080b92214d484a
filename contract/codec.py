"""JSON bytes <-> records, at the border: bounded in size, depth and digits, before anything is believed.

Reading ignores unknown keys, writing never produces them.
"""

import json
import math
import re
from typing import Any, Callable, Dict, List, Tuple, Type, TypeVar

from contract.errors import MessageError
from contract.records import Record, dump_record, load_record, wrong

MAX_PAYLOAD_BYTES = 256 * 1024
MAX_DEPTH = 8
_MAX_NUMBER_CHARACTERS = 32
# A string without an end runs to the end of the payload: to look for it again would take quadratic time.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_BYTES = "_bytes"

R = TypeVar("R", bound=Record)


def encode(document: Record) -> bytes:
    """Write a document as compact UTF-8 JSON that starts with its version.

    A document does not change, so it remembers its bytes: a prediction is asked for them up to three times.
    """
    found: bytes = document.__dict__.get(_BYTES, b"")
    if not found:
        text = _ENCODER.encode({"v": 1, **dump_record(document)})
        found = document.__dict__[_BYTES] = text.encode("utf-8")
    return found


def decode(kind: Type[R], payload: bytes, max_bytes: int = MAX_PAYLOAD_BYTES) -> R:
    """Read a document.

    Args:
        kind: the record to expect.
        payload: UTF-8 JSON.
        max_bytes: a larger payload is refused before it is parsed.

    Raises:
        MessageError: it is not such a document; the text names the field and the value.
    """
    raw = parse_json(payload, max_bytes)
    if not isinstance(raw, dict):
        raise wrong(kind.__name__, "an object", raw)
    if raw.get("v") != 1 or isinstance(raw.get("v"), bool):
        raise wrong("v", "version 1", raw.get("v"))
    return load_record(kind, raw)


def parse_json(payload: bytes, max_bytes: int = MAX_PAYLOAD_BYTES) -> Any:
    """Parse JSON from a stranger: bounded in size, depth and digits; no duplicate keys, no NaN.

    Raises:
        MessageError: anything is wrong with it.
    """
    if len(payload) > max_bytes:
        raise MessageError(f"payload has {len(payload)} bytes, at most {max_bytes} are allowed")
    if _depth(payload) > MAX_DEPTH:
        raise MessageError(f"payload is nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(
            payload.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_bounded(int),
            parse_float=_bounded(float),
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise MessageError(f"payload is not valid JSON: {error}") from error


def _depth(payload: bytes) -> int:
    deepest = depth = 0
    for byte in _STRING.sub(b"", payload):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _bounded(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    # int() of a very long string takes quadratic time before Python 3.11.
    def parse(digits: str) -> Any:
        if len(digits) > _MAX_NUMBER_CHARACTERS:
            raise ValueError(f"a number has {len(digits)} characters")
        value = convert(digits)
        if not math.isfinite(value):
            raise ValueError("a number is too large")
        return value

    return parse


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
