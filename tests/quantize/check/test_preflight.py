"""`quantize check`: the forecast against files that went through the real compiler."""

from quantize.check.preflight import check, find_layer
from quantize.tflite_file import load_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.graphs import chain, model, operator, tensor


def test_forecasts_what_the_compiler_did():
    """Every operator of every recorded pair goes where the real compiler put it."""
    seen, wrong = 0, []
    for pair in pairs():
        found = check(load_tflite(PAIRS / pair["original_file"]))
        assert found.would_compile, (pair["original_file"], found.errors)
        for told in pair["ops"]:
            seen += 1
            if found.placements[told["i"]].target != told["on"]:
                wrong.append((pair["original_file"], told["i"], told["op"]))
    assert seen > 500 and wrong == []


def test_sees_that_a_file_is_compiled_already():
    """The compiler's own output is not something to compile."""
    for pair in pairs()[:3]:
        found = check(load_tflite(PAIRS / pair["compiled_file"]))
        assert not found.would_compile and "already" in found.errors[0]


def test_json_has_the_documented_shape(int8_model):
    """Scripts rely on these keys."""
    from quantize.tflite_file import parse_tflite

    found = check(parse_tflite(int8_model, "model.tflite")).to_json()
    assert list(found) == [
        "ok", "would_compile", "ops", "subgraphs", "parameters", "activation_bytes_per_tile", "errors",
    ]  # fmt: skip
    keys = ["index", "op", "version", "tensor", "layer", "target", "status", "reason", "fix"]
    assert list(found["ops"][1]) == keys
    assert found["ok"] and found["subgraphs"] == 1 and {row["target"] for row in found["ops"]} == {"tpu"}
    assert found["parameters"]["on_chip_bytes"] > 200_000 and found["parameters"]["streamed_bytes"] == 0


def test_says_what_stops_the_compiler():
    """An operator that is too new stops it altogether, with its own words."""
    found = check(model(operator("CONV_2D", [tensor(), tensor()], [tensor()], 6)))
    assert not found.would_compile and "CONV_2D" in found.errors[0]
    assert found.placements[0].status == "Operation version not supported"


def test_a_model_of_which_nothing_maps_would_not_compile():
    """The compiler would say success and map nothing: that is no success."""
    found = check(model(operator("RELU", [tensor(dtype="FLOAT32")], [tensor(dtype="FLOAT32")])))
    assert not found.to_json()["ok"] and found.to_json()["subgraphs"] == 0


def test_text_names_reason_and_remedy():
    """A person reads which operator stays behind and what to do."""
    text = check(chain("RELU", "DIV")).to_text()
    assert "DIV" in text and "try: multiply by a constant" in text
    assert "1 operators for the Edge TPU, 1 for the CPU" in text


def test_finds_the_layer_in_a_tensor_name():
    """The converter writes layer names into tensor names."""
    assert find_layer("classifier/sequential/conv2d_1/Relu;other/thing") == "conv2d_1"
    assert find_layer("StatefulPartitionedCall:0") is None
