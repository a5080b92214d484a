"""The converter's arithmetic, case by case."""

import numpy as np
import pytest

from quantize.edgetpu.numbers import along, bias_scales, channel_scales, numbers_of, to_steps
from tests.quantize import graphs

NO_BIAS = np.zeros(2, np.float32)


def test_the_largest_weight_of_a_channel_is_127():
    """The scale is symmetric, whatever the sign."""
    weights = np.array([[0.5, -2.54], [1.27, 0.1]], np.float32)
    assert channel_scales(weights, 0, NO_BIAS, 1) == pytest.approx([0.02, 0.01])
    assert channel_scales(weights, 1, NO_BIAS, 1) == pytest.approx([0.01, 0.02])


def test_a_channel_of_zeros_has_a_scale_too():
    """The converter's own smallest: 5e-7 / 127."""
    scales = channel_scales(np.zeros((2, 3), np.float32), 0, NO_BIAS, 1)
    assert scales.tolist() == [np.float32(3.937008052901092e-09)] * 2


def test_a_scale_leaves_room_for_its_bias():
    """2^30 steps of scale of input * scale of weights reach the bias."""
    weights, bias = np.full((2, 3), 1e-9, np.float32), np.array([0.5, 0], np.float32)
    large, small = channel_scales(weights, 0, bias, 0.01)
    assert large == pytest.approx(0.5 / 2**30 / 0.01) and small < large


def test_ties_are_rounded_away_from_zero():
    """Of the quotients 0.5, -0.5, 1.5 and 2.5."""
    like = graphs.tensor((4,), zero_points=(0,))
    assert to_steps(np.array([1, -1, 3, 5], np.float32), like, (2.0,)).tolist() == [1, -1, 2, 3]


def test_a_quotient_is_a_product_with_the_inverse():
    """As the converter computes it: dividing would make a tie of this and give 54."""
    like, value, scale = graphs.tensor((1,), zero_points=(0,)), 3.917278289794922, 0.0732201561331749
    assert np.float32(value) / np.float32(scale) == 53.5
    assert to_steps(np.array([value], np.float32), like, (scale,)) == 53


def test_zero_points_are_added():
    """uint8 weights of old have one that is not 0."""
    like = graphs.tensor((2,), "UINT8", zero_points=(120,))
    assert to_steps(np.array([0, 1], np.float32), like, (0.5,)).tolist() == [120, 122]


def test_each_channel_has_its_own_scale():
    """Along the tensor's own axis."""
    like = graphs.tensor((2, 2), zero_points=(0, 0), quantized_dimension=1)
    assert along(like, (1, 10)).shape == (1, 2)
    assert to_steps(np.full((2, 2), 10, np.float32), like, (1, 10)).tolist() == [[10, 1], [10, 1]]


def test_a_bias_has_the_float32_product_of_scales():
    """Not that of float64, which rounds elsewhere."""
    assert bias_scales(0.1, (0.3,))[0] == np.float32(0.1) * np.float32(0.3)


def test_numbers_of_text_are_none():
    """A constant of another kind is refused."""
    with pytest.raises(ValueError, match="no constant"):
        numbers_of(graphs.constant([1], dtype="STRING"))
