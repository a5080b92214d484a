"""Runs one TFLite model. Only this module knows tflite_runtime and its successors."""

import ctypes
import importlib
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from contract.artifacts import TensorSpec
from contract.errors import MessageError
from edge_agent.errors import ModelError, RequestError
from edge_agent.inference import delegate

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


class Interpreter:
    """One model, loaded and allocated; made for one thread.

    Attributes:
        inputs: what it takes, in the model's order.
        outputs: what it gives, in the model's order.
        runtime: name and version of the TFLite package.
        backend: "cpu", or "edgetpu" when a delegate runs it.
    """

    def __init__(self, model_path: Path, edgetpu: Optional[str] = None) -> None:
        """Load a model.

        Args:
            model_path: a .tflite file, every input and output of it with a fixed shape.
            edgetpu: which Edge TPU runs a compiled model, as `:0`, `pci:0` or `usb:0`; None if there is none.

        Raises:
            ModelError: it cannot be loaded, or is not such a model; the code says which.
        """
        self._runtime = runtime = _import_runtime()
        self._model_path = model_path
        self.runtime = runtime.name
        self._delegates = []
        if edgetpu is not None and _is_compiled(model_path):
            self._delegates.append(_load_delegate(runtime, edgetpu))
        self.backend = "edgetpu" if self._delegates else "cpu"
        self._interpreter = _allocate(runtime, model_path, self._delegates)
        taken, given = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs = tuple(_describe(found, "input") for found in taken)
        self.outputs = tuple(_describe(found, "output") for found in given)
        self._wanted = [(np.dtype(spec.dtype), spec.shape) for spec in self.inputs]
        self._input_indexes = [int(found["index"]) for found in taken]
        self._output_indexes = [int(found["index"]) for found in given]

    def reload(self) -> None:
        """Make a new interpreter of the same file, with the same delegate.

        Raises:
            ModelError: it cannot be loaded any more.
        """
        # Two at a time may not fit into the memory.
        self._interpreter = None
        self._interpreter = _allocate(self._runtime, self._model_path, self._delegates)

    def run(self, tensors: Sequence[Any]) -> Tuple[Any, ...]:
        """Run the model once.

        Args:
            tensors: ndarrays, for each input one of exactly its shape and dtype.

        Returns:
            The raw outputs, ndarrays in their shapes and dtypes; copies that later runs leave alone.

        Raises:
            RequestError: wrong number, shape or dtype.
            ModelError: the interpreter gave up.
        """
        if [(tensor.dtype, tensor.shape) for tensor in tensors] != self._wanted:
            raise _refuse(tensors, self.inputs)
        try:
            for index, tensor in zip(self._input_indexes, tensors):
                self._interpreter.set_tensor(index, tensor)
            self._interpreter.invoke()
            return tuple(self._interpreter.get_tensor(index) for index in self._output_indexes)
        except (RuntimeError, ValueError) as error:
            raise ModelError("model_run", f"the model could not be run: {error}") from error


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


def _describe(found: Dict[str, Any], what: str) -> TensorSpec:
    signature = found.get("shape_signature", found["shape"])
    if any(size < 1 for size in signature):
        raise ModelError(
            "model_not_static",
            f"{what} has the shape {tuple(int(size) for size in signature)}",
            "convert it with a fixed batch size of 1",
        )
    scale, zero_point = found["quantization"]
    try:
        return TensorSpec(
            name=found["name"],
            shape=tuple(int(size) for size in found["shape"]),
            dtype=np.dtype(found["dtype"]).name,
            scale=float(scale),
            zero_point=int(zero_point),
        )
    except (MessageError, TypeError) as error:
        raise ModelError(f"model_{what}", f"{what} is not supported: {error}") from error


def _refuse(tensors: Sequence[Any], inputs: Sequence[TensorSpec]) -> RequestError:
    wanted = ", ".join(f"{spec.dtype} {spec.shape}" for spec in inputs)
    given = ", ".join(f"{tensor.dtype.name} {tensor.shape}" for tensor in tensors)
    return RequestError("bad_input", f"model takes {wanted}, got {given}")
