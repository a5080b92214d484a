"""Activation memory against compiled files."""

import pytest

from quantize.check.activations import estimate_activations
from quantize.tflite_file import load_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.graphs import operator, tensor


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("inat_bird", 1), ("MobileNetV2_V2", 1), ("0.5_160", 1), ("gabor_128", 1), ("deeplab", 1.389)],
)
def test_activation_bytes_are_those_of_the_largest_operator(name, ratio):
    """Exact where a network's maps fit; more than the compiler needs where it splits them."""
    pair = next(pair for pair in pairs() if name in pair["compiled_file"])
    model = load_tflite(PAIRS / pair["original_file"])
    mapped = [model.operators[entry["i"]] for entry in pair["ops"] if entry["on"] == "tpu"]
    used = max(part["narrow_memory_bytes_per_tile"] for part in pair["edgetpu"][0]["executables"])
    assert estimate_activations(mapped) / used == pytest.approx(ratio, abs=0.001)


def test_a_tile_keeps_the_rows_that_its_next_kernel_reaches():
    """A quarter of the side, and what a 3 x 3 kernel sees beyond it."""
    source, between, end = (tensor((1, 32, 32, 4)) for _ in range(3))
    weights = tensor((1, 3, 3, 4), data=[])
    strides = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    first = operator("RELU", [source], [between])
    second = operator("DEPTHWISE_CONV_2D", [between, weights], [end], **strides)
    assert estimate_activations([first]) == 2 * 8 * 8 * 4
    assert estimate_activations([first, second]) == 10 * 10 * 4 + 8 * 8 * 4


def test_what_happens_in_place_takes_no_more():
    """QUANTIZE, RESHAPE and PAD need no second copy; a vector lies in every tile."""
    for name in ("QUANTIZE", "RESHAPE", "PAD"):
        assert estimate_activations([operator(name, [tensor()], [tensor()])]) == 0
    assert estimate_activations([operator("RELU", [tensor((1, 10))], [tensor((1, 10))])]) == 24
    assert estimate_activations([]) == 0
