"""Frozen dataclasses that check themselves: each field is declared with the rule that its value must follow.

`score: float = rule(Number(0, 1))`. A value that exists has been checked.
"""

import abc
import base64
import binascii
import dataclasses
import functools
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

from contract.errors import MessageError

_RULE = "rule"
_OMIT = "omit"
_SHOWN_CHARACTERS = 60

R = TypeVar("R", bound="Record")


class Rule(abc.ABC):
    """What one value must be. `load` reads JSON, `dump` writes it, `check` refuses what is not allowed."""

    @abc.abstractmethod
    def check(self, value: Any, where: str) -> None:
        """Raise MessageError if the Python value is not allowed here."""

    def dump(self, value: Any) -> Any:
        """Turn a checked value into what `json.dumps` takes."""
        return value

    def load(self, raw: Any, where: str) -> Any:
        """Turn parsed JSON into the Python value; `check` follows when the record is made."""
        return raw

    @abc.abstractmethod
    def schema(self) -> Dict[str, Any]:
        """Say the same as JSON Schema draft-07."""


class Text(Rule):
    """A string, by default at most 256 characters, optionally of one pattern or one of a closed list."""

    def __init__(self, pattern: str = "", max_length: int = 256, choices: Sequence[str] = ()) -> None:
        self._pattern = re.compile(pattern) if pattern else None
        self._max_length = max_length
        self._choices = tuple(choices)

    def check(self, value: Any, where: str) -> None:
        """Refuse other types, lone surrogates, other patterns, too long strings."""
        if not isinstance(value, str):
            raise wrong(where, "text", value)
        if len(value) > self._max_length:
            raise wrong(where, f"text of at most {self._max_length} characters", value)
        if self._choices and value not in self._choices:
            raise wrong(where, "one of " + ", ".join(self._choices), value)
        if self._pattern is not None and not self._pattern.fullmatch(value):
            raise wrong(where, "text like " + self._pattern.pattern, value)
        if not value.isascii():
            _refuse_surrogates(value, where)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        found: Dict[str, Any] = {"type": "string", "maxLength": self._max_length}
        if self._choices:
            found["enum"] = list(self._choices)
        if self._pattern is not None:
            found["pattern"] = self._pattern.pattern
        return found


class Integer(Rule):
    """A whole number in a closed range; by default 0 to 2**53 - 1, which every JSON reader can hold."""

    def __init__(self, minimum: int = 0, maximum: int = 2**53 - 1) -> None:
        self._minimum, self._maximum = minimum, maximum

    def check(self, value: Any, where: str) -> None:
        """Refuse other types (also true and false) and numbers out of range."""
        if not _is_number(value, int) or not self._minimum <= value <= self._maximum:
            raise wrong(where, f"a whole number from {self._minimum} to {self._maximum}", value)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"type": "integer", "minimum": self._minimum, "maximum": self._maximum}


class Number(Rule):
    """A finite number in a closed range; written rounded to `digits` after the point."""

    def __init__(self, minimum: float = -1e300, maximum: float = 1e300, digits: Optional[int] = None) -> None:
        self._minimum, self._maximum, self._digits = minimum, maximum, digits

    def check(self, value: Any, where: str) -> None:
        """Refuse other types, NaN, infinities and numbers out of range."""
        # NaN is in no range, and every range ends before infinity.
        if not _is_number(value, (float, int)) or not self._minimum <= value <= self._maximum:
            raise wrong(where, f"a number from {self._minimum} to {self._maximum}", value)

    def dump(self, value: Any) -> Any:
        """Round for the wire."""
        return value if self._digits is None else round(value, self._digits)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"type": "number", "minimum": self._minimum, "maximum": self._maximum}


class Flag(Rule):
    """True or false."""

    def check(self, value: Any, where: str) -> None:
        """Refuse everything else."""
        if not isinstance(value, bool):
            raise wrong(where, "true or false", value)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"type": "boolean"}


class Binary(Rule):
    """Bytes in memory, strict base64 in JSON."""

    def __init__(self, max_bytes: int, exact_bytes: Optional[int] = None) -> None:
        self._max_bytes, self._exact_bytes = max_bytes, exact_bytes

    def check(self, value: Any, where: str) -> None:
        """Refuse other types (also bytearray) and other lengths."""
        if not isinstance(value, bytes) or len(value) > self._max_bytes:
            raise wrong(where, f"at most {self._max_bytes} bytes", value)
        if self._exact_bytes is not None and len(value) != self._exact_bytes:
            raise wrong(where, f"exactly {self._exact_bytes} bytes", value)

    def dump(self, value: Any) -> Any:
        """Encode as base64 with padding."""
        return base64.b64encode(value).decode("ascii")

    def load(self, raw: Any, where: str) -> Any:
        """Decode base64; one spelling only, so that equal bytes are equal text."""
        if not isinstance(raw, str):
            raise wrong(where, "base64 text", raw)
        try:
            value = base64.b64decode(raw.encode("ascii"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise wrong(where, "base64 text", raw) from error
        if self.dump(value) != raw:
            raise wrong(where, "canonical base64", raw)
        return value

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"type": "string", "contentEncoding": "base64", "maxLength": 4 * ((self._max_bytes + 2) // 3)}


class Maybe(Rule):
    """The inner rule, or null."""

    def __init__(self, inner: Rule) -> None:
        self._inner = inner

    def check(self, value: Any, where: str) -> None:
        """Check what is there."""
        if value is not None:
            self._inner.check(value, where)

    def dump(self, value: Any) -> Any:
        """Write null for None."""
        return None if value is None else self._inner.dump(value)

    def load(self, raw: Any, where: str) -> Any:
        """Read null as None."""
        return None if raw is None else self._inner.load(raw, where)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"anyOf": [self._inner.schema(), {"type": "null"}]}


class Items(Rule):
    """A tuple of values that each follow one rule; a JSON array."""

    def __init__(self, item: Rule, max_items: int = 256, min_items: int = 0) -> None:
        self._item, self._max_items, self._min_items = item, max_items, min_items

    def check(self, value: Any, where: str) -> None:
        """Refuse other types (also lists, which could change later) and other lengths."""
        if not isinstance(value, tuple) or not self._min_items <= len(value) <= self._max_items:
            raise wrong(where, f"{self._min_items} to {self._max_items} items", value)
        for index, item in enumerate(value):
            self._item.check(item, f"{where}[{index}]")

    def dump(self, value: Any) -> Any:
        """Write an array."""
        return [self._item.dump(item) for item in value]

    def load(self, raw: Any, where: str) -> Any:
        """Read an array, refusing its length before its items."""
        if not isinstance(raw, list) or len(raw) > self._max_items:
            raise wrong(where, f"a list of at most {self._max_items} items", raw)
        return tuple(self._item.load(item, f"{where}[{index}]") for index, item in enumerate(raw))

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {
            "type": "array",
            "items": self._item.schema(),
            "minItems": self._min_items,
            "maxItems": self._max_items,
        }


class Table(Rule):
    """A dict from short text to values that each follow one rule; a JSON object with open keys."""

    def __init__(self, value: Rule, max_items: int = 64) -> None:
        self._value, self._max_items = value, max_items
        self._key = Text(max_length=128)

    def check(self, value: Any, where: str) -> None:
        """Refuse other types and too many keys."""
        if not isinstance(value, dict) or len(value) > self._max_items:
            raise wrong(where, f"an object of at most {self._max_items} keys", value)
        for key, item in value.items():
            self._key.check(key, where)
            self._value.check(item, f"{where}.{key}")

    def dump(self, value: Any) -> Any:
        """Write an object."""
        return {key: self._value.dump(item) for key, item in value.items()}

    def load(self, raw: Any, where: str) -> Any:
        """Read an object, refusing its length and its keys before its values."""
        if not isinstance(raw, dict) or len(raw) > self._max_items:
            raise wrong(where, f"an object of at most {self._max_items} keys", raw)
        for key in raw:
            self._key.check(key, where)
        return {key: self._value.load(item, f"{where}.{key}") for key, item in raw.items()}

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {
            "type": "object",
            "additionalProperties": self._value.schema(),
            "maxProperties": self._max_items,
        }


class Open(Rule):
    """A JSON object that only its sender understands; the codec bounds its size and depth."""

    def check(self, value: Any, where: str) -> None:
        """Refuse other types."""
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of this rule."""
        return {"type": "object"}


class Nested(Rule):
    """Another record."""

    def __init__(self, kind: Type["Record"]) -> None:
        self._kind = kind

    def check(self, value: Any, where: str) -> None:
        """Refuse everything but that record, which has checked itself."""
        if not isinstance(value, self._kind):
            raise wrong(where, f"a {self._kind.__name__}", value)

    def dump(self, value: Any) -> Any:
        """Write the record's fields."""
        return dump_record(value)

    def load(self, raw: Any, where: str) -> Any:
        """Read the record's fields."""
        return load_record(self._kind, raw, where + ".")

    def schema(self) -> Dict[str, Any]:
        """Return the JSON Schema of the record."""
        return build_schema(self._kind)


def rule(kind: Rule, default: Any = dataclasses.MISSING, omit: bool = False) -> Any:
    """Declare a field of a record.

    Args:
        kind: what the value must be.
        default: the value when the key is absent; without one the key is required.
        omit: leave the key out while the value is the default.
    """
    metadata = {_RULE: kind, _OMIT: omit}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Record:
    """Base of every frozen dataclass that crosses a border. Making one checks it."""

    def __post_init__(self) -> None:
        values = self.__dict__
        for entry in _fields(self.__class__):
            entry.check(values[entry.name], entry.name)


def change(record: R, **values: Any) -> R:
    """Return a copy with other values. Only those are checked: the others have been.

    Not for records whose fields depend on each other: `dataclasses.replace` checks these too.

    Raises:
        MessageError: a value is not what its rule says.
    """
    copy = object.__new__(record.__class__)
    for entry in _fields(record.__class__):
        if entry.name in values:
            entry.check(values[entry.name], entry.name)
        copy.__dict__[entry.name] = values.get(entry.name, record.__dict__[entry.name])
    return copy


def dump_record(record: Record) -> Dict[str, Any]:
    """Return the record's fields as JSON types, in the order of their declaration."""
    found, values = {}, record.__dict__
    for entry in _fields(record.__class__):
        value = values[entry.name]
        if entry.omit and value == entry.default:
            continue
        found[entry.name] = value if entry.dump is None else entry.dump(value)
    return found


def load_record(kind: Type[R], raw: Any, where: str = "") -> R:
    """Build a record from parsed JSON; unknown keys are ignored.

    Raises:
        MessageError: a key is absent, or a value is not what its rule says.
    """
    if not isinstance(raw, dict):
        raise wrong(where.rstrip(".") or kind.__name__, "an object", raw)
    values = {}
    for entry in _fields(kind):
        if entry.name in raw:
            values[entry.name] = entry.rule.load(raw[entry.name], where + entry.name)
        elif entry.default is dataclasses.MISSING:
            raise MessageError(f"{where}{entry.name} is missing")
    try:
        return kind(**values)
    except MessageError as error:
        raise type(error)(f"{where}{error}") from error


def build_schema(kind: Type[Record], document: bool = False) -> Dict[str, Any]:
    """Return the JSON Schema (draft-07) of a record; `document` adds the version key."""
    properties: Dict[str, Any] = {"v": {"const": 1}} if document else {}
    required: List[str] = ["v"] if document else []
    for entry in _fields(kind):
        properties[entry.name] = entry.rule.schema()
        if entry.default is dataclasses.MISSING:
            required.append(entry.name)
    return {"type": "object", "properties": properties, "required": required}


class _Field(NamedTuple):
    """What a record says about one of its fields.

    `default` is MISSING if the key is required, `dump` None if JSON takes the value as it is.
    """

    name: str
    rule: Rule
    omit: bool
    default: Any
    check: Callable[[Any, str], None]
    dump: Optional[Callable[[Any], Any]]


def _fields(kind: Any) -> Tuple[_Field, ...]:
    return _read_fields(kind)


@functools.lru_cache(maxsize=None)
def _read_fields(kind: Any) -> Tuple[_Field, ...]:
    # Each prediction makes several records; what dataclasses tell about them does not change.
    return tuple(_read_field(entry) for entry in dataclasses.fields(kind))


def _read_field(entry: Any) -> _Field:
    rule_ = entry.metadata[_RULE]
    dump = None if rule_.__class__.dump is Rule.dump else rule_.dump
    return _Field(entry.name, rule_, entry.metadata[_OMIT], _default(entry), rule_.check, dump)


def _default(entry: Any) -> Any:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return entry.default


def _is_number(value: Any, kinds: Any) -> bool:
    """Say whether a value is of one of these types; true and false are no numbers."""
    return isinstance(value, kinds) and value is not True and value is not False


def _refuse_surrogates(value: str, where: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise wrong(where, "valid Unicode", ascii(value)) from error


def wrong(where: str, expected: str, value: Any) -> MessageError:
    """Return the error that names the place, what was expected there, and what was found."""
    shown = repr(value)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    return MessageError(f"{where} must be {expected}, got {shown}")
