"""Promises of edge_agent.sources.stream: pictures from a child process, which may do anything."""

import io
import os
import sys
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from edge_agent.sources.stream import MAX_FRAME_BYTES, Stream, StreamLost, split

PATIENCE_S = 10.0
HELPERS = (
    "import os, sys, time, signal, subprocess\n"
    "def send(data):\n"
    "    head = '--x\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: %d\\r\\n\\r\\n' % len(data)\n"
    "    sys.stdout.buffer.write(head.encode() + data + b'\\r\\n')\n"
    "    sys.stdout.flush()\n"
)


@pytest.fixture
def stream(no_thread_left: None) -> Iterator[Callable[[str], Stream]]:
    """Start a program that can `send` pictures."""
    started: List[Stream] = []

    def start(body: str) -> Stream:
        started.append(Stream([sys.executable, "-c", HELPERS + body]))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_pictures_come_as_they_were_sent(stream: Callable[[str], Stream]) -> None:
    """Whatever bytes are in them; the end is told with what the process has complained about."""
    opened = stream(
        "send(b'\\r\\n--x\\r\\nContent-Length: 3\\r\\n\\r\\n' * 9)\ntime.sleep(0.3)\n"
        "send(b'two')\ntime.sleep(0.3)\nsys.exit('no camera')"
    )
    assert opened.newest(PATIENCE_S) == b"\r\n--x\r\nContent-Length: 3\r\n\r\n" * 9
    assert opened.newest(PATIENCE_S) == b"two"
    with pytest.raises(StreamLost, match="no camera"):
        opened.newest(PATIENCE_S)


def test_who_is_slow_gets_the_newest(stream: Callable[[str], Stream], tmp_path: Path) -> None:
    """The process never waits for us, and nothing piles up."""
    done = tmp_path / "done"
    opened = stream(
        f"for n in range(2000): send(b'%04d' % n * 500)\nopen({str(done)!r}, 'w')\ntime.sleep(60)"
    )
    until_s = time.monotonic() + PATIENCE_S
    while not done.exists() and time.monotonic() < until_s:
        time.sleep(0.01)
    while opened._frame is None or opened._frame[:4] != b"1999":
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert opened.newest(PATIENCE_S)[:4] == b"1999"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("time.sleep(60)", "no picture came within 0.2 s"),
        ("sys.stdout.write('hello ' * 9999); sys.stdout.flush(); time.sleep(60)", "no stream of pictures"),
        ("send(b'')", "must have 1 to"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the stream has ended"),
        ("sys.stdout.buffer.write(b'--x\\r\\nContent-Length: 99\\r\\n\\r\\nhalf')", "the stream has ended"),
    ],
)
def test_whatever_goes_wrong_is_told(stream: Callable[[str], Stream], body: str, reason: str) -> None:
    """A hang, nonsense, an empty picture, a death, half a picture."""
    opened = stream(body)
    if "60" not in body or "hello" in body:
        opened._reader.join(PATIENCE_S)
    with pytest.raises(StreamLost, match=reason):
        opened.newest(0.2)


def test_a_program_that_complains_about_every_picture_goes_on(stream: Callable[[str], Stream]) -> None:
    """What it says fills no pipe; the last of it is told."""
    opened = stream(
        "for n in range(300): sys.stderr.write('bad ' * 200 + '\\n'); sys.stderr.flush(); send(b'%d' % n)\n"
        "time.sleep(0.5)\nsys.stderr.write('unplugged')"
    )
    opened._reader.join(PATIENCE_S)
    assert opened.newest(PATIENCE_S) == b"299"
    with pytest.raises(StreamLost, match="unplugged"):
        opened.newest(PATIENCE_S)


def test_a_program_that_is_not_there_is_told(no_thread_left: None) -> None:
    """No traceback."""
    with pytest.raises(StreamLost, match="cannot be started"):
        Stream(["/no/such/program"])


def test_a_process_that_will_not_leave_is_killed_with_what_it_started(
    stream: Callable[[str], Stream],
) -> None:
    """Nothing of it is left after `close`."""
    opened = stream(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "send(b'%d' % child.pid)\ntime.sleep(60)"
    )
    child = int(opened.newest(PATIENCE_S))
    opened.close()
    until_s = time.monotonic() + PATIENCE_S
    while is_running(child) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_who_waits_can_be_interrupted(stream: Callable[[str], Stream]) -> None:
    """From another thread."""
    opened = stream("time.sleep(60)")
    threading.Timer(0.1, opened.interrupt).start()
    with pytest.raises(StreamLost, match="stopped"):
        opened.newest(PATIENCE_S)


@pytest.mark.parametrize(
    "start",
    [
        b"x" * 5000,
        b"--x\r\n" * 500,
        b"--x\r\nContent-Length: -3\r\n\r\n",
        b"--x\r\nContent-Length: 999999999999\r\n\r\n",
        b"--x\r\nContent-Length: %d\r\n\r\n" % (MAX_FRAME_BYTES + 1),
        b"--x\r\nContent-Type: image/jpeg\r\n\r\n",
    ],
)
def test_nonsense_is_refused_before_it_needs_memory(start: bytes) -> None:
    """A header without end, a length that is none or too large."""
    with pytest.raises(ValueError, match="picture"):
        list(split(io.BytesIO(start + os.urandom(64))))
