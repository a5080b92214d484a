"""One model on one computer: `cloud-train init`, `fit` and `evaluate`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_train.commands.options import AsJson, BatchSize, Decay, LearningRate, ModelName, Seed, build_recipe
from cloud_train.training import recipe as defaults
from host_cli import command
from host_cli.progress import progress

if TYPE_CHECKING:
    from cloud_train.training.weights import Weights


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

    recipe = build_recipe(model, batch_size, learning_rate, decay, seed)
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
