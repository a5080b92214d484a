"""The whole story, from a trained model to a bundle."""

import dataclasses
import json

import numpy as np
import pytest

from contract.artifacts import BundleManifest, Preprocessing
from contract.codec import decode, encode
from host_cli.errors import GateNotMet, WrongUsage
from quantize import pipeline
from quantize.pipeline import quantize
from tests.quantize.compiled_pairs import PAIRS, pairs


def manifest_of(folder) -> BundleManifest:
    return decode(BundleManifest, (folder / "manifest.json").read_bytes())


def test_the_bundle_holds_what_its_manifest_says(outcome):
    """Every file is there, with its size and hash."""
    import hashlib

    about = manifest_of(outcome.bundle)
    assert (outcome.bundle / "manifest.json").read_bytes() == encode(outcome.manifest)
    for entry in (*about.files().values(), about.report):
        content = (outcome.bundle / entry.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.size, entry.sha256)
    assert {path.name for path in outcome.bundle.iterdir()} == {
        "manifest.json", "model.tflite", "labels.txt", "preprocessing.json", "golden.npz", "report.json",
    }  # fmt: skip
    assert (about.name, about.compiled, about.fallback) == ("fashion", False, None)
    assert about.inputs[0].shape == (1, 28, 28, 1) and about.inputs[0].dtype == "uint8"


def test_int8_is_about_as_good_as_float(outcome):
    """On the held-out samples that did not calibrate."""
    assert outcome.accuracy.samples == 2000 - 200
    assert outcome.accuracy.float32 > 0.75
    assert abs(outcome.accuracy.drop) < 0.01
    assert (outcome.tpu_ops, outcome.cpu_ops) == (12, 0)


def test_labels_and_preprocessing_travel_as_files(outcome):
    """One label a line; the preprocessing as the contract spells it."""
    assert (outcome.bundle / "labels.txt").read_text().splitlines()[9] == "Boot"
    about = decode(Preprocessing, (outcome.bundle / "preprocessing.json").read_bytes())
    assert about == Preprocessing(height=28, width=28, channels=1)


def test_the_report_tells_how_it_was_made(outcome, test_images):
    """Per class accuracy, the calibration samples, where each operator runs, who did it."""
    report = json.loads((outcome.bundle / "report.json").read_text())
    picked = report["calibration"]["indices"]
    assert len(set(picked)) == 200
    assert np.bincount(test_images[1][picked]).tolist() == [20] * 10
    assert sum(row["samples"] for row in report["accuracy"]["per_class"]) == 1800
    assert len(report["check"]["ops"]) == 12
    assert {"reefline", "tensorflow", "keras", "runtime"} <= set(report["versions"])


def test_same_inputs_same_bytes(job, outcome, tmp_path):
    """Nothing in a bundle depends on the day or on what ran before."""
    again = quantize(dataclasses.replace(job, out=tmp_path / "again"))
    for path in outcome.bundle.iterdir():
        assert (again.bundle / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_large_drop_leaves_the_earlier_bundle(job, tmp_path, monkeypatch):
    """A gate that is not met writes nothing."""
    out = tmp_path / "build"
    quantize(dataclasses.replace(job, out=out))
    before = (out / "manifest.json").read_bytes()
    real = pipeline.run_model
    monkeypatch.setattr(pipeline, "run_model", lambda *a, **k: np.roll(real(*a, **k), 1, axis=1))
    with pytest.raises(GateNotMet, match="accuracy fell"):
        quantize(dataclasses.replace(job, out=out, seed=1))
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_input_and_output_have_the_type_asked_for(job, tmp_path, io):
    """--io decides the border; within, everything is int8."""
    found = quantize(dataclasses.replace(job, out=tmp_path / "build", io=io, version="v1"))
    about = manifest_of(tmp_path / "build")
    assert (about.inputs[0].dtype, about.outputs[0].dtype, about.version) == (io, io, "v1")
    assert abs(found.accuracy.drop) < 0.01
    with np.load(tmp_path / "build" / "golden.npz") as golden:
        assert golden["inputs"].dtype == golden["outputs"].dtype == io


@pytest.mark.parametrize("samples", [2000, 5000])
def test_calibration_leaves_something_to_measure_with(job, tmp_path, samples):
    """A sample that calibrated does not measure."""
    with pytest.raises(WrongUsage, match="0 to measure with"):
        quantize(dataclasses.replace(job, out=tmp_path / "build", calibration_samples=samples))
    assert list(tmp_path.iterdir()) == []


def test_a_required_compiler_that_is_absent_is_a_gate(job, monkeypatch, tmp_path):
    """--compile require does not write an uncompiled bundle."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GateNotMet, match="edgetpu_compiler not found"):
        quantize(dataclasses.replace(job, out=tmp_path / "build", compile="require"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_one_line_says_so(job, monkeypatch, tmp_path, capsys):
    """--compile auto goes on with the CPU model."""
    monkeypatch.setenv("PATH", str(tmp_path))
    quantize(dataclasses.replace(job, out=tmp_path / "build", compile="auto"))
    line = "edgetpu_compiler not found: not compiled, the CPU model is what travels"
    assert capsys.readouterr().err.splitlines().count(line) == 1


def test_a_compiled_bundle_takes_the_cpu_model_along(job, monkeypatch, tmp_path):
    """The compiled file is the model, the CPU file the fallback, the golden answers the CPU's."""
    compiled = (PAIRS / pairs()[0]["compiled_file"]).read_bytes()
    result = pipeline.compiler.Compiled(compiled, "16.0.384591198", 11, 1)
    monkeypatch.setattr(pipeline.compiler, "find_compiler", lambda: tmp_path / "edgetpu_compiler")
    monkeypatch.setattr(pipeline.compiler, "compile_model", lambda program, content: result)
    found = quantize(dataclasses.replace(job, out=tmp_path / "build", compile="auto"))
    about = manifest_of(tmp_path / "build")
    assert about.compiled and about.model.path == "model_edgetpu.tflite"
    assert about.fallback is not None and about.fallback.path == "model.tflite"
    assert found.to_json()["ops"] == {"tpu": 11, "cpu": 1} and found.to_json()["compiled"]
