"""Reads every option of an operator, whatever its kind, through the getters that the schema generates."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import tflite

MAX_ITEMS = 64
# Stands among the options of an operator whose table is of a kind that is not read.
UNREAD = "Unread"

_TABLES = {code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)}
# Its options are text of any length; no operator of an image model has it.
_NOT_READ = {"VarHandleOptions"}
_HELPERS = ("Length", "IsNone", "BufferHasIdentifier")
_ONLY_SELF = 1


def read_options(entry: Any) -> Mapping[str, Any]:
    """Return an operator's options by the names of the schema's getters.

    Args:
        entry: a tflite.Operator from a stranger.

    Returns:
        Numbers and booleans, defaults included; lists as tuples, under the name of their AsNumpy getter. With
        UNREAD among them, there are options that are not known (a newer schema, StableHLO).

    Raises:
        ValueError: a list of more than MAX_ITEMS; struct.error and the like where the table is damaged.
    """
    kind = _TABLES.get(entry.BuiltinOptionsType())
    unread = {UNREAD: True} if kind is None or kind in _NOT_READ or entry.BuiltinOptions2Type() else {}
    table = entry.BuiltinOptions()
    if unread or table is None or kind == "NONE":
        return unread
    options = getattr(tflite, str(kind))()
    options.Init(table.Bytes, table.Pos)
    return {getter: _plain(getattr(options, getter)()) for getter in _getters(str(kind))}


@cache
def _getters(kind: str) -> tuple[str, ...]:
    """Return a table's getters that give a whole value: all but those that take an item's number."""
    names = (name for name, found in vars(getattr(tflite, kind)).items() if _takes_only_self(found))
    return tuple(name for name in names if not name.endswith(_HELPERS))


def _takes_only_self(found: object) -> bool:
    code = getattr(found, "__code__", None)
    return code is not None and code.co_argcount == _ONLY_SELF


def _plain(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        return value
    if len(value) > MAX_ITEMS:
        raise ValueError(f"an option of {len(value)} items, at most {MAX_ITEMS} are read")
    return tuple(value.tolist())
