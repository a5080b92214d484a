"""New float weights at the scales of an int8 model."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet, WrongUsage
from quantize.edgetpu.frozen import find_moved
from quantize.edgetpu.numbers import numbers_of
from quantize.edgetpu.requantize import requantize
from quantize.runtime import run_model
from tests.quantize.edgetpu.small_models import (
    SAMPLES,
    float_file,
    int8_file,
    layer,
    overwrite,
    parse,
    with_scale,
    with_shared_bytes,
)

PICTURES = (SAMPLES * 255).astype(np.uint8)


def test_the_same_weights_give_the_same_file():
    """Byte for byte what the converter wrote: convolution, depthwise, dense, biases and scales."""
    found = requantize(int8_file(1), float_file(1), "new")
    assert found.content == int8_file(1)
    assert found.clipped == ()


def test_other_weights_move_nothing_else():
    """The file keeps its length and every frozen number, and answers like the other model."""
    found = requantize(int8_file(1), float_file(3), "new")
    assert len(found.content) == len(int8_file(1)) and found.content != int8_file(1)
    assert find_moved(parse(int8_file(1)), parse(found.content)) == ()
    answers = run_model(found.content, PICTURES) / 256
    real = run_model(float_file(3), SAMPLES)
    other = run_model(float_file(1), SAMPLES)
    assert np.abs(answers - real).mean() < 0.1 * np.abs(answers - other).mean()


def test_channels_get_the_scales_of_the_converter():
    """They depend on the weights alone, so that an ordinary conversion has the same."""
    found, ordinary = parse(requantize(int8_file(1), float_file(2), "new").content), parse(int8_file(2))
    for name, number in (("CONV_2D", 0), ("CONV_2D", 1), ("DEPTHWISE_CONV_2D", 0)):
        one, other = (layer(model, name, number).inputs[1] for model in (found, ordinary))
        assert one.scales == other.scales
        assert np.array_equal(one.data, other.data)


def test_weights_beyond_a_frozen_scale_are_clipped_and_counted():
    """A single scale stays, also if it is too small for the new weights."""
    dense = layer(parse(int8_file(1)), "FULLY_CONNECTED")
    bias_scale = np.float32(dense.inputs[2].scales[0]) / 2
    template = with_scale(int8_file(1), dense.inputs[1], 0.5)
    template = overwrite(template, dense.inputs[2].scales_start, bias_scale.tobytes())
    found = requantize(template, float_file(1), "new")
    numbers = numbers_of(layer(parse(found.content), "FULLY_CONNECTED").inputs[1])
    assert (numbers.min(), numbers.max()) == (-127, 127)
    (clipped,) = found.clipped
    assert clipped.layer.startswith("FULLY_CONNECTED") and clipped.weights == numbers.size
    assert 0 < clipped.clipped <= np.count_nonzero(np.abs(numbers) == 127)


def test_another_architecture_is_refused():
    """One class more is another graph."""
    with pytest.raises(GateNotMet, match="not the template's architecture: shape of") as refusal:
        requantize(int8_file(1), float_file(1, units=5), "new.keras")
    assert refusal.value.where == "new.keras" and "real compile" in refusal.value.hint


def test_another_activation_is_refused():
    """ReLU is not ReLU6: options decide what is computed."""
    with pytest.raises(GateNotMet, match="FusedActivationFunction of CONV_2D"):
        requantize(int8_file(1), float_file(1, activation="relu"), "new")


def test_another_constant_is_refused():
    """A factor that is no weight lies in the instructions."""
    with pytest.raises(GateNotMet, match=r"constant .*its values"):
        requantize(int8_file(1), float_file(1, factor=3.0), "new")


def test_two_layers_with_one_place_are_refused():
    """Only one of them could have its new bias there."""
    model = parse(int8_file(1))
    biases = [layer(model, name).inputs[2] for name in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    with pytest.raises(GateNotMet, match="no place of its own"):
        requantize(with_shared_bytes(int8_file(1), *biases), float_file(2), "new")


def test_a_bias_that_does_not_fit_is_refused():
    """int32 steps of a frozen scale end somewhere."""
    dense = layer(parse(float_file(1)), "FULLY_CONNECTED").inputs[2]
    new = overwrite(float_file(1), dense.data_start, np.float32(1e9).tobytes())
    with pytest.raises(GateNotMet, match="does not fit into int32"):
        requantize(int8_file(1), new, "new")


def test_weights_that_are_no_numbers_are_refused():
    """A training that diverged."""
    weights = layer(parse(float_file(1)), "CONV_2D").inputs[1]
    new = overwrite(float_file(1), weights.data_start, np.float32(np.nan).tobytes())
    with pytest.raises(WrongUsage, match="not finite"):
        requantize(int8_file(1), new, "new")


def test_an_int8_file_has_no_float_weights():
    """It is not requantized once more."""
    with pytest.raises(WrongUsage, match="no float32 weights"):
        requantize(int8_file(1), int8_file(2), "new")
