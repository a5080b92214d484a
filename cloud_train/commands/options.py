"""Options that several commands share."""

from typing import Annotated

import typer

from cloud_train.training import recipe as defaults
from contract.errors import MessageError
from host_cli.errors import WrongUsage

MAX_SEED = 2**32 - 1

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]
ModelName = Annotated[str, typer.Option("--model", help="What to train: cnn3.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures per step.")]
LearningRate = Annotated[float, typer.Option(help="Of the first pass.")]
Decay = Annotated[float, typer.Option(help="Learning rate of a pass, as a share of the pass before.")]


def build_recipe(
    model: str, batch_size: int, learning_rate: float, decay: float, seed: int
) -> defaults.Recipe:
    """Return the hyperparameters, or say which one is out of range."""
    try:
        return defaults.Recipe(model, batch_size, learning_rate, decay, seed)
    except MessageError as error:
        raise WrongUsage(str(error), "command line", "cloud-train fit --help") from error
