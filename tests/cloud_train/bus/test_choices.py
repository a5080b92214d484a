"""How a model that follows is named on a command line."""

from pathlib import Path

import pytest

from cloud_train.bus.choices import ModelChoice, parse_choice, parse_choices, run_name
from cloud_train.training.recipe import DEFAULT_LEARNING_RATE
from host_cli.errors import WrongUsage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cnn3", ModelChoice("cnn3", "cnn3", DEFAULT_LEARNING_RATE)),
        ("slow=cnn3,learning_rate=1e-4", ModelChoice("slow", "cnn3", 1e-4)),
        ("mobilenet_v2,width=0.5", ModelChoice("mobilenet_v2", "mobilenet_v2", width=0.5)),
        ("own=my.models:build", ModelChoice("own", "my.models:build")),
    ],
)
def test_a_model_is_read(text, expected):
    """A name of its own, a function of one's own, and what differs from the defaults."""
    assert parse_choice(text, 0) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "name must be"),
        ("my.models:build", "name must be"),
        ("a/b=cnn3", "name must be"),
        ("Slow=cnn3", "name must be"),
        ("cnn3,rate=1", "'rate=1' is not one of learning_rate=N, width=N"),
        ("cnn3,learning_rate", "is not one of"),
        ("cnn3,learning_rate=fast", "'fast' is no number"),
        ("cnn3,learning_rate=nan", "'nan' is no number"),
        ("cnn3,learning_rate=0", "learning_rate must be"),
        ("cnn3,learning_rate=1e999", "learning_rate must be"),
    ],
)
def test_what_is_no_model_is_refused(text, says):
    """The error shows how it is written."""
    with pytest.raises(WrongUsage) as caught:
        parse_choice(text, 0)
    assert says in caught.value.what and "slow=cnn3" in caught.value.hint


def test_two_models_need_two_names():
    """They are folders, topics and rows; `best` is a folder already."""
    with pytest.raises(WrongUsage, match="two models have one name"):
        parse_choices(["cnn3", "cnn3,learning_rate=0.1"], 0)
    with pytest.raises(WrongUsage, match="best"):
        parse_choices(["best=cnn3"], 0)


def test_a_run_is_called_as_its_folder(tmp_path: Path):
    """Unless it is told otherwise; a name must be able to stand in a topic."""
    assert run_name(None, tmp_path / "first") == "first"
    assert run_name("second", tmp_path / "first") == "second"
    with pytest.raises(WrongUsage, match="no run can be called"):
        run_name(None, tmp_path / "My Run")
