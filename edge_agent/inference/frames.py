"""How the agent and its worker process talk: a JSON header and raw bytes per frame, over a socket pair.

A process gets the sockets that it serves over its control socket, each as a file descriptor.
"""

import array
import json
import socket
import struct
import time
from typing import Any, Dict, Optional, Tuple, Union

from contract.artifacts import TensorSpec
from contract.errors import ContractError
from contract.messages import Candidate, DetectedObject, GoldenResult, Problem
from contract.records import load_record
from edge_agent.errors import ModelError
from edge_agent.events import (
    Classified,
    Event,
    Sampled,
    WorkerAnswered,
    WorkerFailed,
    WorkerReady,
    WorkerSampled,
    WorkerTested,
)

LOAD, RELOAD, TEST, CLASSIFY, SAMPLE = "load", "reload", "test", "classify", "sample"
READY, TESTED, ANSWERED, SAMPLED, FAILED = "ready", "tested", "answered", "sampled", "failed"

MAX_HEADER_BYTES = 256 * 1024
MAX_BODY_BYTES = 65 * 1024 * 1024

_ANSWERS = {LOAD: READY, RELOAD: READY, TEST: TESTED, CLASSIFY: ANSWERED, SAMPLE: SAMPLED}
_LENGTHS = struct.Struct("!II")
_SHORTEST_WAIT_S = 0.001
# A pair of sockets takes so much at once even if nobody reads: the least that Linux gives one is 200 kB.
SMALL_BYTES = 64 * 1024

Header = Dict[str, Any]


def send(
    connection: socket.socket, header: Header, body: bytes = b"", deadline_s: Optional[float] = None
) -> None:
    """Send one frame.

    Args:
        connection: a stream socket.
        header: what JSON can hold.
        body: raw bytes that belong to it.
        deadline_s: `time.monotonic()` when to give up; None waits for ever.

    Raises:
        socket.timeout: the other side did not read in time.
        OSError: the other side is gone.
    """
    head = json.dumps(header, separators=(",", ":")).encode("utf-8")
    lengths = _LENGTHS.pack(len(head), len(body))
    # A small body goes along: the other side then wakes up once.
    parts = [lengths + head + body] if len(body) <= SMALL_BYTES else [lengths + head, body]
    for part in parts:
        _wait_until(connection, deadline_s)
        connection.sendall(part)


def receive(connection: socket.socket, deadline_s: Optional[float] = None) -> Tuple[Header, bytes]:
    """Wait for one frame and return its header and body.

    Raises:
        EOFError: the other side is gone.
        socket.timeout: the frame was not whole in time.
        ModelError: what came is not a frame, or too large.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_receive_exactly(connection, _LENGTHS.size, deadline_s))
    if head_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise _broken(f"a frame of {head_bytes} + {body_bytes} bytes")
    data = _receive_exactly(connection, head_bytes + body_bytes, deadline_s)
    head, body = bytes(data[:head_bytes]), bytes(data[head_bytes:])
    try:
        header = json.loads(head.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _broken("a header that is not JSON") from error
    if not isinstance(header, dict):
        raise _broken("a header that is not an object")
    return header, body


def send_socket(control: socket.socket, given: socket.socket) -> None:
    """Hand a socket over to the process at the other end.

    Raises:
        OSError: that process is gone.
    """
    descriptors = array.array("i", [given.fileno()]).tobytes()
    control.sendmsg([b"s"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def receive_socket(control: socket.socket) -> Optional[socket.socket]:
    """Wait for a socket that is handed over, None when no more will come."""
    descriptors = array.array("i", [-1])
    size_bytes = len(descriptors.tobytes())
    _, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(size_bytes))
    if not ancillary:
        return None
    return socket.socket(fileno=array.array("i", ancillary[0][2][:size_bytes])[0])


def read_event(worker: int, asked: Header, answer: Header, body: bytes) -> Event:
    """Turn the answer of worker number `worker`, a header and its raw bytes, into an event.

    Raises:
        ModelError: this is not an answer to what was asked.
    """
    try:
        if answer["is"] == FAILED:
            return WorkerFailed(worker, load_record(Problem, answer["problem"]))
        if answer["is"] != _ANSWERS[asked["do"]]:
            raise _broken("the answer to another question")
        return _read_answer(worker, asked, answer, body)
    except (ContractError, KeyError, TypeError, ValueError) as error:
        raise _broken(f"a wrong answer: {error!r}") from error


def _read_answer(worker: int, asked: Header, answer: Header, body: bytes) -> Event:
    if answer["is"] == READY:
        return WorkerReady(
            worker,
            runtime=str(answer["runtime"]),
            backend=str(answer["backend"]),
            meaning=str(answer["meaning"]),
            inputs=tuple(load_record(TensorSpec, spec) for spec in answer["inputs"]),
            outputs=tuple(load_record(TensorSpec, spec) for spec in answer["outputs"]),
        )
    if answer["is"] == TESTED:
        return WorkerTested(worker, load_record(GoldenResult, answer["result"]))
    if answer["is"] == SAMPLED:
        # What cannot be sampled is no loss to anybody who waits.
        found = None if "problem" in answer else Sampled(int(answer["likeness"]), answer["type"], body)
        return WorkerSampled(worker, asked["key"], found)
    return WorkerAnswered(worker, asked["key"], _read_result(answer, body))


def _read_result(answer: Header, body: bytes) -> Union[Classified, Problem]:
    if "problem" in answer:
        return load_record(Problem, answer["problem"])
    return Classified(
        top=tuple(load_record(Candidate, candidate) for candidate in answer["top"]),
        objects=tuple(load_record(DetectedObject, each) for each in answer["objects"]),
        preprocess_ms=float(answer["preprocess_ms"]),
        inference_ms=float(answer["inference_ms"]),
        postprocess_ms=float(answer["postprocess_ms"]),
        output=body,
    )


def _receive_exactly(connection: socket.socket, size_bytes: int, deadline_s: Optional[float]) -> memoryview:
    data = bytearray(size_bytes)
    view = memoryview(data)
    while view:
        _wait_until(connection, deadline_s)
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return memoryview(data)


def _wait_until(connection: socket.socket, deadline_s: Optional[float]) -> None:
    # Who waits for ever does so from the start: a socket blocks until it is told otherwise.
    if deadline_s is not None:
        connection.settimeout(max(_SHORTEST_WAIT_S, deadline_s - time.monotonic()))


def _broken(what: str) -> ModelError:
    return ModelError("worker_protocol", f"the inference process sent {what}")
