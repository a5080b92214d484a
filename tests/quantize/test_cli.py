"""The command line: spellings, exit codes, what goes where."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quantize.cli import main


def answer(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("spelling", [[], ["convert"]])
def test_quantizes_a_model_by_default(trained, tmp_path, capsys, spelling):
    """`quantize MODEL.keras` needs no command word; --json is one object on stdout."""
    arguments = [str(trained / "model.keras"), "--data", str(trained / "val.npz"), "-o", str(tmp_path / "b")]
    assert main([*spelling, *arguments, "--compile", "never", "--calibration-samples", "20", "--json"]) == 0
    found = answer(capsys)
    assert list(found) == [
        "ok", "bundle", "accuracy", "ops", "compiled", "reweighted", "files", "size_bytes",
        "remedies", "oldest_runtime",
    ]  # fmt: skip
    assert found["ok"] and found["bundle"] == str(tmp_path / "b") and not found["reweighted"]
    assert found["accuracy"]["drop"] == pytest.approx(
        found["accuracy"]["float"] - found["accuracy"]["int8"], abs=2e-6
    )
    for name in found["files"].values():
        assert (tmp_path / "b" / name).is_file()


def test_options_may_come_first(trained, tmp_path, capsys):
    """The model need not be the first word."""
    arguments = [
        "--data",
        str(trained / "absent.npz"),
        "-o",
        str(tmp_path / "b"),
        str(trained / "model.keras"),
    ]
    assert main(["--json", *arguments]) == 2
    assert "absent.npz" in answer(capsys)["error"]["message"]


def test_check_prints_its_forecast(outcome, capsys):
    """`quantize check` tells per operator; 0 means it would compile."""
    assert main(["check", str(outcome.bundle / "model.tflite"), "--json"]) == 0
    assert len(answer(capsys)["ops"]) == 12


def test_check_ends_with_4_when_it_would_not_compile(trained, test_images, tmp_path, capsys):
    """The result is printed all the same."""
    import keras
    import numpy as np

    from tests.quantize.conftest import convert_plainly

    model = keras.models.load_model(trained / "model.keras", compile=False)
    path = tmp_path / "open.tflite"
    path.write_bytes(convert_plainly(model, test_images[0][:5] / np.float32(255)))
    assert main(["check", str(path), "--json"]) == 4
    found = answer(capsys)
    assert not found["would_compile"] and "RESHAPE" in found["errors"][0]


def test_compares_two_files(outcome, trained, capsys):
    """`quantize compare` prints one JSON object, and for a person a few short lines."""
    model = str(outcome.bundle / "model.tflite")
    arguments = ["compare", model, model, "--data", str(trained / "val.npz")]
    assert main([*arguments, "--json"]) == 0
    found = answer(capsys)
    assert found["agreement"] == 1.0 and found["samples"] == 2000 and len(found["per_class"]) == 10
    assert main(arguments) == 0
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())


def test_the_result_fits_on_a_terminal(outcome):
    """80 columns, but for the paths."""
    lines = dataclasses.replace(outcome, bundle=Path("build")).to_text().splitlines()
    assert len(lines) == 6 and all(len(line) <= 80 for line in lines)


def test_an_error_is_three_lines(tmp_path, capsys):
    """What, where, what to try; no traceback."""
    (tmp_path / "notes.tflite").write_text("hello")
    assert main(["check", str(tmp_path / "notes.tflite")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(":")[0].strip() for line in said.err.splitlines()] == ["error", "at", "try"]


def test_a_misspelt_command_is_told(capsys):
    """It is no model: those have a suffix, or are there."""
    assert main(["chekc", "model.tflite", "--json"]) == 2
    assert "Did you mean 'check'?" in answer(capsys)["error"]["message"]
    assert main(["chekc.keras", "--json"]) == 2
    assert "--data" in answer(capsys)["error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.keras"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--io", "int4"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--pixels", "0..2"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--calibration-samples", "0"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--version", "../../etc"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--max-drop", "nan"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--max-class-drop", "1.5"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--cpu-ops", "maybe"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--min-runtime-version", "9"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--template", "only_one.tflite"],
        ["model.keras", "--data", "val.npz", "-o", "b", "--oldest-runtime", "/no/such/python"],
        ["compare", "a.tflite", "--data", "val.npz"],
        ["compare", "a.tflite", "b.tflite", "--data", "val.npz"],
        ["--bogus"],
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments, capsys):
    """Usage errors are told in JSON too."""
    assert main([*arguments, "--json"]) == 2
    assert answer(capsys)["error"]["code"] == "wrong_usage"


def test_a_gate_ends_with_4_and_leaves_nothing(trained, tmp_path, capsys, monkeypatch):
    """A required compiler that is absent."""
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = [str(trained / "model.keras"), "--data", str(trained / "val.npz"), "-o", str(tmp_path / "b")]
    assert main([*arguments, "--compile", "require", "--json"]) == 4
    assert answer(capsys)["error"]["code"] == "gate_not_met"
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_tensorflow():
    """--help is instant because nothing heavy is imported."""
    code = (
        "import sys; from quantize.cli import main; main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'numpy', 'tflite')))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "convert" in done.stdout and "check" in done.stdout
    assert time.monotonic() - started < 3
