"""Corrects the biases of an int8 model by the mean error of each channel, in the file itself.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section
4.2; here with the calibration samples in place of assumed distributions.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quantize.convert.layer_error import pair_operators, to_real_values
from quantize.runtime import Array, trace
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Tensor, TfliteModel

_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_BIAS = 2
_INT32 = np.iinfo(np.int32)

Means = NDArray[np.float64]


def correct_biases(
    int8: bytes, float32: bytes, inputs: tuple[Array, Array], advance: Callable[[float], None]
) -> bytes:
    """Shift each bias so that the mean of each output channel is what it is in float32.

    Goes from the first layer to the last, since each changes what the next ones see: one run over the samples
    per layer. The file keeps its size, its scales and its operators. Memory: one picture's activations.

    Args:
        int8: the file that `ptq.convert` made.
        float32: what `ptq.convert_float` made of the same prepared model.
        inputs: the same calibration samples for each file, (N, H, W, C) in its input's dtype.
        advance: told of every layer, as its share of 1.

    Raises:
        Failed: the interpreter refuses a model.
    """
    graph = parse_tflite(int8, "int8 model")
    biases = _locate_biases(int8, graph)
    pairs = pair_operators(graph, parse_tflite(float32, "float model"))
    chosen = [(one, other.outputs[0]) for one, other in pairs if one.index in biases]
    expected = _channel_means(float32, inputs[1], [tensor for _, tensor in chosen])
    content = bytearray(int8)
    for (operator, _), wanted in zip(chosen, expected, strict=True):
        (seen,) = _channel_means(bytes(content), inputs[0], operator.outputs[:1])
        offset, bias = biases[operator.index]
        shifted = _shift(bias, wanted - seen)
        content[offset : offset + len(shifted)] = shifted
        advance(1 / len(chosen))
    return bytes(content)


def _locate_biases(content: bytes, graph: TfliteModel) -> Mapping[int, tuple[int, Tensor]]:
    """Return each operator's bias and its place in the file, by the operator's index; none that is shared."""
    start = np.frombuffer(content, np.uint8).ctypes.data
    places = Counter(tensor.data.ctypes.data for tensor in graph.tensors if tensor.data is not None)
    readers = Counter(tensor.index for operator in graph.operators for tensor in operator.present)
    found = {}
    for operator in graph.operators:
        bias = (
            operator.inputs[_BIAS] if operator.name in _WITH_BIAS and len(operator.inputs) > _BIAS else None
        )
        if bias is None or bias.data is None or bias.dtype != "INT32":
            continue
        if places[bias.data.ctypes.data] == readers[bias.index] == 1:
            found[operator.index] = bias.data.ctypes.data - start, bias
    return found


def _channel_means(content: bytes, inputs: Array, tensors: Sequence[Tensor]) -> list[Means]:
    sums = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    for seen in trace(content, inputs, [tensor.index for tensor in tensors]):
        for total, tensor in zip(sums, tensors, strict=True):
            real = to_real_values(seen[tensor.index], tensor)
            total += real.reshape(-1, tensor.shape[-1]).mean(axis=0)
    return [total / len(inputs) for total in sums]


def _shift(bias: Tensor, error: Means) -> bytes:
    """Return the bias with the error added, in its own units: input scale times weight scale."""
    assert bias.data is not None
    shifted = bias.data.view("<i4") + np.round(error / np.asarray(bias.scales))
    return bytes(np.clip(shifted, _INT32.min, _INT32.max).astype("<i4").tobytes())
