"""Several models that follow one stream: a process for each, so that none waits for or falls with another."""

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STOP_SECONDS = 10.0
ORPHANED = 1
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_READ_BYTES = 64 * 1024

Said = Callable[[dict[str, Any]], None]


@dataclass
class _Child:
    """A `cloud-train follow --json` of one model, and its last words."""

    name: str
    process: subprocess.Popen[bytes]
    unread: bytes = b""
    last: dict[str, Any] | None = None


def follow_in_children(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], report: Said
) -> dict[str, dict[str, Any]]:
    """Run `cloud-train` with these arguments, one process for each model, to the end of all.

    Args:
        commands: of each model, the arguments; they contain --json.
        environment: of the processes.
        report: gets every report of every model as it is told.

    Returns:
        Of each model its last JSON object; its `exit_code` is that of the process.
    """
    threads = max(1, (os.cpu_count() or 1) // len(commands))
    # Left alone, every process would start a thread per core, and they would wait for each other.
    environment = {**dict.fromkeys(_THREADS, str(threads)), **environment}
    children = [_start(name, arguments, environment) for name, arguments in commands.items()]
    try:
        _listen(children, report)
        return {one.name: _last_words(one) for one in children}
    finally:
        _stop(children)


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""

    def wait() -> None:
        # Nothing is ever written there: it ends when the other end is closed.
        os.read(sys.stdin.fileno(), 1)
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def _start(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> _Child:
    command = [sys.executable, "-m", "cloud_train", *arguments]
    # What they have to say to a person goes where ours goes.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment))
    return _Child(name, process)


def _last_words(child: _Child) -> dict[str, Any]:
    code = child.process.wait()
    said = child.last or {}
    return {**said, "ok": code == 0 and said.get("ok", False), "exit_code": code}


def _listen(children: Sequence[_Child], report: Said) -> None:
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(_stdout(child), selectors.EVENT_READ, child)
        while selector.get_map():
            for key, _ in selector.select():
                if not _hear(key.data, report):
                    selector.unregister(key.fileobj)


def _hear(child: _Child, report: Said) -> bool:
    # One read never blocks after select() and may end in the middle of a line. False: the child is gone.
    block = os.read(_stdout(child).fileno(), _READ_BYTES)
    *lines, child.unread = (child.unread + block).split(b"\n")
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue  # a library's chatter
        if isinstance(said, dict) and "ok" in said:
            child.last = said
        elif isinstance(said, dict):
            report(said)
    return bool(block)


def _stdout(child: _Child) -> Any:
    return child.process.stdout


def _stop(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.terminate()
    for child in children:
        try:
            child.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        for pipe in (child.process.stdin, child.process.stdout):
            assert pipe is not None  # it was started with both
            pipe.close()
