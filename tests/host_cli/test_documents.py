"""Promises of host_cli.documents: a document is believed whole, or refused with the place."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.codec import encode
from contract.records import Integer, Record, rule
from host_cli.documents import read_document
from host_cli.errors import WrongUsage


@dataclass(frozen=True)
class Depth(Record):
    """A document."""

    metres: int = rule(Integer(1, 9))


def test_a_document_is_read_back(tmp_path: Path) -> None:
    """As it was written."""
    (tmp_path / "depth.json").write_bytes(encode(Depth(3)))
    assert read_document(Depth, tmp_path / "depth.json", "dive") == Depth(3)


@pytest.mark.parametrize(
    ("content", "max_bytes", "said"),
    [
        (None, 100, "there is no depth.json"),
        (b'{"v": 1, "metres": 10}', 100, "metres"),
        (encode(Depth(3)) + b" " * 100, 100, "100"),
    ],
)
def test_what_is_no_document_is_named(tmp_path: Path, content: bytes, max_bytes: int, said: str) -> None:
    """Missing, wrong or too large: what, the place that the caller knows it by, and what to try."""
    if content is not None:
        (tmp_path / "depth.json").write_bytes(content)
    with pytest.raises(WrongUsage, match=said) as caught:
        read_document(
            Depth, tmp_path / "depth.json", "dive", max_bytes=max_bytes, where="s3://reef/depth.json"
        )
    assert (caught.value.where, caught.value.hint) == ("s3://reef/depth.json", "dive")


def test_a_folder_is_no_document(tmp_path: Path) -> None:
    """It is there, so it is not said to be missing."""
    with pytest.raises(WrongUsage, match="it cannot be read"):
        read_document(Depth, tmp_path, "dive")
