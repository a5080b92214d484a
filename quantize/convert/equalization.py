"""Cross-layer equalization: evens out the channels of neighbouring layers; the model computes the same.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section
4.1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host_cli.quiet import quiet
from quantize.convert.chains import Chain, find_chains
from quantize.convert.constructs import name_kind
from quantize.convert.prepare import compare_models
from quantize.convert.rewrites import TOLERANCE

# A channel's scale changes those of its neighbours; after a few passes they hardly move.
PASSES = 5
# Beyond, a channel is as good as dead, and its scale only noise.
MAX_FACTOR = 1e6

Factors = NDArray[np.float64]


def equalize(model: Any) -> Any | None:
    """Return a copy of a Keras model whose channels have like ranges; None without any to even out.

    Works between Conv2D, DepthwiseConv2D and Dense layers, with or without BatchNormalization, that follow
    each other through relu, leaky relu or nothing; relu6 has a fixed corner, so its scales have to stay.
    Give it the model that was loaded, and the copy to `prepare`; it needs no data.

    Returns:
        A model that computes the same up to the rounding of float32; None too if it does not.
    """
    import keras

    with quiet():
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        chains = tuple(find_chains(twin))
        for _ in range(PASSES):
            for chain in chains:
                _even_out(chain)
        same = bool(chains) and compare_models(model, twin) <= TOLERANCE
    return twin if same else None


def _even_out(chain: Chain) -> None:
    """Choose each channel's factor so that it takes the same share of both layers' ranges."""
    given, taken = _output_ranges(chain), _input_ranges(chain.second)
    taken_channels = taken.reshape(-1, len(given)).max(axis=0)
    alive = (given > 0) & (taken_channels > 0)
    ratio = np.divide(taken_channels, given, out=np.ones_like(given), where=alive)
    factors = np.clip(np.sqrt(ratio), 1 / MAX_FACTOR, MAX_FACTOR)
    _scale_output(chain, factors)
    _scale_input(chain.second, np.tile(1 / factors, len(taken) // len(factors)))


def _output_ranges(chain: Chain) -> Factors:
    """Return the largest weight of each output channel, the normalization folded in, (channels,)."""
    kernel = np.abs(chain.first.get_weights()[0].astype(np.float64))
    if name_kind(chain.first) == "depthwiseconv2d":
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    largest: Factors = kernel.reshape(-1, kernel.shape[-1]).max(axis=0)
    return largest if chain.norm is None else largest * _norm_gain(chain.norm)


def _norm_gain(norm: Any) -> Factors:
    variance = np.asarray(norm.moving_variance, np.float64)
    gain: Factors = np.abs(np.asarray(norm.gamma, np.float64)) / np.sqrt(variance + norm.epsilon)
    return gain


def _input_ranges(layer: Any) -> Factors:
    """Return the largest weight of each input channel, (channels,)."""
    kernel = np.abs(layer.get_weights()[0].astype(np.float64))
    axis = kernel.ndim - 2
    ranges: Factors = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1).max(axis=1)
    return ranges


def _scale_output(chain: Chain, factors: Factors) -> None:
    if chain.norm is not None:
        shift = [chain.norm.beta] if chain.norm.center else []
        _multiply([chain.norm.gamma, *shift], [factors, factors])
        return
    first = chain.first
    kernel = first.get_weights()[0]
    shape = kernel.shape[-2:] if name_kind(first) == "depthwiseconv2d" else kernel.shape[-1:]
    _multiply(first.weights, [factors.reshape(shape), factors])


def _scale_input(layer: Any, factors: Factors) -> None:
    _multiply(layer.weights[:1], [factors[:, np.newaxis]])


def _multiply(weights: Sequence[Any], factors: Sequence[Factors]) -> None:
    for weight, factor in zip(weights, factors, strict=False):
        weight.assign((np.asarray(weight, np.float64) * factor).astype(np.float32))
