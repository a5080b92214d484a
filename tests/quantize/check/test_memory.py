"""The memory estimate against compiled files."""

import pytest

from quantize.check.memory import ON_CHIP_BYTES, estimate_memory
from quantize.check.preflight import check
from quantize.tflite_file import load_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.graphs import chain


def test_parameter_bytes_are_exact_for_common_networks():
    """For every recorded MobileNet the estimate is within 256 bytes of what the compiler stored."""
    seen = 0
    for pair in pairs():
        if "mobilenet" not in pair["original_file"].lower():
            continue
        stored = sum(part["parameters_bytes"] for part in pair["edgetpu"][0]["executables"])
        memory = check(load_tflite(PAIRS / pair["original_file"])).memory
        assert memory.on_chip_bytes == pytest.approx(stored, abs=256), pair["original_file"]
        seen += 1
    assert seen >= 8


def test_what_does_not_fit_is_streamed():
    """On-chip memory is limited; the rest comes over the wire at every inference."""
    from tests.quantize.graphs import constant, model, operator, tensor

    weights = constant([[1] * 4096] * 2500, "INT8")
    graph = model(operator("FULLY_CONNECTED", [tensor((1, 4096)), weights], [tensor((1, 2500))]))
    memory = check(graph).memory
    assert memory.on_chip_bytes == ON_CHIP_BYTES
    assert memory.streamed_bytes == 4096 * 2560 - ON_CHIP_BYTES


def test_operators_on_the_cpu_take_no_memory():
    """Only what is mapped counts."""
    graph = chain("DIV")
    memory = estimate_memory(graph, check(graph).placements)
    assert (memory.on_chip_bytes, memory.activation_bytes_per_tile) == (0, 0)
