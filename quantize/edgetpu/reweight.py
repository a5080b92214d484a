"""The story of a re-weighting: a compiled model and new weights in, a compiled model with those weights out.

Experimental: no re-weighted file has run on an Edge TPU yet.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantize.edgetpu.requantize import Clipped, requantize
from quantize.edgetpu.saturation import Saturation, measure_saturation, require_unsaturated
from quantize.edgetpu.template import Template, rewrite

EXPERIMENTAL = "experimental: no re-weighted file has run on an Edge TPU yet; try it on one board first"

Advance = Callable[[float], None]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reweighted:
    """Both files of a re-weighted model, and what is known of the change.

    `content` runs on a CPU, `compiled` on an Edge TPU. `parameter_bytes` are all that the executables hold,
    `changed_bytes` those that are not the template's. `saturation` has one entry for each activation, and
    `clipped` one for each layer of whose weights some did not fit; both are empty for int8 weights.
    """

    content: bytes
    compiled: bytes
    parameter_bytes: int
    changed_bytes: int
    saturation: tuple[Saturation, ...] = ()
    clipped: tuple[Clipped, ...] = ()


def reweight_float(
    new: bytes, original: bytes, template: Template, samples: Floats, where: str, advance: Advance
) -> Reweighted:
    """Put the weights of a float model into a compiled file.

    Args:
        new: the model as a float32 .tflite file, batch 1; of the architecture that `original` was made from.
        original: the int8 .tflite file that was compiled.
        template: what `learn` made of `original` and its compiled form.
        samples: calibration pictures as real values, (N, H, W, C).
        where: the model's file, for errors.
        advance: told of every sample that is done.

    Raises:
        GateNotMet: other architecture, ranges that are too small, or anything else that needs a real compile.
        WrongUsage: a weight is not finite.
        Failed: the interpreter gave up.
    """
    requantized = requantize(original, new, where)
    saturation = measure_saturation(requantized.paired, new, samples, advance)
    require_unsaturated(saturation, where)
    found = rewrite(template, requantized.content, where)
    return Reweighted(
        requantized.content,
        found.content,
        found.parameter_bytes,
        found.changed_bytes,
        saturation,
        requantized.clipped,
    )


def reweight_int8(new: bytes, template: Template, where: str) -> Reweighted:
    """Do the same with an int8 .tflite file that differs from the template's original in weights only.

    Raises:
        WrongUsage: it is no .tflite file.
        GateNotMet: something else differs too: it needs a real compile.
    """
    found = rewrite(template, new, where)
    return Reweighted(new, found.content, found.parameter_bytes, found.changed_bytes)
