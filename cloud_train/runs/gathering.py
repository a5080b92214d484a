"""The updates of a round: trained where they are missing, screened, and enough of them or none at all."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud_train.averaging.rules import TooFewUpdates, average
from cloud_train.averaging.screening import LeftOut, Screened, follows, inspect, screen
from cloud_train.averaging.settings import Averaging
from cloud_train.averaging.updates import BadUpdate, Header, StoredUpdate, open_update
from cloud_train.runners.jobs import Runner, TrainJob
from cloud_train.runs.run_folder import RunFolder
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Weights
from host_cli.errors import Failed
from host_cli.progress import progress

# How many of those left out an error names.
SHOWN_LEFT_OUT = 10


@dataclass(frozen=True)
class Client:
    """A shard and who trains it.

    Attributes:
        name: of its updates.
        shard: path or URL of what it learns from.
        examples: how many pictures that holds.
    """

    name: str
    shard: str
    examples: int


def train_round(
    folder: RunFolder, number: int, clients: Sequence[Client], runner: Runner, recipe: Recipe, how: Averaging
) -> dict[str, str]:
    """Train the clients that have left no update in this round yet; return why others failed, by client."""
    jobs = [_job(folder, number, client, recipe) for client in clients]
    start = _start(folder, number).header
    missing = [job for job in jobs if not _is_there(folder, number, job, start)]
    for job in missing:
        folder.update(number, job.client).unlink(missing_ok=True)
    with progress(f"round {number} of {how.rounds}", _pictures(jobs), "pictures") as done:
        done(_pictures(jobs) - _pictures(missing))
        failures = runner.train(missing, recipe, done, timeout_s=how.round_timeout_s) if missing else []
    failed = {failure.client: failure.reason for failure in failures}
    for job in missing:
        if job.client not in failed:
            folder.place.share(folder.update(number, job.client))
    return failed


def screen_round(
    folder: RunFolder, number: int, clients: Sequence[Client], failed: dict[str, str], epochs: int
) -> Screened:
    """Read the updates of a round and say of each who takes part, and why another does not."""
    left_out = [LeftOut(client, reason) for client, reason in failed.items()]
    updates: list[StoredUpdate] = []
    start = _start(folder, number)
    for client in clients:
        if client.name in failed:
            continue
        try:
            update = open_update(folder.update(number, client.name), client.name)
            _check_claims(update.header, client, start.header.passes + epochs)
            updates.append(update)
        except BadUpdate as error:
            left_out.append(LeftOut(error.client, error.reason))
    with progress(f"looking at the updates of round {number}", len(updates), "updates") as done:
        found = screen(updates, start, done)
    return merged(found, left_out)


def average_round(screened: Screened, clients: int, how: Averaging, where: str) -> Weights:
    """Return the average of those who take part.

    Raises:
        Failed: they are too few, everybody who was left out is named; or the average is no number.
    """
    require_quorum(screened, clients, how, where)
    try:
        with np.errstate(over="ignore"):
            averaged = average([one.update for one in screened.kept], how)
    except TooFewUpdates as error:
        raise Failed(f"{error}{_names(screened)}", where, "another --rule, or a smaller --krum-f") from error
    except BadUpdate as error:
        raise Failed(str(error), where, "did something write to the folder? run it again") from error
    require_finite(averaged, where)
    return averaged


def require_finite(weights: Weights, where: str) -> None:
    """Refuse weights that are no model: values that are finite in every update may be too large together.

    Raises:
        Failed: one of them is NaN or infinite.
    """
    if not all(np.isfinite(tensor).all() for tensor in weights.tensors):
        hint = "look at the updates: of two nobody can say which is the outlier"
        raise Failed("the average has NaN or infinite values", where, hint)


def require_quorum(screened: Screened, clients: int, how: Averaging, where: str) -> None:
    """Refuse a round with too few updates.

    Raises:
        Failed: it names everybody who was left out.
    """
    needed = how.needed(clients)
    if len(screened.kept) < needed:
        what = f"{len(screened.kept)} of {clients} updates can be averaged, {needed} are needed"
        hint = "mend what the reasons name and try again, a run with --resume; or a smaller --quorum"
        raise Failed(what + _names(screened), where, hint)


def tell_left_out(screened: Screened, title: str) -> None:
    """Say on stderr who was left out and why."""
    for one in screened.left_out:
        print(f"{title}: {one.client} is left out: {one.reason}", file=sys.stderr, flush=True)


def merged(screened: Screened, others: Sequence[LeftOut]) -> Screened:
    """Return what screening found, and those who were left out before it."""
    left_out = sorted([*screened.left_out, *others], key=lambda one: one.client)
    return Screened(screened.kept, tuple(left_out))


def _job(folder: RunFolder, number: int, client: Client, recipe: Recipe) -> TrainJob:
    return TrainJob(
        client=client.name,
        shards=(client.shard,),
        init=str(folder.start(number)),
        epochs=recipe.epochs,
        out=str(folder.update(number, client.name)),
        examples=client.examples,
    )


def _is_there(folder: RunFolder, number: int, job: TrainJob, start: Header) -> bool:
    # A run that was stopped in the middle of a round has trained some of it already.
    try:
        update = open_update(folder.update(number, job.client), job.client)
        return _is_of(inspect(update, None).header, job, start)
    except BadUpdate:
        return False


def _is_of(header: Header, job: TrainJob, start: Header) -> bool:
    expected = (job.client, job.examples, start.passes + job.epochs)
    return (header.client, header.num_examples, header.passes) == expected and follows(header, start.sha256)


def _check_claims(header: Header, client: Client, passes: int) -> None:
    if header.client != client.name:
        raise BadUpdate(client.name, f"its update says that it is of {header.client}")
    if header.num_examples != client.examples:
        what = f"it says that it was trained on {header.num_examples} examples, its shard has"
        raise BadUpdate(client.name, f"{what} {client.examples}")
    if header.passes != passes:
        # The learning rate of everybody's next round follows from it.
        raise BadUpdate(
            client.name, f"it says that it is of pass {header.passes}, this round ends with {passes}"
        )


def _start(folder: RunFolder, number: int) -> StoredUpdate:
    return open_update(folder.start(number), "the start")


def _pictures(jobs: Sequence[TrainJob]) -> int:
    return sum(job.examples * job.epochs for job in jobs)


def _names(screened: Screened) -> str:
    shown = [f"{one.client}: {one.reason}" for one in screened.left_out[:SHOWN_LEFT_OUT]]
    more = len(screened.left_out) - len(shown)
    return "".join(f"; {one}" for one in shown) + (f"; and {more} more" if more > 0 else "")
