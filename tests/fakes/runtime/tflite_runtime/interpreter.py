"""An interpreter whose model adds up its input, and that hangs, crashes or lies as the file of orders says.

The folder FAKE_RUNTIME holds `edgetpu.json` or `cpu.json` when something is to go wrong there:
{"fault": "hang"|"crash"|"nan"|"slow"|"refuse", "skip": how many runs go well before it,
"until": "interpreter"|"delegate"|"process"|"reset"|"never": what must be made anew to mend it}.
While `hold` is there, loading a delegate takes. A process that holds the Edge TPU keeps every other one out,
as the driver does.
"""

import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

SHAPE, CLASSES = (1, 28, 28, 1), 10
SLOW_S = 0.05
_FOLDER = Path(os.environ["FAKE_RUNTIME"])
_device: List[Any] = []


def compute(tensor: Any) -> Any:
    """Return what the model answers to a (1, 28, 28, 1) uint8 ndarray: (1, 10) float32."""
    output = np.full((1, CLASSES), 0.01, np.float32)
    output[0, int(tensor.sum()) % CLASSES] = 0.9
    return output


class _Faulty:
    """Something that can be broken; a new one is whole."""

    def __init__(self) -> None:
        self.fault = ""


_process = _Faulty()


class Delegate(_Faulty):
    """A way to the Edge TPU."""


def load_delegate(_library: str, _options: Dict[str, str]) -> Delegate:
    order = _read("edgetpu")
    if order.get("fault") == "refuse":
        raise ValueError("Failed to load delegate from libedgetpu.so.1\n")
    while (_FOLDER / "hold").exists():
        time.sleep(0.01)
    if not _device:
        _device.append((_FOLDER / "device").open("w"))
    try:
        fcntl.lockf(_device[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ValueError("Failed to load delegate from libedgetpu.so.1\n") from error
    return Delegate()


class Interpreter(_Faulty):
    """Takes (1, 28, 28, 1) uint8, gives (1, 10) float32."""

    def __init__(self, model_path: str, experimental_delegates: Optional[List[Delegate]] = None) -> None:
        super().__init__()
        Path(model_path).read_bytes()
        self._delegates = experimental_delegates or []
        self._name = "edgetpu" if self._delegates else "cpu"
        self._tensor = np.zeros(SHAPE, np.uint8)

    def allocate_tensors(self) -> None:
        pass

    def get_input_details(self) -> List[Dict[str, Any]]:
        return [_describe("input", SHAPE, np.uint8, 1 / 255)]

    def get_output_details(self) -> List[Dict[str, Any]]:
        return [_describe("output", (1, CLASSES), np.float32, 0.0)]

    def set_tensor(self, _index: int, tensor: Any) -> None:
        self._tensor = tensor.copy()

    def get_tensor(self, _index: int) -> Any:
        return self._output

    def invoke(self) -> None:
        self._output = compute(self._tensor)
        fault = self._find_fault()
        if fault == "hang":
            time.sleep(3600)
        elif fault == "crash":
            # To the whole process it may be delivered only after the answer.
            signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)
        elif fault == "slow":
            time.sleep(SLOW_S)
        elif fault == "nan":
            self._output[:] = np.nan
        elif fault == "wrong":
            self._output = np.roll(self._output, 1)

    def _find_fault(self) -> str:
        broken: Dict[str, _Faulty] = {"interpreter": self, "process": _process}
        if self._delegates:
            broken["delegate"] = self._delegates[0]
        order = _read(self._name)
        if order and order["skip"] > 0:
            _write(self._name, dict(order, skip=order["skip"] - 1))
        elif order and order["until"] in broken:
            broken[order["until"]].fault = order["fault"]
            (_FOLDER / (self._name + ".json")).unlink()
        elif order and not (order["until"] == "reset" and _is_reset()):
            return str(order["fault"])
        return next((each.fault for each in broken.values() if each.fault), "")


def _is_reset() -> bool:
    return (_FOLDER / "reset").read_text() == "1"


def _read(name: str) -> Dict[str, Any]:
    try:
        order: Dict[str, Any] = json.loads((_FOLDER / (name + ".json")).read_text())
    except FileNotFoundError:
        return {}
    return order


def _write(name: str, order: Dict[str, Any]) -> None:
    (_FOLDER / (name + ".json")).write_text(json.dumps(order))


def _describe(name: str, shape: Any, dtype: Any, scale: float) -> Dict[str, Any]:
    return {
        "name": name,
        "index": 0,
        "shape": np.array(shape),
        "shape_signature": np.array(shape),
        "dtype": dtype,
        "quantization": (scale, 0),
    }
