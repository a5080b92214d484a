"""What a bundle is made of: its files, its report and its manifest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contract import __version__
from contract.artifacts import Accuracy, BundleManifest, Calibration, FileEntry
from contract.codec import encode
from quantize.accuracy import Comparison
from quantize.bundle import describe_file
from quantize.check.preflight import Check
from quantize.convert.ptq import name_versions
from quantize.data import Indices, ModelCard
from quantize.edgetpu.compiler import Compiled
from quantize.golden import GoldenSamples
from quantize.runtime import describe_tensors, name_runtime

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


def build_report(
    job: Job,
    accuracy: Comparison,
    calibration: Indices,
    forecast: Check,
    compiled: Compiled | None,
) -> bytes:
    """Write the figures that stay on this computer, as JSON."""
    per_class = [
        {"class": label, "samples": samples, "float": round(float32, 6), "int8": round(int8, 6)}
        for label, (samples, float32, int8) in accuracy.per_class.items()
    ]
    report = {
        "accuracy": {
            "float": round(accuracy.float32, 6),
            "int8": round(accuracy.int8, 6),
            "drop": round(accuracy.drop, 6),
            "samples": accuracy.samples,
            "max_drop": job.max_drop,
            "per_class": per_class,
        },
        "calibration": {"seed": job.seed, "indices": calibration.tolist()},
        "check": forecast.to_json(),
        "compiler": compiled.version if compiled else None,
        "versions": {"reefline": __version__, **name_versions(), "runtime": name_runtime()},
    }
    return json.dumps(report, indent=1).encode()


def build_files(
    content: bytes,
    compiled: Compiled | None,
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


def build_manifest(
    job: Job, card: ModelCard, accuracy: Comparison, calibration: Indices, files: Mapping[str, bytes]
) -> BundleManifest:
    """Describe the bundle's files and what is known of the model."""
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
        accuracy=Accuracy(accuracy.float32, accuracy.int8, accuracy.samples),
        calibration=Calibration(len(calibration), job.seed),
    )


def _name_version(entries: Mapping[str, FileEntry]) -> str:
    """Name a version after what travels: other bytes, other name."""
    travelling = (entry.sha256 for name, entry in sorted(entries.items()) if name != "report.json")
    return hashlib.sha256("".join(travelling).encode()).hexdigest()[:_VERSION_DIGITS]
