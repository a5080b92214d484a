"""Our own program in processes of its own: started, heard as it says JSON line by line, and stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

THREAD_VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
_READ_BYTES = 64 * 1024


def cloud_train(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs `cloud-train` with these arguments."""
    return [sys.executable, "-m", "cloud_train", *arguments]


def share_of_cores(threads: int) -> dict[str, str]:
    """Return the environment of a process that may keep so many threads busy, at least one.

    Left alone, each process would start a thread per core, and they would wait for each other.
    """
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, threads)))


class Child:
    """A process that says JSON objects, one a line; a selector takes it as a file."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], errors: IO[bytes] | None = None
    ) -> None:
        """Start it; what it says to a person goes to `errors`, or where ours goes."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=dict(environment)
        )
        self._unread = b""

    def fileno(self) -> int:
        """Return the end of the pipe that it talks into."""
        return self._stdout.fileno()

    def hear(self) -> list[dict[str, Any]] | None:
        """Return the objects that it has said since, or None when it says nothing more.

        One read never blocks after a selector has named the child, and may end in the middle of a line.
        """
        block = os.read(self.fileno(), _READ_BYTES)
        if not block:
            return None
        *lines, self._unread = (self._unread + block).split(b"\n")
        return [said for said in map(_parse, lines) if isinstance(said, dict)]

    def stop(self, patience_s: float) -> None:
        """End it if it still runs, by SIGKILL after `patience_s`, and let go of its pipes."""
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self._stdout):
            assert pipe is not None  # it was started with both
            pipe.close()

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None  # it was started with a pipe
        return self.process.stdout


def stop_all(children: Sequence[Child], patience_s: float) -> None:
    """Stop children; they end side by side."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.stop(patience_s)


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None  # a library's chatter
