"""What a bundle is made of: its files and its manifest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from contract.artifacts import BUNDLE_FILE, Accuracy, BundleManifest, Calibration
from contract.codec import encode
from quantize.bundle import describe_file
from quantize.findings import Findings
from quantize.job import Job
from quantize.minimum_runtime import name_minimum_runtime
from quantize.recipe import build_recipe
from quantize.report.figures import build_figures
from quantize.report.page import build_page
from quantize.runtime import describe_tensors

CPU_MODEL = "model.tflite"
TPU_MODEL = "model_edgetpu.tflite"
LABELS, PREPROCESSING, GOLDEN = "labels.txt", "preprocessing.json", "golden.npz"
REPORT, PAGE, RECIPE = "report.json", "report.html", "recipe.json"

_VERSION_DIGITS = 12


def build_bundle(job: Job, found: Findings) -> tuple[BundleManifest, dict[str, bytes]]:
    """Return the manifest, and the content of every file of the bundle, the manifest's too, by name."""
    files = _build_travelling(found)
    version = job.version or _name_version(files)
    title = f"{found.sources.card.name} {version}"
    figures, recipe = build_figures(job, found), build_recipe(job, found)
    files |= {
        REPORT: _write_json(figures),
        RECIPE: _write_json(recipe),
        PAGE: build_page(title, figures, recipe).encode(),
    }
    manifest = _build_manifest(job, found, files, version)
    return manifest, {**files, BUNDLE_FILE: encode(manifest)}


def _build_travelling(found: Findings) -> dict[str, bytes]:
    """Return the files that go to a board; a compiled model's CPU form goes along as its fallback."""
    card = found.sources.card
    files = {
        CPU_MODEL: found.converted.content,
        LABELS: "".join(f"{label}\n" for label in card.labels).encode(),
        PREPROCESSING: encode(card.preprocessing),
        GOLDEN: found.golden.to_npz(),
    }
    return files if found.tpu_content is None else {TPU_MODEL: found.tpu_content, **files}


def _name_version(travelling: Mapping[str, bytes]) -> str:
    """Name a version after what travels: other bytes, other name."""
    hashes = (hashlib.sha256(content).hexdigest() for _, content in sorted(travelling.items()))
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:_VERSION_DIGITS]


def _write_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _build_manifest(job: Job, found: Findings, files: Mapping[str, bytes], version: str) -> BundleManifest:
    """Describe the bundle's files and what is known of the model."""
    entries = {name: describe_file(name, content) for name, content in files.items()}
    entry, result = describe_tensors(files[CPU_MODEL])
    accuracy = found.measured.accuracy
    return BundleManifest(
        name=found.sources.card.name,
        version=version,
        model=entries.get(TPU_MODEL, entries[CPU_MODEL]),
        fallback=entries[CPU_MODEL] if TPU_MODEL in entries else None,
        labels=entries[LABELS],
        preprocessing=entries[PREPROCESSING],
        golden=entries[GOLDEN],
        report=entries[REPORT],
        inputs=(entry,),
        outputs=(result,),
        compiled=TPU_MODEL in entries,
        reweighted=found.converted.reweighted is not None,
        minimum_runtime=name_minimum_runtime(files[CPU_MODEL]),
        accuracy=Accuracy(accuracy.before, accuracy.after, accuracy.samples),
        calibration=Calibration(len(found.sources.calibration), job.seed),
        page=entries[PAGE],
        recipe=entries[RECIPE],
    )
