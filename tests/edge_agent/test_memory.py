from dataclasses import replace

from edge_agent.learning.memory import Memory, Seen
from tests.edge_agent.test_server import PREDICTION


def build(number, size=10):
    prediction = replace(PREDICTION, id=f"{number:026d}")
    return Seen(prediction, "image", bytes(size), "")


def remembered(memory, count=10):
    return [number for number in range(count) if memory.find(f"{number:026d}")]


def test_the_oldest_input_goes_first():
    """At most so many are remembered."""
    memory = Memory(3, 1000)
    for number in range(5):
        memory.keep(build(number))
    assert remembered(memory) == [2, 3, 4]


def test_the_bytes_are_bounded():
    """A large input pushes several small ones out; one that is too large alone pushes out none."""
    memory = Memory(100, 100)
    for number in range(5):
        memory.keep(build(number, 20))
    memory.keep(build(5, 50))
    assert remembered(memory) == [3, 4, 5]
    memory.keep(build(6, 101))
    assert remembered(memory) == [3, 4, 5]


def test_what_is_taken_makes_room():
    """And is found only once."""
    memory = Memory(100, 100)
    memory.keep(build(0, 60))
    assert memory.take(f"{0:026d}").payload == bytes(60)
    assert memory.take(f"{0:026d}") is None
    memory.keep(build(1, 60))
    memory.keep(build(2, 40))
    assert remembered(memory) == [1, 2]


def test_nothing_is_remembered_if_nothing_may_be():
    """0 inputs or 0 bytes turn it off."""
    for memory in (Memory(0, 100), Memory(10, 0)):
        memory.keep(build(0))
        assert remembered(memory) == []
