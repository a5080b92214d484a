"""Which operators the Edge TPU can run by themselves, and what keeps one on the CPU. Pure rules.

Source: coral.ai/docs/edgetpu/models-intro, "Supported operations". Limits that no page states were read off
compiled files and are marked so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quantize.tflite_model import Operator, Tensor

# The page says 16,000; 16,384 were seen to map.
MAX_SOFTMAX_ELEMENTS = 16_384
# Not documented: x15.5 was seen to stay on the CPU and x2 to map; the border lies somewhere between.
MAX_RESIZE_RATIO = 4
MAPPED_RANK = 3

MAPPED = "Mapped to Edge TPU"
NOT_SUPPORTED = "Operation not supported"
WRONG_TYPE = "Operation is working on an unsupported data type"
SECOND_SUBGRAPH = "More than one subgraph is not supported"
LIMITATION = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
WRONG_RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"

_EIGHT_BIT = ("INT8", "UINT8")
_CONSTANT_TYPES = (*_EIGHT_BIT, "INT32")


@dataclass(frozen=True)
class Placement:
    """Where one operator will run: `tpu` or `cpu`, in the compiler's words, and what would change that."""

    target: str
    status: str
    reason: str = ""
    fix: str = ""


_ON_TPU = Placement("tpu", MAPPED)


def judge(operator: Operator) -> Placement:
    """Judge one operator by itself, wherever it stands in the graph."""
    rules = _SUPPORTED.get(operator.name)
    if rules is None:
        return Placement(
            "cpu",
            NOT_SUPPORTED,
            f"the Edge TPU has no {operator.name}",
            _REPLACEMENTS.get(operator.name, "put it at the end of the model, or leave it out of the model"),
        )
    for rule in (_types, _rank, *rules):
        placement = rule(operator)
        if placement is not None:
            return placement
    return _ON_TPU


def _types(operator: Operator) -> Placement | None:
    for tensor in (*operator.present, *operator.outputs):
        constant = tensor.is_constant or tensor.is_variable
        allowed = _CONSTANT_TYPES if constant else _EIGHT_BIT
        if tensor.dtype not in allowed and not tensor.is_variable:
            reason = f"{tensor.name} is {tensor.dtype}, not 8-bit"
            return Placement("cpu", WRONG_TYPE, reason, "quantize the whole model to int8, inputs too")
    return None


def _rank(operator: Operator) -> Placement | None:
    for tensor in (*_activations(operator), *operator.outputs):
        if any(size != 1 for size in tensor.shape[:-MAPPED_RANK]):
            reason = f"{tensor.name} has shape {list(tensor.shape)}"
            return Placement("cpu", WRONG_RANK, reason, "use batch 1 and at most three sizes above 1")
    return None


def _activations(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in operator.present if not (tensor.is_constant or tensor.is_variable)]


def _limited(reason: str, fix: str) -> Placement:
    return Placement("cpu", LIMITATION, reason, fix)


def _constant_parameters(operator: Operator) -> Placement | None:
    for tensor in operator.inputs[1:]:
        if tensor is not None and not (tensor.is_constant or tensor.is_variable):
            reason = f"{tensor.name} is computed while the model runs"
            return Placement("cpu", NOT_CONSTANT, reason, "make it a constant of the model")
    return None


def _no_activation(operator: Operator) -> Placement | None:
    if operator.options.get("FusedActivationFunction"):
        return _limited("it has a fused activation", "put the activation into a layer of its own")
    return None


def _same_dilation(operator: Operator) -> Placement | None:
    across, down = (operator.options.get(f"Dilation{side}Factor", 1) for side in "WH")
    if across != down:
        return _limited(f"its dilation is {down} x {across}", "use the same dilation in both directions")
    return None


def _default_weights(operator: Operator) -> Placement | None:
    if operator.options.get("WeightsFormat"):
        return _limited("its weights are shuffled", "convert again with the default weight format")
    return None


def _one_dimensional(operator: Operator) -> Placement | None:
    for tensor in operator.outputs:
        if any(size != 1 for size in tensor.shape[:-1]):
            return _limited(f"its output has shape {list(tensor.shape)}", "give it one row at a time")
    return None


def _short(operator: Operator) -> Placement | None:
    if operator.outputs and operator.outputs[0].elements > MAX_SOFTMAX_ELEMENTS:
        return _limited(
            f"it has more than {MAX_SOFTMAX_ELEMENTS} elements", "use fewer classes, or softmax on the CPU"
        )
    return None


def _small_ratio(operator: Operator) -> Placement | None:
    before, after = operator.present[0].shape, operator.outputs[0].shape
    ratios = [new / max(old, 1) for old, new in zip(before[1:3], after[1:3], strict=False)]
    if any(ratio > MAX_RESIZE_RATIO for ratio in ratios):
        return _limited(f"it enlarges {list(before)} to {list(after)}", "enlarge in steps of two")
    return None


def _not_batch(operator: Operator) -> Placement | None:
    before = operator.present[0].shape
    axes = operator.present[1].integers() if len(operator.present) > 1 else ()
    if any(axis % max(len(before), 1) == 0 for axis in axes) and len(before) > 1:
        return _limited("it works along the batch", "leave the first axis alone")
    return None


def _plain_strides(operator: Operator) -> Placement | None:
    strides = operator.present[3].integers() if len(operator.present) > 3 else ()
    masks = operator.options.get("EllipsisMask", 0) or operator.options.get("NewAxisMask", 0)
    if masks or any(stride != 1 for stride in strides):
        return _limited("it has strides or masks other than plain ones", "slice with stride 1")
    return None


def _padded_within(operator: Operator) -> Placement | None:
    amounts = operator.present[1].integers() if len(operator.present) > 1 else ()
    if any(amounts[:2]):
        return _limited("it pads the batch", "leave the first axis alone")
    return None


_Rules = tuple[Callable[[Operator], Placement | None], ...]
_WEIGHTED: _Rules = (_constant_parameters, _same_dilation)
_REDUCED: _Rules = (_constant_parameters, _not_batch)

_SUPPORTED: Mapping[str, _Rules] = {
    "ADD": (),
    "AVERAGE_POOL_2D": (_no_activation,),
    "CONCATENATION": (_no_activation,),
    "CONV_2D": _WEIGHTED,
    "DEPTHWISE_CONV_2D": _WEIGHTED,
    "EXPAND_DIMS": (_constant_parameters,),
    "FULLY_CONNECTED": (_constant_parameters, _default_weights, _one_dimensional),
    "L2_NORMALIZATION": (_no_activation,),
    "LOGISTIC": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (_no_activation,),
    "MEAN": _REDUCED,
    "MINIMUM": (),
    "MUL": (),
    "PACK": (),
    "PAD": (_constant_parameters, _padded_within),
    "PRELU": (_constant_parameters,),
    "QUANTIZE": (),
    "REDUCE_MAX": _REDUCED,
    "REDUCE_MIN": _REDUCED,
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (_constant_parameters,),
    "RESIZE_BILINEAR": (_constant_parameters, _small_ratio),
    "RESIZE_NEAREST_NEIGHBOR": (_constant_parameters, _small_ratio),
    "RSQRT": (),
    "SLICE": (_constant_parameters,),
    "SOFTMAX": (_one_dimensional, _short),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (),
    "STRIDED_SLICE": (_constant_parameters, _plain_strides),
    "SUB": (),
    "SUM": _REDUCED,
    "TANH": (),
    # Not documented; seen mapped by compiler 16.
    "TILE": (_constant_parameters,),
    "TRANSPOSE": (_constant_parameters,),
    "TRANSPOSE_CONV": (),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (_constant_parameters,),
}

_REPLACEMENTS: Mapping[str, str] = {
    "GELU": "use relu6",
    "HARD_SWISH": "use relu6",
    "ELU": "use relu6",
    "LEAKY_RELU": "use PReLU with shared axes, or relu6",
    "SHAPE": "fix the batch: Input(..., batch_size=1)",
    "DIV": "multiply by a constant instead",
    "ARG_MAX": "leave it out: whoever reads the scores can pick the best",
    "DEQUANTIZE": "give the model 8-bit outputs",
}
