"""`quantize inspect`: what is in a file."""

import json

import pytest

from host_cli.errors import WrongUsage
from quantize.cli import main
from quantize.edgetpu.inspection import inspect
from tests.quantize.compiled_pairs import PAIRS, pairs


def test_tells_what_is_in_every_recorded_file():
    """Originals and compiled files have the documented shape, with the recorded figures."""
    for pair in pairs():
        original = inspect(PAIRS / pair["original_file"]).to_json()
        assert original["kind"] == "original" and original["edgetpu"] is None
        assert [entry["op"] for entry in original["ops"]] == [entry["op"] for entry in pair["ops"]]
        compiled = inspect(PAIRS / pair["compiled_file"]).to_json()
        assert compiled["kind"] == "compiled"
        recorded = pair["edgetpu"][0]
        assert compiled["edgetpu"]["min_runtime"] == recorded["min_runtime_version"]
        assert [
            (entry["type"], entry["parameter_bytes"], entry["instruction_bytes"], int(entry["token"], 16))
            for entry in compiled["edgetpu"]["executables"]
        ] == [
            (
                told["type"].lower().replace("_", "-"),
                told["parameters_bytes"],
                sum(told["instruction_chunks_bytes"]),
                int(told["parameter_caching_token"], 16),
            )
            for told in recorded["executables"]
        ]
        assert len(compiled["edgetpu"]["cpu_ops"]) == pair["ops_cpu"]
        json.dumps(compiled)


def test_describes_inputs_and_outputs(int8_model, tmp_path):
    """Names, shapes, dtypes and quantization of a model's border."""
    path = tmp_path / "model.tflite"
    path.write_bytes(int8_model)
    (entry,) = inspect(path).to_json()["inputs"]
    assert (entry["shape"], entry["dtype"], entry["zero_point"]) == ([1, 28, 28, 1], "uint8", 0)
    assert entry["scale"] == pytest.approx(1 / 255)


def test_the_text_fits_a_terminal():
    """No line is wider than 80 columns, and CPU leftovers are listed."""
    pair = next(pair for pair in pairs() if "deeplab" in pair["compiled_file"])
    text = inspect(PAIRS / pair["compiled_file"]).to_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "left to the CPU: 1 RESIZE_BILINEAR" in text and "parameter-caching" in text
    assert "needs runtime 12" in text


def test_the_command_prints_one_json_object(int8_model, tmp_path, capsys):
    """stdout is the result only."""
    path = tmp_path / "model.tflite"
    path.write_bytes(int8_model)
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "original"
    assert main(["inspect", str(path)]) == 0
    assert "original, not compiled" in capsys.readouterr().out


def test_refuses_what_is_no_model(tmp_path, capsys):
    """A file of another kind is wrong usage with a hint, on both streams in JSON mode."""
    path = tmp_path / "notes.txt"
    path.write_text("to do: buy milk")
    with pytest.raises(WrongUsage):
        inspect(path)
    assert main(["inspect", str(path), "--json"]) == WrongUsage.exit_code
    assert json.loads(capsys.readouterr().out)["ok"] is False
