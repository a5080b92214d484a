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
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
_FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")


@dataclass(frozen=True)
class Violation:
    """One thing that must change: at which operator (index -1: the model's border), tensor, and how."""

    index: int
    op: str
    tensor: str
    what: str
    fix: str

    def __str__(self) -> str:
        place = f"operator {self.index} {self.op}" if self.index >= 0 else self.op
        return f"{place}, tensor {self.tensor.split(';')[0]}: {self.what}"


def find_load_failures(model: TfliteModel) -> tuple[Violation, ...]:
    """List what keeps the Edge TPU compiler, or the boards' runtime, from loading a file at all."""
    return (*_unreadable_ops(model), *_sizes_at_run_time(model))


def find_violations(model: TfliteModel, io: str) -> tuple[Violation, ...]:
    """List everything a quantized model of batch 1 must not have.

    Args:
        model: the converted file.
        io: dtype that was asked for: `uint8`, `int8` or `float32`.
    """
    return (
        *find_load_failures(model),
        *_open_shapes(model),
        *_batches(model),
        *_per_channel_dense(model),
        *_wrong_border(model, io),
        *_floats(model, io),
    )


def require(model: TfliteModel, io: str, where: str) -> None:
    """Refuse a converted file that breaks a rule.

    Raises:
        GateNotMet: names the first operator, its tensor and what to do; tells how many more there are.
    """
    found = find_violations(model, io)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise GateNotMet(f"{found[0]}{more}", where, found[0].fix)


def _unreadable_ops(model: TfliteModel) -> Iterator[Violation]:
    for operator in model.operators:
        highest = HIGHEST_READ.get(operator.name, 0)
        if operator.name.startswith("CUSTOM:"):
            if operator.name not in KNOWN_CUSTOM_OPS:
                yield _at(operator, "no board knows this custom operator", "use builtin layers")
        elif operator.version > highest:
            known = f"versions up to {highest} are read" if highest else "it is not known"
            yield _at(
                operator,
                f"has version {operator.version}, but by TensorFlow Lite 2.5 {known}",
                _REWRITES.get(operator.name, "replace the layer by one of an older kind"),
            )


def _sizes_at_run_time(model: TfliteModel) -> Iterator[Violation]:
    """Find outputs without a fixed size. An open batch alone is not one: the runtime then takes 1."""
    computed = {tensor.index for operator in model.operators for tensor in operator.outputs}
    for operator in model.operators:
        numbers = [n for n in _SIZE_INPUTS.get(operator.name, ()) if n < len(operator.inputs)]
        sizes = [tensor for n in numbers if (tensor := operator.inputs[n]) is not None]
        if any(tensor.index in computed for tensor in sizes) or _has_negative_size(operator):
            yield _at(operator, DYNAMIC, _FIX_BATCH)


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


def _floats(model: TfliteModel, io: str) -> Iterator[Violation]:
    border = {tensor.index for tensor in (*model.inputs, *model.outputs)}
    for operator in model.operators:
        for tensor in (*operator.present, *operator.outputs):
            if tensor.dtype in _FLOATS and not (io == "float32" and tensor.index in border):
                fix = "replace the layer by one that has an int8 form (see quantize check)"
                yield _at(operator, f"is {tensor.dtype} in an integer model", fix, tensor)


def _at(operator: Operator, what: str, fix: str, tensor: Tensor | None = None) -> Violation:
    name = operator.tensor if tensor is None else tensor.name
    return Violation(operator.index, operator.name, name, what, fix)


def _border(role: str, tensor: Tensor, what: str, fix: str) -> Violation:
    return Violation(-1, role, tensor.name, what, fix)


DYNAMIC = "its size is only known while the model runs"
_FIX_BATCH = "fix every size, the batch to 1: keras.Input(..., batch_size=1)"
_REWRITES = {
    "GELU": "use relu6 in place of gelu",
    "TILE": "use tf.image.resize or UpSampling2D(interpolation='bilinear')",
    "CONV_2D": "split the grouped convolution into plain ones",
    "FULLY_CONNECTED": "quantize weights and activations to int8, with calibration samples",
    "TRANSPOSE_CONV": "drop the bias or activation of the transposed convolution, add it as a layer",
}
