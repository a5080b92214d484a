"""Which part of a graph goes to the Edge TPU."""

from quantize.check.mapping import place
from quantize.check.op_rules import NOT_SUPPORTED, SECOND_SUBGRAPH
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


def branches(*order: int):
    """DIV and two RELUs side by side, joined by an ADD, in a given order."""
    source, odd, left, right, end = (tensor() for _ in range(5))
    operators = [
        operator("DIV", [source], [odd]),
        operator("RELU", [source], [left]),
        operator("RELU", [left], [right]),
        operator("ADD", [odd, right], [end]),
    ]
    return model(*(operators[number] for number in order))


def test_lets_the_first_operator_decide_which_side_begins():
    """Of two branches the one that begins in the file runs first; a join can only wait for the CPU."""
    assert targets(branches(0, 1, 2, 3)) == "cpu tpu tpu tpu"
    assert targets(branches(1, 2, 0, 3)) == "tpu tpu cpu cpu"


def test_ends_on_a_graph_that_waits_for_itself():
    """A damaged file with a loop is answered, not pursued."""
    here, there = tensor(), tensor()
    assert targets(model(operator("RELU", [here], [there]), operator("RELU", [there], [here]))) == "cpu cpu"


def test_maps_nothing_of_a_graph_without_a_known_operator():
    """No piece at all is an answer too."""
    assert targets(chain("DIV", "CAST")) == "cpu cpu"
