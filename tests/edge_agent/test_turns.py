"""Promises of inference.turns: models are changed seldom, and none waits for long."""

import pytest

from edge_agent.inference.turns import ON_CHIP_BYTES, TURN_S, Load, Turns


class Stage:
    """Models of half the chip and a bit each, so that two do not fit; `busy` names those with work."""

    def __init__(self, size_bytes=ON_CHIP_BYTES // 2 + 1, names=("a", "b")):
        self.now_s, self.busy = 0.0, set()
        self.turns, self.size_bytes, self.names = Turns(), size_bytes, names

    def may(self, *names):
        """Return which of these may start, asked in this order."""
        loads = {name: Load(self.size_bytes, name in self.busy) for name in self.names}
        return "".join(name for name in names if self.turns.may_start(name, loads, self.now_s))


@pytest.fixture
def stage():
    return Stage()


def test_nobody_waits_while_all_models_fit_together():
    """Exactly the chip's size still fits."""
    stage = Stage(ON_CHIP_BYTES // 2)
    stage.busy = {"a", "b"}
    assert stage.may("a", "b", "a", "b") == "abab"


def test_the_model_used_last_goes_first_while_it_has_work(stage):
    """The other one waits for its turn, and takes it as soon as the first has nothing to do."""
    stage.busy = {"a", "b"}
    assert stage.may("a", "b", "a") == "aa"
    stage.busy = {"b"}
    assert stage.may("b") == "b"
    stage.busy = {"a", "b"}
    assert stage.may("a", "b") == "b"


def test_a_turn_ends_when_another_waits(stage):
    """However much the first still has to do."""
    stage.busy = {"a", "b"}
    assert stage.may("a") == "a"
    stage.now_s = TURN_S
    assert stage.may("a", "b", "a", "b") == "bb"
    stage.busy = {"a"}
    stage.now_s += TURN_S
    assert stage.may("a") == "a"


def test_without_anybody_who_waits_a_turn_does_not_end(stage):
    """There is nothing to share."""
    stage.busy = {"a"}
    assert stage.may("a") == "a"
    stage.now_s = 10 * TURN_S
    assert stage.may("a") == "a"


def test_three_models_all_get_their_turn():
    """Whoever asks first when a turn is over."""
    stage = Stage(names=("a", "b", "c"))
    stage.busy = {"a", "b", "c"}
    order = ""
    for _ in range(6):
        order += stage.may("a", "b", "c")
        stage.now_s += TURN_S
    assert set(order) == {"a", "b", "c"}, order


def test_a_model_that_left_holds_nobody_up():
    """Its last turn ends with it."""
    stage = Stage(names=("a", "b", "c"))
    stage.busy = {"a", "b"}
    assert stage.may("a") == "a"
    stage.names = ("b", "c")
    assert stage.may("b") == "b"
