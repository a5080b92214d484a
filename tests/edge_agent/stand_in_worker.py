"""A worker program that loads nothing, is always ready, and then behaves badly.

python stand_in_worker.py WHEN-FAULT FD
"""

import os
import signal
import socket
import sys
import threading
import time

from edge_agent.inference.frames import ANSWERED, CLASSIFY, LOAD, READY, TESTED, receive, receive_socket, send

_SPEC = {"name": "x", "shape": [1, 2, 2, 1], "dtype": "uint8"}
_ANSWERS = {
    LOAD: {
        "is": READY,
        "runtime": "stand-in 1",
        "backend": "cpu",
        "meaning": "classes",
        "inputs": [_SPEC],
        "outputs": [_SPEC],
    },
    CLASSIFY: {
        "is": ANSWERED,
        "top": [{"label": "a", "id": 0, "score": 1.0}],
        "objects": [],
        "preprocess_ms": 1,
        "inference_ms": 2,
        "postprocess_ms": 3,
    },
}


def misbehave(fault: str, connection: socket.socket) -> None:
    if fault == "hang":
        time.sleep(60)
    elif fault == "segfault":
        signal.pthread_kill(threading.get_ident(), signal.SIGSEGV)
    elif fault == "exit":
        os._exit(3)
    elif fault == "flood":
        while True:
            connection.sendall(b"\xff" * 65536)
    elif fault == "half":
        connection.sendall(b"\0\0\0\x09\0\0\0\0abc")
        time.sleep(60)
    elif fault == "noise":
        connection.sendall(b"\0\0\0\x03\0\0\0\0abc")
    elif fault == "list":
        connection.sendall(b"\0\0\0\x02\0\0\0\0[]")
    elif fault == "empty":
        send(connection, {})
    elif fault == "wrong_kind":
        send(connection, {"is": TESTED, "result": {}})
    elif fault == "wrong_score":
        send(connection, dict(_ANSWERS[CLASSIFY], top=[{"label": "a", "id": 0, "score": 7}]))


def main() -> None:
    when, _, fault = sys.argv[1].partition("-")
    control = socket.socket(fileno=int(sys.argv[2]))
    if fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        when = ""
    threads = []
    for connection in iter(lambda: receive_socket(control), None):
        threads.append(threading.Thread(target=serve, args=(connection, when, fault)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def serve(connection: socket.socket, when: str, fault: str) -> None:
    if fault == "deaf":
        time.sleep(60)
    try:
        while True:
            header, _body = receive(connection)
            if header["do"] == when:
                misbehave(fault, connection)
            send(connection, _ANSWERS[header["do"]])
            if when == "later":
                time.sleep(0.2)
                misbehave(fault, connection)
    except EOFError:
        time.sleep(60 if fault == "stubborn" else 0)


if __name__ == "__main__":
    main()
