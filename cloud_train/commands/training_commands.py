"""One model on one computer: `cloud-train init`, `fit` and `evaluate`."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cloud_train.commands.options import (
    AsJson,
    BatchSize,
    Decay,
    LearningRate,
    MixedPrecision,
    ModelName,
    Pretrained,
    Proximal,
    Seed,
    Width,
    build_recipe,
)
from cloud_train.training import recipe as defaults
from host_cli import command
from host_cli.progress import Advance, progress

_SLOW_ON_CPU = "there is no GPU: with --mixed-precision it is slower than without"


def init(
    like: Annotated[str, typer.Option(help="Folder or URL with shards.json: picture shape and labels.")],
    out: Annotated[str, typer.Option(help="The initialisation that all shards start from, .npz.")],
    model: ModelName = defaults.DEFAULT_MODEL,
    width: Width = None,
    pretrained: Pretrained = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make the weights that every shard starts from; averaging needs a common start."""
    from cloud_train.training import fitting

    with tempfile.TemporaryDirectory() as work:
        weights = fitting.initialise(
            like, out, Path(work), model=model, width=width, pretrained=pretrained, seed=seed
        )
    command.print_result(
        {"ok": True, "sha256": weights.digest()}, f"{out}: {model} from seed {seed}", as_json
    )


def fit(
    out: Annotated[str, typer.Option(help="UPDATE.npz, MODEL.keras, or FOLDER/ for models with a name.")],
    shard: Annotated[list[str] | None, typer.Option(help="A shard, path or URL; several in a row.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder with shards.json: all shards and test.npz.")
    ] = None,
    model: ModelName = defaults.DEFAULT_MODEL,
    width: Width = None,
    pretrained: Pretrained = None,
    init: Annotated[str | None, typer.Option(help="Start from these weights (.npz).")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over all pictures.")] = 1,
    batch_size: BatchSize = defaults.DEFAULT_BATCH_SIZE,
    learning_rate: LearningRate = defaults.DEFAULT_LEARNING_RATE,
    decay: Decay = defaults.DEFAULT_DECAY,
    proximal: Proximal = 0.0,
    mixed_precision: MixedPrecision = False,
    validation: Annotated[
        str | None, typer.Option(metavar="SHARE|FILE", help="Held out to measure each pass: 0.2, or .npz.")
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's event files.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder to continue from, when a training was killed.")
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, metavar="STEPS", help="Steps that may be lost.")
    ] = defaults.DEFAULT_CHECKPOINT_STEPS,
    seed: Seed = 0,
    client: Annotated[str | None, typer.Option(help="Name of the update; default: the shard's.")] = None,
    steps: Annotated[bool, typer.Option("--steps", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Train on shards; write the shard update (weights and number of examples), or a model."""
    from cloud_train import backend
    from cloud_train.training import fitting
    from cloud_train.training.checkpoint import Checkpoints

    recipe = build_recipe(
        model=model,
        batch_size=batch_size,
        learning_rate=learning_rate,
        decay=decay,
        seed=seed,
        proximal=proximal,
        epochs=epochs,
        mixed_precision=mixed_precision,
    )
    order = fitting.FitOrder(
        shards=tuple(shard or ()),
        data=data,
        init=init,
        pretrained=pretrained,
        out=out,
        recipe=recipe,
        width=width,
        client=client,
        validation=validation,
        checkpoints=Checkpoints(checkpoint, checkpoint_every) if checkpoint else None,
        tensorboard=tensorboard,
    )
    if mixed_precision and not backend.has_gpu():
        print(_SLOW_ON_CPU, file=sys.stderr)
    with tempfile.TemporaryDirectory() as work:
        meter = _steps_meter if steps else _bar
        found = fitting.carry_out(order, Path(work), meter, _print_nothing if steps else _print_pass)
    weights = found.weights
    result = {"ok": True, "client": weights.client, "num_examples": weights.num_examples, **weights.figures}
    result.update(out=found.place, history=found.history)
    command.print_result(result, f"{found.place}: {_figures_text(weights.figures)}", as_json)


def evaluate(
    model: Annotated[str, typer.Argument(help="A .keras file, path or URL.")],
    data: Annotated[str, typer.Option(help="Held-out pictures, test.npz.")],
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out pictures, in all and for each label."""
    from cloud_train.training import evaluation

    with tempfile.TemporaryDirectory() as work:
        found = evaluation.evaluate(model, data, Path(work))
    command.print_result({"ok": True, **found.to_json()}, found.to_text(), as_json)


def _bar(client: str, pictures: int) -> AbstractContextManager[Advance]:
    return progress(f"training on {client}", pictures, "pictures")


@contextmanager
def _steps_meter(client: str, pictures: int) -> Iterator[Advance]:
    # For the program that started this one: how far it is, one JSON object a line.
    yield lambda done: print(json.dumps({"examples_done": done}), flush=True)


def _print_pass(figures: dict[str, float]) -> None:
    print(f"pass {figures['pass']:.0f}: {_figures_text(figures)}", file=sys.stderr, flush=True)


def _print_nothing(figures: dict[str, float]) -> None:
    """Say nothing: the program that listens wants the result only."""


def _figures_text(figures: dict[str, float]) -> str:
    text = f"loss {figures['loss']:.4f}, accuracy {figures['accuracy']:.4f}"
    if "validation_loss" in figures:
        text += f"; held out: loss {figures['validation_loss']:.4f}"
        text += f", accuracy {figures['validation_accuracy']:.4f}"
    return text
