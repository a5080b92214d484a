import socket
import struct
import threading
import time

import pytest

from edge_agent.errors import ModelError
from edge_agent.inference import frames


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_frame_arrives_as_it_was_sent(pair):
    """Header and body come out whole, also when the body is larger than any buffer."""
    ours, theirs = pair
    body = bytes(range(256)) * 16384
    sender = threading.Thread(target=frames.send, args=(ours, {"do": "x", "ü": [1, None]}, body))
    sender.start()
    assert frames.receive(theirs) == ({"do": "x", "ü": [1, None]}, body)
    sender.join()


def test_frames_do_not_run_into_each_other(pair):
    """Each receive takes exactly one frame."""
    ours, theirs = pair
    frames.send(ours, {"n": 1}, b"abc")
    frames.send(ours, {"n": 2})
    assert frames.receive(theirs) == ({"n": 1}, b"abc")
    assert frames.receive(theirs) == ({"n": 2}, b"")


def test_reader_that_does_not_read_costs_only_the_deadline(pair):
    """Sending more than the buffers hold ends at the deadline."""
    ours, _ = pair
    started_s = time.monotonic()
    with pytest.raises(socket.timeout):
        frames.send(ours, {}, bytes(8_000_000), time.monotonic() + 0.2)
    assert time.monotonic() - started_s < 2


def test_writer_that_trickles_costs_only_the_deadline(pair):
    """A frame that comes byte by byte is given up at the deadline, however often a byte comes."""
    ours, theirs = pair

    def trickle():
        for byte in struct.pack("!II", 100, 0) + bytes(100):
            ours.sendall(bytes([byte]))
            time.sleep(0.02)

    writer = threading.Thread(target=trickle)
    writer.start()
    with pytest.raises(socket.timeout):
        frames.receive(theirs, time.monotonic() + 0.3)
    writer.join()


def test_end_of_stream_is_told(pair):
    """A closed socket is EOFError, also in the middle of a frame."""
    ours, theirs = pair
    ours.sendall(struct.pack("!II", 5, 0) + b"ab")
    ours.close()
    with pytest.raises(EOFError):
        frames.receive(theirs)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!II", frames.MAX_HEADER_BYTES + 1, 0),
        struct.pack("!II", 2, frames.MAX_BODY_BYTES + 1),
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"{]",
        struct.pack("!II", 2, 0) + b"\xff\xff",
    ],
)
def test_what_is_no_frame_is_refused(pair, data):
    """Sizes are checked before memory is taken, the header before anybody uses it."""
    ours, theirs = pair
    ours.sendall(data)
    with pytest.raises(ModelError) as raised:
        frames.receive(theirs)
    assert raised.value.code == "worker_protocol"
