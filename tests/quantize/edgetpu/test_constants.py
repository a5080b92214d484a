"""Tables of operators without weights."""

import numpy as np
import pytest

from quantize.edgetpu.constants import build_table, table_size
from tests.quantize.graphs import operator, tensor


def softmax(channels: int, scale: float = 0.5):
    return operator("SOFTMAX", [tensor((1, channels), scales=(scale,))], [tensor((1, channels))])


def arithmetic(name: str, values, **changes):
    array = np.asarray(values, np.int8)
    data = {"data": array.view(np.uint8), "scales": (0.25,), **changes}
    vector, entry = tensor(array.shape, **data), tensor((1, array.size), scales=(0.5,))
    return operator(name, [entry, vector], [tensor((1, array.size), scales=(2.0,))])


@pytest.mark.parametrize(("channels", "size"), [(4, 0), (4096, 0), (2, 192), (10, 576), (1001, 48_192)])
def test_a_softmax_has_a_table_only_if_it_has_padding(channels, size):
    """Only padding has to be kept out of the sum."""
    assert table_size(softmax(channels)) == len(build_table(softmax(channels))) == size


def test_a_softmax_pushes_its_padding_down():
    """Biases are the lowest there is, factors larger than any other."""
    parts = np.frombuffer(build_table(softmax(6)), np.int32).reshape(3, 2, 16)
    lowest = -(2**31)
    assert parts[:2, :, :4].tolist() == [[[0] * 4, [0, 0, lowest, lowest]]] * 2
    factors = np.ascontiguousarray(parts[2, :, :4]).view(np.float32)
    assert factors[0].tolist() == [0.5] * 4 and factors[1, :2].tolist() == [0.5] * 2
    assert (factors[1, 2:] > 1e38).all() and not parts[:, :, 4:].any()


def test_a_multiplication_has_a_factor_for_each_channel():
    """Constant times scale of input over scale of output, 4 in a row."""
    rows = np.frombuffer(build_table(arithmetic("MUL", [1, -2, 3, 4, 5], zero_point=1)), np.float32)
    assert rows.reshape(2, 16)[:, :4].tolist() == [[0, -0.1875, 0.125, 0.1875], [0.25, 0, 0, 0]]


def test_an_addition_has_a_term_for_each_channel():
    """The constant in units of the other input."""
    rows = np.frombuffer(build_table(arithmetic("ADD", [4, -8, 3])), np.int32)
    assert rows.tolist() == [2, -4, 2] + [0] * 13


def test_has_no_table_where_none_is_known():
    """No constants, maps of constants, other operators, nothing to make it of."""
    both = [tensor((1, 4)), tensor((1, 4))]
    plane = tensor((1, 2, 2, 1), data=np.zeros(4, np.uint8))
    for layer in (
        operator("MUL", both, [tensor((1, 4))]),
        operator("ADD", [tensor(), plane], [tensor()]),
        operator("SUB", both, both),
        operator("SOFTMAX", [], []),
    ):
        assert table_size(layer) == 0 and build_table(layer) == b""
    assert build_table(arithmetic("MUL", [1, 2], scales=())) == b""
