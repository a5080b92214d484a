"""Biases corrected in the file."""

import numpy as np

from quantize.convert.bias_correction import _channel_means, correct_biases
from quantize.convert.ptq import to_real
from quantize.tflite_file import parse_tflite
from tests.quantize.convert.conftest import PREPROCESSING


def test_channels_get_the_mean_that_they_have_in_float(int8_and_float, calibration):
    """In the first layer, whose input is the same; nothing but biases changes."""
    int8, float32 = int8_and_float
    done = []
    inputs = calibration, to_real(calibration, PREPROCESSING)
    corrected = correct_biases(int8, float32, inputs, done.append)
    before, after = parse_tflite(int8, "before"), parse_tflite(corrected, "after")
    biases = [one.inputs[2].index for one in after.operators if len(one.inputs) > 2 and one.inputs[2]]
    changed = [
        one.index
        for one, other in zip(before.tensors, after.tensors, strict=True)
        if one.data is not None and (one.data != other.data).any()
    ]
    assert before.operators == after.operators and len(corrected) == len(int8)
    assert changed and set(changed) <= set(biases) and abs(sum(done) - 1) < 1e-6

    layer = next(one for one in after.operators if one.name == "CONV_2D")
    wanted_layer = next(one for one in parse_tflite(float32, "float").operators if one.name == "CONV_2D")
    (wanted,) = _channel_means(float32, inputs[1], wanted_layer.outputs)
    errors = [
        np.abs(_channel_means(each, calibration, layer.outputs)[0] - wanted).sum()
        for each in (int8, corrected)
    ]
    assert errors[1] < errors[0] / 2


def test_a_bias_that_two_operators_share_stays(int8_and_float, monkeypatch):
    """Correcting one of them would spoil the other."""
    from quantize.convert import bias_correction

    int8, _ = int8_and_float
    graph = parse_tflite(int8, "int8")
    weighted = [one for one in graph.operators if one.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert set(bias_correction._locate_biases(int8, graph)) == {one.index for one in weighted}
    twice = type(graph)(
        graph.tensors, (*graph.operators, weighted[0]), graph.inputs, graph.outputs, graph.opcodes
    )
    assert set(bias_correction._locate_biases(int8, twice)) == {one.index for one in weighted[1:]}
