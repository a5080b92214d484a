"""Promises of edge_agent.mailbox."""

import queue
import threading

import pytest

from contract.learning import Feedback
from edge_agent.events import Connected, FeedbackGiven, InferenceAsked, StopAsked
from edge_agent.mailbox import Mailbox


def asked() -> InferenceAsked:
    return InferenceAsked("array", b"", "http", 0.0, lambda _answer: None)


def test_events_come_out_in_order() -> None:
    """One queue, first in, first out."""
    mailbox = Mailbox(4)
    mailbox.put(Connected())
    mailbox.put(StopAsked())
    assert [mailbox.get(0.01), mailbox.get(0.01), mailbox.get(0.01)] == [Connected(), StopAsked(), None]


def test_strangers_are_refused_when_it_is_full_but_our_own_events_are_not() -> None:
    """A flood of requests cannot keep out an acknowledgement or a stop."""
    mailbox = Mailbox(2)
    mailbox.offer(asked())
    mailbox.offer(asked())
    with pytest.raises(queue.Full):
        mailbox.offer(asked())
    mailbox.put(StopAsked())
    mailbox.get(0.01)
    mailbox.offer(asked())


def test_whatever_a_stranger_sent_gives_its_room_back() -> None:
    """Also what is neither a request nor a message."""
    mailbox = Mailbox(1)
    feedback = FeedbackGiven(Feedback("01JD8Z6M5T3Q0E9W2K7R4C1XAC", "boot"))
    for _ in range(3):
        mailbox.offer(feedback)
        assert mailbox.get(0.01) == feedback


def test_a_waiting_stranger_gets_in_when_there_is_room() -> None:
    """The broker's socket is held back, nothing is dropped."""
    mailbox = Mailbox(1)
    mailbox.offer(asked())
    thread = threading.Thread(target=mailbox.offer_waiting, args=(asked(),))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    mailbox.get(0.01)
    thread.join(2)
    assert not thread.is_alive()
