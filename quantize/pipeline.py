"""The story of one quantization: data, calibration, int8, gates, compiler, golden samples, bundle."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract import __version__
from contract.artifacts import BUNDLE_FILE, Accuracy, BundleManifest, Calibration, FileEntry
from contract.codec import encode
from host_cli.errors import GateNotMet, WrongUsage
from host_cli.progress import progress
from quantize import compiler, ptq
from quantize.accuracy import Comparison, compare, require_small_drop
from quantize.bundle import describe_file, require_target, write_bundle
from quantize.data import Indices, LabelledImages, ModelCard, load_card, load_images, require_fit
from quantize.golden import GoldenSamples, pick_golden
from quantize.preflight import Check, check
from quantize.representative import pick_balanced
from quantize.requirements import require
from quantize.runtime import describe_tensors, name_runtime, prepare_pixels, run_model
from quantize.tflite_file import parse_tflite

CPU_MODEL = "model.tflite"
TPU_MODEL = "model_edgetpu.tflite"
# Every file is checked against the operators of TensorFlow Lite 2.5, the boards' stock runtime.
MINIMUM_RUNTIME = "2.5.0"
_VERSION_DIGITS = 12


@dataclass(frozen=True)
class Job:
    """What to quantize, with what, and how strictly."""

    model: Path
    data: Path
    out: Path
    labels: Path | None = None
    calibration_samples: int = 200
    seed: int = 0
    io: str = "uint8"
    max_drop: float = 0.01
    compile: str = "auto"
    version: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out: the bundle's manifest, its accuracy and where its operators run."""

    bundle: Path
    manifest: BundleManifest
    accuracy: Comparison
    tpu_ops: int
    cpu_ops: int

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize --json` prints."""
        about = self.manifest
        entries = {**about.files(), "report": about.report}
        return {
            "ok": True,
            "bundle": str(self.bundle),
            "accuracy": {
                "float": round(self.accuracy.float_, 6),
                "int8": round(self.accuracy.int8, 6),
                "drop": round(self.accuracy.drop, 6),
            },
            "ops": {"tpu": self.tpu_ops, "cpu": self.cpu_ops},
            "compiled": about.compiled,
            "reweighted": about.reweighted,
            "files": {role: entry.path for role, entry in entries.items()} | {"manifest": BUNDLE_FILE},
            "size_bytes": about.model.size,
        }

    def to_text(self) -> str:
        """Return the same for a person."""
        found = self.accuracy
        where = f"{self.tpu_ops} operators for the Edge TPU, {self.cpu_ops} for the CPU"
        state = "compiled" if self.manifest.compiled else "not compiled"
        return (
            f"{self.manifest.name} {self.manifest.version}: accuracy {found.float_:.4f} float, "
            f"{found.int8:.4f} int8 on {found.samples} samples\n{where} ({state})\nbundle: {self.bundle}"
        )


def quantize(job: Job) -> Outcome:
    """Make a bundle from a trained model.

    Raises:
        WrongUsage: an input cannot be used.
        GateNotMet: too much accuracy was lost, the file breaks a rule, or a required compiler is absent.
        Failed: the converter, the interpreter, the compiler or the disk gave up.
    """
    require_target(job.out)
    program = _find_compiler(job.compile)
    data = load_images(job.data)
    model = ptq.load_keras(job.model)
    shape, classes = ptq.input_shape(model), ptq.count_classes(model)
    card = load_card(job.model, job.labels, shape, classes)
    require_fit(data, shape, classes, str(job.data))

    calibration, held_out = _split(data, job)
    content = _convert(job, model, data.images[calibration], card)
    require(parse_tflite(content, CPU_MODEL), job.io, str(job.model))
    rest = LabelledImages(data.images[held_out], data.labels[held_out])
    accuracy, golden = _measure(job, model, content, rest, card)

    forecast = check(parse_tflite(content, CPU_MODEL))
    compiled = compiler.compile_model(program, content) if program else None
    if program is None and job.compile == "auto":
        print("edgetpu_compiler not found: not compiled, the CPU model is what travels", file=sys.stderr)
    ops = (compiled.tpu_ops, compiled.cpu_ops) if compiled else (forecast.tpu_ops, forecast.cpu_ops)
    _warn_of_cpu_ops(forecast)

    report = _report(job, accuracy, calibration, forecast, compiled)
    files = _files(content, compiled, card, golden, report)
    manifest = _manifest(job, card, accuracy, calibration, files)
    write_bundle(job.out, {**files, BUNDLE_FILE: encode(manifest)})
    return Outcome(job.out, manifest, accuracy, *ops)


def _find_compiler(wish: str) -> Path | None:
    program = None if wish == "never" else compiler.find_compiler()
    if program is None and wish == "require":
        hint = "install edgetpu_compiler (x86-64 Linux), or leave out --compile require"
        raise GateNotMet("edgetpu_compiler not found", "PATH", hint)
    return program


def _split(data: LabelledImages, job: Job) -> tuple[Indices, Indices]:
    """Return the samples that calibrate and those, all others, that measure."""
    calibration = pick_balanced(data.labels, job.calibration_samples, job.seed)
    held_out = np.setdiff1d(np.arange(len(data.labels)), calibration)
    if len(calibration) == 0 or len(held_out) == 0:
        what = f"{len(calibration)} samples to calibrate with and {len(held_out)} to measure with"
        hint = "both need some: give more data, or set --calibration-samples below its size"
        raise WrongUsage(what, str(job.data), hint)
    return calibration, held_out


def _convert(job: Job, model: Any, images: Any, card: ModelCard) -> bytes:
    samples = ptq.to_real(images, card.preprocessing)
    with progress("calibrate and convert", len(samples), "samples") as advance:
        return ptq.convert(model, samples, io=job.io, advance=advance)


def _measure(
    job: Job, model: Any, content: bytes, rest: LabelledImages, card: ModelCard
) -> tuple[Comparison, GoldenSamples]:
    """Score both models on the held-out samples, stop at the gate, pick golden samples among them."""
    with progress("measure the float model", len(rest.labels), "images") as advance:
        float_scores = ptq.predict_float(model, rest.images, card.preprocessing, advance)
    inputs = prepare_pixels(rest.images, card.preprocessing, describe_tensors(content)[0])
    with progress("measure the int8 model", len(rest.labels), "images") as advance:
        outputs = run_model(content, inputs, advance)
    accuracy = compare(rest.labels, float_scores, outputs)
    require_small_drop(accuracy, job.max_drop, str(job.model))
    return accuracy, pick_golden(content, inputs, outputs, rest.labels, job.seed)


def _warn_of_cpu_ops(forecast: Check) -> None:
    if forecast.cpu_ops:
        print(f"{forecast.cpu_ops} operators stay on the CPU: see quantize check", file=sys.stderr)


def _report(
    job: Job,
    accuracy: Comparison,
    calibration: Indices,
    forecast: Check,
    compiled: compiler.Compiled | None,
) -> bytes:
    """Write the figures that stay on this computer, as JSON."""
    per_class = [
        {"class": label, "samples": samples, "float": round(float_, 6), "int8": round(int8, 6)}
        for label, (samples, float_, int8) in accuracy.per_class.items()
    ]
    report = {
        "accuracy": {
            "float": round(accuracy.float_, 6),
            "int8": round(accuracy.int8, 6),
            "drop": round(accuracy.drop, 6),
            "samples": accuracy.samples,
            "max_drop": job.max_drop,
            "per_class": per_class,
        },
        "calibration": {"seed": job.seed, "indices": calibration.tolist()},
        "check": forecast.to_json(),
        "compiler": compiled.version if compiled else None,
        "versions": {"reefline": __version__, **ptq.name_versions(), "runtime": name_runtime()},
    }
    return json.dumps(report, indent=1).encode()


def _files(
    content: bytes,
    compiled: compiler.Compiled | None,
    card: ModelCard,
    golden: GoldenSamples,
    report: bytes,
) -> dict[str, bytes]:
    """Return the bundle's files by name; a compiled model's CPU form goes along as its fallback."""
    files = {
        CPU_MODEL: content,
        "labels.txt": "".join(f"{label}\n" for label in card.labels).encode(),
        "preprocessing.json": encode(card.preprocessing),
        "golden.npz": golden.to_npz(),
        "report.json": report,
    }
    return files if compiled is None else {TPU_MODEL: compiled.content, **files}


def _manifest(
    job: Job, card: ModelCard, accuracy: Comparison, calibration: Indices, files: Mapping[str, bytes]
) -> BundleManifest:
    entries = {name: describe_file(name, content) for name, content in files.items()}
    entry, result = describe_tensors(files[CPU_MODEL])
    return BundleManifest(
        name=card.name,
        version=job.version or _name_version(entries),
        model=entries.get(TPU_MODEL, entries[CPU_MODEL]),
        fallback=entries[CPU_MODEL] if TPU_MODEL in entries else None,
        labels=entries["labels.txt"],
        preprocessing=entries["preprocessing.json"],
        golden=entries["golden.npz"],
        report=entries["report.json"],
        inputs=(entry,),
        outputs=(result,),
        compiled=TPU_MODEL in entries,
        reweighted=False,
        minimum_runtime=MINIMUM_RUNTIME,
        accuracy=Accuracy(accuracy.float_, accuracy.int8, accuracy.samples),
        calibration=Calibration(len(calibration), job.seed),
    )


def _name_version(entries: Mapping[str, FileEntry]) -> str:
    """Name a version after what travels: other bytes, other name."""
    travelling = (entry.sha256 for name, entry in sorted(entries.items()) if name != "report.json")
    return hashlib.sha256("".join(travelling).encode()).hexdigest()[:_VERSION_DIGITS]
