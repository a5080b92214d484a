"""Runs one TFLite model. Only this module knows tflite_runtime and its successors."""

import ctypes
import importlib
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.errors import MessageError
from contract.messages import Candidate
from edge_agent import delegate
from edge_agent.errors import ModelError, RequestError

# The board's image has the first, newer Pythons the second, a training computer perhaps only the third.
_RUNTIMES = (
    ("tflite_runtime", "tflite_runtime.interpreter"),
    ("ai_edge_litert", "ai_edge_litert.interpreter"),
    ("tensorflow", "tensorflow.lite"),
)
_EDGETPU_OPERATION = "edgetpu-custom-op"
_EDGETPU_REFUSAL = "Failed to prepare for TPU"


class _Runtime(NamedTuple):
    """A TFLite interpreter class, what loads a delegate for it, and its name ("tflite_runtime 2.11.0")."""

    name: str
    interpreter: Any
    load_delegate: Any


class Classifier:
    """One model, loaded and allocated; made for one thread.

    Attributes:
        inputs: its one input, shape (1, H, W, C) or whatever the model takes.
        outputs: its one output, shape (1, classes).
        runtime: name and version of the interpreter.
        backend: "cpu", or "edgetpu" when a delegate runs it.
    """

    def __init__(
        self, model_path: Path, labels: Optional[Sequence[str]], top_k: int, edgetpu: Optional[str] = None
    ) -> None:
        """Load a model.

        Args:
            model_path: a .tflite file with one static input and one static (1, classes) output.
            labels: one label a class, None for the classes' numbers.
            top_k: how many candidates an answer has, at most.
            edgetpu: which Edge TPU runs a compiled model, as `:0`, `pci:0` or `usb:0`; None if there is none.

        Raises:
            ModelError: it cannot be loaded, or is not such a model; the code says which.
        """
        runtime = _import_runtime()
        self.runtime = runtime.name
        delegates = []
        if edgetpu is not None and _is_compiled(model_path):
            delegates.append(_load_delegate(runtime, edgetpu))
        self.backend = "edgetpu" if delegates else "cpu"
        self._interpreter = _allocate(runtime, model_path, delegates)
        self._input_index, taken = _describe(self._interpreter.get_input_details(), "input")
        self._output_index, given = _describe(self._interpreter.get_output_details(), "output")
        self.inputs: Tuple[TensorSpec, ...] = (taken,)
        self.outputs: Tuple[TensorSpec, ...] = (given,)
        if len(given.shape) != 2 or given.shape[0] != 1 or given.dtype not in ("uint8", "int8", "float32"):
            raise ModelError(
                "model_output",
                f"output is {given.dtype} {given.shape}, not (1, classes) of uint8, int8 or float32",
            )
        if labels is None:
            labels = [str(number) for number in range(given.shape[1])]
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

    def rank(self, output: Any, top_k: Optional[int] = None) -> Tuple[Candidate, ...]:
        """Name the best classes of a raw output.

        Args:
            output: (1, classes) ndarray as `run` returns it.
            top_k: how many to name, None for as many as the classifier was made for.

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
        best = np.argsort(-scores, kind="stable")[: top_k or self._top_k]
        clipped = np.clip(scores, 0.0, 1.0)
        return tuple(Candidate(self._labels[place], int(place), float(clipped[place])) for place in best)


def find_runtime() -> str:
    """Return name and version of the interpreter that models will run on.

    Raises:
        ModelError: none is installed.
    """
    return _import_runtime().name


def _import_runtime() -> _Runtime:
    for package, module in _RUNTIMES:
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        version = getattr(importlib.import_module(package), "__version__", "")
        # TensorFlow keeps what loads a delegate in a drawer of its own.
        load_delegate = getattr(found, "experimental", found).load_delegate
        return _Runtime(f"{package} {version}".strip(), found.Interpreter, load_delegate)
    raise ModelError(
        "runtime_missing",
        "no TFLite interpreter is installed",
        "install one of " + ", ".join(package for package, _ in _RUNTIMES),
    )


def _is_compiled(model_path: Path) -> bool:
    """Say whether a model has a part that only an Edge TPU can run."""
    try:
        return _EDGETPU_OPERATION.encode("ascii") in model_path.read_bytes()
    except OSError as error:
        raise ModelError("model_unreadable", f"the model cannot be read: {error}") from error


def _load_delegate(runtime: _Runtime, edgetpu: str) -> Any:
    try:
        # Where it is absent, the runtime's own attempt would leave a traceback behind.
        ctypes.CDLL(delegate.LIBRARY)
        return runtime.load_delegate(delegate.LIBRARY, {"device": edgetpu})
    except (ValueError, OSError) as error:
        raise _explain_edgetpu(error) from error


def _explain_edgetpu(error: Exception) -> ModelError:
    problem = delegate.diagnose(delegate.gather(), str(error))
    return ModelError(problem.code, problem.message, problem.hint)


def _allocate(runtime: _Runtime, model_path: Path, delegates: List[Any]) -> Any:
    try:
        interpreter = runtime.interpreter(
            model_path=str(model_path), experimental_delegates=delegates or None
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError, OSError) as error:
        if _EDGETPU_REFUSAL in str(error):
            raise _explain_edgetpu(error) from error
        if _EDGETPU_OPERATION in str(error):
            raise ModelError(
                "model_needs_edgetpu",
                "the model is compiled for an Edge TPU, and none is in use",
                "set `edgetpu` in the configuration, or push the model for the CPU",
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
