"""The figures of a bundle's report, as plain JSON values: report.json, and what report.html shows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from quantize.accuracy import ClassChange, Comparison, Counts
from quantize.check.memory import ON_CHIP_BYTES
from quantize.check.preflight import ACTIVATION_LIMIT_BYTES_PER_TILE, Check
from quantize.convert.layer_error import LayerError
from quantize.edgetpu.compiler_output import CompilerReport
from quantize.edgetpu.reweight import Reweighted
from quantize.findings import Findings
from quantize.job import Job
from quantize.sources import Sources
from quantize.tflite_model import Tensor

PIXEL_BINS = 16

_RANGES = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}


def build_figures(job: Job, found: Findings) -> dict[str, Any]:
    """Return the content of report.json. Equal findings give equal figures: no times, no paths."""
    accuracy, agreement = found.measured.accuracy, found.agreement
    compiler = found.compiled.report if found.compiled else None
    return {
        "accuracy": _accuracy(job, accuracy, found.sources.card.labels),
        "confusion": {
            "float": _sparse(accuracy.confusion_before),
            "int8": _sparse(accuracy.confusion_after),
        },
        "calibration": _calibration(job, found.sources),
        "layers": [_layer(one) for one in found.layers],
        "activations": list(_ranges(found.forecast)),
        "check": found.forecast.to_json(),
        "memory": _memory(found.forecast, compiler),
        "compiler": compiler.to_json() if compiler else None,
        "reweighted": _reweighted(found.converted.reweighted),
        "golden": {"samples": len(found.golden.labels), "classes": len(np.unique(found.golden.labels))},
        "oldest_runtime": vars(agreement) if agreement else None,
    }


def _accuracy(job: Job, found: Comparison, names: Sequence[str]) -> dict[str, Any]:
    return {
        "float": round(found.before, 6),
        "int8": round(found.after, 6),
        "drop": round(found.drop, 6),
        "agreement": round(found.agreement, 6),
        "samples": found.samples,
        "max_drop": job.max_drop,
        "max_class_drop": job.max_class_drop,
        "per_class": [_class(one, names[one.label]) for one in found.per_class],
    }


def _class(one: ClassChange, name: str) -> dict[str, Any]:
    return {
        "class": one.label,
        "label": name,
        "samples": one.samples,
        "float": round(one.before / one.samples, 6),
        "int8": round(one.after / one.samples, 6),
        "lost": one.lost,
        "won": one.won,
    }


def _layer(one: LayerError) -> dict[str, Any]:
    return {
        "index": one.index,
        "op": one.op,
        "layer": one.layer,
        "sqnr_db": round(one.sqnr_db, 2),
        "input_sqnr_db": round(one.input_sqnr_db, 2),
    }


def _reweighted(found: Reweighted | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "parameters": {"bytes": found.parameter_bytes, "changed_bytes": found.changed_bytes},
        "saturation": [vars(one) for one in found.saturation],
        "clipped": [vars(one) for one in found.clipped],
    }


def _sparse(confusion: Counts) -> list[list[int]]:
    """Return `[true class, answer, samples]` for each pair that occurs: most never do."""
    true, answer = np.nonzero(confusion)
    rows: list[list[int]] = np.stack([true, answer, confusion[true, answer]], axis=1).tolist()
    return rows


def _calibration(job: Job, sources: Sources) -> dict[str, Any]:
    picked = sources.calibration
    names = sources.card.labels
    counts = np.bincount(sources.data.labels[picked], minlength=len(names)).tolist()
    pixels = np.bincount(sources.data.images[picked].reshape(-1), minlength=256)
    return {
        "seed": job.seed,
        "samples": len(picked),
        "per_class": [{"label": one, "samples": n} for one, n in zip(names, counts, strict=True)],
        "pixels": pixels.reshape(PIXEL_BINS, -1).sum(axis=1).tolist(),
        "indices": picked.tolist(),
    }


def _ranges(forecast: Check) -> Iterator[dict[str, Any]]:
    """Yield the real values that each activation can hold: what calibration made of the samples."""
    for operator, place in zip(forecast.operators, forecast.places, strict=True):
        for tensor in operator.outputs:
            if tensor.dtype in _RANGES and len(tensor.scales) == 1:
                low, high = _real_range(tensor)
                yield {"op": operator.name, "layer": place, "low": low, "high": high}


def _real_range(tensor: Tensor) -> tuple[float, float]:
    low, high = ((end - tensor.zero_point) * tensor.scales[0] for end in _RANGES[tensor.dtype])
    return round(low, 6), round(high, 6)


def _memory(forecast: Check, compiler: CompilerReport | None) -> dict[str, Any]:
    """Return what the parameters and activations take: the compiler's word, else the forecast."""
    on_chip, streamed = forecast.memory.on_chip_bytes, forecast.memory.streamed_bytes
    limit = ON_CHIP_BYTES
    if compiler and compiler.on_chip_bytes is not None:
        on_chip, streamed = compiler.on_chip_bytes, compiler.streamed_bytes or 0
        limit = on_chip + (compiler.remaining_bytes or 0)
    return {
        "source": "compiler" if compiler else "forecast",
        "on_chip_bytes": on_chip,
        "streamed_bytes": streamed,
        "limit_bytes": limit,
        "activation_bytes_per_tile": forecast.memory.activation_bytes_per_tile,
        "activation_limit_bytes_per_tile": ACTIVATION_LIMIT_BYTES_PER_TILE,
    }
