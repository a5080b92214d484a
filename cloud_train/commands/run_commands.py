"""Many trainers, one model: `cloud-train average` and `run`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_train.commands.options import AsJson, BatchSize, Decay, LearningRate, ModelName, Seed, build_recipe
from cloud_train.training import recipe as defaults
from host_cli import command
from host_cli.errors import WrongUsage


def average(
    updates: Annotated[list[Path], typer.Argument(help="Shard updates, .npz.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights (.npz) or a model (.keras).")],
    as_json: AsJson = False,
) -> None:
    """Average shard updates, each weighted by its number of examples (FedAvg)."""
    from cloud_train.averaging import fedavg
    from cloud_train.training.weights import load_weights, save_weights

    if out.suffix not in (".npz", ".keras"):
        raise WrongUsage("weights are written as .npz, a model as .keras", str(out), "-o average.npz")
    try:
        averaged = fedavg.average([load_weights(path) for path in updates])
    except fedavg.BadUpdate as error:
        hint = "leave it out, or train that shard again"
        raise WrongUsage(f"the update is refused: {error.reason}", error.client, hint) from error
    if out.suffix == ".keras":
        from cloud_train.training.models import save_model

        save_model(averaged, out)
    else:
        save_weights(averaged, out)
    result = {"ok": True, "num_examples": averaged.num_examples, "sha256": averaged.digest()}
    command.print_result(result, f"{out}: {len(updates)} updates, {averaged.num_examples} examples", as_json)


def run(
    data: Annotated[Path, typer.Option(help="Folder with shards.json.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, model.keras and run.json.")],
    rounds: Annotated[int, typer.Option(min=1, max=10000, help="Rounds in the end.")] = 3,
    model: ModelName = defaults.DEFAULT_MODEL,
    name: Annotated[str, typer.Option(help="What the model is called.")] = "fashion-mnist",
    batch_size: BatchSize = defaults.DEFAULT_BATCH_SIZE,
    learning_rate: LearningRate = defaults.DEFAULT_LEARNING_RATE,
    decay: Decay = defaults.DEFAULT_DECAY,
    momentum: Annotated[
        float, typer.Option(min=0, max=0.999, help="Of the server; 0 is plain FedAvg.")
    ] = defaults.DEFAULT_MOMENTUM,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Also train each shard alone.")] = False,
    central: Annotated[bool, typer.Option("--central", help="Also train on all shards together.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the shards in processes, average them round by round, and leave one model."""
    from cloud_train.runners.local import LocalRunner
    from cloud_train.runs import rounds as story

    recipe = build_recipe(model, batch_size, learning_rate, decay, seed)
    plan = story.RunPlan(data, out, name, rounds, recipe, momentum, resume, alone, central)
    result = story.run(plan, LocalRunner(os.cpu_count() or 1, os.environ))
    command.print_result(result, _run_text(result), as_json)


def _run_text(result: dict[str, Any]) -> str:
    lines = [
        "round {round}: accuracy {accuracy:.4f}, loss {loss:.4f}, {seconds:.0f} s".format(**one)
        for one in result["rounds"]
    ]
    lines += [
        f"{one['shard']} alone: accuracy {one['accuracy']:.4f}"
        for one in result["shards"]
        if one["accuracy"] is not None
    ]
    if result["central"]:
        lines.append(f"all shards together: accuracy {result['central']['accuracy']:.4f}")
    return "\n".join([*lines, result["model"]])
