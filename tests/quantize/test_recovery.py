"""What happens when int8 loses too much."""

import dataclasses

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.conversion import make_int8
from quantize.measurement import measure, measure_layers
from quantize.recovery import recover
from quantize.sources import load_sources

LARGEST_FACTOR = 5


@pytest.fixture(scope="module")
def uneven(job):
    """The trained model with channels of very different size, which changes nothing for float."""
    sources = load_sources(dataclasses.replace(job, calibration_samples=100))
    chance = np.random.default_rng(1)
    layers = [layer for layer in sources.model.layers if layer.get_weights()]
    for first, second in ((layers[0], layers[1]), (layers[1], layers[2]), (layers[3], layers[4])):
        weights, bias = first.get_weights()
        factors = 2.0 ** chance.uniform(-LARGEST_FACTOR, LARGEST_FACTOR, len(bias)).astype(np.float32)
        first.set_weights([weights * factors, bias * factors])
        weights, bias = second.get_weights()
        second.set_weights([weights / factors[:, np.newaxis], bias])
    converted = make_int8(job, sources)
    return sources, converted, measure(sources, converted.content)


def test_a_remedy_is_taken_that_passes_the_gate(job, uneven, capsys):
    """What was tried is told as it is tried, and stays with the model for the recipe."""
    sources, converted, measured = uneven
    assert measured.accuracy.drop > 0.05
    found, again = recover(job, sources, converted, measured)
    assert again.accuracy.drop < 0.01 and found.content != converted.content
    assert found.remedies == ("cross-layer equalization",)
    assert "trying remedies" in capsys.readouterr().err


def test_a_remedied_model_is_measured_against_its_own_float_form(job, uneven):
    """Its channels are not those of the model that was loaded."""
    sources, converted, measured = uneven
    found, _ = recover(job, sources, converted, measured)
    before = max(one.added_noise for one in measure_layers(sources, converted, "model.keras"))
    after = max(one.added_noise for one in measure_layers(sources, found, "model.keras"))
    assert after < before / 10


def test_without_a_remedy_the_worst_layers_are_named(job, uneven, capsys):
    """The error says where it is lost and what to try."""
    sources, converted, measured = uneven
    strict = dataclasses.replace(job, max_drop=-1.0)
    with pytest.raises(GateNotMet, match="accuracy fell") as error:
        recover(strict, sources, converted, measured)
    # Each remedy that was tried, with the accuracy it gave.
    assert "\nbias correction: 0." in capsys.readouterr().err
    worst = measure_layers(sources, converted, "model.keras")[0]
    assert f"most is lost in {worst.layer}" in error.value.where and "dB" in error.value.where


def test_a_good_model_is_left_alone(job, uneven):
    """No gate, no remedy."""
    _, converted, measured = uneven
    found, again = recover(dataclasses.replace(job, max_drop=1.0, max_class_drop=1.0), *uneven)
    assert found is converted and again is measured
