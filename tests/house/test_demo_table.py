"""The demo's verdict: it must not call a run good that lost something."""

import importlib
from types import ModuleType
from typing import Any

import pytest

from tests.house.conftest import ROOT


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "demo"))
    return importlib.import_module("table")


def story(
    table: ModuleType, label_ids: "list[int | None]", stored: int, gaps: int = 0, version: str = "2"
) -> Any:
    answers = table.Answers(label_ids=label_ids, truth=[0] * len(label_ids))
    status = {"devices": [{"device": "board-a", "version": version}]}
    counts = {"stored": stored, "gaps": gaps}
    return table.Story({}, {}, {}, {}, {}, {"mqtt": answers}, counts, status, 1.0)


def test_a_run_that_lost_nothing_is_good(table: ModuleType) -> None:
    """Every question answered, every answer stored."""
    good = story(table, [0, 1, 2], stored=3)
    table.require_nothing_lost(good)
    assert (good.answered, good.lost) == (3, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_ids": [0, None, 2], "stored": 2}, "1 predictions lost"),
        ({"label_ids": [0, 1, 2], "stored": 2}, "1 predictions lost"),
        ({"label_ids": [0, 1, 2], "stored": 3, "gaps": 1}, "1 gaps"),
        ({"label_ids": [0, 1, 2], "stored": 3, "version": "1"}, "not on release 2: board-a"),
    ],
)
def test_a_run_that_lost_something_is_not(table: ModuleType, changes: "dict[str, Any]", said: str) -> None:
    """An unanswered question, an answer that was not stored, a gap, a board left behind."""
    with pytest.raises(Exception, match=said):
        table.require_nothing_lost(story(table, **changes))
