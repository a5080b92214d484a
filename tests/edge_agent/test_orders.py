"""Promises of upkeep.orders: an order reaches the running agent once, and is answered."""

import threading

import pytest

from contract.codec import encode
from edge_agent import files
from edge_agent.errors import RequestError, UnreachableError
from edge_agent.upkeep.orders import Order, OrderDesk, send_order


class Agent(threading.Thread):
    """A loop that ticks until it is told to stop."""

    def __init__(self, folder, do):
        super().__init__()
        self.desk = OrderDesk(folder, do)
        self.stopped = threading.Event()

    def run(self):
        now_s = 0.0
        while not self.stopped.wait(0.01):
            now_s += 1.0
            self.desk.tick(now_s)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


def test_an_order_is_done_once_and_answered(tmp_path):
    """Nothing but the answer is left behind."""
    done = []
    with Agent(tmp_path, done.append):
        assert send_order(tmp_path, "3") is None
        assert send_order(tmp_path, None) is None
    assert done == ["3", None]
    assert [path.name for path in tmp_path.iterdir()] == ["model-outcome.json"]


def test_why_it_was_not_done_is_told(tmp_path):
    """With the agent's own words."""

    def refuse(version):
        raise RequestError("unknown_version", f"version {version} is not installed", "list them")

    with Agent(tmp_path, refuse):
        problem = send_order(tmp_path, "3")
    assert (problem.code, problem.message) == ("unknown_version", "version 3 is not installed")


def test_an_agent_that_does_not_answer_gets_no_order_later(tmp_path):
    """Who asked has been told that nothing happens."""
    with pytest.raises(UnreachableError, match="did not answer"):
        send_order(tmp_path, "3", timeout_s=0.1)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_agent_left_undone_is_thrown_away(tmp_path):
    """A restart is not the moment for an order of yesterday."""
    (tmp_path / "model-order.json").write_bytes(encode(Order("0" * 16, "3")))
    done = []
    OrderDesk(tmp_path, done.append).tick(1.0)
    assert done == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("order", [b"", b"nonsense", b'{"v":1,"id":"../../x"}', b"[" * 1000])
def test_a_damaged_order_is_removed(tmp_path, order):
    """The agent goes on."""
    done = []
    desk = OrderDesk(tmp_path, done.append)
    (tmp_path / "model-order.json").write_bytes(order)
    desk.tick(1.0)
    assert done == [] and list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_answer_does_not_repeat_the_order(tmp_path, monkeypatch):
    """To roll back twice is to roll back not at all."""
    done = []
    desk = OrderDesk(tmp_path, done.append)
    (tmp_path / "model-order.json").write_bytes(encode(Order("0" * 16)))

    def refuse(_source, _target, _disk):
        raise OSError(28, "no space")

    monkeypatch.setattr(files, "move_whole", refuse)
    for now_s in (1.0, 2.0, 3.0):
        desk.tick(now_s)
    assert done == [None]


def test_it_looks_twice_a_second(tmp_path):
    """Not with every event of the loop."""
    done = []
    desk = OrderDesk(tmp_path, done.append)
    desk.tick(1.0)
    (tmp_path / "model-order.json").write_bytes(encode(Order("0" * 16)))
    desk.tick(1.4)
    assert done == []
    desk.tick(1.5)
    assert done == [None]
