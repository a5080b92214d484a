"""Finding layers in parameters, on made parameters small enough to see through."""

import numpy as np
import pytest

from host_cli.errors import GateNotMet
from quantize.edgetpu import locate
from quantize.edgetpu.flatbuffer import Span
from quantize.edgetpu.layout import Variant, layer_bytes, usual_variant
from quantize.edgetpu.locate import find_layers, locate_layers
from quantize.edgetpu.package import PARAMETER_CACHING, CompiledModel, Executable, Package
from quantize.tflite_model import Operator, TfliteModel
from tests.quantize.graphs import operator, tensor

PREFIX = b"anything"


def compiled(*blobs: bytes) -> CompiledModel:
    """A compiled file that has nothing but parameters, one executable for each blob."""
    executables, content = [], PREFIX
    for blob in blobs:
        span = Span(len(content), len(blob))
        executables.append(Executable(PARAMETER_CACHING, "", 1, span, (), 0, 0, 0, 0, 0, (), ()))
        content += blob
    package = Package(operator("CUSTOM:edgetpu-custom-op", [], []), "", 14, False, tuple(executables))
    return CompiledModel(content, TfliteModel((), (), (), (), ()), (package,))


def dense(index: int, values, scales=(0.5,)) -> Operator:
    array = np.asarray(values, np.int8)
    weights = tensor(array.shape, data=array.reshape(-1).view(np.uint8), scales=scales)
    inputs, outputs = (tensor((1, array.shape[1])), weights), (tensor((1, array.shape[0])),)
    return Operator(index, "FULLY_CONNECTED", 1, inputs, outputs, {})


def laid_out(layer: Operator, variant: "Variant | None" = None) -> bytes:
    return layer_bytes(layer, variant or usual_variant(layer)).tobytes()


def find(layers, target: CompiledModel) -> list[tuple[int, int, int]]:
    places = locate_layers(layers, target, "file")
    starts = [executable.parameters.start for executable in target.executables]
    return [
        (place.operator, place.executable, place.span.start - starts[place.executable]) for place in places
    ]


def test_finds_layers_in_any_order_and_executable():
    """Graph order is not assumed, nor which executable has what."""
    layers = [dense(n, [[n + 1] * 8] * 16) for n in range(3)]
    one, two, three = (laid_out(layer) for layer in layers)
    assert find(layers, compiled(three, two + one)) == [(0, 1, 128), (1, 1, 0), (2, 0, 0)]


def test_passes_over_operators_without_weights():
    """They have no place."""
    layer = dense(4, [[7] * 4] * 16)
    assert find([operator("RELU", [tensor()], [tensor()]), layer], compiled(laid_out(layer))) == [(4, 0, 0)]


def test_tells_the_variant_that_fits():
    """Padding with zeros is recognised by its bytes."""
    layer = dense(0, [[3] * 4] * 3)
    (place,) = locate_layers([layer], compiled(laid_out(layer, Variant(zero_rows=True))), "file")
    assert place.variant == Variant(zero_rows=True) and place.twins == 0


def test_places_of_layers_that_look_alike_do_not_overlap():
    """Bytes that repeat within a layer could be read at several places."""
    layers = [dense(n, [[5] * 8] * 16) for n in range(2)]
    target = compiled(laid_out(layers[0]) + laid_out(layers[1]))
    assert find(layers, target) == [(0, 0, 0), (1, 0, 128)]
    assert [place.twins for place in locate_layers(layers, target, "file")] == [2, 2]


def test_a_small_layer_does_not_take_a_part_of_a_large_one():
    """The large one is placed first, wherever it stands in the graph."""
    small, large = dense(0, [[5] * 4] * 16), dense(1, [[5] * 8] * 16)
    assert find([small, large], compiled(laid_out(large) + laid_out(small))) == [(0, 0, 128), (1, 0, 0)]


def test_looks_at_aligned_places_only():
    """Parameters that do not begin at a multiple of 64 are not as the compiler lays them out."""
    layer = dense(0, [[5, 6, 7, 8]] * 16)
    with pytest.raises(GateNotMet, match="operator 0 FULLY_CONNECTED"):
        find([layer], compiled(bytes(16) + laid_out(layer) + bytes(48)))


def test_two_layers_with_one_place_are_found_but_no_template():
    """Their bytes are there, so they count as found; whose place it is cannot be told, so it is not used."""
    layers = [dense(n, [[5, 6, 7, 8]] * 16) for n in range(2)]
    target = compiled(laid_out(layers[0]) + bytes(64))
    found = find_layers(layers, target, "file")
    assert [place.span for place in found.places] == [Span(len(PREFIX), 64)] * 2 and not found.missing
    with pytest.raises(GateNotMet, match="2 layers have 1 places"):
        locate_layers(layers, target, "file")


def test_finds_what_is_there_of_a_model():
    """Of a file that holds a part of the layers, these are found and the others named."""
    layers = [dense(n, [[n + 1] * 8] * 16) for n in range(6)]
    found = find_layers(layers, compiled(laid_out(layers[4])), "file")
    assert [place.operator for place in found.places] == [4]
    assert [text.split(",")[0] for text in found.missing] == [
        f"operator {n} FULLY_CONNECTED" for n in (0, 1, 2, 3, 5)
    ]


def test_refuses_to_stop_looking_half_way(monkeypatch):
    """A second place that is not looked for would keep its old weights without a word."""
    layer = dense(0, [[5, 6, 7, 8]] * 16)
    target = compiled(laid_out(layer) * 40)
    assert find([layer], target) == [(0, 0, 0)]
    monkeypatch.setattr(locate, "_MAX_BYTES_SEEN", 20 * locate._LEAST_COMPARED_BYTES)
    with pytest.raises(GateNotMet, match="too much"):
        find([layer], target)


def test_refuses_at_once_what_cannot_fit():
    """More layers than any model has, or larger ones than the parameters, are not searched for."""
    layer = dense(0, [[5, 6, 7, 8]] * 16)
    with pytest.raises(GateNotMet, match="1 layers with 64 bytes"):
        find([layer], compiled(b""))
    with pytest.raises(GateNotMet, match="3000 layers"):
        find([layer] * 3000, compiled(laid_out(layer) * 3000))


def test_refuses_weights_of_a_kind_that_it_does_not_know():
    """A layer whose weights are not in the file cannot be laid out."""
    layer = Operator(2, "CONV_2D", 1, (tensor(), tensor()), (tensor(),), {})
    with pytest.raises(GateNotMet, match="cannot be laid out"):
        find([layer], compiled(bytes(64)))
