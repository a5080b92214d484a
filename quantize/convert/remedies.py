"""What to try, without training again, when an int8 model loses too much accuracy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contract.artifacts import Preprocessing
from quantize.convert import ptq
from quantize.convert.bias_correction import correct_biases
from quantize.convert.equalization import equalize
from quantize.convert.prepare import Prepared, prepare
from quantize.data import Pixels
from quantize.runtime import describe_tensors, prepare_pixels

BIAS_CORRECTION = "bias correction"
EQUALIZATION = "cross-layer equalization"


@dataclass(frozen=True)
class Remedied:
    """Another int8 model of the same Keras model: what was done to get it, and the rewrites within it.

    Both belong into the recipe. The checks that the ordinary model went through are still to be made.
    """

    names: tuple[str, ...]
    content: bytes
    rewrites: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """What the ordinary conversion was given: pictures (N, H, W, C) uint8, and the border's dtype."""

    pictures: Pixels
    preprocessing: Preprocessing
    io: str


def try_remedies(
    model: Any, content: bytes, given: Calibration, *, where: str, advance: Callable[[str], None]
) -> Iterator[Remedied]:
    """Yield int8 models that may be better than the ordinary one, the cheapest to make first.

    For use when the accuracy gate has failed: measure each on the held-out samples as it comes, take the
    first that passes and leave the rest unmade; if none does, the gate has failed. `layer_error` tells where
    the accuracy went.

    Measured on Fashion-MNIST networks with depthwise convolutions, as the share of 10,000 pictures that get
    the float model's answer: ordinary 0.985, bias correction 0.990, equalization 0.986, both 0.992. With
    channels scaled by random factors up to 4: 0.953, 0.967, 0.986, 0.993. With relu6: 0.9904, 0.9911, 0.9895,
    0.9918. Where scales are worse, bias correction alone may gain or lose, and only equalization brings the
    accuracy back (0.415 to 0.808 at factors up to 16); more calibration samples did not (0.426 with 2,000).

    Args:
        model: the Keras model as it was loaded.
        content: its ordinary int8 conversion.
        given: what that was made with.
        where: the model's file, for errors.
        advance: told of each remedy before it is made, by its name.

    Raises:
        GateNotMet, Failed: as `prepare` and `ptq.convert` do.
    """
    prepared = prepare(model, where)
    advance(BIAS_CORRECTION)
    yield Remedied((BIAS_CORRECTION,), _correct(prepared, content, given), prepared.rewrites)
    advance(EQUALIZATION)
    even = equalize(model)
    if even is None:
        return
    prepared = prepare(even, where)
    samples = ptq.to_real(given.pictures, given.preprocessing)
    content = ptq.convert(prepared.model, samples, io=given.io, advance=lambda amount: None)
    yield Remedied((EQUALIZATION,), content, prepared.rewrites)
    advance(f"{EQUALIZATION}, {BIAS_CORRECTION}")
    both = _correct(prepared, content, given)
    yield Remedied((EQUALIZATION, BIAS_CORRECTION), both, prepared.rewrites)


def _correct(prepared: Prepared, content: bytes, given: Calibration) -> bytes:
    float32 = ptq.convert_float(prepared.model)
    int8_inputs, float_inputs = (
        prepare_pixels(given.pictures, given.preprocessing, describe_tensors(each)[0])
        for each in (content, float32)
    )
    return correct_biases(content, float32, (int8_inputs, float_inputs), lambda amount: None)
