"""A child process that writes JPEG pictures to its stdout, as the parts of a multipart stream (RFC 2046).

Only the newest picture is kept: who is slow sees fewer of them, never old ones.
"""

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
from typing import IO, Iterator, Optional, Sequence

_log = logging.getLogger(__name__)
MAX_FRAME_BYTES = 8 * 1024 * 1024
_MAX_HEADER_BYTES = 1024
_LAST_WORDS_BYTES = 4096
# What a pipe holds. Source: pipe(7).
_PIPE_BYTES = 65536
_PATIENCE_S = 2.0
_LENGTH = re.compile(rb"content-length: *(\d{1,9})\r\n", re.IGNORECASE)


class StreamLost(Exception):
    """There are no more pictures; the text says why."""


class Stream:
    """One run of such a process. All but `interrupt` belongs to one thread."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the process.

        Raises:
            StreamLost: there is no such program, or no process, file descriptor or thread is left.
        """
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # What it starts itself ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise StreamLost(f"{command[0]} cannot be started: {error.strerror}") from error
        self._changed = threading.Condition()
        self._frame: Optional[bytes] = None
        self._end: Optional[str] = None
        self._said = b""
        self._reader = threading.Thread(target=self._read, name="frames", daemon=True)
        try:
            self._reader.start()
        except RuntimeError as error:
            self._signal(signal.SIGKILL)
            raise StreamLost(f"no thread for {command[0]}: {error}") from error

    def newest(self, timeout_s: float) -> bytes:
        """Wait for a picture that was not returned yet, and return the newest.

        Raises:
            StreamLost: the process has ended, sends nonsense, or nothing at all in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._end is not None, timeout_s)
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame
            raise StreamLost(self._end or f"no picture came within {timeout_s:g} s")

    def interrupt(self) -> None:
        """Let `newest` raise; any thread may call it."""
        self._set_end("the agent is being stopped")

    def close(self) -> None:
        """End the process, however long the camera's driver takes to let it go."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            _log.debug("process %d does not leave", self._process.pid)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _set_end(self, reason: str) -> None:
        with self._changed:
            self._end = reason
            self._changed.notify()

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            for frame in split(self._process.stdout):
                self._listen()
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
            self._set_end(self._last_words())
        except (ValueError, OSError) as error:
            self._set_end(str(error))

    def _listen(self) -> None:
        """Take what the process complains about: it must not wait for that, and what it says last counts."""
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._process.stderr.fileno(), _PIPE_BYTES)
            self._said = said[-_LAST_WORDS_BYTES:] or self._said

    def _last_words(self) -> str:
        """Return the first of the last lines that the process has complained with."""
        self._listen()
        lines = self._said.decode("utf-8", "replace").splitlines()
        return next((line.strip()[:500] for line in lines if line.strip()), "the stream has ended")


def split(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the body of each part.

    Args:
        stream: parts, each with a header of at most 1 KiB that says its Content-Length.

    Raises:
        ValueError: what comes is no such stream.
    """
    while True:
        header = _read_header(stream)
        if not header:
            return
        length = _LENGTH.search(header)
        size_bytes = int(length.group(1)) if length else 0
        if not 0 < size_bytes <= MAX_FRAME_BYTES:
            raise ValueError(f"a picture must have 1 to {MAX_FRAME_BYTES} bytes")
        body = stream.read(size_bytes)
        if len(body) < size_bytes:
            return
        yield body


def _read_header(stream: IO[bytes]) -> bytes:
    """Return a part's header with the empty line after it, or nothing at the end of the stream."""
    header = b""
    while not header.endswith(b"\r\n\r\n"):
        line = stream.readline(_MAX_HEADER_BYTES)
        if not line:
            return b""
        header = (header + line).lstrip(b"\r\n")
        if len(header) > _MAX_HEADER_BYTES:
            raise ValueError("what comes is no stream of pictures")
    return header
