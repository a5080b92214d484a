"""What a quantized file must be before it may travel: static, batch 1, 8-bit, readable. Pure rules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from host_cli.errors import GateNotMet
from quantize.check.op_versions import HIGHEST_READ
from quantize.tflite_model import Operator, Tensor, TfliteModel

# The compiler brings these two along; any other custom operator it cannot load.
KNOWN_CUSTOM_OPS = ("CUSTOM:TFLite_Detection_PostProcess", "CUSTOM:PosenetDecoderOp")

# Inputs that say an output's size: computed while the model runs, it has no fixed size.
_SIZE_INPUTS: Mapping[str, tuple[int, ...]] = {
    "ARG_MAX": (1,),
    "ARG_MIN": (1,),
    "BATCH_TO_SPACE_ND": (1, 2),
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_ANY": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SCATTER_ND": (2,),
    "SLICE": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "SPARSE_TO_DENSE": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
# How many values these give depends on the values that they take.
_SIZE_FROM_VALUES = ("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "UNIQUE", "WHERE")
_FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")


@dataclass(frozen=True)
class Violation:
    """One thing that must change: at which operator (index -1: the model's border), tensor, and how.

    `words` is what the compiler says when this stops it, empty if it does not.
    """

    index: int
    op: str
    tensor: str
    what: str
    fix: str
    words: str = ""

    def __str__(self) -> str:
        place = f"operator {self.index} {self.op}" if self.index >= 0 else self.op
        return f"{place}, tensor {self.tensor}: {self.what}"


def find_load_failures(model: TfliteModel) -> tuple[Violation, ...]:
    """List what keeps the Edge TPU compiler, or the boards' runtime, from loading a file at all."""
    return (*_unreadable_ops(model), *_sizes_at_run_time(model))


def find_silent_failures(model: TfliteModel) -> tuple[Violation, ...]:
    """List what the boards' runtime computes wrongly without an error."""
    return tuple(_per_channel_dense(model))


def find_violations(model: TfliteModel, io: str | None) -> tuple[Violation, ...]:
    """List everything a quantized model of batch 1 must not have.

    Args:
        model: the converted file.
        io: dtype that was asked for: `uint8`, `int8` or `float32`; None if it takes a template's place and
            so has the template's.
    """
    return (
        *find_load_failures(model),
        *_open_shapes(model),
        *_batches(model),
        *_per_channel_dense(model),
        *(_wrong_border(model, io) if io else ()),
        *_floats(model, io),
    )


def require(model: TfliteModel, io: str | None, where: str) -> None:
    """Refuse a converted file that breaks a rule; `io` as in `find_violations`.

    Raises:
        GateNotMet: names the first operator, its tensor and what to do; tells how many more there are.
    """
    found = find_violations(model, io)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise GateNotMet(f"{found[0]}{more}", where, found[0].fix)


def _unreadable_ops(model: TfliteModel) -> Iterator[Violation]:
    # A grouped convolution makes the converter raise the version that all convolutions of a file carry.
    grouped = {operator.index for operator in model.operators if _is_grouped(operator)}
    for operator in model.operators:
        if operator.name.startswith("CUSTOM:"):
            if operator.name not in KNOWN_CUSTOM_OPS:
                yield _unknown_custom_op(operator)
        elif operator.name == "CONV_2D" and grouped and operator.index not in grouped:
            continue
        elif operator.version > HIGHEST_READ.get(operator.name, 0):
            yield _too_new(operator)


def _unknown_custom_op(operator: Operator) -> Violation:
    name = operator.name.removeprefix("CUSTOM:")
    if name.startswith("Flex"):
        what, fix = "it is a TensorFlow operator", "convert with builtin operators only, not SELECT_TF_OPS"
        return _at(operator, what, fix, words="Regular TensorFlow ops are not supported by this interpreter")
    words = f"Encountered unresolved custom op: {name}."
    return _at(operator, "no board knows this custom operator", "use builtin layers", words=words)


def _too_new(operator: Operator) -> Violation:
    highest = HIGHEST_READ.get(operator.name, 0)
    known = f"versions up to {highest} are read" if highest else "it is not known"
    words = f"Didn't find op for builtin opcode '{operator.name}' version '{operator.version}'"
    return _at(
        operator,
        f"has version {operator.version}, but by TensorFlow Lite 2.5 {known}",
        REWRITES.get(operator.name, "replace the layer by one of an older kind"),
        words=words if highest else "Op builtin_code out of range",
    )


def _is_grouped(operator: Operator) -> bool:
    """Say whether it is a convolution whose filters see only a part of the channels."""
    data, weights = (*operator.inputs, None, None)[:2]
    if operator.name != "CONV_2D" or data is None or weights is None:
        return False
    return data.shape[3:] != weights.shape[3:]


def _sizes_at_run_time(model: TfliteModel) -> Iterator[Violation]:
    """Find outputs without a fixed size. An open batch alone is not one: the runtime then takes 1."""
    computed = {tensor.index for operator in model.operators for tensor in operator.outputs}
    for operator in model.operators:
        numbers = [n for n in _SIZE_INPUTS.get(operator.name, ()) if n < len(operator.inputs)]
        sizes = [tensor for n in numbers if (tensor := operator.inputs[n]) is not None]
        from_values = operator.name in _SIZE_FROM_VALUES
        if from_values or any(tensor.index in computed for tensor in sizes) or _has_negative_size(operator):
            fix = "leave it out of the model" if from_values else _FIX_BATCH
            yield _at(operator, DYNAMIC, fix, words=STATIC_ONLY)


def _has_negative_size(operator: Operator) -> bool:
    return any(size < 0 for tensor in operator.outputs for size in tensor.shape)


def _open_shapes(model: TfliteModel) -> Iterator[Violation]:
    for tensor in model.inputs:
        if not tensor.is_static:
            yield _border("input", tensor, f"has the open shape {list(tensor.signature)}", _FIX_BATCH)
    for operator in model.operators:
        for tensor in operator.outputs:
            if not tensor.is_static:
                yield _at(operator, f"has the open shape {list(tensor.signature)}", _FIX_BATCH, tensor)


def _batches(model: TfliteModel) -> Iterator[Violation]:
    for role, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            if tensor.is_static and tensor.shape[:1] != (1,):
                yield _border(role, tensor, f"has shape {list(tensor.shape)}, not batch 1", _FIX_BATCH)


def _per_channel_dense(model: TfliteModel) -> Iterator[Violation]:
    for operator in model.operators:
        weights = operator.inputs[1] if len(operator.inputs) > 1 else None
        if operator.name == "FULLY_CONNECTED" and weights is not None and weights.is_per_channel:
            what = "has one scale per channel, which TensorFlow Lite 2.5 reads wrongly without an error"
            yield _at(operator, what, "convert dense layers per tensor: quantize does so by itself", weights)


def _wrong_border(model: TfliteModel, io: str) -> Iterator[Violation]:
    for role, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            if tensor.dtype != io.upper():
                fix = "convert again: quantize MODEL.keras --io " + io
                yield _border(role, tensor, f"is {tensor.dtype}, asked for was {io}", fix)


def _floats(model: TfliteModel, io: str | None) -> Iterator[Violation]:
    border = {tensor.index for tensor in (*model.inputs, *model.outputs)}
    for operator in model.operators:
        for tensor in (*operator.present, *operator.outputs):
            if tensor.dtype in _FLOATS and not (io == "float32" and tensor.index in border):
                fix = "replace the layer by one that has an int8 form (see quantize check)"
                yield _at(operator, f"is {tensor.dtype} in an integer model", fix, tensor)


def _at(
    operator: Operator, what: str, fix: str, tensor: Tensor | None = None, *, words: str = ""
) -> Violation:
    shown = tensor or (operator.outputs[0] if operator.outputs else None)
    name = "" if shown is None else shown.short_name
    return Violation(operator.index, operator.name, name, what, fix, words)


def _border(role: str, tensor: Tensor, what: str, fix: str) -> Violation:
    return Violation(-1, role, tensor.short_name, what, fix)


DYNAMIC = "its size is only known while the model runs"
STATIC_ONLY = (
    "Attempting to use a delegate that only supports static-sized tensors with a graph that has "
    "dynamic-sized tensors."
)
_FIX_BATCH = "fix every size, the batch to 1: keras.Input(..., batch_size=1)"
REWRITES = {
    "GELU": "use relu6 in place of gelu",
    "TILE": "use tf.image.resize or UpSampling2D(interpolation='bilinear')",
    "CONV_2D": "split the grouped convolution into plain ones",
    "FULLY_CONNECTED": "quantize weights and activations to int8, with calibration samples",
    "TRANSPOSE_CONV": "drop the bias or activation of the transposed convolution, add it as a layer",
}
