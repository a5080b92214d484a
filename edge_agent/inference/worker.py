"""The inference process, `python -m edge_agent.inference.worker FD`: loads a model, tests it, answers.

It is a process of its own because a hostile picture, a broken model or a faulty delegate may then only take
this process down. Over its control socket, number FD, it is given one more socket for each model, and serves
each in a thread. It ends when the control socket is closed.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import List, Optional, Tuple

from contract.records import dump_record
from edge_agent.errors import AgentError, ModelError
from edge_agent.inference.frames import (
    ANSWERED,
    CLASSIFY,
    FAILED,
    LOAD,
    READY,
    RELOAD,
    SAMPLE,
    SAMPLED,
    TEST,
    TESTED,
    Header,
    receive,
    receive_socket,
    send,
)
from edge_agent.inference.interpreter import find_runtime
from edge_agent.inference.loaded_model import LoadedModel

_LAST_WORDS_S = 0.5
# The most that the kernel takes. Source: proc(5), oom_score_adj.
_OOM_SCORE, _FIRST_TO_GO = Path("/proc/self/oom_score_adj"), "1000"


def main(arguments: List[str]) -> int:
    """Serve every socket that comes over the one whose number is the only argument, until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(arguments[0]))
    with contextlib.suppress(ModelError):
        # While the agent is still starting. Without a runtime, loading a model says so.
        find_runtime()
    threads: List[threading.Thread] = []
    for connection in iter(lambda: receive_socket(control), None):
        thread = threading.Thread(target=_serve_or_die, args=(connection,), daemon=True)
        thread.start()
        threads = [other for other in threads if other.is_alive()] + [thread]
    until_s = time.monotonic() + _LAST_WORDS_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
        if thread.is_alive():
            # The agent is gone, and a model that runs cannot be interrupted.
            os._exit(1)
    return 0


def _serve_or_die(connection: socket.socket) -> None:
    """What is not understood must not go on in the other threads as if nothing were wrong."""
    try:
        with connection:
            serve(connection)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def serve(connection: socket.socket) -> None:
    """Answer frames until the other side is gone. The first one must be LOAD."""
    model: Optional[LoadedModel] = None
    while True:
        try:
            header, body = receive(connection)
            if header["do"] == LOAD:
                limit_process(header["memory_bytes"])
                # Its delegate must be gone before the next one is made.
                model = None
            model, answer, output = _obey(model, header, body)
            send(connection, answer, output)
        except (EOFError, OSError):
            return


def limit_process(memory_bytes: int) -> None:
    """Bound this process: its own memory, no core dump on the eMMC, and the first to go when memory is short.

    RLIMIT_DATA, not RLIMIT_AS: it counts what the process writes, not the libraries and models that it maps.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_DATA)
    if hard_bytes != resource.RLIM_INFINITY:
        memory_bytes = min(memory_bytes, hard_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        # The agent starts it anew; nobody would notice that the agent is gone.
        _OOM_SCORE.write_text(_FIRST_TO_GO)


def _obey(
    model: Optional[LoadedModel], header: Header, body: bytes
) -> Tuple[Optional[LoadedModel], Header, bytes]:
    """Do what a frame asks for; return the model to go on with, and the answer's header and body."""
    try:
        if header["do"] == LOAD:
            model = LoadedModel(header)
            return model, _build_ready(model), b""
        if model is None:
            raise ModelError("worker_protocol", "nothing is loaded")
        if header["do"] == RELOAD:
            model.reload()
            return model, _build_ready(model), b""
        if header["do"] == TEST:
            return model, {"is": TESTED, "result": dump_record(model.test(Path(header["golden"])))}, b""
        if header["do"] == SAMPLE:
            return (model, *model.sample(header["kind"], body, header["max_bytes"]))
        return (model, *model.answer(header["kind"], body, header["top_k"]))
    except AgentError as error:
        return model, _build_refusal(header, error), b""
    except MemoryError:
        shortage = ModelError("out_of_memory", "the inference process has reached its memory limit")
        return model, _build_refusal(header, shortage), b""


def _build_refusal(header: Header, error: AgentError) -> Header:
    kind = {CLASSIFY: ANSWERED, SAMPLE: SAMPLED}.get(header["do"], FAILED)
    return {"is": kind, "problem": dump_record(error.problem())}


def _build_ready(model: LoadedModel) -> Header:
    interpreter = model.interpreter
    return {
        "is": READY,
        "runtime": interpreter.runtime,
        "backend": interpreter.backend,
        "meaning": model.meaning.kind,
        "inputs": [dump_record(spec) for spec in interpreter.inputs],
        "outputs": [dump_record(spec) for spec in interpreter.outputs],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
