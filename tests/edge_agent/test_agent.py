"""Promises of edge_agent.agent's loop: who waits is served before our notes, and those are not forgotten."""

import pytest

from edge_agent.agent import Agent
from edge_agent.events import Connected, Delivered
from tests.edge_agent.running_agent import configure
from tests.fakes.board import Board, FakeClock


@pytest.fixture
def agent(tmp_path):
    agent = Agent(configure(tmp_path), Board(tmp_path).publisher.root, FakeClock())
    yield agent
    agent._outbox.close()
    agent._lock.close()


@pytest.fixture
def ticks(agent, monkeypatch):
    """When the loop did the rest of its work."""
    found = []
    monkeypatch.setattr(agent, "_tick", lambda: found.append(agent._clock.monotonic_s()))
    agent._tick_if_due(None)
    found.clear()
    return found


def test_events_of_the_predictions_way_share_one_tick(agent, ticks):
    """Many answers in a row are not held up by the outbox; a moment later it has its turn."""
    for _ in range(3):
        agent._tick_if_due(Delivered(1))
    assert ticks == []
    assert 0 < agent._patience_s() <= 0.02
    agent._clock.monotonic += 0.02
    agent._tick_if_due(Delivered(1))
    assert len(ticks) == 1


def test_every_other_event_is_followed_by_a_tick(agent, ticks):
    """So is a quarter of a second without any."""
    agent._tick_if_due(Connected())
    assert len(ticks) == 1
    assert 0.2 < agent._patience_s() <= 0.25
    agent._tick_if_due(None)
    assert len(ticks) == 2
