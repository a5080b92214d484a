"""The definition of a run: one TOML file for every runner; options on the command line win over it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cloud_train.averaging.settings import Averaging
from cloud_train.data.splitters import IID, STRATEGIES
from cloud_train.runners.kubernetes_settings import KubernetesSettings
from cloud_train.training import recipe as defaults
from cloud_train.training.recipe import Recipe
from contract.artifacts import MAX_SHARDS, MODEL_NAME_PATTERN
from contract.errors import MessageError
from contract.records import Flag, Integer, Maybe, Nested, Number, Open, Record, Text, rule
from host_cli.errors import WrongUsage
from host_cli.settings import read_settings

LOCAL = "local"
KUBERNETES = "kubernetes"
RUNNERS = (LOCAL, KUBERNETES)
DEFAULT_NAME = "fashion-mnist"

_PLACE = Text(max_length=4096)
_SEED = Integer(0, 2**32 - 1)


@dataclass(frozen=True)
class DataPart(Record):
    """`[data]`: shards that are there, or a data set to deal out; the keys are the options of `split`.

    Attributes:
        folder: path or URL of the folder with shards.json; where a data set is dealt out to.
        dataset: what is dealt out into `folder` when no shards.json is there; None: nothing.
        dir: where a data set that has a name lies.
    """

    folder: str | None = rule(Maybe(_PLACE), default=None)
    dataset: str | None = rule(Maybe(_PLACE), default=None)
    dir: str | None = rule(Maybe(_PLACE), default=None)
    shards: int = rule(Integer(1, MAX_SHARDS), default=4)
    strategy: str = rule(Text(choices=STRATEGIES), default=IID)
    alpha: float | None = rule(Maybe(Number()), default=None)
    classes_per_shard: int | None = rule(Maybe(Integer(1)), default=None)
    size: str | None = rule(Maybe(Text(max_length=32)), default=None)
    test_share: float | None = rule(Maybe(Number(0, 1)), default=None)
    limit: int | None = rule(Maybe(Integer(1)), default=None)
    seed: int = rule(_SEED, default=0)


@dataclass(frozen=True)
class ModelPart(Record):
    """`[model]`: what is trained, its width, and a file of weights to start from."""

    name: str = rule(Text(max_length=128), default=defaults.DEFAULT_MODEL)
    width: float = rule(Number(0.01, 10.0), default=1.0)
    pretrained: str | None = rule(Maybe(_PLACE), default=None)


@dataclass(frozen=True)
class TrainingPart(Record):
    """`[training]`: the fields of Recipe, which checks them, without the model."""

    batch_size: int = rule(Integer(), default=defaults.DEFAULT_BATCH_SIZE)
    learning_rate: float = rule(Number(), default=defaults.DEFAULT_LEARNING_RATE)
    decay: float = rule(Number(), default=defaults.DEFAULT_DECAY)
    seed: int = rule(_SEED, default=0)
    proximal: float = rule(Number(), default=0.0)
    epochs: int = rule(Integer(), default=1)
    mixed_precision: bool = rule(Flag(), default=False)


@dataclass(frozen=True)
class RunnerPart(KubernetesSettings):
    """`[runner]`: where trainers work, and what Kubernetes must know of them."""

    kind: str = rule(Text(choices=RUNNERS), default=LOCAL)


@dataclass(frozen=True)
class RunDefinition(Record):
    """What `cloud-train run -c FILE` reads.

    Attributes:
        name: what the model will be called.
        pipeline: `[pipeline]`, of which `cloud-train pipeline` knows the keys.
    """

    name: str = rule(Text(MODEL_NAME_PATTERN), default=DEFAULT_NAME)
    data: DataPart = rule(Nested(DataPart), default=DataPart())
    model: ModelPart = rule(Nested(ModelPart), default=ModelPart())
    training: TrainingPart = rule(Nested(TrainingPart), default=TrainingPart())
    averaging: Averaging = rule(Nested(Averaging), default=Averaging())
    runner: RunnerPart = rule(Nested(RunnerPart), default=RunnerPart())
    pipeline: dict[str, Any] = rule(Open(), default={})

    def recipe(self) -> Recipe:
        """Return the hyperparameters of every trainer.

        Raises:
            WrongUsage: one of them is out of range.
        """
        try:
            return Recipe(model=self.model.name, **asdict(self.training))
        except MessageError as error:
            raise WrongUsage(str(error), "[training]", "correct that value") from error


def load_definition(path: Path | None, options: Mapping[str, Any]) -> RunDefinition:
    """Read a definition and put options in the place of what it says.

    Args:
        path: a TOML file; None: every value is its default.
        options: value by place, as `averaging.rounds`; None leaves what is there.

    Raises:
        WrongUsage: the file is missing or wrong, a key is unknown, or a value is not allowed.
    """
    definition = read_settings(RunDefinition, path) if path else RunDefinition()
    for place, value in options.items():
        if value is None:
            continue
        section, _, key = place.rpartition(".")
        try:
            if section:
                part = replace(getattr(definition, section), **{key: value})
                definition = replace(definition, **{section: part})
            else:
                definition = replace(definition, **{key: value})
        except MessageError as error:
            option = "--" + key.replace("_", "-")
            raise WrongUsage(str(error), f"{option} {value}", "cloud-train run --help") from error
    return definition
