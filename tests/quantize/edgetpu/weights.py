"""Makes models with other weights out of recorded ones, and reads weights back out of compiled files."""

import struct

import numpy as np

from quantize.tflite_file import parse_tflite
from quantize.tflite_model import Operator, Tensor

LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def with_other_weights(original: bytes, seed: int = 1, only: "set[int] | None" = None) -> bytes:
    """Change every weight and bias, and every scale that may move; `only` names the operators."""
    chance = np.random.default_rng(seed)
    content = bytearray(original)
    for operator in parse_tflite(original, "original").operators:
        if operator.name in LAYERS and (only is None or operator.index in only):
            _change_layer(content, operator, chance)
    return bytes(content)


def _change_layer(content: bytearray, operator: Operator, chance: np.random.Generator) -> None:
    weights, bias = operator.inputs[1], operator.inputs[2] if len(operator.inputs) > 2 else None
    write(content, weights, chance.integers(0, 256, weights.data.size, np.uint8))
    if bias is not None and bias.data.any():
        write(content, bias, chance.integers(-9999, 9999, bias.elements, np.int32))
    if len(set(weights.scales)) > 1:
        scales = np.array(weights.scales, np.float32) * chance.uniform(0.5, 2, len(weights.scales))
        scales = scales.astype(np.float32)
        write_scales(content, weights, scales)
        if bias is not None:
            write_scales(content, bias, np.float32(operator.inputs[0].scales[0]) * scales)


def write(content: bytearray, tensor: Tensor, values: np.ndarray) -> None:
    content[tensor.data_start : tensor.data_start + tensor.data.size] = values.tobytes()


def write_scales(content: bytearray, tensor: Tensor, scales: np.ndarray) -> None:
    content[tensor.scales_start : tensor.scales_start + 4 * len(scales)] = scales.astype("<f4").tobytes()


class LayerDecoder:
    """Reads one layer out of a compiled file by arithmetic on places, one value at a time."""

    def __init__(self, content: bytes, start: int, operator: Operator) -> None:
        self._content, self._start, self._operator = content, start, operator
        weights = operator.inputs[1]
        self.depthwise = operator.name == "DEPTHWISE_CONV_2D"
        self.channels = weights.shape[-1] if self.depthwise else weights.shape[0]
        self.rows, self.columns = weights.shape[1:3] if len(weights.shape) == 4 else (1, 1)
        self.inputs = 4 if self.depthwise else -(-weights.shape[-1] // 4) * 4
        bias = operator.inputs[2] if len(operator.inputs) > 2 else None
        self.has_bias = bias is not None and bias.data is not None and bias.data.any()
        self.has_scales = len(weights.scales) > 1
        self.words = 2 * self.has_scales + self.has_bias
        self.group = 4 if self.depthwise else self._group_of_dense()

    def _group_of_dense(self) -> int:
        if self.channels > 64:
            return 64
        step = 4 if self.channels <= 4 and self._operator.name == "CONV_2D" else 16
        return (self.channels + step - 1) // step * step

    def _group_start(self, channel: int) -> int:
        per_channel = 4 * self.words + self.rows * self.columns * self.inputs
        return self._start + channel // self.group * self.group * per_channel

    def _word(self, channel: int, number: int, form: str) -> float:
        place = self._group_start(channel) + 4 * (number * self.group + channel % self.group)
        return struct.unpack_from(form, self._content, place)[0]

    def multiplier(self, channel: int) -> float:
        return self._word(channel, 0, "<f")

    def bias(self, channel: int) -> int:
        return int(self._word(channel, int(self.has_scales), "<i"))

    def weight(self, channel: int, row: int, column: int, entry: int) -> int:
        """Return a weight in the file's own dtype; `entry` is the input channel, 0 if depthwise."""
        if self.depthwise:
            entry = channel % 4
        tap = row * self.columns + column
        block = tap * (self.inputs // 4) + entry // 4
        place = self._group_start(channel) + 4 * self.words * self.group
        value = self._content[place + (block * self.group + channel % self.group) * 4 + entry % 4]
        return value - 128 if self._operator.inputs[1].dtype == "INT8" else value
