"""When int8 loses too much: remedies are tried, and if none helps, the worst layers are named."""

import sys
from collections.abc import Iterator

from host_cli.errors import GateNotMet
from quantize.accuracy import find_loss
from quantize.conversion import Converted
from quantize.convert.remedies import Calibration, try_remedies
from quantize.job import Job
from quantize.measurement import Measurement, measure_int8, measure_layers
from quantize.sources import Sources

NAMED_LAYERS = 3

_TIMES_MORE_SAMPLES = 5


def recover(
    job: Job, sources: Sources, converted: Converted, measured: Measurement
) -> tuple[Converted, Measurement]:
    """Return the int8 model if it is good enough, else the first remedied one that is.

    Raises:
        GateNotMet: too much is lost, and no remedy helps; it says which layers lose it.
    """
    loss = _find_loss(job, sources, measured)
    if loss is None:
        return converted, measured
    # A template's ranges are frozen: what it gives is what there is.
    if converted.reweighted is None:
        print(f"{loss}: trying remedies", file=sys.stderr)
        for other, again in _remedied(job, sources, converted, measured):
            print(f"{', '.join(other.remedies)}: {again.accuracy.after:.4f}", file=sys.stderr)
            if _find_loss(job, sources, again) is None:
                return other, again
    raise GateNotMet(loss, f"{job.model}: {_name_worst_layers(job, sources, converted)}", _hint(job))


def _find_loss(job: Job, sources: Sources, measured: Measurement) -> str | None:
    return find_loss(measured.accuracy, job.max_drop, job.max_class_drop, sources.card.labels)


def _remedied(
    job: Job, sources: Sources, converted: Converted, measured: Measurement
) -> Iterator[tuple[Converted, Measurement]]:
    given = Calibration(sources.data.images[sources.calibration], sources.card.preprocessing, job.io)
    tried = try_remedies(sources.model, converted.content, given, where=str(job.model), advance=_tell)
    for one in tried:
        other = Converted(one.content, one.rewrites, one.names)
        yield other, measure_int8(sources, one.content, measured.scores)


def _tell(remedy: str) -> None:
    print(f"try {remedy}", file=sys.stderr)


def _name_worst_layers(job: Job, sources: Sources, converted: Converted) -> str:
    worst = measure_layers(sources, converted, str(job.model))[:NAMED_LAYERS]
    return "most is lost in " + ", ".join(f"{one.layer} ({one.op}, {one.sqnr_db:.0f} dB)" for one in worst)


def _hint(job: Job) -> str:
    if job.template is not None:
        return "it needs a real compile: leave out --template"
    more = _TIMES_MORE_SAMPLES * job.calibration_samples
    return f"--calibration-samples {more}, relu6 in place of relu, or a larger --max-drop"
