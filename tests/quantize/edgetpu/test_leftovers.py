"""The parameter bytes that belong to no layer."""

from itertools import pairwise

import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu.leftovers import CONSTANTS, SELECTION, explain_leftovers
from quantize.edgetpu.package import read_compiled
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.test_template import learned
from tests.quantize.graphs import operator, tensor


def kinds(name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for leftover in learned(name)[2].leftovers:
        found[leftover.kind] = found.get(leftover.kind, 0) + leftover.span.size
    return found


def test_accounts_for_every_byte_of_every_recorded_file():
    """Layers and leftovers together are the parameters, without gap or overlap."""
    for pair in pairs():
        template = learned(pair["compiled_file"])[2]
        spans = sorted(
            (entry.span.start, entry.span.end) for entry in (*template.places, *template.leftovers)
        )
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert sum(end - start for start, end in spans) == template.parameter_bytes


def test_names_what_it_knows():
    """Tables are recognised byte by byte, matrices of ones and zeros by their values."""
    assert kinds("MobileNetV2_aug") == {"table of SOFTMAX": 192}
    assert kinds("keras_lstm") == {"table of SOFTMAX": 576, CONSTANTS: 34_944}
    assert kinds("bright_64x64") == {SELECTION: 192}
    for name in ("model.aeef", "model.3d9c"):
        assert kinds(name) == {"table of MUL": 2048, "table of ADD": 2048}


def test_refuses_bytes_that_no_operator_can_account_for():
    """Parameters without a layer, a table or a constant to explain them are no template."""
    pair = next(pair for pair in pairs() if "dense_256" in pair["compiled_file"])
    compiled = read_compiled((PAIRS / pair["compiled_file"]).read_bytes(), "file")
    with pytest.raises(GateNotMet, match="67584 bytes"):
        explain_leftovers([operator("QUANTIZE", [tensor()], [tensor()])], [], compiled, "file")


def test_joints_and_resizes_may_bring_constants():
    """What moves odd channels or resizes maps may have matrices with factors; blocks of 4 need none."""
    pair = next(pair for pair in pairs() if "gabor_64x64" in pair["compiled_file"])
    compiled = read_compiled((PAIRS / pair["compiled_file"]).read_bytes(), "file")
    odd, even = (tensor((1, 4, 4, depth)) for depth in (3, 4))
    for owner in (
        operator("CONCATENATION", [odd, odd], [tensor((1, 4, 4, 6))]),
        operator("RESIZE_BILINEAR", [even], [tensor((1, 8, 8, 4))]),
    ):
        (leftover,) = explain_leftovers([owner], [], compiled, "file")
        assert (leftover.kind, leftover.span.size, leftover.operators) == (CONSTANTS, 3200, (owner.index,))
    with pytest.raises(GateNotMet, match="3200 bytes"):
        explain_leftovers([operator("SPLIT", [even], [even])], [], compiled, "file")
