"""Reads a program's settings from a TOML or JSON file; a key that nobody knows is refused."""

import dataclasses
import difflib
import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from contract.errors import MessageError
from contract.records import Record, load_record
from host_cli.errors import WrongUsage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1024 * 1024

R = TypeVar("R", bound=Record)


def read_settings(kind: type[R], path: Path) -> R:
    """Return the record that a file describes; by the suffix `.json` it is JSON, else TOML.

    Raises:
        WrongUsage: the file is missing, too large or neither, a key is unknown (the nearest known one is
            named), or a value is not allowed.
    """
    raw = read_table(path)
    refuse_unknown(kind, raw, path)
    try:
        return load_record(kind, raw)
    except MessageError as error:
        raise WrongUsage(str(error), str(path), "correct that value") from error


def read_table(path: Path) -> dict[str, Any]:
    """Return what a TOML or JSON file says, unchecked.

    Raises:
        WrongUsage: the file is missing, too large, or neither.
    """
    language = "JSON" if path.suffix == ".json" else "TOML"
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise WrongUsage(f"settings have at most {MAX_BYTES} bytes", str(path), "name another file")
        text = content.decode("utf-8")
        found = json.loads(text) if language == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise WrongUsage(f"cannot read it: {error.strerror}", str(path), "name another file") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors, and bytes that are no UTF-8
        raise WrongUsage(f"it is not {language}: {error}", str(path), "correct that line") from error
    if not isinstance(found, dict):
        raise WrongUsage("it is no JSON object", str(path), '{"key": value, ...}')
    return found


def refuse_unknown(kind: type[Record], raw: dict[str, Any], path: Path, prefix: str = "") -> None:
    """Refuse a key that a record, or one below it, does not have.

    Raises:
        WrongUsage: it names the nearest known key.
    """
    known = {entry.name: entry.type for entry in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise WrongUsage(f"unknown key {prefix}{key}", str(path), f"did you mean {prefix}{near}?")
        below = known[key]
        if isinstance(below, type) and issubclass(below, Record) and isinstance(value, dict):
            refuse_unknown(below, value, path, f"{prefix}{key}.")
