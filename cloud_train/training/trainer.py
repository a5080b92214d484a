"""Trains one model on one computer, and measures one. TensorFlow is imported here."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cloud_train import backend
from cloud_train.data.samples import BadSamples, Samples
from cloud_train.training.models import build_model, load_model, model_with, put_weights
from cloud_train.training.recipe import Recipe
from cloud_train.training.weights import Architecture, Weights
from host_cli.errors import Failed, WrongUsage

Advance = Callable[[float], None]

# Steps that TensorFlow takes between two looks at Python: fewer cost time, more make the progress jumpy.
STEPS_PER_CALL = 20
EVALUATION_BATCH_SIZE = 500
PIXEL_MAX = 255.0
# Measuring needs none, but Keras compiles nothing without.
UNUSED_OPTIMIZER = "sgd"
FIGURE_DIGITS = 6


def fit(
    samples: Samples, start: Weights, recipe: Recipe, *, epochs: int, client: str, advance: Advance
) -> Weights:
    """Train from `start` and return the shard update.

    A pass depends on nothing but the weights, the recipe and the number of passes before it: Adam starts
    afresh, shuffle and learning rate follow from that number. So two calls of one epoch give what one call
    of two gives, and a run can be continued from its weights alone.

    Args:
        samples: x (N, height, width, channels) uint8, y (N,) int64, as the architecture of `start` says.
        start: where training begins.
        recipe: hyperparameters.
        epochs: passes over `samples`, at least 1.
        client: who trains; names the update.
        advance: called with the number of pictures done since the last call.

    Raises:
        Failed: the loss or a weight is no longer a number.
    """
    keras = backend.keras()
    started = time.monotonic()
    keras.utils.set_random_seed(recipe.seed)
    model = model_with(start, client)
    optimizer = keras.optimizers.Adam(learning_rate=recipe.learning_rate)
    _compile(model, optimizer)
    loss = math.nan
    for passes in range(start.passes, start.passes + epochs):
        _restart(optimizer, recipe.learning_rate_of(passes))
        batches = _batches(samples, recipe, passes)
        history = model.fit(batches, shuffle=False, verbose=0, callbacks=[_meter(samples, recipe, advance)])
        loss = float(history.history["loss"][-1])
        _check_finite(loss, model, client)
    return Weights(
        architecture=start.architecture,
        client=client,
        num_examples=len(samples.y),
        passes=start.passes + epochs,
        tensors=tuple(model.get_weights()),
        figures={"loss": loss, "seconds": round(time.monotonic() - started, 3)},
    )


class Examiner:
    """Measures weights on held-out samples; weights of one architecture share one Keras model."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._models: dict[Architecture, Any] = {}

    def measure(self, weights: Weights, where: str) -> dict[str, float]:
        """Return accuracy (0 to 1) and loss (mean cross-entropy in nats); `where` names the weights."""
        model = self._models.get(weights.architecture)
        if model is None:
            model = self._models[weights.architecture] = build_model(weights.architecture)
            _compile(model, UNUSED_OPTIMIZER)
        put_weights(model, weights, where)
        return _measure(model, self._samples)


def evaluate_file(path: Path, samples: Samples, data: Path) -> dict[str, float]:
    """Return accuracy and loss of a `.keras` file.

    Raises:
        WrongUsage: the file is no such model, or the samples are not for it.
    """
    model = load_model(path)
    try:
        samples.check_fits(model.input_shape[1:], model.output_shape[1])
    except BadSamples as error:
        raise WrongUsage(
            str(error), str(data), "give the test.npz of the data the model learned from"
        ) from error
    _compile(model, UNUSED_OPTIMIZER)
    return _measure(model, samples)


def _measure(model: Any, samples: Samples) -> dict[str, float]:
    pixels = samples.x.astype(np.float32) / PIXEL_MAX  # (N, height, width, channels), 0 to 1
    found = model.evaluate(pixels, samples.y, batch_size=EVALUATION_BATCH_SIZE, verbose=0, return_dict=True)
    return {name: round(float(found[name]), FIGURE_DIGITS) for name in ("accuracy", "loss")}


def _compile(model: Any, optimizer: Any) -> None:
    model.compile(
        optimizer=optimizer,
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=STEPS_PER_CALL,
    )


def _restart(optimizer: Any, learning_rate: float) -> None:
    for variable in optimizer.variables:  # step counter and moments
        variable.assign(np.zeros(variable.shape))
    optimizer.learning_rate.assign(learning_rate)


def _batches(samples: Samples, recipe: Recipe, passes: int) -> Any:
    # Pixels stay uint8 until a batch needs them: 60,000 pictures as float32 would be 188 MB.
    import tensorflow as tf

    order = np.random.default_rng((recipe.seed, passes)).permutation(len(samples.y))
    shuffled = tf.data.Dataset.from_tensor_slices((samples.x[order], samples.y[order]))
    return shuffled.batch(recipe.batch_size).map(_scale).prefetch(tf.data.AUTOTUNE)


def _scale(pixels: Any, labels: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    return tf.cast(pixels, tf.float32) / PIXEL_MAX, labels


def _meter(samples: Samples, recipe: Recipe, advance: Advance) -> Any:
    # Counts the pictures of one pass; the last batch may be short.

    class Meter(backend.keras().callbacks.Callback):  # type: ignore[misc]
        """Tells the caller how many pictures are done."""

        done = 0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            now = min(len(samples.y), (batch + 1) * recipe.batch_size)
            advance(now - self.done)
            self.done = now

    return Meter()


def _check_finite(loss: float, model: Any, client: str) -> None:
    # ReLU6 makes a number of a NaN, so a model of NaNs may have a loss.
    if not math.isfinite(loss):
        raise Failed(f"the loss became {loss}", client, "a smaller --learning-rate")
    if not all(np.isfinite(tensor).all() for tensor in model.get_weights()):
        raise Failed("the weights are no longer numbers", client, "a smaller --learning-rate")
