"""The command line of `cloud-train`: parses, calls, prints."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud_train.training import recipe as defaults
from contract.errors import MessageError
from host_cli import command
from host_cli.errors import WrongUsage
from host_cli.progress import progress

if TYPE_CHECKING:
    from cloud_train.training.weights import Weights

# TensorFlow greets with a page of build flags; warnings and errors still come.
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2"}
MAX_SEED = 2**32 - 1

app = typer.Typer(help="From data to one averaged Keras model.", no_args_is_help=True, add_completion=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]
ModelName = Annotated[str, typer.Option("--model", help="What to train: cnn3.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures per step.")]
LearningRate = Annotated[float, typer.Option(help="Of the first pass.")]
Decay = Annotated[float, typer.Option(help="Learning rate of a pass, as a share of the pass before.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cloud-train` and return its exit code."""
    for name, value in QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)
    return command.run(app, argv)


@app.command()
def split(
    dataset: Annotated[str, typer.Option(help="fashion-mnist, FILE.npz, or a folder with IDX files.")],
    out: Annotated[Path, typer.Option(help="Folder for shard-K.npz, test.npz and shards.json.")],
    shards: Annotated[int, typer.Option(min=1, max=1000)] = 4,
    seed: Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only N training pictures.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the IDX files of fashion-mnist lie.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deal a data set out at random into shards of equal size."""
    from cloud_train.data import shards as dealing
    from cloud_train.data.datasets import load_dataset
    from cloud_train.data.samples import BadSamples

    found = load_dataset(dataset, data_dir)
    if limit is not None:
        found = dealing.limit(found, limit, seed)
    try:
        manifest = dealing.write_shards(found, dataset, shards, seed, out)
    except BadSamples as error:
        raise WrongUsage(str(error), dataset, "fewer --shards or a larger --limit") from error
    counts = [entry.examples for entry in manifest.shards]
    result = {"ok": True, "shards": counts, "test": manifest.test.examples, "labels": list(manifest.labels)}
    text = (
        f"{out}: {len(counts)} shards of {min(counts)} to {max(counts)} pictures, {result['test']} held out"
    )
    command.print_result(result, text, as_json)


@app.command()
def init(
    like: Annotated[Path, typer.Option(help="Folder with shards.json: picture shape and labels.")],
    out: Annotated[Path, typer.Option(help="The initialisation that all shards start from.")],
    model: ModelName = defaults.DEFAULT_MODEL,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make the weights that every shard starts from; averaging needs a common start."""
    from cloud_train.training.models import initial_weights
    from cloud_train.training.starting import architecture_like
    from cloud_train.training.weights import save_weights

    weights = initial_weights(architecture_like(like, model), seed)
    save_weights(weights, out)
    command.print_result(
        {"ok": True, "sha256": weights.digest()}, f"{out}: {model} from seed {seed}", as_json
    )


@app.command()
def fit(
    shard: Annotated[list[Path], typer.Option(help="A shard; several are joined.")],
    out: Annotated[Path, typer.Option(help="The shard update, .npz.")],
    model: ModelName = defaults.DEFAULT_MODEL,
    init: Annotated[Path | None, typer.Option(help="Start from these weights (.npz).")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    batch_size: BatchSize = defaults.DEFAULT_BATCH_SIZE,
    learning_rate: LearningRate = defaults.DEFAULT_LEARNING_RATE,
    decay: Decay = defaults.DEFAULT_DECAY,
    seed: Seed = 0,
    client: Annotated[str | None, typer.Option(help="Name of the update; default: the shard's.")] = None,
    steps: Annotated[bool, typer.Option("--steps", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Train on a shard and write the shard update: weights and number of examples."""
    from cloud_train.training import trainer
    from cloud_train.training.starting import load_start
    from cloud_train.training.weights import save_weights

    recipe = _recipe(model, batch_size, learning_rate, decay, seed)
    samples, start = load_start(shard, init, model=model, seed=seed)
    client = client or "+".join(path.stem for path in shard)[:128]

    def train(advance: Callable[[float], None]) -> "Weights":
        return trainer.fit(samples, start, recipe, epochs=epochs, client=client, advance=advance)

    if steps:  # for the program that started this one: how far it is, one JSON object a line
        update = train(lambda done: print(json.dumps({"examples_done": done}), flush=True))
    else:
        with progress(f"training on {client}", epochs * len(samples.y), "pictures") as advance:
            update = train(advance)
    save_weights(update, out)
    result = {"ok": True, "client": client, "num_examples": update.num_examples, **update.figures}
    command.print_result(result, f"{out}: loss {update.figures['loss']:.4f}", as_json)


@app.command()
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


@app.command()
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

    recipe = _recipe(model, batch_size, learning_rate, decay, seed)
    plan = story.RunPlan(data, out, name, rounds, recipe, momentum, resume, alone, central)
    result = story.run(plan, LocalRunner(os.cpu_count() or 1, os.environ))
    command.print_result(result, _run_text(result), as_json)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file.")],
    data: Annotated[Path, typer.Option(help="Held-out pictures, test.npz.")],
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out pictures."""
    from cloud_train.data.samples import load_samples
    from cloud_train.training.trainer import evaluate_file

    samples = load_samples(data)
    found = evaluate_file(model, samples, data)
    text = f"accuracy {found['accuracy']:.4f}, loss {found['loss']:.4f} on {len(samples.y)} pictures"
    command.print_result({"ok": True, **found, "samples": len(samples.y)}, text, as_json)


def _recipe(model: str, batch_size: int, learning_rate: float, decay: float, seed: int) -> defaults.Recipe:
    try:
        return defaults.Recipe(model, batch_size, learning_rate, decay, seed)
    except MessageError as error:
        raise WrongUsage(str(error), "command line", "cloud-train fit --help") from error


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
