"""Which part of a graph goes to the Edge TPU."""

from quantize.mapping import place
from quantize.op_rules import NOT_SUPPORTED, SECOND_SUBGRAPH
from tests.quantize.graphs import chain, model, operator, tensor


def targets(graph) -> str:
    return " ".join(placement.target for placement in place(graph))


def test_takes_a_graph_that_it_can_map_whole():
    """Nothing stays behind without a reason."""
    assert targets(chain("RELU", "LOGISTIC", "TANH")) == "tpu tpu tpu"


def test_leaves_everything_after_the_first_unsupported_operator():
    """There is one piece only: what comes later stays on the CPU although it could be mapped."""
    placements = place(chain("RELU", "DIV", "RELU"))
    assert [placement.target for placement in placements] == ["tpu", "cpu", "cpu"]
    assert [placement.status for placement in placements[1:]] == [NOT_SUPPORTED, SECOND_SUBGRAPH]


def test_begins_after_operators_that_must_run_first():
    """A CPU operator at the start is no obstacle to the first piece."""
    assert targets(chain("CAST", "RELU", "RELU")) == "cpu tpu tpu"


def test_takes_a_side_branch_that_does_not_depend_on_the_cpu():
    """The piece is cut by dependence, not by the order in the file."""
    source, odd, left, right, end = (tensor() for _ in range(5))
    graph = model(
        operator("DIV", [source], [odd]),
        operator("RELU", [source], [left]),
        operator("RELU", [left], [right]),
        operator("ADD", [odd, right], [end]),
    )
    # The piece that needs nothing comes first, so the ADD that waits for DIV is left.
    assert targets(graph) == "cpu tpu tpu cpu"


def test_maps_nothing_of_a_graph_without_a_known_operator():
    """No piece at all is an answer too."""
    assert targets(chain("DIV", "CAST")) == "cpu cpu"
