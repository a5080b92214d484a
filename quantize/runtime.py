"""The interpreter: the one module that runs .tflite models on this computer."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.artifacts import Preprocessing, TensorSpec
from host_cli.errors import Failed
from host_cli.quiet import quiet
from quantize.data import Pixels

Array = NDArray[Any]


def _load_library() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        with quiet():
            import tensorflow

        return tensorflow.lite.experimental, tensorflow.lite.Interpreter
    return interpreter, interpreter.Interpreter


def _load_model(content: bytes, **options: Any) -> Any:
    make = _load_library()[1]
    try:
        with quiet():
            interpreter = make(model_content=content, num_threads=1, **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _refused(error) from error
    return interpreter


def run_model(
    content: bytes, inputs: Array, advance: Callable[[float], None] | None = None, *, plain: bool = False
) -> Array:
    """Run a classifier on pictures, one at a time, on one thread.

    Args:
        content: the .tflite file; its batch is 1.
        inputs: (N, H, W, C) in the model's own dtype.
        advance: told of every picture that is done.
        plain: take the runtime's own kernels, not those of its XNNPACK delegate. The two round differently;
            the boards' runtime answered like XNNPACK where this was measured (see golden.py).

    Returns:
        (N, classes) in the model's own dtype.

    Raises:
        Failed: the interpreter refuses the model.
    """
    resolver = _load_library()[0].OpResolverType
    kernels = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolver.AUTO
    interpreter = _load_model(content, experimental_op_resolver_type=kernels)
    try:
        return _run_each(interpreter, inputs, advance or (lambda amount: None))
    except (ValueError, RuntimeError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> Failed:
    return Failed(
        f"the model does not run: {error}"[:300], "the CPU interpreter", "quantize check FILE.tflite"
    )


def _run_each(interpreter: Any, inputs: Array, advance: Callable[[float], None]) -> Array:
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    classes = int(result["shape"][-1])
    outputs = np.empty((len(inputs), classes), dtype=result["dtype"])
    for number, picture in enumerate(inputs):
        interpreter.set_tensor(entry["index"], picture[np.newaxis])
        interpreter.invoke()
        outputs[number] = interpreter.get_tensor(result["index"]).reshape(classes)
        advance(1)
    return outputs


def trace(content: bytes, inputs: Array, tensors: Sequence[int]) -> Iterator[dict[int, Array]]:
    """Run a model on pictures and look at what flows inside it.

    Args:
        content: the .tflite file; its batch is 1.
        inputs: (N, H, W, C) in the model's own dtype.
        tensors: the indices of the activations to look at.

    Yields:
        For each picture, a copy of each tensor in its own shape and dtype, by index.

    Raises:
        Failed: the interpreter refuses the model.
    """
    interpreter = _load_model(content, experimental_preserve_all_tensors=True)
    entry = interpreter.get_input_details()[0]["index"]
    try:
        for picture in inputs:
            interpreter.set_tensor(entry, picture[np.newaxis])
            interpreter.invoke()
            yield {tensor: interpreter.get_tensor(tensor) for tensor in tensors}
    except (ValueError, RuntimeError) as error:
        raise _refused(error) from error


def describe_tensors(content: bytes) -> tuple[TensorSpec, TensorSpec]:
    """Return the model's input and its output as the interpreter sees them.

    Raises:
        Failed: the interpreter refuses the model.
    """
    interpreter = _load_model(content)
    return _spec(interpreter.get_input_details()[0]), _spec(interpreter.get_output_details()[0])


def _spec(details: Any) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        name=details["name"],
        shape=tuple(int(size) for size in details["shape"]),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def name_runtime() -> str:
    """Return the interpreter's package and version, such as `ai_edge_litert 2.3.0`."""
    module = _load_library()[1].__module__.split(".")[0]
    return f"{module} {__import__(module).__version__}"


def prepare_pixels(pixels: Pixels, preprocessing: Preprocessing, entry: TensorSpec) -> Array:
    """Turn pixels into what the model's input takes: real values, or the numbers that stand for them.

    Args:
        pixels: (N, H, W, C), 0 to 255.
        preprocessing: real value = pixel * scale + offset.
        entry: the input; real value = (number - zero_point) * its scale.

    Returns:
        (N, H, W, C) in the input's dtype.
    """
    real = np.arange(256, dtype=np.float64) * preprocessing.scale + preprocessing.offset
    if entry.dtype == "float32":
        return real.astype(np.float32)[pixels]
    limits = np.iinfo(entry.dtype)
    numbers = np.round(real / entry.scale) + entry.zero_point
    return np.clip(numbers, limits.min, limits.max).astype(entry.dtype)[pixels]
