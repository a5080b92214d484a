"""Which model follows a stream, as a command line says it: [NAME=]MODEL[,learning_rate=N][,width=N]."""

import re
from dataclasses import dataclass
from pathlib import Path

from cloud_train.training import recipe
from contract.errors import MessageError
from contract.records import Integer, Number, Record, Text, rule
from contract.topics import NAME_PATTERN
from host_cli.errors import WrongUsage

_EXAMPLE = "--model cnn3 --model slow=cnn3,learning_rate=0.0005"
BEST = "best"
_NUMBERS = ("learning_rate", "width")


@dataclass(frozen=True)
class ModelChoice(Record):
    """A model and how it learns.

    Attributes:
        name: what it is called on the bus, in its folder and in the catalogue.
        model: one of `training.models.MODELS`, or MODULE:FUNC.
        learning_rate: of Adam, the same in every step.
        width: factor of the number of filters, for models that come in several; else 1.
        seed: of the initialisation.
    """

    name: str = rule(Text(NAME_PATTERN))
    model: str = rule(Text(max_length=128))
    learning_rate: float = rule(Number(1e-9, 10.0), default=recipe.DEFAULT_LEARNING_RATE)
    width: float = rule(Number(0.01, 10.0), default=1.0)
    seed: int = rule(Integer(0, 2**32 - 1), default=0)


def parse_choice(text: str, seed: int) -> ModelChoice:
    """Read one model.

    Raises:
        WrongUsage: it is not written so, or a number is out of range.
    """
    head, *settings = text.split(",")
    name, equals, model = head.partition("=")
    try:
        return ModelChoice(name=name, model=model if equals else name, seed=seed, **_read(settings))
    except (MessageError, ValueError) as error:
        raise WrongUsage(f"no model is written so: {error}", f"--model {text}", _EXAMPLE) from error


def parse_choices(texts: list[str], seed: int) -> list[ModelChoice]:
    """Read all models of a command line.

    Raises:
        WrongUsage: one is wrong, or two have one name.
    """
    found = [parse_choice(text, seed) for text in texts]
    names = [choice.name for choice in found]
    for name in names:
        if names.count(name) > 1:
            raise WrongUsage("two models have one name", f"--model {name}", f"name them: {_EXAMPLE}")
        if name == BEST:
            raise WrongUsage(f"{BEST} is the folder of the best model", f"--model {name}", _EXAMPLE)
    return found


def run_name(given: str | None, out: Path) -> str:
    """Return what a run is called: as given, or as its folder.

    Raises:
        WrongUsage: no topic can have that name.
    """
    name = out.resolve().name if given is None else given
    if not re.fullmatch(NAME_PATTERN, name):
        raise WrongUsage(f"no run can be called {name!r}", "--run", "--run NAME: a-z, 0-9, - and _")
    return name


def _read(settings: list[str]) -> dict[str, float]:
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in _NUMBERS or not equals:
            raise ValueError(f"{setting!r} is not one of {', '.join(f'{one}=N' for one in _NUMBERS)}")
        if not re.fullmatch(r"[0-9.eE+-]+", value):
            raise ValueError(f"{value!r} is no number")
        found[key] = float(value)
    return found
