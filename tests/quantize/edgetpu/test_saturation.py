"""How much of a model's activations the template's ranges cut off."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu.requantize import requantize
from quantize.edgetpu.saturation import (
    MAX_SATURATED,
    Saturation,
    measure_saturation,
    require_unsaturated,
)
from quantize.runtime import trace
from tests.quantize.edgetpu.small_models import SAMPLES, float_file, int8_file, layer, parse, with_scale


def measure(template: bytes, new: bytes, samples=SAMPLES, advance=lambda amount: None):
    return measure_saturation(requantize(template, new, "new").paired, new, samples, advance)


def test_a_model_fits_into_its_own_ranges():
    """They came from the same samples; every activation is told, the input first, each sample counted."""
    done = []
    found = measure(int8_file(1), float_file(1), advance=done.append)
    assert max(one.share for one in found) == 0
    assert len(done) == len(SAMPLES)
    assert found[0].low == 0 and found[0].high == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("number", [0, 1])
def test_the_share_is_that_of_the_values_beyond_the_range(number):
    """Counted a second time, from the float model's own activations: ReLU6's, and some of both signs."""
    model = parse(int8_file(1))
    out = layer(model, "CONV_2D", number).outputs[0]
    template = with_scale(int8_file(1), out, 0.5)
    found = next(one for one in measure(template, float_file(1)) if one.tensor == out.name)
    scale = out.scales[0] / 2
    low, high = (-128 - out.zero_point) * scale, (127 - out.zero_point) * scale
    assert (found.low, found.high) == pytest.approx((low, high))
    twin = layer(parse(float_file(1)), "CONV_2D", number).outputs[0].index
    values = np.stack([seen[twin] for seen in trace(float_file(1), SAMPLES, [twin])])
    beyond = (values < low - scale / 2) | (values > high + scale / 2)
    assert 0 < beyond.mean() < 1 and found.share == beyond.mean()


def test_a_softmax_is_not_looked_at():
    """Its range ends at 255/256 for every model."""
    names = [one.tensor for one in measure(int8_file(1), float_file(1))]
    assert layer(parse(int8_file(1)), "SOFTMAX").inputs[0].name in names
    assert layer(parse(int8_file(1)), "SOFTMAX").outputs[0].name not in names


def test_too_much_is_refused():
    """The worst tensor is named, with its share and the range."""
    fine = Saturation("conv/Relu6", 0, 6, MAX_SATURATED)
    require_unsaturated([fine], "new.keras")
    worse = Saturation("logits/BiasAdd", -2.5, 2.5, 0.034)
    with pytest.raises(GateNotMet, match=r"3.40% of logits/BiasAdd .* -2.5 to 2.5, at most 1%") as refusal:
        require_unsaturated([fine, worse], "new.keras")
    assert "real compile" in refusal.value.hint
