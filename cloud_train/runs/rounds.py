"""The story of a run: each round trains the shards, averages, evaluates and saves; then comes the model."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloud_train.averaging.fedavg import BadUpdate, advance, average
from cloud_train.data.samples import load_samples
from cloud_train.data.shards import MANIFEST_FILE, ShardManifest, image_shape, load_manifest, verify_shards
from cloud_train.runners.local import LocalRunner, TrainJob
from cloud_train.runs.references import Reference, measure_references
from cloud_train.runs.run_folder import MODEL_FILE, RunFolder, RunSettings
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from cloud_train.training.trainer import Examiner
from cloud_train.training.weights import Architecture, Weights, load_weights, save_weights
from contract.errors import MessageError
from host_cli import files
from host_cli.errors import Failed, WrongUsage
from host_cli.progress import progress


@dataclass(frozen=True)
class RunPlan:
    """What a run is to do.

    Attributes:
        data: folder with `shards.json`.
        out: folder of the run.
        name: what the model will be called.
        rounds: how many there are in the end.
        recipe: hyperparameters of every trainer.
        momentum: of the server; 0 is plain FedAvg.
        resume: continue the run in `out`.
        alone: also train each shard without the others.
        central: also train one model on all shards together.
    """

    data: Path
    out: Path
    name: str
    rounds: int
    recipe: Recipe
    momentum: float
    resume: bool
    alone: bool
    central: bool


def run(plan: RunPlan, runner: LocalRunner) -> dict[str, Any]:
    """Train the plan's rounds and return what `cloud-train run --json` prints.

    Raises:
        WrongUsage: the data, the settings or the folder do not allow the run.
        Failed: a trainer failed; the rounds before it are kept, nothing of this one.
    """
    manifest = load_manifest(plan.data)
    verify_shards(plan.data, manifest)
    folder = _open(plan, manifest)
    examiner = Examiner(load_samples(plan.data / manifest.test.file.path))
    shards = tuple(plan.data / entry.file.path for entry in manifest.shards)

    for number in range(folder.rounds_done() + 1, plan.rounds + 1):
        started = time.monotonic()
        _train_shards(plan, runner, folder, number, shards, manifest)
        averaged = _average(folder, number, len(shards))
        before, velocity = load_weights(folder.checkpoint(number - 1)), folder.load_velocity(number - 1)
        weights, velocity = advance(before, averaged, velocity, plan.momentum)
        weights = _measured(weights, examiner, number, started)
        folder.save_round(number, weights, velocity)

    references = measure_references(folder, runner, plan.recipe, _wanted(plan, shards, manifest), examiner)
    folder.finish(plan.name, load_weights(folder.checkpoint(plan.rounds)), manifest, time.time())
    return _result(folder, manifest, references)


def _open(plan: RunPlan, manifest: ShardManifest) -> RunFolder:
    folder = RunFolder(plan.out)
    data_sha256 = files.sha256_of(plan.data / MANIFEST_FILE)
    try:
        settings = RunSettings(plan.name, data_sha256, plan.momentum, plan.recipe)
    except MessageError as error:
        raise WrongUsage(str(error), "command line", "a name of lower-case letters, digits, . _ -") from error
    if plan.resume:
        folder.resume(settings, plan.rounds)
    else:
        architecture = Architecture(plan.recipe.model, image_shape(manifest), len(manifest.labels))
        initial = initial_weights(architecture, plan.recipe.seed)
        folder.begin(settings)
        save_weights(initial, folder.checkpoint(0))
    return folder


def _train_shards(
    plan: RunPlan,
    runner: LocalRunner,
    folder: RunFolder,
    number: int,
    shards: tuple[Path, ...],
    manifest: ShardManifest,
) -> None:
    start = folder.checkpoint(number - 1)
    jobs = [
        TrainJob(shard.stem, (shard,), start, epochs=1, out=folder.update(number, index))
        for index, shard in enumerate(shards)
    ]
    examples = sum(entry.examples for entry in manifest.shards)
    with progress(f"round {number} of {plan.rounds}", examples, "pictures") as done:
        runner.train(jobs, plan.recipe, done)


def _average(folder: RunFolder, number: int, shards: int) -> Weights:
    try:
        return average([load_weights(folder.update(number, shard)) for shard in range(shards)])
    except BadUpdate as error:
        hint = "a smaller --learning-rate"
        raise Failed(f"its update cannot be averaged: {error.reason}", error.client, hint) from error


def _measured(weights: Weights, examiner: Examiner, number: int, started: float) -> Weights:
    figures = examiner.measure(weights, f"round {number}")
    return replace(
        weights, figures={"round": number, **figures, "seconds": round(time.monotonic() - started, 3)}
    )


def _wanted(plan: RunPlan, shards: tuple[Path, ...], manifest: ShardManifest) -> list[Reference]:
    # The central model comes first: it takes longest, and the shards fill the other cores meanwhile.
    counts = [entry.examples for entry in manifest.shards]
    found = [Reference("central", shards, sum(counts), plan.rounds)] if plan.central else []
    if plan.alone:
        found += [
            Reference(f"alone-{index}", (shard,), counts[index], plan.rounds, shard=index)
            for index, shard in enumerate(shards)
        ]
    return found


def _result(
    folder: RunFolder, manifest: ShardManifest, references: dict[str, dict[str, float]]
) -> dict[str, Any]:
    shards = [
        {
            "shard": Path(entry.file.path).stem,
            "examples": entry.examples,
            "accuracy": references.get(f"alone-{index}", {}).get("accuracy"),
        }
        for index, entry in enumerate(manifest.shards)
    ]
    rounds = [{**figures, "round": int(figures["round"]), "left_out": []} for figures in folder.history()]
    model = str(folder.path / MODEL_FILE)
    return {
        "ok": True,
        "model": model,
        "rounds": rounds,
        "shards": shards,
        "central": references.get("central"),
    }
