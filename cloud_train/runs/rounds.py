"""The story of a run: each round trains the shards, averages, evaluates and saves; then comes the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cloud_train import store
from cloud_train.averaging.server import advance
from cloud_train.averaging.settings import KRUM, Averaging
from cloud_train.data.samples import Samples, load_samples
from cloud_train.data.shards import MANIFEST_FILE, ShardManifest, load_manifest, verify_shards
from cloud_train.runners.jobs import Runner
from cloud_train.runs.gathering import (
    Client,
    average_round,
    require_finite,
    screen_round,
    tell_left_out,
    train_round,
)
from cloud_train.runs.lineage import lineage_of, round_entry
from cloud_train.runs.place import Place
from cloud_train.runs.references import Reference, measure_references
from cloud_train.runs.run_folder import RunFolder, RunSettings
from cloud_train.runs.warm_up import warm_up
from cloud_train.training.examiner import Examiner
from cloud_train.training.model_files import MODEL_FILE, About, write_model
from cloud_train.training.models import initial_weights
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Architecture, Weights, load_weights
from contract.artifacts import MAX_RUN_UPDATES, RoundEntry
from contract.errors import MessageError
from host_cli import files
from host_cli.errors import WrongUsage


@dataclass(frozen=True)
class RunPlan:
    """What a run is to do.

    Attributes:
        data: folder with `shards.json`; a remote one has been copied.
        shards: path or URL of the folder where trainers find the shards.
        out: folder of the run.
        name: what the model will be called.
        recipe: hyperparameters of every trainer.
        averaging: rounds, rule and server.
        width: factor of the number of filters.
        pretrained: a file with weights to start from; None: a fresh initialisation.
        resume: continue the run in `out`.
        prepare: make the folder and the initialisation only; who trains elsewhere puts updates into it.
        alone: also train each shard without the others.
        central: also train one model on all shards together.
    """

    data: Place
    shards: str
    out: Place
    name: str
    recipe: Recipe
    averaging: Averaging
    width: float = 1.0
    pretrained: Path | None = None
    resume: bool = False
    prepare: bool = False
    alone: bool = False
    central: bool = False


def run(plan: RunPlan, runner: Runner) -> dict[str, Any]:
    """Train the plan's rounds and return what `cloud-train run --json` prints.

    Raises:
        WrongUsage: the data, the settings or the folder do not allow the run.
        Failed: too few updates could be averaged; what was trained is kept.
        Unreachable: the place of the data or of the run is away.
    """
    manifest = load_manifest(plan.data.path)
    verify_shards(plan.data.path, manifest)
    settings = _settings(plan, len(manifest.shards))
    folder = RunFolder(plan.out)
    if plan.resume:
        folder.resume(settings)
    initial = None if plan.resume else _initial(plan, manifest)
    with folder.alone():
        if initial is not None:
            folder.begin(settings)
            shards = _shards(plan, manifest)
            folder.save_start(warm_up(initial, shards, plan.recipe, plan.averaging.warm_up))
        if plan.prepare:
            return {"ok": True, "start": folder.place.address(folder.start(1))}
        examiner = Examiner(load_samples(plan.data.path / manifest.test.file.path))
        clients = _clients(plan, manifest)

        for number in range(folder.rounds_done() + 1, plan.averaging.rounds + 1):
            _run_round(folder, number, clients, runner, plan, examiner)

        wanted = _wanted(plan, clients)
        references = measure_references(folder, runner, plan.recipe, wanted, examiner)
        _finish(plan, settings, folder, manifest)
        return _result(folder, clients, references)


def _run_round(
    folder: RunFolder,
    number: int,
    clients: Sequence[Client],
    runner: Runner,
    plan: RunPlan,
    examiner: Examiner,
) -> None:
    started = time.monotonic()
    how = plan.averaging
    failed = train_round(folder, number, clients, runner, plan.recipe, how)
    screened = screen_round(folder, number, clients, failed, plan.recipe.epochs)
    tell_left_out(screened, f"round {number}")
    averaged = average_round(screened, len(clients), how, plan.out.where)

    before = load_weights(folder.start(number))
    with np.errstate(over="ignore", invalid="ignore"):
        moved = advance(before, averaged, folder.load_state(number - 1, how), how)
    for each in (moved.start, *moved.state.values()):
        require_finite(each, plan.out.where)
    figures = examiner.measure(moved.model, f"round {number}")
    figures = {"round": number, **figures, "seconds": round(time.monotonic() - started, 3)}
    entry = round_entry(number, before.digest(), moved.model.digest(), screened)
    measured = replace(moved, model=replace(moved.model, figures=figures))
    folder.save_round(number, measured, entry)


def _settings(plan: RunPlan, shards: int) -> RunSettings:
    _refuse_impossible(plan.averaging, shards)
    updates = shards * plan.averaging.rounds
    if updates > MAX_RUN_UPDATES:
        what = (
            f"{shards} shards in {plan.averaging.rounds} rounds are {updates} updates, too many for run.json"
        )
        raise WrongUsage(what, "--rounds", f"at most {MAX_RUN_UPDATES} updates")
    if plan.pretrained and not plan.pretrained.is_file():
        raise WrongUsage("there is no such file", str(plan.pretrained), "--pretrained MODEL.keras")
    try:
        return RunSettings(
            name=plan.name,
            data_sha256=files.sha256_of(plan.data.path / MANIFEST_FILE),
            recipe=plan.recipe,
            averaging=plan.averaging,
            width=plan.width,
            pretrained_sha256=files.sha256_of(plan.pretrained) if plan.pretrained else None,
        )
    except MessageError as error:
        raise WrongUsage(str(error), "command line", "a name of lower-case letters, digits, . _ -") from error


def _refuse_impossible(how: Averaging, shards: int) -> None:
    # Before anything is trained.
    if how.needed(shards) > shards:
        what = f"{shards} shards never give {how.needed(shards)} updates"
        raise WrongUsage(what, f"--quorum {how.quorum}", f"--quorum {shards} or less, or a share such as 0.5")
    if how.rule == KRUM and how.krum_needs() > shards:
        what = f"Krum that expects {how.krum_f} bad ones needs {how.krum_needs()} updates, not {shards}"
        raise WrongUsage(what, "--rule krum", "more shards, a smaller --krum-f, or --rule median")


def _initial(plan: RunPlan, manifest: ShardManifest) -> Weights:
    architecture = Architecture(
        plan.recipe.model, manifest.preprocessing.shape, len(manifest.labels), plan.width
    )
    return initial_weights(architecture, plan.recipe.seed, plan.pretrained)


def _shards(plan: RunPlan, manifest: ShardManifest) -> list[Samples]:
    return [load_samples(plan.data.path / entry.file.path) for entry in manifest.shards]


def _clients(plan: RunPlan, manifest: ShardManifest) -> list[Client]:
    return [
        Client(Path(entry.file.path).stem, store.join(plan.shards, entry.file.path), entry.examples)
        for entry in manifest.shards
    ]


def _wanted(plan: RunPlan, clients: Sequence[Client]) -> list[Reference]:
    # The central model comes first: it takes longest, and the shards fill the other cores meanwhile.
    passes = plan.averaging.rounds * plan.recipe.epochs
    total = sum(client.examples for client in clients)
    shards = tuple(client.shard for client in clients)
    found = [Reference("central", shards, total, passes)] if plan.central else []
    if plan.alone:
        found += [
            Reference(f"alone-{index}", (client.shard,), client.examples, passes, client.name)
            for index, client in enumerate(clients)
        ]
    return found


def _finish(plan: RunPlan, settings: RunSettings, folder: RunFolder, manifest: ShardManifest) -> None:
    """Write model.keras, and then run.json, which says that the model is complete."""
    weights = load_weights(folder.checkpoint(plan.averaging.rounds))
    about = About(
        name=plan.name,
        labels=manifest.labels,
        preprocessing=manifest.preprocessing,
        accuracy=weights.figures["accuracy"],
        history=folder.history(),
        lineage=lineage_of(plan.data, manifest, settings, folder.entries()),
    )
    model = folder.path / MODEL_FILE
    run_file = write_model(weights, model, about)
    folder.place.share(model)
    folder.place.share(run_file)


def _result(
    folder: RunFolder, clients: Sequence[Client], references: dict[str, dict[str, float]]
) -> dict[str, Any]:
    shards = [
        {
            "shard": client.name,
            "examples": client.examples,
            "accuracy": references.get(f"alone-{index}", {}).get("accuracy"),
        }
        for index, client in enumerate(clients)
    ]
    rounds = [
        {**figures, "round": entry.round, "left_out": _left_out(entry)}
        for figures, entry in zip(folder.history(), folder.entries(), strict=True)
    ]
    return {
        "ok": True,
        "model": folder.place.address(folder.path / MODEL_FILE),
        "rounds": rounds,
        "shards": shards,
        "central": references.get("central"),
    }


def _left_out(entry: RoundEntry) -> list[dict[str, str]]:
    return [
        {"client": update.client, "reason": update.left_out} for update in entry.updates if update.left_out
    ]
