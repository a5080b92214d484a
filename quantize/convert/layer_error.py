"""Measures where an int8 model goes wrong: layer by layer, against the same graph in float32."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from contract.artifacts import Preprocessing
from quantize.check.layers import name_layers, tell_places
from quantize.data import Pixels
from quantize.runtime import Array, describe_tensors, prepare_pixels, trace
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Operator, Tensor, TfliteModel

# An answer without any error, or without any signal, has no finite ratio.
LIMIT_DB = 99.0
# They change how a value is written, not the value; the float graph has none.
_BORDER_OPS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class LayerError:
    """How much of one operator's output is error, as a signal-to-quantization-noise ratio.

    `sqnr_db` is 10 log10(mean square of the float output / mean square of the difference), -99 to 99: 40 is
    good, below 10 little is left. `input_sqnr_db` is that of its worst input: the layer itself lost the
    difference. `index` is the operator's place in the int8 file.
    """

    index: int
    op: str
    layer: str
    sqnr_db: float
    input_sqnr_db: float

    @property
    def added_noise(self) -> float:
        """Return the noise that this operator added, in parts of its signal."""
        return float(10 ** (-self.sqnr_db / 10) - 10 ** (-self.input_sqnr_db / 10))

    def __str__(self) -> str:
        return f"{self.layer} ({self.op}): {self.sqnr_db:.1f} dB, its input {self.input_sqnr_db:.1f} dB"


def measure_layer_errors(
    int8: bytes,
    float32: bytes,
    pictures: Pixels,
    preprocessing: Preprocessing,
    advance: Callable[[float], None],
) -> tuple[LayerError, ...]:
    """Compare the operators of an int8 model with those of the same graph in float32.

    Takes as long as running both models; a few dozen held-out pictures suffice. Memory: one picture's
    activations.

    Args:
        int8: the file that `ptq.convert` made.
        float32: what `ptq.convert_float` made of the same prepared model.
        pictures: (N, H, W, C) uint8, N at least 1.
        preprocessing: what the model expects.
        advance: told of every picture that is done.

    Returns:
        Every operator that both graphs have, the one that adds the most noise first.

    Raises:
        Failed: the interpreter refuses a model.
    """
    graphs = parse_tflite(int8, "int8 model"), parse_tflite(float32, "float model")
    pairs = pair_operators(*graphs)
    ratios = _measure_ratios((int8, float32), pairs, pictures, preprocessing, advance)
    return tuple(sorted(_rows(graphs[0], ratios), key=lambda row: row.added_noise, reverse=True))


def pair_operators(int8: TfliteModel, float32: TfliteModel) -> tuple[tuple[Operator, Operator], ...]:
    """Pair the operators of two conversions of one model: same order, kind and output shapes."""
    sides = [[one for one in graph.operators if one.name not in _BORDER_OPS] for graph in (int8, float32)]
    keys = [[(one.name, tuple(t.shape for t in one.outputs)) for one in side] for side in sides]
    blocks = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False).get_matching_blocks()
    return tuple((sides[0][b.a + n], sides[1][b.b + n]) for b in blocks for n in range(b.size))


def to_real_values(numbers: Array, tensor: Tensor) -> Array:
    """Return what the numbers of a tensor, quantized as a whole or not at all, stand for; float64."""
    real = numbers.astype(np.float64)
    return (real - tensor.zero_point) * tensor.scales[0] if tensor.scales else real


def _measure_ratios(
    contents: tuple[bytes, bytes],
    pairs: tuple[tuple[Operator, Operator], ...],
    pictures: Pixels,
    preprocessing: Preprocessing,
    advance: Callable[[float], None],
) -> Mapping[int, float]:
    """Return the ratio in dB of each paired output, by its index in the int8 file."""
    tensors = [both for one, other in pairs for both in zip(one.outputs, other.outputs, strict=True)]
    power = np.zeros((len(tensors), 2))
    inputs = [prepare_pixels(pictures, preprocessing, describe_tensors(each)[0]) for each in contents]
    traces = (
        trace(content, entry, [pair[side].index for pair in tensors])
        for side, (content, entry) in enumerate(zip(contents, inputs, strict=True))
    )
    for seen, expected in zip(*traces, strict=True):
        for number, (left, right) in enumerate(tensors):
            wanted = to_real_values(expected[right.index], right)
            noise = to_real_values(seen[left.index], left) - wanted
            power[number] += np.square(wanted).sum(), np.square(noise).sum()
        advance(1)
    tiny = np.finfo(np.float64).tiny
    ratios = 10 * np.log10(np.maximum(power[:, 0], tiny) / np.maximum(power[:, 1], tiny))
    limited = np.clip(ratios, -LIMIT_DB, LIMIT_DB).tolist()
    return {left.index: ratio for (left, _), ratio in zip(tensors, limited, strict=True)}


def _rows(graph: TfliteModel, ratios: Mapping[int, float]) -> Iterator[LayerError]:
    known = dict(ratios)
    places = tell_places(graph.operators, name_layers(graph))
    for operator, place in zip(graph.operators, places, strict=True):
        before = min((known.get(tensor.index, LIMIT_DB) for tensor in operator.present), default=LIMIT_DB)
        for tensor in operator.outputs:
            known.setdefault(tensor.index, before)
        if operator.outputs and operator.outputs[0].index in ratios:
            after = min(ratios[tensor.index] for tensor in operator.outputs)
            yield LayerError(operator.index, operator.name, place, after, before)
