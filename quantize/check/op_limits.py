"""In which forms the Edge TPU has an operator: one rule for each documented limit. Pure rules.

A rule takes an operator and returns a Placement on the CPU, or None where it has nothing against it.

Source: coral.ai/docs/edgetpu/models-intro, "Supported operations". Borders that the page does not give were
read off compiled files and public compiler logs, and are marked so.
"""

from collections.abc import Callable

from quantize.check.placement import NOT_CONSTANT, VERSION_NOT_SUPPORTED, Placement, limited
from quantize.tflite_model import Operator, Tensor

# The page says 16,000; 16,384 were seen to map.
MAX_SOFTMAX_ELEMENTS = 16_384
# Not documented: x15.5 was seen to stay on the CPU and x2 to map; the border lies somewhere between.
MAX_RESIZE_RATIO = 4
# Not documented: 64 x 64 x 32 -> 128 x 128 x 32 was seen to map, 256 x 256 x 32 -> 512 x 512 x 32 and
# 512 x 512 x 3 -> 1024 x 1024 x 3 not. Taken is what the tiles' memory can hold, 16 x 192 KiB.
MAX_RESIZED_BYTES = 16 * 192 * 1024
# Not documented: a mean over 64 x 128 positions was seen to map, one over 256 x 128 not.
TOO_MANY_MEAN_POSITIONS = 256 * 128
MEAN_DEPTH_STEP = 4

Rule = Callable[[Operator], Placement | None]


def constant_parameters(operator: Operator) -> Placement | None:
    """All but the first input must lie in the file."""
    return _constant(operator.inputs[1:])


def constant_filter(operator: Operator) -> Placement | None:
    """A transposed convolution takes its data third: all else must lie in the file."""
    return _constant((*operator.inputs[:2], *operator.inputs[3:]))


def _constant(tensors: tuple[Tensor | None, ...]) -> Placement | None:
    for tensor in tensors:
        if tensor is not None and not (tensor.is_constant or tensor.is_variable):
            reason = f"{tensor.short_name} is computed while the model runs"
            return limited(reason, "make it a constant of the model", NOT_CONSTANT)
    return None


def no_activation(operator: Operator) -> Placement | None:
    """No fused activation."""
    if operator.options.get("FusedActivationFunction"):
        return limited("it has a fused activation", "put the activation into a layer of its own")
    return None


def same_dilation(operator: Operator) -> Placement | None:
    """The same dilation in x and y."""
    across, down = (operator.options.get(f"Dilation{side}Factor", 1) for side in "WH")
    if across != down:
        return limited(f"its dilation is {down} x {across}", "use the same dilation in both directions")
    return None


def default_weights(operator: Operator) -> Placement | None:
    """Only the default format of weights."""
    if operator.options.get("WeightsFormat"):
        return limited("its weights are shuffled", "convert again with the default weight format")
    return None


def one_row(operator: Operator) -> Placement | None:
    """A one-dimensional output."""
    for tensor in operator.outputs:
        if any(size != 1 for size in tensor.shape[:-1]):
            status = VERSION_NOT_SUPPORTED if operator.options.get("KeepNumDims") else None
            reason = f"its output has shape {list(tensor.shape)}, not one row"
            fix = "use a 1x1 convolution, or flatten before it"
            return limited(reason, fix, status) if status else limited(reason, fix)
    return None


def few_elements(operator: Operator) -> Placement | None:
    """A softmax of at most MAX_SOFTMAX_ELEMENTS."""
    if operator.outputs and operator.outputs[0].elements > MAX_SOFTMAX_ELEMENTS:
        reason = f"it has more than {MAX_SOFTMAX_ELEMENTS:,} elements"
        return limited(reason, "use fewer classes, or leave softmax out of the model")
    return None


def zero_padding_only(operator: Operator) -> Placement | None:
    """With a constant among the inputs: two inputs, and the constant stands for zeros."""
    constants = [tensor for tensor in operator.present if tensor.is_constant]
    if not constants or (len(operator.present) == 2 and len(constants) == 1 and constants[0].is_zero):
        return None
    return limited("it joins a constant that is not all zero", "pad with zeros, or leave the constant out")


def small_ratio(operator: Operator) -> Placement | None:
    """A resize that does not enlarge much, and fits into the tiles."""
    if not operator.present or not operator.outputs:
        return None
    before, after = operator.present[0].shape, operator.outputs[0].shape
    ratios = [new / max(old, 1) for old, new in zip(before[1:3], after[1:3], strict=False)]
    if any(ratio > MAX_RESIZE_RATIO for ratio in ratios):
        return limited(f"it enlarges {list(before)} to {list(after)}", "enlarge in steps of two")
    if operator.outputs[0].elements > MAX_RESIZED_BYTES:
        reason = f"its output {list(after)} is larger than {MAX_RESIZED_BYTES // 1024:,} KiB"
        return limited(reason, "use smaller pictures, or resize after the model")
    return None


def not_along_batch(operator: Operator) -> Placement | None:
    """No reduction over the first axis."""
    if operator.present and 0 in _axes(operator) and len(operator.present[0].shape) > 1:
        return limited("it works along the batch", "leave the first axis alone")
    return None


def mean_that_fits(operator: Operator) -> Placement | None:
    """A mean over the depth needs a depth that is a multiple of four; over many positions it stays behind."""
    shape = operator.present[0].shape if operator.present else ()
    axes = _axes(operator)
    if len(shape) - 1 in axes and shape[-1] % MEAN_DEPTH_STEP:
        return limited(f"it reduces a depth of {shape[-1]}", f"use a multiple of {MEAN_DEPTH_STEP}")
    positions = 1
    for axis in axes & set(range(len(shape) - 1)):
        positions *= shape[axis]
    if positions >= TOO_MANY_MEAN_POSITIONS:
        return limited(f"it reduces {positions:,} positions", "pool with smaller windows before it")
    return None


def _axes(operator: Operator) -> set[int]:
    rank = len(operator.present[0].shape) if operator.present else 0
    axes = operator.present[1].integers() if len(operator.present) > 1 else ()
    return {axis % rank for axis in axes} if rank else set()


def not_packing_batch(operator: Operator) -> Placement | None:
    """No packing along the first axis."""
    rank = len(operator.outputs[0].shape) if operator.outputs else 0
    if rank and operator.options.get("Axis", 0) % rank == 0:
        return limited("it packs along the batch", "pack along another axis, or concatenate")
    return None


def not_padding_batch(operator: Operator) -> Placement | None:
    """No padding of the first axis."""
    amounts = operator.present[1].integers() if len(operator.present) > 1 else ()
    if any(amounts[:2]):
        return limited("it pads the batch", "leave the first axis alone")
    return None


def plain_strides(operator: Operator) -> Placement | None:
    """Strides of 1, no ellipsis, no new axis."""
    strides = operator.present[3].integers() if len(operator.present) > 3 else ()
    masks = operator.options.get("EllipsisMask", 0) or operator.options.get("NewAxisMask", 0)
    if masks or any(stride != 1 for stride in strides):
        return limited("it has strides or masks other than plain ones", "slice with stride 1")
    return None


def one_slope_a_channel(operator: Operator) -> Placement | None:
    """One slope for each channel."""
    slopes = operator.present[1] if len(operator.present) > 1 else None
    if slopes is not None and any(size != 1 for size in slopes.shape[:-1]):
        return limited("it has a slope for each position", "use PReLU(shared_axes=[1, 2])")
    return None
