"""Options that several commands share."""

from typing import Annotated

import typer

from cloud_train.training import recipe as defaults
from contract.errors import MessageError
from host_cli.errors import WrongUsage

MAX_SEED = 2**32 - 1

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]
ModelName = Annotated[
    str, typer.Option("--model", metavar="NAME", help="cnn3, mnist_cnn, mobilenet_v2, or MODULE:FUNC.")
]
Width = Annotated[
    float | None, typer.Option(metavar="W", help="Of mobilenet_v2: 0.35, 0.5, 0.75, 1.0, 1.3, 1.4.")
]
Pretrained = Annotated[
    str | None, typer.Option(metavar="FILE", help="Weights for all but the head: .npz, .keras, .h5.")
]
Proximal = Annotated[float, typer.Option(metavar="MU", help="FedProx: how strongly the start holds.")]
MixedPrecision = Annotated[
    bool, typer.Option("--mixed-precision", help="Compute in 16 bits; faster on a GPU only.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures per step.")]
LearningRate = Annotated[float, typer.Option(help="Of the first pass.")]
Decay = Annotated[float, typer.Option(help="Learning rate of a pass, as a share of the pass before.")]


def build_recipe(**values: str | int | float | bool) -> defaults.Recipe:
    """Return the hyperparameters, or say which one is out of range; `values` are those of `Recipe`."""
    try:
        return defaults.Recipe(**values)  # type: ignore[arg-type]  # the record checks its values
    except MessageError as error:
        raise WrongUsage(str(error), "command line", "cloud-train fit --help") from error
