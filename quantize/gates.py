"""What keeps a model from becoming a bundle: lost accuracy, and operators that the Edge TPU does not run."""

import sys
import textwrap

from host_cli.errors import GateNotMet
from quantize.accuracy import Comparison, find_loss
from quantize.check.preflight import Check
from quantize.data import ModelCard
from quantize.job import Job

_COLUMNS = 80


def require_mapping(job: Job, forecast: Check) -> None:
    """Refuse operators that would stay on the CPU, if they are forbidden.

    Raises:
        GateNotMet: there are some.
    """
    blocked = _tell_cpu_ops(forecast)
    if blocked and job.cpu_ops == "forbid":
        raise GateNotMet(*blocked)


def warn_of_mapping(job: Job, forecast: Check) -> None:
    """Tell of operators that would stay on the CPU and of full memory, unless that is allowed."""
    if job.cpu_ops == "allow":
        return
    blocked = _tell_cpu_ops(forecast)
    warnings = [f"{blocked[0]}; {blocked[1]}", *forecast.warnings] if blocked else forecast.warnings
    for warning in warnings:
        _warn(warning)


def warn_of_guessing(found: Comparison, card: ModelCard) -> None:
    """Tell that the float model is no better than always the same answer: often it takes other pixels."""
    often = found.confusion_before.sum(axis=1)
    if found.before > often.max() / found.samples:
        return
    _warn(
        f"the float model is right on {found.before * 100:.1f} % of the pictures, no better than always "
        f"answering {card.labels[often.argmax()][:40]!r}. If it was trained well, it takes other pixels: "
        "--pixels 0..255 for a model that rescales by itself, --pixels=-1..1 for one like MobileNet"
    )


def _warn(text: str) -> None:
    print(textwrap.fill(f"warning: {text}", _COLUMNS, subsequent_indent="  "), file=sys.stderr)


def _tell_cpu_ops(forecast: Check) -> tuple[str, str, str] | None:
    """Return how many stay on the CPU, which of them is in the way and why, and what to do about it."""
    if forecast.errors:
        hint = "replace that layer; or take it for the CPU alone: --cpu-ops allow --compile never"
        return "the Edge TPU would not take the model", forecast.errors[0], hint
    if forecast.first_blocking is None:
        return None
    first = forecast.row(forecast.first_blocking)
    what = f"{forecast.cpu_ops} of {len(forecast.operators)} operators stay on the CPU"
    return what, f"{first['op']} in {first['place']}: {first['reason']}", str(first["fix"])


def require_mapped(job: Job, ops: tuple[int, int]) -> None:
    """Refuse what the compiler itself left on the CPU; `ops` are those on the Edge TPU and on the CPU.

    Raises:
        GateNotMet: there is some, and it is forbidden.
    """
    cpu_ops = ops[1]
    if cpu_ops and job.cpu_ops == "forbid":
        what = f"the compiler left {cpu_ops} operators on the CPU"
        raise GateNotMet(what, str(job.model), "--cpu-ops warn, and see the mapping in the report")


def require_accuracy(job: Job, found: Comparison, card: ModelCard) -> None:
    """Refuse a re-weighted model that lost too much, over all or in a class.

    Raises:
        GateNotMet: it did.
    """
    loss = find_loss(found, job.max_drop, job.max_class_drop, card.labels)
    if loss is not None:
        hint = "say what it takes with --pixels; or it needs a real compile: quantize MODEL.keras"
        raise GateNotMet(loss, str(job.model), hint)
