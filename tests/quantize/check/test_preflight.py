"""`quantize check`: the forecast against files that went through the real compiler."""

from quantize.check.preflight import ACTIVATION_LIMIT_BYTES_PER_TILE, check
from quantize.tflite_file import load_tflite
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.graphs import chain, constant, model, operator, tensor


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


def test_names_what_to_replace_in_recorded_models():
    """Of DeepLab's 8 operators on the CPU the first resize keeps 5; a decoder at the end keeps none."""
    expected = {"deeplab": (64, "RESIZE_BILINEAR", 5), "posenet": (32, "CUSTOM:PosenetDecoderOp", 0)}
    seen = 0
    for pair in pairs():
        for part, told in expected.items():
            if part in pair["original_file"]:
                first = check(load_tflite(PAIRS / pair["original_file"])).to_json()["first_blocking"]
                assert (first["index"], first["op"], first["blocks"]) == told
                seen += 1
    assert seen >= 3


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
        "ok", "would_compile", "ops", "subgraphs", "parameters", "activation_bytes_per_tile",
        "activation_limit_bytes_per_tile", "first_blocking", "errors", "warnings",
    ]  # fmt: skip
    keys = ["index", "op", "version", "tensor", "layer", "place", "target", "status", "reason", "fix"]
    assert list(found["ops"][1]) == keys
    assert found["ok"] and found["subgraphs"] == 1 and {row["target"] for row in found["ops"]} == {"tpu"}
    assert found["parameters"].pop("on_chip_bytes") > 200_000
    # The RESHAPE of a map into a vector.
    unknown = [row["index"] for row in found["ops"] if row["op"] == "RESHAPE"]
    assert found["parameters"] == {
        "streamed_bytes": 0, "split_is_estimate": False, "ops_of_unknown_size": unknown,
    }  # fmt: skip


def test_says_what_stops_the_compiler():
    """An operator that is too new stops it altogether, with its own words."""
    found = check(model(operator("CONV_2D", [tensor(), tensor()], [tensor()], 6)))
    assert not found.would_compile and "CONV_2D" in found.errors[0]
    assert found.placements[0].status == "Operation version not supported"


def test_a_model_of_which_nothing_maps_would_not_compile():
    """The compiler would say success and map nothing: that is no success."""
    found = check(model(operator("RELU", [tensor(dtype="FLOAT32")], [tensor(dtype="FLOAT32")])))
    assert not found.to_json()["ok"] and found.to_json()["subgraphs"] == 0


def test_tells_the_first_blocking_operator():
    """Scripts read which operator to replace, why, how, and what it costs."""
    first = check(chain("CAST", "RELU", "DIV", "RELU", "RELU")).to_json()["first_blocking"]
    assert (first["index"], first["op"], first["blocks"]) == (2, "DIV", 2)
    assert first["layer"] and first["reason"] and first["fix"] == "multiply by a constant instead"


def test_a_last_operator_on_the_cpu_blocks_nothing():
    """What stays at the end is told too, but keeps nothing from the Edge TPU."""
    first = check(chain("RELU", "DIV")).to_json()["first_blocking"]
    assert (first["index"], first["blocks"]) == (1, 0)
    assert check(chain("RELU", "TANH")).to_json()["first_blocking"] is None


def test_what_stops_the_compiler_comes_before_what_only_blocks():
    """An operator that cannot be loaded is the first to replace, wherever it stands."""
    found = check(chain("RELU", "DIV", "RELU", "GELU"))
    assert found.first_blocking == 3
    assert found.errors[0].startswith("Op builtin_code out of range: operator 3 GELU")


def test_errors_have_the_words_of_the_compiler():
    """Whoever searches for the compiler's message finds the operator that caused it."""
    grown = operator("RESHAPE", [tensor(), tensor((2,), "INT32")], [tensor((1, -1))])
    assert "only supports static-sized tensors" in check(model(grown)).errors[0]
    assert "unresolved custom op: Atan." in check(chain("CUSTOM:Atan")).errors[0]
    assert "Regular TensorFlow ops" in check(chain("CUSTOM:FlexErf")).errors[0]
    assert (
        "builtin opcode 'TILE' version '3'"
        in check(model(operator("TILE", [tensor()], [tensor()], 3))).errors[0]
    )


def test_warns_of_what_the_board_computes_wrongly():
    """Dense layers with one scale per channel give silent nonsense on the boards' runtime."""
    weights = constant([[1, 2], [3, 4]], "INT8", scales=(0.1, 0.2))
    dense = operator("FULLY_CONNECTED", [tensor((1, 2)), weights], [tensor((1, 2))])
    found = check(model(dense))
    assert found.would_compile and "wrongly without an error" in found.warnings[0]


def test_warns_of_activations_beyond_a_tile():
    """What does not fit into a tile's memory may make the compiler give up."""
    large = (1, 512, 512, 64)
    found = check(model(operator("RELU", [tensor(large)], [tensor(large)])))
    assert found.would_compile and f"{ACTIVATION_LIMIT_BYTES_PER_TILE:,}" in found.warnings[0]


def test_a_float_model_says_that_it_is_one():
    """The compiler calls it a success; there is nothing in it for the Edge TPU."""
    found = check(model(operator("RELU", [tensor(dtype="FLOAT32")], [tensor(dtype="FLOAT32")])))
    assert "floats" in found.errors[0] and found.advice == "quantize the whole model to int8, inputs too"


def test_floats_at_the_border_stay_there():
    """A model with float inputs and outputs maps but for its ends."""
    ends = [tensor(dtype="FLOAT32") for _ in range(2)]
    middle = [tensor() for _ in range(2)]
    found = check(
        model(
            operator("QUANTIZE", [ends[0]], [middle[0]]),
            operator("RELU", [middle[0]], [middle[1]]),
            operator("DEQUANTIZE", [middle[1]], [ends[1]]),
        )
    )
    assert found.would_compile and [placement.target for placement in found.placements] == [
        "cpu",
        "tpu",
        "cpu",
    ]
