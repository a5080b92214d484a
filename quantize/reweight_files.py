"""The story of `quantize reweight`: a template's two files and new weights in, two files with them out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contract.artifacts import BUNDLE_FILE
from host_cli.errors import WrongUsage
from host_cli.files import write_bytes
from host_cli.progress import progress
from quantize.accuracy import Comparison
from quantize.edgetpu.reweight import Reweighted, reweight_float, reweight_int8
from quantize.edgetpu.template import Template, learn
from quantize.job import Job
from quantize.tflite_file import read_model_file

KERAS_SUFFIX = ".keras"


@dataclass(frozen=True)
class Outcome:
    """What came out: two files in `out`, (Edge TPU, CPU) operators, and the accuracy if there were data."""

    out: Path
    cpu_file: str
    tpu_file: str
    ops: tuple[int, int]
    reweighted: Reweighted
    accuracy: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """Return what `quantize reweight --json` prints."""
        found = self.reweighted
        return {
            "ok": True,
            "accuracy": self.accuracy and _figures(self.accuracy),
            "ops": {"tpu": self.ops[0], "cpu": self.ops[1]},
            "compiled": True,
            "reweighted": True,
            "files": {"model": self.tpu_file, "fallback": self.cpu_file},
            "size_bytes": len(found.compiled),
            "parameters": {"bytes": found.parameter_bytes, "changed_bytes": found.changed_bytes},
            "saturation": [asdict(one) for one in found.saturation],
            "clipped": [asdict(one) for one in found.clipped],
        }

    def to_text(self) -> str:
        """Return the same for a person."""
        found = self.reweighted
        lines = [
            f"{self.out / self.tpu_file}",
            f"  on a CPU    {self.out / self.cpu_file}",
            f"  parameters  {found.changed_bytes} of {found.parameter_bytes} bytes are not the template's",
        ]
        if self.accuracy is not None:
            lines.append(f"  accuracy    {self.accuracy.before:.4f} float, {self.accuracy.after:.4f} int8")
        if found.saturation:
            worst = max(found.saturation, key=lambda one: one.share)
            lines.append(f"  saturation  at most {worst.share:.3%} of an activation, {worst.tensor[:60]}")
        lines += [
            f"  clipped     {one.clipped} of {one.weights} weights, {one.layer}" for one in found.clipped
        ]
        return "\n".join(lines)


def _figures(accuracy: Comparison) -> dict[str, float]:
    return {
        "float": round(accuracy.before, 6),
        "int8": round(accuracy.after, 6),
        "drop": round(accuracy.drop, 6),
    }


def reweight_files(
    weights: Path, template: tuple[Path, Path], out: Path, data: Path | None, pixels: str | None = None
) -> Outcome:
    """Write `out`/N.tflite and `out`/N_edgetpu.tflite, N being the name of `weights`.

    Args:
        weights: a .keras file of the template's architecture, or an int8 .tflite file that differs from the
            template's original in weights only.
        template: the original .tflite file and what edgetpu_compiler made of it.
        out: a folder.
        data: held-out pictures, .npz; they measure a .keras file's ranges and accuracy.
        pixels: what a .keras file takes in their place, of data.PIXEL_RANGES; None: see Job.

    Raises:
        WrongUsage: an input cannot be used, or a file would be written over.
        GateNotMet: it needs a real compile, or it loses too much accuracy.
        Failed: the converter, the interpreter or the disk gave up.
    """
    is_keras = weights.suffix == KERAS_SUFFIX
    if is_keras is (data is None):
        what = "a .keras file needs samples to measure it with, and only that does"
        raise WrongUsage(what, str(weights), "--data val.npz with --weights NEW.keras")
    names = (f"{weights.stem}.tflite", f"{weights.stem}_edgetpu.tflite")
    _require_free(out, names, (weights, *template))
    original, compiled = (read_model_file(path) for path in template)
    learned = learn(original, compiled, str(template[1]))
    if data is not None:
        job = Job(model=weights, data=data, out=out, pixels=pixels)
        found, accuracy = _from_keras(job, original, learned)
    else:
        found, accuracy = reweight_int8(read_model_file(weights), learned, str(weights)), None
    for name, content in zip(names, (found.content, found.compiled), strict=True):
        write_bytes(out / name, content)
    cpu_ops = len(learned.compiled.cpu_ops)
    return Outcome(out, *names, (len(learned.model.operators) - cpu_ops, cpu_ops), found, accuracy)


def _require_free(out: Path, names: tuple[str, str], inputs: tuple[Path, ...]) -> None:
    """Refuse to write over what is read, or into a bundle, whose manifest would no longer be true."""
    if (out / BUNDLE_FILE).exists():
        raise WrongUsage("there is a bundle", str(out), "quantize MODEL.keras --template makes a new one")
    taken = {path.resolve() for path in inputs}
    for name in names:
        if (out / name).resolve() in taken:
            raise WrongUsage(
                "this is one of the files to read", str(out / name), "give another folder with -o"
            )


def _from_keras(job: Job, original: bytes, template: Template) -> tuple[Reweighted, Comparison]:
    # Only Keras models need these, and they bring TensorFlow.
    from quantize.convert.prepare import prepare
    from quantize.convert.ptq import convert_float, to_real
    from quantize.gates import require_accuracy
    from quantize.measurement import measure
    from quantize.sources import load_sources

    sources = load_sources(job)
    samples = to_real(sources.data.images[sources.calibration], sources.card.preprocessing)
    float32 = convert_float(prepare(sources.model, str(job.model)).model)
    with progress("measure the ranges", len(samples), "samples") as advance:
        found = reweight_float(float32, original, template, samples, str(job.model), advance)
    measured = measure(sources, found.content)
    require_accuracy(job, measured.accuracy, sources.card)
    return found, measured.accuracy
