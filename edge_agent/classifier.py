"""Runs one TFLite model. Only this module knows tflite_runtime and its successors."""

import importlib
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.errors import MessageError
from contract.messages import Candidate
from edge_agent.errors import ModelError, RequestError

# The board's image has the first, newer Pythons the second, a training computer perhaps only the third.
_RUNTIMES = (
    ("tflite_runtime", "tflite_runtime.interpreter"),
    ("ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tensorflow", "tensorflow.lite"),
)
_EDGETPU_OPERATION = "edgetpu-custom-op"


class _Runtime(NamedTuple):
    """A TFLite interpreter class, and how it is called in reports ("tflite_runtime 2.11.0")."""

    name: str
    interpreter: Any


class Classifier:
    """One model, loaded and allocated; made for one thread.

    Attributes:
        inputs: its one input, shape (1, H, W, C) or whatever the model takes.
        outputs: its one output, shape (1, classes).
        runtime: name and version of the interpreter.
        backend: "cpu", or "edgetpu" when a delegate runs it.
    """

    def __init__(
        self, model_path: Path, labels: Sequence[str], top_k: int, edgetpu: Optional[str] = None
    ) -> None:
        """Load a model.

        Args:
            model_path: a .tflite file with one static input and one static (1, classes) output.
            labels: one label a class.
            top_k: how many candidates an answer has, at most.
            edgetpu: which Edge TPU to use, None for the CPU.

        Raises:
            ModelError: it cannot be loaded, or is not such a model; the code says which.
        """
        runtime = _import_runtime()
        self.runtime = runtime.name
        self.backend = "cpu"
        self._interpreter = _allocate(runtime, model_path, _load_delegates(edgetpu))
        self._input_index, taken = _describe(self._interpreter.get_input_details(), "input")
        self._output_index, given = _describe(self._interpreter.get_output_details(), "output")
        self.inputs: Tuple[TensorSpec, ...] = (taken,)
        self.outputs: Tuple[TensorSpec, ...] = (given,)
        if len(given.shape) != 2 or given.shape[0] != 1 or given.dtype not in ("uint8", "int8", "float32"):
            raise ModelError(
                "model_output",
                f"output is {given.dtype} {given.shape}, not (1, classes) of uint8, int8 or float32",
            )
        if len(labels) != given.shape[1]:
            raise ModelError(
                "labels_mismatch", f"model tells {given.shape[1]} classes apart, labels name {len(labels)}"
            )
        self._labels = tuple(labels)
        self._top_k = top_k

    def run(self, tensor: Any) -> Any:
        """Run the model once.

        Args:
            tensor: ndarray of exactly the input's shape and dtype.

        Returns:
            The raw output, (1, classes) ndarray in the output's dtype; a copy that later runs leave alone.

        Raises:
            RequestError: wrong shape or dtype.
            ModelError: the interpreter gave up.
        """
        spec = self.inputs[0]
        if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
            raise RequestError(
                "bad_input", f"model takes {spec.dtype} {spec.shape}, got {tensor.dtype} {tensor.shape}"
            )
        try:
            self._interpreter.set_tensor(self._input_index, tensor)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output_index)
        except (RuntimeError, ValueError) as error:
            raise ModelError("model_run", f"the model could not be run: {error}") from error

    def rank(self, output: Any) -> Tuple[Candidate, ...]:
        """Name the best classes of a raw output.

        Args:
            output: (1, classes) ndarray as `run` returns it.

        Returns:
            At most `top_k` candidates, best first, the lower class first among equals; scores 0 to 1.

        Raises:
            ModelError: the model answered NaN or infinity.
        """
        spec = self.outputs[0]
        scores = output[0].astype(np.float64)
        if spec.scale:
            scores = (scores - spec.zero_point) * spec.scale
        if not np.isfinite(scores).all():
            raise ModelError("model_not_finite", "the model answered NaN or infinity")
        best = np.argsort(-scores, kind="stable")[: self._top_k]
        clipped = np.clip(scores, 0.0, 1.0)
        return tuple(Candidate(self._labels[place], int(place), float(clipped[place])) for place in best)


def _import_runtime() -> _Runtime:
    for package, module in _RUNTIMES:
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ImportError:
            continue
        version = getattr(importlib.import_module(package), "__version__", "")
        return _Runtime(f"{package} {version}".strip(), interpreter)
    raise ModelError(
        "runtime_missing",
        "no TFLite interpreter is installed",
        "install one of " + ", ".join(package for package, _ in _RUNTIMES),
    )


def _load_delegates(edgetpu: Optional[str]) -> List[Any]:
    """Return the delegates to run with: none on the CPU.

    Raises:
        ModelError: an Edge TPU is wanted.
    """
    if edgetpu is None:
        return []
    raise ModelError(
        "edgetpu_unsupported",
        f"this agent cannot use an Edge TPU yet, but the configuration asks for {edgetpu!r}",
        "remove `edgetpu` from the configuration and push a model for the CPU",
    )


def _allocate(runtime: _Runtime, model_path: Path, delegates: List[Any]) -> Any:
    try:
        interpreter = runtime.interpreter(
            model_path=str(model_path), experimental_delegates=delegates or None
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError, OSError) as error:
        if _EDGETPU_OPERATION in str(error):
            raise ModelError(
                "model_needs_edgetpu",
                "the model is compiled for an Edge TPU, and none is in use",
                "push the model for the CPU",
            ) from error
        raise ModelError("model_unreadable", f"{runtime.name} cannot load the model: {error}") from error
    return interpreter


def _describe(details: List[Dict[str, Any]], what: str) -> Tuple[int, TensorSpec]:
    if len(details) != 1:
        raise ModelError(f"model_{what}", f"model has {len(details)} {what}s, only one is supported")
    found = details[0]
    signature = found.get("shape_signature", found["shape"])
    if any(size < 1 for size in signature):
        raise ModelError(
            "model_not_static",
            f"{what} has the shape {tuple(int(size) for size in signature)}",
            "convert it with a fixed batch size of 1",
        )
    scale, zero_point = found["quantization"]
    try:
        spec = TensorSpec(
            name=found["name"],
            shape=tuple(int(size) for size in found["shape"]),
            dtype=np.dtype(found["dtype"]).name,
            scale=float(scale),
            zero_point=int(zero_point),
        )
    except (MessageError, TypeError) as error:
        raise ModelError(f"model_{what}", f"{what} is not supported: {error}") from error
    return int(found["index"]), spec
