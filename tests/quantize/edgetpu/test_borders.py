"""Telling the original of a compiled file from one that only looks like it."""

from dataclasses import replace

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu.borders import operators_within, require_same_borders
from quantize.edgetpu.package import read_compiled
from quantize.edgetpu.template import learn, survey
from quantize.tflite_file import parse_tflite
from quantize.tflite_model import TfliteModel
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.test_template import PER_CHANNEL, WITH_HOST, files, learned
from tests.quantize.edgetpu.weights import write_scales
from tests.quantize.graphs import chain

COLOURS = "color_red_64x64"


def test_all_recorded_pairs_belong_together():
    """Shapes, dtypes, scales and zero points at every border are the original's."""
    for pair in pairs():
        original, compiled = ((PAIRS / pair[key]).read_bytes() for key in ("original_file", "compiled_file"))
        model, target = parse_tflite(original, "o"), read_compiled(compiled, "c")
        require_same_borders(model, target, "pair")
        assert operators_within(model, target) == model.operators


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_refuses_to_learn_from_an_original_of_another_calibration(end):
    """Layers with one scale and no bias have the same parameters, whatever the scales around them."""
    original, compiled = files(COLOURS)
    content = bytearray(original)
    write_scales(content, getattr(parse_tflite(original, "o"), end)[0], np.array([0.5]))
    assert not survey(bytes(content), compiled, "pair").missing
    with pytest.raises(GateNotMet, match="inputs and outputs"):
        learn(bytes(content), compiled, "pair")


def test_refuses_to_learn_from_an_original_for_other_pictures():
    """The same filters for larger pictures have the same parameters, and another program."""
    original, compiled = files("gabor_64x64")[0], files("gabor_128x128")[1]
    assert not survey(original, compiled, "pair").missing
    with pytest.raises(GateNotMet, match="inputs and outputs"):
        learn(original, compiled, "pair")


def test_takes_a_shape_that_the_compiler_filled_in():
    """Old converters leave the shapes of a custom operator's outputs to the runtime."""
    template = learned(WITH_HOST)[2]
    output = template.model.outputs[0]
    for silent in (replace(output, shape=()), replace(output, shape=(1, 1), signature=(1, -1))):
        model = replace(template.model, outputs=(silent,))
        require_same_borders(model, template.compiled, "pair")
    for outputs in ((output, output), (replace(output, shape=(1, 1)),)):
        with pytest.raises(GateNotMet):
            require_same_borders(replace(model, outputs=outputs), template.compiled, "pair")


def test_refuses_another_scale_where_the_cpu_takes_over():
    """What the Edge TPU hands to the CPU is compared as well."""
    original, compiled, template = learned(WITH_HOST)
    handed = template.compiled.packages[0].operator.outputs[0]
    content = bytearray(original)
    write_scales(content, next(t for t in template.model.tensors if t.name == handed.name), np.array([0.5]))
    with pytest.raises(GateNotMet, match="border"):
        learn(bytes(content), compiled, "pair")


def part(model: TfliteModel, first: int, last: int) -> TfliteModel:
    return replace(model, inputs=model.operators[first].present[:1], outputs=model.operators[last].outputs)


def test_a_segment_of_a_pipeline_has_its_own_operators():
    """Of a file that computes the middle of a model, only the middle is asked for; it is no template."""
    template = learned(PER_CHANNEL)[2]
    segment = replace(template.compiled, graph=part(template.model, 3, 5))
    assert operators_within(template.model, segment) == template.model.operators[3:6]
    with pytest.raises(GateNotMet, match="inputs and outputs"):
        require_same_borders(template.model, segment, "segment")


def test_all_operators_count_where_names_do_not_tell():
    """A compiled file with names of its own is asked for everything."""
    model = chain("RELU", "TANH")
    other = replace(learned(PER_CHANNEL)[2].compiled, graph=chain("RELU"))
    assert operators_within(model, other) == model.operators


def test_the_layers_of_a_file_that_is_no_template_can_be_counted():
    """All layers come out byte for byte, though a signed file is not to be rewritten."""
    from tests.quantize.edgetpu.test_package import signed

    original, compiled = files("dense_256")
    found = survey(original, signed(compiled), "pair")
    assert (len(found.places), found.missing) == (1, ())
