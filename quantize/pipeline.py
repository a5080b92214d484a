"""The story of one quantization: data, calibration, int8, gates, compiler, golden samples, bundle."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.artifacts import BUNDLE_FILE, BundleManifest
from contract.codec import encode
from host_cli.errors import GateNotMet, WrongUsage
from host_cli.progress import progress
from quantize.accuracy import Comparison, compare, require_small_drop
from quantize.bundle import require_target, write_bundle
from quantize.check.preflight import Check, check
from quantize.check.requirements import require
from quantize.contents import CPU_MODEL, Job, build_files, build_manifest, build_report
from quantize.convert import ptq
from quantize.data import Indices, LabelledImages, ModelCard, load_card, load_images, require_fit
from quantize.edgetpu import compiler
from quantize.golden import GoldenSamples, pick_golden
from quantize.representative import pick_balanced
from quantize.runtime import describe_tensors, prepare_pixels, run_model
from quantize.tflite_file import parse_tflite


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
                "float": round(self.accuracy.float32, 6),
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
            f"{self.manifest.name} {self.manifest.version}: accuracy {found.float32:.4f} float, "
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
    graph = parse_tflite(content, CPU_MODEL)
    require(graph, job.io, str(job.model))
    rest = LabelledImages(data.images[held_out], data.labels[held_out])
    accuracy, golden = _measure(job, model, content, rest, card)

    forecast = check(graph)
    compiled = _compile(job, program, content)
    ops = (compiled.tpu_ops, compiled.cpu_ops) if compiled else (forecast.tpu_ops, forecast.cpu_ops)
    _warn_of_cpu_ops(forecast)

    report = build_report(job, accuracy, calibration, forecast, compiled)
    files = build_files(content, compiled, card, golden, report)
    manifest = build_manifest(job, card, accuracy, calibration, files)
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


def _compile(job: Job, program: Path | None, content: bytes) -> compiler.Compiled | None:
    if program is not None:
        with progress("compile for the Edge TPU", 1, "model") as advance:
            compiled = compiler.compile_model(program, content)
            advance(1)
        return compiled
    if job.compile == "auto":
        print("edgetpu_compiler not found: not compiled, the CPU model is what travels", file=sys.stderr)
    return None


def _warn_of_cpu_ops(forecast: Check) -> None:
    if forecast.cpu_ops:
        print(f"{forecast.cpu_ops} operators stay on the CPU: see quantize check", file=sys.stderr)
