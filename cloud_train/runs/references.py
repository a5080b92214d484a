"""Models to compare a run with: each shard alone, and all shards together, with as many passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_train.runners.jobs import Runner, TrainJob
from cloud_train.runs.run_folder import RunFolder
from cloud_train.training.examiner import Examiner
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import load_weights
from host_cli.errors import Failed
from host_cli.progress import progress


@dataclass(frozen=True)
class Reference:
    """A model trained without any averaging, from the same initialisation, with the same recipe.

    Attributes:
        client: `central` or `alone-K`.
        shards: paths or URLs of what it learns from.
        examples: how many pictures these hold.
        passes: over all of them.
        alone: the client of the run that has this shard, when it is one shard.
    """

    client: str
    shards: tuple[str, ...]
    examples: int
    passes: int
    alone: str | None = None


def measure_references(
    folder: RunFolder, runner: Runner, recipe: Recipe, wanted: Sequence[Reference], examiner: Examiner
) -> dict[str, dict[str, float]]:
    """Train what is missing of the references; return accuracy, loss and training seconds by client."""
    folder.place.fetch_all(folder.reference("any").parent)
    starts = [(reference, *_start(folder, reference, recipe.epochs)) for reference in wanted]
    jobs = [
        _job(folder, reference, start, passes)
        for reference, start, passes in starts
        if passes != reference.passes
    ]
    if jobs:
        total = sum(job.examples * job.epochs for job in jobs)
        with progress("models to compare with", total, "pictures") as done:
            failures = runner.train(jobs, recipe, done, timeout_s=None)
        for one in failures:
            what = f"the trainer of {one.client} failed: {one.reason}"
            raise Failed(what, str(folder.path), "look at what it names, or leave the comparison out")
        for job in jobs:
            folder.place.share(folder.reference(job.client))
    return {one.client: _measure(folder, one.client, examiner) for one in wanted}


def _job(folder: RunFolder, reference: Reference, start: Path, passes: int) -> TrainJob:
    return TrainJob(
        client=reference.client,
        shards=reference.shards,
        init=str(start),
        epochs=reference.passes - passes,
        out=str(folder.reference(reference.client)),
        examples=reference.examples,
    )


def _start(folder: RunFolder, reference: Reference, epochs: int) -> tuple[Path, int]:
    # The farthest model on the way: an earlier reference, the first round's update, or the initialisation.
    candidates = [folder.reference(reference.client)]
    if reference.alone and reference.passes > epochs:
        candidates.append(folder.update(1, reference.alone))
    for path in candidates:
        if path.is_file() and load_weights(path).passes <= reference.passes:
            return path, load_weights(path).passes
    return folder.start(1), 0


def _measure(folder: RunFolder, client: str, examiner: Examiner) -> dict[str, float]:
    path = folder.reference(client)
    weights = load_weights(path)
    found = examiner.measure(weights, str(path))
    return {**found, "seconds": weights.figures["seconds"]}
