"""Two graphs side by side."""

from quantize.edgetpu.pairing import pair
from tests.quantize import graphs


def diamond(swapped: bool = False):
    """Two branches that meet: ADD takes them in one order or the other."""
    entry, left, right, both = (graphs.tensor() for _ in range(4))
    order = [right, left] if swapped else [left, right]
    return graphs.model(
        graphs.operator("RELU", [entry], [left]),
        graphs.operator("TANH", [entry], [right]),
        graphs.operator("ADD", order, [both]),
    )


def test_tensors_are_paired_by_place_not_by_name_or_number():
    """Each tensor of the template has the one that stands there."""
    one, other = diamond(), diamond()
    found = pair(one, other)
    assert found.moved == ()
    assert set(found.tensors) == set(zip(one.tensors, other.tensors, strict=True))


def test_another_wiring_is_told():
    """The same operators in the same order are not enough."""
    assert "wiring of inputs of ADD" in str(pair(diamond(), diamond(swapped=True)).moved[0])


def test_equal_constants_may_be_kept_once_or_apart():
    """Two layers with the same bias share it in one file, not in the other."""

    def build(biases):
        entry, middle, out = (graphs.tensor() for _ in range(3))
        return graphs.model(
            graphs.operator("CONV_2D", [entry, biases[0]], [middle]),
            graphs.operator("CONV_2D", [middle, biases[1]], [out]),
        )

    shared, apart = build([graphs.constant([0])] * 2), build([graphs.constant([0]), graphs.constant([0])])
    for pairing in (pair(shared, apart), pair(apart, shared)):
        assert pairing.moved == ()
        assert sum(was.is_constant for was, _ in pairing.tensors) == 2


def test_an_operand_left_out_is_told():
    """A convolution with and without a bias."""
    entry, bias, out = graphs.tensor(), graphs.constant([1]), graphs.tensor()
    with_bias = graphs.model(graphs.operator("CONV_2D", [entry, bias], [out]))
    without = graphs.model(graphs.operator("CONV_2D", [entry, None], [out]))
    assert "left out" in str(pair(with_bias, without).moved[0])


def test_operators_may_be_passed_over():
    """A graph with QUANTIZE at its ends is that without them, whichever comes first."""
    wrapped, plain = graphs.chain("QUANTIZE", "RELU", "TANH", "QUANTIZE"), graphs.chain("RELU", "TANH")
    for pairing in (
        pair(wrapped, plain, frozenset({"QUANTIZE"})),
        pair(plain, wrapped, frozenset({"QUANTIZE"})),
    ):
        assert pairing.moved == () and [was.name for was, _ in pairing.operators] == ["RELU", "TANH"]
    assert pair(wrapped, plain).moved
