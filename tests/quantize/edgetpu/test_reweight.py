"""A float or int8 model into a recorded compiled file."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.convert.ptq import convert_float
from quantize.edgetpu.frozen import find_moved
from quantize.edgetpu.package import read_compiled
from quantize.edgetpu.requantize import requantize
from quantize.edgetpu.reweight import reweight_float, reweight_int8
from quantize.edgetpu.template import learn
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.dequantize import dequantize
from tests.quantize.edgetpu.small_models import SAMPLES, keras_model, parse
from tests.quantize.edgetpu.weights import LAYERS, with_other_weights

NETWORK, DENSE = "MobileNetV2_aug", "dense_512"


def files(name: str) -> tuple[bytes, bytes]:
    pair = next(pair for pair in pairs() if name in pair["compiled_file"])
    return (PAIRS / pair["original_file"]).read_bytes(), (PAIRS / pair["compiled_file"]).read_bytes()


def ignore(amount: float) -> None:
    pass


def with_noise(content: bytes, share: float) -> bytes:
    """A float file whose weights are each a little larger or smaller."""
    chance, changed = np.random.default_rng(4), bytearray(content)
    for operator in parse(content).operators:
        if operator.name in LAYERS:
            weights = operator.inputs[1]
            new = weights.data.view("<f4") * chance.uniform(1 - share, 1 + share, weights.elements)
            changed[weights.data_start : weights.data_start + weights.data.size] = new.astype("<f4").tobytes()
    return bytes(changed)


@pytest.fixture(scope="module")
def network():
    """A float model of a recorded architecture, other weights; what came of it; the pair."""
    original, compiled = files(NETWORK)
    template = learn(original, compiled, NETWORK)
    shape = template.model.inputs[0].shape
    samples = np.random.default_rng(0).uniform(size=(2, *shape[1:])).astype(np.float32)
    new = with_noise(dequantize(original), 0.02)
    return reweight_float(new, original, template, samples, "new", ignore), original, compiled


def test_a_float_model_becomes_a_compiled_one(network):
    """Many parameters are new, no frozen number has moved, and every activation was measured."""
    found, original, compiled = network
    assert find_moved(parse(original), parse(found.content)) == ()
    assert len(found.compiled) == len(compiled)
    assert 0.2 * found.parameter_bytes < found.changed_bytes < found.parameter_bytes
    assert len(found.saturation) > 60 and max(one.share for one in found.saturation) < 0.01
    assert found.clipped == () or found.clipped[0].layer.startswith("FULLY_CONNECTED")


def test_the_new_files_are_a_template_again(network):
    """All parameters of the new compiled file follow from the new original, and it has its own token."""
    found, _, compiled = network
    again = learn(found.content, found.compiled, "new")
    assert again.parameter_bytes == found.parameter_bytes
    old, new = (read_compiled(content, "file").executables for content in (compiled, found.compiled))
    assert {entry.token for entry in old if entry.token}.isdisjoint(entry.token for entry in new)


def test_every_recorded_original_survives_the_way_over_float():
    """Dequantized and requantized, no weight and no bias has changed, for any compiler's and both dtypes."""
    for original in {pair["original_file"]: None for pair in pairs()}:
        content = (PAIRS / original).read_bytes()
        again = parse(requantize(content, dequantize(content), original).content)
        for was, now in zip(parse(content).tensors, again.tensors, strict=True):
            assert np.allclose(was.scales, now.scales, rtol=1e-6, atol=0), original
            assert was.data is None or np.array_equal(was.data, now.data), (original, was.name)


def test_ranges_that_are_too_small_are_refused():
    """Random weights do not fit into what the template was calibrated for."""
    original, compiled = files(NETWORK)
    template = learn(original, compiled, NETWORK)
    samples = np.ones((1, *template.model.inputs[0].shape[1:]), np.float32)
    with pytest.raises(GateNotMet, match="lie outside of the template's"):
        reweight_float(dequantize(with_other_weights(original)), original, template, samples, "new", ignore)


def test_int8_weights_go_in_as_they_are():
    """Nothing is quantized again, nothing is measured."""
    original, compiled = files(DENSE)
    new = with_other_weights(original)
    found = reweight_int8(new, learn(original, compiled, DENSE), "new.tflite")
    assert found.content is new and found.saturation == ()
    assert 0 < found.changed_bytes <= found.parameter_bytes < len(found.compiled)


def test_a_keras_model_of_another_architecture_is_refused():
    """The first difference is named."""
    original, compiled = files(DENSE)
    with pytest.raises(GateNotMet, match="not the template's architecture"):
        template = learn(original, compiled, DENSE)
        reweight_float(convert_float(keras_model(1)), original, template, SAMPLES, "new.keras", ignore)
