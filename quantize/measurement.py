"""Measures a model before and after quantization, on samples that did not calibrate it."""

from dataclasses import dataclass

from host_cli.progress import progress
from quantize.accuracy import Comparison, compare
from quantize.conversion import Converted
from quantize.convert import ptq
from quantize.convert.equalization import equalize
from quantize.convert.layer_error import LayerError, measure_layer_errors
from quantize.convert.prepare import prepare
from quantize.convert.remedies import EQUALIZATION
from quantize.representative import deal_by_class
from quantize.runtime import Array, describe_tensors, prepare_pixels, run_model
from quantize.sources import Sources

# More pictures move a layer's figure by a fraction of a decibel.
LAYER_SAMPLES = 32


@dataclass(frozen=True)
class Measurement:
    """Float against int8, on N samples.

    `scores` are the float model's, (N, classes); `inputs` (N, H, W, C) and `outputs` (N, classes) are the
    int8 model's, in its own dtypes.
    """

    accuracy: Comparison
    scores: Array
    inputs: Array
    outputs: Array


def measure(sources: Sources, content: bytes) -> Measurement:
    """Score the float and the int8 model on the held-out samples.

    Raises:
        Failed: the interpreter refuses the int8 model.
    """
    rest = sources.rest
    with progress("measure the float model", len(rest.labels), "images") as advance:
        scores = ptq.predict_float(sources.model, rest.images, sources.card.preprocessing, advance)
    return measure_int8(sources, content, scores)


def measure_int8(sources: Sources, content: bytes, scores: Array) -> Measurement:
    """Score an int8 model on the held-out samples, against the scores of the float model.

    Raises:
        Failed: the interpreter refuses the int8 model.
    """
    rest = sources.rest
    inputs = prepare_pixels(rest.images, sources.card.preprocessing, describe_tensors(content)[0])
    with progress("measure the int8 model", len(rest.labels), "images") as advance:
        outputs = run_model(content, inputs, advance)
    return Measurement(compare(rest.labels, scores, outputs), scores, inputs, outputs)


def measure_layers(sources: Sources, converted: Converted, where: str) -> tuple[LayerError, ...]:
    """Compare the int8 model with its float form, operator by operator, on a few held-out samples.

    Raises:
        Failed: the converter or the interpreter gave up.
    """
    model = sources.model
    if EQUALIZATION in converted.remedies:
        model = equalize(model) or model
    float32 = ptq.convert_float(prepare(model, where).model)
    chosen = deal_by_class(sources.rest.labels, seed=0)[:LAYER_SAMPLES]
    pictures = sources.rest.images[chosen]
    with progress("measure layer by layer", len(pictures), "images") as advance:
        return measure_layer_errors(converted.content, float32, pictures, sources.card.preprocessing, advance)
