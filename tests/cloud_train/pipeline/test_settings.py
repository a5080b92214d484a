"""`[pipeline]` of a run definition is checked before anything is compiled or run."""

from dataclasses import replace
from pathlib import Path

import pytest

from cloud_train.pipeline.settings import settings_of
from cloud_train.runs.definition import DataPart, RunDefinition
from host_cli.errors import WrongUsage

FILE = Path("train.toml")


def test_what_is_not_said_has_a_default(definition: RunDefinition) -> None:
    """Without a broker nothing is pushed."""
    settings = settings_of(definition, FILE)
    assert settings.broker is None and settings.minimum_gain == 0


@pytest.mark.parametrize(
    ("said", "what", "hint"),
    [
        ({"minimum_gian": 0.1}, "unknown key pipeline.minimum_gian", "pipeline.minimum_gain"),
        ({"minimum_gain": 2}, "minimum_gain", "correct"),
        ({"to": "a", "tag": "b"}, "both to and tag", "leave one out"),
    ],
)
def test_a_wrong_value_is_named(
    said: dict[str, object], what: str, hint: str, definition: RunDefinition
) -> None:
    """With what to write instead."""
    with pytest.raises(WrongUsage, match=what) as caught:
        settings_of(replace(definition, pipeline=said), FILE)
    assert hint in caught.value.hint


def test_a_pipeline_needs_a_data_set_to_split(definition: RunDefinition) -> None:
    """Its first task deals one out."""
    with pytest.raises(WrongUsage, match="no dataset"):
        settings_of(replace(definition, data=DataPart()), FILE)
