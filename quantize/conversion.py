"""Makes the int8 model: converted with its own ranges, or re-weighted with those of a template."""

import sys
from dataclasses import dataclass
from pathlib import Path

from host_cli.progress import progress
from quantize.convert import ptq
from quantize.convert.prepare import Prepared, prepare
from quantize.convert.ptq import Floats
from quantize.edgetpu.reweight import EXPERIMENTAL, Reweighted, reweight_float
from quantize.edgetpu.template import learn
from quantize.job import Job
from quantize.sources import Sources
from quantize.tflite_file import read_model_file


@dataclass(frozen=True)
class Converted:
    """The int8 CPU model, and how it came to be.

    `rewrites` are layers that were written differently, `layer: how`; `remedies` what was done so that it
    loses less; `reweighted` is the re-weighted template, None if the model has its own ranges.
    """

    content: bytes
    rewrites: tuple[str, ...]
    remedies: tuple[str, ...] = ()
    reweighted: Reweighted | None = None


def make_int8(job: Job, sources: Sources) -> Converted:
    """Convert the model with ranges from the calibration samples, or with those of the job's template.

    Raises:
        GateNotMet: a layer cannot become int8 on the boards, or the template does not fit.
        WrongUsage: the template cannot be read.
        Failed: the converter gave up.
    """
    prepared = prepare(sources.model, str(job.model))
    samples = ptq.to_real(sources.data.images[sources.calibration], sources.card.preprocessing)
    if job.template is not None:
        reweighted = _reweight(job, job.template, prepared, samples)
        return Converted(reweighted.content, prepared.rewrites, reweighted=reweighted)
    with progress("calibrate and convert", len(samples), "samples") as advance:
        content = ptq.convert(prepared.model, samples, io=job.io, advance=advance)
    return Converted(content, prepared.rewrites)


def _reweight(job: Job, template: tuple[Path, Path], prepared: Prepared, samples: Floats) -> Reweighted:
    print(EXPERIMENTAL, file=sys.stderr)
    original, compiled = (read_model_file(path) for path in template)
    learned = learn(original, compiled, str(template[1]))
    with progress("re-weight the template", len(samples), "samples") as advance:
        float32 = ptq.convert_float(prepared.model)
        return reweight_float(float32, original, learned, samples, str(job.model), advance)
