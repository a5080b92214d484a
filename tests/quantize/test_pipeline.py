"""The whole story, from a trained model to a bundle."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from contract.artifacts import BundleManifest, Preprocessing
from contract.codec import decode, encode
from host_cli.errors import Failed, GateNotMet, WrongUsage
from host_cli.files import sha256_of
from quantize import measurement
from quantize.edgetpu.template import learn, rewrite
from quantize.job import Job
from quantize.pipeline import quantize
from tests.quantize.compiled_pairs import PAIRS, pairs
from tests.quantize.edgetpu.recorded import SUCCESS_16
from tests.quantize.edgetpu.stand_in import write_stand_in
from tests.quantize.edgetpu.tracker import save_tracker
from tests.quantize.test_board_runtime import OLD_PYTHON


def manifest_of(folder) -> BundleManifest:
    return decode(BundleManifest, (folder / "manifest.json").read_bytes())


def test_the_bundle_holds_what_its_manifest_says(outcome):
    """Every file is there, with its size and hash."""
    import hashlib

    about = manifest_of(outcome.bundle)
    assert (outcome.bundle / "manifest.json").read_bytes() == encode(outcome.manifest)
    for entry in (*about.files().values(), about.report, about.page, about.recipe):
        content = (outcome.bundle / entry.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.size, entry.sha256)
    assert {path.name for path in outcome.bundle.iterdir()} == {
        "manifest.json", "model.tflite", "labels.txt", "preprocessing.json", "golden.npz", "report.json",
        "report.html", "recipe.json",
    }  # fmt: skip
    assert (about.name, about.compiled, about.fallback) == ("fashion", False, None)
    assert about.inputs[0].shape == (1, 28, 28, 1) and about.inputs[0].dtype == "uint8"


def test_int8_is_about_as_good_as_float(outcome):
    """On the held-out samples that did not calibrate."""
    assert outcome.accuracy.samples == 2000 - 200
    assert outcome.accuracy.before > 0.75
    assert abs(outcome.accuracy.drop) < 0.01
    assert outcome.ops == (12, 0)


def test_labels_and_preprocessing_travel_as_files(outcome):
    """One label a line; the preprocessing as the contract spells it."""
    assert (outcome.bundle / "labels.txt").read_text().splitlines()[9] == "Boot"
    about = decode(Preprocessing, (outcome.bundle / "preprocessing.json").read_bytes())
    assert about == Preprocessing(height=28, width=28, channels=1)


def test_the_report_tells_what_was_found(outcome, test_images):
    """Per class accuracy, the calibration samples, where each operator runs, the golden samples."""
    report = json.loads((outcome.bundle / "report.json").read_text())
    picked = report["calibration"]["indices"]
    assert len(set(picked)) == 200
    assert np.bincount(test_images[1][picked]).tolist() == [20] * 10
    assert sum(row["samples"] for row in report["accuracy"]["per_class"]) == 1800
    assert len(report["check"]["ops"]) == 12
    assert report["golden"] == {"samples": 20, "classes": 10} and report["oldest_runtime"] is None
    assert report["calibration"]["per_class"][1] == {"label": "Trouser", "samples": 20}
    assert sum(report["calibration"]["pixels"]) == 200 * 28 * 28
    assert len(report["layers"]) == 10 and min(row["sqnr_db"] for row in report["layers"]) > 10


def test_the_recipe_tells_all_that_it_takes(outcome, job):
    """Inputs with their hashes, options, samples, versions; no path and no time of this computer."""
    recipe = json.loads((outcome.bundle / "recipe.json").read_text())
    for role, path in (("model", job.model), ("data", job.data)):
        assert recipe["inputs"][role] == {"file": path.name, "sha256": sha256_of(path)}
    assert recipe["options"]["io"] == "uint8" and len(recipe["calibration"]["indices"]) == 200
    assert {"reefline", "tensorflow", "keras", "runtime"} <= set(recipe["versions"])
    for name in ("recipe.json", "report.json", "report.html"):
        text = (outcome.bundle / name).read_text()
        assert str(job.model.parent) not in text and str(job.out.parent) not in text


def test_same_inputs_same_bytes(job, outcome, tmp_path):
    """Nothing in a bundle depends on the day or on what ran before."""
    again = quantize(dataclasses.replace(job, out=tmp_path / "again"))
    for path in outcome.bundle.iterdir():
        assert (again.bundle / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_large_drop_leaves_the_earlier_bundle(job, tmp_path, monkeypatch):
    """A gate that is not met writes nothing."""
    out = tmp_path / "build"
    job = dataclasses.replace(job, out=out, calibration_samples=20)
    quantize(job)
    before = (out / "manifest.json").read_bytes()
    real = measurement.run_model
    monkeypatch.setattr(measurement, "run_model", lambda *a, **k: np.roll(real(*a, **k), 1, axis=1))
    with pytest.raises(GateNotMet, match="accuracy fell") as error:
        quantize(dataclasses.replace(job, seed=1))
    assert "most is lost in" in error.value.where and "--calibration-samples 100" in error.value.hint
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_input_and_output_have_the_type_asked_for(job, tmp_path, io):
    """--io decides the border; within, everything is int8."""
    variant = dataclasses.replace(job, io=io, version="v1", calibration_samples=50)
    found = quantize(dataclasses.replace(variant, out=tmp_path / "build"))
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
    stand_in = write_stand_in(tmp_path / "bin", SUCCESS_16, PAIRS / pairs()[0]["compiled_file"])
    monkeypatch.setenv("PATH", str(stand_in.parent), prepend=":")
    found = quantize(dataclasses.replace(job, out=tmp_path / "build", compile="require", min_runtime=13))
    about = manifest_of(tmp_path / "build")
    assert about.compiled and about.model.path == "model_edgetpu.tflite"
    assert (tmp_path / "build" / "model_edgetpu.tflite").read_bytes() == compiled
    assert about.fallback is not None and about.fallback.path == "model.tflite"
    assert found.to_json()["ops"] == {"tpu": 22, "cpu": 1} and found.to_json()["compiled"]
    report = json.loads((tmp_path / "build" / "report.json").read_text())
    assert report["compiler"]["version"] == "16.0.384591198" and report["memory"]["source"] == "compiler"
    with pytest.raises(GateNotMet, match="left 1 operators on the CPU"):
        quantize(dataclasses.replace(job, out=tmp_path / "other", cpu_ops="forbid", compile="require"))
    assert not (tmp_path / "other").exists()


def test_the_oldest_runtime_is_asked_where_there_is_one(job, tmp_path):
    """Its answers to the golden samples are compared with today's; the report names it."""
    if not OLD_PYTHON.is_file():
        pytest.skip(f"no CPython 3.7 with TensorFlow 2.5.3 at {OLD_PYTHON}: set REEFLINE_OLDEST_RUNTIME")
    found = quantize(dataclasses.replace(job, out=tmp_path / "build", oldest_runtime=OLD_PYTHON))
    assert found.agreement is not None and found.agreement.runtime.startswith("tensorflow 2.5.")
    assert found.agreement.samples == 20 and found.agreement.max_lsb <= 1
    assert found.agreement.runtime in (tmp_path / "build" / "report.html").read_text()


def test_a_template_makes_a_reweighted_bundle(tmp_path, capsys):
    """The blue tracker in the red one's compiled file: manifest, recipe and report say what was done."""
    red, blue = (
        next(pair for pair in pairs() if f"color_{name}" in pair["original_file"]) for name in ("red", "blue")
    )
    template = (PAIRS / red["original_file"], PAIRS / red["compiled_file"])
    save_tracker(tmp_path, str(PAIRS / blue["original_file"]))
    job = Job(tmp_path / "blue.keras", tmp_path / "val.npz", tmp_path / "build", template=template)
    outcome = quantize(job).to_json()
    about = manifest_of(job.out)
    assert about.reweighted and about.compiled and about.fallback is not None
    assert outcome["reweighted"] and outcome["parameters"]["changed_bytes"] > 0
    assert [about.inputs[0].dtype, about.outputs[0].dtype] == ["uint8", "int8"]
    again = rewrite(
        learn(*(path.read_bytes() for path in template), "red"),
        (job.out / "model.tflite").read_bytes(),
        "blue",
    )
    assert (job.out / "model_edgetpu.tflite").read_bytes() == again.content
    recipe = json.loads((job.out / "recipe.json").read_text())
    inputs = {"model", "data", "template", "template_compiled"}
    assert recipe["reweighted"] and inputs <= set(recipe["inputs"])
    assert "Experimental" in (job.out / "report.html").read_text()
    said = capsys.readouterr().err
    assert "experimental" in said and "edgetpu_compiler not found" not in said


def test_a_template_of_another_model_is_refused(job, outcome, tmp_path):
    """It needs a real compile, and nothing is written; nor is one asked for beside a template."""
    template = (outcome.bundle / "model.tflite", PAIRS / pairs()[0]["compiled_file"])
    with pytest.raises(GateNotMet):
        quantize(dataclasses.replace(job, out=tmp_path / "build", template=template))
    with pytest.raises(WrongUsage, match="takes the compiler's place"):
        quantize(dataclasses.replace(job, out=tmp_path / "build", template=template, compile="require"))
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_the_report_goes_where_asked(job, tmp_path):
    """--report writes the bundle's own page; a folder there is told before any work."""
    quantize(dataclasses.replace(job, out=tmp_path / "build", report=tmp_path / "copies" / "r.html"))
    page = (tmp_path / "build" / "report.html").read_bytes()
    assert (tmp_path / "copies" / "r.html").read_bytes() == page and page.startswith(b"<!doctype html>")
    with pytest.raises(WrongUsage, match="folder"):
        quantize(dataclasses.replace(job, out=tmp_path / "other", report=tmp_path))


def test_a_report_that_cannot_be_written_costs_no_bundle(job, tmp_path, monkeypatch):
    """A place that is wrong is told before any work; a full disk after the bundle is whole."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongUsage, match="nothing can be written there"):
        quantize(dataclasses.replace(job, out=tmp_path / "other", report=tmp_path / "file" / "r.html"))

    def fill_disk(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quantize.pipeline.write_bytes", fill_disk)
    with pytest.raises(Failed, match="No space left") as error:
        quantize(dataclasses.replace(job, out=tmp_path / "build", report=tmp_path / "r.html"))
    assert (tmp_path / "build" / "report.html").is_file() and "bundle is complete" in error.value.hint


def test_pixels_become_what_was_asked_for(job, tmp_path):
    """The range is used, and travels with the model and in the recipe."""
    other = dataclasses.replace(job, out=tmp_path / "build", pixels="-1..1", max_drop=1.0, max_class_drop=1.0)
    outcome = quantize(other)
    entry = outcome.manifest.inputs[0]
    assert (entry.scale, entry.zero_point) == (pytest.approx(2 / 255, rel=1e-3), 127)
    assert json.loads((other.out / "preprocessing.json").read_bytes())["offset"] == -1
    assert json.loads((other.out / "recipe.json").read_bytes())["options"]["pixels"] == "-1..1"


def test_a_model_that_guesses_is_told(job, tmp_path, capsys):
    """Where all pictures are of one class, none can do better than always answering that one."""
    with np.load(job.data) as arrays:
        chosen = arrays["y"] == 3
        np.savez(tmp_path / "val.npz", x=arrays["x"][chosen], y=arrays["y"][chosen])
    few = dataclasses.replace(job, data=tmp_path / "val.npz", out=tmp_path / "build", calibration_samples=20)
    quantize(few)
    said = capsys.readouterr().err
    assert "no better than always answering 'Dress'." in " ".join(said.split())
    assert all(len(line) <= 80 for line in said.splitlines())


def test_operators_on_the_cpu_are_told_or_forbidden(job, tmp_path, capsys):
    """Floats at the border make two: a warning by default, a gate with forbid."""
    floats = dataclasses.replace(job, io="float32", out=tmp_path / "build", calibration_samples=20)
    with pytest.raises(GateNotMet, match="2 of 12 operators stay on the CPU") as error:
        quantize(dataclasses.replace(floats, cpu_ops="forbid"))
    assert "QUANTIZE" in error.value.where and not (tmp_path / "build").exists()
    quantize(floats)
    said = capsys.readouterr().err
    assert "warning: 2 of 12 operators stay on the CPU" in said
    assert all(len(line) <= 80 for line in said.splitlines() if "warning" in line)
