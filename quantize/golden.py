"""Picks the samples that a board must answer like this computer did, and records the answers."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host_cli.errors import GateNotMet
from quantize.data import Indices
from quantize.representative import deal_by_class
from quantize.runtime import Array, run_model

TARGET_SAMPLES = 20
SAMPLES_PER_CLASS = 2
MAX_BYTES = 4 * 1024 * 1024
# The board may differ by 2, so the best score must lead by more than both sides together can err.
CLEAR_MARGIN_LSB = 4
# Two kernel sets of one runtime round differently; what they agree on, an older runtime agrees with too.
KERNEL_AGREEMENT_LSB = 1
_TRIED_PER_WANTED = 5
_FLOAT_LSB = 1 / 256


@dataclass(frozen=True)
class GoldenSamples:
    """`inputs` (K, H, W, C) and `outputs` (K, classes), in the model's dtypes; true `labels` (K,)."""

    inputs: Array
    outputs: Array
    labels: Indices

    def to_npz(self) -> bytes:
        """Return the .npz file; equal samples give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, inputs=self.inputs, outputs=self.outputs)
        return buffer.getvalue()


def pick_golden(content: bytes, inputs: Array, outputs: Array, labels: Indices, seed: int) -> GoldenSamples:
    """Pick about 20 samples, at least two of each class where there are that many, whose answer is robust.

    A sample qualifies when its best score leads clearly and two sets of kernels agree on all its scores.
    The recorded answers are those of the XNNPACK kernels: on 1,000 Fashion-MNIST pictures TensorFlow Lite
    2.5.3 and 2.11 answered like them (at most 1 LSB apart), while the newest runtime's own kernels were up
    to 11 LSB away.

    Args:
        content: the int8 CPU model.
        inputs: held-out samples in the model's dtype, (N, H, W, C).
        outputs: its answers to them, (N, classes).
        labels: their classes, (N,).
        seed: same seed, same samples.

    Raises:
        GateNotMet: no sample has a clear answer.
    """
    classes = len(np.unique(labels))
    wanted = max(SAMPLES_PER_CLASS * classes, TARGET_SAMPLES)
    wanted = max(1, min(wanted, MAX_BYTES // max(inputs[0].nbytes, 1)))
    order = deal_by_class(labels, seed)
    clear = order[margins_lsb(outputs)[order] > CLEAR_MARGIN_LSB]
    tried = clear[deal_by_class(labels[clear], seed)][: wanted * _TRIED_PER_WANTED]
    if len(tried) == 0:
        raise GateNotMet(
            "no held-out sample has a clear answer", "golden samples", "train longer, or give more data"
        )
    again = run_model(content, inputs[tried], plain=True)
    robust = tried[distance_lsb(outputs[tried], again).max(axis=1) <= KERNEL_AGREEMENT_LSB]
    chosen = robust if len(robust) else tried
    chosen = chosen[deal_by_class(labels[chosen], seed)][:wanted]
    return GoldenSamples(inputs[chosen], outputs[chosen], labels[chosen])


def margins_lsb(outputs: Array) -> NDArray[np.float64]:
    """Return by how many steps the best score of each row leads the second best, (N,)."""
    best = np.sort(outputs, axis=1)[:, -2:]
    if best.shape[1] < 2:
        return np.full(len(outputs), np.inf)
    return distance_lsb(best[:, 1], best[:, 0])


def distance_lsb(left: Array, right: Array) -> NDArray[Any]:
    """Return by how many steps scores differ; a step of float scores is 1/256, as that of uint8 ones."""
    difference = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return difference / _FLOAT_LSB if left.dtype.kind == "f" else difference
