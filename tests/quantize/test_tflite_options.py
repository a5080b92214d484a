"""Reading every option of an operator."""

from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest
import tflite

from quantize.tflite_options import UNREAD, read_options


def operator(kind: int, table: bytes | None = None, second: int = 0) -> SimpleNamespace:
    """What read_options asks of a tflite.Operator."""
    root = None if table is None else tflite.Model.GetRootAs(table, 0)._tab
    return SimpleNamespace(
        BuiltinOptionsType=lambda: kind, BuiltinOptions2Type=lambda: second, BuiltinOptions=lambda: root
    )


def reshape_options(sizes: list[int]) -> bytes:
    builder = flatbuffers.Builder()
    vector = builder.CreateNumpyVector(np.array(sizes, np.int32))
    tflite.ReshapeOptionsStart(builder)
    tflite.ReshapeOptionsAddNewShape(builder, vector)
    builder.Finish(tflite.ReshapeOptionsEnd(builder))
    return bytes(builder.Output())


def softmax_options(beta: float) -> bytes:
    builder = flatbuffers.Builder()
    tflite.SoftmaxOptionsStart(builder)
    tflite.SoftmaxOptionsAddBeta(builder, beta)
    builder.Finish(tflite.SoftmaxOptionsEnd(builder))
    return bytes(builder.Output())


def test_reads_numbers_and_lists():
    """Under the names of the schema's getters."""
    kinds = tflite.BuiltinOptions
    assert read_options(operator(kinds.SoftmaxOptions, softmax_options(0.5))) == {"Beta": 0.5}
    assert read_options(operator(kinds.ReshapeOptions, reshape_options([1, 9]))) == {
        "NewShapeAsNumpy": (1, 9)
    }


def test_a_default_is_as_good_as_a_written_number():
    """Two converters that differ in this say the same."""
    builder = flatbuffers.Builder()
    tflite.Conv2DOptionsStart(builder)
    builder.Finish(tflite.Conv2DOptionsEnd(builder))
    found = read_options(operator(tflite.BuiltinOptions.Conv2DOptions, bytes(builder.Output())))
    assert found["DilationHFactor"] == 1 and found["Padding"] == 0 and found["StrideW"] == 0


def test_no_options_are_none():
    """Many operators have no table."""
    assert read_options(operator(tflite.BuiltinOptions.NONE)) == {}


@pytest.mark.parametrize(
    "entry",
    [operator(250), operator(tflite.BuiltinOptions.VarHandleOptions), operator(0, second=3)],
    ids=["unknown", "text", "stablehlo"],
)
def test_what_is_not_read_is_said(entry):
    """So that nobody takes it for equal."""
    assert read_options(entry) == {UNREAD: True}


def test_a_list_has_a_limit():
    """No operator has that many sizes."""
    with pytest.raises(ValueError, match="at most"):
        read_options(operator(tflite.BuiltinOptions.ReshapeOptions, reshape_options([1] * 5000)))
