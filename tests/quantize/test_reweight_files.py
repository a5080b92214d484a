"""The command: files in, files out, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantize.cli import main
from quantize.edgetpu.package import read_compiled
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.small_models import keras_model
from tests.quantize.edgetpu.tracker import save_tracker
from tests.quantize.edgetpu.weights import with_other_weights


def template_of(name: str) -> list[str]:
    pair = next(pair for pair in pairs() if name in pair["compiled_file"])
    return [str(PAIRS / pair["original_file"]), str(PAIRS / pair["compiled_file"])]


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.tflite"
    path.write_bytes(with_other_weights(Path(template_of("dense_256")[0]).read_bytes()))
    return path


def run(weights, out, *more: str) -> int:
    arguments = ["--template", *template_of("dense_256"), "--weights", str(weights), "-o", str(out)]
    return main(["reweight", *arguments, *more, "--json"])


def test_writes_both_files_and_tells_of_them(new, tmp_path, capsys):
    """stdout is one JSON object; stderr says that this is experimental."""
    assert run(new, tmp_path / "build") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert list(found) == [
        "ok", "accuracy", "ops", "compiled", "reweighted", "files", "size_bytes", "parameters", "saturation",
        "clipped",
    ]  # fmt: skip
    assert found["ok"] and found["compiled"] and found["reweighted"] and found["accuracy"] is None
    assert found["ops"] == {"tpu": 3, "cpu": 0}
    assert 0 < found["parameters"]["changed_bytes"] <= found["parameters"]["bytes"]
    assert found["files"] == {"model": "new_edgetpu.tflite", "fallback": "new.tflite"}
    assert {path.name for path in (tmp_path / "build").iterdir()} == set(found["files"].values())
    assert (tmp_path / "build" / "new.tflite").read_bytes() == new.read_bytes()
    assert (tmp_path / "build" / "new_edgetpu.tflite").stat().st_size == found["size_bytes"]
    assert "experimental" in said.err and len(said.err.splitlines()) == 1


def test_tells_a_person_the_same(new, tmp_path, capsys):
    """Where the files are and how much has changed."""
    assert (
        main(
            [
                "reweight",
                "--template",
                *template_of("dense_256"),
                "--weights",
                str(new),
                "-o",
                str(tmp_path / "b"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "new_edgetpu.tflite" in said and "bytes are not the template's" in said


def test_the_same_weights_give_the_same_bytes(new, tmp_path, capsys):
    """Nothing depends on the day."""
    for folder in "ab":
        assert run(new, tmp_path / folder) == 0
    for name in ("new.tflite", "new_edgetpu.tflite"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_would_move_ends_with_4_and_writes_nothing(tmp_path, capsys):
    """Another architecture's file."""
    assert run(template_of("dense_512")[0], tmp_path / "build") == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "gate_not_met" and "real compile" in error["hint"]
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_written_over(new, tmp_path, capsys):
    """Neither what is read nor a bundle, whose manifest would be wrong."""
    before = new.read_bytes()
    assert run(new, new.parent) == 2
    assert "files to read" in json.loads(capsys.readouterr().out)["error"]["message"]
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "manifest.json").write_text("{}")
    assert run(new, tmp_path / "build") == 2
    assert "bundle" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert new.read_bytes() == before and len(list((tmp_path / "build").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1c\0\0\0TFL3" + bytes(90)])
def test_a_damaged_file_ends_with_2(tmp_path, capsys, content):
    """Three lines, no traceback, nothing written."""
    (tmp_path / "new.tflite").write_bytes(content)
    assert run(tmp_path / "new.tflite", tmp_path / "build") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "wrong_usage"
    assert not (tmp_path / "build").exists()


def test_only_a_keras_file_takes_data(new, tmp_path, capsys):
    """And it cannot do without."""
    assert run(new, tmp_path / "build", "--data", str(tmp_path / "val.npz")) == 2
    assert run(tmp_path / "new.keras", tmp_path / "build") == 2
    assert "--data" in capsys.readouterr().out


def test_a_keras_file_of_another_architecture_ends_with_4(tmp_path, capsys):
    """After its own loading and conversion."""
    keras_model(1).save(tmp_path / "new.keras")
    np.savez(tmp_path / "val.npz", x=np.zeros((210, 8, 8, 3), np.uint8), y=np.arange(210) % 4)
    assert run(tmp_path / "new.keras", tmp_path / "build", "--data", str(tmp_path / "val.npz")) == 4
    assert "architecture" in capsys.readouterr().out


def test_int8_weights_need_no_tensorflow(new, tmp_path):
    """So that a board, or a computer without it, can do this in a blink."""
    code = (
        "import sys; from quantize.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(code or any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    arguments = ["--template", *template_of("dense_256"), "--weights", str(new), "-o", str(tmp_path / "b")]
    done = subprocess.run(
        [sys.executable, "-c", code, "reweight", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tracker(tmp_path):
    """A Keras model and samples as cloud-train leaves them."""
    save_tracker(tmp_path, template_of("color_blue")[0])
    return tmp_path


def test_a_keras_model_gets_the_parameters_that_the_compiler_gave_it(tracker, capsys):
    """The red tracker's compiled file takes the blue tracker's weights: its parameters are then those of the
    file that Google's compiler made of the blue one."""
    arguments = ["--weights", str(tracker / "blue.keras"), "--data", str(tracker / "val.npz")]
    out = tracker / "build"
    assert (
        main(["reweight", "--template", *template_of("color_red"), *arguments, "-o", str(out), "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == {"float": 1.0, "int8": 1.0, "drop": 0.0}
    assert found["parameters"]["changed_bytes"] > 0 and found["clipped"] == []
    assert max(one["share"] for one in found["saturation"]) == 0
    ours, google = (
        (out / "blue_edgetpu.tflite").read_bytes(),
        Path(template_of("color_blue")[1]).read_bytes(),
    )
    assert parameters(ours) == parameters(google)


def test_a_keras_model_gets_the_pixels_asked_for(tracker, capsys):
    """Without a run.json they are 0..1, to which this model is blind; the error names the option."""
    (tracker / "run.json").unlink()
    arguments = ["--weights", str(tracker / "blue.keras"), "--data", str(tracker / "val.npz"), "--json"]
    command = ["reweight", "--template", *template_of("color_red"), *arguments, "-o", str(tracker / "build")]
    assert main(command) == 4
    assert "--pixels" in json.loads(capsys.readouterr().out)["error"]["hint"]
    assert not (tracker / "build").exists()
    assert main([*command, "--pixels", "0..255"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["int8"] == 1.0


def parameters(compiled: bytes) -> list[bytes]:
    spans = [entry.parameters for entry in read_compiled(compiled, "file").executables]
    return [compiled[span.start : span.end] for span in spans]
