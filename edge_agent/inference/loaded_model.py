"""A release that is loaded: the interpreter, what reads its inputs, and what its outputs mean."""

import functools
import time
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np

from contract.artifacts import Preprocessing, TensorSpec
from contract.codec import decode
from contract.errors import ContractError
from contract.messages import GoldenResult
from contract.records import dump_record
from edge_agent.errors import ModelError, RequestError
from edge_agent.events import IMAGE
from edge_agent.inference.frames import ANSWERED, SAMPLED, Header
from edge_agent.inference.golden import run_golden
from edge_agent.inference.images import ImageReader, shrink_picture
from edge_agent.inference.interpreter import Interpreter
from edge_agent.inference.likeness import hash_input
from edge_agent.inference.meaning import Meaning

_MAX_LABEL_CHARACTERS = 128


class LoadedModel:
    """Answers inputs of one release.

    Attributes:
        interpreter: runs it.
        meaning: reads its outputs.
    """

    def __init__(self, header: Header) -> None:
        """Load the files that a LOAD header names, and run the model once so that the first answer is fast.

        Raises:
            ModelError: a file cannot be used, or the files do not fit together.
        """
        self.interpreter = Interpreter(Path(header["model"]), header["edgetpu"])
        self.meaning = Meaning(self.interpreter.outputs, _read_labels(Path(header["labels"])))
        self._top_k, self._min_score = header["top_k"], header["min_score"]
        preprocessing = _read_preprocessing(Path(header["preprocessing"]))
        self._images = _build_reader(self.interpreter, preprocessing, header["max_pixels"])
        self._warm_up()

    def reload(self) -> None:
        """Make the interpreter anew, with the same delegate, and run the model once.

        Raises:
            ModelError: the model cannot be loaded any more.
        """
        self.interpreter.reload()
        self._warm_up()

    def answer(self, kind: str, payload: bytes, top_k: Optional[int]) -> Tuple[Header, bytes]:
        """Run one input; return what it shows with where the time went, and the raw outputs' bytes.

        Raises:
            RequestError: the input is wrong.
            ModelError: the model could not be run.
        """
        started_s = time.perf_counter()
        tensors = [self._read_image(payload)] if kind == IMAGE else self._read_arrays(payload)
        read_s = time.perf_counter()
        outputs = self.meaning.clean(self.interpreter.run(tensors))
        run_s = time.perf_counter()
        found = self.meaning.read(outputs, top_k or self._top_k, self._min_score)
        answer = {
            "is": ANSWERED,
            "top": [dump_record(candidate) for candidate in found.top],
            "objects": [dump_record(each) for each in found.objects],
            "preprocess_ms": (read_s - started_s) * 1000,
            "inference_ms": (run_s - read_s) * 1000,
        }
        answer["postprocess_ms"] = (time.perf_counter() - run_s) * 1000
        return answer, b"".join(output.tobytes() for output in outputs)

    def sample(self, kind: str, payload: bytes, max_bytes: int) -> Tuple[Header, bytes]:
        """Return an input's likeness, its content type, and its bytes: a smaller JPEG if it has too many.

        Raises:
            RequestError: it cannot be read, or be made small enough.
        """
        if kind == IMAGE:
            tensor = self._read_image(payload)
            content_type, data = shrink_picture(payload, max_bytes)
        else:
            tensor, content_type, data = self._read_arrays(payload)[0], "application/octet-stream", payload
        if len(data) > max_bytes:
            raise RequestError("bad_input", f"the input has {len(data)} bytes, {max_bytes} are allowed")
        return {"is": SAMPLED, "likeness": hash_input(tensor), "type": content_type}, data

    def test(self, golden: Path) -> GoldenResult:
        """Run the golden samples.

        Raises:
            ModelError: the file does not fit the model, or the model gives one answer to everything.
        """
        return run_golden(golden, self.interpreter, self.meaning, self._min_score)

    def _warm_up(self) -> None:
        self.interpreter.run([np.zeros(spec.shape, spec.dtype) for spec in self.interpreter.inputs])

    def _read_image(self, payload: bytes) -> Any:
        if self._images is None:
            shown = ", ".join(f"{spec.dtype} {spec.shape}" for spec in self.interpreter.inputs)
            raise RequestError(
                "bad_input", f"the model takes no pictures, but {shown}", "send the raw tensors"
            )
        return self._images.read(payload)

    def _read_arrays(self, payload: bytes) -> List[Any]:
        """Cut the payload into the inputs, which follow each other without a gap."""
        specs = self.interpreter.inputs
        sizes = [_count_bytes(spec) for spec in specs]
        if len(payload) != sum(sizes):
            wanted = ", ".join(f"{spec.dtype} {spec.shape}" for spec in specs)
            raise RequestError(
                "bad_input",
                f"array has {len(payload)} bytes, the model takes {sum(sizes)}: {wanted}",
                "send the input tensor's bytes in row-major order, or a JPEG or PNG",
            )
        tensors, offset = [], 0
        for spec, size in zip(specs, sizes):
            tensor = np.frombuffer(payload[offset : offset + size], spec.dtype).reshape(spec.shape)
            if spec.dtype == "float32" and not np.isfinite(tensor).all():
                raise RequestError("bad_input", "the array holds NaN or infinity")
            tensors.append(tensor)
            offset += size
        return tensors


@functools.lru_cache(maxsize=16)
def _count_bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize


def _build_reader(
    interpreter: Interpreter, preprocessing: Preprocessing, max_pixels: int
) -> Optional[ImageReader]:
    """Return what reads pictures, None for a model whose input is none."""
    first = interpreter.inputs[0]
    if len(interpreter.inputs) > 1 or len(first.shape) != 4 or first.shape[3] not in (1, 3):
        return None
    return ImageReader(first, preprocessing, max_pixels)


def _read_labels(path: Path) -> Tuple[str, ...]:
    """Read one label a line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("labels_unreadable", f"labels cannot be read: {error}") from error
    labels = tuple(text.rstrip("\n").split("\n"))
    longest = max(len(label) for label in labels)
    if longest > _MAX_LABEL_CHARACTERS:
        raise ModelError(
            "labels_unreadable",
            f"a label has {longest} characters, at most {_MAX_LABEL_CHARACTERS} are allowed",
        )
    return labels


def _read_preprocessing(path: Path) -> Preprocessing:
    try:
        return decode(Preprocessing, path.read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError("preprocessing_unreadable", f"preprocessing cannot be read: {error}") from error
