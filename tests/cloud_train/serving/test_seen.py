"""Promises of serving.seen: what was seen survives a restart, and never stands in the way of an answer."""

import logging
from pathlib import Path

import pytest

from cloud_train.serving.seen import Seen
from cloud_train.serving.word_cloud import EMPTY, draw

LABELS = ("cat", "dog", "fish")


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    """The most frequent first."""
    path = tmp_path / "seen.json"
    seen = Seen(LABELS, path)
    for label in ("cat", "dog", "dog"):
        seen.count(label)
    seen.save()
    again = Seen(LABELS, path)
    again.count("dog")
    assert list(again.counts().items()) == [("dog", 3), ("cat", 1)]


def test_labels_of_another_model_are_forgotten(tmp_path: Path) -> None:
    """They would be drawn for ever."""
    path = tmp_path / "seen.json"
    path.write_text('{"dog": 2, "bird": 9}')
    assert Seen(LABELS, path).counts() == {"dog": 2}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '["dog"]', '{"dog": -1}', '{"dog": "2"}', '{"dog": true}', "7"]
)
def test_a_damaged_file_is_told_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """A word cloud is no reason not to serve."""
    path = tmp_path / "seen.json"
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        seen = Seen(LABELS, path)
    assert seen.counts() == {}
    assert content == "[]" or "cannot be read" in caplog.text


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log; nothing is raised."""
    (tmp_path / "file").write_text("")
    seen = Seen(LABELS, tmp_path / "file" / "seen.json")
    seen.count("cat")
    with caplog.at_level(logging.WARNING):
        seen.save()
    assert "cannot be written" in caplog.text and seen.counts() == {"cat": 1}


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts live in memory."""
    monkeypatch.chdir(tmp_path)
    seen = Seen(LABELS, None)
    seen.count("cat")
    seen.save()
    seen.save()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_only_when_there_is_news(tmp_path: Path) -> None:
    """A server that nobody asks leaves the disk alone."""
    path = tmp_path / "seen.json"
    seen = Seen(LABELS, path)
    seen.save()
    assert not path.exists()
    seen.count("cat")
    seen.save()
    path.unlink()
    seen.save()
    assert not path.exists()


def test_a_word_cloud_of_nothing_is_an_empty_picture() -> None:
    """Also where a label is only blanks, which cannot be drawn."""
    assert draw({}) == draw({" ": 3}) == EMPTY


def test_the_same_counts_give_the_same_picture() -> None:
    """What is seen twice does not jump."""
    counts = {'<a href="x">&': 3, "dog": 1}
    assert draw(counts) == draw(counts)
    assert b"&lt;a href=" in draw(counts) and b"<a " not in draw(counts)
