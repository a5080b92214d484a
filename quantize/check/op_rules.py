"""Which operators the Edge TPU can run by themselves, and what keeps one on the CPU. Pure rules.

Source: coral.ai/docs/edgetpu/models-intro, "Supported operations"; the status strings, and which one is told
first, from public logs of the compiler.
"""

from collections.abc import Mapping

from quantize.check import op_limits as limits
from quantize.check.placement import (
    LIMITATION,
    NOT_SUPPORTED,
    ON_TPU,
    WRONG_RANK,
    WRONG_TYPE,
    Placement,
    limited,
)
from quantize.tflite_model import Operator, Tensor

MAPPED_RANK = 3

_EIGHT_BIT = ("INT8", "UINT8")
_CONSTANT_TYPES = (*_EIGHT_BIT, "INT32")


def judge(operator: Operator) -> Placement:
    """Judge one operator by itself, wherever it stands in the graph."""
    rules = _SUPPORTED.get(operator.name)
    for rule in (_rank, _types, *(rules or ())):
        placement = rule(operator)
        if placement is not None:
            return placement if rules is not None else _not_supported(operator, placement.status)
    return ON_TPU if rules is not None else _not_supported(operator, NOT_SUPPORTED)


def _not_supported(operator: Operator, status: str) -> Placement:
    """Say that there is no such operator, whatever the compiler noticed first."""
    name = operator.name.removeprefix("CUSTOM:")
    fix = _REPLACEMENTS.get(operator.name, "put it at the end of the model, or leave it out of the model")
    return Placement("cpu", status, f"the Edge TPU has no {name}", fix)


def _rank(operator: Operator) -> Placement | None:
    for tensor in (*_activations(operator), *operator.outputs):
        if any(size != 1 for size in tensor.shape[:-MAPPED_RANK]):
            reason = f"{tensor.short_name} has shape {list(tensor.shape)}"
            return limited(reason, "use batch 1 and at most three sizes above 1", WRONG_RANK)
    return None


def _types(operator: Operator) -> Placement | None:
    for tensor in (*operator.present, *operator.outputs):
        allowed = _CONSTANT_TYPES if tensor.is_constant else _EIGHT_BIT
        if tensor.dtype not in allowed and not tensor.is_variable:
            reason = f"{tensor.short_name} is {tensor.dtype}, not 8-bit"
            if operator.name == "QUANTIZE":
                return limited(reason, "give the model 8-bit inputs", LIMITATION)
            return limited(reason, "quantize the whole model to int8, inputs too", WRONG_TYPE)
    return None


def _activations(operator: Operator) -> list[Tensor]:
    return [tensor for tensor in operator.present if not (tensor.is_constant or tensor.is_variable)]


_WEIGHTED = (limits.constant_parameters, limits.same_dilation)
_REDUCED = (limits.constant_parameters, limits.not_along_batch)
_RESIZED = (limits.constant_parameters, limits.small_ratio)

_SUPPORTED: Mapping[str, tuple[limits.Rule, ...]] = {
    "ADD": (),
    "AVERAGE_POOL_2D": (limits.no_activation,),
    "CONCATENATION": (limits.no_activation, limits.zero_padding_only),
    "CONV_2D": _WEIGHTED,
    "DEPTHWISE_CONV_2D": _WEIGHTED,
    "EXPAND_DIMS": (limits.constant_parameters,),
    "FULLY_CONNECTED": (limits.constant_parameters, limits.default_weights, limits.one_row),
    "L2_NORMALIZATION": (),
    "LOGISTIC": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (limits.no_activation,),
    "MEAN": (*_REDUCED, limits.mean_that_fits),
    "MINIMUM": (),
    "MUL": (),
    "PACK": (limits.not_packing_batch,),
    "PAD": (limits.constant_parameters, limits.not_padding_batch),
    "PRELU": (limits.constant_parameters, limits.one_slope_a_channel),
    "QUANTIZE": (),
    "REDUCE_MAX": _REDUCED,
    "REDUCE_MIN": _REDUCED,
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    # "Certain reshapes might not be mapped for large tensor sizes": no border is known, so none is drawn.
    "RESHAPE": (limits.constant_parameters,),
    "RESIZE_BILINEAR": _RESIZED,
    "RESIZE_NEAREST_NEIGHBOR": _RESIZED,
    "RSQRT": (),
    "SLICE": (limits.constant_parameters,),
    "SOFTMAX": (limits.one_row, limits.few_elements),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (),
    "STRIDED_SLICE": (limits.constant_parameters, limits.plain_strides),
    "SUB": (),
    "SUM": _REDUCED,
    "TANH": (),
    # Not documented; seen mapped by compiler 16.
    "TILE": (limits.constant_parameters,),
    "TRANSPOSE": (limits.constant_parameters,),
    "TRANSPOSE_CONV": (limits.constant_filter,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (limits.constant_parameters,),
}

_AT_THE_END = "harmless at the end of the model; otherwise leave it out"

_REPLACEMENTS: Mapping[str, str] = {
    "ARG_MAX": "leave it out: whoever reads the scores can pick the best",
    "BATCH_MATMUL": "use a dense layer or a 1x1 convolution with constant weights",
    "BATCH_TO_SPACE_ND": "give the convolution its dilation_rate, so that the converter folds it in",
    "CAST": "feed the model the type that it computes with",
    "CUSTOM:TFLite_Detection_PostProcess": _AT_THE_END,
    "CUSTOM:PosenetDecoderOp": _AT_THE_END,
    "DEPTH_TO_SPACE": "use Conv2DTranspose, or a resize by two",
    "DEQUANTIZE": "harmless at the end of the model; to avoid it, give the model 8-bit outputs",
    "DIV": "multiply by a constant instead",
    "ELU": "use relu6",
    "EXP": "leave it out: whoever reads the outputs can compute it",
    "GATHER": "use slices or a split",
    "GELU": "use relu6",
    "HARD_SWISH": "use relu6",
    "LEAKY_RELU": "use PReLU(shared_axes=[1, 2]), or relu6",
    "LOG_SOFTMAX": "use softmax",
    "MIRROR_PAD": "pad with zeros",
    "NEG": "multiply by -1",
    "PADV2": "pad with zeros",
    "POW": "multiply the tensor by itself",
    "SHAPE": "fix the batch: Input(..., batch_size=1)",
    "SPACE_TO_BATCH_ND": "give the convolution its dilation_rate, so that the converter folds it in",
    "SPLIT_V": "split into equal parts",
    "SQRT": "leave it out of the model",
    "UNPACK": "use slices",
}
