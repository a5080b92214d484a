"""What every runner takes and gives: a trainer's work, why it failed, and how both are said to `fit`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from cloud_train.training.recipe import Recipe
from contract.records import Integer, Items, Nested, Record, Text, rule
from host_cli.progress import Advance

MAX_JOBS = 10_000
MAX_SHARDS_PER_JOB = 10_000
MAX_LIST_BYTES = 64 * 1024 * 1024
_PLACE = Text(max_length=4096)  # a path, or an URL of an object store
# Options of a `fit` that a program listens to: how far it is, and how it ended.
SAID_IN_JSON = ("--json", "--steps")
# A job says itself how many passes it makes: a reference makes more of them than a shard in a round.
_SAID_BY_JOB = {"epochs"}


@dataclass(frozen=True)
class TrainJob(Record):
    """One trainer's work.

    Attributes:
        client: who trains; names the update.
        shards: paths or URLs of what it learns from.
        init: path or URL of the weights it starts from.
        epochs: passes over all shards.
        out: path or URL of the update; it appears there whole, or not at all.
        examples: pictures in all shards.
    """

    client: str = rule(Text(max_length=128))
    shards: tuple[str, ...] = rule(Items(_PLACE, max_items=MAX_SHARDS_PER_JOB))
    init: str = rule(_PLACE)
    epochs: int = rule(Integer(minimum=1))
    out: str = rule(_PLACE)
    examples: int = rule(Integer())


@dataclass(frozen=True)
class JobList(Record):
    """`jobs.json`: the jobs of a round and their recipe, for trainers that know only their number."""

    recipe: Recipe = rule(Nested(Recipe))
    jobs: tuple[TrainJob, ...] = rule(Items(Nested(TrainJob), max_items=MAX_JOBS, min_items=1))


@dataclass(frozen=True)
class Failure:
    """A trainer that left no update, and why, in one line."""

    client: str
    reason: str


class Runner(Protocol):
    """Runs trainers somewhere: as processes on this computer, as pods on a cluster."""

    def train(
        self, jobs: Sequence[TrainJob], recipe: Recipe, advance: Advance, *, timeout_s: float | None
    ) -> list[Failure]:
        """Run every job to its end; one that fails does not stop the others.

        Args:
            jobs: what to train; each client once.
            recipe: hyperparameters, the same for all.
            advance: called with the number of pictures done since the last call, over all trainers.
            timeout_s: seconds for all jobs together; what is not done by then is stopped. None: no limit.

        Returns:
            Who left no update, in the order of `jobs`.
        """


def too_late(timeout_s: float) -> str:
    """Return the reason of a trainer that was stopped."""
    return f"not done within {timeout_s:g} s"


def error_told_in(said: Any) -> str | None:
    """Return the message of the error that `--json` says, or None when it says none."""
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message")) if isinstance(error, dict) else None


def fit_arguments(job: TrainJob, recipe: Recipe) -> list[str]:
    """Return `fit` and its options: the job, and every hyperparameter, none left to a default."""
    arguments = ["fit"]
    for shard in job.shards:
        arguments += ["--shard", shard]
    arguments += ["--client", job.client, "--init", job.init, "--epochs", str(job.epochs)]
    for entry in fields(recipe):
        option, value = "--" + entry.name.replace("_", "-"), getattr(recipe, entry.name)
        if entry.name in _SAID_BY_JOB or value is False:
            continue
        arguments += [option] if value is True else [option, str(value)]
    return [*arguments, "--out", job.out]
