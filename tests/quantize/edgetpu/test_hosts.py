"""Constants of the operators that the compiler left to the CPU."""

from dataclasses import replace

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu.hosts import HostConstant, find_host_constants, match_hosts
from quantize.edgetpu.package import read_compiled
from quantize.edgetpu.template import learn, rewrite
from quantize.tflite_file import parse_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.test_template import PER_CHANNEL, WITH_HOST, change, learned, refusal
from tests.quantize.edgetpu.weights import with_other_weights


def test_finds_what_the_compiler_left_to_the_cpu():
    """The operators are those that were recorded as running on the CPU."""
    for pair in pairs():
        original, compiled = ((PAIRS / pair[key]).read_bytes() for key in ("original_file", "compiled_file"))
        hosts = match_hosts(parse_tflite(original, "o"), read_compiled(compiled, "c"), "pair")
        assert sorted(hosts) == [entry["i"] for entry in pair["ops"] if entry["on"] == "cpu"]


def test_writes_the_weights_of_layers_on_the_cpu_too():
    """What the compiler left to the CPU is new in the new file, or the two halves would not fit."""
    original, _, template = learned(WITH_HOST)
    new = with_other_weights(original)
    host = {operator.tensor: operator for operator in parse_tflite(new, "new").operators}
    written = parse_tflite(rewrite(template, new, "new").content, "written")
    convolutions = [operator for operator in written.operators if operator.name == "CONV_2D"]
    assert len(convolutions) == 2
    for operator in convolutions:
        for copy, source in zip(operator.inputs[1:], host[operator.tensor].inputs[1:], strict=True):
            assert np.array_equal(copy.data, source.data) and copy.scales == source.scales


def test_writes_the_scales_of_layers_on_the_cpu_too():
    """A CPU layer with a scale for each channel gets the new ones: made, since no recorded file has one."""
    original, _, template = learned(PER_CHANNEL)
    first = template.places[0].operator
    weights = template.model.operators[first].inputs[1]
    copy = replace(weights, data_start=5000, scales_start=9000)
    host = replace(template, host_constants=(HostConstant(first, 1, copy),))
    new = with_other_weights(original)
    expected = parse_tflite(new, "new").operators[first].inputs[1]
    content = rewrite(host, new, "new").content
    assert content[5000 : 5000 + weights.data.size] == expected.data.tobytes()
    scales = np.frombuffer(content, "<f4", len(weights.scales), 9000)
    assert tuple(scales.tolist()) == expected.scales != weights.scales


def test_refuses_cpu_constants_that_shared_a_place():
    """What the compiler's file stores once cannot become two things: made, no recorded file is like that."""
    original, _, template = learned(PER_CHANNEL)
    layers = [
        place.operator for place in template.places if template.model.operators[place.operator].inputs[2]
    ]
    copies = [replace(template.model.operators[n].inputs[2], data_start=5000, scales=()) for n in layers]
    sizes = [copy.data.size for copy in copies]
    pair = [n for n, size in enumerate(sizes) if sizes.count(size) > 1 and size == sizes[3]][:2]
    hosts = tuple(HostConstant(layers[n], 2, copies[n]) for n in pair)
    shared = replace(template, host_constants=hosts)
    assert "share one place" in refusal(shared, with_other_weights(original))


def test_refuses_to_learn_if_a_cpu_constant_is_not_the_originals():
    """Constants outside the Edge TPU's part are compared as well."""
    original, compiled, template = learned(WITH_HOST)
    host = template.host_constants[0]
    other = change(original, host.operator, host.input, values=range(256))
    with pytest.raises(GateNotMet, match="constant"):
        learn(other, compiled, "pair")


def test_refuses_to_learn_if_a_cpu_layer_is_handed_its_weights():
    """Weights that the compiled file does not keep as a constant could not be written anew."""
    template = learned(WITH_HOST)[2]
    hosts = match_hosts(template.model, template.compiled, "pair")
    index, host = next((index, host) for index, host in hosts.items() if host.name == "CONV_2D")
    handed = replace(host, inputs=(host.inputs[0], replace(host.inputs[1], data=None), host.inputs[2]))
    assert len(list(find_host_constants(template.model, {index: host}, "pair"))) == 2
    for inputs in (handed.inputs, host.inputs[:2]):
        with pytest.raises(GateNotMet, match="constant"):
            list(find_host_constants(template.model, {index: replace(host, inputs=inputs)}, "pair"))
