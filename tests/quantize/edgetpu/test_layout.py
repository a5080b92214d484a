"""How one layer's parameters are laid out, on layers small enough to write the bytes down."""

from dataclasses import replace

import numpy as np
import pytest

from quantize.edgetpu.layout import (
    Variant,
    has_weights,
    is_ambiguous,
    layer_bytes,
    layer_size,
    usual_variant,
    variants,
)
from tests.quantize.graphs import operator, tensor


def weights(values, zero_point=0, scales=(0.5,), dtype="INT8"):
    array = np.asarray(values, np.int8 if dtype == "INT8" else np.uint8)
    points = (zero_point,) * len(scales)
    return tensor(
        array.shape,
        dtype,
        data=np.ascontiguousarray(array).reshape(-1).view(np.uint8),
        scales=scales,
        zero_points=points,
        zero_point=zero_point,
    )


def bias(values):
    array = np.asarray(values, np.int32)
    return tensor(array.shape, "INT32", data=array.view(np.uint8), scales=(0.1,))


def dense(entry, offsets=None, inputs=4, scale=0.25):
    operands = [tensor((1, inputs), scales=(0.5,)), entry, *([bias(offsets)] if offsets is not None else [])]
    outputs = [tensor((1, entry.shape[0]), scales=(scale,))]
    return operator("FULLY_CONNECTED", operands, outputs)


def convolution(entry, name="CONV_2D", depth=4):
    return operator(name, [tensor((1, 8, 8, depth)), entry], [tensor((1, 8, 8, 4))])


def lay_out(layer, **changes) -> np.ndarray:
    variant = Variant(**changes) if changes else usual_variant(layer)
    content = layer_bytes(layer, variant)
    assert content.size == layer_size(layer, variant)
    return content


def test_a_dense_layer_is_biases_then_blocks_of_four_inputs():
    """Two outputs are padded to 16: with the zero point up to 4, then with 0."""
    layer = dense(weights([[1, 2, 3, 4, 5], [-1, -2, -3, -4, -5]], zero_point=3), [7, -1], inputs=5)
    content = lay_out(layer)
    assert content[:64].view("<i4").tolist() == [7, -1] + [0] * 14
    first, second = content[64:].reshape(2, 16, 4)
    assert first[:5].tolist() == [[129, 130, 131, 132], [127, 126, 125, 124], [131] * 4, [131] * 4, [0] * 4]
    assert second[:2].tolist() == [[133, 131, 131, 131], [123, 131, 131, 131]]


def test_bytes_of_unsigned_weights_stay_as_they_are():
    """Only signed weights are shifted."""
    content = lay_out(dense(weights([[1, 2, 3, 255]], zero_point=9, dtype="UINT8")))
    assert content[:8].tolist() == [1, 2, 3, 255, 9, 9, 9, 9]


def test_a_bias_of_zeros_is_left_out():
    """There is no header at all then."""
    assert lay_out(dense(weights([[1] * 4]), [0])).size == lay_out(dense(weights([[1] * 4]))).size == 64


def test_scales_by_channel_bring_multipliers_and_zero_points():
    """The header is multipliers, biases and zero points, each for all channels of the group."""
    layer = dense(weights([[1] * 4, [2] * 4, [3] * 4], scales=(0.5, 1.0, 2.0)), [4, 5, 6])
    header = lay_out(layer)[: 3 * 64].reshape(3, 64)
    assert header[0].view("<f4").tolist() == [1, 2, 4, 1] + [0] * 12
    assert header[1].view("<i4").tolist() == [4, 5, 6, 0] + [0] * 12
    assert header[2].view("<i4").tolist() == [128] * 4 + [0] * 12
    assert lay_out(layer, zero_header=True)[2 * 64 : 3 * 64].view("<i4").tolist() == [128] * 3 + [0] * 13


def test_equal_scales_bring_zero_points_only():
    """The one multiplier is part of the program then."""
    content = lay_out(dense(weights([[1] * 4] * 2, scales=(0.5, 0.5))))
    assert content.size == 2 * 64
    assert content[:64].view("<i4").tolist() == [128] * 4 + [0] * 12


def test_multipliers_are_rounded_at_every_step():
    """Product and reciprocal are float32, as the compiler has them."""
    layer = dense(weights([[1] * 4, [1] * 4], scales=(0.1, 0.3)), scale=0.7)
    exact = (np.float32(0.5) * np.array([0.1, 0.3], np.float32)) * (np.float32(1) / np.float32(0.7))
    assert np.array_equal(lay_out(layer)[:8].view("<f4"), exact)


def test_more_than_64_channels_go_in_groups_of_64():
    """The second group has its own header, and 1.0 as the multiplier of padding."""
    values = np.arange(70, dtype=np.int8).reshape(70, 1).repeat(4, axis=1)
    layer = dense(weights(values, scales=tuple(range(1, 71))), list(range(1, 71)))
    groups = lay_out(layer).reshape(2, -1)
    assert groups.shape[1] == 64 * (12 + 4)
    assert groups[1, :256].view("<f4")[5:10].tolist() == [140, 2, 2, 1, 1]
    assert groups[1, 256:512].view("<i4")[:7].tolist() == [65, 66, 67, 68, 69, 70, 0]
    assert groups[1, 768:].reshape(64, 4)[5:9].tolist() == [[197] * 4, [128] * 4, [128] * 4, [0] * 4]


def test_a_convolution_goes_kernel_position_by_position():
    """Either all input blocks of a position, or, blocks first, all positions of a block."""
    values = np.arange(16, dtype=np.int8).reshape(1, 1, 2, 8)
    layer = convolution(weights(values), depth=8)
    rows = lay_out(layer).reshape(4, 4, 4)[:, 0].tolist()
    assert [row[0] - 128 for row in rows] == [0, 4, 8, 12]
    rows = lay_out(layer, blocks_first=True).reshape(4, 4, 4)[:, 0].tolist()
    assert [row[0] - 128 for row in rows] == [0, 8, 4, 12]


def test_a_small_convolution_is_padded_to_4_channels_only():
    """A dense layer is not."""
    values = np.ones((2, 1, 1, 4))
    assert lay_out(convolution(weights(values))).size == 16
    assert lay_out(dense(weights(np.ones((2, 4))))).size == 64


def test_a_depthwise_convolution_lies_on_diagonals():
    """Four channels at a time, the zero point everywhere else."""
    values = np.arange(1, 7, dtype=np.int8).reshape(1, 1, 1, 6)
    layer = convolution(weights(values), "DEPTHWISE_CONV_2D", depth=6)
    groups = (lay_out(layer).reshape(2, 4, 4).astype(int) - 128).tolist()
    assert groups[0] == np.diag([1, 2, 3, 4]).tolist()
    assert groups[1] == np.diag([5, 6, 0, 0]).tolist()


def test_a_depthwise_convolution_of_one_channel_is_an_ordinary_one():
    """Its outputs all come from the same input."""
    values = np.arange(1, 9, dtype=np.int8).reshape(1, 1, 1, 8)
    layer = convolution(weights(values), "DEPTHWISE_CONV_2D", depth=1)
    rows = lay_out(layer).reshape(16, 4).astype(int) - 128
    assert rows[:8].tolist() == [[n, 0, 0, 0] for n in range(1, 9)] and (rows[8:] == -128).all()
    assert Variant() in variants(layer)


def test_offers_only_variants_that_make_a_difference():
    """Each variant of a layer has other bytes than the ones before it."""
    odd = dense(weights([[1] * 4] * 3, scales=(1.0, 2.0, 3.0)))
    kernel = convolution(weights(np.arange(48).reshape(2, 3, 1, 8) - 20), depth=8)
    plain = dense(weights([[1] * 4] * 4))
    for layer, expected in ((odd, 4), (kernel, 4), (plain, 1)):
        contents = {layer_bytes(layer, variant).tobytes() for variant in variants(layer)}
        assert len(contents) == len(variants(layer)) == expected
        assert variants(layer)[0] == usual_variant(layer)


@pytest.mark.parametrize(
    "entry",
    [
        tensor((2, 4), data=None),
        weights([[1.0] * 4], dtype="INT8", scales=(0.1, 0.2)),
        weights(np.ones((1, 2, 2))),
        tensor((2, 4), "FLOAT32", data=np.zeros(32, np.uint8)),
        tensor((2, 4), data=np.zeros(7, np.uint8)),
        replace(weights([[1] * 4] * 2, scales=(0.1, 0.2)), zero_points=(0, 1)),
        weights([[1] * 4] * 2, zero_point=255),
    ],
)
def test_takes_no_weights_that_it_does_not_know(entry):
    """Not constant, other scales, another rank, floats, too few bytes, several or far zero points."""
    assert not has_weights(operator("FULLY_CONNECTED", [tensor((1, 4)), entry], [tensor((1, 2))]))


def test_takes_no_layer_whose_multipliers_or_bias_cannot_be_told():
    """Scales by channel need those of input and output; a bias needs a value for each channel."""
    entry = weights([[1] * 4] * 2, scales=(0.1, 0.2))
    assert has_weights(dense(entry, [1, 2]))
    assert not has_weights(dense(entry, [1, 2, 3]))
    for without in (
        dense(entry, scale=0.0),
        operator("FULLY_CONNECTED", [tensor(scales=()), entry], [tensor()]),
    ):
        assert not has_weights(without)


def test_says_when_old_weights_do_not_show_the_order_of_new_ones():
    """A kernel of equal weights looks the same in both orders; one that is told apart later is ambiguous."""
    flat = convolution(weights(np.ones((4, 3, 3, 8)), scales=(0.5,)), depth=8)
    steps = convolution(weights(np.arange(288).reshape(4, 3, 3, 8) % 100, scales=(0.5,)), depth=8)
    assert is_ambiguous(flat, steps, usual_variant(flat))
    assert not is_ambiguous(flat, flat, usual_variant(flat))
    assert not is_ambiguous(steps, flat, usual_variant(steps))
