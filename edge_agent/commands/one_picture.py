"""What `classify` and `detect` share: a model file that somebody names, a picture, and its labels."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from contract.artifacts import Preprocessing, TensorSpec
from contract.errors import MessageError
from edge_agent.errors import ModelError, RequestError
from edge_agent.inference.images import ImageReader
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.meaning import Meaning

_ANY_EDGETPU = ":0"
_WRONG_FILE = "model_"
_MAX_PIXELS = 100_000_000
_MAX_PICTURE_BYTES = 64 * 1024 * 1024
_MAX_LABEL_FILE_BYTES = 4 * 1024 * 1024
_NUMBERED_LABEL = re.compile(r"(\d+)[:\s]+(.*)")


def load_model(name: str, kind: str) -> Tuple[Interpreter, Meaning]:
    """Load a .tflite file, or FILE@DEVICE to name an Edge TPU (`:0`, `pci:0`, `usb:0`).

    Raises:
        RequestError: it is no model, or one of another kind. Here it is no release but a file that somebody
            names: a wrong one is theirs to change.
        ModelError: the machine cannot run it.
    """
    path, _, device = name.partition("@")
    _try_apart(Path(path), device or _ANY_EDGETPU)
    try:
        model = Interpreter(Path(path), device or _ANY_EDGETPU)
        meaning = Meaning(model.outputs, None)
    except ModelError as error:
        if not error.code.startswith(_WRONG_FILE):
            raise
        raise RequestError(error.code, error.message, error.hint or "give a whole .tflite file") from error
    if meaning.kind != kind:
        shapes = ", ".join(f"{spec.dtype} {spec.shape}" for spec in model.outputs)
        message = f"outputs are {shapes}: not {kind} but {meaning.kind}"
        raise RequestError(
            "model_output", message, "classes: edge-agent classify; objects: edge-agent detect"
        )
    return model, meaning


def _try_apart(path: Path, device: str) -> None:
    """Load and run a model in another process first: a damaged file may crash the runtime."""
    child = os.fork()
    if child == 0:
        try:
            # What it complains of is said when it is loaded here.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            model = Interpreter(path, device)
            model.run([np.zeros(spec.shape, spec.dtype) for spec in model.inputs])
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        message = f"{path} ended the TFLite runtime with {name}"
        raise RequestError("model_unreadable", message, "the file may be damaged: fetch or make it again")


def read_picture(path: Path, model: Interpreter, scale: float, offset: float) -> Any:
    """Return a picture as the model's input, ndarray; real value = pixel (0 to 255) * scale + offset.

    Raises:
        RequestError: the file cannot be read, or the model takes no pictures.
    """
    spec = model.inputs[0]
    try:
        return _build_reader(spec, scale, offset).read(read_file(path))
    except ModelError as error:
        raise RequestError(error.code, error.message, error.hint) from error


def run(model: Interpreter, tensor: Any, count: int) -> Tuple[Tuple[Any, ...], Tuple[float, ...]]:
    """Run a model `count` times; return the last outputs, and how many milliseconds each run took."""
    outputs: Tuple[Any, ...] = ()
    times_ms: List[float] = []
    for _ in range(count):
        started_s = time.perf_counter()
        outputs = model.run([tensor])
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return outputs, tuple(times_ms)


def read_labels(path: Path) -> Dict[int, str]:
    """Read a label file: lines of `NUMBER LABEL`, `NUMBER:LABEL`, or just labels, counted from 0.

    Raises:
        RequestError: it cannot be read.
    """
    text = read_file(path, _MAX_LABEL_FILE_BYTES).decode("utf-8", errors="replace")
    labels = {}
    for row, line in enumerate(text.splitlines()):
        numbered = _NUMBERED_LABEL.fullmatch(line.strip())
        number, label = (int(numbered.group(1)), numbered.group(2)) if numbered else (row, line.strip())
        labels[number] = label[:128]
    return labels


def read_file(path: Path, max_bytes: int = _MAX_PICTURE_BYTES) -> bytes:
    """Return a file's bytes.

    Raises:
        RequestError: it cannot be read, or has more.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise RequestError("bad_input", message, "correct the path") from error
    if len(data) > max_bytes:
        raise RequestError("bad_input", f"{path} has more than {max_bytes} bytes", "give a smaller file")
    return data


def _build_reader(spec: TensorSpec, scale: float, offset: float) -> ImageReader:
    try:
        _, height, width, channels = spec.shape
        preprocessing = Preprocessing(
            height=height, width=width, channels=channels, scale=scale, offset=offset
        )
    except (MessageError, ValueError) as error:
        message = f"the model takes no picture but {spec.dtype} {spec.shape}"
        raise ModelError("model_input", message) from error
    return ImageReader(spec, preprocessing, _MAX_PIXELS)
