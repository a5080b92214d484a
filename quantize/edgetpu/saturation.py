"""Measures how much of what flows in a new model lies outside the ranges that the template has frozen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from host_cli.errors import GateNotMet
from quantize.edgetpu.frozen import NEEDS_COMPILE
from quantize.edgetpu.pairing import Pairing
from quantize.runtime import trace
from quantize.tflite_model import Tensor

# Two CNNs on Fashion-MNIST's 10,000 test images, their ranges made smaller in 69 ways: where up to 1 % of a
# tensor was clipped, at most 0.1 points of accuracy were lost; with up to 2.5 %, 0.5 points; beyond, up to 8.
MAX_SATURATED = 0.01

_LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}
# Their range is that of the function, not of what was seen: 255/256 stands for 1.
_FIXED_RANGE = {"SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"}
# A value rounds to the last number of the range if it is not further away than this.
_ROUNDS_STEPS = 0.5


@dataclass(frozen=True)
class Saturation:
    """A tensor of the template, the real values that it can hold, and the share (0 to 1) that are beyond."""

    tensor: str
    low: float
    high: float
    share: float


def measure_saturation(
    paired: Pairing, model: bytes, samples: NDArray[np.float32], advance: Callable[[float], None]
) -> tuple[Saturation, ...]:
    """Run a float model and compare its activations with the template's ranges.

    Args:
        paired: the template's graph paired with that of `model`.
        model: the float32 .tflite file, batch 1.
        samples: (N, H, W, C), real values as the model takes them.
        advance: told of every sample that is done.

    Returns:
        One for each quantized activation, in the order of the graph, the input first.

    Raises:
        Failed: the interpreter refuses the model.
    """
    watched = _watched(paired)
    beyond = np.zeros(len(watched), np.int64)
    total = np.zeros(len(watched), np.int64)
    for seen in trace(model, samples, [new.index for _, new in watched]):
        for number, (was, new) in enumerate(watched):
            low, high = range_of(was)
            slack = _ROUNDS_STEPS * was.scales[0]
            values = seen[new.index]
            beyond[number] += np.count_nonzero((values < low - slack) | (values > high + slack))
            total[number] += values.size
        advance(1)
    shares = beyond / np.maximum(total, 1)
    return tuple(
        Saturation(was.name, *range_of(was), float(share))
        for (was, _), share in zip(watched, shares, strict=True)
    )


def require_unsaturated(found: Sequence[Saturation], where: str) -> None:
    """Refuse a model of which a tensor is clipped more than MAX_SATURATED.

    Raises:
        GateNotMet: one is; the template's ranges are too small for this model.
    """
    worst = max(found, key=lambda one: one.share, default=None)
    if worst is not None and worst.share > MAX_SATURATED:
        what = (
            f"{worst.share:.2%} of {worst.tensor[:60]} lie outside of the template's {worst.low:.3g} to "
            f"{worst.high:.3g}, at most {MAX_SATURATED:.0%} may"
        )
        raise GateNotMet(what, where, NEEDS_COMPILE)


def range_of(tensor: Tensor) -> tuple[float, float]:
    """Return the least and the largest real value that a quantized tensor can hold."""
    low, high = ((limit - tensor.zero_point) * tensor.scales[0] for limit in _LIMITS[tensor.dtype])
    return low, high


def _watched(paired: Pairing) -> list[tuple[Tensor, Tensor]]:
    fixed = {out.index for was, _ in paired.operators if was.name in _FIXED_RANGE for out in was.outputs}
    return [
        (was, new)
        for was, new in paired.tensors
        if was.scales and not was.is_constant and was.dtype in _LIMITS and was.index not in fixed
    ]
