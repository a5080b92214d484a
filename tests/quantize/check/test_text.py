"""What `quantize check` tells a person."""

import numpy as np
import pytest

from quantize.check.preflight import check
from quantize.check.text import COLUMNS, MAX_LISTED, describe
from tests.quantize.graphs import chain, constant, model, operator, tensor

GRAPHS = {
    "all mapped": chain("RELU", "LOGISTIC"),
    "some left": chain("RELU", "DIV", "RELU", "CUSTOM:TFLite_Detection_PostProcess"),
    "float": model(operator("RELU", [tensor(dtype="FLOAT32")], [tensor(dtype="FLOAT32")])),
    "too new": chain("RELU", "GELU"),
    "long names": model(operator("CUSTOM:" + "x" * 300, [tensor(name="y" * 500)], [tensor(name="z" * 500)])),
    "empty": model(),
}


@pytest.mark.parametrize("case", GRAPHS)
@pytest.mark.parametrize("every_op", [False, True])
def test_fits_into_80_columns(case, every_op):
    """A terminal need not be wide, whatever the names in a file."""
    lines = describe(check(GRAPHS[case]), every_op).splitlines()
    assert max(map(len, lines)) <= COLUMNS


def test_begins_with_the_verdict_and_what_to_replace_first():
    """The most important lines come first: verdict, operator, layer, reason, cost, remedy."""
    text = describe(check(GRAPHS["some left"]))
    assert text.startswith("would compile: 1 of 4 operators run on the Edge TPU, 3 on the CPU")
    first = text.split("\n\n")[1]
    assert "operator 1 DIV v1, layer layer_" in first and "Operation not supported" in first
    assert "keeps 1 operator after it" in first and "multiply by a constant" in first


def test_groups_operators_as_the_compiler_does():
    """One row for each kind and status, with a count."""
    table = describe(check(chain("RELU", "RELU", "TANH", "DIV", "RELU"))).split("\n\n")[2]
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        ["DIV", "1"],
        ["RELU", "2"],
        ["RELU", "1"],
        ["TANH", "1"],
    ]


def test_lists_every_operator_when_asked():
    """--ops shows each operator in the order of the file."""
    lines = describe(check(chain("RELU", "TANH", "DIV")), every_op=True).splitlines()
    assert [line.split()[:3] for line in lines if line[:5].strip().isdigit()] == [
        ["0", "tpu", "RELU"],
        ["1", "tpu", "TANH"],
        ["2", "cpu", "DIV"],
    ]


def test_cuts_a_long_list_and_says_so():
    """A model with hundreds of unsupported operators does not flood the terminal."""
    text = describe(check(chain("RELU", *["DIV"] * 100)))
    assert text.count("multiply by a constant") == MAX_LISTED + 1
    assert f"... and {99 - MAX_LISTED} more" in text


def test_says_nothing_to_replace_where_all_is_mapped():
    """A good model gets a short answer."""
    text = describe(check(GRAPHS["all mapped"]))
    assert text.startswith("would compile: all 2 operators") and "first to replace" not in text


def test_says_which_figures_of_memory_are_not_exact():
    """Parameters beyond the chip are split by estimate, and constants of unknown size are named."""
    exact = describe(check(chain("RELU", "MAX_POOL_2D")))
    assert "0 bytes on the chip, 0 streamed\nactivations" in exact
    weights = constant(np.ones((2500, 4096)), "INT8")
    dense = operator("FULLY_CONNECTED", [tensor((1, 4096)), weights], [tensor((1, 2500))])
    text = describe(check(model(dense, operator("TANH", dense.outputs, [tensor((1, 2500))]))))
    assert "on the chip (estimate), " in text and "constants of unknown size of 1 operator\n" in text


def test_names_the_layer_before_one_that_has_no_name():
    """The converter drops some names: the neighbour's still says where to look."""
    entries = [tensor(), tensor(name="net/up/Resize"), tensor(name="convolution1")]
    graph = model(operator("RELU", entries[:1], entries[1:2]), operator("DIV", entries[1:2], entries[2:]))
    assert "operator 1 DIV v1, after layer up" in describe(check(graph))
