"""Reading .tflite files: what is in them, and what happens when they are not what they say."""

import random
import struct
import time

import pytest
import tflite

from host_cli.errors import WrongUsage
from quantize.tflite_file import MAX_FILE_BYTES, load_tflite, parse_tflite


def test_tells_operators_tensors_and_quantization(int8_model):
    """A file's graph is read with its operators' versions, its shapes, scales and constants."""
    model = parse_tflite(int8_model, "model.tflite")
    first = model.operators[1]
    assert (first.name, first.version) == ("CONV_2D", 3)
    assert first.outputs[0].shape == (1, 28, 28, 32)
    assert first.inputs[1].is_constant and len(first.inputs[1].scales) == 32
    assert model.inputs[0].dtype == "UINT8" and model.inputs[0].shape == (1, 28, 28, 1)
    assert first.options["DilationWFactor"] == first.options["StrideH"] == 1
    assert first.options["FusedActivationFunction"] == tflite.ActivationFunctionType.RELU
    assert first.inputs[1].zero_points == (0,) * 32 and first.inputs[1].quantized_dimension == 0
    data = first.inputs[1].data
    assert int8_model[first.inputs[1].data_start :][: data.size] == data.tobytes()
    assert not model.is_compiled


def test_refuses_what_is_no_flatbuffer(tmp_path):
    """Any other file is wrong usage that names the file."""
    path = tmp_path / "notes.tflite"
    path.write_text("to do: buy milk")
    with pytest.raises(WrongUsage) as error:
        load_tflite(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("name", ["absent.tflite", "."])
def test_refuses_what_cannot_be_read(tmp_path, name):
    """A missing file or a folder is wrong usage, not a traceback."""
    with pytest.raises(WrongUsage):
        load_tflite(tmp_path / name)


def test_refuses_a_file_beyond_the_limit_without_reading_it(tmp_path):
    """A huge file costs no memory."""
    path = tmp_path / "huge.tflite"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(WrongUsage, match="more than"):
        load_tflite(path)


@pytest.mark.parametrize("length", [0, 3, 8, 9, 40, 1000, 5000])
def test_refuses_a_truncated_file(int8_model, length):
    """The beginning of a model is no model."""
    with pytest.raises(WrongUsage):
        parse_tflite(int8_model[:length], "cut.tflite")


@pytest.mark.parametrize("number", [-2, -24, 24, 2**31 - 1])
def test_refuses_an_operator_whose_tensor_is_not_there(int8_model, number):
    """A tensor number from behind, or beyond the last, is damage and not a place in a list."""
    graph = tflite.Model.GetRootAs(int8_model, 0).Subgraphs(0)
    table = graph.Operators(1)._tab
    damaged = bytearray(int8_model)
    # Field 1 of an operator, at offset 6 of its vtable, is the vector of its inputs.
    struct.pack_into("<i", damaged, table.Vector(table.Offset(6)), number)
    with pytest.raises(WrongUsage, match="a tensor that is not there"):
        parse_tflite(bytes(damaged), "damaged.tflite")


def test_survives_damage_anywhere(int8_model):
    """Whatever bytes are wrong, the answer is a model or wrong usage, and it comes soon."""
    chance = random.Random(5)
    started = time.monotonic()
    for _ in range(300):
        damaged = bytearray(int8_model)
        for _ in range(chance.choice([1, 8, 200])):
            # The tables lie at both ends, the weights between them.
            place = chance.choice([chance.randrange(4000), len(damaged) - 1 - chance.randrange(8000)])
            damaged[place] = chance.choice([0, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        try:
            parse_tflite(bytes(damaged), "damaged.tflite")
        except WrongUsage:
            continue
    assert time.monotonic() - started < 20
