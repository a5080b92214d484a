"""The inference process: `python -m edge_agent.worker FD`. Loads one model, tests it, answers; nothing else.

It is a process of its own because a hostile picture, a broken model or a faulty delegate may then only take
this process down. It ends when its socket is closed.
"""

import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, List, Optional, Tuple

import numpy as np

from contract.artifacts import Preprocessing
from contract.codec import decode
from contract.errors import ContractError
from contract.messages import GoldenResult
from contract.records import dump_record
from edge_agent.classifier import Classifier
from edge_agent.errors import AgentError, ModelError, RequestError
from edge_agent.events import IMAGE
from edge_agent.frames import ANSWERED, CLASSIFY, FAILED, LOAD, READY, TEST, TESTED, Header, receive, send
from edge_agent.images import ImageReader

_ORPHAN_GRACE_S = 0.5
_MAX_LABEL_CHARACTERS = 128
_FLOAT_LSB = 1 / 255


class Model:
    """A loaded release: its classifier, and its picture reader."""

    def __init__(self, header: Header) -> None:
        """Load the files that a LOAD header names, and run the model once so that the first answer is fast.

        Raises:
            ModelError: a file cannot be used, or the files do not fit together.
        """
        self.classifier = Classifier(
            Path(header["model"]), _read_labels(Path(header["labels"])), header["top_k"], header["edgetpu"]
        )
        spec = self.classifier.inputs[0]
        preprocessing = _read_preprocessing(Path(header["preprocessing"]))
        self._images = ImageReader(spec, preprocessing, header["max_pixels"])
        self.classifier.run(np.zeros(spec.shape, spec.dtype))

    def answer(self, kind: str, payload: bytes, top_k: Optional[int]) -> Tuple[Header, bytes]:
        """Classify one input; return the labels with where the time went, and the raw output's bytes.

        Raises:
            RequestError: the input is wrong.
            ModelError: the model could not be run.
        """
        started_s = time.perf_counter()
        tensor = self._images.read(payload) if kind == IMAGE else self._read_array(payload)
        read_s = time.perf_counter()
        output = self.classifier.run(tensor)
        run_s = time.perf_counter()
        top = [dump_record(candidate) for candidate in self.classifier.rank(output, top_k)]
        ended_s = time.perf_counter()
        answer = {
            "is": ANSWERED,
            "top": top,
            "preprocess_ms": (read_s - started_s) * 1000,
            "inference_ms": (run_s - read_s) * 1000,
            "postprocess_ms": (ended_s - run_s) * 1000,
        }
        return answer, output.tobytes()

    def test(self, golden: Path) -> GoldenResult:
        """Compare the model's answers with the recorded ones.

        Args:
            golden: .npz with `inputs` (K, H, W, C) and `outputs` (K, classes) in the model's dtypes.

        Raises:
            ModelError: the file does not fit the model, or the model gives one answer to everything.
        """
        inputs, expected = self._read_golden(golden)
        answers, times_ms = np.empty_like(expected), []
        for place, sample in enumerate(inputs):
            started_s = time.perf_counter()
            answers[place] = self.classifier.run(sample[np.newaxis])[0]
            times_ms.append((time.perf_counter() - started_s) * 1000)
        if len(answers) > 1 and (answers == answers[0]).all():
            raise ModelError(
                "selftest_constant", f"the model gives the same answer to all {len(answers)} golden samples"
            )
        return GoldenResult(
            samples=len(answers),
            top1_agreement=float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
            max_lsb=_count_lsb(answers, expected),
            p95_ms=float(np.percentile(times_ms, 95)),
        )

    def _read_array(self, payload: bytes) -> Any:
        spec = self.classifier.inputs[0]
        tensor_bytes = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
        if len(payload) != tensor_bytes:
            raise RequestError(
                "bad_input",
                f"array has {len(payload)} bytes, the model takes {tensor_bytes}: {spec.dtype} {spec.shape}",
                "send the input tensor's bytes in row-major order, or a JPEG or PNG",
            )
        tensor = np.frombuffer(payload, spec.dtype).reshape(spec.shape)
        if spec.dtype == "float32" and not np.isfinite(tensor).all():
            raise RequestError("bad_input", "the array holds NaN or infinity")
        return tensor

    def _read_golden(self, golden: Path) -> Tuple[Any, Any]:
        try:
            with np.load(str(golden), allow_pickle=False) as arrays:
                inputs, outputs = arrays["inputs"], arrays["outputs"]
        except Exception as error:
            # A damaged zip raises almost anything.
            raise ModelError("golden_unreadable", f"golden samples cannot be read: {error}") from error
        taken, given = self.classifier.inputs[0], self.classifier.outputs[0]
        fits = (
            inputs.shape == (len(outputs), *taken.shape[1:])
            and outputs.shape == (len(inputs), *given.shape[1:])
            and (inputs.dtype, outputs.dtype) == (taken.dtype, given.dtype)
        )
        if not fits or not len(inputs):
            raise ModelError(
                "golden_mismatch",
                f"golden samples are {inputs.dtype} {inputs.shape} and {outputs.dtype} {outputs.shape}",
            )
        return inputs, outputs


def main(arguments: List[str]) -> int:
    """Serve the socket whose number is the only argument, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(arguments[0]))
    threading.Thread(target=_leave_with_parent, args=(connection.fileno(),), daemon=True).start()
    serve(connection)
    return 0


def serve(connection: socket.socket) -> None:
    """Answer frames until the other side is gone. The first one must be LOAD."""
    model: Optional[Model] = None
    while True:
        try:
            header, body = receive(connection)
            if header["do"] == LOAD:
                limit_process(header["memory_bytes"])
            model, answer, output = _obey(model, header, body)
            send(connection, answer, output)
        except (EOFError, OSError):
            return


def limit_process(memory_bytes: int) -> None:
    """Bound this process: its own memory, and no core dump on the eMMC.

    RLIMIT_DATA, not RLIMIT_AS: it counts what the process writes, not the libraries and models that it maps.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_DATA)
    if hard_bytes != resource.RLIM_INFINITY:
        memory_bytes = min(memory_bytes, hard_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _obey(model: Optional[Model], header: Header, body: bytes) -> Tuple[Optional[Model], Header, bytes]:
    """Do what a frame asks for; return the model to go on with, and the answer's header and body."""
    try:
        if header["do"] == LOAD:
            model = Model(header)
            return model, _build_ready(model.classifier), b""
        if model is None:
            raise ModelError("worker_protocol", "nothing is loaded")
        if header["do"] == TEST:
            return model, {"is": TESTED, "result": dump_record(model.test(Path(header["golden"])))}, b""
        answer, output = model.answer(header["kind"], body, header["top_k"])
        return model, answer, output
    except AgentError as error:
        return model, _build_refusal(header, error), b""
    except MemoryError:
        shortage = ModelError("out_of_memory", "the inference process has reached its memory limit")
        return model, _build_refusal(header, shortage), b""


def _build_refusal(header: Header, error: AgentError) -> Header:
    kind = ANSWERED if header["do"] == CLASSIFY else FAILED
    return {"is": kind, "problem": dump_record(error.problem())}


def _build_ready(classifier: Classifier) -> Header:
    return {
        "is": READY,
        "runtime": classifier.runtime,
        "backend": classifier.backend,
        "inputs": [dump_record(spec) for spec in classifier.inputs],
        "outputs": [dump_record(spec) for spec in classifier.outputs],
    }


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


def _count_lsb(answers: Any, expected: Any) -> int:
    """Return the largest difference of two (K, classes) ndarrays in steps of the output, at most 255."""
    if answers.dtype == np.float32:
        steps = np.abs(answers - expected).max() / _FLOAT_LSB
        return int(min(255, np.ceil(np.nan_to_num(steps, nan=255.0))))
    return int(np.abs(answers.astype(np.int64) - expected.astype(np.int64)).max())


def _leave_with_parent(descriptor: int) -> None:
    """End this process when the agent is gone, even while the model runs."""
    poller = select.poll()
    # No event is asked for: a hang-up is always told.
    poller.register(descriptor, 0)
    poller.poll()
    time.sleep(_ORPHAN_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
