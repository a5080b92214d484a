"""Which Keras layers cannot become int8 on the boards at all: why, and what to use instead. Pure rules.

Only what was measured stands here: each construct was converted in a small network with TensorFlow 2.21, and
the operators that came out were compared with what TensorFlow Lite 2.5 reads. A layer that merely stays on
the CPU is not refused; `quantize check` tells of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from host_cli.errors import GateNotMet

_NOT_READ = "it becomes an operator that TensorFlow Lite 2.5 does not read"
_NO_INT8 = "part of it has no int8 form"
_NO_OPERATOR = "TensorFlow Lite has no operator for it"
_RECURRENT = "the converter breaks down at its loop"

_ACTIVATION = "relu6 or silu"
_BATCH_NORM = "BatchNormalization"
_RESIZE = "bilinear or nearest interpolation"
_CONV_2D = "layers that work on one picture, such as Conv2D"

# By kind of layer, operation or activation, in lower case without underscores.
_UNUSABLE: Mapping[str, tuple[str, str]] = {
    "celu": (_NOT_READ, _ACTIVATION),
    "elu": (_NO_INT8, _ACTIVATION),
    "exp": (_NOT_READ, _ACTIVATION),
    "exponential": (_NOT_READ, _ACTIVATION),
    "gelu": (_NOT_READ, _ACTIVATION),
    "logsigmoid": (_NOT_READ, _ACTIVATION),
    "mish": (_NOT_READ, _ACTIVATION),
    "selu": (_NOT_READ, _ACTIVATION),
    "softplus": (_NOT_READ, _ACTIVATION),
    "sparsemax": (_NO_INT8, "softmax"),
    "squareplus": (_NOT_READ, _ACTIVATION),
    "erf": (_NO_OPERATOR, _ACTIVATION),
    "sqrt": (_NOT_READ, "rsqrt, or a layer without a root"),
    "groupnormalization": (_NO_INT8, _BATCH_NORM),
    "layernormalization": (_NO_INT8, _BATCH_NORM),
    "rmsnormalization": (_NO_INT8, _BATCH_NORM),
    "unitnormalization": (_NO_INT8, _BATCH_NORM),
    "repeatvector": (_NOT_READ, "Concatenate"),
    "conv3d": (_NO_INT8, _CONV_2D),
    "bidirectional": (_RECURRENT, _CONV_2D),
    "convlstm2d": (_RECURRENT, _CONV_2D),
    "gru": (_RECURRENT, _CONV_2D),
    "lstm": (_RECURRENT, _CONV_2D),
    "rnn": (_RECURRENT, _CONV_2D),
    "simplernn": (_RECURRENT, _CONV_2D),
}


@dataclass(frozen=True)
class Unusable:
    """A layer that keeps a model off the boards: its name, its kind, why, and what to put in its place."""

    layer: str
    kind: str
    reason: str
    replacement: str


def walk(model: Any) -> Iterator[Any]:
    """Yield every layer and operation of a Keras model once, those of nested models too."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        entry = waiting.pop()
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        inner = getattr(entry, "operations", None) or getattr(entry, "layers", None)
        if inner is None:
            yield entry
        else:
            waiting.extend(reversed(inner))


def name_kind(thing: Any) -> str:
    """Return `hardsilu` for the layer, the operation or the function of that name, however it is spelled."""
    name = getattr(thing, "__name__", type(thing).__name__)
    return str(name).replace("_", "").lower()


def find_unusable(model: Any) -> tuple[Unusable, ...]:
    """List the layers of a Keras model that cannot work, in the order of the model."""
    return tuple(
        found for layer in walk(model) for part in _with_wrapped(layer) if (found := _judge(part)) is not None
    )


def _with_wrapped(layer: Any) -> Iterator[Any]:
    """Yield a layer, and what is within it if it wraps another one, such as TimeDistributed."""
    yield layer
    if hasattr(layer, "layer"):
        yield from walk(layer.layer)


def require_usable(model: Any, where: str) -> None:
    """Refuse a model before the long conversion.

    Raises:
        GateNotMet: names the first layer that cannot work and its replacement; tells how many more there are.
    """
    found = find_unusable(model)
    if found:
        first = found[0]
        more = f" (and {len(found) - 1} more layers)" if len(found) > 1 else ""
        what = f"layer {first.layer} ({first.kind}) cannot run on a board: {first.reason}{more}"
        # Of `Conv2D with gelu` only the gelu must go.
        culprit = first.kind.rpartition(" with ")[2]
        raise GateNotMet(what, where, f"use {first.replacement} in place of {culprit}, then train again")


def _judge(layer: Any) -> Unusable | None:
    kind = type(layer).__name__
    for rule in _RULES:
        found = rule(layer)
        if found is not None:
            return Unusable(layer.name, *found)
    for part in (layer, getattr(layer, "activation", None)):
        if name_kind(part) in _UNUSABLE:
            inner = "" if part is layer else f" with {getattr(part, '__name__', type(part).__name__)}"
            return Unusable(layer.name, kind + inner, *_UNUSABLE[name_kind(part)])
    return None


_Found = tuple[str, str, str]


def _interpolation(layer: Any) -> _Found | None:
    method = getattr(layer, "interpolation", None)
    if name_kind(layer) in ("upsampling2d", "resizing", "resize") and method not in ("nearest", "bilinear"):
        return f"{type(layer).__name__} with {method}", _NO_OPERATOR, _RESIZE
    return None


def _leaky_with_limit(layer: Any) -> _Found | None:
    if name_kind(layer) == "relu" and getattr(layer, "negative_slope", None) and layer.max_value is not None:
        return "ReLU with a slope and a limit", _NO_INT8, "ReLU with one of the two"
    return None


def _dilated_transpose(layer: Any) -> _Found | None:
    if name_kind(layer) == "conv2dtranspose" and set(layer.dilation_rate) != {1}:
        return "Conv2DTranspose with dilation", _NO_OPERATOR, "dilation_rate=1"
    return None


_RULES: tuple[Callable[[Any], _Found | None], ...] = (_interpolation, _leaky_with_limit, _dilated_transpose)
