"""Promises of host_cli.settings: a file of settings is believed whole, or refused with the place."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.records import Integer, Nested, Record, Text, rule
from host_cli.errors import WrongUsage
from host_cli.settings import MAX_BYTES, read_settings


@dataclass(frozen=True)
class Inner(Record):
    """A table."""

    depth: int = rule(Integer(1, 9), default=1)


@dataclass(frozen=True)
class Outer(Record):
    """A file."""

    name: str = rule(Text(), default="none")
    inner: Inner = rule(Nested(Inner), default=Inner())


@pytest.mark.parametrize(
    ("file", "content"),
    [("a.toml", 'name = "x"\n[inner]\ndepth = 2\n'), ("a.json", '{"name": "x", "inner": {"depth": 2}}')],
)
def test_toml_and_json_say_the_same(tmp_path: Path, file: str, content: str) -> None:
    """The suffix tells which it is; what is not said has its default."""
    path = tmp_path / file
    path.write_text(content)
    assert read_settings(Outer, path) == Outer("x", Inner(2))
    path.write_text("{}" if file.endswith("json") else "")
    assert read_settings(Outer, path) == Outer()


@pytest.mark.parametrize(
    ("file", "content", "what", "hint"),
    [
        ("a.toml", b"nmae = 1", "unknown key nmae", "did you mean name?"),
        ("a.toml", b"[inner]\ndeep = 1", "unknown key inner.deep", "did you mean inner.depth?"),
        ("a.toml", b"[inner]\ndepth = 0", "inner.depth must be", "correct"),
        ("a.toml", b"inner = 3", "inner must be an object", "correct"),
        ("a.toml", b"name = ", "not TOML", "line"),
        ("a.toml", b"\xff", "not TOML", "line"),
        ("a.json", b"{", "not JSON", "line"),
        ("a.json", b"[" * 100_000, "not JSON", "line"),
        ("a.json", b"[]", "no JSON object", "key"),
        ("a.json", b" " * (MAX_BYTES + 1), "at most", "another file"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(
    tmp_path: Path, file: str, content: bytes, what: str, hint: str
) -> None:
    """And what to do about it."""
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(WrongUsage) as caught:
        read_settings(Outer, path)
    assert what in caught.value.what and hint in caught.value.hint and caught.value.where == str(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """As is a folder."""
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(WrongUsage, match="cannot read it"):
            read_settings(Outer, path)
