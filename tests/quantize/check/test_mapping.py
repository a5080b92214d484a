"""Which part of a graph goes to the Edge TPU."""

from quantize.check.mapping import place
from quantize.check.placement import LIMITATION, NO_BLOCKER, NOT_SUPPORTED, SECOND_SUBGRAPH
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


def test_names_the_operator_that_keeps_another_one_back():
    """Whoever wants more on the Edge TPU learns which operator to replace, even with several in the way."""
    placements = place(chain("CAST", "RELU", "DIV", "RELU", "EXP", "RELU"))
    assert [placement.blocker for placement in placements] == [NO_BLOCKER] * 3 + [2, NO_BLOCKER, 2]
    assert "operator 2 DIV" in placements[3].reason and "operator 2 DIV" in placements[5].fix


def test_each_branch_waits_for_its_own_blocker():
    """Two branches that stop for different reasons are told apart."""
    source, left, right, odd, even, far = (tensor() for _ in range(6))
    graph = model(
        operator("RELU", [source], [left]),
        operator("DIV", [left], [odd]),
        operator("EXP", [left], [right]),
        operator("TANH", [right], [even]),
        operator("RELU", [odd], [far]),
    )
    assert [placement.blocker for placement in place(graph)][3:] == [2, 1]


def test_a_branch_that_needs_no_blocker_goes_on_in_the_same_piece():
    """A piece need not be a chain: everything that is ready without the CPU belongs to it."""
    source, left, right, odd, even = (tensor() for _ in range(5))
    graph = model(
        operator("RELU", [source], [left]),
        operator("DIV", [left], [odd]),
        operator("TANH", [source], [right]),
        operator("LOGISTIC", [right], [even]),
    )
    assert targets(graph) == "tpu cpu tpu tpu"


def test_the_cpu_begins_with_all_that_it_can_run_before_the_first_piece():
    """Once the CPU has begun, its turn lasts while any of its operators is ready, wherever they stand."""
    source, odd, kept, far, end = (tensor() for _ in range(5))
    graph = model(
        operator("CAST", [source], [odd]),
        operator("RELU", [source], [kept]),
        operator("DIV", [odd], [far]),
        operator("ADD", [kept, far], [end]),
    )
    assert targets(graph) == "cpu tpu cpu tpu"


def test_a_change_of_type_left_behind_has_the_words_that_the_compiler_uses_for_it():
    """int8 to uint8 at the border is not "more than one subgraph" but a limitation."""
    data = [tensor(), tensor(), tensor(), tensor(dtype="UINT8")]
    graph = model(
        operator("RELU", data[:1], [data[1]]),
        operator("DIV", [data[1]], [data[2]]),
        operator("QUANTIZE", [data[2]], [data[3]]),
    )
    assert place(graph)[2].status == LIMITATION


def test_many_operators_side_by_side_take_no_time():
    """Thousands of operators that are ready at once are put in order in one pass."""
    sources = [tensor() for _ in range(5000)]
    pairs = [operator("DIV", [source], [tensor()]) for source in sources]
    follow = [operator("RELU", [pair.outputs[0]], [tensor()]) for pair in pairs]
    assert targets(model(*pairs, *follow)).count("tpu") == 5000
