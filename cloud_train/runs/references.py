"""Models to compare a run with: each shard alone, and all shards together, with as many passes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_train.runners.local import LocalRunner, TrainJob
from cloud_train.runs.run_folder import RunFolder
from cloud_train.training.recipe import Recipe
from cloud_train.training.trainer import Examiner
from cloud_train.training.weights import load_weights
from host_cli.progress import progress


@dataclass(frozen=True)
class Reference:
    """A model trained without any averaging, from the same initialisation, with the same recipe.

    Attributes:
        client: `central` or `alone-K`.
        shards: what it learns from.
        examples: how many pictures these hold.
        passes: over all of them.
        shard: K of `alone-K`.
    """

    client: str
    shards: tuple[Path, ...]
    examples: int
    passes: int
    shard: int | None = None


def measure_references(
    folder: RunFolder, runner: LocalRunner, recipe: Recipe, wanted: Sequence[Reference], examiner: Examiner
) -> dict[str, dict[str, float]]:
    """Train what is missing of the references; return accuracy, loss and training seconds by client."""
    missing = [(reference, _start(folder, reference)) for reference in wanted]
    jobs = [
        TrainJob(
            reference.client,
            reference.shards,
            start,
            epochs=reference.passes - passes,
            out=folder.reference(reference.client),
        )
        for reference, (start, passes) in missing
        if passes != reference.passes
    ]
    total = sum(one.examples * (one.passes - passes) for one, (_, passes) in missing)
    if jobs:
        with progress("models to compare with", total, "pictures") as done:
            runner.train(jobs, recipe, done)
    return {one.client: _measure(folder.reference(one.client), examiner) for one in wanted}


def _start(folder: RunFolder, reference: Reference) -> tuple[Path, int]:
    # The farthest model on the way: an earlier reference, the first round's update, or the initialisation.
    candidates = [folder.reference(reference.client)]
    if reference.shard is not None and reference.passes > 1:
        candidates.append(folder.update(1, reference.shard))
    for path in candidates:
        if path.is_file() and load_weights(path).passes <= reference.passes:
            return path, load_weights(path).passes
    return folder.checkpoint(0), 0


def _measure(path: Path, examiner: Examiner) -> dict[str, float]:
    weights = load_weights(path)
    found = examiner.measure(weights, str(path))
    return {**found, "seconds": weights.figures["seconds"]}
